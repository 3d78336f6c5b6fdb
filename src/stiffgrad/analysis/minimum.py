"""Is the point that a run ended in a minimum? Second-order conditions, judged against rounding."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stiffgrad import _checks, _display
from stiffgrad._float64 import float64
from stiffgrad._types import Params
from stiffgrad.analysis._descent import descends
from stiffgrad.analysis._modes import (
    Local,
    Modes,
    dense_modes,
    epsilon,
    flat_point,
    hessian_product,
    lanczos_modes,
    local,
    positive_whole,
    unseen_below,
)
from stiffgrad.objective import Objective
from stiffgrad.objective.networks import MLP

Vector = NDArray[np.float64]
DENSE = 1500  # weights


@dataclasses.dataclass(frozen=True)
class Minimum:
    """What `minimum` found.

    Attributes
    ----------
    kind : str
        "minimum": no direction goes down, and every flat one is explained by more weights than data or by a symmetry of
        the network. "saddle": a direction goes down, and was followed to check. "flat": nothing goes down, but more
        directions are flat than those reasons explain. "not stationary": the gradient is too large to tell.
    loss, gradient_norm : float
        At the point.
    gradient_rounding : float
        What rounding of the weights leaves of the gradient; `relative_gradient` is the ratio of the two, near 1 where
        no better point can be represented.
    tolerance : float
        The gradient norm up to which the point counts as stationary.
    eigenvalue_min, eigenvalue_max : float
        Of the Hessian.
    negative, zero : int or None
        Eigenvalues that are negative, and that are zero within `zero_threshold`. Beyond dense sizes `negative` counts
        those that were found, and `zero` is None.
    explained_zero : int
        Zero eigenvalues that any good fit has: more weights than outputs, and symmetries.
    zero_threshold : float
        Rounding error of an eigenvalue, n eps eigenvalue_max.
    sure : bool
        Whether all eigenvalues are known and the gradient is small enough that their signs hold.
    confidence : str
        The same in words.
    products : int
        Hessian-vector products used; a dense Hessian counts n.
    eigenvalues : array of shape (k,)
        All eigenvalues, ascending; beyond dense sizes those that Lanczos found.
    """

    kind: str
    loss: float
    gradient_norm: float
    gradient_rounding: float
    tolerance: float
    eigenvalue_min: float
    eigenvalue_max: float
    negative: int
    zero: int | None
    explained_zero: int
    zero_threshold: float
    sure: bool
    confidence: str
    products: int
    eigenvalues: Vector = dataclasses.field(default_factory=lambda: np.zeros(0), repr=False, compare=False)

    @property
    def relative_gradient(self) -> float:
        """Gradient norm over its rounding error."""
        return self.gradient_norm / max(self.gradient_rounding, np.finfo(float).tiny)

    def plot(self) -> Any:
        """The spectrum: the size of each eigenvalue, negative ones marked, as a `matplotlib.figure.Figure`."""
        figure, (axis,) = _display.figure(1, "minimum.plot()")
        size, place = np.abs(self.eigenvalues), np.arange(1, len(self.eigenvalues) + 1)
        shown = np.maximum(size, np.finfo(float).tiny)
        for chosen, colour, marker, label in (
            (self.eigenvalues >= 0, _display.BLUE, "o", "positive or zero"),
            (self.eigenvalues < 0, _display.ORANGE, "v", "negative"),
        ):
            if chosen.any():
                axis.plot(place[chosen], shown[chosen], marker, color=colour, markersize=3, label=label)
        axis.axhline(self.zero_threshold, color="#57606a", linestyle=":", label="rounding error")
        axis.set(xlabel="number, ascending", ylabel="size of eigenvalue", yscale="log", title=self.kind)
        axis.legend(frameon=False)
        return figure

    def _repr_html_(self) -> str:
        zero = "unknown" if self.zero is None else str(self.zero)
        rows = {
            "loss": f"{self.loss:.6e}",
            "gradient norm": f"{self.gradient_norm:.3e}, {self.relative_gradient:.2g} times its rounding error",
            "eigenvalues": f"{self.eigenvalue_min:.3e} to {self.eigenvalue_max:.3e}",
            "negative": str(self.negative),
            "zero": f"{zero} ({self.explained_zero} explained)",
        }
        return _display.table(f"Minimum: {self.kind}{'' if self.sure else ' (not sure)'}", rows, self.confidence)

    def __repr__(self) -> str:
        zero = "unknown" if self.zero is None else str(self.zero)
        return (
            f"Minimum: {self.kind}{'' if self.sure else ' (not sure)'}\n"
            f"  loss           {self.loss:.6e}\n"
            f"  gradient norm  {self.gradient_norm:.3e}, {self.relative_gradient:.2g} times its rounding error\n"
            f"  eigenvalues    {self.eigenvalue_min:.3e} to {self.eigenvalue_max:.3e}, {self.negative} negative, "
            f"{zero} zero ({self.explained_zero} explained)\n"
            f"  {self.confidence}"
        )


@float64
def minimum(
    objective: Objective,
    params: Params,
    *,
    gradient_tolerance: float | None = None,
    products: int = 100,
    dense: int = DENSE,
) -> Minimum:
    """Tell a minimum from a saddle, a flat region and a point that is not stationary.

    Up to `dense` weights the whole spectrum of the Hessian is computed; beyond, Lanczos finds its ends. An eigenvalue
    within its rounding error is zero, and so is one that the rest of the gradient could make: at a point near a
    minimum of zero loss, the remaining residuals give tiny negative eigenvalues that vanish with them. Directions of
    negative or zero curvature are then followed in both senses: only a loss that falls counts.

    Parameters
    ----------
    objective : Objective
        Whose loss is looked at.
    params : pytree or array of shape (n,)
        The point.
    gradient_tolerance : float, optional
        Gradient norm up to which the point is stationary. Default: 1e-6 sqrt(2 eigenvalue_max E(start)), or 100 times
        the rounding error of the gradient where that is more.
    products : int
        Lanczos steps beyond dense sizes.
    dense : int
        Number of weights up to which the Hessian is formed; a few seconds on two cores for 1500.

    Returns
    -------
    Minimum
        What kind of point it is, with the eigenvalues.

    Raises
    ------
    ValueError, TypeError
        Parameters that do not fit the objective or are not finite; a tolerance or `dense` that is negative;
        fewer than 2 products.

    Notes
    -----
    The bound beyond dense sizes: Kuczynski and Wozniakowski (1992), theorem 4.2.

    Examples
    --------
    >>> import stiffgrad as sg
    >>> objective = sg.minimise(lambda w: w[0] ** 2 - w[1] ** 2, np.array([0.0, 0.0]))
    >>> sg.minimum(objective, np.array([0.0, 0.0])).kind
    'saddle'
    """
    w = flat_point(objective, params)
    products, dense = positive_whole("products", products, 2), positive_whole("dense", dense, 0)
    _check_tolerance(gradient_tolerance)
    here = local(objective, w)
    modes = dense_modes(objective, w) if len(w) <= dense else lanczos_modes(objective, w, products)
    largest = float(np.abs(modes.values).max())
    threshold = epsilon(objective) * len(w) * largest
    tolerance = gradient_tolerance if gradient_tolerance is not None else _tolerance(objective, here, largest)
    stationary = here.gradient_norm <= tolerance
    shift, extra = _doubt(objective, here, modes, threshold) if stationary else (np.zeros(len(modes.values)), 0)
    uncertain = np.maximum(threshold, 2.0 * shift)
    negative, zero = modes.values < -uncertain, np.abs(modes.values) <= uncertain
    explained = explained_zeros(objective)
    kind = _kind(objective, here, modes, stationary, negative, zero, explained)
    sure, confidence = _confidence(objective, here, modes, kind, shift, stationary, int(negative.sum()))
    return Minimum(
        kind=kind,
        loss=here.loss,
        gradient_norm=here.gradient_norm,
        gradient_rounding=here.slope_rounding,
        tolerance=float(tolerance),
        eigenvalue_min=float(modes.values[0]),
        eigenvalue_max=float(modes.values[-1]),
        negative=int(negative.sum()),
        zero=int(zero.sum()) if modes.complete else None,
        explained_zero=explained,
        zero_threshold=threshold,
        sure=sure,
        confidence=confidence,
        products=modes.products + extra,
        eigenvalues=modes.values,
    )


def explained_zeros(objective: Objective) -> int:
    """Zero eigenvalues that every good fit has: n - (outputs that the loss can see), or the network's symmetries.

    Softmax does not see a shift common to all outputs: width + 1 directions in the last layer. In a relu network each
    hidden unit may be scaled against its outgoing weights: one direction a unit. Weight decay removes all of them.
    """
    if not objective.has_gauss_newton or bool(np.any(np.asarray(objective.decay) > 0)):
        return 0
    blind, symmetric = 0, 0
    for block in objective.blocks:
        network = block.function
        softmax = block.loss.name == "cross_entropy"
        blind += int(block.coefficients.size) if softmax else 0
        if isinstance(network, MLP) and len(objective.blocks) == 1:
            symmetric += network.sizes[-2] + 1 if softmax else 0
            symmetric += sum(network.sizes[1:-1]) if network.activation == "relu" else 0
    return max(0, objective.size - (objective.rows - blind), symmetric)


def _check_tolerance(tolerance: float | None) -> None:
    if tolerance is not None:
        _checks.number("gradient_tolerance", tolerance, least=0.0)


def _tolerance(objective: Objective, here: Local, largest: float) -> float:
    # sqrt(2 lambda_max E) is the largest gradient of a quadratic at height E: the natural unit of a gradient norm.
    start = float(objective.value(objective.w0))
    height = max(abs(here.loss), abs(start) if np.isfinite(start) else 0.0)
    return max(1e-6 * float(np.sqrt(2.0 * largest * height)), 100.0 * here.slope_rounding)


def _doubt(objective: Objective, here: Local, modes: Modes, threshold: float) -> tuple[Vector, int]:
    """How much each small eigenvalue may change on the way to the stationary point nearby, and the products it took.

    The way is a Newton step over the modes that it may divide by; of several cut-offs the one that leaves the smallest
    gradient is taken. The curvature along each mode in doubt is measured again at its end.
    """
    doubt = np.zeros(len(modes.values))
    if here.gradient_norm <= 100.0 * here.slope_rounding or not np.any(modes.values < -threshold):
        return doubt, 0
    along = modes.vectors.T @ here.slope
    best, end = here.gradient_norm, None
    for cut in np.logspace(-12, -2, 6) * np.abs(modes.values).max():
        keep = np.abs(modes.values) > max(cut, threshold)
        trial = here.w - modes.vectors[:, keep] @ (along[keep] / modes.values[keep])
        norm = float(np.linalg.norm(np.asarray(objective.gradient(trial))))
        if norm < best:
            best, end = norm, trial
    if end is None:
        return doubt, 0
    if modes.complete:
        change = np.asarray(objective.hessian(end), dtype=float) @ modes.vectors
        return np.abs(np.sum(modes.vectors * change, axis=0) - modes.values), len(modes.values)
    chosen = np.flatnonzero(modes.values < -threshold)
    product = hessian_product(objective, end)
    for i in chosen:
        doubt[i] = abs(modes.vectors[:, i] @ product(modes.vectors[:, i]) - modes.values[i])
    return doubt, len(chosen)


def _kind(
    objective: Objective,
    here: Local,
    modes: Modes,
    stationary: bool,
    negative: NDArray[np.bool_],
    zero: NDArray[np.bool_],
    explained: int,
) -> str:
    if not stationary:
        return "not stationary"
    # The allowance for curvature that counts as zero: what a zero mode may still do, and not be a descent direction.
    allowance = float(np.abs(modes.values[zero]).max(initial=0.0))
    steepest = np.flatnonzero(negative)[:4]
    if any(descends(objective, here, modes.vectors[:, i], 0.0) for i in steepest):
        return "saddle"
    if zero.any():
        generator = np.random.default_rng(0)
        plane = modes.vectors[:, zero]
        for _ in range(min(8, 2 * plane.shape[1])):
            if descends(objective, here, plane @ generator.standard_normal(plane.shape[1]), allowance):
                return "saddle"
    unexplained = int(zero.sum()) + int(negative.sum()) > explained
    return "flat" if unexplained else "minimum"


def _confidence(
    objective: Objective, here: Local, modes: Modes, kind: str, shift: Vector, stationary: bool, negative: int
) -> tuple[bool, str]:
    if not stationary:
        return True, "The gradient is well above its tolerance: train on, for instance with Until(gradient_norm=...)."
    parts = []
    if modes.complete:
        sure = True
        parts.append(f"All {len(modes.values)} eigenvalues are known.")
    else:
        gap = unseen_below(modes, len(here.w))
        sure = kind == "saddle"
        parts.append(
            f"Lanczos took {modes.products} products: with probability 0.95 no eigenvalue lies below "
            f"{modes.values[0] - gap:.2e}."
        )
    if shift.any():
        parts.append(
            f"The gradient that remains may move an eigenvalue by {np.max(shift):.1e}: this is counted as zero."
        )
    if kind == "saddle":
        parts.append("A direction was followed down.")
    elif negative:
        sure = False
        parts.append(
            f"{negative} eigenvalue{' is' if negative == 1 else 's are'} negative, to {modes.values[0]:.1e}, but "
            "whatever the loss falls along them is less than its rounding: it may be a saddle."
        )
    if here.gradient_norm > 1e6 * here.slope_rounding and kind != "saddle":
        sure = False
        parts.append("The gradient is far above its rounding error: a lower one makes the verdict sure.")
    if epsilon(objective) > 1e-10 and kind != "saddle":
        sure = False
        parts.append("float32 hides small curvature.")
    return sure, " ".join(parts)
