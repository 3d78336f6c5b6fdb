"""What other sizes of inputs and targets cost `auto`: the bounds of `objective/scales.py`.

`python benchmarks/scales.py`: three data sets, three starts, the same number of gradients (1,000) for all, so that it
repeats exactly. Losses are in half variances of the targets, of the samples and of held-out ones, medians
of the starts.
"""

import statistics
import sys
import warnings

import numpy as np
from sklearn.datasets import load_diabetes

import stiffgrad as sg

PRESENTATIONS = 1000
SEEDS = 3
FACTORS = (1e-4, 1e-3, 1e-2, 0.1, 1, 3, 10, 30, 100, 300, 1e3)
TARGETS = (1e-6, 1e-3, 1, 1e2, 1e3, 1e4, 1e5, 1e6)
OFFSETS = (1, 10, 30, 100, 500, 1e3, 1e4)


def waves(rng):
    Z = rng.uniform(-1, 1, (400, 2))
    return Z, np.sin(2 * Z[:, 0]) * Z[:, 1]


def friedman(rng):
    """Friedman (1991), with noise of a tenth of its deviation."""
    Z = rng.uniform(0, 1, (400, 5))
    y = 10 * np.sin(np.pi * Z[:, 0] * Z[:, 1]) + 20 * (Z[:, 2] - 0.5) ** 2 + 10 * Z[:, 3] + 5 * Z[:, 4]
    return (Z - Z.mean(0)) / Z.std(0), (y - y.mean()) / y.std() + 0.1 * rng.standard_normal(len(y))


def diabetes(rng):
    Z, y = load_diabetes(return_X_y=True)
    Z, y = Z[:400], y[:400]
    return (Z - Z.mean(0)) / Z.std(0), (y - y.mean()) / y.std()


SETS = {"waves": waves, "friedman": friedman, "diabetes": diabetes}


def fit(X, y, seed):
    half = len(X) // 2
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        variance = y[:half].var()
        objective = sg.supervised(sg.mlp([X.shape[1], 12, 1], seed=seed), X[:half], y[:half])
    until = sg.Until(loss=0.5e-5 * variance, presentations=PRESENTATIONS, wall_seconds=None)
    solution = sg.solve(objective, until=until, throw=False)
    errors = [
        np.mean((solution.predict(part) - goal) ** 2) / variance
        for part, goal in ((X[:half], y[:half]), (X[half:], y[half:]))
    ]
    return errors, solution.statistics.presentations, bool(seen)


def main() -> None:
    for name in sys.argv[1:] or SETS:
        Z, f = SETS[name](np.random.default_rng(0))
        cases = [(f"X * {factor:g}", factor * Z, f) for factor in FACTORS]
        cases += [
            (f"X column 0 * {factor:g}", Z * np.r_[factor, np.ones(Z.shape[1] - 1)], f)
            for factor in FACTORS
            if factor != 1
        ]
        cases += [(f"X + {offset:g}", Z + offset, f) for offset in OFFSETS[:5]]
        cases += [(f"y * {factor:g}", Z, factor * f) for factor in TARGETS if factor != 1]
        cases += [(f"y + {offset:g}", Z, f + offset) for offset in OFFSETS]
        for label, X, y in cases:
            found = [fit(X, y, seed) for seed in range(SEEDS)]
            samples, others = (statistics.median(errors[i] for errors, _, _ in found) for i in (0, 1))
            used = statistics.median(used for _, used, _ in found)
            words = "  warned" if found[0][2] else ""
            print(
                f"{name:9} {label:20} samples {samples:8.1e}  held out {others:8.1e}  gradients {used:5g}{words}",
                flush=True,
            )


if __name__ == "__main__":
    main()
