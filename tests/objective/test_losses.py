"""Each loss against its textbook formula, and its factors against the dense Hessian in the outputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stiffgrad.objective.losses import BINARY_CROSS_ENTROPY, CROSS_ENTROPY, LOSSES, SQUARED, resolve

K = 3
outputs = st.lists(st.floats(-8, 8), min_size=K, max_size=K).map(np.array)
targets = st.lists(st.floats(0, 1), min_size=K, max_size=K).map(np.array)
names = st.sampled_from(sorted(LOSSES))

TEXTBOOK = {
    "squared": lambda z, y: np.sum((z - y) ** 2) / 2,
    "cross_entropy": lambda z, y: -np.sum(y * np.log(np.exp(z) / np.exp(z).sum())),
    "binary_cross_entropy": lambda z, y: (
        -np.sum(y * np.log(1 / (1 + np.exp(-z))) + (1 - y) * np.log(1 / (1 + np.exp(z))))
    ),
}


@given(name=names, z=outputs, y=targets)
def test_values_are_the_textbook_formulas(name, z, y):
    assert float(LOSSES[name].value(z, y)) == pytest.approx(TEXTBOOK[name](z, y), rel=1e-10, abs=1e-12)


@given(name=names, z=outputs, y=targets)
def test_gradient_and_residual_agree_with_finite_differences(name, z, y):
    # The cross entropy of an unnormalised target has a gradient that its residual cannot hold: use probabilities.
    y = (y + 0.1) / (y + 0.1).sum()
    loss, h = LOSSES[name], 1e-5
    eye = np.eye(K)
    expected = [(TEXTBOOK[name](z + h * e, y) - TEXTBOOK[name](z - h * e, y)) / (2 * h) for e in eye]
    np.testing.assert_allclose(loss.gradient(z, y), expected, rtol=1e-5, atol=1e-7)
    root = np.asarray(loss.root(z, y, jnp.eye(K))).T  # R, since root gives R'v
    np.testing.assert_allclose(root @ loss.residual(z, y), loss.gradient(z, y), rtol=1e-8, atol=1e-10)


@given(name=names, z=outputs, y=targets, v=outputs)
def test_the_factor_squares_to_the_hessian(name, z, y, v):
    loss = LOSSES[name]
    S = np.asarray(jax.hessian(loss.value)(z, y))
    root = np.asarray(loss.root(z, y, jnp.eye(K)))
    np.testing.assert_allclose(root.T @ root, S, rtol=1e-8, atol=1e-11)
    np.testing.assert_allclose(loss.hessian_product(z, y, v), S @ v, rtol=1e-8, atol=1e-11)
    stacked = np.asarray(loss.root(z, y, jnp.stack([v, 2 * v], axis=1)))
    np.testing.assert_allclose(stacked, np.stack([root @ v, 2 * root @ v], axis=1), rtol=1e-10, atol=1e-11)


def test_a_callable_loss_is_factored_by_eigenvalues():
    def weighted(z, y):
        return jnp.sum(jnp.cosh(z - y)) + 0.5 * jnp.sum(z) ** 2

    loss = resolve(weighted)
    z, y = np.array([0.3, -1.0, 2.0]), np.array([0.0, 0.5, 1.0])
    root = np.asarray(loss.root(z, y, jnp.eye(K)))
    np.testing.assert_allclose(root.T @ root, np.diag(np.cosh(z - y)) + np.ones((K, K)), rtol=1e-12)
    assert loss.name == "weighted"
    assert loss.residual is None


def test_negative_curvature_of_a_callable_is_cut_off():
    root = np.asarray(resolve(lambda z, y: jnp.sum(jnp.array([1.0, -1.0]) * z**2)).root(np.zeros(2), None, jnp.eye(2)))
    np.testing.assert_allclose(root.T @ root, np.diag([2.0, 0.0]), atol=1e-12)


@pytest.mark.parametrize("loss", [CROSS_ENTROPY, BINARY_CROSS_ENTROPY])
@pytest.mark.parametrize("size", [30.0, 700.0, 1e4])
def test_extreme_logits_stay_finite(loss, size):
    z, y = np.array([size, -size, 0.0]), np.array([0.0, 1.0, 0.0])
    for number in (loss.value(z, y), loss.gradient(z, y), loss.residual(z, y), loss.root(z, y, jnp.eye(3))):
        assert np.all(np.isfinite(number))
    assert float(loss.value(z, y)) == pytest.approx(2 * size if loss is CROSS_ENTROPY else 2 * size + np.log(2))


def test_resolve_names_what_it_does_not_know():
    assert resolve("squared") is SQUARED
    assert resolve(SQUARED) is SQUARED
    assert resolve("cross-entropy") is resolve("cross_entropy")
    with pytest.raises(ValueError, match="'hinge' is unknown; use one of squared, cross_entropy"):
        resolve("hinge")
    with pytest.raises(TypeError, match="loss must be a name or a callable"):
        resolve(3)
