"""How far a comparison is: shown where somebody watches, and not elsewhere unless asked for."""

import io

import numpy as np
import pytest
from rich.console import Console

import stiffgrad as sg
from stiffgrad.laboratory import progress

BOWL = sg.minimise(lambda w: (w**2).sum(), np.array([3.0, 4.0]))
UNTIL = sg.Until(loss=1e-6, wall_seconds=10)


def compare(**options):
    return sg.compare(BOWL, ["lbfgs", "cg"], seeds=1, until=UNTIL, **options)


def test_off_a_terminal_it_is_quiet_unless_asked(capfd):
    compare()
    assert capfd.readouterr().err == ""
    compare(progress=True)
    lines = capfd.readouterr().err.splitlines()
    assert [line.partition(" done")[0] for line in lines] == ["comparing: 1 of 2", "comparing: 2 of 2"]
    assert "lbfgs" in lines[0]
    assert "cg" in lines[1]


@pytest.mark.parametrize(("asked", "shown"), [(None, True), (True, True), (False, False)])
def test_in_a_terminal_it_is_a_bar(monkeypatch, asked, shown):
    screen = io.StringIO()
    monkeypatch.setattr(progress, "Console", lambda stderr: Console(file=screen, force_terminal=True, width=100))
    compare(progress=asked)
    assert ("2/2" in screen.getvalue()) == shown


def test_in_a_notebook_it_is_one_line_that_changes(monkeypatch):
    display = pytest.importorskip("IPython.display")
    texts = []

    class Handle:
        def update(self, data, raw):
            texts.append(data["text/plain"])

    monkeypatch.setattr(progress, "Console", lambda stderr: Console(file=io.StringIO(), force_jupyter=True))
    monkeypatch.setattr(display, "display", lambda *data, raw, display_id: Handle())
    compare()
    assert "now " in texts[0]
    assert "lbfgs" in texts[0]
    assert texts[-1].startswith("comparing: 2 of 2 done")


def test_a_second_call_with_nothing_to_do_shows_nothing(capfd, tmp_path):
    compare(out=tmp_path)
    compare(out=tmp_path, progress=True)
    assert capfd.readouterr().err == ""
