"""`sg.compare` and `stiffgrad compare FILE.py:NAME` on a problem of one's own."""

import jax.numpy as jnp
import numpy as np
import pytest
from typer.testing import CliRunner

import stiffgrad as sg
from stiffgrad.cli import app

UNTIL = sg.Until(loss=1e-8, wall_seconds=60)


def valley(seed):
    """A quadratic of condition 1e4: its flow is stiff."""
    start = np.random.default_rng(seed).standard_normal(2)
    return sg.minimise(lambda w: 0.5 * (w[0] ** 2 + 1e4 * w[1] ** 2), start)


FIRST = valley(0)


def shared(seed):
    return FIRST.with_start(valley(seed).w0)


@pytest.fixture(scope="module")
def found():
    return sg.compare(shared, ["lbfgs", ("bfgs", {})], seeds=2, until=UNTIL)


def test_results_are_those_of_the_solvers(found):
    table = found.table()
    assert table["solved"].tolist() == ["2/2", "2/2"]
    assert len(found.results) == 4
    first = found.results[0]
    assert first["solver"] == "lbfgs"
    alone = sg.solve(valley(0), "lbfgs", until=UNTIL)
    assert first["loss"] == alone.loss
    assert first["statistics"]["steps"] == alone.statistics.steps
    assert "2/2" in repr(found)
    assert "<table" in found._repr_html_()


def test_the_report_is_one_page_and_the_picture_has_both_solvers(found, tmp_path):
    page = found.report(tmp_path / "page.html").read_text()
    assert "shared-" in page
    assert "lbfgs" in page
    assert found.plot().axes


def test_a_second_call_does_only_what_is_missing(tmp_path):
    first = sg.compare(shared, ["lbfgs"], seeds=1, until=UNTIL, out=tmp_path)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.json")}
    again = sg.compare(shared, ["lbfgs"], seeds=2, until=UNTIL, out=tmp_path)
    assert again.results[0] == first.results[0]
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    other = sg.compare(sg.minimise(lambda w: jnp.sum(w**4), np.ones(2)), ["lbfgs"], seeds=1, until=UNTIL, out=tmp_path)
    assert other.results[0]["key"] != first.results[0]["key"]


def test_the_starts_of_an_objective_are_its_numbers_in_another_order():
    from stiffgrad._compare import _shuffled

    objective = sg.supervised(*sg.mlp([2, 5, 1]), np.ones((3, 2)), np.zeros(3))
    other = _shuffled(objective, 1)
    assert not np.array_equal(other.w0, objective.w0)
    for mine, theirs in zip(objective.unflatten(objective.w0), other.unflatten(other.w0), strict=True):
        for name in mine:
            np.testing.assert_array_equal(np.sort(mine[name], None), np.sort(theirs[name], None))


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"problem": "digits"}, TypeError, "an Objective or a function"),
        ({"problem": lambda seed: seed}, TypeError, r"problem\(0\) must return an Objective"),
        ({"until": sg.Until(steps=3)}, ValueError, "a loss or a gradient_norm"),
        ({"until": sg.Until(loss=1.0, wall_seconds=None)}, ValueError, "wall_seconds"),
        ({"solvers": []}, ValueError, "solvers is empty"),
        ({"solvers": ["newton"]}, ValueError, "newton"),
        ({"solvers": "newton"}, ValueError, "solver='newton'"),
        ({"solvers": [sg.solvers.LSODA()]}, TypeError, r"pairs \('lsoda', "),
    ],
)
def test_bad_arguments_are_named(changes, error, match):
    with pytest.raises(error, match=match):
        sg.compare(**{"problem": shared, "solvers": ["lbfgs"], "until": UNTIL, **changes})


def test_the_command_line_takes_a_file(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import numpy as np, stiffgrad as sg\nproblem = sg.minimise(lambda w: (w**2).sum(), np.ones(2))\n"
    )
    command = [
        "compare",
        f"{tmp_path}/mine.py:problem",
        "--solver",
        "lbfgs",
        "--out",
        str(tmp_path / "runs"),
        "--seeds",
        "1",
    ]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "1/1" in done.output
    done = CliRunner().invoke(app, [*command[:1], f"{tmp_path}/mine.py:nothing", *command[2:]])
    assert done.exit_code != 0
    assert "defines no 'nothing'" in done.output
