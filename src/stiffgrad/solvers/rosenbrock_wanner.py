"""`ros2` and `ros34pw2`: they follow the path of the gradient flow, with dense Jacobians and embedded error control.

With J the Jacobian of F, or any matrix near it, the stages of a Rosenbrock-Wanner method are, for i = 1 ... s,
    (I - gamma h J) k_i = h F(w + sum_j a_ij k_j) + h J sum_{j<i} g_ij k_j,   w1 = w + sum_i b_i k_i.
Both are W-methods: their order holds for every matrix in place of J (Steihaug and Wolfbrandt 1979), so that a Jacobian
serves several steps. The sums over g are taken without products with J (Hairer and Wanner 1996, IV.7).
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from stiffgrad import _checks
from stiffgrad._memory import require
from stiffgrad.curvature import linalg
from stiffgrad.curvature.dense import Curvature, GaussNewton, Hessian
from stiffgrad.curvature.point import evaluated
from stiffgrad.objective import Objective, derivatives
from stiffgrad.solvers._compiled import DIVERGED, FAILED, CompiledSolver, Condition, Level, Rows, serve
from stiffgrad.solvers._own import ROW, Place, blank_row
from stiffgrad.solvers._tally import Prices, dense_prices

SAFETY, SHRINK, GROW = 0.9, 0.2, 5.0  # the usual bounds of step control, Hairer and Wanner (1996) IV.2
ATTEMPTS = 40  # step sizes tried from one point


class Tableau(NamedTuple):
    """The coefficients of a method of s stages; `embedded` is of one order less."""

    gamma: float
    a: tuple[tuple[float, ...], ...]  # rows 2 to s, strictly below the diagonal
    g: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]
    embedded: tuple[float, ...]
    order: int

    def square(self, rows: tuple[tuple[float, ...], ...]) -> NDArray[np.float64]:
        """Rows below the diagonal as an (s, s) matrix."""
        full = np.zeros((len(self.weights), len(self.weights)))
        for i, row in enumerate(rows, 1):
            full[i, :i] = row
        return full

    def transformed(self) -> tuple[NDArray[np.float64], ...]:
        """Coefficients for u = (g + gamma I) k, with which no product with J is needed: a, c, weights, error."""
        back = np.linalg.inv(self.square(self.g) + self.gamma * np.eye(len(self.weights)))
        weights, embedded = np.array(self.weights), np.array(self.embedded)
        c = np.eye(len(weights)) / self.gamma - back
        return self.square(self.a) @ back, c, weights @ back, (weights - embedded) @ back


ROS2_TABLEAU = Tableau(
    gamma=1.0 - 0.5**0.5,
    a=((1.0,),),
    g=((-2.0 * (1.0 - 0.5**0.5),),),
    weights=(0.5, 0.5),
    embedded=(1.0, 0.0),
    order=2,
)
_G = 4.3586652150845900e-1
ROS34PW2_TABLEAU = Tableau(
    gamma=_G,
    a=((8.7173304301691801e-1,), (8.4457060015369423e-1, -1.1299064236484185e-1), (0.0, 0.0, 1.0)),
    g=(
        (-8.7173304301691801e-1,),
        (-9.0338057013044082e-1, 5.4180672388095326e-2),
        (2.4212380706095346e-1, -1.2232505839045147, 5.4526025533510214e-1),
    ),
    weights=(2.4212380706095346e-1, -1.2232505839045147, 1.5452602553351020, _G),
    embedded=(3.7810903145819369e-1, -9.6042292212423178e-2, 0.5, 2.1793326075422950e-1),
    order=3,
)


class State(NamedTuple):
    """Between two trials."""

    place: Place
    base: jax.Array  # the weights of the Jacobian
    age: jax.Array  # steps taken with it
    h: jax.Array
    stale: jax.Array  # whether the Jacobian has served


@dataclasses.dataclass(frozen=True)
class RosenbrockWanner(CompiledSolver[State]):
    """A method given by its tableau."""

    rtol: float = 1e-4
    atol: float = 1e-6
    h0: float | None = None
    curvature: str = "auto"
    adaptive: bool = True
    reuse: int = 0

    family: ClassVar[str] = "own"
    tableau: ClassVar[Tableau]
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
        _checks.whole("reuse", self.reuse)
        if self.h0 is not None:
            _checks.positive("h0", self.h0)
        elif not self.adaptive:
            raise ValueError("adaptive=False needs the step size h0")
        needed = 5.0 * objective.w0.dtype.itemsize * objective.size**2
        require(needed, f"solver {self.name!r}", "use solver='chebyshev', which forms no matrix")

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
        state = State(Place.start(w), w, np.zeros((), np.int64), h, np.asarray(True))  # type: ignore[arg-type]
        return state, blank_row(self.columns)

    def loop(self, objective: Objective, carry: Rows, going: Condition, within: Condition) -> Rows:
        """A Jacobian; steps until it has served, of sizes that pass the error test."""
        exact = isinstance(self.model(objective), Hessian)
        kind, curvature = ("hessians", derivatives.hessian) if exact else ("jacobians", derivatives.gauss_newton)

        def linearise(old: State) -> tuple[jax.Array, State]:
            base = jnp.where(old.stale, old.place.point.w, old.base)
            matrix = curvature(objective, base)
            h = jnp.where(old.h > 0, old.h, 0.1 / jnp.maximum(jnp.abs(jnp.trace(matrix)), 1e-8))
            tally = old.place.tally.plus(**{kind: old.stale})
            age = jnp.where(old.stale, 0, old.age)
            return matrix, State(old.place._replace(tally=tally), base, age, h, jnp.asarray(False))

        level = Level(linearise, lambda state: state.stale)
        return serve(self, carry, going, within, [level], partial(self._trial, objective))

    def _trial(self, objective: Objective, matrix: jax.Array, state: State) -> tuple[State, dict[str, Any]]:
        old, h, order = state.place.point, state.h, self.tableau.order
        a, c, weights, error_weights = (part.astype(old.w.dtype) for part in self.tableau.transformed())
        stages = len(weights)
        # I/(gamma h) - J is symmetric; where the Hessian is so negative that it is not definite, h is too large anyway.
        lower = linalg.factor(matrix, 1.0 / (self.tableau.gamma * h))
        slope, found = -old.gradient, jnp.zeros((0, len(old.w)), old.w.dtype)
        for i in range(stages):
            if i:
                slope = -derivatives.gradient(objective, old.w + jnp.asarray(a[i, :i]) @ found)
            found = jnp.concatenate([found, linalg.solve(lower, slope + jnp.asarray(c[i, :i]) / h @ found)[None]])
        step = jnp.asarray(weights) @ found
        new = evaluated(objective, old.w + jnp.where(old.known, step, 0.0))  # the start is evaluated where it is
        scale = self.atol + self.rtol * jnp.maximum(jnp.abs(old.w), jnp.abs(new.w))
        error = jnp.sqrt(jnp.mean((jnp.asarray(error_weights) @ found / scale) ** 2))
        accepted = (jnp.isfinite(new.loss) & ((error <= 1.0) | (not self.adaptive))) | ~old.known
        place = state.place.moved(accepted, new, h, gradients=stages, factorizations=1, solves=stages)
        factor = jnp.clip(SAFETY / jnp.maximum(error, 1e-10) ** (1.0 / order), SHRINK, GROW)
        factor = jnp.where(jnp.isfinite(error), factor, SHRINK) if self.adaptive else jnp.ones_like(h)
        age = state.age + (accepted & old.known)
        # A step that failed with an old Jacobian is tried again with a new one.
        stale = (accepted & (age > self.reuse)) | (~accepted & (age > 0))
        after = State(place, state.base, age, jnp.where(old.known, h * factor, h).astype(h.dtype), stale)
        bad = jnp.where(jnp.isfinite(error), FAILED, DIVERGED)
        ended = jnp.where(place.tries >= ATTEMPTS, bad, 0)
        row = place.row(objective, self.prices(objective), step_size=h, order=float(order), ended=ended)
        return after, {**row, "error_test_failures": row["rejected_steps"], "recorded": accepted | ~old.known}


_registered = partial(
    jax.tree_util.register_dataclass, data_fields=["rtol", "atol", "h0"], meta_fields=["curvature", "adaptive", "reuse"]
)


@_registered
@dataclasses.dataclass(frozen=True)
class ROS2(RosenbrockWanner):
    """ROS2: an L-stable Rosenbrock method of order 2 that follows the flow, dense.

    Parameters
    ----------
    rtol : float
        The local error stays below atol + rtol |w| in the root mean square.
    atol : float
        See `rtol`.
    h0 : float, optional
        First step in flow time; by default from the curvature.
    curvature : "auto", "gauss-newton" or "hessian"
        The Jacobian; "auto" is Gauss-Newton where the objective has one. The order holds with either.
    adaptive : bool
        False: every step is h0 long.
    reuse : int
        Further steps that are taken with one Jacobian.

    Examples
    --------
    >>> ROS2(rtol=1e-5).curvature
    'auto'
    """

    name: ClassVar[str] = "ros2"
    summary: ClassVar[str] = "follows the flow's path: Rosenbrock method of order 2, L-stable, dense"
    source: ClassVar[str] = "Verwer, Spee, Blom and Hundsdorfer (1999), SIAM J. Sci. Comput. 20:1456"
    tableau: ClassVar[Tableau] = ROS2_TABLEAU


@_registered
@dataclasses.dataclass(frozen=True)
class ROS34PW2(RosenbrockWanner):
    """ROS34PW2: an L-stable, stiffly accurate W-method of order 3 that follows the flow, dense.

    Parameters
    ----------
    rtol : float
        As for `ROS2`.
    atol : float
        As for `ROS2`.
    h0 : float, optional
        As for `ROS2`.
    curvature : "auto", "gauss-newton" or "hessian"
        As for `ROS2`.
    adaptive : bool
        As for `ROS2`.
    reuse : int
        As for `ROS2`; a Jacobian serves ten further steps by default, or until one fails.

    Examples
    --------
    >>> ROS34PW2().tableau.order
    3
    """

    reuse: int = 10

    name: ClassVar[str] = "ros34pw2"
    summary: ClassVar[str] = "follows the flow's path: W-method of order 3, L-stable, dense, reuses Jacobians"
    source: ClassVar[str] = "Rang and Angermann (2005), BIT Numer. Math. 45:761"
    tableau: ClassVar[Tableau] = ROS34PW2_TABLEAU
