"""Lanczos against dense eigenvalues, its stopping rule against the residual it claims, and identities of phi."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stiffgrad.curvature.lanczos import lanczos, phi, ritz

N = 24


def symmetric(eigenvalues: np.ndarray) -> np.ndarray:
    orthogonal, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(N, N)))
    return orthogonal * eigenvalues @ orthogonal.T


SPECTRUM = np.concatenate([[-3.0, -0.5, 0.0], np.geomspace(1e-4, 50.0, N - 3)])
H = symmetric(SPECTRUM)
G = np.random.default_rng(1).normal(size=N)
CALLS: list[int] = []


@jax.jit
def run(matrix, g, shift, tolerance, most):
    def product(v):
        jax.debug.callback(lambda: CALLS.append(1))
        return matrix @ v

    return lanczos(product, g, N, shift, tolerance, most)


def test_basis_is_orthonormal_and_tridiagonalises():
    krylov = run(H, G, 0.0, 0.0, 12)
    basis = np.asarray(krylov.basis)
    assert int(krylov.products) == 12
    assert np.abs(basis[:12] @ basis[:12].T - np.eye(12)).max() < 1e-13
    assert np.all(basis[12:] == 0.0)
    tridiagonal = np.diag(krylov.diagonal[:12])
    tridiagonal += np.diag(krylov.off_diagonal[:11], 1) + np.diag(krylov.off_diagonal[:11], -1)
    assert np.abs(basis[:12] @ H @ basis[:12].T - tridiagonal).max() < 1e-12
    # H V' = V'T + beta v_next e_k': what is left out of the basis has the length of the last off-diagonal entry.
    left = H @ basis[:12].T - basis[:12].T @ tridiagonal
    assert np.linalg.norm(left) == pytest.approx(float(krylov.off_diagonal[11]), rel=1e-10)
    assert float(krylov.norm) == pytest.approx(np.linalg.norm(G))


def test_ritz_values_of_a_full_space_are_the_eigenvalues():
    found = ritz(run(H, G, 0.0, 0.0, N))
    assert np.asarray(found.values) == pytest.approx(np.linalg.eigvalsh(H), abs=1e-12)


def test_extreme_ritz_values_come_first():
    values = ritz(run(H, G, 0.0, 0.0, 10)).values
    assert float(values[-1]) == pytest.approx(50.0, rel=1e-6)
    assert float(values[0]) == pytest.approx(-3.0, rel=1e-2)
    assert np.all((values > -3.0 - 1e-12) & (values < 50.0 + 1e-12))  # inside the spectrum always


def test_stops_at_the_residual_that_it_claims():
    shift, tolerance = 5.0, 1e-3
    krylov = run(H, G, shift, tolerance, N)
    count = int(krylov.products)
    assert 3 < count < N

    def residual(k):
        basis = np.asarray(krylov.basis)[:k]
        y = np.linalg.solve(basis @ H @ basis.T + shift * np.eye(k), np.eye(k)[0])
        return np.linalg.norm((H + shift * np.eye(N)) @ basis.T @ y - basis[0])

    assert residual(count) <= tolerance < residual(count - 1)


def test_products_made_are_products_counted():
    jax.effects_barrier()
    CALLS.clear()
    krylov = run(H, G, 5.0, 1e-2, N)
    jax.effects_barrier()
    assert len(CALLS) == int(krylov.products)


def test_an_invariant_space_ends_the_process_with_the_exact_part_of_the_spectrum():
    vectors = np.linalg.eigh(H)[1]
    krylov = run(H, vectors[:, 2] + vectors[:, 20] + vectors[:, 23], 0.0, 0.0, N)
    assert int(krylov.products) == 3
    values = np.asarray(ritz(krylov).values)
    expected = SPECTRUM[[2, 20, 23]]
    assert np.sort(values[np.argsort(-np.abs(values))[:3]]) == pytest.approx(np.sort(expected), abs=1e-9)


def test_a_zero_start_makes_no_product():
    assert int(run(H, np.zeros(N), 1.0, 0.1, N).products) == 0


@given(st.floats(-200.0, 1e6))
def test_phi_fulfils_its_equation_and_doubles(z):
    value, double = float(phi(z)), float(phi(2.0 * z)) if z > -100.0 else None
    assert value * z == pytest.approx(-np.expm1(-z), rel=1e-13, abs=1e-300)
    if double is not None:
        assert double == pytest.approx(value * (1.0 + np.exp(-z)) / 2.0, rel=1e-12)
    assert value > 0.0


def test_phi_is_smooth_through_zero_and_never_overflows():
    z = jnp.array([-1e-9, 0.0, 1e-9, -1e-17, 1e-300])
    assert np.asarray(phi(z)) == pytest.approx(np.asarray(1.0 - z / 2.0), abs=1e-16)
    far = np.asarray(phi(jnp.array([-1e300, -700.0, 1e300])))
    assert np.all(np.isfinite(far**2))
    assert far[0] == far[1] > 1e100
    assert phi(jnp.array([-1e30, 3.0], jnp.float32)).dtype == jnp.float32
    assert np.all(np.diff(phi(jnp.linspace(-50.0, 50.0, 400))) < 0.0)
