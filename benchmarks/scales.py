"""How well `auto` fits one function at other sizes of inputs and targets: the bounds of `objective/scales.py`.

`python benchmarks/scales.py`: ten minutes. The loss is in half variances of the targets; the target is 1e-3.
"""

import time
import warnings

import numpy as np

import stiffgrad as sg

SECONDS = 6.0
Z = np.random.default_rng(0).uniform(-1, 1, (200, 2))
F = np.sin(2 * Z[:, 0]) * Z[:, 1]
CASES = {
    "as it is": (Z, F),
    **{f"X * {factor:g}": (Z * factor, F) for factor in (1e-4, 1e-3, 1e-2, 10, 30, 100, 300, 1e3, 1e4)},
    **{f"X + {offset:g}": (Z + offset, F) for offset in (10, 50, 100)},
    **{f"X * [1, {factor:g}]": (Z * [1, factor], F) for factor in (1e-3, 100, 1e3)},
    "X * [1e4, 1e-4]": (Z * [1e4, 1e-4], F),
    **{f"y * {factor:g}": (Z, factor * F) for factor in (1e-6, 1e2, 1e3, 1e4, 1e5, 1e6)},
    **{f"y + {offset:g}": (Z, F + offset) for offset in (1e2, 1e3, 1e4, 1e6)},
}


def main() -> None:
    for name, (X, y) in CASES.items():
        found = []
        for seed in range(2):
            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always")
                objective = sg.supervised(*sg.mlp([2, 16, 1], seed=seed), X, y)
            begin = time.perf_counter()
            until = sg.Until(loss=0.5e-3 * y.var(), wall_seconds=SECONDS)
            solution = sg.solve(objective, until=until, throw=False)
            seconds = time.perf_counter() - begin
            found.append(f"{solution.outcome.name:12} {2 * solution.loss / y.var():.1e} {seconds:5.1f} s")
        print(f"{name:16}", " | ".join(found), "| warned" if seen else "", flush=True)


if __name__ == "__main__":
    main()
