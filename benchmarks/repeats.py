"""Does a run repeat to the last bit? Processes side by side repeat the first steps of one solver and compare.

    python benchmarks/repeats.py levenberg-marquardt rosenbrock --seconds 60 --processes 4

More processes than cores make what depends on the order of threads show: the XLA of JAX 0.10.2 gave another first
step in 29 of 24,000 starts of `levenberg-marquardt` (see `SOUND` in `stiffgrad/_config.py`).
"""

import argparse
import time

import joblib
import numpy as np

import stiffgrad as sg


def repeated(name: str, compilation: str, seconds: float) -> tuple[int, int]:
    """How many of how many runs of eight steps end elsewhere than the first one."""
    x = np.linspace(-1, 1, 30)[:, None]
    objective = sg.supervised(*sg.mlp([1, 8, 1]), x, np.sin(3 * x))

    def run():
        return sg.solve(objective, name, until=sg.Until(steps=8), compilation=compilation).w

    first, runs, other = run(), 0, 0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        runs += 1
        other += not np.array_equal(run(), first)
    return other, runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("solvers", nargs="+")
    parser.add_argument("--compilation", default="full", choices=("quick", "full"))
    parser.add_argument("--seconds", type=float, default=60.0, help="for each solver")
    parser.add_argument("--processes", type=int, default=4)
    options = parser.parse_args()
    for name in options.solvers:
        call = joblib.delayed(repeated)(name, options.compilation, options.seconds)
        counts = joblib.Parallel(options.processes)([call] * options.processes)
        other, runs = (sum(column) for column in zip(*counts, strict=True))
        print(f"{name}: {other} of {runs} runs differ from the first of their process")


if __name__ == "__main__":
    main()
