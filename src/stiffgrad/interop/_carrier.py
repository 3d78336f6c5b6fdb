"""What a framework's model looks like from here."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stiffgrad._types import Params


class Carrier(abc.ABC):
    """A model of a framework, taken apart; it never changes the model it was made of.

    Attributes
    ----------
    kind : str
        "an Equinox module" and the like.
    params : pytree of arrays
        What is trained.
    """

    kind: str
    params: Params
    takes_variables: bool = False  # whether the framework keeps parameters outside of the model

    @property
    @abc.abstractmethod
    def view(self) -> Callable[[Params], Callable[..., Any]]:
        """View(params) -> something that is called as the model is; equal for models of equal structure."""

    @property
    @abc.abstractmethod
    def function(self) -> Callable[[Params, Any], Any]:
        """Function(params, x) -> outputs for ONE sample; equal for models of equal structure."""

    @abc.abstractmethod
    def restore(self, params: Params) -> Any:
        """A new model of the same kind, number types and devices, with these parameters."""

    @abc.abstractmethod
    def extract(self, model: Any) -> Params:
        """The parameters of a model of this kind and structure."""

    def on_batch(self, batch: Any) -> Any:
        """The model's own outputs on a batch of samples; None where it takes one sample only."""
        return None

    def check(self, batch: Any) -> None:
        """Whether outputs depend on each sample alone, as `function` takes for granted.

        Raises
        ------
        ValueError
            The model fails on the batch, or answers otherwise than one by one.
        """
        hint = "; give each sample an axis, X[:, None]" if np.ndim(batch) == 1 else ""
        try:
            together = self.on_batch(batch)
        except Exception as error:
            raise ValueError(
                f"the model fails on X[:{len(batch)}] of shape {np.shape(batch)}: {error}{hint}"
            ) from error
        if together is None or len(batch) < 2:
            return
        typed, samples = (widened(tree, np.zeros((), np.float32)) for tree in (self.params, batch))
        alone = np.stack([np.asarray(self.function(typed, jnp.asarray(x))) for x in samples])
        if alone.shape != together.shape or np.abs(alone - together).max() > 1e-3 * (1e-6 + np.abs(together).max()):
            raise ValueError(
                f"the model gives other outputs for {len(batch)} samples together (shape {together.shape}) than one by "
                f"one (shape {alone.shape}): it must be a function of each sample alone, without batch statistics{hint}"
            )

    def layers(self) -> Layers | None:
        """The layers, where their order and activation can be read off; None: they may still be found by tracing."""
        return None


@dataclasses.dataclass(frozen=True)
class Layers:
    """A stack of dense layers: where weight (out, in) and bias (out,) of each stand among the leaves of the params.

    `transposed`: the weights are stored as (in, out).
    """

    weights: tuple[int, ...]
    biases: tuple[int, ...]
    transposed: bool
    activation: str


class Held:
    """Something that compiled code holds as it is: equal only to itself."""

    def __init__(self, content: Any) -> None:
        self.content = content


def hashable(content: Any) -> Any:
    """The same where it can be hashed, and held where not: a module may have a list or a dict among its options."""
    try:
        hash(content)
    except TypeError:
        return Held(content)
    return content


def number(leaf: Any) -> bool:
    """Whether a leaf is an array of real numbers."""
    return hasattr(leaf, "dtype") and hasattr(leaf, "shape") and jnp.issubdtype(leaf.dtype, jnp.floating)


def of_one(x: Any) -> Any:
    """A batch of one sample."""
    return jax.tree.map(lambda leaf: leaf[None], x)


def single(outputs: Any) -> Any:
    """The outputs of one sample, from those of a batch of one: a number may have lost its axis by a `squeeze()`."""
    if outputs.ndim == 0:
        return outputs
    if outputs.shape[0] != 1:
        raise ValueError(
            f"the model gives outputs of shape {outputs.shape} for a batch of one sample, expected (1, ...): does it "
            "drop the batch's axis, as squeeze() does where squeeze(-1) is meant?"
        )
    return jnp.squeeze(outputs, 0)  # [0] is a slice to some versions of JAX


def widened(tree: Any, like: Any) -> Any:
    """The same tree, its arrays of real numbers in the number type of the first leaf of `like`."""
    kind = jnp.result_type(jax.tree.leaves(like)[0])
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, kind) if number(leaf) else leaf, tree)


def narrowed(params: Params, like: Params) -> Params:
    """The same parameters in the number types of `like`, as JAX arrays on its devices."""

    def convert(leaf: Any, old: Any) -> Any:
        array = np.asarray(leaf).astype(old.dtype)
        return jax.device_put(array, old.sharding) if isinstance(old, jax.Array) else array

    return jax.tree.map(convert, params, like)
