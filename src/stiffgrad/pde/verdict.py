"""The sentences of a verdict: whether an equation is solved, holds between its points, and how far to trust it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from stiffgrad.pde.jumps import Jumps

FAR = 5.0  # a held-out residual so many times the training one: few points (Hao et al.: resample from there on)
SOLVED = 1000.0  # a held-out residual that has fallen so many times is small, if larger than the training one
UNSOLVED = 1e-3  # a loss so many times that of a network that gives nothing is no solution
MISSED = 2.5  # observations missed by so many times their noise are not fitted
ZERO = 1e-4  # a solution of so small a part of its unit is zero
TRUSTED = 1e-5  # a relative error above it is said in the verdict
IN_A_STAGE = (
    "Not solved: the budget ended in a stage, which trains on a part of the time interval, or on equations that weigh "
    "too little. Give it more time. "
)
OPEN = (
    "Not to be trusted: the conditions do not determine the solution. A function may be added to it that none of them "
    "sees. Is a condition missing, as one at an end, or a second one at the start for a second derivative in time? "
)
BENT = (
    "Not to be trusted: a step of Newton's method from here makes the residuals larger, so that there may be no "
    "solution near, or several. Does it have kinks, as that of an eikonal equation, or is there more than one? "
)
UNTOLD = (
    " How large the error is cannot be told, because the residuals of the whole problem hardly fell in this run: not "
    "to be trusted. Give it more time, a larger network or more points."
)


def unsolved(loss: float, nothing: float | None) -> str:
    """A sentence, or none: where the loss is no small part of what the network leaves that gives nothing."""
    if nothing is None or loss <= UNSOLVED * nothing:
        return ""
    return (
        f"Not solved: a loss of {loss:.1e} is {loss / nothing:.2g} times that of the network with all weights "
        "zero. Give it more time, a larger network, or features of the solution: periodic=, fourier=, a transform; "
        "unless its conditions contradict each other. "
    )


def in_pieces(count: int, at: float, end: float) -> str:
    """A sentence about a solution in pieces of time, each by a network of its own."""
    pieces = f"{count} piece{'s' if count > 1 else ''} of time, each with a network of its own"
    if at >= end:
        return f"Found in {pieces}. "
    return (
        f"Not solved: the budget ended at {at:.6g} of {end:.6g}, in {pieces}; up to there it is solved, and beyond the "
        "last piece is no more than continued. Give it more time. "
    )


def missed(name: str, left: float, noise: float) -> str:
    """A sentence, or none: where observations are off by more than their own noise."""
    if not left > MISSED * noise:
        return ""
    return (
        f"Not to be trusted: observations {name!r} are missed by {left:.1e}, {left / noise:.1f} times as much as they "
        "are scattered themselves, so that this is no fit of them, and its error bars have no meaning. It may be a "
        "minimum beside the one that is meant (try other starts of the unknowns), a run that was too short, or the "
        "wrong equation. "
    )


def between(
    residuals: Mapping[str, float], held_out: Mapping[str, float], fall: float, parts: Mapping[str, float] | None = None
) -> str:
    """Whether conditions hold between their points as on them.

    `parts`: residuals that would be an even part of the loss; one below counts as that: it bends nothing.
    """
    if not held_out:
        return (
            "There are no two interior points, so none are held out: how well the equation holds elsewhere is unknown."
        )
    least = dict.fromkeys(held_out, 1e-300) | dict(parts or {})
    name, ratio = max(((n, held_out[n] / max(residuals[n], least[n])) for n in held_out), key=lambda pair: pair[1])
    seen = f"{held_out[name]:.1e} on held-out points, {residuals[name]:.1e} on the points trained on"
    if ratio > FAR and fall > SOLVED:
        return (
            f"Limited by its points: the residual of {name!r} is {seen}, {ratio:.0f} times as large. The solution is "
            "as good as the first number says; more points would make it better."
        )
    if ratio > FAR:
        return (
            f"Not to be trusted: the residual of {name!r} is {seen}, {ratio:.0f} times as large. The equation holds on "
            "its points only: give more points."
        )
    return f"The equation holds between its points as it does on them (residual of {name!r}: {seen})."


def trusted(error: float) -> str:
    """How many digits of the solution to expect."""
    if np.isnan(error):
        return ""
    told = f"Judged from how far the solution moved while its residuals fell, its relative error is about {error:.0e}"
    if error <= TRUSTED:
        return f" {told}."
    return f" {told}: not to be trusted to {TRUSTED:.0e}. Give it more time, a larger network or more points."


def zero(part: float) -> str:
    """A sentence, or none: where the solution is so small a part of its unit that it is no other than zero."""
    if not part < ZERO:
        return ""
    return (
        f" The solution found is zero, or {part:.0e} of its unit. If another one is meant, as an eigenfunction is, ask "
        "for it: give a value or a slope at one point, or a start near it."
    )


def undetermined(free: tuple[int, ...], components: int) -> str:
    """A sentence about constants that no condition sees; or none."""
    if not free:
        return ""
    where = "the solution" if components == 1 else f"component {', '.join(map(str, free))} of the solution"
    return (
        f" Nothing determines a constant that is added to {where}: it is any, and no part of the error told here. A "
        "value at one point fixes it, as pde.boundary(..., points=[...])."
    )


def lost(jumps: Mapping[str, Jumps]) -> str:
    """A sentence, or none: where an equation differentiates a function that jumps."""
    for name, found in jumps.items():
        if found.derived.any():
            where = ", ".join(f"{value:.4g}" for value in found.points[found.derived][0])
            return (
                f"Not to be trusted: {name!r} differentiates a function that jumps, at ({where}) for one. Automatic "
                "differentiation gives the derivative on both sides of a jump, but not that of the jump itself, so "
                "that something else is solved. Give a flux such as k u' a component of its own, as in [q - k u', q'], "
                "or make the jump a steep smooth step. "
            )
    return ""
