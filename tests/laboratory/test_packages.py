"""Problems of an installed package: listed, compared in processes of their own, and never in the way of the others."""

import importlib
import sys

import pytest
from typer.testing import CliRunner

from stiffgrad.cli import app
from stiffgrad.laboratory import problems
from stiffgrad.laboratory.cells import Cell, Method
from stiffgrad.laboratory.problems import packages

MODULE = """
import numpy as np
from stiffgrad.laboratory.problems import Data, NetworkProblem, Part, losses


def line():
    x = np.linspace(-1.0, 1.0, 9)[:, None]
    return Data(Part(x, 2.0 * x[:, 0] - 1.0))


def all_problems():
    return [NetworkProblem("plain-line", "a line through 9 points; 1-1", losses(1e-1, 1e-3, 1e-6), line, (1, 1))]


def of_a_taken_name():
    return [NetworkProblem("xor", "not ours", losses(1e-1, 1e-3, 1e-6), line, (1, 1))]


def of_a_wrong_kind():
    return ["plain-line"]


def broken():
    raise OSError("its data are missing")
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Install a package whose entry point names a function of it; returns how."""

    def install(function, version="1.5"):
        (tmp_path / "line_problems.py").write_text(MODULE)
        info = tmp_path / "line_problems-1.5.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: line-problems\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[stiffgrad.problems]\nlines = line_problems:{function}\n")
        importlib.invalidate_caches()
        packages.installed.cache_clear()

    monkeypatch.syspath_prepend(tmp_path)
    yield install
    sys.modules.pop("line_problems", None)
    packages.installed.cache_clear()


def test_they_are_listed_and_compared_as_any_other(package, tmp_path):
    package("all_problems")
    assert problems.names()[-1] == "plain-line"
    assert problems.origin("plain-line") == "line-problems 1.5"
    assert problems.origin("xor") is None
    assert " plain-line " in CliRunner().invoke(app, ["problems"]).stdout
    command = [
        "compare",
        "--problem",
        "plain-line",
        "--solver",
        "lbfgs",
        "--seeds",
        "1",
        "--out",
        str(tmp_path / "out"),
    ]
    done = CliRunner().invoke(app, command)  # in a process of its own, which finds the package too
    assert done.exit_code == 0, done.output
    assert "1/1" in done.output


def test_another_version_makes_other_results(package):
    package("all_problems")
    cell = Cell("plain-line", Method.of("lbfgs"), 0, 1.0)
    before, ours = cell.key, Cell("xor", Method.of("lbfgs"), 0, 1.0)
    assert "package" not in ours.content
    package("all_problems", "1.6")
    assert cell.key != before


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("of_a_taken_name", "the name 'xor' is taken"),
        ("of_a_wrong_kind", "must return Problem objects, not str"),
        ("broken", "OSError: its data are missing"),
        ("absent", "AttributeError"),
    ],
)
def test_a_package_that_fails_is_named_and_left_out(package, function, words):
    package(function)
    with pytest.warns(UserWarning, match=rf"the problems of line-problems 1.5 .*{words}"):
        names = problems.names()
    assert "plain-line" not in names
    assert problems.get("xor").summary != "not ours"
