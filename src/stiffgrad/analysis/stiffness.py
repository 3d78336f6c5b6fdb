"""How stiff the gradient flow is at a point, and which kind of method that calls for, at the cost of a few products."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np

from stiffgrad import _checks, _display
from stiffgrad._float64 import float64
from stiffgrad._types import Params
from stiffgrad.analysis._modes import epsilon, flat_point, lanczos_modes, positive_whole
from stiffgrad.objective import Objective

MILD, STIFF = 3.0, 30.0  # steps for stability over steps for accuracy
DENSE = 3000  # weights up to which a factorization is the cheaper way to be implicit


@dataclasses.dataclass(frozen=True)
class Stiffness:
    """What `stiffness` found. Times and step sizes are flow time, which has no unit.

    Attributes
    ----------
    eigenvalue_max, eigenvalue_min : float
        Ends of the Hessian's spectrum, from the Lanczos values.
    ratio : float
        eigenvalue_max over the smallest positive eigenvalue seen: the classical stiffness ratio, from below where
        `complete` is false.
    negative : int
        Negative eigenvalues seen: directions in which the flow moves apart.
    fast_modes : int
        Eigenvalues seen above 2 / step_accuracy: these modes, and not accuracy, hold an explicit step down.
    step_explicit : float
        2 / eigenvalue_max, the longest stable step of explicit Euler, and the largest useful learning rate.
    step_accuracy : float
        The step at which the local error h^2/2 |H g| of a first-order method reaches `rtol` |w|.
    excess : float
        step_accuracy / step_explicit: how many steps stability costs for each that accuracy needs.
    products : int
        Hessian-vector products used.
    complete : bool
        Whether the Lanczos values are the whole spectrum.
    advice : str
        In words.
    """

    eigenvalue_max: float
    eigenvalue_min: float
    ratio: float
    negative: int
    fast_modes: int
    step_explicit: float
    step_accuracy: float
    excess: float
    products: int
    complete: bool
    advice: str

    def _repr_html_(self) -> str:
        least = "" if self.complete else "at least "
        rows = {
            "eigenvalues": f"{self.eigenvalue_min:.3e} to {self.eigenvalue_max:.3e}",
            "negative": f"{least}{self.negative}",
            "stiffness ratio": f"{least}{self.ratio:.3g}",
            "explicit step": f"{self.step_explicit:.3g}",
            "step for accuracy": f"{self.step_accuracy:.3g} ({self.excess:.3g} times that)",
            "fast modes": f"{least}{self.fast_modes}",
        }
        return _display.table("Stiffness", rows, self.advice)

    def __repr__(self) -> str:
        least = "" if self.complete else "at least "
        return (
            f"Stiffness: {self.advice}\n"
            f"  eigenvalues       {self.eigenvalue_min:.3e} to {self.eigenvalue_max:.3e}, "
            f"{least}{self.negative} negative\n"
            f"  stiffness ratio   {least}{self.ratio:.3g}\n"
            f"  explicit step     {self.step_explicit:.3g}; accuracy needs {self.step_accuracy:.3g} "
            f"({self.excess:.3g} times that)\n"
            f"  fast modes        {least}{self.fast_modes}\n"
            f"  products          {self.products}"
        )


@float64
def stiffness(
    objective: Objective, params: Params, *, rtol: float = 1e-2, products: int = 40, seed: int = 0
) -> Stiffness:
    """Measure the stiffness of dw/dt = -grad E(w) at a point, before anything expensive runs.

    A flow is stiff where stability, not accuracy, holds an explicit method's step down. Lanczos gives the largest
    eigenvalue, thus the stable step; the speed at which the flow turns gives the step that accuracy would allow.

    Parameters
    ----------
    objective : Objective
        Whose loss is looked at.
    params : pytree or array of shape (n,)
        The point.
    rtol : float
        Relative error a step may make.
    products : int
        Lanczos steps; the cost is one product each, and one more.
    seed : int
        Of the random start of Lanczos.

    Returns
    -------
    Stiffness
        Eigenvalues there, and what an explicit method would cost.

    Raises
    ------
    ValueError, TypeError
        Parameters that do not fit the objective or are not finite; rtol or products out of range.

    Notes
    -----
    See Hairer and Wanner, Solving Ordinary Differential Equations II, section IV.2, for stiffness as a matter of the
    step size.

    Examples
    --------
    >>> import stiffgrad as sg
    >>> objective = sg.minimise(lambda w: 0.5 * (1000 * w[0] ** 2 + w[1] ** 2), np.array([1e-6, 1.0]))
    >>> found = sg.stiffness(objective, objective.w0)
    >>> round(found.ratio), found.advice.startswith("stiff")
    (1000, True)
    """
    w = flat_point(objective, params)
    if not 0 < _checks.number("rtol", rtol) < 1:
        raise ValueError(f"rtol={rtol!r} must lie between 0 and 1")
    _checks.whole("seed", seed)
    modes = lanczos_modes(objective, w, positive_whole("products", products, 2), seed=seed)
    slope = np.asarray(objective.gradient(w), dtype=np.float64)
    turning = float(np.linalg.norm(np.asarray(objective.hvp(w, slope), dtype=np.float64)))
    largest = float(modes.values[-1])
    threshold = max(epsilon(objective) * len(w) * float(np.abs(modes.values).max()), np.finfo(float).tiny)
    positive = modes.values[modes.values > threshold]
    size = max(float(np.linalg.norm(w)), epsilon(objective))
    step_explicit = 2.0 / largest if largest > threshold else np.inf
    step_accuracy = float(np.sqrt(2.0 * rtol * size / turning)) if turning > 0 else np.inf
    excess = step_accuracy / step_explicit if np.isfinite(step_explicit) else 0.0
    return Stiffness(
        eigenvalue_max=largest,
        eigenvalue_min=float(modes.values[0]),
        ratio=largest / float(positive[0]) if positive.size else 1.0,
        negative=int(np.sum(modes.values < -threshold)),
        fast_modes=int(np.sum(modes.values > max(2.0 / step_accuracy, threshold))),
        step_explicit=step_explicit,
        step_accuracy=step_accuracy,
        excess=excess,
        products=modes.products + 1,
        complete=modes.complete,
        advice=_advice(excess, len(w)),
    )


@float64
def stiffness_along(
    objective: Objective, points: Iterable[Params], *, rtol: float = 1e-2, products: int = 40, seed: int = 0
) -> list[Stiffness]:
    """`stiffness` at each of several points, for instance snapshots that a callback of `solve` kept.

    Examples
    --------
    >>> import stiffgrad as sg
    >>> objective = sg.minimise(lambda w: 0.5 * (100 * w[0] ** 2 + w[1] ** 2), np.array([1.0, 1.0]))
    >>> early, late = sg.stiffness_along(objective, [np.array([1.0, 1.0]), np.array([0.0, 0.5])])
    >>> early.excess < late.excess
    True
    """
    return [stiffness(objective, point, rtol=rtol, products=products, seed=seed) for point in points]


def _advice(excess: float, size: int) -> str:
    if excess <= MILD:
        return "explicit is fine: accuracy holds the step down, not stability."
    if excess <= STIFF:
        return "mildly stiff: use solver='chebyshev', or 'auto'."
    return f"stiff: use solver='{'rosenbrock' if size <= DENSE else 'exponential'}', or 'auto'."
