"""What a Gauss-Newton matrix costs: row by row in reverse mode, from factors of rows, and with parallel ones merged.

    OMP_NUM_THREADS=1 python benchmarks/pde_rows.py

CPU seconds of the smaller Gram matrix of a residual with derivatives in it, the three ways in turns in one process: the
least of seven. The ratios are what counts. The matrices are compared to rounding.
"""

from __future__ import annotations

import dataclasses
import time
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from stiffgrad.curvature import rows
from stiffgrad.laboratory import problems
from stiffgrad.objective import derivatives, parallel
from stiffgrad.objective.gram import lower_gram

jax.config.update("jax_enable_x64", True)
PROBLEMS = {
    "poisson2d": None, "burgers": 2048, "helmholtz2d": 2048, "kovasznay": None, "reaction-few": None,
    "convection-few": 1200, "wave-few": 1200,  # row by row they take ten seconds and more each
}  # fmt: skip


def by_reverse_mode(objective, w):
    a = derivatives.scaled_jacobian(objective, w)
    return lower_gram(a if objective.rows < objective.size else a.T)


def by_factors(objective, w):
    found = rows.rows_at(objective, w)
    return found.kernel() if objective.rows < objective.size else found.gram()


def apart(function, *inputs):
    """What `parallel.scaled_results` finds where it takes no factor out."""
    return [parallel.Scaled(None, None, value, object()) for value in function(*inputs)]


def by_all_factors(objective, w):
    with mock.patch.object(parallel, "scaled_results", apart):
        return by_factors(objective, w)


def fewer(condition, points):
    """The condition on so many points, if it is an equation."""
    return dataclasses.replace(condition, points=points) if condition.kind == "interior" else condition


def main():
    print(
        "| problem | weights | rows | row by row | all factors | parallel ones merged | ratios | largest difference |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, points in PROBLEMS.items():
        equation = problems.get(name).equation
        if points is not None:
            conditions = tuple(fewer(condition, points) for condition in equation.conditions)
            equation = dataclasses.replace(equation, conditions=conditions)
        objective = equation.problem(0, balance=False).objective
        ways = [jax.jit(way) for way in (by_reverse_mode, by_all_factors, by_factors)]
        first, *others = (np.tril(way(objective, jnp.asarray(objective.w0))) for way in ways)
        seconds = [[] for _ in ways]
        for _ in range(7):
            for way, taken in zip(ways, seconds, strict=True):
                begin = time.process_time()
                jax.block_until_ready(way(objective, jnp.asarray(objective.w0)))
                taken.append(time.process_time() - begin)
        plain, every, merged = map(min, seconds)
        difference = max(np.abs(first - other).max() for other in others) / np.abs(first).max()
        print(
            f"| `{name}` | {objective.size:,} | {objective.rows:,} | {plain:.4f} | {every:.4f} | {merged:.4f} "
            f"| {plain / merged:.1f}, {every / merged:.1f} | {difference:.0e} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
