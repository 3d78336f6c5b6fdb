"""The examples run as a user would run them, in short form, draw a picture, and import no JAX."""

import pathlib
import re
import runpy

import matplotlib.pyplot as plt
import numpy as np
import pytest

import stiffgrad as sg
from stiffgrad import pde

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"
EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
STEPS = {"heat": 12, "pharmacokinetics": 25, "peaks": 100}


@pytest.mark.parametrize("page", ["pinns", "inverse"])
def test_the_code_of_the_page_runs(page, monkeypatch, capsys):
    solve = pde.solve
    few = sg.Until(steps=3)
    monkeypatch.setattr(pde, "solve", lambda problem: solve(problem, "lbfgs", until=few))
    blocks = re.findall(r"^```python\n(.*?)^```", (DOCS / f"{page}.md").read_text(), re.MULTILINE | re.DOTALL)
    t = np.linspace(0, 1, 20)
    names = {"burgers": lambda u, z: pde.derivative(u, z, 1) + u(z) * pde.derivative(u, z, 0), "t": t, "y": np.exp(-t)}
    for block in blocks:
        exec(compile(block, f"{page}.md", "exec"), names)
    printed = {"pinns": "Solution by", "inverse": "noise"}
    assert printed[page] in capsys.readouterr().out


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
