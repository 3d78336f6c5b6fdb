"""`Evidence`: trains the weights and their decays together, by maximising the evidence in Laplace's approximation.

With the negative log posterior  S = beta N E_D(w) + sum over groups g of alpha_g/2 |w_g|^2,  E_D the mean loss, N the
number of samples, and the Gauss-Newton matrix  H = beta N G(w) + diag(alpha),  the log evidence is

    F(w, alpha, beta) = -S - 1/2 log det(H) + 1/2 sum of n_g log alpha_g + m/2 log(beta / 2 pi)

(m outputs over all samples). At fixed w it is stationary where (MacKay 1992, Neural Computation 4:448)

    gamma_g = n_g - alpha_g tr_g(H^-1)    the well-determined weights of a group
    alpha_g = gamma_g / |w_g|^2           beta = (m - sum of gamma) / (2 N E_D)

so decays and noise follow from the Jacobian that an implicit-Euler step for the weights has anyway (Foresee and Hagan
1997). Two phases. First the weights follow the flow of S, while the decays fall from strong ones; the point of the
highest F is kept, for F falls again where this goes on (MacKay's rule leaves out how H changes with w). From there on
the weights follow the gradient of F itself, log determinant included: then every step raises F, and it ends at rest.
In the program everything is divided by beta N: lambda = alpha/beta, and lambda/N is the decay in the objective.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve, solve_triangular

from stiffgrad import derivatives
from stiffgrad.objective import Objective
from stiffgrad.solvers._compiled import STATIONARY, CompiledSolver

ATTEMPTS = 12  # step sizes tried from one point
START = 0.01  # lambda/N at the start: strong; but still stronger, and weights fall into a linear network
RATE = 0.2  # part of its way, in logarithms, that a decay goes in one step: fast updates prune inputs that matter
MAX_CHANGE = 0.3  # of the logarithm of a decay in one step
LOG_RANGE = 18.0  # decays stay within exp(+-18): a group that is pruned does not run off to infinity
GAIN = 0.1  # nats: less is no progress of the evidence
PATIENCE = (25, 10)  # steps without progress that end each phase
COUNTED: tuple[str, ...] = (
    "steps", "rejected_steps", "rhs_evaluations", "loss_evaluations", "jacobian_evaluations", "factorizations",
    "linear_solves", "presentations",
)  # fmt: skip


class Hyper(NamedTuple):
    """Weights with the decays, the noise and the loss that belong to them."""

    w: jax.Array
    log_lambda: jax.Array  # (groups,): logarithm of alpha/beta
    log_beta: jax.Array
    loss: jax.Array  # E_D at w, without decay


class State(NamedTuple):
    """Where a run is: everything that the next step needs."""

    now: Hyper
    best: Hyper
    best_evidence: jax.Array
    gamma: jax.Array  # (groups,): well-determined weights
    h: jax.Array
    phase: jax.Array  # 0: along the flow of S; 1: along the gradient of F
    idle: jax.Array  # steps since the evidence made progress
    counts: dict[str, jax.Array]


class Curvature(NamedTuple):
    """M = diag(d) + A'A of a Jacobian A (m, n), factored on its smaller side after scaling by the root of d."""

    lower: jax.Array  # factor of I + B'B or I + BB', with B = A / root d
    jacobian: jax.Array
    root: jax.Array

    @classmethod
    def of(cls, a: jax.Array, gram: jax.Array, d: jax.Array) -> Curvature:
        """Factor it; `gram` is A'A, used where it is the smaller side."""
        root = jnp.sqrt(d)
        small = (a / d) @ a.T if a.shape[0] < a.shape[1] else gram / root[:, None] / root
        return cls(jnp.linalg.cholesky(small + jnp.eye(small.shape[0], dtype=a.dtype)), a, root)

    @property
    def _dual(self) -> bool:
        return self.jacobian.shape[0] < self.jacobian.shape[1]

    def solve(self, v: jax.Array) -> jax.Array:
        """M^-1 v, for v of shape (n,)."""
        half = v / self.root
        if self._dual:
            inner = cho_solve((self.lower, True), self.jacobian @ (half / self.root))
            return (half - (inner @ self.jacobian) / self.root) / self.root
        return cho_solve((self.lower, True), half) / self.root

    def determined(self) -> jax.Array:
        """1 - d_j (M^-1)_jj, (n,): how far the data determine each weight, from 0 to 1."""
        if self._dual:
            return jnp.sum(solve_triangular(self.lower, self.jacobian / self.root, lower=True) ** 2, axis=0)
        eye = jnp.eye(self.lower.shape[0], dtype=self.lower.dtype)
        return 1.0 - jnp.sum(solve_triangular(self.lower, eye, lower=True) ** 2, axis=0)

    def adjoint(self) -> jax.Array:
        """A M^-1, (m, n): half the derivative of log det M by A."""
        if self._dual:
            return cho_solve((self.lower, True), self.jacobian / self.root**2)
        return cho_solve((self.lower, True), (self.jacobian / self.root).T).T / self.root

    def log_det(self) -> jax.Array:
        """Log det(M) - log det(diag(d)), never negative."""
        return 2.0 * jnp.sum(jnp.log(jnp.diagonal(self.lower)))


@partial(
    jax.tree_util.register_dataclass, data_fields=["groups", "samples", "start_decay"], meta_fields=["count", "noise"]
)
@dataclasses.dataclass(frozen=True, eq=False)
class Evidence(CompiledSolver[State]):
    """Weights and one decay for each group of weights, together.

    Parameters
    ----------
    groups : array of int, of shape (n,)
        The group of each weight, from 0 to count - 1.
    count : int
        Number of groups.
    samples : float
        N: the number of samples, or the sum of their weights.
    noise : bool
        Whether the precision beta of the noise is estimated (squared loss); else it is 1 (cross entropies).
    start_decay : float or array of shape (count,)
        lambda at the start, by default N/100; a weak start ends in a worse local maximum of the evidence.
    """

    groups: Any
    count: int
    samples: Any
    noise: bool
    start_decay: Any = None

    name: ClassVar[str] = "evidence"
    family: ClassVar[str] = "own"
    summary: ClassVar[str] = "implicit Euler for the weights, with decays that maximise the evidence"
    source: ClassVar[str] = "MacKay (1992) Neural Computation 4:448; Foresee and Hagan (1997) ICNN"
    columns: ClassVar[tuple[str, ...]] = (
        "step_size", "order", "loss", "gradient_norm", *COUNTED, "data_loss", "log_evidence", "gamma", "phase"
    )  # fmt: skip
    factorizes: ClassVar[bool] = True
    reasons: ClassVar[dict[int, str]] = {STATIONARY: "weights, decays and noise rest"}

    def check(self, objective: Objective) -> None:
        """Refuse objectives without a least-squares form."""
        if not objective.has_rows:
            raise ValueError("the evidence needs a loss of this package: squared, cross_entropy, binary_cross_entropy")

    def weights(self, state: State) -> jax.Array:
        """Flat weights."""
        return state.now.w

    def decay(self, log_lambda: jax.Array) -> jax.Array:
        """The decay of each weight in the objective, (n,)."""
        return (jnp.exp(log_lambda) / self.samples)[self.groups]

    def initial(self, objective: Objective, w: jax.Array) -> tuple[State, dict[str, Any]]:
        """Strong decays, and a unit step."""
        loss, slope = derivatives.value_and_gradient(objective.with_decay(jnp.zeros_like(w)), w)
        start = START * self.samples if self.start_decay is None else self.start_decay
        log_lambda = jnp.log(jnp.broadcast_to(jnp.asarray(start, w.dtype), (self.count,)))
        zero = jnp.zeros((), w.dtype)
        counts = dict.fromkeys(COUNTED, zero) | {"rhs_evaluations": zero + 1, "presentations": zero + 1}
        beta = self._beta(objective, zero, loss)
        now = Hyper(w, log_lambda, jnp.log(beta), loss)
        gamma = jnp.zeros(self.count, w.dtype)
        state = State(now, now, zero - jnp.inf, gamma, zero + 1, jnp.asarray(0), jnp.asarray(0), counts)
        slope = slope + self.decay(log_lambda) * w
        return state, self._row(state, slope, zero + jnp.nan, jnp.asarray(0))

    def _rows(self, objective: Objective) -> Any:
        """m; padded samples of weight zero do not count."""
        return self.samples * (objective.rows // objective.samples)

    def _beta(self, objective: Objective, determined: jax.Array, loss: jax.Array) -> jax.Array:
        free = jnp.maximum(self._rows(objective) - determined, 1.0)
        return free / jnp.maximum(2 * self.samples * loss, 1e-12 * free) if self.noise else jnp.ones_like(loss)

    def _row(self, state: State, slope: jax.Array, evidence: jax.Array, ended: jax.Array) -> dict[str, Any]:
        w = state.now.w
        return {
            "step_size": state.h,
            "order": 1.0,
            "loss": state.now.loss + 0.5 * jnp.sum(self.decay(state.now.log_lambda) * w**2),
            "gradient_norm": jnp.linalg.norm(slope),
            **state.counts,
            "data_loss": state.now.loss,
            "log_evidence": evidence,
            "gamma": jnp.sum(state.gamma),
            "phase": state.phase,
            "ended": ended,
        }

    def step(self, objective: Objective, state: State) -> tuple[State, dict[str, Any]]:
        """One step of the weights and one of the decays, from one Jacobian; at the end of a phase, back to its best."""
        plain = objective.with_decay(jnp.zeros_like(state.now.w))
        w, decay = state.now.w, self.decay(state.now.log_lambda)
        a, pull = jax.vjp(lambda w: derivatives.scaled_jacobian(plain, w), w)
        gram = _gram(a)
        curvature = Curvature.of(a, gram, decay)
        log_det = curvature.log_det()
        evidence = self._log_evidence(objective, state, log_det, decay)
        along = slope = derivatives.residual(plain, w) @ a + decay * w
        unit = jnp.zeros_like(log_det)
        if self.noise:  # else there is no second phase
            unit = jnp.where(state.phase == 1, jnp.exp(-state.now.log_beta) / self.samples, 0.0)  # a nat, in units of E
            along = slope + jax.lax.cond(
                unit > 0, lambda: unit * pull(curvature.adjoint())[0], lambda: jnp.zeros_like(w)
            )
        solve: _Solve = lambda shift: Curvature.of(a, gram, decay + shift).solve(along)  # noqa: E731
        before = state.now.loss + 0.5 * jnp.sum(decay * w**2) + 0.5 * unit * log_det
        start = Move(w, state.now.loss, state.h, jnp.asarray(0), jnp.asarray(False))
        move = self._move(plain, start, before, solve, along, decay, unit)
        gamma = self._per_group(curvature.determined())
        now = self._damped(objective, state.now, gamma, move)
        after = self._after(objective, state, now, gamma, evidence, move)
        exhausted = (after.phase == 2) | (~move.accepted & (state.phase == 1) & (after.idle >= 3))
        return after, self._row(after, slope, evidence, jnp.where(exhausted, STATIONARY, 0))

    def _per_group(self, per_weight: jax.Array) -> jax.Array:
        return jax.ops.segment_sum(per_weight, self.groups, self.count)

    def _move(
        self, plain: Objective, start: Move, before: Any, solve: _Solve, along: Any, decay: Any, unit: Any
    ) -> Move:
        """Implicit-Euler steps of sizes from h downwards, until E (phase 0) or -F (phase 1) falls below `before`."""

        def half_log_det(w: jax.Array) -> jax.Array:
            a = derivatives.scaled_jacobian(plain, w)
            return 0.5 * Curvature.of(a, _gram(a), decay).log_det()

        def attempt(trial: Move) -> Move:
            d = -solve(1.0 / trial.h)
            w = start.w + d
            loss = derivatives.value(plain, w)
            new = loss + 0.5 * jnp.sum(decay * w**2)
            if self.noise:
                new += unit * jax.lax.cond(unit > 0, half_log_det, lambda w: jnp.zeros_like(loss), w)
            rho = (before - new) / (-0.5 * along @ d + 0.5 * (d @ d) / trial.h)
            accepted = jnp.isfinite(new) & (new <= before)
            growth = jnp.where(rho > 0.9, 6.0, jnp.where(rho > 0.75, 3.0, jnp.where(rho < 0.25, 0.5, 1.0)))
            h = jnp.minimum(trial.h * jnp.where(accepted, growth, 0.25), 1e12)
            w, loss = jnp.where(accepted, w, start.w), jnp.where(accepted, loss, start.loss)
            return Move(w, loss, h, trial.tries + 1, accepted)

        return jax.lax.while_loop(lambda trial: ~trial.accepted & (trial.tries < ATTEMPTS), attempt, start)

    def _damped(self, objective: Objective, old: Hyper, gamma: jax.Array, move: Move) -> Hyper:
        """MacKay's decays for these weights, part of the way there; and the noise."""
        beta = self._beta(objective, gamma.sum(), move.loss)
        tiny = jnp.finfo(gamma.dtype).tiny
        wanted = jnp.log(jnp.maximum(gamma, 1e-6) / jnp.maximum(beta * self._per_group(move.w**2), tiny))
        change = RATE * (jnp.clip(wanted, -LOG_RANGE, LOG_RANGE) - old.log_lambda)
        return Hyper(move.w, old.log_lambda + jnp.clip(change, -MAX_CHANGE, MAX_CHANGE), jnp.log(beta), move.loss)

    def _log_evidence(self, objective: Objective, state: State, log_det: jax.Array, decay: jax.Array) -> jax.Array:
        """F of the state, in nats; for cross entropies too it compares models on the same data."""
        now = state.now
        energy = state.now.loss + 0.5 * jnp.sum(decay * now.w**2)
        noise = 0.5 * self._rows(objective) * (now.log_beta - jnp.log(2 * jnp.pi)) if self.noise else 0.0
        return -jnp.exp(now.log_beta) * self.samples * energy - 0.5 * log_det + noise

    def _after(
        self, objective: Objective, state: State, now: Hyper, gamma: jax.Array, evidence: jax.Array, move: Move
    ) -> State:
        """The next state; where a phase ends, it goes back to the best point."""
        better = evidence > state.best_evidence
        best = jax.tree.map(partial(jnp.where, better), state.now, state.best)
        progress = evidence > state.best_evidence + GAIN
        idle = jnp.where(progress, 0, state.idle + 1)
        over = idle > jnp.where(state.phase == 0, *PATIENCE)
        now = jax.tree.map(partial(jnp.where, over), best, now)
        added = {
            "steps": 1, "rejected_steps": move.tries - move.accepted, "rhs_evaluations": 1,
            "loss_evaluations": move.tries, "jacobian_evaluations": 1 + state.phase * move.tries,
            "factorizations": 1 + move.tries, "linear_solves": move.tries,
            "presentations": objective.rows / objective.samples * (1 + state.phase * (1 + move.tries)) + 1 + move.tries,
        }  # fmt: skip
        counts = {name: state.counts[name] + jnp.asarray(added[name], evidence.dtype) for name in COUNTED}
        return State(
            now, best, jnp.maximum(evidence, state.best_evidence), gamma, jnp.where(over, 1.0, move.h),
            state.phase + over * (1 if self.noise else 2), jnp.where(over, 0, idle), counts,
        )  # fmt: skip


class Move(NamedTuple):
    """What came of trying step sizes from one point."""

    w: jax.Array
    loss: jax.Array  # the mean loss there, without decay
    h: jax.Array
    tries: jax.Array
    accepted: jax.Array


_Solve = Callable[[Any], jax.Array]


def _gram(a: jax.Array) -> jax.Array:
    """A'A where that is the smaller side, else nothing."""
    return a.T @ a if a.shape[1] <= a.shape[0] else jnp.zeros((0, 0), a.dtype)
