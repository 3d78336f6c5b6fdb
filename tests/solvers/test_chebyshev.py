"""RKC2: its order and stability polynomial against theory, its control on flows with exact solutions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import stiffgrad as sg
from stiffgrad.solvers.chebyshev import Chebyshev, rkc, stability_interval, stages_for


def cubic(w: jax.Array) -> jax.Array:
    return -(w**3)


@jax.jit
def amplify(z: jax.Array, stages: int) -> jax.Array:
    """The stability polynomial of `stages` stages at z: one step of w' = z w from 1."""
    one = jnp.ones_like(z)
    return rkc(lambda w: z * w, one, z, 1.0, stages, 60)


@pytest.mark.parametrize("stages", [2, 3, 7, 20, 60])
def test_stability_polynomial_is_damped_inside_its_interval_and_leaves_it_outside(stages: int) -> None:
    length = float(stability_interval(stages))
    z = jnp.linspace(-length, 0.0, 3001)
    values = np.abs(amplify(z, stages))
    assert values.max() <= 1.0 + 1e-12
    # The damping keeps |P| <= 1 - epsilon / 3 away from the origin (Sommeijer et al. 1998, section 2); for few stages
    # P is still on its way down from 1 at z = -1/2.
    assert values[z < -0.5].max() < 0.97
    assert float(jnp.abs(amplify(jnp.full(1, -1.25 * length), stages))[0]) > 0.5


def test_stability_interval_grows_like_the_square_of_the_stages() -> None:
    assert float(stability_interval(100)) / 100**2 == pytest.approx(0.653, abs=1e-3)
    step, radius = jnp.asarray(2.0), jnp.asarray(300.0)
    stages = int(stages_for(step, radius))
    assert stability_interval(stages) >= 600.0 > stability_interval(stages - 1)


def test_polynomial_agrees_with_exp_to_second_order() -> None:
    z = jnp.asarray([-1e-3])
    for stages in (2, 5, 30):
        value = float(amplify(z, stages)[0])
        assert abs(value - np.exp(-1e-3)) < 2e-10  # |z|^3 / 6 and not |z|^2 / 2 = 5e-7


@pytest.mark.parametrize("stages", [2, 9])
def test_order_is_two_on_a_nonlinear_flow(stages: int) -> None:
    # w' = -w^3, w(0) = 1 has w(1) = 3^(-1/2).
    @jax.jit
    def end(n: int) -> jax.Array:
        def one(_: int, w: jax.Array) -> jax.Array:
            return rkc(cubic, w, cubic(w), 1.0 / n, stages, 60)

        return jax.lax.fori_loop(0, n, one, jnp.ones(1))

    errors = np.array([abs(float(end(n)[0]) - 3**-0.5) for n in (20, 40, 80)])
    assert np.log2(errors[:-1] / errors[1:]) == pytest.approx(2.0, abs=0.15)


def quadratic(eigenvalues: np.ndarray) -> sg.Objective:
    curvature = jnp.asarray(eigenvalues)
    return sg.minimise(lambda w: 0.5 * jnp.sum(curvature * w**2), np.ones(len(eigenvalues)))


def test_global_error_follows_the_tolerance_on_a_stiff_quadratic() -> None:
    eigenvalues = np.array([0.1, 1.0, 30.0, 1000.0])
    objective = quadratic(eigenvalues)
    for tolerance in (1e-3, 1e-5):
        solver = Chebyshev(rtol=tolerance, atol=tolerance)
        solution = sg.solve(objective, solver, until=sg.Until(steps=40))
        time = solution.trace["flow_time"][-1]
        assert np.abs(solution.w - np.exp(-eigenvalues * time)).max() < 20 * tolerance


def test_steps_far_beyond_euler_stay_stable_and_cost_their_stages() -> None:
    objective = quadratic(np.geomspace(1.0, 1e4, 20))
    solution = sg.solve(objective, "chebyshev", until=sg.Until(gradient_norm=1e-4))
    assert solution.outcome is sg.Outcome.TARGET
    trace = solution.trace
    assert trace["step_size"].max() * 1e4 > 100.0  # explicit Euler: at most 2
    assert np.all(trace["order"][1:] == 2.0)
    # Rejected attempts cost their own stages, so the evaluations are at least the sum over accepted steps.
    assert solution.statistics.rhs_evaluations >= 1 + trace["stages"][1:].sum()
    if solution.statistics.rejected_steps == 0:
        assert solution.statistics.rhs_evaluations == 1 + trace["stages"][1:].sum()
    counts = solution.statistics
    assert counts.presentations == counts.rhs_evaluations + 2 * counts.hessian_products
    assert np.all(trace["spectral_radius"] >= 0.99e4)
    assert solution.statistics.rhs_evaluations < 1e4 / 2 * trace["flow_time"][-1]  # what Euler needs for that time


def test_where_not_stiff_two_stages_suffice() -> None:
    solution = sg.solve(quadratic(np.ones(3)), Chebyshev(rtol=1e-4, atol=1e-4), until=sg.Until(steps=10))
    assert solution.trace["stages"][1:].max() <= 3


def test_options_that_cannot_work_are_named() -> None:
    objective = quadratic(np.ones(2))
    for options, words in (({"rtol": 0.0}, "rtol"), ({"max_stages": 1}, "max_stages")):
        with pytest.raises(ValueError, match=words):
            sg.solve(objective, Chebyshev(**options))


def test_the_embedded_error_is_of_third_order() -> None:
    # Of order h^3 it takes 10 times as many steps for a thousandth of the tolerance; with a wrong sign, 1,000 times.
    objective = sg.minimise(lambda w: 0.25 * (w**4).sum(), np.array([1.0, 1.5]))
    steps = [
        sg.solve(objective, Chebyshev(rtol=tol, atol=tol), until=sg.Until(loss=1e-2)).statistics.steps
        for tol in (1e-4, 1e-7)
    ]
    assert steps[0] > 20
    assert 7 < steps[1] / steps[0] < 13


def test_every_attempt_that_fails_is_counted_with_its_stages() -> None:
    calls = []

    def quartic(w: jax.Array) -> jax.Array:
        jax.debug.callback(lambda: calls.append(1))
        return 0.25 * jnp.sum(w**4)

    objective = sg.minimise(quartic, np.array([1.0, 1.5]))
    solver = Chebyshev(rtol=1e-6, atol=1e-6)
    state, _ = solver.initial(objective, jnp.asarray(objective.w0))
    state = state._replace(step_size=jnp.asarray(1.0))  # its error is of the size of the weights
    jax.effects_barrier()
    calls.clear()
    after, row = jax.jit(solver.step)(objective, state)
    jax.effects_barrier()
    made = int(row["rhs_evaluations"] - state.gradients) + int(row["hessian_products"] - state.products)
    assert len(calls) == made
    assert int(after.steps) == 1
    # The error grows with the third power of the step: from 1 to a millionth it takes several attempts.
    assert 1 <= int(row["rejected_steps"]) < made
    assert float(after.flow_time) == float(row["step_size"]) < 0.5
