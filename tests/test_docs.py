"""The docs' code runs as it stands, and every public name is in the reference."""

import functools
import importlib.util
import inspect
import pathlib
import re
import runpy

import matplotlib.pyplot as plt
import pytest

import stiffgrad as sg
from stiffgrad import estimators, pde
from stiffgrad.laboratory import problems

DOCS = pathlib.Path(__file__).resolve().parent.parent / "docs"
PAGES = [
    "../README",
    "index",
    "models",
    "regression",
    "classification",
    "flow",
    "solvers",
    "results",
    "compare",
    "surrogate",
    "starts",
]


@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # What compiles for seconds is tested elsewhere: `auto`, and the estimators.
    if page != "starts":  # `multistart` takes what has a compiled loop
        monkeypatch.setitem(sg.solvers._registry._REGISTRY, "auto", ("minimisers:LBFGS", {}))
    few = functools.partial(sg.compare, seeds=1, until=sg.Until(gradient_norm=0.1, wall_seconds=0.5))
    if page == "../README":
        monkeypatch.setattr(sg, "compare", few)
    blocks = re.findall(r"^```python\n(.*?)^```", (DOCS / f"{page}.md").read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    names: dict = {}
    for block in blocks:
        code = compile(block, f"{page}.md", "exec")
        if "import torch" in block and not importlib.util.find_spec("torch"):
            continue
        if "stiffgrad.estimators" not in block:
            exec(code, names)
    plt.close("all")


def test_every_public_name_is_in_the_reference():
    written = set(re.findall(r"^::: (\S+)", "\n".join(p.read_text() for p in DOCS.glob("reference*.md")), re.MULTILINE))
    public = [getattr(module, name) for module in (sg, estimators, pde) for name in module.__all__]
    public += [getattr(sg.solvers, name) for name in dir(sg.solvers)]
    public += [getattr(problems, name) for name in ("Problem", "Target", "losses", "gradient_norms")]
    expected = {f"{thing.__module__}.{thing.__qualname__}" for thing in public if hasattr(thing, "__qualname__")}
    assert not expected - written
    for path in written:
        module, _, name = path.rpartition(".")
        assert getattr(importlib.import_module(module), name).__doc__, path


def documented():
    """What the reference shows, by its path."""
    text = "\n".join(page.read_text() for page in DOCS.glob("reference*.md"))
    for path in re.findall(r"^::: (\S+)", text, re.MULTILINE):
        module, _, name = path.rpartition(".")
        yield path, getattr(importlib.import_module(module), name)


def test_every_public_member_of_a_public_class_is_documented():
    missing = []
    for path, thing in documented():
        if isinstance(thing, type):
            for name, member in inspect.getmembers(thing):
                if not name.startswith("_") and (callable(member) or isinstance(member, property)):
                    missing += [] if inspect.getdoc(getattr(thing, name)) else [f"{path}.{name}"]
    assert not missing


def test_every_parameter_has_its_own_line():
    """The reference shows one type and one default for names on one line, which are then those of the first."""
    shared = []
    for path, thing in documented():
        described = inspect.getdoc(thing) or ""
        section = re.search(r"^Parameters\n-+\n(.*?)(?=^\w[^\n]*\n--|\Z)", described, re.MULTILINE | re.DOTALL)
        if section and re.search(r"^\w+, \w+", section[1], re.MULTILINE):
            shared.append(path)
    assert not shared


def test_every_parameter_and_result_is_described():
    bare = []
    for path, thing in documented():
        members = [thing, *(member for _, member in inspect.getmembers(thing))] if isinstance(thing, type) else [thing]
        for member in members:
            described = inspect.getdoc(member) or "" if callable(member) or isinstance(member, property) else ""
            if not str(getattr(member, "__module__", "")).startswith("stiffgrad"):
                continue
            for section in re.findall(
                r"^(?:Parameters|Attributes|Returns)\n-+\n(.*?)(?=^\w[^\n]*\n--|\Z)",
                described,
                re.MULTILINE | re.DOTALL,
            ):
                bare += [f"{path}: {line}" for line in re.findall(r"^(\S.*)\n(?!    )", section + "\n", re.MULTILINE)]
    assert not bare


def test_the_example_of_a_flow_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(DOCS.parent / "examples" / "flow.py"))
    plt.close("all")
    assert (tmp_path / "flow.png").stat().st_size > 10_000
    assert "stability costs" in capsys.readouterr().out
