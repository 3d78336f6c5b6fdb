"""What a user waits for: from the start of a fresh process to the result, with and without compiled programs on disk.

Each run is a process of its own that imports, reads the data from a file, and fits from a given start to a loss. The
methods take turns, so that a slow minute of the machine hits all of them alike.
"""

from __future__ import annotations

import compileall
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stiffgrad.laboratory import problems
from stiffgrad.laboratory.environment import environment
from stiffgrad.laboratory.problems.base import NetworkProblem
from stiffgrad.laboratory.store import write_json

HEADER = "| problem | method | total | compile | solve | total, cache | compile | solve |\n" + "|---" * 8 + "|"
PROBLEMS = ("xor", "encoder", "iris", "wine", "diabetes", "two-spirals", "product2d", "digits")

# What every script begins with: the data, the network and the loss of a problem.
_DATA = """
import sys, time, json
begin = time.perf_counter()
import numpy as np
case = np.load(sys.argv[1])
X, y, kind = case["X"], case["y"], str(case["kind"])
logistic, activation = bool(case["logistic"]), str(case["activation"])
start = [(case[f"W{i}"], case[f"b{i}"]) for i in range(int(case["layers"]))]
target = float(case["target"])
def report(loss, **more):
    print(json.dumps({"loss": float(loss), "inside": time.perf_counter() - begin, **more}), flush=True)
"""
_JAX = """
import jax, jax.numpy as jnp
jax.config.update("jax_enable_x64", True)
from jax.flatten_util import ravel_pytree
w0, unravel = ravel_pytree(start)
def outputs(w):
    z = X
    layers = unravel(w)
    for i, (W, b) in enumerate(layers):
        z = z @ W.T + b
        if i < len(layers) - 1:
            z = jnp.tanh(z) if activation == "tanh" else jax.nn.sigmoid(z)
    return jax.nn.sigmoid(z) if logistic else z
def loss(w):
    z = outputs(w)
    if kind == "squared":
        return 0.5 * jnp.mean(jnp.sum((z - y.reshape(z.shape)) ** 2, 1))
    if kind == "binary_cross_entropy":
        return jnp.mean(jnp.sum(jnp.logaddexp(0.0, z) - y.reshape(z.shape) * z, 1))
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None].astype(int), 1))
"""
SCRIPTS = {
    "auto": _DATA
    + """
import stiffgrad as sg
network, params = sg.mlp([X.shape[1], *(W.shape[0] for W, _ in start)], activation=activation)
params = [{"weight": W, "bias": b} for W, b in start]
if logistic:
    import jax
    apply = lambda params, x: jax.nn.sigmoid(network(params, x))
else:
    apply = network
objective = sg.supervised(apply, params, X, y, loss=kind)
solution = sg.solve(objective, until=sg.Until(loss=target, wall_seconds=60), throw=False)
report(solution.loss, compile=solution.compile_seconds, solve=solution.wall_seconds)
""",
    "L-BFGS (SciPy)": _DATA
    + _JAX
    + """
from scipy.optimize import minimize
both = jax.jit(jax.value_and_grad(loss))
def evaluate(w):
    value, slope = both(w)
    seen[0] = min(seen[0], float(value))
    return float(value), np.asarray(slope)
def stop(intermediate_result):
    if intermediate_result.fun <= target or time.perf_counter() - begin > 60:
        raise StopIteration
seen = [np.inf]
options = {"maxiter": 10**6, "maxfun": 10**6, "ftol": 0.0, "gtol": 0.0}
minimize(evaluate, np.asarray(w0), jac=True, method="L-BFGS-B", callback=stop, options=options)
report(seen[0])
""",
    "LM (MINPACK)": _DATA
    + _JAX
    + """
from scipy.optimize import least_squares
residual = jax.jit(lambda w: ((outputs(w) - y.reshape(outputs(w).shape)) / np.sqrt(len(X))).ravel())
jacobian = jax.jit(jax.jacrev(lambda w: residual(w)) if len(y) < w0.size else jax.jacfwd(lambda w: residual(w)))
class Reached(Exception):
    pass
seen = [np.inf]
def evaluate(w):
    r = np.asarray(residual(w))
    seen[0] = min(seen[0], 0.5 * r @ r)
    if seen[0] <= target or time.perf_counter() - begin > 60:
        raise Reached
    return r
try:
    method = "lm" if np.size(y) >= w0.size else "trf"
    least_squares(evaluate, np.asarray(w0), lambda w: np.asarray(jacobian(w)), method=method, max_nfev=10**5,
                  ftol=1e-15, xtol=1e-15, gtol=1e-15)
except Reached:
    pass
report(seen[0])
""",
    "BFGS (optimistix)": _DATA
    + _JAX
    + """
import optimistix as optx
class ToTarget(optx.BFGS):
    def terminate(self, fn, y, args, options, state, tags):
        stop, result = super().terminate(fn, y, args, options, state, tags)
        return stop | (~state.first_step & (state.f_info.f <= target)), result
solver = ToTarget(rtol=1e-14, atol=1e-14)
solution = optx.minimise(lambda w, _: loss(w), solver, w0, max_steps=20000, throw=False)
report(loss(solution.value))
""",
    "MLP (scikit-learn)": _DATA
    + """
from sklearn.neural_network import MLPClassifier, MLPRegressor
make = MLPRegressor if kind == "squared" else MLPClassifier
hidden = tuple(W.shape[0] for W, _ in start[:-1])
model = make(hidden_layer_sizes=hidden, activation="tanh" if activation == "tanh" else "logistic", solver="lbfgs",
             alpha=0.0, max_iter=20000, max_fun=10**6, tol=1e-12, random_state=0)
import warnings
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    model.fit(X, y if y.ndim == 1 or y.shape[1] > 1 else y[:, 0])
report(model.loss_)
""",
}


@dataclasses.dataclass(frozen=True)
class Call:
    """One process.

    Attributes
    ----------
    problem, method : str
    cache : bool
        Whether compiled programs lay on disk.
    total_seconds : float
        From the start of the process to its result.
    loss : float
        What it reached; `reached` says whether that is the target.
    compile_seconds, solve_seconds : float or None
        As `solve` tells them.
    """

    problem: str
    method: str
    cache: bool
    total_seconds: float
    loss: float
    reached: bool
    compile_seconds: float | None = None
    solve_seconds: float | None = None


def first_call(
    names: Sequence[str] = PROBLEMS,
    methods: Sequence[str] = tuple(SCRIPTS),
    repeats: int = 5,
    out: Path | None = None,
    level: str = "medium",
    say: Callable[[str], None] = print,
) -> list[Call]:
    """Run every method on every problem in `repeats` fresh processes, in turns; written to `out` as they come.

    Byte code of this package is written first, as pip does where it installs one.
    """
    compileall.compile_dir(Path(__file__).parents[1], quiet=1)
    calls: list[Call] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            file = _case(name, level, Path(folder))
            for method in methods:  # the first fills its cache
                if _applies(name, method):
                    _run(name, method, file, Path(folder) / "cache" / method.split()[0])
            for _ in range(repeats):
                for method in methods:
                    for cache in (False, True) if _applies(name, method) else ():
                        where = Path(folder) / "cache" / method.split()[0] if cache else None
                        calls.append(_run(name, method, file, where))
                if out is not None:
                    write_json(
                        out, {"calls": [dataclasses.asdict(call) for call in calls], "environment": environment()}
                    )
            for words in table(calls, [name]):
                say(words)
    return calls


def table(calls: Sequence[Call], names: Sequence[str]) -> Iterator[str]:
    """Rows of Markdown: medians of the seconds, first without and then with a cache; a missed target in brackets."""
    for name in names:
        for method in dict.fromkeys(call.method for call in calls if call.problem == name):
            cells = []
            for cache in (False, True):
                mine = [c for c in calls if (c.problem, c.method, c.cache) == (name, method, cache)]
                total = f"{statistics.median(c.total_seconds for c in mine):.2f}"
                total = total if all(c.reached for c in mine) else f"({total})"
                parts = [c.compile_seconds for c in mine if c.compile_seconds is not None]
                solves = [c.solve_seconds for c in mine if c.solve_seconds is not None]
                cells += [total, f"{statistics.median(parts):.2f}" if parts else "-"]
                cells += [f"{statistics.median(solves):.3f}" if solves else "-"]
            yield f"| {name} | {method} | " + " | ".join(cells) + " |"


def _applies(name: str, method: str) -> bool:
    problem = problems.get(name)
    assert isinstance(problem, NetworkProblem)
    return problem.loss == "squared" or not method.startswith("LM")


def _case(name: str, level: str, folder: Path) -> Path:
    """The data, the start and the target of a problem in a file that every script can read."""
    problem = problems.get(name)
    assert isinstance(problem, NetworkProblem)
    X, y = problem.data.train
    _, params = problem.network(0)
    arrays: dict[str, Any] = {"X": X, "y": y, "kind": problem.loss, "logistic": problem.logistic_outputs}
    arrays |= {"activation": problem.activation, "layers": len(params), "target": problem.targets[level].loss}
    for i, layer in enumerate(params):
        arrays |= {f"W{i}": layer["weight"], f"b{i}": layer["bias"]}
    file = folder / f"{name}.npz"
    np.savez(file, **arrays)
    return file


def until_it_speaks(code: str, *arguments: str, settings: dict[str, str], failure: str) -> tuple[str, float]:
    """The first line that a fresh Python process prints, and the seconds from its start until then.

    Raises RuntimeError, with `failure` and the end of its errors, where it prints none.
    """
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    seconds = time.perf_counter() - begin
    _, errors = process.communicate()
    if not line:
        raise RuntimeError(f"{failure}:\n{errors[-2000:]}")
    return line, seconds


def _run(name: str, method: str, file: Path, cache: Path | None) -> Call:
    settings = {"STIFFGRAD_CACHE_DIR": ""} if cache is None else {
        "JAX_COMPILATION_CACHE_DIR": str(cache), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }  # fmt: skip
    line, total = until_it_speaks(SCRIPTS[method], str(file), settings=settings, failure=f"{method} failed on {name}")
    found = json.loads(line)
    with np.load(file) as case:
        reached = found["loss"] <= float(case["target"])
    return Call(
        name, method, cache is not None, total, found["loss"], reached, found.get("compile"), found.get("solve")
    )
