"""A checkpoint: saved at the end and as the run goes, continued from, refused where it does not fit."""

import numpy as np
import pytest

import stiffgrad as sg
from stiffgrad.run import checkpoint


def objective():
    return sg.minimise(lambda w: 100 * (w[1] - w[0] ** 2) ** 2 + (1 - w[0]) ** 2, np.array([-1.2, 1.0]))


def test_an_interrupted_run_continues_where_it_was(tmp_path):
    file = tmp_path / "run.npz"
    first = sg.solve(objective(), "lsoda", until=sg.Until(steps=30), checkpoint=file)
    assert np.array_equal(np.load(file)["w"], first.w)
    second = sg.solve(objective(), "lsoda", until=sg.Until(loss=1e-6), checkpoint=file)
    assert second.trace["loss"][0] == pytest.approx(first.loss)
    assert second.outcome is sg.Outcome.TARGET
    assert not list(tmp_path.glob("*.partial"))


def test_written_while_running(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "EVERY_SECONDS", 0.0)
    file, seen = tmp_path / "run.npz", []
    sg.solve(
        objective(), "bdf", until=sg.Until(steps=5), checkpoint=file, callback=lambda step: seen.append(file.exists())
    )
    assert all(seen[1:])


def test_a_foreign_file_is_refused(tmp_path):
    file = tmp_path / "run.npz"
    file.write_text("not a checkpoint")
    with pytest.raises(ValueError, match="checkpoint"):
        sg.solve(objective(), "lsoda", checkpoint=file)
    np.savez(file, w=np.zeros(5))
    with pytest.raises(ValueError, match="checkpoint"):
        sg.solve(objective(), "lsoda", checkpoint=file)


def test_a_missing_folder_is_refused_at_once(tmp_path):
    with pytest.raises(ValueError, match="folder"):
        sg.solve(objective(), "lsoda", checkpoint=tmp_path / "missing" / "run.npz")
