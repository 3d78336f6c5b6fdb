"""Lanczos with full reorthogonalisation as a pure function, and functions of the small tridiagonal matrix.

k products with a symmetric matrix H, from a start g, give an orthonormal basis V (k, n) of the Krylov space and the
tridiagonal T = V H V', so that f(H) g ~ |g| V' f(T) e1 for every function f at once (Golub and Van Loan 2013, section
10.1; Hochbruck and Lubich 1997 for the exponential). Shapes are fixed, so all of it runs inside compiled loops.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Product = Callable[[jax.Array], jax.Array]


class Lanczos(NamedTuple):
    """The basis after `products` products; rows and entries past `products` are zero.

    Attributes
    ----------
    basis : array of shape (size, n)
        Orthonormal rows v_1 ... v_products.
    diagonal, off_diagonal : arrays of shape (size,)
        T has `diagonal[j]` at (j, j) and `off_diagonal[j]` at (j, j + 1); the last off-diagonal entry couples the
        basis to the first vector left out.
    norm : scalar
        |g|; v_1 = g / |g|.
    products : scalar
        Products with H that were made, at most `size`.
    """

    basis: jax.Array
    diagonal: jax.Array
    off_diagonal: jax.Array
    norm: jax.Array
    products: jax.Array


class Ritz(NamedTuple):
    """Eigenvalues of T (size,), ascending, and its eigenvectors as columns (size, size); padding gives zeros."""

    values: jax.Array
    vectors: jax.Array


class _Carry(NamedTuple):
    lanczos: Lanczos
    next: jax.Array  # the next basis vector, zero after a breakdown
    pivot: jax.Array  # of the L D L' factorization of T + shift
    last: jax.Array  # last entry of the forward solution with e1
    scale: jax.Array  # largest |H v| of a unit vector v so far: the size of H, as far as it is known
    residual: jax.Array


def lanczos(product: Product, g: Any, size: int, shift: Any = 0.0, tolerance: Any = 0.0, most: Any = None) -> Lanczos:
    """Up to `size` Lanczos steps from `g`, stopped where the residual of (T + shift) y = e1 falls below `tolerance`.

    The residual |(H + shift) V'y - v_1| = beta_k |y_k| needs only the last entry of y, which a two-term recurrence
    of the L D L' factorization gives without solving (Saad 2003, section 6.7).

    Parameters
    ----------
    product : callable
        v -> H v for v of shape (n,); called once for each step.
    g : array of shape (n,)
        Start.
    size : int
        Number of rows of the basis; fixed at compile time.
    shift, tolerance : float
        See above. A tolerance of 0 takes all steps.
    most : int, optional
        A smaller limit on the steps that may be known only at run time.

    Returns
    -------
    Lanczos

    Examples
    --------
    >>> H = jnp.diag(jnp.array([1.0, 2.0, 4.0]))
    >>> krylov = lanczos(lambda v: H @ v, jnp.ones(3), size=3)
    >>> [round(float(value), 6) for value in ritz(krylov).values]
    [1.0, 2.0, 4.0]
    """
    g = jnp.asarray(g)
    kind = g.dtype
    norm = jnp.linalg.norm(g)
    limit = size if most is None else jnp.minimum(size, most)
    tiny = jnp.finfo(kind).tiny
    empty = jnp.zeros(size, kind)
    start = Lanczos(jnp.zeros((size, g.shape[0]), kind), empty, empty, norm, jnp.asarray(0, jnp.int32))
    first = g / jnp.maximum(norm, tiny)
    one = jnp.ones((), kind)

    def going(carry: _Carry) -> Any:
        return (carry.lanczos.products < limit) & (carry.residual > tolerance)

    def step(carry: _Carry) -> _Carry:
        old, v = carry.lanczos, carry.next
        j = old.products
        basis = jax.lax.dynamic_update_index_in_dim(old.basis, v, j, 0)
        image = product(v)
        alpha = jnp.vdot(v, image)
        before = old.off_diagonal[j - 1] * (j > 0)
        rest = image - alpha * v - before * old.basis[j - 1]
        rest = rest - (basis @ rest) @ basis
        beta = jnp.linalg.norm(rest)
        # A residue at the rounding of a product with H is a breakdown: the Krylov space is invariant, T complete. The
        # last image may be short where H is not, and its rounding follows H.
        scale = jnp.maximum(carry.scale, jnp.linalg.norm(image))
        whole = beta <= 16 * g.shape[0] ** 0.5 * jnp.finfo(kind).eps * scale
        beta = jnp.where(whole, 0.0, beta)
        pivot = alpha + shift - jnp.where(j > 0, before**2 / carry.pivot, 0.0)
        pivot = jnp.where(jnp.abs(pivot) > tiny**0.5, pivot, tiny**0.5)
        last = jnp.where(j > 0, -carry.last * before / carry.pivot, one)
        new = Lanczos(basis, old.diagonal.at[j].set(alpha), old.off_diagonal.at[j].set(beta), norm, j + 1)
        return _Carry(new, rest / jnp.maximum(beta, tiny), pivot, last, scale, beta * jnp.abs(last / pivot))

    infinite = jnp.where(norm > 0, jnp.inf, 0.0).astype(kind)
    return jax.lax.while_loop(going, step, _Carry(start, first, one, one, 0.0 * one, infinite)).lanczos


def ritz(krylov: Lanczos) -> Ritz:
    """Eigenvalues and eigenvectors of T; the values are Ritz values of H, the padding decouples."""
    size = krylov.diagonal.shape[0]
    index = jnp.arange(size)
    # The last off-diagonal entry of the filled part couples to a vector outside the basis.
    inside = jnp.where(index < krylov.products - 1, krylov.off_diagonal, 0.0)[:-1]
    matrix = jnp.diag(krylov.diagonal) + jnp.diag(inside, 1) + jnp.diag(inside, -1)
    return Ritz(*jnp.linalg.eigh(matrix))


def phi(z: Any) -> jax.Array:
    """(1 - exp(-z)) / z, entire and positive: 1 at z = 0, 1/z for large z, growing like exp(-z)/(-z) for z < 0.

    Growth is cut off where its square would overflow.

    Examples
    --------
    >>> [float(value) for value in phi(jnp.array([0.0, 1e300, 1.0]))]
    [1.0, 1e-300, 0.632]
    """
    z = jnp.asarray(z)
    z = z.astype(jnp.promote_types(z.dtype, jnp.float32))
    floor = -0.4 * jnp.log(jnp.finfo(z.dtype).max)
    z = jnp.maximum(z, floor)
    small = jnp.abs(z) < jnp.finfo(z.dtype).eps
    safe = jnp.where(small, 1.0, z)
    return jnp.where(small, 1.0, -jnp.expm1(-safe) / safe)
