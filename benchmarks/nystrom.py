"""Whether conjugate gradients with a Nystrom preconditioner would solve a step of an equation for less than Cholesky.

    OMP_NUM_THREADS=1 python benchmarks/nystrom.py

A step solves (1/h + AA') x = r. The dense way forms the kernel AA' from factors of rows and factors it. The other
needs products with A and A' only: as many as the rank of a randomised Nystrom approximation (Frangella, Tropp and Udell
2023, SIAM J. Matrix Anal. Appl. 44), and one pair for each iteration. Weights and h are those of `rosenbrock` after
some steps; iterations go to a relative residual of 1e-3. CPU seconds of the kernel, the factor and a pair of products
are the least of five in one process; those of the other way are (rank + iterations) pairs.
"""

from __future__ import annotations

import dataclasses
import time

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

import stiffgrad as sg
from stiffgrad.curvature import linalg, rows
from stiffgrad.laboratory import problems

jax.config.update("jax_enable_x64", True)
PROBLEMS = {"helmholtz2d": (2048, (20, 100)), "convection": (1600, (20, 60)), "poisson5d-wide": (3000, (10, 25))}
RANKS = (50, 200, 800)
TOLERANCE, MOST = 1e-3, 2000


def least(function, *inputs):
    """CPU seconds of a compiled function, and what it gives."""
    compiled = jax.jit(function)
    found, taken = jax.block_until_ready(compiled(*inputs)), []
    for _ in range(5):
        begin = time.process_time()
        jax.block_until_ready(compiled(*inputs))
        taken.append(time.process_time() - begin)
    return min(taken), np.asarray(found)


def nystrom(kernel, rank, shift):
    """The inverse of a preconditioner of rank `rank` for kernel + shift."""
    test = np.linalg.qr(np.random.default_rng(0).normal(size=(len(kernel), rank)))[0]
    image = kernel @ test
    small = 1e-14 * np.linalg.norm(image)
    lower = np.linalg.cholesky(test.T @ (image + small * test))
    u, s, _ = np.linalg.svd(
        scipy.linalg.solve_triangular(lower, (image + small * test).T, lower=True).T, full_matrices=False
    )
    values = np.maximum(s**2 - small, 0.0)
    return lambda v: v + u @ (((values[-1] + shift) / (values + shift) - 1.0) * (u.T @ v))


def iterations(kernel, shift, right, inverse):
    """Of preconditioned conjugate gradients."""
    x, r = np.zeros_like(right), right.copy()
    z = inverse(r)
    p, rz = z.copy(), r @ z
    for count in range(1, MOST + 1):
        q = kernel @ p + shift * p
        alpha = rz / (p @ q)
        x, r = x + alpha * p, r - alpha * q
        if np.linalg.norm(r) <= TOLERANCE * np.linalg.norm(right):
            return count
        z = inverse(r)
        rz, before = r @ z, rz
        p = z + rz / before * p
    return MOST


def main():
    print("| problem | weights | rows | steps | h trace | dense, s | a pair, s | " +
          " | ".join(f"rank {rank}: iterations, cost over dense" for rank in (0, *RANKS)) + " |")  # fmt: skip
    print("|" + "---|" * (7 + 1 + len(RANKS)))
    for name, (points, steps) in PROBLEMS.items():
        equation = problems.get(name).equation
        conditions = tuple(
            dataclasses.replace(c, points=points) if c.kind == "interior" else c for c in equation.conditions
        )
        objective = dataclasses.replace(equation, conditions=conditions).problem(0).objective
        for count in steps:
            run = sg.solve(objective, "rosenbrock", until=sg.Until(steps=count, wall_seconds=300))
            w, h = jnp.asarray(run.w), float(run.trace["step_size"][-1])
            formed, lower = least(lambda o, w: rows.rows_at(o, w).kernel(), objective, w)
            kernel = np.tril(lower) + np.tril(lower, -1).T
            factored, _ = least(lambda k, h: linalg.factor(jnp.eye(len(k)) + h * k, 1.0), jnp.asarray(kernel), h)
            vector = jnp.ones(objective.rows)
            pair, _ = least(lambda o, w, b: rows.rows_at(o, w).push(rows.rows_at(o, w).pull(b)), objective, w, vector)
            right = np.asarray(objective.residual(w)).ravel()
            cells = []
            for rank in (0, *RANKS):
                inverse = nystrom(kernel, rank, 1.0 / h) if rank else lambda v: v
                needed = iterations(kernel, 1.0 / h, right, inverse)
                cells.append(
                    f"{needed if needed < MOST else f'over {MOST}'}, {(rank + needed) * pair / (formed + factored):.1f}"
                )
            print(f"| `{name}` | {objective.size:,} | {objective.rows:,} | {count} | {h * np.trace(kernel):.0e} "
                  f"| {formed + factored:.2f} | {pair:.3f} | {' | '.join(cells)} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
