"""What the garbage collector costs a first fit: fresh processes as they are, and with its looks put back, in turns.

    python benchmarks/collector.py [--repeats 10]

Each process imports, makes an objective, and solves to a target; nothing compiled is on disk. Medians of seconds from
the start of the process to the result, and of CPU seconds.
"""

from __future__ import annotations

import argparse
import statistics

from stiffgrad.laboratory.first_call import until_it_speaks

FIT = """
import numpy as np
import stiffgrad as sg
rng = np.random.default_rng(0)
X = rng.normal(size=(442, 10))
objective = sg.supervised(*sg.mlp([10, 10, 1]), X, np.sin(X[:, 0]) + X[:, 1] * X[:, 2])
solution = sg.solve(objective, until=sg.Until(loss=0.16, wall_seconds=60))
import time
print(time.process_time(), flush=True)
"""
LOOKING = """
import contextlib, sys, types
@contextlib.contextmanager
def nothing():
    yield
module = sys.modules["stiffgrad._collector"] = types.ModuleType("stiffgrad._collector")
module.loading = module.compiling = nothing
"""


def seconds(code: str) -> tuple[float, float]:
    """Of a process until its result: wall and CPU."""
    line, wall = until_it_speaks(code, settings={"STIFFGRAD_CACHE_DIR": ""}, failure="the fit failed")
    return wall, float(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    kinds = {"as it is": FIT, "with the collector's looks": LOOKING + FIT}
    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    for _ in range(options.repeats):
        for kind, code in kinds.items():
            found[kind].append(seconds(code))
    for kind, runs in found.items():
        wall, cpu = (statistics.median(column) for column in zip(*runs, strict=True))
        print(f"{kind}: {wall:.2f} s, {cpu:.2f} s of CPU")


if __name__ == "__main__":
    main()
