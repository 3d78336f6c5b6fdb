"""The examples of the estimators run as a user would run them, draw a picture, and set no hyperparameter."""

import ast
import pathlib
import runpy

import matplotlib.pyplot as plt
import pytest

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
NAMES = ["regression", "classification", "calibration"]


@pytest.mark.parametrize("name", NAMES)
def test_the_example_runs_and_draws(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    plt.close("all")
    assert capsys.readouterr().out
    assert (tmp_path / f"{name}.png").stat().st_size > 5000


@pytest.mark.parametrize("name", NAMES)
def test_the_example_sets_no_hyperparameter(name):
    tree = ast.parse((EXAMPLES / f"{name}.py").read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    ours = [call for call in calls if call.func.id.startswith("Flow")]
    assert ours
    assert all(not call.args and not call.keywords for call in ours)
