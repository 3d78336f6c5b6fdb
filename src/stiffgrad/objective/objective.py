"""The training error E(w), with every derivative that a solver can ask for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stiffgrad import _display
from stiffgrad._collector import compiling
from stiffgrad._config import in_use
from stiffgrad._float64 import float64, host
from stiffgrad._types import Params
from stiffgrad.interop import Carrier, carry, refuse
from stiffgrad.objective import derivatives, scales
from stiffgrad.objective.compiled import Compiled
from stiffgrad.objective.dense import Perceptron, recognised
from stiffgrad.objective.derivatives import Block
from stiffgrad.objective.losses import IDENTITY, SQUARED
from stiffgrad.objective.networks import MLP
from stiffgrad.objective.parameters import Layout
from stiffgrad.objective.placement import Placement
from stiffgrad.objective.predictor import Predictor
from stiffgrad.objective.terms import Term, block_of, flat_decay, flat_start, gathered

_value = Compiled(derivatives.value)
_gradient = Compiled(derivatives.gradient)
_value_and_gradient = Compiled(derivatives.value_and_gradient)
_hessian = Compiled(derivatives.hessian)
_hessian_rows = Compiled(derivatives.hessian_rows)
_gauss_newton = Compiled(derivatives.gauss_newton)
_hvp = Compiled(derivatives.hvp)
_gnvp = Compiled(derivatives.gnvp)
_residual = Compiled(derivatives.residual)
_scaled_jacobian = Compiled(derivatives.scaled_jacobian)


class Objective:
    """E(w) = sum of terms + decay/2 |w|^2, over flat parameters w of shape (n,).

    Parameters
    ----------
    params : pytree of arrays, or a model
        The start. A model (an Equinox or Flax NNX module, a torch module) is trained itself: the functions of the
        terms get the model with the parameters to try, and `Solution.model` is the trained one.
    terms : sequence of Term
        Their samples may differ in number and meaning.
    weight_decay : float or pytree of floats
        One number, or one for each leaf of `params`; not negative.
    dtype : "float64" or "float32"
        The number type of everything.
    chunk_samples : int, optional
        Sum over that many samples at a time, which bounds the memory.
    memory_budget : float, optional
        Bytes on each device for the activations of a gradient or product: the samples are cut into chunks where
        they would need more. By default half of the memory that is free now.
    sharding : jax.sharding.Mesh or NamedSharding, optional
        Devices that share the samples, each with a part of them; the parameters lie on all. By default the sharding
        of the samples themselves, where they lie on several devices already.

    Attributes
    ----------
    w0 : array of shape (n,)
        The start, flat.
    size : int
        Number of parameters n.
    rows : int
        Number of outputs over all samples, m = N k; the height of the Jacobian.
    samples : int
        Number of samples N, over all terms.
    elements : float
        Intermediate numbers of an evaluation, over all samples: a bound, before the compiler fuses any away.
    uniform_decay : bool
        Whether all weights have the same decay.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was seen and what to do.

    Examples
    --------
    >>> def line(params, sample):
    ...     x, y = sample
    ...     return params["a"] * x + params["b"] - y
    >>> x = np.linspace(0, 1, 5)
    >>> objective = Objective({"a": 0.0, "b": 0.0}, terms=[Term(line, (x, 2 * x))])
    >>> float(objective.value(objective.w0)), objective.size, objective.rows
    (0.75, 2, 5)
    """

    blocks: tuple[Block, ...]
    decay: jax.Array
    _w0: jax.Array
    layout: Layout
    rows: int
    samples: int
    elements: float
    uniform_decay: bool

    @float64
    def __init__(
        self,
        params: Params,
        terms: Sequence[Term],
        weight_decay: Any = 0.0,
        dtype: str = "float64",
        chunk_samples: int | None = None,
        memory_budget: float | None = None,
        sharding: Any = None,
    ) -> None:
        if dtype not in ("float64", "float32"):
            raise ValueError(f"dtype={dtype!r} must be 'float64' or 'float32'")
        if not isinstance(terms, Sequence) or not all(isinstance(term, Term) for term in terms):
            kinds = type(terms).__name__ if not isinstance(terms, list | tuple) else "a list with other things in it"
            raise TypeError(f"terms must be a list of stiffgrad.Term, not {kinds}; one term is given as [term]")
        if not terms:
            raise ValueError("terms is empty: give at least one Term")
        in_use()
        kind = jnp.dtype(dtype)
        carrier = params if isinstance(params, Carrier | Perceptron) else carry(params)
        if carrier is not None and carrier is not params:
            terms = [dataclasses.replace(t, function=_OfModel(carrier.view, t.function)) for t in terms]
        self._carrier: Carrier | Perceptron | None = carrier
        self._shape: tuple[int, ...] | None = None  # of a sample's target as the user gave it
        params = params if carrier is None else carrier.params
        self.layout = Layout.of(params)
        placement = Placement.of(chunk_samples, memory_budget, sharding, [(t.samples, t.targets) for t in terms])
        self._w0 = placement.everywhere(flat_start(params, self.layout, kind))
        self.decay = placement.everywhere(flat_decay(weight_decay, params, self.layout, kind))
        with compiling():
            built = [block_of(term, index, params, kind, placement) for index, term in enumerate(terms)]
        self.blocks = tuple(block for block, *_ in built)
        self.samples = sum(count for _, count, _, _ in built)
        self.rows = sum(count * width for _, count, width, _ in built)
        self.elements = sum(count * elements for _, count, _, elements in built)
        self.uniform_decay = bool(np.ptp(np.asarray(self.decay)) == 0.0)

    @property
    def w0(self) -> Any:
        """The start, flat."""
        return host(self._w0)

    @property
    def size(self) -> int:
        """Number of parameters n."""
        return self.layout.size

    @property
    def has_gauss_newton(self) -> bool:
        """Whether E has outputs under a loss, so that a Gauss-Newton matrix exists."""
        return all(block.loss != IDENTITY for block in self.blocks)

    @property
    def has_rows(self) -> bool:
        """Whether every loss knows its pseudo-residual, so that G = A'A and grad = A'r hold."""
        return all(block.loss.residual is not None for block in self.blocks)

    @property
    def outputs(self) -> int:
        """Outputs of a sample, k: over all terms their mean, rounded up."""
        return -(-self.rows // self.samples)

    @property
    def gradient_flops(self) -> float:
        """Operations of a gradient, about: three products a weight and sample, and ten for each intermediate number.

        Counted from shapes, so that what is decided by it repeats exactly.
        """
        return 6.0 * self.size * self.samples + 10.0 * self.elements

    @property
    def on_one_device(self) -> bool:
        """Whether all data lie on one device of this process."""
        devices = {d for leaf in jax.tree.leaves(self.blocks) if isinstance(leaf, jax.Array) for d in leaf.devices()}
        return len(devices) <= 1

    @property
    def sum_of_squares(self) -> bool:
        """Whether every loss is the squared one: E is a sum of squares, with a decay of the weights as well."""
        return all(block.loss == SQUARED for block in self.blocks)

    @property
    def residuals_may_vanish(self) -> bool:
        """Whether E may fall to zero: a sum of squares without weight decay. There Gauss-Newton serves to the end."""
        return self.sum_of_squares and not bool(np.any(np.asarray(self.decay) > 0))

    @property
    def whole_rows(self) -> bool:
        """Whether the Jacobian can be formed as a whole: pseudo-residuals known, and no term in chunks."""
        return self.has_rows and not any(block.chunked for block in self.blocks)

    @property
    def stacked_rows(self) -> int:
        """Rows of the Jacobian as it is formed: more than `rows` where samples are padded for devices."""
        if sum(block.coefficients.size for block in self.blocks) == self.samples:
            return self.rows
        return int(jax.eval_shape(derivatives.residual, self, self._w0).shape[0])

    @property
    def perceptron(self) -> MLP | None:
        """The one multilayer perceptron that all terms evaluate, or None."""
        return derivatives.perceptron(self)

    @float64
    def flatten(self, params: Params) -> Any:
        """The flat vector (n,) of parameters with the structure of the start, or of a model of its kind."""
        return host(self.layout.flatten(self._params_of(params), self._w0.dtype))

    def _params_of(self, params: Params) -> Params:
        carrier = self._carrier
        if carrier is None or jax.tree.structure(params) == self.layout.treedef:
            return params
        return carrier.extract(params)

    @property
    def restore(self) -> Callable[[Params], Any] | None:
        """Makes the model from its parameters: of the kind, number types and devices of the one that was given.

        None where the objective was made of a function and its parameters.
        """
        return None if self._carrier is None else self._carrier.restore

    @property
    def predictor(self) -> Predictor | None:
        """Evaluates the function of the only term on new samples: see `predict`. None for several terms or a scalar."""
        if len(self.blocks) != 1 or not self.has_gauss_newton:
            return None
        return Predictor(self.blocks[0].function, self.layout, str(self._w0.dtype), self._shape)

    def predict(self, params: Params, X: Any) -> Any:
        """Outputs of the function for samples X, as a NumPy array of this objective's number type.

        Parameters
        ----------
        params : pytree, model or array (n,)
            With the structure of the start; or a model of its kind; or flat.
        X : array (N, ...) or pytree of arrays
            Samples like those of the objective, any number of them.

        Returns
        -------
        array
            (N,) or (N, k), as the targets were; (N, k) logits for the cross entropies with labels.

        Raises
        ------
        ValueError
            The objective has several terms or is a scalar, or X does not fit.

        Examples
        --------
        >>> from stiffgrad.objective.networks import mlp
        >>> objective = supervised(mlp([2, 3, 1]), np.zeros((4, 2)), np.zeros(4))
        >>> objective.predict(objective.w0, np.ones((5, 2))).shape
        (5,)
        """
        predictor = self.predictor
        if predictor is None:
            raise ValueError(
                "predict is for objectives of one term with outputs: supervised(...) or least_squares(...)"
            )
        flat = params if np.shape(params) == (self.size,) else self.flatten(params)
        return predictor(flat, X)

    def unflatten(self, w: Any) -> Params:
        """The pytree of a flat vector (n,)."""
        if np.shape(w) != (self.size,):
            raise ValueError(f"w has shape {np.shape(w)}, and this objective has {self.size} parameters")
        return self.layout.unflatten(w)

    @float64
    def with_decay(self, decay: Any) -> Objective:
        """The same objective with another decay for each parameter, of shape (n,); works inside compiled code."""
        new = jnp.asarray(decay, self._w0.dtype)
        if not isinstance(new, jax.core.Tracer) and not np.all((np.asarray(new) >= 0) & np.isfinite(np.asarray(new))):
            raise ValueError(f"decay must be finite and not negative, seen {float(np.min(np.asarray(new))):g}")
        return self._replaced(new, self._w0)

    @float64
    def with_start(self, params: Params) -> Objective:
        """The same objective from another start."""
        return self._replaced(self.decay, flat_start(self._params_of(params), self.layout, self._w0.dtype))

    @float64
    def in_float64(self) -> Objective:
        """The same objective in float64; data that were rounded to float32 stay as they are."""

        def widen(leaf: Any) -> Any:
            return leaf.astype(jnp.float64) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

        wide = jax.tree.map(widen, self)
        return wide._as(self)

    def _as(self, other: Objective) -> Objective:
        """Itself, with what `other` knows beside its arrays."""
        self._carrier, self._shape = other._carrier, other._shape
        return self

    def _replaced(self, decay: jax.Array, w0: jax.Array) -> Objective:
        if decay.shape != (self.size,) or w0.shape != (self.size,):
            raise ValueError(f"decay has shape {decay.shape}, expected one number for each parameter, ({self.size},)")
        uniform = self.uniform_decay and decay is self.decay
        meta = (self.layout, self.rows, self.samples, self.elements, uniform)
        return _unflatten_objective(meta, (self.blocks, decay, w0))._as(self)

    def _check(self, w: Any, name: str = "w") -> Any:
        if np.shape(w) != (self.size,):
            raise ValueError(f"{name} has shape {np.shape(w)}, expected the flat ({self.size},); see flatten(params)")
        if isinstance(w, np.ndarray):
            return w if w.dtype == self._w0.dtype else w.astype(self._w0.dtype)  # compiled code takes it as it is
        return w if isinstance(w, jax.Array) and w.dtype == self._w0.dtype else _converted(w, self._w0.dtype)

    def _check_gauss_newton(self) -> None:
        if not self.has_gauss_newton:
            raise ValueError("minimise(loss) has no outputs, so no Gauss-Newton matrix: use hessian or hvp instead")

    def value(self, w: Any) -> Any:
        """E(w), a scalar."""
        return _value(self, self._check(w))

    def gradient(self, w: Any) -> Any:
        """Gradient of E, of shape (n,)."""
        return _gradient(self, self._check(w))

    def value_and_gradient(self, w: Any) -> tuple[Any, Any]:
        """E(w) and its gradient of shape (n,), in one pass."""
        return _value_and_gradient(self, self._check(w))

    def hessian(self, w: Any) -> Any:
        """Dense Hessian, (n, n), symmetric; costs n Hessian-vector products."""
        return _hessian(self, self._check(w))

    def hessian_rows(self, w: Any, first: int) -> Any:
        """Rows `first` to `first` + 64 of the Hessian, (64, n): for callers that must not wait for all of it."""
        return _hessian_rows(self, self._check(w), first)

    def gauss_newton(self, w: Any) -> Any:
        """Dense Gauss-Newton matrix J'SJ + diag(decay), (n, n), positive semidefinite; costs N k backward passes."""
        self._check_gauss_newton()
        return _gauss_newton(self, self._check(w))

    def hvp(self, w: Any, v: Any) -> Any:
        """Hessian-vector product of shape (n,), matrix-free."""
        return _hvp(self, self._check(w), self._check(v, "v"))

    def gnvp(self, w: Any, v: Any) -> Any:
        """Gauss-Newton-vector product of shape (n,), matrix-free."""
        self._check_gauss_newton()
        return _gnvp(self, self._check(w), self._check(v, "v"))

    def residual(self, w: Any) -> Any:
        """The pseudo-residual r of shape (m,), with gradient A'r + decay w."""
        self._check_rows()
        return _residual(self, self._check(w))

    def scaled_jacobian(self, w: Any) -> Any:
        """A of shape (m, n) with A'A + diag(decay) the Gauss-Newton matrix; costs N k backward passes."""
        self._check_rows()
        return _scaled_jacobian(self, self._check(w))

    def _check_rows(self) -> None:
        if not self.has_rows:
            raise ValueError("a loss of this objective has no pseudo-residual: use gradient and gauss_newton instead")

    def _repr_html_(self) -> str:
        rows = {
            "parameters": f"{self.size:,}",
            "samples": f"{self.samples:,}",
            "outputs over all samples": f"{self.rows:,}",
            "losses": ", ".join(block.loss.name for block in self.blocks),
            "weight decay": "none" if not np.any(np.asarray(self.decay)) else f"up to {float(self.decay.max()):.3g}",
            "number type": str(self.w0.dtype),
        }
        if self._carrier is not None:
            rows["model"] = self._carrier.kind
        return _display.table("Objective", rows)

    def __repr__(self) -> str:
        losses = ", ".join(block.loss.name for block in self.blocks)
        return f"Objective({self.size} parameters, {self.rows} outputs over all samples, {losses}, {self.w0.dtype})"


@float64
def _converted(w: Any, kind: Any) -> Any:
    return jnp.asarray(w, kind)


def _flatten_objective(objective: Objective) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    meta = (objective.layout, objective.rows, objective.samples, objective.elements, objective.uniform_decay)
    return (objective.blocks, objective.decay, objective._w0), meta


def _unflatten_objective(meta: tuple[Any, ...], data: tuple[Any, ...]) -> Objective:
    objective = object.__new__(Objective)
    objective._carrier = objective._shape = None  # no part of the pytree: compiled code is shared between models
    objective.layout, objective.rows, objective.samples, objective.elements, objective.uniform_decay = meta
    objective.blocks, objective.decay, objective._w0 = data
    return objective


# A pytree, so that compiled functions take the data as arguments: equal shapes then share compiled code.
jax.tree_util.register_pytree_node(Objective, _flatten_objective, _unflatten_objective)


@float64
def supervised(
    apply: Any,
    params: Any = ...,
    X: Any = ...,
    y: Any = ...,
    loss: str | Callable[[Any, Any], Any] = "squared",
    weight_decay: Any = 0.0,
    sample_weight: Any = None,
    dtype: str = "float64",
    chunk_samples: int | None = None,
    memory_budget: float | None = None,
    sharding: Any = None,
) -> Objective:
    """The objective of supervised training: mean of loss(apply(params, x_i), y_i) + weight_decay/2 |w|^2.

    Two forms: `supervised(apply, params, X, y)` with a function of the parameters and ONE sample (the batching is
    done here), and `supervised(model, X, y)` with a model that holds its parameters, or the pair that `mlp` returns.

    Parameters
    ----------
    apply : callable or model
        `apply(params, x)`; or an Equinox module, which gets one sample; or a Flax NNX module or torch module, which
        get a batch of one. A Flax Linen module is given with its variables: `supervised(module, variables, X, y)`; an
        Equinox module that has a state with that: `supervised(module, state, X, y)`.
        Dropout and batch-norm must be frozen, as the framework's evaluation mode does. Dense layers with one
        activation in turns are recognised and evaluated as `MLP`, whose kernels are faster; then `Solution.params`
        are those of the `MLP`, and `Solution.model` is the model in its own framework.
    params : pytree of arrays
        The start, for the first form.
    X : array (N, ...) or pytree of arrays
        Samples.
    y : array
        Targets; see `Term`, also for the losses.
    loss : str or callable
        "squared", "cross_entropy" (on logits), "binary_cross_entropy" (on logits), or l(outputs, target).
    weight_decay : float or pytree of floats
        One number, or one for each leaf of the parameters.
    sample_weight : array of shape (N,), optional
        See `Term`.
    dtype : "float64" or "float32"
        The number type of everything.
    chunk_samples : int, optional
        See `Objective`.
    memory_budget : float, optional
        See `Objective`.
    sharding : jax.sharding.Mesh or NamedSharding, optional
        See `Objective`, also for what is raised.

    Examples
    --------
    >>> from stiffgrad.objective.networks import mlp
    >>> X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> supervised(mlp([2, 3, 1]), X, np.array([0.0, 1.0, 1.0, 0.0]))
    Objective(13 parameters, 4 outputs over all samples, squared, float64)
    """
    if X is ... and y is ... and params is not ...:
        raise TypeError("supervised needs X and y: supervised(apply, params, X, y), or supervised(model, X, y)")
    of_model = y is ... or isinstance(y, str) or (callable(y) and not hasattr(y, "__array__"))  # the fourth is the loss
    if of_model and params is not ...:
        params, X, y, loss = ..., params, X, (loss if y is ... else y)
    if X is ... or y is ... or y is None:
        raise TypeError(
            "y is None or missing: supervised needs a target for each sample; see least_squares for residuals"
        )
    if params is ... and isinstance(apply, tuple) and len(apply) == 2 and callable(apply[0]):
        apply, params = apply  # as `mlp` returns them
    if params is not ... and callable(params) and not callable(apply):
        raise TypeError("apply and params are in the other order: supervised(apply, params, X, y)")
    X, y = gathered(X, "X"), gathered(y, "y")
    carrier = carry(apply, None if params is ... else params)
    if carrier is None and params is ...:
        raise refuse(apply)
    if carrier is not None:
        if params is not ... and not carrier.takes_variables:
            raise TypeError(f"{carrier.kind} holds its own parameters: supervised(model, X, y)")
        found = recognised(carrier, _first_sample(X))
        if found is carrier and hasattr(X, "__array__"):
            carrier.check(np.asarray(X[:2]))
        apply, params = found.function, found
    term = Term(apply, X, y, loss, sample_weight=sample_weight)
    objective = Objective(params, [term], weight_decay, dtype, chunk_samples, memory_budget, sharding)
    objective._shape = np.shape(y)[1:] if hasattr(y, "__array__") else None
    if isinstance(apply, MLP):
        scales.warn(X, y if loss == "squared" else None)
    return objective


def _first_sample(X: Any) -> Any:
    """One sample of an array; None for a pytree of arrays, or for what is no array."""
    shape = np.shape(X) if hasattr(X, "__array__") else ()
    return jax.ShapeDtypeStruct(shape[1:], np.dtype(float)) if shape else None


@dataclasses.dataclass(frozen=True)
class _OfModel:
    """A term's function of a model, as one of its parameters."""

    view: Callable[[Params], Any]
    function: Callable[[Any, Any], Any]

    def __call__(self, params: Params, x: Any) -> Any:
        return self.function(self.view(params), x)


def least_squares(
    residual: Callable[..., Any],
    params: Params,
    data: Any = None,
    weight_decay: Any = 0.0,
    sample_weight: Any = None,
    dtype: str = "float64",
    chunk_samples: int | None = None,
    memory_budget: float | None = None,
    sharding: Any = None,
) -> Objective:
    """E = mean over samples of 1/2 |residual(params, sample)|^2, for any residual of one sample.

    Without data E = 1/2 |residual(params)|^2, the cost of `scipy.optimize.least_squares`. Residuals are written in
    `jax.numpy`. With data the Jacobian's structure by samples is known, which makes it cheaper.

    Parameters
    ----------
    residual : callable
        residual(params, sample) -> array; or residual(params) -> array, without data.
    params : pytree of arrays, or a model
        The start.
    data : pytree of arrays, optional
        All samples; every leaf has the leading axis N.
    weight_decay : float or pytree of floats
        One number, or one for each leaf of the parameters.
    sample_weight : array of shape (N,), optional
        See `Term`.
    dtype : "float64" or "float32"
        The number type of everything.
    chunk_samples : int, optional
        See `Objective`.
    memory_budget : float, optional
        See `Objective`.
    sharding : jax.sharding.Mesh or NamedSharding, optional
        See `Objective`, also for what is raised.

    Examples
    --------
    >>> objective = least_squares(lambda p, s: p["k"] * s[0] - s[1], {"k": 0.0}, np.array([[1.0, 2.0], [2.0, 4.0]]))
    >>> float(objective.value(np.array([2.0])))
    0.0
    >>> float(least_squares(lambda x: 10 * (x[1:] - x[:-1] ** 2), np.array([1.0, 2.0])).value(np.ones(2)))
    0.0
    """
    if data is None:
        term = Term(_Alone(residual), np.zeros(1), sample_weight=sample_weight)
    else:
        term = Term(residual, data, sample_weight=sample_weight)
    return Objective(params, [term], weight_decay, dtype, chunk_samples, memory_budget, sharding)


def minimise(loss: Callable[[Any], Any], params: Params, dtype: str = "float64") -> Objective:
    """An objective that is only a scalar `loss(params)`, twice differentiable. It has no Gauss-Newton matrix.

    Examples
    --------
    >>> objective = minimise(lambda p: (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2, np.array([-1.0, 1.0]))
    >>> float(objective.value(np.ones(2)))
    0.0
    """
    if not callable(loss):
        raise TypeError(f"loss must be a callable loss(params), not {type(loss).__name__}")
    term = Term(_Alone(loss), np.zeros(1), loss=IDENTITY)
    return Objective(params, [term], dtype=dtype)


@dataclasses.dataclass(frozen=True)
class _Alone:
    """A function of the params as one of params and one sample that it ignores; equal where the function is."""

    function: Callable[[Any], Any]

    def __call__(self, params: Params, _: Any) -> Any:
        return self.function(params)
