"""Does it pay to sum over samples in pieces that stay in the processor's cache? Ratios in one process, in turns.

    python benchmarks/pieces.py              # two minutes, best alone on the machine
    taskset -c 1 python benchmarks/pieces.py

Ten gradients, or products with the Hessian, in one compiled loop, as in a solver: seconds of all samples at once over
those in pieces. Above 1 pieces are faster. `activations` are the bytes that `stiffgrad.objective.placement` counts.
"""

import dataclasses
import functools
import math
import time
from unittest import mock

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

import stiffgrad as sg
from stiffgrad._float64 import float64
from stiffgrad.objective import derivatives
from stiffgrad.objective.placement import Placement

NETWORKS = ([10, 64, 64, 1], [64, 128, 10], [2, 20, 20, 1], [10, 200, 200, 1])
ACTIVATIONS = (32e6, 64e6, 128e6, 512e6)
PIECES = (4e6, 16e6, 64e6)
ROUNDS, LOOP = 5, 10


def problem(sizes, activations):
    """An objective of so many bytes of activations, in one piece, and its number of samples."""
    seen = []
    with mock.patch.object(Placement, "_piece", lambda self, count, each: seen.append(each)):
        make = lambda n: sg.supervised(*sg.mlp(sizes), np.ones((n, sizes[0])), np.ones((n, sizes[-1])))  # noqa: E731
        make(2)
        samples = int(activations / seen[0])
        return make(samples), samples


def in_pieces(objective, size):
    """The same objective with pieces of so many samples."""
    leaves, structure = jax.tree.flatten(objective)
    copy = jax.tree.unflatten(structure, leaves)
    object.__setattr__(copy, "blocks", tuple(dataclasses.replace(b, piece=size) for b in objective.blocks))
    return copy


def gradients(objective, w):
    return jax.lax.fori_loop(0, LOOP, lambda _, u: u - 1e-9 * derivatives.gradient(objective, u), w)


def products(objective, w):
    return jax.lax.fori_loop(0, LOOP, lambda _, v: 1e-3 * derivatives.hvp(objective, w, v), w)


@float64
def main():
    table = Table(
        "layers", "samples", "activations", "of", "ms", *(f"pieces of {size / 1e6:.0f} MB" for size in PIECES)
    )
    for sizes in NETWORKS:
        for activations in ACTIVATIONS:
            whole, samples = problem(sizes, activations)
            ways = [whole] + [
                in_pieces(whole, -(-samples // math.ceil(activations / size))) for size in PIECES if size < activations
            ]
            for name, loop in {"gradient": gradients, "product": products}.items():
                calls = [functools.partial(jax.jit(loop), way, whole.w0) for way in ways]
                seconds = np.full(len(calls), np.inf)
                for _ in range(ROUNDS + 1):  # the first compiles
                    for i, call in enumerate(calls):
                        begin = time.perf_counter()
                        jax.block_until_ready(call())
                        seconds[i] = min(seconds[i], time.perf_counter() - begin)
                ratios = [f"{seconds[0] / other:.2f}" for other in seconds[1:]]
                row = [" ".join(map(str, sizes)), f"{samples:,}", f"{activations / 1e6:.0f} MB", name]
                table.add_row(*row, f"{1e3 * seconds[0] / LOOP:.1f}", *ratios)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
