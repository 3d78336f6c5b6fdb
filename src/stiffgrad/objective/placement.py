"""Where the samples of a term lie, and in how many pieces: chunks that bound memory, shards over devices."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from stiffgrad._memory import device_bytes
from stiffgrad.objective.derivatives import Block

FRACTION = 0.5  # of the free memory that activations may take by default
CACHE, PIECE = 120e6, 64e6  # bytes of activations beyond which a processor sums pieces, and bytes of a piece


@dataclasses.dataclass(frozen=True)
class Placement:
    """How the samples of every term are laid out.

    Attributes
    ----------
    chunk_samples : int or None
        Samples summed over at a time; None: as many as the budget allows.
    memory_budget : float or None
        Bytes on each device for the activations of one gradient or product; None: half of what is free.
    mesh : Mesh or None
        The devices that share the samples.
    axes : tuple of str
        The axes of the mesh that the samples are split over.
    """

    chunk_samples: int | None = None
    memory_budget: float | None = None
    mesh: Mesh | None = None
    axes: tuple[str, ...] = ()

    @classmethod
    def of(cls, chunk_samples: Any, memory_budget: Any, sharding: Any, data: Any) -> Placement:
        """Check the arguments of an objective; without `sharding` that of data which lies on several devices."""
        if chunk_samples is not None:
            if not float(_positive(chunk_samples, "chunk_samples", "whole number of samples")).is_integer():
                raise ValueError(f"chunk_samples={chunk_samples!r} must be a whole number")
            if memory_budget is not None:
                raise ValueError(f"memory_budget={memory_budget!r} and chunk_samples exclude each other: give one")
        if memory_budget is not None:
            _positive(memory_budget, "memory_budget", "number of bytes")
        mesh, axes = _mesh(sharding) if sharding is not None else _found(data)
        return cls(chunk_samples, memory_budget, mesh, axes)

    @property
    def parts(self) -> int:
        """Number of pieces that the samples are split into, one for each device or group of devices."""
        return math.prod(self.mesh.shape[axis] for axis in self.axes) if self.mesh is not None else 1

    def everywhere(self, array: jax.Array) -> jax.Array:
        """An array on every device, as a whole."""
        return array if self.mesh is None else jax.device_put(array, NamedSharding(self.mesh, PartitionSpec()))

    def place(self, block: Block, count: int, bytes_per_sample: float) -> Block:
        """The block in chunks where it must be, padded with samples of coefficient 0, on its devices."""
        size = self._chunk(count, bytes_per_sample)
        chunks = 1 if size is None else -(-count // size)
        size = self._even(count) if size is None else size
        chunked = chunks > 1 or self.chunk_samples is not None

        def lay(leaf: jax.Array, pad_zero: bool = False) -> jax.Array:
            missing = chunks * size - count
            if missing:
                padding = jnp.repeat(leaf[:1], missing, axis=0)
                leaf = jnp.concatenate([leaf, jnp.zeros_like(padding) if pad_zero else padding])
            if chunked:
                leaf = leaf.reshape((chunks, size, *leaf.shape[1:]))
            if self.mesh is None:
                return leaf
            spec = PartitionSpec(None, self.axes) if chunked else PartitionSpec(self.axes)
            return jax.device_put(leaf, NamedSharding(self.mesh, spec))

        return Block(
            jax.tree.map(lay, block.samples),
            jax.tree.map(lay, block.targets),
            lay(block.coefficients, pad_zero=True),
            block.function,
            block.loss,
            chunked=chunked,
            piece=self._piece(size, bytes_per_sample),
        )

    def _piece(self, count: int, bytes_per_sample: float) -> int | None:
        """Samples that a processor sums over at a time: docs/scale.md, measured by benchmarks/pieces.py."""
        if self.mesh is not None or jax.default_backend() != "cpu" or count * bytes_per_sample <= CACHE:
            return None
        return -(-count // math.ceil(count * bytes_per_sample / PIECE))

    def _even(self, size: int) -> int:
        return -(-size // self.parts) * self.parts

    def _chunk(self, count: int, bytes_per_sample: float) -> int | None:
        """Samples a chunk, a multiple of the number of parts; None where all fit at once."""
        if self.chunk_samples is not None:
            return self._even(min(int(self.chunk_samples), count))
        fit = self._budget() / bytes_per_sample * self.parts
        if fit >= count:
            return None
        most = max(1, int(fit / self.parts)) * self.parts
        chunks = -(-count // most)
        return self._even(-(-count // chunks))  # chunks of nearly equal size, so that little is padded

    def _budget(self) -> float:
        if self.memory_budget is not None:
            return float(self.memory_budget)
        return agreed(FRACTION * device_bytes([] if self.mesh is None else list(self.mesh.local_devices)))


def _positive(number: Any, name: str, what: str) -> Any:
    if isinstance(number, bool) or not isinstance(number, int | float | np.number):
        raise TypeError(f"{name}={number!r} must be a {what}, not {type(number).__name__}")
    if not number > 0:
        raise ValueError(f"{name}={number!r} must be a positive {what}")
    return number


def _mesh(sharding: Any) -> tuple[Mesh, tuple[str, ...]]:
    if isinstance(sharding, Mesh):
        return _automatic(sharding), tuple(sharding.axis_names)
    if isinstance(sharding, NamedSharding):
        first = sharding.spec[0] if len(sharding.spec) else None
        axes = () if first is None else (first,) if isinstance(first, str) else tuple(first)
        return _automatic(sharding.mesh), axes
    raise TypeError(
        f"sharding must be a jax.sharding.Mesh or NamedSharding, not {type(sharding).__name__}; "
        "for all devices use jax.make_mesh((jax.device_count(),), ('samples',))"
    )


def _automatic(mesh: Any) -> Mesh:
    """The same devices under a mesh whose axes the compiler handles: shardings are then no part of types."""
    return Mesh(mesh.devices, mesh.axis_names, axis_types=(AxisType.Auto,) * len(mesh.axis_names))


def _found(data: Any) -> tuple[Mesh | None, tuple[str, ...]]:
    for leaf in jax.tree.leaves(data):
        sharding = getattr(leaf, "sharding", None)
        if isinstance(leaf, jax.Array) and isinstance(sharding, NamedSharding) and len(sharding.device_set) > 1:
            return _mesh(sharding)
    return None, ()


def agreed(number: float) -> float:
    """The number of process 0, on every process: clocks and free memory differ, and all must decide alike.

    Examples
    --------
    >>> agreed(2.5)
    2.5
    """
    if jax.process_count() == 1:
        return number
    from jax.experimental import multihost_utils  # only where there are many

    return float(multihost_utils.broadcast_one_to_all(np.asarray(number, float)))


def without_types(array: jax.Array) -> jax.Array:
    """The same array on the same devices, its sharding no part of its type."""
    sharding = array.sharding
    if isinstance(sharding, NamedSharding) and any(kind != AxisType.Auto for kind in sharding.mesh.axis_types):
        return jax.device_put(array, NamedSharding(_automatic(sharding.mesh), sharding.spec))
    return array
