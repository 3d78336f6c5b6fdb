"""The examples run as a user would run them, in short form, draw a picture, and import no JAX."""

import pathlib
import runpy

import matplotlib.pyplot as plt
import pytest

import stiffgrad as sg
from stiffgrad import pde

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
STEPS = {"heat": 12, "pharmacokinetics": 25, "peaks": 100}


@pytest.mark.parametrize("name", STEPS)
def test_the_example_runs_and_draws(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    budget = sg.Until
    monkeypatch.setattr(sg, "Until", lambda **given: budget(**{**given, "steps": STEPS[name]}))
    # The integrators have tests of their own; L-BFGS compiles in a fraction of their time.
    solve = pde.solve
    monkeypatch.setattr(pde, "solve", lambda problem, **options: solve(problem, "lbfgs", **options))
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    plt.close("all")
    assert "Solution by" in capsys.readouterr().out
    assert (tmp_path / f"{name}.png").stat().st_size > 5000
    assert "jax" not in (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
