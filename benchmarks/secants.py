"""What the secants of `quasi-newton` and `exponential` gain, and by what: `python benchmarks/secants.py`.

Medians over seeds of presentations and of seconds without compilation. First table: gradient norm 1e-6 with decay, by
`quasi-newton`, by the same without self-scaling (plain BFGS), and by `exponential`. Second table: squared errors, by
`exponential` in Kronecker-factored coordinates and without them (the same network, passed as an unknown function).
"""

import argparse
import dataclasses

import numpy as np

import stiffgrad as sg
from stiffgrad.laboratory import problems
from stiffgrad.solvers import Exponential, QuasiNewton

DECAYED = tuple(
    f"{name}-decay-{decay}" for name in ("iris", "wine", "diabetes", "breast-cancer") for decay in ("1e-3", "1e-5")
)
SQUARES = (("product2d", 1e-6), ("sine", 1e-6), ("diamonds", 1e-3))
ROWS = 3000  # of diamonds


@dataclasses.dataclass(frozen=True)
class Unknown:
    """A network that nothing is known about."""

    network: object

    def __call__(self, params, x):
        return self.network(params, x)


def squares(name, seed, known):
    problem = problems.get(name)
    network, params = problem.network(seed)
    X, y = (rows[:ROWS] for rows in problem.data[0])
    return sg.supervised(network if known else Unknown(network), params, X, y, loss=problem.loss)


def cell(objectives, solver, until):
    runs = [sg.solve(objective, solver, until=until, throw=False) for objective in objectives]
    solved = sum(run.outcome.success for run in runs)
    seconds = np.median([run.wall_seconds if run.outcome.success else np.inf for run in runs])
    passes = np.median([run.statistics.presentations if run.outcome.success else np.inf for run in runs])
    return f"{passes:.0f}, {1e3 * seconds:.3g} ms" + ("" if solved == len(runs) else f" ({solved} of {len(runs)})")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    seeds = range(options.seeds)
    print("| problem | quasi-newton | plain BFGS | exponential |\n|---|---|---|---|", flush=True)
    until = sg.Until(gradient_norm=1e-6, wall_seconds=options.seconds)
    for name in DECAYED:
        objectives = [problems.get(name).objective(seed) for seed in seeds]
        cells = [cell(objectives, s, until) for s in (QuasiNewton(), QuasiNewton(scaled=False), Exponential())]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    print("\n| problem, loss | with coordinates | without |\n|---|---|---|", flush=True)
    for name, loss in SQUARES:
        until = sg.Until(loss=loss, wall_seconds=options.seconds)
        cells = [cell([squares(name, seed, known) for seed in seeds], Exponential(), until) for known in (True, False)]
        print(f"| {name} {loss:g} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
