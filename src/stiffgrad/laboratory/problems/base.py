"""What a problem is: data, a network, a loss, a start for every seed, three targets, and a score."""

from __future__ import annotations

import abc
import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray

from stiffgrad._float64 import float64
from stiffgrad._types import Params
from stiffgrad.objective import Objective, supervised
from stiffgrad.objective.networks import MLP, mlp
from stiffgrad.run.until import Until

LEVELS = ("easy", "medium", "deep")
PARTS = ("train", "test")


@dataclasses.dataclass(frozen=True)
class Target:
    """A loss, or a Euclidean norm of the gradient, to be reached; exactly one of the two.

    Examples
    --------
    >>> Target(loss=1e-3).quantity, Target(loss=1e-3).value
    ('loss', 0.001)
    """

    loss: float | None = None
    gradient_norm: float | None = None

    def __post_init__(self) -> None:
        if (self.loss is None) == (self.gradient_norm is None):
            raise ValueError(f"{self!r} must give a loss or a gradient_norm, and not both")

    @property
    def quantity(self) -> str:
        """The column of the trace that is compared: "loss" or "gradient_norm"."""
        return "gradient_norm" if self.loss is None else "loss"

    @property
    def value(self) -> float:
        """The number to be reached."""
        number = self.gradient_norm if self.loss is None else self.loss
        assert number is not None
        return number

    def until(self, wall_seconds: float | None = None) -> Until:
        """The same as a stop for `solve`, with a budget of solving time."""
        return Until(loss=self.loss, gradient_norm=self.gradient_norm, wall_seconds=wall_seconds)

    def __str__(self) -> str:
        return f"{self.quantity.replace('_', ' ')} {self.value:g}"


def losses(easy: float, medium: float, deep: float) -> dict[str, Target]:
    """Three targets by loss."""
    return {level: Target(loss=value) for level, value in zip(LEVELS, (easy, medium, deep), strict=True)}


def gradient_norms(easy: float, medium: float, deep: float) -> dict[str, Target]:
    """Three targets by gradient norm."""
    return {level: Target(gradient_norm=value) for level, value in zip(LEVELS, (easy, medium, deep), strict=True)}


class Part(NamedTuple):
    """Samples with their targets: X of shape (N, inputs), y of shape (N,) or (N, outputs)."""

    X: NDArray[np.float64]
    y: NDArray[Any]


class Data(NamedTuple):
    """What is trained on, and what is held out (None where the training set is all there is)."""

    train: Part
    test: Part | None = None


@dataclasses.dataclass(frozen=True)
class Problem(abc.ABC):
    """One problem of the registry.

    Attributes
    ----------
    name, summary : str
        Its name, and one line about it.
    targets : mapping of str to Target
        "easy", "medium" and "deep", fixed before any method was compared on it.
    requires : tuple of str
        Modules of the optional extra `data` that its data comes from.
    """

    name: str
    summary: str
    targets: Mapping[str, Target] = dataclasses.field(hash=False)
    requires: tuple[str, ...] = dataclasses.field(default=(), kw_only=True)

    @property
    @abc.abstractmethod
    def score_name(self) -> str:
        """What `score` measures, for example "accuracy"."""

    @abc.abstractmethod
    def objective(self, seed: int) -> Objective:
        """The objective, with its start drawn from `seed`; the data is the same for every seed."""

    @abc.abstractmethod
    def score(self, params: Params, part: str = "train") -> float | None:
        """The score of parameters on the "train" or "test" part; None where there is no such part."""

    def field(self, params: Params) -> dict[str, Any] | None:
        """What parameters give over a plane, to be drawn; None where a problem has no such thing.

        "sides": the two (low, high); "found" and "exact": rows of values, one for each value of the first coordinate.
        """
        return None


@dataclasses.dataclass(frozen=True)
class Logistic:
    """A network whose outputs pass through the logistic function, as in the nets of the 1980s."""

    network: MLP

    def __call__(self, params: Params, x: Any) -> jax.Array:
        """Outputs of one sample, in (0, 1)."""
        return jax.nn.sigmoid(self.network(params, x))


@dataclasses.dataclass(frozen=True)
class NetworkProblem(Problem):
    """A multilayer perceptron trained on samples with targets.

    Attributes
    ----------
    load : callable
        Returns the `Data`; called once.
    sizes, activation
        Of the network, see `stiffgrad.mlp`.
    loss : str
        See `stiffgrad.supervised`.
    weight_decay : float
        The objective gains weight_decay/2 |w|^2.
    logistic_outputs : bool
        Whether the outputs pass through the logistic function.
    bits : bool
        Whether targets under the squared loss are 0 or 1, so that accuracy is what counts.
    """

    load: Callable[[], Data]
    sizes: tuple[int, ...]
    activation: str = "tanh"
    loss: str = "squared"
    weight_decay: float = 0.0
    logistic_outputs: bool = False
    bits: bool = False

    @property
    def data(self) -> Data:
        """The samples."""
        return _loaded(self.load)

    @property
    def classes(self) -> bool:
        """Whether the targets are classes: labels, bits or one-hot rows."""
        return self.loss != "squared" or self.bits

    @property
    def score_name(self) -> str:
        return "accuracy" if self.classes else "R2"

    def network(self, seed: int = 0) -> tuple[Callable[[Params, Any], jax.Array], Params]:
        """`apply(params, x)` of one sample, and the start drawn from `seed`."""
        network, params = mlp(self.sizes, activation=self.activation, seed=seed)
        return (Logistic(network) if self.logistic_outputs else network), params

    def objective(self, seed: int) -> Objective:
        apply, params = self.network(seed)
        X, y = self.data.train
        return supervised(apply, params, X, y, loss=self.loss, weight_decay=self.weight_decay)

    @float64
    def score(self, params: Params, part: str = "train") -> float | None:
        samples = getattr(self.data, _known(part))
        if samples is None:
            return None
        outputs = np.asarray(_outputs(self.network()[0], params, samples.X))
        y = samples.y.reshape(outputs.shape) if samples.y.size == outputs.size else samples.y
        if not self.classes:
            return 1.0 - float(np.sum((outputs - y) ** 2) / np.sum((y - y.mean(axis=0)) ** 2))
        if self.sizes[-1] > 1:
            labels = y if y.ndim == 1 else y.argmax(axis=1)
            return float(np.mean(outputs.argmax(axis=1) == labels))
        threshold = 0.0 if self.loss == "binary_cross_entropy" else 0.5  # a logit, or a number to be 0 or 1
        return float(np.mean((outputs > threshold) == (y > 0.5)))


def _known(part: str) -> str:
    if part not in PARTS:
        raise ValueError(f"part={part!r} must be one of {', '.join(PARTS)}")
    return part


@functools.cache
def _loaded(load: Callable[[], Data]) -> Data:
    return load()


@functools.partial(jax.jit, static_argnums=0)
def _outputs(apply: Callable[[Params, Any], jax.Array], params: Params, X: Any) -> jax.Array:
    return jax.vmap(lambda x: apply(params, x))(X)
