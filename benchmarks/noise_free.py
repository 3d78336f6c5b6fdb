"""FlowRegressor with nothing set on smooth functions without noise, against what else one would interpolate with.

Functions of 1 to 8 inputs from the literature on surrogates (their ranges are in FUNCTIONS), at random points, three
sizes each: held-out relative error (root mean square over standard deviation, on 10,000 new points), seconds of
processor time of the fit, and how often the 90% intervals of FlowRegressor cover. Peers: a Gaussian process with one
length an input (RBF, alpha 1e-10, two restarts), cubic radial basis functions (SciPy), and scikit-learn's MLP by
L-BFGS, all on standardised inputs and targets. Models are interleaved size by size. Every cell is written as it comes,
in one piece, and a second run goes on.

Run with: python benchmarks/noise_free.py --out benchmarks/noise_free.json
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.interpolate import RBFInterpolator
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel
from sklearn.neural_network import MLPRegressor
from tables import keep, scaled_target

from stiffgrad.estimators import FlowRegressor

TEST = 10_000
SIZES = {1: (20, 50, 150), 2: (60, 200, 600), 3: (100, 300, 900)}  # more inputs: as for 3
Function = Callable[..., np.ndarray]
PI = np.pi


def damped(x: np.ndarray) -> np.ndarray:
    return np.exp(-1.4 * x) * np.cos(3.5 * PI * x)  # Santner, Williams and Notz 2003


def gramacy_lee(x: np.ndarray) -> np.ndarray:
    return np.sin(10 * PI * x) / (2 * x) + (x - 1) ** 4


def runge(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + 25 * x**2)


def product(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.sin(3 * x) * np.cos(2 * y) + x * y


def franke(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (
        0.75 * np.exp(-((9 * x - 2) ** 2 + (9 * y - 2) ** 2) / 4)
        + 0.75 * np.exp(-((9 * x + 1) ** 2) / 49 - (9 * y + 1) / 10)
        + 0.5 * np.exp(-((9 * x - 7) ** 2 + (9 * y - 3) ** 2) / 4)
        - 0.2 * np.exp(-((9 * x - 4) ** 2) - (9 * y - 7) ** 2)
    )


def branin(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (y - 5.1 * x**2 / (4 * PI**2) + 5 * x / PI - 6) ** 2 + 10 * (1 - 1 / (8 * PI)) * np.cos(x) + 10


def ishigami(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    return np.sin(a) + 7 * np.sin(b) ** 2 + 0.1 * c**4 * np.sin(a)


def park(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    return 2 / 3 * np.exp(a + b) - d * np.sin(c) + c  # the second one of Park 1991


def otl_circuit(b1: Any, b2: Any, f: Any, c1: Any, c2: Any, beta: Any) -> np.ndarray:
    middle, gain = 12 * b2 / (b1 + b2), beta * (c2 + 9)
    return (middle + 0.74) * gain / (gain + f) + 11.35 * f / (gain + f) + 0.74 * f * gain / ((gain + f) * c1)


def piston(mass: Any, area: Any, volume: Any, k: Any, pressure: Any, ambient: Any, filling: Any) -> np.ndarray:
    a = pressure * area + 19.62 * mass - k * volume / area
    v = area / (2 * k) * (np.sqrt(a**2 + 4 * k * pressure * volume / filling * ambient) - a)
    return 2 * PI * np.sqrt(mass / (k + area**2 * pressure * volume / filling * ambient / v**2))


def borehole(rw: Any, r: Any, tu: Any, hu: Any, tl: Any, hl: Any, length: Any, kw: Any) -> np.ndarray:
    log = np.log(r / rw)
    return 2 * PI * tu * (hu - hl) / (log * (1 + 2 * length * tu / (log * rw**2 * kw) + tu / tl))


def wing_weight(*x: Any) -> np.ndarray:
    s, fuel, aspect, sweep, q, taper, thick, load, gross, paint = x
    cos = np.cos(np.radians(sweep))
    weight = 0.036 * s**0.758 * fuel**0.0035 * (aspect / cos**2) ** 0.6 * q**0.006 * taper**0.04
    return weight * (100 * thick / cos) ** -0.3 * (load * gross) ** 0.49 + s * paint


# Ranges of the inputs as at sfu.ca/~ssurjano (Surjanovic and Bingham), where there are some.
FUNCTIONS: dict[str, tuple[Function, list[tuple[float, float]]]] = {
    "damped cosine": (damped, [(0, 1)]),
    "Gramacy-Lee": (gramacy_lee, [(0.5, 2.5)]),
    "Runge": (runge, [(-1, 1)]),
    "sines and product": (product, [(-1, 1)] * 2),
    "Franke": (franke, [(0, 1)] * 2),
    "Branin": (branin, [(-5, 10), (0, 15)]),
    "Ishigami": (ishigami, [(-PI, PI)] * 3),
    "Park": (park, [(0, 1)] * 4),
    "OTL circuit": (otl_circuit, [(50, 150), (25, 70), (0.5, 3), (1.2, 2.5), (0.25, 1.2), (50, 300)]),
    "piston": (
        piston,
        [(30, 60), (0.005, 0.02), (0.002, 0.01), (1000, 5000), (9e4, 1.1e5), (290, 296), (340, 360)],
    ),
    "borehole": (
        borehole,
        [(0.05, 0.15), (100, 5e4), (63070, 115600), (990, 1110), (63.1, 116), (700, 820), (1120, 1680), (9855, 12045)],
    ),
    "wing weight": (
        wing_weight,
        [
            (150, 200),
            (220, 300),
            (6, 10),
            (-10, 10),
            (16, 45),
            (0.5, 1),
            (0.08, 0.18),
            (2.5, 6),
            (1700, 2500),
            (0.025, 0.08),
        ],
    ),
}


class Radial(RegressorMixin, BaseEstimator):
    """SciPy's cubic radial basis functions as an estimator."""

    def fit(self, X: np.ndarray, y: np.ndarray) -> Radial:
        self.model_ = RBFInterpolator(X, y, kernel="cubic")
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.model_(X)


def models(inputs: int) -> dict[str, Any]:
    kernel = ConstantKernel(1.0, (1e-3, 1e6)) * RBF(np.ones(inputs), (1e-2, 1e3))
    process = GaussianProcessRegressor(kernel, alpha=1e-10, n_restarts_optimizer=2, random_state=0)
    return {
        "Flow": FlowRegressor(random_state=0),
        "GP": scaled_target(process),
        "cubic": scaled_target(Radial()),
        "MLP lbfgs": scaled_target(MLPRegressor(solver="lbfgs", random_state=0, max_iter=5000)),
    }


def sample(name: str, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Points and values to fit, and to test."""
    function, ranges = FUNCTIONS[name]
    low, high = np.array(ranges, float).T
    X = np.random.default_rng(0).uniform(low, high, (TEST + n, len(low)))
    y = function(*X.T)
    return X[TEST:], y[TEST:], X[:TEST], y[:TEST]


def cell(model: Any, X: np.ndarray, y: np.ndarray, points: np.ndarray, values: np.ndarray) -> dict[str, Any]:
    begin = time.process_time()
    try:
        model.fit(X, y)
    except (ValueError, RuntimeError, np.linalg.LinAlgError) as error:  # a failed cell is a result too
        return {"seconds": time.process_time() - begin, "error": None, "why": str(error)[:200]}
    row: dict[str, Any] = {"seconds": time.process_time() - begin}
    row["error"] = float(np.sqrt(np.mean((np.ravel(model.predict(points)) - values) ** 2)) / values.std())
    if isinstance(model, FlowRegressor):
        low, high = model.predict(points, quantiles=[0.05, 0.95])
        row["coverage"] = float(np.mean((values >= low) & (values <= high)))
        row["network"] = "-".join(str(len(b)) for b in model.intercepts_[:-1])
    return row


def run(names: list[str], wanted: list[str], out: Path) -> list[dict[str, Any]]:
    rows = json.loads(out.read_text())["rows"] if out.exists() else []
    done = {(row["function"], row["size"], row["model"]) for row in rows}
    for name in names:
        inputs = len(FUNCTIONS[name][1])
        for n in SIZES[min(inputs, 3)]:
            for label, model in models(inputs).items():
                if (name, n, label) in done or (wanted and label not in wanted):
                    continue
                rows.append({"function": name, "size": n, "model": label, **cell(model, *sample(name, n))})
                keep(rows, out)
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    """A table in Markdown, errors and seconds, then means of logarithms."""
    frame = pd.DataFrame(rows)
    index = ["function", "size"]
    errors = frame.pivot_table(index=index, columns="model", values="error", sort=False)
    seconds = frame.pivot_table(index=index, columns="model", values="seconds", sort=False)
    coverage = frame[frame["model"] == "Flow"].set_index(index).get("coverage")
    titles = [*errors, *(f"{name}, s" for name in seconds), "coverage"]
    print(f"| function | rows | {' | '.join(titles)} |\n|{'---|' * (len(titles) + 2)}")
    for (name, n), row in errors.iterrows():
        texts = [f"**{value:.1e}**" if value == row.min() else f"{value:.1e}" for value in row]
        texts += [f"{value:.2f}" for value in seconds.loc[(name, n)]]
        texts.append("" if coverage is None or (name, n) not in coverage.index else f"{coverage.loc[(name, n)]:.2f}")
        print(f"| {name} | {n} | {' | '.join(texts)} |")
    print("\ngeometric mean of errors:", ", ".join(f"{m} {v:.2e}" for m, v in np.exp(np.log(errors).mean()).items()))
    print("seconds of all fits:", ", ".join(f"{m} {v:.0f}" for m, v in seconds.sum().items()))
    for peer in errors:
        if "Flow" in errors and peer != "Flow":
            both = errors[["Flow", peer]].dropna()
            print(f"Flow has the lower error than {peer} in {int((both['Flow'] < both[peer]).sum())} of {len(both)}")
    if coverage is not None:
        print(f"coverage of Flow's 90% intervals: mean {coverage.mean():.2f}, least {coverage.min():.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--functions", nargs="*", default=[], choices=list(FUNCTIONS), help="by default all")
    parser.add_argument("--models", nargs="*", default=[], help="by default all")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/noise_free.json"))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    show(run(arguments.functions or [*FUNCTIONS], arguments.models, arguments.out))


if __name__ == "__main__":
    main()
