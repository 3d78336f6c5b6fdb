"""Terms against manufactured solutions, networks with their constraints, and messages for what cannot be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import stiffgrad as sg
from stiffgrad import pde
from stiffgrad.pde.conditions import Residual

SQUARE = [(0.0, 1.0), (0.0, 2.0)]


def exact(params, x):
    """A 'network' that is x0^2 + 3 x0 x1 whatever its single parameter, which is 1, so that residuals are known."""
    return params["one"] * jnp.array([x[0] ** 2 + 3 * x[0] * x[1]])


EXACT = (exact, {"one": np.array(1.0)})


def value(condition, domain=SQUARE, network=EXACT, **options):
    problem = pde.Problem(domain, [condition], network, balance=False, **options)
    return float(problem.objective.value(problem.objective.w0))


def test_terms_vanish_on_a_manufactured_solution():
    conditions = [
        pde.interior(lambda u, x: pde.laplacian(u, x) - 2, 16),
        pde.interior(lambda u, x: [pde.derivative(u, x, 0, 1) - 3, pde.gradient(u, x)[1] - 3 * x[0]], 8),
        pde.boundary(lambda x: x[0] ** 2 + 3 * x[0] * x[1], 12),
        pde.boundary(lambda u, x: pde.derivative(u, x, 1) - 3, 4, faces=[(0, 1.0)]),
        pde.initial(lambda x: x[0] ** 2, 5),
        pde.observations([[0.5, 1.0]], [1.75]),
        pde.observations([[0.5, 1.0]], [[4.0, 1.5]], lambda u, x: pde.gradient(u, x)),
    ]
    for condition in conditions:
        assert value(condition) < 1e-28
    problem = pde.Problem(SQUARE, conditions, EXACT)
    assert float(problem.objective.value(problem.objective.w0)) < 1e-26


def test_a_term_is_its_weight_times_the_mean_of_half_the_squares():
    assert value(pde.interior(lambda u, x: pde.laplacian(u, x) - 5, 16, weight=7.0)) == pytest.approx(7 * 0.5 * 9)
    assert value(pde.boundary(lambda u, x: [u(x) - u(x) + 1.0, 2.0], 12)) == pytest.approx(0.5 * (1 + 4))
    assert value(pde.boundary(lambda x: x[0] ** 2 + 3 * x[0] * x[1] + 4, 12)) == pytest.approx(8.0)


def test_one_number_holds_for_every_component():
    two = (lambda params, x: params["one"] * jnp.array([x[0], x[0]]), {"one": np.array(1.0)})
    points = [[0.5, 1.0]]
    assert value(pde.boundary(0.5, points), network=two) == 0.0
    assert value(pde.boundary([0.5, 1.5], points), network=two) == 0.5


def test_equations_may_use_numpy_and_jax_numpy_alike():
    def with_numpy(u, x):
        lists = np.array([u(x), u([x[0], x[1]]), u(np.array([x[0], x[1]]))])
        bend = np.where(x[0] > 0.5, np.exp(-x[1]), np.abs(np.sin(np.pi * x[0])))
        return bend * np.sum(lists) / 3 + x @ np.array([1.0, 2.0]) + x.sum() ** 2 + np.linalg.norm(x) - len(x)

    def with_jax(u, x):
        bend = jnp.where(x[0] > 0.5, jnp.exp(-x[1]), jnp.abs(jnp.sin(jnp.pi * x[0])))
        return bend * u(x) + x @ jnp.array([1.0, 2.0]) + jnp.sum(x) ** 2 + jnp.linalg.norm(x) - 2

    both = [pde.Problem(SQUARE, [pde.interior(f, 20)], EXACT).objective for f in (with_numpy, with_jax)]
    np.testing.assert_allclose(*(np.asarray(o.residual(o.w0)) for o in both), rtol=1e-13)


def test_numpy_functions_may_take_lists_of_numbers():
    x = np.array([0.3, 0.5])
    problem = pde.Problem(SQUARE, [pde.interior(lambda u, x: np.interp(x[0], [0, 1], [2, 4]) + 0 * u(x), [x])], [3])
    np.testing.assert_allclose(problem.residual("interior", problem.params, [x]), 2.6)


def test_derivatives_inside_of_equations_with_numpy():
    def equation(u, x):
        flux = pde.divergence(lambda z: np.exp(z[0]) * pde.gradient(u, z), x)
        return flux - np.exp(x[0]) * (2 + 2 * x[0] + 3 * x[1])

    assert value(pde.interior(equation, 10)) < 1e-26


def test_the_boundary_leaves_out_the_first_and_last_time():
    conditions = [pde.boundary(0.0, 10), pde.initial(0.0, 6)]
    points = pde.Problem(SQUARE, conditions, EXACT).points
    assert set(points["boundary"][:, 0]) == {0.0, 1.0}
    assert len(set(points["boundary"][:, 1])) > 5
    assert set(points["initial"][:, 1]) == {0.0}
    alone = pde.Problem(SQUARE, conditions[:1], EXACT).points["boundary"]
    assert {0.0, 2.0} <= set(alone[:, 1])


def test_balance_gives_all_terms_the_same_trace():
    conditions = [pde.interior(lambda u, x: 100 * pde.laplacian(u, x), 16), pde.boundary(0.0, 16)]
    problem = pde.Problem(SQUARE, conditions, [6])
    plain = pde.Problem(SQUARE, conditions, [6], balance=False)
    assert plain.weights == {"interior": 1.0, "boundary": 1.0}
    objective, traces = problem.objective, []
    rows = np.asarray(objective.scaled_jacobian(objective.w0))
    traces = [np.sum(part**2) for part in np.split(rows, [16])]
    assert traces[0] == pytest.approx(traces[1])
    assert problem.weights["boundary"] > 100 * problem.weights["interior"]
    # The trace of the values themselves: the loss has the unit of the solution, which is 1 here.
    slopes = jax.vmap(jax.grad(problem.network), (None, 0))(problem.params, pde.interior_points(SQUARE, 256))
    assert traces[1] == pytest.approx(sum(np.sum(v**2) for v in jax.tree.leaves(slopes)) / 256)


def test_the_integrators_find_the_perceptron_and_share_compiled_code():
    equation = lambda u, x: pde.laplacian(u, x)  # noqa: E731
    first, second = (pde.Problem(SQUARE, [pde.interior(equation, 8)], [4], seed=seed) for seed in (0, 1))
    functions = [problem.objective.blocks[0].function for problem in (first, second)]
    assert isinstance(functions[0], Residual)
    assert isinstance(functions[0].network.mlp, sg.MLP)
    assert functions[0] == functions[1]
    assert hash(functions[0]) == hash(functions[1])
    assert jax.tree.structure(first.objective) == jax.tree.structure(second.objective)
    moved = first.with_points({"interior": first.points["interior"] / 2}, first.params)
    assert jax.tree.structure(first.objective) == jax.tree.structure(moved)


def test_one_output_of_any_network_is_a_number_for_each_point():
    apply, params = sg.mlp([2, 3, 1])
    problem = pde.Problem(SQUARE, [pde.boundary(0.0, 8)], (apply, params))
    points = np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]])
    found = problem.evaluate(problem.params, points)
    assert found.shape == (3,)
    np.testing.assert_allclose(found[1], np.asarray(apply(params, points[1]))[0], rtol=1e-6)


@pytest.mark.parametrize("hidden", [[4], [96]])
def test_numbers_of_float32_stay_so(hidden):
    def heat(u, z):  # constants of NumPy are float64
        return pde.derivative(u, z, 1) - np.array([0.1]) * pde.derivative(u, z, 0, 0)

    conditions = [pde.interior(heat, 64), pde.boundary(0.0, 16), pde.initial(lambda z: 50 * np.sin(np.pi * z[0]), 16)]
    problem = pde.Problem([(0, 1), (0, 1)], conditions, hidden, dtype="float32")
    assert problem.scales.size != (1.0,)
    assert np.asarray(problem.objective.residual(problem.objective.w0)).dtype == np.float32
    solution = pde.solve(problem, until=sg.Until(loss=1e-4, steps=60))
    assert solution.loss < 1e-2 * float(problem.objective.value(problem.objective.w0))


def test_hard_constraints_hold_whatever_the_weights_are():
    u, params = pde.network(SQUARE, [5], transform=lambda x, n: np.sin(np.pi * x[0]) * n + 7, seed=2)
    for x in ([0.0, 0.3], [1.0, 1.3]):
        assert float(u(params, np.array(x))) == pytest.approx(7.0)
    assert float(u(params, np.array([0.5, 0.3]))) != pytest.approx(7.0)
    two, weights = pde.network(SQUARE, [5], 2, transform=lambda x, n: [x[0] * n[0], n[1]])
    assert two(weights, np.zeros(2)).shape == (2,)


def test_periodic_networks_are_periodic_with_their_derivatives():
    u, params = pde.network([(-1, 1), (0, 3)], [6], periodic=[0])
    a, b = (jax.jacfwd(lambda x: u(params, x))(np.array([x, 0.7])) for x in (-1.0, 1.0))
    np.testing.assert_allclose(a, b, atol=1e-14)
    assert u.mlp.sizes == (3, 6, 1)
    np.testing.assert_allclose(u.features(np.array([0.25, 1.5])), [0.0, np.sqrt(0.5), np.sqrt(0.5)], atol=1e-15)


def test_fourier_features_are_cosines_and_sines():
    u, _ = pde.network(SQUARE, [6], fourier=4, seed=1)
    assert u.mlp.sizes == (2 + 8, 6, 1)
    features = np.asarray(u.features(np.array([0.3, 1.9])))
    np.testing.assert_allclose(features[2:6] ** 2 + features[6:] ** 2, 1.0)
    assert pde.network(SQUARE, [6], fourier=4, seed=1)[0] == u


def test_inputs_are_scaled_from_the_domain():
    u, _ = pde.network([(0, 10), (-3, -1)], [4])
    np.testing.assert_allclose(u.features(np.array([0.0, -1.0])), [-1.0, 1.0])


def test_siren_is_the_network_of_its_paper():
    apply, params = pde.siren([1, 64, 64, 1], omega=30.0, seed=0)
    x = np.array([0.3])
    first = np.sin(30.0 * (params[0]["weight"] / 30.0 @ x + params[0]["bias"] / 30.0))
    second = np.sin(params[1]["weight"] @ first + params[1]["bias"])
    np.testing.assert_allclose(apply(params, x), params[2]["weight"] @ second + params[2]["bias"], rtol=1e-12)
    assert np.abs(params[0]["weight"]).max() <= 30.0
    assert np.abs(params[1]["weight"]).max() <= np.sqrt(6 / 64)
    # The paper's point: activations before the sine have unit variance at every depth.
    z = np.stack(
        [params[1]["weight"] @ np.sin(params[0]["weight"] @ [t] + params[0]["bias"]) for t in np.linspace(-1, 1, 99)]
    )
    assert z.std() == pytest.approx(1.0, abs=0.15)


def nothing(u, x):
    u(x)


def branches(u, x):
    return u(x) if x[0] > 0 else -u(x)


def mixes(u, x):
    return np.sin(x[0]) * jnp.sin(x[1] * np.exp(x[0])) * u(x)


def set_entries(u, x):
    left = np.zeros(2)
    left[0] = u(x)
    return left


def unequal(u, x):
    return [u(x), pde.gradient(u, x)]


@pytest.mark.parametrize(
    ("conditions", "error", "words"),
    [
        ([], ValueError, "conditions is empty"),
        ([nothing], TypeError, r"conditions must be a list of pde.interior"),
        ([pde.interior(nothing, 4)], TypeError, "interior: the equation fails .* returns nothing"),
        ([pde.interior(lambda u, x: u, 4)], TypeError, "it returns a function"),
        ([pde.interior(lambda u, x: x[:, 0], 4)], ValueError, r"fails at a point x of shape \(2,\)"),
        ([pde.interior(unequal, 4)], ValueError, "its entries have different shapes"),
        ([pde.interior(lambda u, x: pde.gradient(lambda z: pde.gradient(u, z), x), 4)], ValueError, r"shape \(2, 2\)"),
        ([pde.interior(branches, 4)], TypeError, "np.where"),
        ([pde.interior(mixes, 4)], TypeError, "mixes numpy and jax.numpy"),
        ([pde.interior(lambda u, x, p: p["k"] * u(x), 4)], TypeError, "has no unknowns"),
        ([pde.interior(lambda u, x: u(x), [[0.5, 3.0]])], ValueError, r"1 of 1 points lie outside .* \[0.5, 3.0\]"),
        ([pde.interior(lambda u, x: u(x), np.zeros((0, 2)))], ValueError, "points is empty"),
        ([pde.interior(lambda u, x: u(x), np.ones((4, 3)))], ValueError, r"give \(N, 2\)"),
        ([pde.interior(lambda u, x: u(x), 0)], ValueError, "points=0: a term without points"),
        ([pde.boundary(0.0, 0)], ValueError, "points=0: a term without points"),
        ([pde.boundary(0.0, np.zeros((0, 2)))], ValueError, "points is empty"),
        ([pde.boundary(0.0, 4, faces=[(0, 0.5)])], ValueError, "ends at 0 and 1"),
        ([pde.boundary([0.0, 1.0], 4)], ValueError, "2 components, but u has 1"),
        ([pde.boundary([0.0, 1.0], 4)], ValueError, "each, with faces="),
        ([pde.initial([1.0, 0.0], 4)], ValueError, "a slope are `lambda u, x"),
        ([pde.initial(lambda x: np.sin(x), 4)], ValueError, r"ONE point of shape \(2,\)"),
        ([pde.initial(lambda x, t: x * t, 4)], TypeError, "a value is a function of ONE point"),
        ([pde.boundary(lambda x: x[:, 0], 4)], ValueError, r"ONE point of shape \(2,\)"),
        ([pde.boundary(lambda x: np.nan, 4)], ValueError, "the value is .nan. at the point"),
        ([pde.initial(0.0, 4, axis=2)], ValueError, "axis=2 must be the coordinate of time"),
        ([pde.interior(lambda u, x, t: u(x), 4)], TypeError, r"ONE point: write \(u, z\), with x = z\[0\]"),
        ([pde.interior(lambda u, z: u(z[0], z[1]), 4)], TypeError, r"u takes ONE point"),
        ([pde.interior(lambda u, z: pde.derivative(u[1], z, 0), 4)], TypeError, r"its component is u\(x\)\[1\]"),
        ([pde.interior(lambda u, z: np.sin(z[0]) * u[1], 4)], TypeError, r"its component is u\(x\)\[1\]"),
        ([pde.interior(lambda u, z: [u(z)[0], u(z)[1]], 4)], ValueError, "Then give outputs="),
        ([pde.interior(set_entries, 4)], ValueError, "make a list, and return it"),
        ([pde.interior(lambda u, z: 1j * u(z), 4)], TypeError, "real and imaginary parts as two components"),
    ],
)
def test_bad_conditions_are_sentences(conditions, error, words):
    with pytest.raises(error, match=words):
        pde.Problem(SQUARE, conditions, [3])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: pde.interior(3), TypeError, r"must be a function \(u, x\)"),
        (lambda: pde.interior(lambda x: x), TypeError, r"write it as equation\(u, x\)"),
        (lambda: pde.boundary("zero"), TypeError, "value='zero' must be a number"),
        (lambda: pde.observations([[0.1, 0.2]], [1.0, 2.0]), ValueError, "there are 1 points"),
        (lambda: pde.network(SQUARE, 32), TypeError, "hidden=32 must be a list"),
        (lambda: pde.network(SQUARE, [4], activation="relu"), ValueError, "activation='relu' must be smooth"),
        (
            lambda: pde.network(SQUARE, [4], transform=lambda x, n: [n, n]),
            ValueError,
            r"transform returns shape \(2,\)",
        ),
        (lambda: pde.network(SQUARE, [4], transform=3), TypeError, "transform must be a function"),
        (lambda: pde.network(SQUARE, [4], periodic=[2]), ValueError, "beyond 0 to 1"),
        (lambda: pde.network(SQUARE, [4], fourier=-1), ValueError, "fourier=-1"),
        (lambda: pde.siren([1, 4, 1], omega=0), ValueError, "omega=0 must be a positive number"),
        (lambda: pde.Problem(SQUARE, [pde.boundary(0.0)], exact), TypeError, r"pair \(network, params\)"),
        (
            lambda: pde.Problem(SQUARE, [pde.boundary(0.0)], (lambda p, x: x[0], {"activation": np.tanh})),
            TypeError,
            "give the model itself",
        ),
        (lambda: pde.Problem(SQUARE, [pde.boundary(0.0)], unknowns={"k": "a"}), TypeError, "must be a number"),
        (
            lambda: pde.Problem([(0, 1)], [pde.boundary(0.0)], pde.network(SQUARE, [4])),
            ValueError,
            "was made for the domain",
        ),
        (lambda: pde.errors([1.0], [1.0, 2.0]), ValueError, "give one for each point"),
    ],
)
def test_bad_arguments_are_sentences(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_first_units_turn_within_the_domain_and_are_made_sharper_in_place():
    box = [(0.0, 10.0), (-1.0, 1.0), (2.0, 3.0)]
    made, params = pde.network(box, [50, 8], seed=3)
    weight, bias = params[0]["weight"], params[0]["bias"]
    np.testing.assert_allclose(np.linalg.norm(weight, axis=1), 3 / np.sqrt(3))
    # A unit is zero on a plane: where it is nearest to the middle of [-1, 1]^3, it is within the cube's corners.
    assert np.all(np.abs(bias) <= np.sum(np.abs(weight), axis=1))
    assert np.std(bias) > 0.5
    sharp = made.sharper(params, 4.0)
    np.testing.assert_allclose(sharp[0]["bias"] / sharp[0]["weight"][:, 0], bias / weight[:, 0])
    np.testing.assert_allclose(sharp[0]["weight"], 4 * weight)
    np.testing.assert_array_equal(sharp[1]["weight"], params[1]["weight"])
    _, waves = pde.network(box, [50, 8], periodic=[0])
    np.testing.assert_allclose(np.linalg.norm(waves[0]["weight"], axis=1), 1.0)


def test_a_network_with_kinks_is_refused_for_an_equation_only():
    """Of relu a second derivative leaves nothing, so that no residual would ever fall."""
    network = sg.mlp([1, 8, 1], activation="relu")
    with pytest.raises(ValueError, match="activation='relu' must be smooth"):
        pde.Problem([(0, 1)], [pde.interior(lambda u, x: pde.derivative(u, x, 0, 0) + 1.0), pde.boundary(0.0)], network)
    pde.Problem([(0, 1)], [pde.observations(np.linspace(0, 1, 5)[:, None], np.ones(5))], network)


@pytest.mark.parametrize("outputs", [1, 2])
def test_a_solution_can_be_differentiated(outputs):
    """A flux or a stress of what was solved, by the operators that equations are written with."""
    heat = pde.interior(lambda u, z: pde.derivative(u, z, 1) - pde.derivative(u, z, 0, 0), points=20)
    problem = pde.Problem([(0, 2), (0, 1)], [heat, pde.initial(1.0, points=5)], network=[6], outputs=outputs)
    u = lambda z: problem.evaluate(problem.params, z)  # noqa: E731
    points, step = np.array([[0.5, 0.4], [1.5, 0.1]]), np.array([1e-5, 0.0])
    grid = np.stack(np.meshgrid([0.5, 1.5, 1.0], [0.4, 0.1]), -1)
    assert u(grid).shape == ((2, 3) if outputs == 1 else (2, 3, 2))
    np.testing.assert_allclose(u(grid)[1, 0], u(grid[1, 0]), rtol=1e-12)
    expected = (u(points + step) - u(points - step)) / 2e-5
    np.testing.assert_allclose(pde.derivative(u, points, 0), expected, rtol=1e-8)
    np.testing.assert_allclose(pde.derivative(u, list(points[0]), 0), expected[0], rtol=1e-8)
    of_coordinates = pde.derivative(lambda z: np.exp(u([z[0], z[1]])), points[0], 0)
    np.testing.assert_allclose(of_coordinates, np.exp(u(points[0])) * expected[0], rtol=1e-8)
