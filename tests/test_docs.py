"""The docs' code runs as it stands, and every public name is in the reference."""

import importlib
import pathlib
import re
import runpy

import matplotlib.pyplot as plt
import pytest

import stiffgrad as sg
from stiffgrad import estimators, pde

DOCS = pathlib.Path(__file__).resolve().parent.parent / "docs"
PAGES = ["index", "regression", "classification", "flow", "solvers", "results", "compare", "surrogate", "starts"]


@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # What compiles for seconds is tested elsewhere: `auto`, and the estimators.
    if page != "starts":  # `multistart` takes what has a compiled loop
        monkeypatch.setitem(sg.solvers._registry._REGISTRY, "auto", ("minimisers:LBFGS", {}))
    blocks = re.findall(r"^```python\n(.*?)^```", (DOCS / f"{page}.md").read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    names: dict = {}
    for block in blocks:
        code = compile(block, f"{page}.md", "exec")
        if "stiffgrad.estimators" not in block:
            exec(code, names)
    plt.close("all")


def test_every_public_name_is_in_the_reference():
    written = set(re.findall(r"^::: (\S+)", "\n".join(p.read_text() for p in DOCS.glob("reference*.md")), re.MULTILINE))
    public = [getattr(module, name) for module in (sg, estimators, pde) for name in module.__all__]
    public += [getattr(sg.solvers, name) for name in dir(sg.solvers)]
    expected = {f"{thing.__module__}.{thing.__qualname__}" for thing in public if hasattr(thing, "__qualname__")}
    assert not expected - written
    for path in written:
        module, _, name = path.rpartition(".")
        assert getattr(importlib.import_module(module), name).__doc__, path


def test_the_example_of_a_flow_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(DOCS.parent / "examples" / "flow.py"))
    plt.close("all")
    assert (tmp_path / "flow.png").stat().st_size > 10_000
    assert "stability costs" in capsys.readouterr().out
