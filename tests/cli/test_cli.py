"""The command line: lists, one line for bad input with exit code 2, and a whole small comparison."""

import pathlib

import pytest
from typer.testing import CliRunner

import stiffgrad
from stiffgrad import solvers
from stiffgrad.cli import app
from stiffgrad.laboratory import problems

runner = CliRunner()
RUN = ["compare", "--problem", "xor", "--solver", "lsoda"]


def test_lists_name_everything() -> None:
    for command, names in (("solvers", solvers.names()), ("problems", problems.names())):
        result = runner.invoke(app, [command])
        assert result.exit_code == 0, result.output
        assert [name for name in names if f" {name} " not in result.stdout] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare", "--problem", "nope", "--solver", "lsoda"], "problem='nope' is unknown"),
        (["compare", "--problem", "xor", "--solver", "nope"], "solver='nope' is unknown"),
        ([*RUN, "--seeds", "0"], "seeds=0 must be at least 1"),
        ([*RUN, "--seconds", "-3"], "seconds=-3.0 must be a positive"),
        ([*RUN, "--jobs", "0"], "jobs=0"),
        ([*RUN, "--target", "deepest"], "target='deepest'"),
        (["compare", "data.csv:x", "--solver", "lsoda"], "'data.csv:x' must be FILE.py:NAME"),
        (["bench", "--suite", "nope"], "suite='nope' is unknown"),
        (["bench", "--problem", "nope"], "problem='nope' is not in suite 'dense'"),
        (["bench", "--suite", "dense", "--problem", "digits"], "problem='digits' is not in suite 'dense'"),
        (["bench", "--problem", "sine", "--seconds", "0"], "seconds=0.0 must be a positive"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments: list[str], message: str, tmp_path: pathlib.Path) -> None:
    result = runner.invoke(app, [*arguments, "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("stiffgrad: ")
    assert message in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "out").exists()


def test_an_unwritable_folder_is_one_line_and_exit_code_2(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    result = runner.invoke(app, [*RUN, "--out", str(tmp_path / "file" / "below")])
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert "name a folder that can be written" in result.stderr


def test_the_version_is_said() -> None:
    result = runner.invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.stdout == f"stiffgrad {stiffgrad.__version__}\n"


def test_a_report_about_nothing_is_refused(tmp_path: pathlib.Path) -> None:
    result = runner.invoke(app, ["report", str(tmp_path / "missing")])
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert "missing" in result.stderr


def test_compare_then_report(tmp_path: pathlib.Path) -> None:
    arguments = [*RUN, "--seeds", "2", "--seconds", "5", "--target", "easy", "--out", str(tmp_path)]
    first = runner.invoke(app, arguments)
    assert first.exit_code == 0, first.output
    assert " 2/2 " in first.stdout
    files = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.json")}
    assert len(files) == 2
    second = runner.invoke(app, arguments)
    assert second.stdout == first.stdout
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.json")} == files
    page = runner.invoke(app, ["report", str(tmp_path)])
    assert page.exit_code == 0, page.output
    assert pathlib.Path(page.stdout.strip()).is_file()
