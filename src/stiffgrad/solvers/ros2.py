"""`ros2`: follows the path of the gradient flow; two stages, order 2, L-stable, with embedded error control.

With gamma = 1 - 1/sqrt 2, J the Jacobian of F and M = I - gamma h J (Verwer, Spee, Blom, Hundsdorfer 1999, eq. 3.2):
    M k1 = F(w),   M k2 = F(w + h k1) - 2 k1,   w1 = w + 3/2 h k1 + 1/2 h k2.
It is a W-method: order 2 for every matrix in place of J. The embedded solution w + h k1 is of order 1.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from stiffgrad import _checks
from stiffgrad._memory import require
from stiffgrad.curvature import linalg
from stiffgrad.curvature.dense import Curvature, GaussNewton, Hessian
from stiffgrad.curvature.point import evaluated
from stiffgrad.objective import Objective, derivatives
from stiffgrad.solvers._compiled import DIVERGED, FAILED, CompiledSolver, Condition, Rows
from stiffgrad.solvers._own import ROW, Place, blank_row
from stiffgrad.solvers._tally import Prices, dense_prices

GAMMA = 1.0 - 0.5**0.5
SAFETY, SHRINK, GROW = 0.9, 0.2, 5.0  # the usual bounds of step control, Hairer and Wanner (1996) IV.2
ATTEMPTS = 40  # step sizes tried from one point


class State(NamedTuple):
    """Between two trials."""

    place: Place
    h: jax.Array
    stale: jax.Array


@partial(jax.tree_util.register_dataclass, data_fields=["rtol", "atol", "h0"], meta_fields=["curvature", "adaptive"])
@dataclasses.dataclass(frozen=True)
class ROS2(CompiledSolver[State]):
    """ROS2: an L-stable Rosenbrock method of order 2 that follows the flow, dense.

    Parameters
    ----------
    rtol, atol : float
        The local error stays below atol + rtol |w| in the root mean square.
    h0 : float, optional
        First step in flow time; by default from the curvature.
    curvature : "auto", "gauss-newton" or "hessian"
        The Jacobian; "auto" is Gauss-Newton where the objective has one. It is a W-method, of order 2 with either.
    adaptive : bool
        False: every step is h0 long.

    Examples
    --------
    >>> ROS2(rtol=1e-5).curvature
    'auto'
    """

    rtol: float = 1e-4
    atol: float = 1e-6
    h0: float | None = None
    curvature: str = "auto"
    adaptive: bool = True

    name: ClassVar[str] = "ros2"
    family: ClassVar[str] = "own"
    summary: ClassVar[str] = "follows the flow's path: Rosenbrock method of order 2, L-stable, dense"
    source: ClassVar[str] = "Verwer, Spee, Blom and Hundsdorfer (1999), SIAM J. Sci. Comput. 20:1456"
    bare_start: ClassVar[bool] = True
    exact_rows: ClassVar[bool] = True
    columns: ClassVar[tuple[str, ...]] = (*ROW, "error_test_failures")
    reasons: ClassVar[dict[int, str]] = {
        FAILED: "no step size meets the tolerances: loosen rtol and atol",
        DIVERGED: "the loss is not finite even for the smallest step",
    }

    @property
    def follows_flow(self) -> bool:
        return True

    def model(self, objective: Objective) -> Curvature:
        """The curvature."""
        exact = self.curvature == "hessian" or not objective.has_gauss_newton
        return Hessian() if exact else GaussNewton()

    def check(self, objective: Objective) -> None:
        """Options that cannot work, and matrices that do not fit into memory."""
        _checks.choice("curvature", self.curvature, ("auto", "hessian", "gauss-newton"))
        if self.curvature == "gauss-newton" and not objective.has_gauss_newton:
            raise ValueError("curvature='gauss-newton' needs outputs, which minimise(loss) lacks: use 'hessian'")
        _checks.positive("rtol", self.rtol)
        _checks.positive("atol", self.atol)
        _checks.flag("adaptive", self.adaptive)
        if self.h0 is not None:
            _checks.positive("h0", self.h0)
        elif not self.adaptive:
            raise ValueError("adaptive=False needs the step size h0")
        needed = 5.0 * objective.w0.dtype.itemsize * objective.size**2
        require(needed, "solver 'ros2'", "use solver='chebyshev', which forms no matrix")

    def weights(self, state: State) -> jax.Array:
        """Flat weights."""
        return state.place.point.w

    def side(self, objective: Objective) -> int:
        """The number of weights."""
        return objective.size

    def prices(self, objective: Objective) -> Prices:
        """Of a Jacobian with its matrix, and of a factorization."""
        return dense_prices(objective, self.model(objective).flops(objective), objective.size)

    def initial(self, objective: Objective, w: Any) -> tuple[State, dict[str, Any]]:
        """The start, nothing evaluated."""
        h = np.asarray(self.h0 or 0.0, w.dtype)
        return State(Place.start(w), h, np.asarray(True)), blank_row(self.columns)  # type: ignore[arg-type]

    def loop(self, objective: Objective, carry: Rows, going: Condition, within: Condition) -> Rows:
        """A Jacobian at every accepted point; step sizes until the error test passes."""
        exact = isinstance(self.model(objective), Hessian)
        kind, curvature = ("hessians", derivatives.hessian) if exact else ("jacobians", derivatives.gauss_newton)

        def serve(carry: Rows) -> Rows:
            state = carry.state
            matrix = curvature(objective, state.place.point.w)
            h = jnp.where(state.h > 0, state.h, 0.1 / jnp.maximum(jnp.abs(jnp.trace(matrix)), 1e-8))
            place = state.place._replace(tally=state.place.tally.plus(**{kind: 1}))
            carry = dataclasses.replace(carry, state=State(place, h, jnp.asarray(False)))

            def body(carry: Rows) -> Rows:
                return carry.with_row(self, *self._trial(objective, matrix, carry.state))

            return jax.lax.while_loop(lambda c: within(c) & ~c.state.stale, body, carry)

        return jax.lax.while_loop(going, serve, carry)

    def _trial(self, objective: Objective, matrix: jax.Array, state: State) -> tuple[State, dict[str, Any]]:
        old, h = state.place.point, state.h
        # I - gamma h J is symmetric; where the Hessian is so negative that it is not definite, h is too large anyway.
        lower = linalg.factor(GAMMA * h * matrix, jnp.ones_like(h))
        h = jnp.where(old.known, h, 0.0)  # the start is evaluated where it is
        k1 = -linalg.solve(lower, old.gradient)
        k2 = linalg.solve(lower, -derivatives.gradient(objective, old.w + h * k1) - 2.0 * k1)
        new = evaluated(objective, old.w + 1.5 * h * k1 + 0.5 * h * k2)
        scale = self.atol + self.rtol * jnp.maximum(jnp.abs(old.w), jnp.abs(new.w))
        error = jnp.sqrt(jnp.mean((0.5 * h * (k1 + k2) / scale) ** 2))
        accepted = (jnp.isfinite(new.loss) & ((error <= 1.0) | (not self.adaptive))) | ~old.known
        place = state.place.moved(accepted, new, h, gradients=2, factorizations=1, solves=2)
        factor = jnp.clip(SAFETY / jnp.sqrt(jnp.maximum(error, 1e-10)), SHRINK, GROW)
        factor = jnp.where(jnp.isfinite(error), factor, SHRINK) if self.adaptive else jnp.ones_like(h)
        after = State(place, jnp.where(old.known, h * factor, state.h), accepted)
        bad = jnp.where(jnp.isfinite(error), FAILED, DIVERGED)
        ended = jnp.where(place.tries >= ATTEMPTS, bad, 0)
        row = place.row(objective, self.prices(objective), step_size=h, order=2.0, ended=ended)
        return after, {**row, "error_test_failures": row["rejected_steps"], "recorded": accepted | ~old.known}
