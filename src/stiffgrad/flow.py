"""Training is an ODE: dw/dt = F(w) = -grad E(w), whose Jacobian is -H(w). Every evaluation is counted here."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import dnrm2

from stiffgrad.objective import Objective, derivatives
from stiffgrad.objective.compiled import Compiled

Vector = NDArray[np.float64]
Result = TypeVar("Result")
CLOCKS = ("rhs_seconds", "jacobian_seconds", "library_seconds", "recording_seconds")
JACOBIANS = ("autodiff", "finite-difference", "gauss-newton")
EMBEDDED = 2**20  # bytes of data up to which they are constants of the compiled programs
WHOLE = 1024  # weights up to which a Hessian is one call; a larger one is made in strips, to end with the wall time


def _slope(objective: Any, w: jax.Array) -> jax.Array:
    # One array for both: a second one costs as long as the gradient of a tiny network.
    loss, gradient = derivatives.value_and_gradient(objective, w)
    return jnp.append(-gradient, loss)


def _minus_hessian(objective: Any, w: jax.Array) -> jax.Array:
    return -derivatives.hessian(objective, w)


def _minus_gauss_newton(objective: Any, w: jax.Array) -> jax.Array:
    return -derivatives.gauss_newton(objective, w)


# What host solvers call, as functions of an objective and vectors.
PROGRAMS: dict[str, Callable[..., Any]] = {
    "slope": _slope,
    "value": derivatives.value,
    "residual": derivatives.residual,
    "scaled_jacobian": derivatives.scaled_jacobian,
    "autodiff": _minus_hessian,
    "strip": derivatives.hessian_rows,
    "gauss-newton": _minus_gauss_newton,
    "product": derivatives.hvp,
    "gauss-newton product": derivatives.gnvp,
}
_SHARED = {name: Compiled(function) for name, function in PROGRAMS.items()}


class _Data:
    """The data of an objective, equal to another only where it is the same arrays."""

    def __init__(self, objective: Objective) -> None:
        leaves, structure = jax.tree.flatten((objective.blocks, objective.decay))
        self.leaves = leaves
        self.key = (structure, objective.layout, *map(id, leaves))
        self.objective = objective
        bytes_ = sum(leaf.nbytes for leaf in leaves)
        self.small = bytes_ <= EMBEDDED and all(len(leaf.sharding.device_set) == 1 for leaf in leaves)

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Data) and self.key == other.key


def _programs(objective: Objective) -> dict[str, Callable[..., Any]]:
    """The compiled `PROGRAMS` of an objective, as functions of vectors alone; NumPy arrays go in as they are.

    Small data are constants of the program, as they are in a gradient that a user compiles for one data set: to hand
    five arrays over at every call takes a tenth of the time of a small network's gradient, and on a busy machine half.
    """
    data = _Data(objective)
    if data.small:
        return _embedded(data)
    return {name: program.bound(objective) for name, program in _SHARED.items()}


@functools.lru_cache(maxsize=16)
def _embedded(data: _Data) -> dict[str, Callable[..., Any]]:
    return {name: jax.jit(functools.partial(function, data.objective)) for name, function in PROGRAMS.items()}


class OutOfTime(Exception):
    """The wall-time budget ended inside a step; the driver returns the last accepted point."""


class Flow:
    """The gradient flow of an objective for solvers that run outside compiled loops; arrays are NumPy.

    Parameters
    ----------
    objective : Objective
    compilation : "quick" or "full"
        How compiled solvers are to be compiled, see `solve`.

    Attributes
    ----------
    counts : dict
        Cumulative evaluations, named as in `Statistics`.
    seconds : dict
        Cumulative wall seconds, measured at the calls: `rhs_seconds` in right sides and losses, `jacobian_seconds` in
        Jacobians and products, `recording_seconds` in the driver's record of steps, `library_seconds` in the library.
    point, loss, gradient_norm
        Of the last evaluation of F.
    deadline : float
        On the clock of `time.perf_counter`; past it an evaluation raises `OutOfTime`.

    Examples
    --------
    >>> from stiffgrad.objective import minimise
    >>> flow = Flow(minimise(lambda w: 0.5 * (w**2).sum(), np.array([1.0, 2.0])))
    >>> flow.rhs(0.0, np.array([1.0, 2.0])).tolist(), flow.counts["rhs_evaluations"]
    ([-1.0, -2.0], 1)
    """

    def __init__(self, objective: Objective, compilation: str = "quick") -> None:
        self.objective = objective
        self.compilation = compilation
        self.size = objective.size
        self.outputs = objective.outputs
        self.deadline = np.inf
        self.counts: dict[str, float] = {}
        self.seconds: dict[str, float] = {}
        self._dtype = objective.w0.dtype
        self._run = _programs(objective)
        self._program = self._run["slope"]
        self.reset()

    def reset(self) -> None:
        """Forget counts, times and the last point (after a warm-up)."""
        names = ("rhs_evaluations", "loss_evaluations", "jacobian_evaluations", "hessian_products", "presentations")
        self.counts.update(dict.fromkeys(names, 0))
        self.seconds.update(dict.fromkeys(CLOCKS, 0.0))
        self._entered = np.nan
        self.point: Vector = np.full(self.size, np.nan)
        self._seen: Vector | None = None
        self._loss = self._norm = np.nan
        self._primed: Vector | None = None

    # ---- counts and clocks

    def _count(self, name: str, presentations: float) -> float:
        begin = self._check_time()
        self.counts[name] += 1
        self.counts["presentations"] += presentations
        return begin

    def _check_time(self) -> float:
        now = time.perf_counter()
        if now > self.deadline:
            raise OutOfTime
        return now

    def library(self, call: Callable[..., Result], *arguments: Any, **options: Any) -> Result:
        """Call a library, and add the time it takes, less that of our own functions it calls, to `library_seconds`."""
        self._entered = time.perf_counter() - self._ours()
        try:
            return call(*arguments, **options)
        finally:
            self.settle()
            self._entered = np.nan

    def settle(self) -> None:
        """Inside of `library`: bring `library_seconds` up to now."""
        if self._entered == self._entered:  # not NaN
            now = time.perf_counter() - self._ours()
            self.seconds["library_seconds"] += now - self._entered
            self._entered = now

    def _ours(self) -> float:
        seconds = self.seconds
        return seconds["rhs_seconds"] + seconds["jacobian_seconds"] + seconds["recording_seconds"]

    # ---- the last point

    @property
    def loss(self) -> float:
        """E at the last point where F was evaluated; NaN before the first one."""
        return self.last[0]

    @property
    def gradient_norm(self) -> float:
        """Euclidean norm of the gradient there."""
        return self.last[1]

    @property
    def last(self) -> tuple[float, float]:
        """Both."""
        # Only an accepted step asks, and then once: the right sides before it are spared the conversion.
        if self._seen is not None:
            seen, self._seen = self._seen, None
            self._loss, self._norm = seen.item(-1), dnrm2(seen, self.size)  # BLAS: no warning where a run diverges
        return self._loss, self._norm

    def remember(self, w: Vector, loss: float, gradient_norm: float) -> None:
        """Take loss and gradient norm at `w` as a solver knows them."""
        self.point, self._seen, self._loss, self._norm = np.array(w), None, loss, gradient_norm

    def _evaluate(self, w: Vector) -> Vector:
        """-grad E and E, (n + 1,), at a copy of w that becomes the last point."""
        self.point = w = np.array(w)
        seen = np.asarray(self._program(w if w.dtype == self._dtype else w.astype(self._dtype)))
        self._seen = seen
        return seen

    def prime(self, w: Vector) -> tuple[float, float]:
        """Loss and gradient norm at the start, uncounted: the solver's own first evaluation there reuses them."""
        self._primed = self._evaluate(w)
        return self.loss, self.gradient_norm

    # ---- evaluations

    def rhs(self, t: float, w: Vector) -> Vector:
        """F(w) = -grad E(w), (n,), not to be written to; the time t is not used: the flow is autonomous."""
        # Written out instead of calling `_count` and `_evaluate`: each call takes a tenth of a tiny network's gradient.
        begin = time.perf_counter()
        if begin > self.deadline:
            raise OutOfTime
        counts = self.counts
        counts["rhs_evaluations"] += 1
        counts["presentations"] += 1
        primed, self._primed = self._primed, None
        if primed is not None and np.array_equal(w, self.point):
            self._seen = primed
            return primed[:-1]
        self.point = w = np.array(w)
        self._seen = seen = np.asarray(self._program(w if w.dtype == self._dtype else w.astype(self._dtype)))
        self.seconds["rhs_seconds"] += time.perf_counter() - begin
        return seen[:-1]

    def value_and_gradient(self, w: Vector) -> tuple[float, Vector]:
        """E(w) and its gradient, (n,). Counts one right-side evaluation and one presentation."""
        slope = self.rhs(0.0, w)
        return self.loss, -slope

    def value(self, w: Vector) -> float:
        """E(w) alone. Counts one loss evaluation and one presentation."""
        begin = self._count("loss_evaluations", 1)
        loss = float(self._run["value"](self._given(w)))
        self.seconds["rhs_seconds"] += time.perf_counter() - begin
        return loss

    def residual(self, w: Vector) -> Vector:
        """The pseudo-residual, (m,). Counts one loss evaluation and one presentation."""
        begin = self._count("loss_evaluations", 1)
        rows = np.asarray(self._run["residual"](self._given(w)))
        self.seconds["rhs_seconds"] += time.perf_counter() - begin
        return rows

    def scaled_jacobian(self, w: Vector) -> NDArray[np.float64]:
        """The Jacobian A of the pseudo-residual, (m, n). Counts as one Jacobian and a presentation for each output."""
        begin = self._count("jacobian_evaluations", self.outputs)
        matrix = np.asarray(self._run["scaled_jacobian"](self._given(w)))
        self.seconds["jacobian_seconds"] += time.perf_counter() - begin
        return matrix

    def _given(self, w: Vector) -> Vector:
        return np.array(w, self._dtype)  # a copy: compiled code may read an array after its owner wrote to it again

    def jacobian_at(self, w: Vector, kind: str = "autodiff") -> NDArray[np.float64]:
        """The Jacobian -H(w) of F, or minus the Gauss-Newton matrix for kind="gauss-newton"; (n, n)."""
        gauss_newton = kind == "gauss-newton"
        begin = self._count("jacobian_evaluations", self.outputs if gauss_newton else 2 * self.size)
        if gauss_newton or self.size <= WHOLE:
            matrix = np.asarray(self._run[kind](self._given(w)))
        else:
            matrix = self._by_strips(self._given(w))
        self.seconds["jacobian_seconds"] += time.perf_counter() - begin
        return matrix

    def _by_strips(self, w: Vector) -> NDArray[np.float64]:
        strips = []
        for first in range(0, self.size, 64):
            strips.append(np.asarray(self._run["strip"](w, first)))
            self._check_time()
        matrix = np.concatenate(strips)[: self.size]
        return -0.5 * (matrix + matrix.T)

    def jacobian(self, kind: str) -> Callable[[float, Vector], NDArray[np.float64]] | None:
        """`jacobian_at` as a function (t, w) -> (n, n); None for "finite-difference": the solver's own."""
        return None if kind == "finite-difference" else lambda t, w: self.jacobian_at(w, kind)

    def product(self, w: Vector, v: Vector, kind: str = "autodiff") -> Vector:
        """H v, or G v for kind="gauss-newton"; (n,). Counts one Hessian product and two presentations."""
        begin = self._count("hessian_products", 2)
        name = "gauss-newton product" if kind == "gauss-newton" else "product"
        product = np.asarray(self._run[name](self._given(w), self._given(v)))
        self.seconds["jacobian_seconds"] += time.perf_counter() - begin
        return product

    def refresh(self, w: Vector) -> None:
        """Make loss and gradient norm exact at `w`, for a stop near a target; counted as a loss evaluation."""
        if not np.array_equal(w, self.point):
            begin = self._count("loss_evaluations", 1)
            self._evaluate(w)
            self.seconds["rhs_seconds"] += time.perf_counter() - begin

    def warm_up(self, *programs: str) -> None:
        """Compile the right side and what else of `PROGRAMS` a solver will call, uncounted."""
        w = np.asarray(self.objective.w0)
        jax.block_until_ready(self._run["slope"](w))
        for name in programs:
            if name == "autodiff" and self.size > WHOLE:
                self._run["strip"](w, 0)
            elif name in PROGRAMS:
                jax.block_until_ready(self._run[name](*((w, w) if "product" in name else (w,))))
