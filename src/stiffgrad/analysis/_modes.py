"""Eigenpairs of the Hessian, dense or by Lanczos, and the rounding errors that they are judged against."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from stiffgrad._types import Params
from stiffgrad.objective import Objective

Vector = NDArray[np.float64]


def flat_point(objective: Objective, params: Params, name: str = "params") -> Vector:
    """The flat vector (n,) of parameters given as a pytree or flat already.

    Raises
    ------
    TypeError, ValueError
        Not an objective, a structure or shape that does not fit it, or numbers that are not finite.
    """
    if not isinstance(objective, Objective):
        raise TypeError(f"objective must be an Objective, not {type(objective).__name__}: see stiffgrad.supervised")
    given_flat = isinstance(params, np.ndarray | jax.Array) and params.shape == (objective.size,)
    w = np.asarray(params if given_flat else objective.flatten(params), dtype=np.float64)
    if not np.all(np.isfinite(w)):
        raise ValueError(f"{name} contains NaN or infinity: analyse a point that the solver reached with a finite loss")
    return w


def positive_whole(name: str, value: Any, least: int = 1) -> int:
    """A whole number of at least `least`, or a ValueError that names it."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name}={value!r} must be a whole number of at least {least}")
    return int(value)


def epsilon(objective: Objective) -> float:
    """Rounding unit of the objective's number type."""
    return float(np.finfo(np.dtype(objective.w0.dtype)).eps)


@dataclasses.dataclass(frozen=True)
class Local:
    """Loss and gradient at a point, with the rounding error of each."""

    w: Vector
    loss: float
    slope: Vector
    loss_rounding: float
    slope_rounding: float

    @property
    def gradient_norm(self) -> float:
        """Euclidean norm of the gradient."""
        return float(np.linalg.norm(self.slope))


def local(objective: Objective, w: Vector, probes: int = 4) -> Local:
    """Loss and gradient at `w`, and how much both change when `w` changes in its last digit.

    No float near `w` can be told from `w` by less than that, so it is the error that rounding leaves.
    """
    loss, slope = (np.asarray(a, dtype=np.float64) for a in objective.value_and_gradient(w))
    eps = epsilon(objective)
    generator = np.random.default_rng(0)
    losses, slopes = [0.0], [0.0]
    for _ in range(probes):
        near = w * (1.0 + eps * generator.choice([-1.0, 1.0], w.shape))
        other, tilt = objective.value_and_gradient(near)
        losses.append(abs(float(other) - float(loss)))
        slopes.append(float(np.linalg.norm(np.asarray(tilt, dtype=np.float64) - slope)))
    size = float(np.linalg.norm(slope))
    return Local(w, float(loss), slope, 8.0 * (max(losses) + eps * abs(float(loss))), max(slopes) + eps * size)


@dataclasses.dataclass(frozen=True)
class Modes:
    """Eigenvalues (k,), ascending, their vectors (n, k), and bounds on the error of each eigenvalue, (k,).

    `complete` says that these are all n of them; otherwise they are the Ritz pairs of a Lanczos run. `exhausted` says
    that no other eigenvalue exists: the run ended in an invariant subspace, which a random start finds only at the end.
    """

    values: Vector
    vectors: NDArray[np.float64]
    errors: Vector
    products: int
    complete: bool
    exhausted: bool


def dense_modes(objective: Objective, w: Vector) -> Modes:
    """All eigenpairs of the dense Hessian; n products."""
    values, vectors = np.linalg.eigh(np.asarray(objective.hessian(w), dtype=np.float64))
    rounding = epsilon(objective) * len(w) * np.abs(values).max()
    return Modes(values, vectors, np.full(len(w), rounding), len(w), complete=True, exhausted=True)


def hessian_product(objective: Objective, w: Vector) -> Callable[[Vector], Vector]:
    """The function v -> H(w) v on NumPy arrays."""
    return lambda v: np.asarray(objective.hvp(w, v), dtype=np.float64)


def lanczos(product: Callable[[Vector], Vector], start: Vector, steps: int) -> tuple[Vector, Vector, NDArray[Any]]:
    """Lanczos with full reorthogonalisation (Golub and Van Loan, 4th edition, section 10.1).

    Returns the diagonal (k,), the off-diagonal (k,), whose last entry is the residual's norm (0 when the Krylov space
    is invariant), and the basis (n, k), with k <= steps.
    """
    basis = np.empty((len(start), steps))
    diagonal, off = np.zeros(steps), np.zeros(steps)
    q, scale = start / np.linalg.norm(start), 0.0
    for k in range(steps):
        basis[:, k] = q
        r = product(q)
        diagonal[k] = q @ r
        for _ in range(2):  # twice is enough (Parlett)
            r = r - basis[:, : k + 1] @ (basis[:, : k + 1].T @ r)
        off[k] = np.linalg.norm(r)
        scale = max(scale, abs(diagonal[k]), off[k])
        if k + 1 == len(start) or off[k] <= 1e-13 * scale:
            off[k] = 0.0
            return diagonal[: k + 1], off[: k + 1], basis[:, : k + 1]
        q = r / off[k]
    return diagonal, off, basis


def tridiagonal_eigen(diagonal: Vector, off: Vector) -> tuple[Vector, NDArray[np.float64]]:
    """Eigenvalues, ascending, and vectors of the Lanczos tridiagonal matrix."""
    t = np.diag(diagonal) + np.diag(off[:-1], 1) + np.diag(off[:-1], -1)
    return np.linalg.eigh(t)


def lanczos_modes(objective: Objective, w: Vector, products: int, start: Vector | None = None, seed: int = 0) -> Modes:
    """Ritz pairs of the Hessian; |theta - nearest eigenvalue| <= off_k |last entry of the Ritz vector|."""
    if start is None:
        start = np.random.default_rng(seed).standard_normal(len(w))
    diagonal, off, basis = lanczos(hessian_product(objective, w), start, min(products, len(w)))
    values, small = tridiagonal_eigen(diagonal, off)
    errors = off[-1] * np.abs(small[-1]) + epsilon(objective) * len(w) * np.abs(values).max()
    return Modes(values, basis @ small, errors, len(diagonal), len(diagonal) == len(w), bool(off[-1] == 0.0))


def unseen_below(modes: Modes, size: int, doubt: float = 0.05) -> float:
    """How far an eigenvalue may lie outside the Ritz values, with probability 1 - doubt over the random start.

    Kuczynski and Wozniakowski (1992), theorem 4.2: after k steps the relative error of an extreme eigenvalue exceeds
    e with probability at most 1.648 sqrt(n) exp(-sqrt(e) (2k - 1)).
    """
    if modes.exhausted:
        return 0.0
    relative = (np.log(1.648 * np.sqrt(size) / doubt) / (2 * modes.products - 1)) ** 2
    return float(relative * (modes.values[-1] - modes.values[0]) / max(1e-3, 1.0 - min(relative, 0.999)))
