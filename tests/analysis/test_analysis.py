"""Analysis on constructed cases, whose answers are known."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import stiffgrad as sg
from stiffgrad.analysis import _modes
from stiffgrad.analysis._descent import descends
from stiffgrad.analysis._match import as_sigmoid, as_tanh, match
from stiffgrad.analysis.minimum import explained_zeros

RNG = np.random.default_rng(7)


@dataclasses.dataclass(frozen=True)
class Quadratic:
    """1/2 (w - c)'Q(w - c) + height with the given spectrum, turned by a fixed rotation."""

    spectrum: tuple[float, ...]
    height: float = 0.0

    @property
    def matrix(self) -> np.ndarray:
        turn, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((len(self.spectrum),) * 2))
        return turn @ np.diag(self.spectrum) @ turn.T

    def __call__(self, w: jax.Array) -> jax.Array:
        return 0.5 * w @ self.matrix @ w + self.height


def quadratic(*spectrum: float, start: np.ndarray | None = None, height: float = 0.0) -> sg.Objective:
    w = np.ones(len(spectrum)) if start is None else start
    return sg.minimise(Quadratic(tuple(spectrum), height), w)


def regression(width: int = 4, samples: int = 30, activation: str = "tanh", seed: int = 0, layers: int = 1):
    X = np.linspace(-1, 1, samples)[:, None]
    apply, params = sg.mlp([1, *[width] * layers, 1], activation=activation, seed=seed)
    return sg.supervised(apply, params, X, np.sin(3 * X)), params


def fitted(objective: sg.Objective, loss: float) -> np.ndarray:
    """Damped Gauss-Newton steps, with a damping that falls with the loss, to a point of at most that loss."""
    w = np.array(objective.w0)
    for _ in range(500):
        height = float(objective.value(w))
        if height <= loss:
            return w
        damped = np.asarray(objective.gauss_newton(w)) + 0.03 * min(height, 1e-4) ** 0.5 * np.eye(len(w))
        w -= np.linalg.solve(damped, np.asarray(objective.gradient(w)))
    raise AssertionError(f"the fit ended at {height}")


# ---- minimum


@pytest.mark.parametrize(
    ("spectrum", "kind", "negative", "zero"),
    [
        ((1e-6, 0.5, 2.0, 1e4), "minimum", 0, 0),
        ((-0.1, 0.5, 2.0, 1e4), "saddle", 1, 0),
        ((-3.0, -2.0, -1.0, 1.0), "saddle", 3, 0),
        ((0.0, 0.0, 2.0, 1e4), "flat", 0, 2),
    ],
)
def test_quadratics_of_known_spectrum(spectrum, kind, negative, zero) -> None:
    objective = quadratic(*spectrum, height=0.3)
    found = sg.minimum(objective, np.zeros(4))
    assert (found.kind, found.negative, found.zero) == (kind, negative, zero)
    assert found.eigenvalue_min == pytest.approx(min(spectrum), abs=1e-10)
    assert found.eigenvalue_max == pytest.approx(max(spectrum), rel=1e-12)
    assert found.products == 4
    assert found.sure
    assert found.kind in repr(found)


def test_a_negative_eigenvalue_within_rounding_is_zero() -> None:
    found = sg.minimum(quadratic(-1e-14, 1.0, 100.0, height=1.0), np.zeros(3))
    assert (found.kind, found.negative, found.zero) == ("flat", 0, 1)


def test_a_slope_is_not_stationary_and_the_tolerance_is_the_users() -> None:
    objective = quadratic(1.0, 2.0, 3.0)
    assert sg.minimum(objective, np.ones(3)).kind == "not stationary"
    assert sg.minimum(objective, np.ones(3), gradient_tolerance=100.0).kind == "minimum"


@pytest.mark.parametrize("height", [0.0, 5.0])
def test_a_monkey_saddle_has_no_curvature_yet_goes_down(height: float) -> None:
    objective = sg.minimise(lambda w: w[0] ** 3 - 3 * w[0] * w[1] ** 2 + height, np.zeros(2))
    found = sg.minimum(objective, np.zeros(2))
    assert (found.kind, found.negative, found.zero) == ("saddle", 0, 2)


def test_a_quartic_bowl_has_no_curvature_and_goes_nowhere_down() -> None:
    objective = sg.minimise(lambda w: jnp.sum(w**4) + 1.0, np.zeros(2))
    assert sg.minimum(objective, np.zeros(2)).kind == "flat"


def test_a_lower_valley_behind_a_ridge_is_not_a_direction_of_descent() -> None:
    # x^2 - 300 x^4 falls below its start from |x| = 0.058 on, but rises first.
    objective = sg.minimise(lambda w: w[0] ** 2 - 300 * w[0] ** 4, np.zeros(1))
    here = _modes.local(objective, np.zeros(1))
    assert float(objective.value(np.array([0.1]))) < here.loss
    assert not descends(objective, here, np.ones(1), 0.0)
    steep = sg.minimise(lambda w: -300 * w[0] ** 4, np.zeros(1))
    assert descends(steep, _modes.local(steep, np.zeros(1)), np.ones(1), 0.0)


def test_more_weights_than_data_gives_zero_modes_that_are_explained() -> None:
    objective, _ = regression(width=4, samples=5)  # 13 weights, 5 outputs
    w = fitted(objective, loss=1e-26)
    found = sg.minimum(objective, w)
    assert (found.kind, found.negative, found.zero, found.explained_zero) == ("minimum", 0, 8, 8)


def test_near_zero_loss_the_remaining_residuals_make_no_saddle() -> None:
    objective, _ = regression(width=4, samples=5)
    w = fitted(objective, loss=1e-11)
    assert np.linalg.eigvalsh(np.asarray(objective.hessian(w)))[0] < -1e-9  # far beyond rounding
    found = sg.minimum(objective, w)
    assert (found.kind, found.negative) == ("minimum", 0)


def test_duplicate_hidden_units_with_opposite_outputs_are_a_degenerate_point() -> None:
    # All weights zero: the gradient in everything but the output bias vanishes, and the bias fits the mean.
    X = np.linspace(-1, 1, 20)[:, None]
    apply, params = sg.mlp([1, 3, 1], seed=0)
    objective = sg.supervised(apply, params, X, X)
    zero = jax.tree.map(np.zeros_like, params)
    found = sg.minimum(objective, zero)
    # E = mean (y - v'tanh(ux))^2 / 2: d2E/dudv = -mean(x y) != 0, so the origin is a saddle with three negative modes.
    assert (found.kind, found.negative) == ("saddle", 3)
    assert found.eigenvalue_min == pytest.approx(-np.mean(X**2), rel=1e-10)


def test_explained_zeros_of_symmetric_networks() -> None:
    relu, _ = regression(width=4, samples=30, activation="relu")
    assert _explained(relu) == 4
    X = np.random.default_rng(0).standard_normal((40, 3))
    apply, params = sg.mlp([3, 5, 4], seed=0)
    assert _explained(sg.supervised(apply, params, X, np.arange(40) % 4, loss="cross_entropy")) == 6
    assert _explained(sg.supervised(apply, params, X, np.arange(40) % 4, "cross_entropy", weight_decay=1e-3)) == 0


def _explained(objective: sg.Objective) -> int:
    return sg.minimum(objective, objective.w0).explained_zero


def test_softmax_is_blind_to_one_row_a_sample() -> None:
    # 4 samples of 3 logits are 12 rows, of which the loss sees 8: a Gauss-Newton matrix of 27 weights has rank 8.
    apply, params = sg.mlp([2, 4, 3], seed=0)
    X = RNG.normal(size=(4, 2))
    objective = sg.supervised(apply, params, X, np.array([0, 1, 2, 1]), loss="cross_entropy")
    rank = np.linalg.matrix_rank(np.asarray(objective.gauss_newton(objective.w0)), tol=1e-10)
    assert rank == 8
    assert explained_zeros(objective) == objective.size - rank


def test_the_default_tolerance_is_a_millionth_of_the_largest_slope_at_the_start() -> None:
    # E = 2 w^2 from w = 1: slopes of 4 w, and sqrt(2 lambda E) = 4 at the start.
    objective = sg.minimise(lambda w: 2.0 * w[0] ** 2, np.ones(1))
    assert sg.minimum(objective, np.array([0.9e-6])).kind == "minimum"
    assert sg.minimum(objective, np.array([1.2e-6])).kind == "not stationary"


@pytest.mark.parametrize("own", [1.0, 1e-4])
def test_an_eigenvalue_is_in_doubt_up_to_twice_what_the_gradient_may_change(own: float) -> None:
    # The curvature along x is c + y, and a Newton step of y0 leads to y = 0: it changes by y0. That along y is `own`,
    # beside one of 1 along z.
    y0 = 1e-7 / own

    def at(c):
        objective = sg.minimise(
            lambda w: 0.5 * own * w[1] ** 2 + 0.5 * (c + w[1]) * w[0] ** 2 + 0.5 * w[2] ** 2, np.ones(3)
        )
        return sg.minimum(objective, np.array([0.0, y0, 0.0]), gradient_tolerance=1e-6)

    assert at(-5 * y0).negative == 1
    assert at(-5 * y0).kind == "saddle"
    assert (at(-1.5 * y0).negative, at(-1.5 * y0).zero) == (0, 1)


def test_a_negative_eigenvalue_that_cannot_be_followed_is_never_sure() -> None:
    # A fall of at most 6e-22 at |y| = 5e-6: seen beside a loss of zero, hidden by one of one.
    def well(height):
        return sg.minimise(lambda w: height + w[0] ** 2 - 0.5e-10 * w[1] ** 2 + w[1] ** 4, np.ones(2))

    seen = sg.minimum(well(0.0), np.zeros(2))
    assert (seen.kind, seen.negative, seen.sure) == ("saddle", 1, True)
    hidden = sg.minimum(well(1.0), np.zeros(2))
    assert (hidden.kind, hidden.negative, hidden.sure) == ("flat", 1, False)
    assert "may be a saddle" in hidden.confidence


def test_lanczos_agrees_with_the_dense_spectrum() -> None:
    objective, _ = regression(width=8, samples=30)  # 25 weights
    w = np.asarray(objective.w0)
    dense = _modes.dense_modes(objective, w)
    few = _modes.lanczos_modes(objective, w, products=12)
    assert few.values[-1] == pytest.approx(dense.values[-1], rel=1e-9)
    assert few.values[-1] <= dense.values[-1] * (1 + 1e-12)
    for value, error in zip(few.values, few.errors):
        assert np.abs(dense.values - value).min() <= error * (1 + 1e-6) + 1e-12
    assert dense.values[0] >= few.values[0] - _modes.unseen_below(few, len(w))


def test_beyond_dense_sizes_lanczos_finds_the_saddle() -> None:
    spectrum = (-0.5, *np.linspace(1.0, 10.0, 39))
    saddle = sg.minimum(quadratic(*spectrum), np.zeros(40), products=30, dense=2)
    assert (saddle.kind, saddle.negative, saddle.zero) == ("saddle", 1, None)
    assert saddle.sure
    assert saddle.products == 30
    assert saddle.eigenvalue_min == pytest.approx(-0.5, rel=1e-6)
    bowl = sg.minimum(quadratic(*np.linspace(1.0, 10.0, 40)), np.zeros(40), products=30, dense=2)
    assert (bowl.kind, bowl.sure) == ("minimum", False)
    assert "probability" in bowl.confidence


# ---- stiffness


def test_stiffness_of_a_chosen_spectrum() -> None:
    spectrum = (1.0, 2.0, 500.0, 1000.0)
    objective = quadratic(*spectrum)
    turn = np.linalg.eigh(Quadratic(spectrum).matrix)[1]
    slow = sg.stiffness(objective, turn[:, 0])  # only the slowest mode moves: accuracy allows long steps
    assert slow.ratio == pytest.approx(1000.0, rel=1e-9)
    assert slow.eigenvalue_max == pytest.approx(1000.0, rel=1e-9)
    assert slow.step_explicit == pytest.approx(2e-3, rel=1e-9)
    # |w| = 1, g = w, Hg = w: h^2 / 2 = rtol.
    assert slow.step_accuracy == pytest.approx(np.sqrt(2e-2), rel=1e-6)
    assert slow.fast_modes == 2
    assert slow.negative == 0
    assert slow.complete
    assert slow.advice.startswith("stiff")
    fast = sg.stiffness(objective, turn[:, 3])
    assert fast.step_accuracy == pytest.approx(np.sqrt(2e-2) / 1000, rel=1e-6)
    assert fast.advice.startswith("explicit is fine")


def test_the_stiffness_ratio_has_no_unit() -> None:
    # Stiffness is no matter of the units of the loss: a thousandth of it has the same ratio.
    ratios = [sg.stiffness(quadratic(0.5 * unit, 2.0 * unit, 8.0 * unit), np.ones(3)).ratio for unit in (1.0, 1e-3)]
    assert ratios == pytest.approx([16.0, 16.0], rel=1e-9)


def test_stiffness_counts_negative_curvature_and_is_cheap() -> None:
    found = sg.stiffness(quadratic(-2.0, -1.0, 1.0, 5.0), np.ones(4))
    assert (found.negative, found.eigenvalue_min) == (2, pytest.approx(-2.0))
    big, params = regression(width=40, samples=30)
    assert sg.stiffness(big, params, products=15).products == 16


def test_stiffness_grows_as_fast_modes_die_out() -> None:
    spectrum = (1.0, 2.0, 500.0, 1000.0)
    objective, matrix = quadratic(*spectrum), Quadratic(spectrum).matrix
    values, vectors = np.linalg.eigh(matrix)
    path = [vectors @ (np.exp(-values * t) * (vectors.T @ np.ones(4))) for t in (0.0, 0.01, 0.1)]
    excess = [found.excess for found in sg.stiffness_along(objective, path)]
    assert excess[0] < excess[1] < excess[2]


# ---- the same minimum


def moved_copy(params, order, sign):
    first, second = params
    return [
        {"weight": sign[:, None] * first["weight"][order], "bias": sign * first["bias"][order]},
        {"weight": second["weight"][:, order] * sign, "bias": second["bias"]},
    ]


def test_a_network_is_the_same_as_its_permuted_and_flipped_copy() -> None:
    objective, params = regression()
    copy = moved_copy(params, np.array([2, 0, 3, 1]), np.array([1.0, -1.0, -1.0, 1.0]))
    assert float(objective.value(objective.flatten(copy))) == pytest.approx(float(objective.value(objective.w0)))
    found = sg.same_minimum(objective, params, copy)
    assert found.same
    assert found.matched
    assert found.distance < 1e-14
    assert found.barrier < 1e-14
    assert found.distance_unmatched > 0.5
    assert "same point" in found.verdict


def test_deeper_networks_are_matched_layer_by_layer() -> None:
    objective, params = regression(width=6, layers=2)
    shuffled = [{name: np.array(value) for name, value in layer.items()} for layer in params]
    for layer in range(2):
        order, sign = RNG.permutation(6), RNG.choice([-1.0, 1.0], 6)
        shuffled[layer] = {k: (sign * v[order].T).T for k, v in shuffled[layer].items()}
        shuffled[layer + 1]["weight"] = shuffled[layer + 1]["weight"][:, order] * sign
    found = sg.same_minimum(objective, params, shuffled)
    assert found.same
    assert found.distance < 1e-13


def test_sigmoid_has_the_sign_symmetry_too_and_relu_only_the_order() -> None:
    objective, params = regression(activation="sigmoid")
    assert [float(objective.value(objective.flatten(as_sigmoid(as_tanh(params)))))] == pytest.approx(
        [float(objective.value(objective.w0))], rel=1e-12
    )
    mirrored = as_sigmoid(moved_copy(as_tanh(params), np.arange(4), np.array([1.0, -1.0, 1.0, -1.0])))
    assert sg.same_minimum(objective, params, mirrored).distance < 1e-13
    relu, params = regression(activation="relu")
    ordered = moved_copy(params, np.array([3, 2, 1, 0]), np.ones(4))
    assert sg.same_minimum(relu, params, ordered).distance < 1e-14
    flipped = moved_copy(params, np.arange(4), -np.ones(4))
    assert sg.same_minimum(relu, params, flipped).distance > 0.1


def test_matching_one_hidden_layer_is_the_nearest_of_all_copies() -> None:
    _, a = regression(width=3, seed=1)
    _, b = regression(width=3, seed=2)
    objective, _ = regression(width=3)
    flat = objective.flatten(a)
    nearest = min(
        float(np.linalg.norm(flat - objective.flatten(moved_copy(b, np.array(order), np.array(sign)))))
        for order in itertools.permutations(range(3))
        for sign in itertools.product((1.0, -1.0), repeat=3)
    )
    assert np.linalg.norm(flat - objective.flatten(match(a, b, odd=True))) == pytest.approx(nearest, rel=1e-12)


def test_two_wells_have_the_barrier_between_them() -> None:
    # (x^2 - 1)^2: two minima at +-1 with a barrier of 1 at 0.
    objective = sg.minimise(lambda w: (w[0] ** 2 - 1) ** 2, np.array([2.0]))
    found = sg.same_minimum(objective, np.array([1.0]), np.array([-1.0]))
    assert not found.same
    assert found.barrier == pytest.approx(1.0, rel=1e-12)
    assert found.relative_barrier == pytest.approx(1 / 9, rel=1e-12)  # the start is at loss 9
    assert "No hidden units were matched" in found.verdict
    assert "200% apart, with a barrier of 11.1% of the loss removed" in found.verdict


@pytest.mark.parametrize("layers", [1, 2])
def test_a_relu_network_is_the_same_as_its_rescaled_and_permuted_copy(layers) -> None:
    objective, params = regression(activation="relu", layers=layers)
    turned = [{name: np.array(part) for name, part in layer.items()} for layer in params]
    for hidden, above in itertools.pairwise(turned):
        order, scale = RNG.permutation(4), np.exp(RNG.normal(size=4))
        hidden["weight"], hidden["bias"] = hidden["weight"][order] * scale[:, None], hidden["bias"][order] * scale
        above["weight"] = above["weight"][:, order] / scale
    assert float(objective.value(objective.flatten(turned))) == pytest.approx(float(objective.value(objective.w0)))
    found = sg.same_minimum(objective, params, turned)
    assert found.same
    assert found.relative_distance < 1e-6 < found.distance_unmatched
    # With decay the scales cost different amounts, so the two are different points.
    decayed = objective.with_decay(np.full(objective.size, 1e-2))
    assert sg.same_minimum(decayed, params, turned).relative_distance > 0.1


@pytest.mark.parametrize(("depth", "same"), [(0.01, False), (0.0001, True)])
def test_a_barrier_counts_as_a_share_of_the_loss_removed(depth, same) -> None:
    # Wells at -1 and 1 with a barrier of `depth` between; the start lies 1 above them, and all on a height of 100.
    start = np.sqrt(1.0 + 1.0 / np.sqrt(depth))
    objective = sg.minimise(lambda w: 100.0 + depth * (1.0 - w[0] ** 2) ** 2, np.array([start]))
    found = sg.same_minimum(objective, np.array([-1.0]), np.array([1.0]))
    assert found.barrier == pytest.approx(depth, rel=1e-6)
    assert found.relative_barrier == pytest.approx(depth, rel=1e-6)
    assert found.same == same


def test_two_networks_known_to_differ() -> None:
    # Units that carry different functions: one fits sin, the other its mirror image; half way lies neither.
    X = np.linspace(-1, 1, 30)[:, None]
    apply, params = sg.mlp([1, 2, 1], seed=0)
    objective = sg.supervised(apply, params, X, np.abs(np.tanh(6 * X)))
    steep = [
        {"weight": np.array([[6.0], [6.0]]), "bias": np.array([2.0, -2.0])},
        {"weight": np.array([[-1.0, 1.0]]), "bias": np.array([1.0])},
    ]
    far = [
        {"weight": np.array([[6.0], [0.1]]), "bias": np.array([-8.0, 3.0])},
        {"weight": np.array([[9.0, 1.0]]), "bias": np.array([9.0])},
    ]
    found = sg.same_minimum(objective, steep, far)
    assert found.distance > 1.0
    assert not found.same


# ---- spectrum


def test_a_plane_has_no_stiffness() -> None:
    found = sg.stiffness(sg.minimise(lambda w: jnp.sum(w), np.ones(3)), np.ones(3))
    assert (found.excess, found.step_explicit, found.step_accuracy, found.ratio) == (0.0, np.inf, np.inf, 1.0)
    assert found.advice.startswith("explicit is fine")


def test_the_share_below_zero_is_told_and_rounding_is_none_of_it() -> None:
    def told(diagonal: list[float]) -> str:
        objective = sg.minimise(lambda w: 0.5 * jnp.sum(jnp.array(diagonal) * w**2), np.ones(4))
        return repr(sg.spectrum(objective, objective.w0))

    assert "below zero     25.0% of them" in told([-1.0, 2.0, 3.0, 4.0])
    assert "below zero     25.0% of them" in told([-1e-3, 2.0, 3.0, 4.0])
    assert "below zero     0.0% of them" in told([-1e-12, 2.0, 3.0, 4.0])


def test_spectrum_moments_are_traces() -> None:
    spectrum = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
    matrix = Quadratic(spectrum).matrix
    objective = quadratic(*spectrum)
    found = sg.spectrum(objective, np.ones(6), probes=400, points=4000)
    scatter = 4 / np.sqrt(400)  # four standard errors of a probe's variance 2 (|H|_F^2 - |diag H|^2) / n^2
    for power in (1, 2):
        h = np.linalg.matrix_power(matrix, power)
        error = np.sqrt(2 * (np.sum(h**2) - np.sum(np.diag(h) ** 2))) / 6
        assert abs(found.moment(power) - np.trace(h) / 6) < scatter * error
    assert np.sum(found.weights) == pytest.approx(1.0, rel=1e-12)
    assert np.trapezoid(found.density, found.grid) == pytest.approx(1.0, rel=1e-4)
    assert (found.eigenvalue_min, found.eigenvalue_max) == (pytest.approx(0.5), pytest.approx(16.0))
    assert found.products == 400 * 6


def test_spectrum_of_a_diagonal_hessian_is_exact_and_seeded() -> None:
    objective = sg.minimise(lambda w: 0.5 * jnp.sum(jnp.arange(1.0, 6.0) * w**2), np.ones(5))
    found = sg.spectrum(objective, objective.w0, probes=2)
    assert found.moment(1) == pytest.approx(3.0, rel=1e-12)
    assert found.moment(2) == pytest.approx(11.0, rel=1e-12)
    assert found.share(0.5, 2.5) == pytest.approx(0.4, rel=1e-9)
    again = sg.spectrum(objective, objective.w0, probes=2)
    assert np.array_equal(found.weights, again.weights)


# ---- bad input


def test_bad_input_is_named() -> None:
    objective, params = regression()
    with pytest.raises(TypeError, match="objective must be an Objective"):
        sg.minimum(lambda w: w, params)
    with pytest.raises(ValueError, match="structure"):
        sg.stiffness(objective, params[:1])
    with pytest.raises(ValueError, match="NaN or infinity"):
        sg.minimum(objective, np.full(objective.size, np.nan))
    with pytest.raises(ValueError, match="b contains NaN"):
        sg.same_minimum(objective, params, np.full(objective.size, np.inf))
    with pytest.raises(ValueError, match="products=0"):
        sg.spectrum(objective, params, products=0)
    with pytest.raises(ValueError, match="width=-1"):
        sg.spectrum(objective, params, width=-1.0)
    with pytest.raises(ValueError, match="rtol=0"):
        sg.stiffness(objective, params, rtol=0)
    with pytest.raises(ValueError, match="gradient_tolerance=-1"):
        sg.minimum(objective, params, gradient_tolerance=-1)
    with pytest.raises(ValueError, match="points=2"):
        sg.same_minimum(objective, params, params, points=2)


def test_results_print_their_verdict() -> None:
    objective, params = regression()
    assert "stiffness ratio" in repr(sg.stiffness(objective, params))
    assert "barrier" in repr(sg.same_minimum(objective, params, params))
    assert "eigenvalues" in repr(sg.spectrum(objective, params, probes=2))
