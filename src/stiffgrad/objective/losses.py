"""The losses l(z, y) of one sample, convex in the outputs z, with the factors of their output-space Hessian.

With S the Hessian of l in z, the Gauss-Newton matrix is the mean of J'SJ. A loss that also knows R with R R' = S
and the pseudo-residual r with R r = dl/dz turns it into least squares: G = A'A and grad = A'r with A = R'J.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from stiffgrad import _checks

Function = Callable[[Any, Any], jax.Array]


@dataclasses.dataclass(frozen=True)
class Loss:
    """A loss of one sample.

    Attributes
    ----------
    name : str
        Its name in `supervised(loss=...)`.
    value : callable
        l(z, y), a scalar; z has shape (k,).
    factor : callable or None
        Factor(z, y, v) = R'v with S = R R', for v of shape (k, ...); None where only S itself is known.
    residual : callable or None
        r(z, y) of shape (k,) with R r = dl/dz.
    """

    name: str
    value: Function
    factor: Callable[[Any, Any, Any], jax.Array] | None = None
    residual: Function | None = None

    def __reduce__(self) -> Any:
        """For pickle: the named ones by name, since their functions have none."""
        named = LOSSES.get(self.name) or IDENTITY
        return (_named, (self.name,)) if self == named else (Loss, dataclasses.astuple(self))

    def gradient(self, z: Any, y: Any) -> jax.Array:
        """dl/dz, of shape (k,)."""
        return jax.grad(self.value)(z, y)

    def hessian_product(self, z: Any, y: Any, v: Any) -> jax.Array:
        """S v for v of shape (k,)."""
        return jax.jvp(lambda z: self.gradient(z, y), (z,), (v,))[1]

    def root(self, z: Any, y: Any, v: Any) -> jax.Array:
        """R'v for v of shape (k, ...), by the known factor or by the eigenvalues of S (negative ones are cut off)."""
        if self.factor is not None:
            return self.factor(z, y, v)
        values, vectors = jnp.linalg.eigh(jax.hessian(self.value)(z, y))
        return jnp.sqrt(jnp.maximum(values, 0.0))[:, None] * (vectors.T @ v)


def _column(a: jax.Array, v: jax.Array) -> jax.Array:
    return a.reshape(a.shape + (1,) * (v.ndim - a.ndim))


def _squared(z: Any, y: Any) -> jax.Array:
    return 0.5 * jnp.sum((z - y) ** 2)


def _cross_entropy(z: Any, y: Any) -> jax.Array:
    return jnp.sum(y) * jax.nn.logsumexp(z) - jnp.vdot(y, z)


def _cross_entropy_factor(z: Any, y: Any, v: Any) -> jax.Array:
    # R = (diag(sqrt p) - p sqrt(p)') gives R R' = diag(p) - p p', since sqrt(p)'sqrt(p) = 1.
    p = jax.nn.softmax(z)
    return jnp.sqrt(jnp.sum(y)) * _column(jnp.sqrt(p), v) * (v - jnp.tensordot(p, v, 1))


def _cross_entropy_residual(z: Any, y: Any) -> jax.Array:
    # R r = q - p sum(q) = q for q = p - y, whose entries sum to zero. Where p underflows r is cut off, not infinite.
    p = jax.nn.softmax(z)
    total = jnp.sum(y)
    return (total * p - y) / jnp.sqrt(jnp.maximum(total * p, jnp.finfo(z.dtype).tiny ** 0.5))


def _binary(z: Any, y: Any) -> jax.Array:
    return jnp.sum(jax.nn.softplus(z) - y * z)


def _binary_slope(z: Any) -> jax.Array:
    p = jax.nn.sigmoid(z)
    return jnp.sqrt(jnp.maximum(p * jax.nn.sigmoid(-z), jnp.finfo(z.dtype).tiny ** 0.5))


def _binary_factor(z: Any, y: Any, v: Any) -> jax.Array:
    return _column(_binary_slope(z), v) * v


def _binary_residual(z: Any, y: Any) -> jax.Array:
    return (jax.nn.sigmoid(z) - y) / _binary_slope(z)


def _identity(z: Any, y: Any) -> jax.Array:
    return jnp.sum(z)


SQUARED = Loss("squared", _squared, lambda z, y, v: v, lambda z, y: z - y)
CROSS_ENTROPY = Loss("cross_entropy", _cross_entropy, _cross_entropy_factor, _cross_entropy_residual)
BINARY_CROSS_ENTROPY = Loss("binary_cross_entropy", _binary, _binary_factor, _binary_residual)
IDENTITY = Loss("identity", _identity)  # the output is the loss itself: `minimise`; it has no Gauss-Newton matrix
LOSSES = {loss.name: loss for loss in (SQUARED, CROSS_ENTROPY, BINARY_CROSS_ENTROPY)}


def _named(name: str) -> Loss:
    return IDENTITY if name == IDENTITY.name else LOSSES[name]


def resolve(loss: str | Callable[[Any, Any], Any] | Loss) -> Loss:
    """The loss of a name, or of a twice-differentiable callable l(z, y), convex in z.

    Raises
    ------
    ValueError, TypeError
        The name is unknown, or the argument is neither a name nor callable.
    """
    if isinstance(loss, Loss):
        return loss
    if isinstance(loss, str):
        known = LOSSES.get(loss.replace("-", "_"))
        if known is None:
            raise _checks.unknown("loss", loss, LOSSES, ", or a callable l(outputs, y)")
        return known
    if any(str(getattr(thing, "__module__", "")).startswith("torch.") for thing in (loss, type(loss))):
        name = getattr(loss, "__name__", type(loss).__name__)
        raise TypeError(
            f"loss={name} is PyTorch's, and JAX cannot differentiate it: give a name ('squared' is half of MSELoss, "
            "'cross_entropy' and 'binary_cross_entropy' take logits), or l(outputs, target) in jax.numpy"
        )
    if callable(loss):
        return Loss(getattr(loss, "__name__", "callable"), loss)
    raise TypeError(f"loss must be a name or a callable l(outputs, y), not {type(loss).__name__}")
