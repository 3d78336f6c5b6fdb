"""Value and derivatives of an objective as pure functions, ready for `jit`, `vmap` and `while_loop`.

    E(w) = sum over blocks, samples i of  c_i l(f(w, x_i), y_i)  +  1/2 sum_j decay_j w_j^2

The per-sample structure is kept: rows of the Jacobian come from a `vmap` of per-sample reverse mode (N backward
passes), never from reverse mode over the batch (N^2). Everything that sums over samples can run in chunks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from stiffgrad.objective import gram
from stiffgrad.objective.losses import Loss
from stiffgrad.objective.networks import MLP
from stiffgrad.objective.parameters import Layout
from stiffgrad.objective.products import Factors, Program


class Objective(Protocol):
    """What the derivatives need of an objective; `stiffgrad.Objective` is one."""

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The terms, ready to compute."""

    @property
    def decay(self) -> jax.Array:
        """The weight decay of each parameter, (n,)."""

    @property
    def layout(self) -> Layout:
        """How the parameters lie in a flat vector."""


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["samples", "targets", "coefficients"],
    meta_fields=["function", "loss", "chunked", "piece"],
)
@dataclasses.dataclass(frozen=True, eq=False)
class Block:
    """One term ready to compute: samples, targets and coefficients c_i share their leading axis of length N.

    With `chunked` the leading axis is split in two, (chunks, samples a chunk), padded with samples of coefficient 0.
    `piece` samples at a time have intermediate numbers that stay in the processor's cache; None: all have.
    """

    samples: Any
    targets: Any
    coefficients: jax.Array
    function: Callable[[Any, Any], Any]
    loss: Loss
    chunked: bool = False
    piece: int | None = None

    @property
    def _chunks(self) -> Block:
        return dataclasses.replace(self, chunked=False)

    def sum(self, part: Callable[[Block], Any], cached: bool = False) -> Any:
        """Sum of `part(samples)` over the chunks, or over what stays in the cache of these (a pytree)."""
        if self.chunked:
            return _summed(lambda chunk: chunk.sum(part, cached), self._chunks)
        samples = len(self.coefficients)
        size = samples if self.piece is None or not cached else min(self.piece, samples)
        if size == samples:
            return part(self)
        return _summed(lambda start: part(self._from(start, size)), jnp.arange(0, samples, size))

    def _from(self, start: Any, size: int) -> Block:
        """So many samples from `start` on; beyond the end there are others, of coefficient 0."""
        first = jnp.minimum(start, len(self.coefficients) - size)
        samples, targets, coefficients = jax.tree.map(
            lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, first, size),
            (self.samples, self.targets, self.coefficients),
        )
        new = first + jnp.arange(size) >= start
        return Block(samples, targets, jnp.where(new, coefficients, 0.0), self.function, self.loss)

    def rows(self, part: Callable[[Block], Any]) -> Any:
        """`part(samples)` of every chunk, stacked along the leading axis."""
        if not self.chunked:
            return part(self)
        stacked = jax.lax.map(part, self._chunks)
        return jax.tree.map(lambda leaf: leaf.reshape((-1, *leaf.shape[2:])), stacked)


def _summed(part: Callable[[Any], Any], each: Any) -> Any:
    """The sum of `part` over the leading axis of a pytree."""
    first = jax.tree.map(lambda leaf: leaf[0], each)
    zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(part, first))

    def add(total: Any, one: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, part(one)), None

    return jax.lax.scan(add, zero, each)[0]


def _model(block: Block, layout: Layout) -> Callable[[Any, Any], jax.Array]:
    return lambda w, x: jnp.ravel(jnp.asarray(block.function(layout.unflatten(w), x)))


def outputs(block: Block, layout: Layout, w: Any) -> jax.Array:
    """Outputs of all samples of an unchunked block, of shape (N, k)."""
    model = _model(block, layout)
    return jax.vmap(lambda x: model(w, x))(block.samples)


def _block_value(block: Block, layout: Layout, w: Any) -> jax.Array:
    losses = jax.vmap(block.loss.value)(outputs(block, layout, w), block.targets)
    # A padded sample has coefficient 0 and must not count even where its loss is infinite.
    return jnp.sum(jnp.where(block.coefficients > 0, block.coefficients * losses, 0.0))


def _total(objective: Objective, part: Callable[[Block], Any], cached: bool = True) -> Any:
    sums = [block.sum(part, cached) for block in objective.blocks]
    return jax.tree.map(lambda *leaves: sum(leaves[1:], leaves[0]), *sums)


def value(objective: Objective, w: Any) -> jax.Array:
    """E(w), a scalar."""
    total = _total(objective, lambda block: _block_value(block, objective.layout, w))
    return total + 0.5 * jnp.sum(objective.decay * w * w)


def value_and_gradient(objective: Objective, w: Any) -> tuple[jax.Array, jax.Array]:
    """E(w) and its gradient, of shape (n,)."""
    total, slope = _total(
        objective, lambda block: jax.value_and_grad(_block_value, argnums=2)(block, objective.layout, w)
    )
    return total + 0.5 * jnp.sum(objective.decay * w * w), slope + objective.decay * w


def gradient(objective: Objective, w: Any) -> jax.Array:
    """Gradient of E at w, of shape (n,)."""
    return value_and_gradient(objective, w)[1]


def hvp(objective: Objective, w: Any, v: Any) -> jax.Array:
    """H v, forward over reverse (Pearlmutter 1994); shape (n,)."""

    def part(block: Block) -> jax.Array:
        slope = jax.grad(lambda u: _block_value(block, objective.layout, u))
        return jax.jvp(slope, (w,), (v,))[1]

    return _total(objective, part) + objective.decay * v


def gnvp(objective: Objective, w: Any, v: Any) -> jax.Array:
    """G v = J'S J v + decay v (Schraudolph 2002); shape (n,)."""

    def part(block: Block) -> jax.Array:
        z, push = jax.linearize(lambda u: outputs(block, objective.layout, u), w)
        curved = jax.vmap(block.loss.hessian_product)(z, block.targets, push(v)) * block.coefficients[:, None]
        return jax.linear_transpose(push, w)(curved)[0]

    return _total(objective, part) + objective.decay * v


def hessian(objective: Objective, w: Any, batch: int = 64) -> jax.Array:
    """Dense Hessian of E, (n, n), by products with unit vectors, `batch` at a time."""
    eye = jnp.eye(w.shape[0], dtype=w.dtype)
    dense = jax.lax.map(lambda v: hvp(objective, w, v), eye, batch_size=batch)
    return 0.5 * (dense + dense.T)


def hessian_rows(objective: Objective, w: Any, first: Any, count: int = 64) -> jax.Array:
    """Rows first to first + count of the Hessian, (count, n); rows beyond the last one are zero."""
    units = (first + jnp.arange(count))[:, None] == jnp.arange(w.shape[0])
    return jax.vmap(lambda v: hvp(objective, w, v))(units.astype(w.dtype))


def _block_jacobian(block: Block, layout: Layout, w: Any) -> jax.Array:
    model = _model(block, layout)
    return jax.vmap(lambda x: jax.jacrev(model)(w, x))(block.samples)  # (N, k, n)


def _block_scaled(block: Block, layout: Layout, w: Any) -> jax.Array:
    """sqrt(c_i) R_i'J_i of an unchunked block, of shape (N k, n)."""
    z = outputs(block, layout, w)
    scaled = jax.vmap(block.loss.root)(z, block.targets, _block_jacobian(block, layout, w))
    scaled = scaled * jnp.sqrt(block.coefficients)[:, None, None]
    return scaled.reshape(-1, w.shape[0])


def _block_residual(block: Block, layout: Layout, w: Any) -> jax.Array:
    assert block.loss.residual is not None
    z = outputs(block, layout, w)
    return (jax.vmap(block.loss.residual)(z, block.targets) * jnp.sqrt(block.coefficients)[:, None]).ravel()


def scaled_jacobian(objective: Objective, w: Any) -> jax.Array:
    """A = sqrt(c) R'J over all blocks, of shape (m, n), with A'A + diag(decay) the Gauss-Newton matrix."""
    layout = objective.layout
    return jnp.concatenate([b.rows(lambda piece: _block_scaled(piece, layout, w)) for b in objective.blocks])


def residual(objective: Objective, w: Any) -> jax.Array:
    """The pseudo-residual r of shape (m,), with A'r + decay w the gradient."""
    layout = objective.layout
    return jnp.concatenate([b.rows(lambda piece: _block_residual(piece, layout, w)) for b in objective.blocks])


def perceptron(objective: Objective) -> MLP | None:
    """The one multilayer perceptron that all blocks evaluate, whose layers are then known; None where there is none."""
    functions = {block.function for block in objective.blocks}
    function = next(iter(functions))
    return function if len(functions) == 1 and isinstance(function, MLP) else None


def layer_factors(block: Block, layout: Layout, w: Any) -> list[tuple[jax.Array, jax.Array]]:
    """For each layer of a multilayer perceptron the scaled backward signals and its inputs: A has their outer products.

    Shapes are (N k, out), and (N k, in + 1) with a one for the bias.
    """
    params, network = layout.unflatten(w), block.function
    assert isinstance(network, MLP)
    zero = [jnp.zeros_like(layer["bias"]) for layer in params]

    def sample(x: Any, y: Any, c: Any) -> Any:
        (z, signals), inputs = _with_signals(network, params, zero, x)
        scaled = [jnp.sqrt(c) * block.loss.root(z, y, signal) for signal in signals]
        return scaled, [jnp.append(a, 1.0) for a in inputs]

    signals, inputs = jax.vmap(sample)(block.samples, block.targets, block.coefficients)
    k = network.sizes[-1]
    flat = [signal.reshape(-1, signal.shape[-1]) for signal in signals]
    return list(zip(flat, [jnp.repeat(a, k, axis=0) for a in inputs], strict=True))


def leaf_factors(block: Block, layout: Layout, w: Any) -> list[Factors]:
    """For each leaf of the parameters, the factors of the rows of A that belong to an unchunked block.

    Their leading axis is that of the rows, N k; a sum of outer products over their second axis gives A.
    """
    leaves, treedef = jax.tree.flatten(layout.unflatten(w))
    model = lambda leaves, x: jnp.ravel(jnp.asarray(block.function(jax.tree.unflatten(treedef, leaves), x)))  # noqa: E731
    program = Program.of(model, leaves, jax.tree.map(lambda leaf: leaf[0], block.samples))

    def sample(x: Any, y: Any, c: Any) -> Any:
        z, factors = program.factors(leaves, x)

        def scaled(left: jax.Array) -> jax.Array:
            flat = block.loss.root(z, y, left.reshape(len(z), -1))
            return jnp.sqrt(c) * flat.reshape(left.shape)

        return [factor._replace(left=scaled(factor.left)) for factor in factors]

    stacked = jax.vmap(sample)(block.samples, block.targets, block.coefficients)
    return jax.tree.map(lambda part: part.reshape(-1, *part.shape[2:]), stacked)


def layer_matrices(layout: Layout, v: jax.Array) -> list[jax.Array]:
    """A vector (n,) of a perceptron as one matrix (out, in + 1) a layer, biases last."""
    return [jnp.concatenate([layer["weight"], layer["bias"][:, None]], axis=1) for layer in layout.unflatten(v)]


def flat_layers(layout: Layout, matrices: Sequence[jax.Array]) -> jax.Array:
    """The vector (n,) of one matrix (out, in + 1) a layer."""
    return layout.flatten([{"weight": matrix[:, :-1], "bias": matrix[:, -1]} for matrix in matrices])


def _with_signals(network: MLP, params: Any, zero: Any, x: Any) -> Any:
    def run(shifts: Any) -> Any:
        z, inputs = network.layers(params, shifts, x)
        return z, (z, inputs)

    signals, (z, inputs) = jax.jacrev(run, has_aux=True)(zero)
    return (z, signals), inputs


def gauss_newton_lower(objective: Objective, w: Any) -> jax.Array:
    """The lower triangle of the Gauss-Newton matrix, (n, n); the strict upper one is arbitrary."""

    def part(block: Block) -> jax.Array:
        return gram.lower_gram(_block_scaled(block, objective.layout, w).T)

    # A Gram matrix is larger than what is summed of it: in few parts.
    return _total(objective, part, cached=False) + jnp.diag(objective.decay)


def gauss_newton(objective: Objective, w: Any) -> jax.Array:
    """Dense Gauss-Newton matrix G = J'SJ + diag(decay), (n, n)."""
    lower = gauss_newton_lower(objective, w)
    return jnp.tril(lower) + jnp.tril(lower, -1).T


def _second(block: Block, layout: Layout, w: Any, d: Any) -> tuple[jax.Array, jax.Array]:
    """Outputs z and their second directional derivative f''[d, d], both (N, k), by a nested forward mode."""

    def along(t: Any) -> jax.Array:
        return outputs(block, layout, w + t * d)

    def velocity(t: Any) -> tuple[jax.Array, jax.Array]:
        return jax.jvp(along, (t,), (jnp.ones_like(t),))

    (z, _), (_, acceleration) = jax.jvp(velocity, (jnp.zeros((), w.dtype),), (jnp.ones((), w.dtype),))
    return z, acceleration


def curvature_rows(objective: Objective, w: Any, d: Any) -> jax.Array:
    """sqrt(c) R' f''[d, d] of shape (m,): the second directional derivative of the outputs, scaled as the rows of A.

    Source: Transtrum and Sethna (2012), the geodesic acceleration.
    """

    def part(block: Block) -> jax.Array:
        z, acceleration = _second(block, objective.layout, w, d)
        scaled = jax.vmap(block.loss.root)(z, block.targets, acceleration[:, :, None])[:, :, 0]
        return (scaled * jnp.sqrt(block.coefficients)[:, None]).ravel()

    return jnp.concatenate([block.rows(part) for block in objective.blocks])


def curvature_gradient(objective: Objective, w: Any, d: Any) -> jax.Array:
    """J'S f''[d, d] of shape (n,): the same, pulled back to the weights; A' times `curvature_rows`."""

    def part(block: Block) -> jax.Array:
        z, acceleration = _second(block, objective.layout, w, d)
        curved = jax.vmap(block.loss.hessian_product)(z, block.targets, acceleration) * block.coefficients[:, None]
        pull = jax.vjp(lambda u: outputs(block, objective.layout, u), w)[1]
        return pull(curved)[0]

    return _total(objective, part)
