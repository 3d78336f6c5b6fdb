"""What a Gauss-Newton matrix costs by reverse mode row by row, and from factors of the rows.

    OMP_NUM_THREADS=1 python benchmarks/pde_rows.py

CPU seconds of the smaller Gram matrix of a residual with derivatives in it, the two ways in turns in one process: the
least of seven. The ratio is what counts. Both matrices are compared to rounding.
"""

from __future__ import annotations

import dataclasses
import time

import jax
import jax.numpy as jnp
import numpy as np

from stiffgrad.curvature import rows
from stiffgrad.laboratory import problems
from stiffgrad.objective import derivatives
from stiffgrad.objective.gram import lower_gram

jax.config.update("jax_enable_x64", True)
PROBLEMS = {"poisson2d": None, "burgers": 2048, "helmholtz2d": 2048, "kovasznay": None, "reaction-few": None}


def by_reverse_mode(objective, w):
    a = derivatives.scaled_jacobian(objective, w)
    return lower_gram(a if objective.rows < objective.size else a.T)


def by_factors(objective, w):
    found = rows.rows_at(objective, w)
    return found.kernel() if objective.rows < objective.size else found.gram()


def main():
    print("| problem | weights | rows | row by row | from factors | ratio | largest difference |")
    print("|---|---|---|---|---|---|---|")
    for name, points in PROBLEMS.items():
        equation = problems.get(name).equation
        if points is not None:
            conditions = [dataclasses.replace(c, points=points) for c in equation.conditions]
            equation = dataclasses.replace(equation, conditions=tuple(conditions))
        objective = equation.problem(0, balance=False).objective
        ways = [jax.jit(way) for way in (by_reverse_mode, by_factors)]
        first, second = (np.tril(way(objective, jnp.asarray(objective.w0))) for way in ways)
        seconds = [[], []]
        for _ in range(7):
            for way, taken in zip(ways, seconds, strict=True):
                begin = time.process_time()
                jax.block_until_ready(way(objective, jnp.asarray(objective.w0)))
                taken.append(time.process_time() - begin)
        old, new = map(min, seconds)
        difference = np.abs(first - second).max() / np.abs(first).max()
        print(
            f"| `{name}` | {objective.size:,} | {objective.rows:,} | {old:.4f} | {new:.4f} | {old / new:.1f} "
            f"| {difference:.0e} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
