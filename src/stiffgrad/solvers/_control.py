"""When a step is accepted and how long the next one is: one rule for every method of our own."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax

from stiffgrad import _checks
from stiffgrad._arrays import namespace
from stiffgrad.curvature.point import Point

SMALLER = 0.99  # where only the gradient can judge, it must shrink by this factor: else a run would creep for ever


class Verdict(NamedTuple):
    """What came of a trial.

    Attributes
    ----------
    accepted : bool
        Whether the energy fell or, where rounding hides that, the gradient.
    ratio : scalar
        Decrease of the energy, as a part of what the model promised; 1 where rounding hides it.
    hidden : bool
        Whether the promise is below the rounding of the energy.
    """

    accepted: jax.Array
    ratio: jax.Array
    hidden: jax.Array


def judge(old: Point, new: Point, promise: Any, share: Any = 0.0) -> Verdict:
    """Accept `new` if the energy falls, by more than a `share` of the promise; at its rounding the gradient decides.

    The first evaluation of a start, whose energy is not known, is always accepted. (Armijo's condition for a share
    above 0; Hager and Zhang 2005 on what rounding does to it.)
    """
    xp = namespace(new.loss)
    fall = old.loss - new.loss
    hidden = promise < old.rounding
    smaller = xp.linalg.norm(new.gradient) < SMALLER * xp.linalg.norm(old.gradient)
    lower = (fall > old.rounding) & (fall >= share * promise)
    equal = (abs(fall) <= old.rounding) & smaller
    accepted = xp.isfinite(new.loss) & (lower | equal | ~old.known)
    ratio = xp.where(hidden | ~old.known, 1.0, fall / xp.where(promise > 0, promise, 1.0))
    return Verdict(accepted, ratio, hidden)


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["poor", "bend", "halve", "leap", "shrink", "longest"],
    meta_fields=[],
)
@dataclasses.dataclass(frozen=True)
class Control:
    """How the step h follows the ratio of the decrease to its promise. All are numbers that do not recompile.

    |1 - ratio| is the error of the model, relative to what it promised, and grows about in proportion to h.

    Attributes
    ----------
    poor : float
        Ratio below which h is too long.
    bend : float
        The error that is aimed at: h grows by bend / |1 - ratio|, if that is more than 1.
    halve : float
        Factor of h below `poor`.
    leap : float
        The largest factor of h.
    shrink : float
        Factor of h after a rejected step.
    longest : float
        Bound on h.
    """

    poor: float = 0.25
    bend: float = 0.15
    halve: float = 0.5
    leap: float = 10.0
    shrink: float = 0.25
    longest: float = 1e30

    def check(self) -> None:
        """Raise ValueError or TypeError for a field that is no positive number."""
        for field in dataclasses.fields(self):
            _checks.positive(f"control.{field.name}", getattr(self, field.name))

    def next_step(self, h: jax.Array, verdict: Verdict) -> jax.Array:
        """The step to try next."""
        xp = namespace(h)
        error = abs(1.0 - verdict.ratio)
        factor = xp.clip(self.bend / xp.maximum(error, 1e-3), 1.0, self.leap)
        factor = xp.where(verdict.ratio > self.poor, factor, self.halve)
        factor = xp.where(verdict.accepted, factor, self.shrink)
        return xp.minimum(h * factor, self.longest).astype(h.dtype)


DEFAULT = Control()
