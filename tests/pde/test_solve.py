"""Equations solved: against exact solutions, with points drawn anew, with unknown coefficients and error bars."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import curve_fit

import stiffgrad as sg
from stiffgrad import _config, pde
from stiffgrad.objective.objective import _value_and_gradient
from stiffgrad.pde import solving, watch
from stiffgrad.pde.confidence import Path
from stiffgrad.pde.resampling import redrawn
from stiffgrad.pde.rounds import Rounds
from stiffgrad.pde.verdict import between
from stiffgrad.solvers import _compiled
from stiffgrad.solvers._compiled import _full, _lasting, _quick
from stiffgrad.solvers._registry import resolve
from stiffgrad.solvers.w_method import WMethod


def decay(u, t):
    return pde.derivative(u, t) + 3 * u(t)


@pytest.fixture(scope="module")
def problem():
    return pde.Problem([(0, 1)], [pde.interior(decay, 32), pde.initial(1.0)], [8])


def test_an_equation_is_solved_and_its_error_measured(problem):
    solution = pde.solve(problem, "rosenbrock", resample=None, until=sg.Until(loss=1e-12))
    assert solution.outcome is sg.Outcome.TARGET
    found = solution.errors(lambda t: np.exp(-3 * t[0]))
    assert found.maximum < 1e-4
    t = np.linspace(0, 1, 7)[:, None]
    assert solution.errors(np.exp(-3 * t), t).rms < 1e-4
    assert solution.u([0.0]) == pytest.approx(1.0, abs=1e-5)
    np.testing.assert_array_equal(solution.u(t[:, 0]), solution.u(t))
    assert solution.residuals["interior"] == pytest.approx(
        np.sqrt(np.mean(problem.residual("interior", solution.params, problem.points["interior"]) ** 2))
    )
    # The held-out energy is in the trace, after each chunk of steps, and its points are others.
    assert np.isfinite(solution.run.trace["validation"][[0, -1]]).all()
    fresh = np.asarray(problem.held_out.blocks[0].samples)
    assert not np.isin(fresh, problem.points["interior"]).any()
    weight = problem.weights["interior"]
    assert solution.held_out["interior"] == pytest.approx(np.sqrt(2 * solution.run.trace["validation"][-1] / weight))
    assert all(name in repr(solution) for name in ("interior", "held out", "verdict"))


def test_time_is_marched_through_from_the_initial_condition(problem):
    t = problem.points["interior"]
    np.testing.assert_allclose(problem.marched(0.25)["interior"], t / 4)
    solution = pde.solve(problem, "rosenbrock", until=sg.Until(steps=400, loss=1e-8), resample=None)
    stages = solution.run.trace["points"]
    assert set(stages) == {0.0, 1.0, 2.0, 3.0, 4.0}
    ends = [solution.run.trace["loss"][stages == number][-1] for number in range(5)]
    start = float(problem.objective.value(problem.objective.w0))
    assert all(end <= 1e-4 * start for end in ends[:3])
    assert ends[3] <= 1e-7 * start
    assert ends[4] <= 1e-8


def logistic(u, t):
    return pde.derivative(u, t) - u(t) * (1 - u(t))


def test_a_small_start_does_not_end_in_the_unstable_solution_beside_it():
    problem = pde.Problem([(0, 10)], [pde.interior(logistic), pde.initial(0.01)])
    solution = pde.solve(problem, until=sg.Until(loss=1e-12, steps=400))
    assert solution.errors(lambda t: 1 / (1 + 99 * np.exp(-t[0]))).relative_l2 < 1e-5
    assert "Not solved" not in solution.verdict


def test_an_equation_that_is_not_finite_at_the_start_is_named_with_a_point():
    # Torricelli's law: the start of the network is negative somewhere.
    vessel = pde.interior(lambda u, t: pde.derivative(u, t) + np.sqrt(u(t)), 32, name="vessel")
    with pytest.raises(ValueError, match=r"'vessel' is not finite at the start, where u\(.* is -.* transform="):
        pde.solve(pde.Problem([(0, 1)], [vessel, pde.initial(1.0)], [4]))


def test_a_run_between_two_ends_that_got_more_points_uses_its_budget():
    # Far from a solution after so many steps on more points, a run ended for good, as if it had been interrupted.
    layer = pde.interior(lambda u, x: pde.derivative(u, x) - 0.01 * pde.derivative(u, x, 0, 0), 16)
    problem = pde.Problem([(0, 1)], [layer, pde.boundary(lambda x: x[0])], [10])
    solution = pde.solve(problem, until=sg.Until(loss=1e-15, steps=300))
    assert solution.outcome is sg.Outcome.OUT_OF_STEPS
    assert solution.run.statistics.steps == 300


def test_what_is_hardly_better_than_nothing_is_not_called_solved(problem):
    solution = pde.solve(problem, until=sg.Until(steps=1), throw=False)
    assert solution.verdict.startswith("Not solved")


def test_points_come_in_as_they_are_needed(monkeypatch):
    """Few at first, more where the held-out residual says so, and never fewer than asked for at the end."""
    monkeypatch.setattr(solving, "FIRST_POINTS", 8)
    bumpy = pde.interior(lambda u, t: pde.derivative(u, t) - np.cos(3 * t[0]), 48)
    problem = pde.Problem([(0, 2)], [bumpy, pde.initial(0.0)], [6])
    sizes = []

    def watch(step):
        sizes.append(len(step.objective.blocks[0].samples))

    solution = pde.solve(problem, "rosenbrock", until=sg.Until(loss=1e-9, steps=600), callback=watch)
    assert sizes == sorted(sizes)
    assert sizes[0] == 8
    assert sizes[-1] >= 48
    assert solution.outcome is sg.Outcome.TARGET
    assert solution.errors(lambda t: np.sin(3 * t[0]) / 3).rms < 1e-4


@pytest.mark.parametrize(("sampling", "widest"), [("sobol", 0.3), ("grid", 0.7)])
def test_some_points_are_spread_as_all_are(sampling, widest):
    problem = pde.Problem([(0, 1)], [pde.interior(decay, 81, sampling=sampling), pde.initial(1.0)], [4])
    some = problem.some_points(8)["interior"]
    assert some.shape == (8, 1)
    assert np.isin(some, problem.points["interior"]).all()
    assert np.diff(np.sort(some[:, 0]), prepend=0.0, append=1.0).max() < widest
    assert len(problem.some_points(100)["interior"]) == 81
    given = pde.Problem([(0, 2)], [pde.interior(decay, np.linspace(0, 2, 99)), pde.initial(1.0)], [4])
    assert given.some_points(8) == {}  # points that were given are all trained on


def test_a_stage_begins_with_the_step_at_which_the_last_one_ended(monkeypatch):
    monkeypatch.setattr(WMethod, "hosted_side", -1)  # compiled from the outset
    monkeypatch.setattr(_config, "_RUNS_A_LOOK", 10**9)  # after many other tests the programs would be forgotten
    problem = pde.Problem([(0, 1)], [pde.interior(decay, 31), pde.initial(1.0)], [7])
    compiled = [program._cache_size() for program in (_quick, _lasting, _full)]
    trace = pde.solve(problem, "rosenbrock", until=sg.Until(steps=400, loss=1e-8)).run.trace
    for number in range(1, 5):
        last = trace["step_size"][trace["points"] == number - 1][-1]
        first = trace["step_size"][trace["points"] == number][1]
        assert 1e-3 * last <= first <= last
    # One program for all stages, called with arrays of NumPy and of JAX: the step at the start is no part of it.
    assert 1 <= _quick._cache_size() - compiled[0] <= 3  # fewer than stages
    assert _lasting._cache_size() - compiled[1] <= 2
    assert _full._cache_size() == compiled[2]


def test_budgets_are_those_of_all_stages_together(problem):
    solution = pde.solve(problem, "rosenbrock", until=sg.Until(steps=3))
    assert solution.run.statistics.steps == 3
    assert solution.outcome is sg.Outcome.OUT_OF_STEPS


def test_few_points_are_not_to_be_trusted():
    def wiggly(u, t):
        return pde.derivative(u, t) - 20 * np.cos(20 * t[0])

    problem = pde.Problem([(0, 3)], [pde.interior(wiggly, 6), pde.initial(0.0)], [10])
    solution = pde.solve(problem, "lbfgs", stages=False, resample=None, until=sg.Until(loss=1e-6, steps=500))
    assert solution.held_out["interior"] > 5 * solution.residuals["interior"]
    assert solution.verdict.startswith("Not to be trusted")


def test_the_verdict_tells_a_bad_solution_from_one_that_its_points_limit():
    for held_out, fall, words in (
        (2e-6, 1e5, "holds between"),
        (1e-5, 1e5, "Limited"),
        (1e-5, 10, "Not to be trusted"),
    ):
        assert words in between({"interior": 1e-6, "boundary": 0.0}, {"interior": held_out}, fall)


def test_where_points_are_given_those_halfway_between_are_held_out():
    angles, radii = np.random.default_rng(0).uniform(size=(2, 200))
    disc = np.sqrt(radii)[:, None] * np.column_stack([np.cos(2 * np.pi * angles), np.sin(2 * np.pi * angles)])
    edge = np.column_stack([np.cos(np.linspace(0, 6, 40)), np.sin(np.linspace(0, 6, 40))])
    inside = pde.interior(lambda u, z: pde.laplacian(u, z) + 4.0, points=disc)
    problem = pde.Problem([(-1, 1), (-1, 1)], [inside, pde.boundary(0.0, points=edge)], [10])
    held_out = np.asarray(problem.held_out.blocks[0].samples)
    assert held_out.shape == disc.shape
    assert np.all(np.linalg.norm(held_out, axis=1) < 1)
    assert np.min(np.linalg.norm(held_out[:, None] - disc, axis=2)) > 1e-4
    solution = pde.solve(problem, until=sg.Until(loss=1e-8, steps=300))
    found = solution.u(0.7 * disc)
    error = np.linalg.norm(found - (1 - 0.49 * np.sum(disc**2, axis=1))) / np.linalg.norm(found)
    assert error < 1e-3
    assert 0.1 * error < solution.error_estimate < 100 * error


def test_one_point_holds_nothing_out():
    problem = pde.Problem([(0, 1)], [pde.interior(decay, [[0.5]]), pde.initial(1.0)], [4])
    solution = pde.solve(problem, "lbfgs", until=sg.Until(steps=2))
    assert problem.held_out is None
    assert "unknown" in solution.verdict


def test_points_given_are_marched_and_never_drawn_anew():
    problem = pde.Problem([(0, 1)], [pde.interior(decay, np.linspace(0, 1, 9)), pde.initial(1.0)], [4])
    solution = pde.solve(problem, until=sg.Until(steps=30))
    assert solution.run.trace["points"][-1] > 0
    assert redrawn(problem, problem.points, problem.params, 1, keep=True)["interior"] is problem.points["interior"]
    with pytest.raises(ValueError, match="resample needs an interior equation"):
        pde.solve(problem, resample=5)


def test_new_points_are_drawn_by_residual_without_compiling_again(problem):
    drawn = pde.solve(problem, "rosenbrock", resample=4, stages=False, until=sg.Until(steps=12))
    assert drawn.run.statistics.steps == 12
    rounds = drawn.run.trace["points"]
    assert set(rounds) == {0.0, 1.0, 2.0}
    np.testing.assert_array_equal(np.diff(drawn.run.trace["steps"]) >= 0, True)
    # The energy of a round never rises; between rounds it is another energy.
    for number in range(3):
        assert np.all(np.diff(drawn.run.trace["loss"][rounds == number]) <= 0)
    compiled = _value_and_gradient._cache_size()
    pde.solve(problem, "rosenbrock", resample=3, stages=False, until=sg.Until(steps=6))
    assert _value_and_gradient._cache_size() == compiled


def test_points_are_drawn_anew_where_the_training_residual_flatters():
    problem = pde.Problem([(0, 3)], [pde.interior(lambda u, t: pde.derivative(u, t) - np.cos(6 * t[0]), 12),
                                     pde.initial(0.0)], [12])  # fmt: skip
    few, drawn = (
        pde.solve(problem, "rosenbrock", resample=r, until=sg.Until(loss=1e-20, steps=600)) for r in (None, "auto")
    )
    assert drawn.run.trace["points"][-1] > 3
    assert len(drawn.problem.points["interior"]) == 12  # the problem stays what it was
    exact = lambda t: np.sin(6 * t[0]) / 6  # noqa: E731
    assert drawn.errors(exact).rms < 0.2 * few.errors(exact).rms


def test_points_come_in_soon_where_the_held_out_residual_rises(monkeypatch):
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.0)  # a look after every step
    source = pde.interior(lambda u, z: pde.derivative(u, z, 0, 0) + 100 * np.sin(10 * z[0]), points=12)
    problem = pde.Problem([(0, 2)], [source, pde.boundary(lambda z: np.sin(10 * z[0]))])
    solution = pde.solve(problem, until=sg.Until(loss=1e-25, steps=60, wall_seconds=None), throw=False)
    assert solution.run.trace["points"].max() >= 2  # 12 points were too few, and so were 24


def test_draws_prefer_large_residuals():
    step = pde.interior(lambda u, t: np.where(t[0] > 0.9, 50.0, 0.0) + 0 * u(t), 200)
    problem = pde.Problem([(0, 1)], [step], [4])
    points = redrawn(problem, problem.points, problem.params, 1, keep=False)["interior"]
    # One in ten candidates has a residual of ten times the mean: its chance is 11 times that of the others.
    share = np.mean(points > 0.9)
    assert 0.4 < share < 0.6
    assert points.shape == (200, 1)
    more = redrawn(problem, problem.points, problem.params, 1, keep=True)["interior"]
    np.testing.assert_array_equal(more, np.concatenate([problem.points["interior"], points]))


@pytest.mark.parametrize("steps", [150, 300])  # an equation taken as exact gave a third, or a tenth of the error
def test_an_unknown_coefficient_and_its_error_bar(steps):
    t = np.linspace(0.05, 1.0, 30)
    y = np.exp(-3 * t) + 0.01 * np.random.default_rng(0).normal(size=30)
    equation = pde.interior(lambda u, t, p: pde.derivative(u, t) + p["k"] * u(t), 40)
    # The start is unknown as well: it is what the network says at 0.
    problem = pde.Problem([(0, 1)], [equation, pde.observations(t, y)], [8], unknowns={"k": 1.0}, balance=False)
    solution = pde.solve(problem, "rosenbrock", until=sg.Until(steps=steps, gradient_norm=1e-9))
    bars = pde.error_bars(solution)
    best, covariance = curve_fit(lambda t, a, k: a * np.exp(-k * t), t, y, p0=[1, 1])
    assert bars.estimate["k"] == pytest.approx(best[1], rel=0.02)
    assert bars.standard_error["k"] == pytest.approx(np.sqrt(covariance[1, 1]), rel=0.15)
    assert "k = " in repr(solution)


def test_error_bars_of_a_curve_are_those_of_scipy():
    x = np.linspace(0, 3, 40)
    y = 2.0 * np.exp(-1.3 * x) + 0.5 + 0.02 * np.random.default_rng(1).normal(size=40)
    curve = sg.least_squares(
        lambda p, s: p["a"] * np.e ** (-p["k"] * s[0]) + p["c"] - s[1],
        {"a": 1.0, "k": 1.0, "c": 0.0},
        np.column_stack([x, y]),
    )
    solution = sg.solve(curve, "rosenbrock", until=sg.Until(gradient_norm=1e-13, loss=0.0, steps=200))
    bars = pde.error_bars(curve, solution.params)
    best, covariance = curve_fit(lambda x, a, c, k: a * np.exp(-k * x) + c, x, y, p0=[1, 0, 1])
    np.testing.assert_allclose([float(bars.estimate[name]) for name in "ack"], best, rtol=1e-5)
    np.testing.assert_allclose(bars.covariance, covariance, rtol=1e-4)
    assert bars.noise == pytest.approx(0.02, rel=0.3)


def test_what_nothing_determines_has_no_bound():
    same = sg.least_squares(
        lambda p, s: p["a"] + p["b"] - s[0],
        {
            "a": 1.0,
            "b": 1.0,
        },
        np.arange(5.0)[:, None],
    )
    assert np.all(np.isinf(list(pde.error_bars(same, {"a": 1.0, "b": 1.0}).standard_error.values())))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda p: pde.solve(p.objective), TypeError, "problem must be a pde.Problem"),
        (lambda p: pde.solve(p, resample=0), ValueError, "resample=0 must be .auto., a positive number"),
        (lambda p: pde.solve(p, until=3), TypeError, "until must be"),
        (lambda p: pde.error_bars(p), TypeError, "pde.Solution or an Objective"),
        (lambda p: pde.error_bars(p.objective), TypeError, "params are missing"),
        (lambda p: pde.error_bars(p.objective, p.params), ValueError, "needs one term"),
        (lambda p: p.evaluate(p.params, np.ones((3, 2))), ValueError, r"give \(N, 1\)"),
        (lambda p: p.with_points({"initial": np.ones((1, 1))}, p.params), ValueError, "cannot be replaced"),
        (lambda p: p.with_points({"interior": 2 * np.ones((5, 1))}, p.params), ValueError, "outside of the domain"),
    ],
)
def test_bad_arguments_are_sentences(problem, call, error, words):
    with pytest.raises(error, match=words):
        call(problem)


def test_growth_from_a_small_start_is_found_by_shorter_parts():
    """Ten of a thousand ill, for so long that a quarter of the time multiplies them by e^6."""

    def epidemic(u, t):
        (well, ill), (less, more) = u(t), pde.derivative(u, t)
        return [less + 5e-4 * well * ill, more - 5e-4 * well * ill + 0.1 * ill]

    problem = pde.Problem([(0, 60)], [pde.interior(epidemic, 128), pde.initial([990.0, 10.0])], outputs=2)
    solution = pde.solve(problem, "rosenbrock", until=sg.Until(loss=1e-7, steps=600, wall_seconds=None))
    assert solution.outcome is sg.Outcome.TARGET
    # What is known without a solver: ln(well) falls by 5 of what has ever been ill and well again.
    well, ill = solution.u([60.0]).ravel()
    assert np.log(well / 990) == pytest.approx(-5 * (1 - (well + ill) / 1000), abs=1e-2)
    assert well < 10


def test_a_solution_that_is_wrong_from_one_moment_on_is_marched_through_again():
    """Spikes of a nerve (FitzHugh): where one is missed, the residual is small everywhere but there."""

    def nerve(u, t):
        (v, w), (fast, slow) = u(t), pde.derivative(u, t)
        return [fast - v + v**3 / 3 + w - 0.5, slow - 0.08 * (v + 0.7 - 0.8 * w)]

    problem = pde.Problem([(0, 40)], [pde.interior(nerve, 128), pde.initial([-1.0, 1.0])], outputs=2)
    solution = pde.solve(problem, "rosenbrock", until=sg.Until(loss=1e-8, steps=1000, wall_seconds=None))

    def rates(t, y):
        return [y[0] - y[0] ** 3 / 3 - y[1] + 0.5, 0.08 * (y[0] + 0.7 - 0.8 * y[1])]

    path = solve_ivp(rates, (0, 40), [-1, 1], rtol=1e-8, atol=1e-8, dense_output=True).sol
    assert solution.errors(lambda t: path(t[0])).relative_l2 < 2e-2


def test_points_come_in_at_the_same_steps_whatever_the_clock_says(monkeypatch):
    """Where new points are drawn depends on looks at the held-out ones, and those on no time that anything took."""
    wave = pde.interior(lambda u, z: pde.derivative(u, z, 1) + pde.derivative(u, z, 0), points=12)
    start = pde.initial(lambda z: np.sin(np.pi * z[0]), points=20)
    runs = []
    for seconds in (0.05, 1e-9):
        monkeypatch.setattr(_compiled, "CHUNK_SECONDS", seconds)
        problem = pde.Problem([(-1, 1), (0, 1)], [wave, start], [12])
        runs.append(pde.solve(problem, until=sg.Until(loss=0.0, steps=120)).run)
    assert runs[0].trace["points"][-1] > 3  # beyond the stages
    assert np.array_equal(runs[0].trace["points"], runs[1].trace["points"])
    assert np.array_equal(runs[0].w, runs[1].w)


def test_a_solution_that_oscillates_is_found_from_a_sharper_start():
    # Ten periods: from the default start the first quarter of the time leads nowhere (an error of 0.8 in the end).
    swing = pde.interior(lambda u, t: pde.derivative(u, t, 0, 0) + 400 * u(t))
    start = [pde.initial(1.0), pde.initial(lambda u, t: pde.derivative(u, t))]
    problem = pde.Problem([(0, 3)], [swing, *start])
    solution = pde.solve(problem, until=sg.Until(loss=1e-8, steps=800, wall_seconds=None))
    assert solution.errors(lambda t: np.cos(20 * t[0])).relative_l2 < 1e-2


def test_a_part_of_the_time_gets_more_points_where_its_equation_holds_on_them_only():
    swing = pde.interior(lambda u, t: pde.derivative(u, t, 0, 0) + 900 * u(t), points=12)
    start = [pde.initial(1.0), pde.initial(lambda u, t: pde.derivative(u, t))]
    problem = pde.Problem([(0, 1)], [swing, *start])
    drawn = pde.solve(problem, until=sg.Until(loss=1e-8, steps=800, wall_seconds=None))
    assert drawn.errors(lambda t: np.cos(30 * t[0])).relative_l2 < 1e-2
    same = sg.Until(loss=1e-8, steps=int(drawn.run.statistics.steps), wall_seconds=None)
    fixed = pde.solve(problem, until=same, resample=None, throw=False)
    assert fixed.errors(lambda t: np.cos(30 * t[0])).relative_l2 > 0.1


def test_a_constant_that_nothing_determines_is_said_and_no_part_of_the_error():
    flat = pde.boundary(lambda u, z: pde.derivative(u, z), faces=[(0, 0.0), (0, 1.0)])
    source = pde.interior(lambda u, z: pde.derivative(u, z, 0, 0) + np.pi**2 * np.cos(np.pi * z[0]), points=64)
    free = pde.Problem([(0, 1)], [source, flat], [10])
    fixed = pde.Problem([(0, 1)], [source, flat, pde.boundary(1.0, faces=[(0, 0.0)])], [10])
    for problem, constants in ((free, (0,)), (fixed, ())):
        assert problem.free_constants(problem.params) == constants
        solution = pde.solve(problem, "rosenbrock", until=sg.Until(loss=1e-10, steps=200))
        assert ("Nothing determines a constant" in solution.verdict) == bool(constants)
        found = solution.u(np.linspace(0, 1, 101)) - np.cos(np.pi * np.linspace(0, 1, 101))
        error = np.linalg.norm(found - (found.mean() if constants else 0.0)) / np.sqrt(51)
        assert 0.2 * error < solution.error_estimate < 100 * error


def test_a_narrow_start_is_met_between_its_points():
    """With 16 points a pulse of width 0.1 is met on them alone: faces are held out as well, and get more points."""
    pulse = lambda z: np.exp(-(((z[0] - 0.5) / 0.1) ** 2))  # noqa: E731
    still = pde.interior(lambda u, z: pde.derivative(u, z, 1), points=256)
    problem = pde.Problem([(0, 1), (0, 1)], [still, pde.initial(pulse, points=16)])
    assert problem.faces == ("initial",)
    until = sg.Until(loss=1e-10, steps=300, wall_seconds=None)
    fixed, drawn = (pde.solve(problem, "rosenbrock", resample=r, until=until, throw=False) for r in (None, "auto"))
    assert fixed.held_out["initial"] > 5 * fixed.residuals["initial"]
    assert "of 'initial'" in fixed.verdict
    assert drawn.errors(pulse).relative_l2 < 0.2 * fixed.errors(pulse).relative_l2


def test_a_run_that_does_not_tell_its_error_is_not_trusted(problem, monkeypatch):
    monkeypatch.setattr(Path, "error", lambda *_: float("nan"))
    solution = pde.solve(problem, "rosenbrock", until=sg.Until(loss=1e-8, steps=300))
    assert "How large the error is cannot be told" in solution.verdict
    assert "Not solved" not in solution.verdict


def test_noise_that_stays_is_not_taken_for_a_solution_that_is_wrong_from_one_moment_on():
    t = np.linspace(0.05, 1.0, 30)
    y = np.exp(-3 * t) + 0.1 * np.random.default_rng(0).normal(size=30)
    equation = pde.interior(lambda u, t, p: pde.derivative(u, t) + p["k"] * u(t), 40)
    conditions = [equation, pde.initial(1.0), pde.observations(t, y)]
    problem = pde.Problem([(0, 1)], conditions, [8], unknowns={"k": 1.0})
    solution = pde.solve(problem, "rosenbrock", until=sg.Until(steps=450, gradient_norm=1e-9), throw=False)
    assert "in a stage" not in solution.verdict
    assert solution.run.trace["points"][-1] < 10


def test_observations_without_noise_let_an_error_be_told():
    t = np.linspace(0, 1, 9)
    equation = pde.interior(lambda u, t, p: pde.derivative(u, t) + p["k"] * u(t), 40)
    problem = pde.Problem([(0, 1)], [equation, pde.observations(t, np.exp(-3 * t))], [10], unknowns={"k": 1.0})
    solution = pde.solve(problem, "rosenbrock", until=sg.Until(loss=1e-13, steps=600))
    error = solution.errors(lambda t: np.exp(-3 * t[0])).relative_l2
    assert 0.2 * error < solution.error_estimate < 100 * error


def test_points_of_which_the_time_left_holds_no_step_are_not_begun():
    """A step on many times as many points is told from one on few; the run ends there, and says why."""
    problem = pde.Problem([(0, 1)], [pde.interior(lambda u, x: pde.derivative(u, x, 0, 0) + 1.0), pde.boundary(0.0)])
    rounds = Rounds(problem, resolve("auto"), sg.Until(wall_seconds=1e4), "auto", {"throw": False}, None)
    few = problem.with_points({"interior": problem.points["interior"][:8]}, problem.params)
    rounds.run(few, None, steps=4)
    assert rounds.going
    rounds._step = (200.0, rounds._operations(few))  # 200 s a step, and a hundred times as many operations
    rounds.run(problem.with_points({"interior": np.tile(problem.points["interior"], (2, 1))}, rounds.params), None)
    assert not rounds.going
    assert rounds.count == 1
    run = rounds.solution()
    assert run.outcome is sg.Outcome.OUT_OF_TIME
    assert run.statistics.steps == 4


def test_a_run_on_no_more_points_goes_on_to_the_end_of_the_time():
    """Pieces of time are alike: one that is left out would be judged by what the last one has left."""
    problem = pde.Problem([(0, 1)], [pde.interior(lambda u, x: pde.derivative(u, x, 0, 0) + 1.0), pde.boundary(0.0)])
    rounds = Rounds(problem, resolve("auto"), sg.Until(wall_seconds=1e4), "auto", {"throw": False}, None)
    rounds.run(problem.objective, None, steps=2)
    rounds._step = (1e9, rounds._operations(problem.objective))  # far more than is left, for one step
    rounds.run(problem.objective, None, steps=2)
    assert rounds.count == 2
