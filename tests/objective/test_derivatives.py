"""Every derivative against dense oracles written independently: a naive whole-batch loss, and finite differences."""

import functools
import itertools
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stiffgrad import Objective, Term, minimise, mlp, supervised
from stiffgrad.objective import derivatives, placement

SIZES = (3, 4, 2)
N = 7
CHUNK = 3  # does not divide N: the last chunk is padded
LOSSES = ("squared", "cross_entropy", "binary_cross_entropy", "log_cosh")
scaled_jacobian = jax.jit(derivatives.scaled_jacobian)
residual = jax.jit(derivatives.residual)
curvature_rows = jax.jit(derivatives.curvature_rows)
seeds = st.integers(0, 2**32 - 1)
PIECES = "pieces"  # of as many samples, which stay in the cache
CASES = list(itertools.product(LOSSES, [None, CHUNK, PIECES]))  # every loss, and every way to cut the samples
ROOTED = [case for case in CASES if case[0] in LOSSES[:3]]  # those that know their pseudo-residual
few = settings(max_examples=5)  # of each case


def log_cosh(z, y):
    return jnp.sum(jnp.logaddexp(z - y, y - z))


def random_problem(seed, loss, chunk=None):
    """A random objective and the plain arrays it was made of."""
    rng = np.random.default_rng(seed)
    apply, params = mlp(SIZES, seed=seed)
    X = rng.normal(size=(N, SIZES[0]))
    y = rng.dirichlet(np.ones(SIZES[-1]), N) if "entropy" in loss else rng.normal(size=(N, SIZES[-1]))
    sample_weight = rng.uniform(0.0, 3.0, N) * (rng.random(N) > 0.2)
    sample_weight[0] = 1.0
    decay = [{"bias": rng.uniform(0, 2), "weight": rng.uniform(0, 2)} for _ in params]
    piece = CHUNK if chunk == PIECES else None
    with mock.patch.object(placement.Placement, "_piece", return_value=piece):
        objective = supervised(
            apply,
            params,
            X,
            y,
            log_cosh if loss == "log_cosh" else loss,
            weight_decay=decay,
            sample_weight=sample_weight,
            chunk_samples=None if chunk == PIECES else chunk,
        )
    assert objective.blocks[0].piece == piece
    w = rng.normal(size=objective.size)
    # jax sorts dictionary keys: in the flat vector "bias" comes before "weight".
    spread = [np.full(np.size(layer[k]), d[k]) for layer, d in zip(params, decay) for k in ("bias", "weight")]
    return objective, w, (X, y, sample_weight, np.concatenate(spread)), rng


def forward(w, X):
    """The network over the whole batch, by slices of w."""
    a, start = X, 0
    for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(SIZES)):
        bias = w[start : start + fan_out]
        weight = w[start + fan_out : start + fan_out + fan_out * fan_in].reshape(fan_out, fan_in)
        start += fan_out * (fan_in + 1)
        a = a @ weight.T + bias
        a = jnp.tanh(a) if layer < len(SIZES) - 2 else a
    return a


def data_error(z, y, weights, loss):
    if loss == "squared":
        each = ((z - y) ** 2).sum(1) / 2
    elif loss == "cross_entropy":
        each = -(y * jnp.log(jnp.exp(z) / jnp.exp(z).sum(1, keepdims=True))).sum(1)
    elif loss == "binary_cross_entropy":
        p = 1 / (1 + jnp.exp(-z))
        each = -(y * jnp.log(p) + (1 - y) * jnp.log(1 - p)).sum(1)
    else:
        each = jnp.log(2 * jnp.cosh(z - y)).sum(1)
    return (weights * each).sum() / weights.sum()


def naive(w, arrays, loss):
    X, y, weights, decay = arrays
    return data_error(forward(w, X), y, weights, loss) + (decay * w**2).sum() / 2


@functools.partial(jax.jit, static_argnums=2)
def naive_derivatives(w, arrays, loss):
    slope = jax.jacfwd(naive)
    return naive(w, arrays, loss), slope(w, arrays, loss), jax.jacfwd(slope)(w, arrays, loss)


@functools.partial(jax.jit, static_argnums=2)
def naive_gauss_newton(w, arrays, loss):
    X, y, weights, decay = arrays
    J = jax.jacfwd(forward)(w, X).reshape(-1, w.size)
    z = forward(w, X)
    S = jax.jacfwd(jax.jacfwd(lambda flat: data_error(flat.reshape(z.shape), y, weights, loss)))(z.ravel())
    return J.T @ S @ J + jnp.diag(decay)


@pytest.mark.parametrize(("loss", "chunk"), CASES)
@few
@given(seed=seeds)
def test_all_derivatives_against_a_naive_whole_batch_loss(seed, loss, chunk):
    objective, w, arrays, rng = random_problem(seed, loss, chunk)
    v = rng.normal(size=w.size)
    value, slope, hessian = naive_derivatives(w, arrays, loss)
    G = naive_gauss_newton(w, arrays, loss)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-11)
    close(objective.value(w), value)
    close(objective.gradient(w), slope)
    close(objective.value_and_gradient(w)[0], value)
    close(objective.value_and_gradient(w)[1], slope)
    close(objective.hessian(w), hessian)
    close(objective.hvp(w, v), hessian @ v)
    close(objective.gauss_newton(w), G)
    close(objective.gnvp(w, v), G @ v)


@pytest.mark.parametrize("loss", LOSSES)
@few
@given(seed=seeds)
def test_gradient_against_finite_differences_of_order_six(seed, loss):
    objective, w, _, rng = random_problem(seed, loss)
    v = rng.normal(size=w.size)
    v /= np.linalg.norm(v)
    h = 1e-2  # truncation h^6 and rounding 1e-16/h are both near 1e-12
    stencil = {-3: -1 / 60, -2: 3 / 20, -1: -3 / 4, 1: 3 / 4, 2: -3 / 20, 3: 1 / 60}
    along = sum(c * float(objective.value(w + k * h * v)) for k, c in stencil.items()) / h
    assert along == pytest.approx(float(objective.gradient(w) @ v), rel=1e-7, abs=1e-9)


@pytest.mark.parametrize(("loss", "chunk"), CASES)
@few
@given(seed=seeds)
def test_gauss_newton_is_semidefinite_and_products_are_symmetric(seed, loss, chunk):
    objective, w, arrays, rng = random_problem(seed, loss, chunk)
    u, v = rng.normal(size=(2, w.size))
    eigenvalues = np.linalg.eigvalsh(np.asarray(objective.gauss_newton(w)) - np.diag(arrays[3]))
    assert eigenvalues.min() > -1e-12 * eigenvalues.max()
    for product in (objective.hvp, objective.gnvp):
        np.testing.assert_allclose(u @ product(w, v), v @ product(w, u), rtol=1e-9, atol=1e-11)
    hessian = np.asarray(objective.hessian(w))
    np.testing.assert_array_equal(hessian, hessian.T)


@pytest.mark.parametrize(("loss", "chunk"), ROOTED)
@few
@given(seed=seeds)
def test_rows_give_gauss_newton_and_gradient(seed, loss, chunk):
    objective, w, arrays, _ = random_problem(seed, loss, chunk)
    A, r, decay = np.asarray(scaled_jacobian(objective, w)), np.asarray(residual(objective, w)), arrays[3]
    np.testing.assert_allclose(A.T @ A + np.diag(decay), objective.gauss_newton(w), rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(A.T @ r + decay * w, objective.gradient(w), rtol=1e-9, atol=1e-11)


def test_pieces_stay_in_the_cache():
    """Beyond what the cache holds the samples are cut into nearly equal pieces, of which it holds several."""
    found = {}
    for samples in (1000, 20_000):
        objective = supervised(*mlp([10, 64, 64, 1]), np.zeros((samples, 10)), np.zeros(samples))
        found[samples] = objective.blocks[0].piece
    bytes_per_sample = 4 * 8 * (2 * 3 * 64) + 8 * 8  # at most: products, sums and slopes of both layers, and outputs
    assert 1000 * bytes_per_sample < placement.CACHE < 20_000 * bytes_per_sample
    assert found[1000] is None
    pieces = -(-20_000 // found[20_000])
    assert pieces * found[20_000] - 20_000 < pieces
    assert placement.PIECE / 8 < found[20_000] * bytes_per_sample < 2 * placement.PIECE


def test_the_rows_of_chunks_are_those_of_the_whole():
    whole, w, _, _ = random_problem(3, "cross_entropy")
    parts, _, _, _ = random_problem(3, "cross_entropy", CHUNK)
    rows = N * SIZES[-1]
    for function in (scaled_jacobian, residual):
        padded = np.asarray(function(parts, w))
        np.testing.assert_allclose(padded[:rows], function(whole, w), rtol=1e-12, atol=1e-14)
        np.testing.assert_array_equal(padded[rows:], 0.0)


@jax.jit
def naive_second(w, d, X):
    return jax.jacfwd(jax.jacfwd(lambda t: forward(w + t * d, X)))(0.0)


@pytest.mark.parametrize("chunk", [None, CHUNK, PIECES])
@few
@given(seed=seeds)
def test_second_directional_derivative_of_the_outputs(seed, chunk):
    objective, w, (X, _, weights, _), rng = random_problem(seed, "squared", chunk)
    d = rng.normal(size=w.size)
    expected = (np.sqrt(weights / weights.sum())[:, None] * naive_second(w, d, X)).ravel()
    np.testing.assert_allclose(curvature_rows(objective, w, d)[: expected.size], expected, rtol=1e-9, atol=1e-11)


@jax.jit
def naive_curvature(w, d, arrays):
    """J'S f'' of the cross entropy."""
    X, y, weights, _ = arrays
    J = jax.jacfwd(forward)(w, X).reshape(-1, w.size)
    z = forward(w, X)
    S = jax.hessian(lambda flat: data_error(flat.reshape(z.shape), y, weights, "cross_entropy"))(z.ravel())
    return J.T @ S @ naive_second(w, d, X).ravel()


@given(seed=seeds)
def test_curvature_goes_through_the_same_factor_as_the_rows(seed):
    # A = sqrt(c) R'J; with J'-independent R, A'(sqrt(c) R' f'') must be J'S f'' for the cross entropy.
    objective, w, arrays, rng = random_problem(seed, "cross_entropy")
    d = rng.normal(size=w.size)
    seen = np.asarray(scaled_jacobian(objective, w)).T @ np.asarray(curvature_rows(objective, w, d))
    np.testing.assert_allclose(seen, naive_curvature(w, d, arrays), rtol=1e-8, atol=1e-10)


def test_several_terms_with_different_samples_add_up():
    apply, params = mlp(SIZES, seed=1)
    rng = np.random.default_rng(0)
    first = Term(apply, rng.normal(size=(5, 3)), rng.normal(size=(5, 2)))
    second = Term(lambda p, x: apply(p, x["a"]) * x["b"], {"a": rng.normal(size=(9, 3)), "b": rng.normal(size=9)})
    alone = [Objective(params, [term]) for term in (first, second)]
    weighted = Term(second.function, second.samples, weight=10.0)
    both = Objective(params, [first, weighted], weight_decay=0.5)
    w, v = rng.normal(size=(2, both.size))
    assert both.rows == 5 * 2 + 9 * 2
    for name, penalty in (
        ("value", 0.25 * w @ w),
        ("gradient", 0.5 * w),
        ("hessian", 0.5 * np.eye(both.size)),
        ("gauss_newton", 0.5 * np.eye(both.size)),
    ):
        parts = [getattr(objective, name)(w) for objective in alone]
        np.testing.assert_allclose(getattr(both, name)(w), parts[0] + 10 * parts[1] + penalty, rtol=1e-9, atol=1e-10)
    for name in ("hvp", "gnvp"):
        parts = [getattr(objective, name)(w, v) for objective in alone]
        np.testing.assert_allclose(getattr(both, name)(w, v), parts[0] + 10 * parts[1] + 0.5 * v, rtol=1e-9, atol=1e-10)
    A, r = np.asarray(scaled_jacobian(both, w)), np.asarray(residual(both, w))
    np.testing.assert_allclose(A.T @ r + 0.5 * w, both.gradient(w), rtol=1e-9, atol=1e-10)


def test_minimise_has_the_exact_hessian_of_rosenbrocks_function():
    objective = minimise(lambda p: (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2, np.array([-1.0, 1.0]))
    x, y = w = np.array([0.5, -0.3])
    assert float(objective.value(w)) == pytest.approx(0.25 + 100 * 0.55**2)
    expected = [[2 - 400 * (y - 3 * x**2), -400 * x], [-400 * x, 200]]
    np.testing.assert_allclose(objective.hessian(w), expected)
    np.testing.assert_allclose(objective.gradient(w), [-2 * (1 - x) - 400 * x * (y - x**2), 200 * (y - x**2)])
    with pytest.raises(ValueError, match="no Gauss-Newton"):
        objective.gauss_newton(w)
    with pytest.raises(ValueError, match="no Gauss-Newton"):
        objective.gnvp(w, w)


def _flops(function, samples):
    apply, params = mlp([3, 16, 2])
    objective = supervised(apply, params, np.ones((samples, 3)), np.ones((samples, 2)))
    return jax.jit(function).lower(objective, objective.w0).compile().cost_analysis()["flops"]


@pytest.mark.parametrize("function", [derivatives.scaled_jacobian, derivatives.value_and_gradient])
def test_the_cost_is_linear_in_the_number_of_samples(function):
    # Reverse mode over the whole batch would cost N^2: four times the samples would cost 16 times.
    assert 3.0 < _flops(function, 512) / _flops(function, 128) < 4.5


def test_padded_samples_do_not_count_even_where_their_loss_overflows():
    def exponential(params, x):
        return jnp.exp(params[0] * x)

    objective = supervised(exponential, np.array([1.0]), np.array([1.0, 1e4]), np.zeros(2), sample_weight=[1.0, 0.0])
    assert float(objective.value(np.array([1.0]))) == pytest.approx(0.5 * np.exp(2.0))


@jax.jit
def rows_of_layers(objective, w):
    (block,), layout = objective.blocks, objective.layout
    factors = derivatives.layer_factors(block, layout, w)
    outer = [[jnp.outer(s[i], a[i]) for s, a in factors] for i in range(objective.rows)]
    return jnp.array([derivatives.flat_layers(layout, matrices) for matrices in outer])


@pytest.mark.parametrize("loss", LOSSES)
def test_layers_make_the_rows_of_the_scaled_jacobian(loss):
    """A row of A is the outer product of signals and inputs in each layer, here of 4 x 4 and 2 x 5 numbers."""
    objective = random_problem(3, loss)[0]
    w = np.asarray(objective.w0)
    np.testing.assert_allclose(rows_of_layers(objective, w), scaled_jacobian(objective, w), rtol=1e-10, atol=1e-13)


def test_a_vector_is_cut_into_layers_and_put_together_again():
    objective = random_problem(4, "squared")[0]
    v = np.random.default_rng(0).normal(size=objective.size)
    matrices = derivatives.layer_matrices(objective.layout, v)
    assert [matrix.shape for matrix in matrices] == [(4, 4), (2, 5)]  # a column for the bias, last
    np.testing.assert_array_equal(matrices[1][:, -1], objective.unflatten(v)[1]["bias"])
    np.testing.assert_array_equal(derivatives.flat_layers(objective.layout, matrices), v)
