"""Checkpoints: a run that goes on from its file equals one that never stopped; nothing good is ever lost."""

import os
import pathlib
import zipfile

import numpy as np
import pytest

import stiffgrad as sg
from stiffgrad import Checkpoint, _archive

# One of each kind of state: our own, moments, mini-batches with a random key, Diffrax's controller, Optimistix's.
EXACT = [
    ("auto", {}),
    ("rosenbrock", {}),
    ("exponential", {}),
    ("chebyshev", {}),
    ("quasi-newton", {}),
    ("adam", {}),
    ("nesterov", {"batch_size": 7}),
    ("tsit5", {}),
    ("optimistix-bfgs", {}),
    ("levenberg-marquardt", {}),
]
AFRESH = ["lsoda", "bdf", "cvode", "lbfgs", "dopri5", "minpack"]


def sine(seed=0, points=30, dtype="float64"):
    x = np.linspace(-1, 1, points)[:, None]
    apply, params = sg.mlp([1, 8, 1], seed=seed)
    return sg.supervised(apply, params, x, np.sin(3 * x), dtype=dtype)


def valley():
    return sg.minimise(lambda w: 100 * (w[1] - w[0] ** 2) ** 2 + (1 - w[0]) ** 2, np.array([-1.2, 1.0]))


@pytest.mark.parametrize(("name", "options"), EXACT, ids=[name for name, _ in EXACT])
def test_a_resumed_run_equals_one_that_never_stopped(name, options, tmp_path):
    file, solver = tmp_path / "run.npz", sg.solvers.create(name, **options)
    whole = sg.solve(sine(), solver, until=sg.Until(steps=20))
    first = sg.solve(sine(), solver, until=sg.Until(steps=8), checkpoint=file)
    second = sg.solve(sine(), solver, until=sg.Until(steps=20), checkpoint=file)
    assert "went on exactly from run.npz" in second.message
    assert "exactly" not in first.message
    assert np.array_equal(second.w, whole.w)
    assert second.statistics == whole.statistics
    assert list(second.trace) == list(whole.trace)
    for column in set(whole.trace) - {"wall_seconds"}:
        assert np.array_equal(second.trace[column], whole.trace[column], equal_nan=True), column
    assert second.wall_seconds > first.wall_seconds


@pytest.mark.parametrize("name", AFRESH)
def test_other_codes_start_afresh_at_the_weights_and_say_so(name, tmp_path):
    file = tmp_path / "run.npz"
    first = sg.solve(sine(), name, until=sg.Until(steps=10), checkpoint=file)
    second = sg.solve(sine(), name, until=sg.Until(steps=25), checkpoint=file)
    assert "started afresh at the weights of run.npz" in second.message
    steps = second.trace["steps"]
    assert steps[-1] == 25 == second.statistics.steps  # budgets and counts go on
    assert second.statistics.presentations > first.statistics.presentations
    assert second.trace["loss"][10] == pytest.approx(first.loss, rel=0.05)
    assert second.loss < first.loss


def test_budgets_go_on(tmp_path):
    file = tmp_path / "run.npz"
    for name in ("rosenbrock", "bdf"):
        sg.solve(valley(), name, until=sg.Until(steps=6), checkpoint=file.with_name(name))
        again = sg.solve(valley(), name, until=sg.Until(steps=6), checkpoint=file.with_name(name))
        assert again.outcome is sg.Outcome.OUT_OF_STEPS
        assert again.statistics.steps == 6


def test_a_run_that_ended_by_itself_has_ended(tmp_path):
    file, until = tmp_path / "run.npz", sg.Until(loss=-1.0)
    first = sg.solve(valley(), "rosenbrock", until=until, checkpoint=file)
    again = sg.solve(valley(), "rosenbrock", until=until, checkpoint=file)
    assert first.outcome is again.outcome
    assert np.array_equal(first.w, again.w)
    assert first.statistics == again.statistics


def test_float32_and_then_float64_both_go_on(tmp_path):
    file, until = tmp_path / "run.npz", sg.Until(loss=-1.0, steps=150)
    whole = sg.solve(sine(dtype="float32"), "rosenbrock", until=until, promote=True)
    first = sg.solve(sine(dtype="float32"), "rosenbrock", until=until, promote=True, checkpoint=file)
    again = sg.solve(sine(dtype="float32"), "rosenbrock", until=until, promote=True, checkpoint=file)
    assert np.array_equal(whole.w, first.w)
    assert np.array_equal(whole.w, again.w)
    assert again.statistics == whole.statistics


def test_the_best_validation_survives(tmp_path):
    file, score = tmp_path / "run.npz", lambda params: abs(float(params[0]))
    until = [sg.Until(steps=steps) for steps in (12, 16)]
    first = sg.solve(valley(), "rosenbrock", until=until[0], validation=score, checkpoint=file)
    again = sg.solve(valley(), "rosenbrock", until=until[1], validation=score, checkpoint=file)
    whole = sg.solve(valley(), "rosenbrock", until=until[1], validation=score)
    assert np.array_equal(again.best_params, whole.best_params)
    assert score(again.best_params) <= score(first.best_params)


def test_written_while_running(tmp_path):
    file, seen = tmp_path / "run.npz", []
    checkpoint = Checkpoint(file, every_seconds=0.0)
    sg.solve(
        valley(),
        "bdf",
        until=sg.Until(steps=5),
        checkpoint=checkpoint,
        callback=lambda step: seen.append(file.exists()),
    )
    assert all(seen[1:])
    assert np.array_equal(np.load(file)["w"], np.load(tmp_path / "run.npz")["w"])
    assert {path.name for path in tmp_path.iterdir()} == {"run.npz", "run.npz.previous"}


# ---- nothing good is lost


def test_a_diverging_run_replaces_nothing(tmp_path):
    file = tmp_path / "run.npz"
    good = sg.solve(sine(), "rosenbrock", until=sg.Until(steps=20), checkpoint=file)
    never = sg.Checkpoint(file, every_seconds=1e6)  # else a slow machine saves it where it starts, at the same weights
    with pytest.raises(sg.SolveError):
        sg.solve(sine(), sg.solvers.create("sgd", learning_rate=1e6), until=sg.Until(steps=400), checkpoint=never)
    assert np.array_equal(np.load(file)["w"], good.w)
    assert sg.solve(sine(), "rosenbrock", until=sg.Until(steps=20), checkpoint=file).loss == good.loss


def test_a_worse_run_keeps_the_best_weights(tmp_path):
    file = tmp_path / "run.npz"
    good = sg.solve(sine(), "rosenbrock", until=sg.Until(steps=20), checkpoint=file)
    worse = sg.solve(sine(), sg.solvers.create("adam", learning_rate=0.05), until=sg.Until(steps=22), checkpoint=file)
    assert good.loss < worse.loss < good.trace["loss"][0]
    assert "which rosenbrock wrote, at its best weights" in worse.message
    assert np.array_equal(np.load(file)["best_w"], good.w)
    back = sg.solve(sine(), "rosenbrock", until=sg.Until(steps=23), checkpoint=file)
    assert back.loss <= good.loss


def test_the_one_before_is_kept(tmp_path):
    file = tmp_path / "run.npz"
    first = sg.solve(sine(), "rosenbrock", until=sg.Until(steps=5), checkpoint=file)
    sg.solve(sine(), "rosenbrock", until=sg.Until(steps=9), checkpoint=file)
    assert np.array_equal(np.load(f"{file}.previous")["w"], first.w)
    file.unlink()
    again = sg.solve(sine(), "rosenbrock", until=sg.Until(steps=5), checkpoint=file)
    assert np.array_equal(again.w, first.w)


def test_a_full_disk_costs_the_file_and_not_the_run(tmp_path, monkeypatch):
    file = tmp_path / "run.npz"
    good = sg.solve(sine(), "rosenbrock", until=sg.Until(steps=5), checkpoint=file)

    def full(path, settings, arrays):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(_archive, "write", full)
    with pytest.warns(UserWarning, match=r"run.npz could not be written: No space left"):
        more = sg.solve(sine(), "rosenbrock", until=sg.Until(steps=9), checkpoint=file)
    assert more.loss < good.loss
    assert f"could not write its checkpoint {file}: No space left on device; the last good one stays" in more.message
    assert np.array_equal(np.load(file)["w"], good.w)


# ---- what is refused, by name, before any work


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (lambda: sine(points=31), "data, losses or weight decay"),
        (lambda: sine(seed=1), "began at other weights"),
        (lambda: sine(dtype="float32"), "another number type"),
        (valley, "holds 25 weights, and this problem has 2"),
        (lambda: sg.minimise(lambda w: (w**2).sum(), np.ones(25)), "another structure"),
    ],
)
def test_another_problem_is_refused(other, words, tmp_path):
    file = tmp_path / "run.npz"
    sg.solve(sine(), "rosenbrock", until=sg.Until(steps=2), checkpoint=file)
    before = file.read_bytes()
    with pytest.raises(ValueError, match=f"checkpoint=.*run.npz.*{words}.*give another path"):
        sg.solve(other(), "rosenbrock", checkpoint=file)
    assert file.read_bytes() == before


def test_another_function_is_refused(tmp_path):
    file = tmp_path / "run.npz"
    for function in (lambda w: (w**2).sum(), lambda w: (w**4).sum()):
        objective = sg.minimise(function, np.ones(2))
        if file.exists():
            with pytest.raises(ValueError, match="its function differs"):
                sg.solve(objective, "rosenbrock", checkpoint=file)
        else:
            sg.solve(objective, "rosenbrock", until=sg.Until(steps=1), checkpoint=file)


def rewritten(file, **changed):
    """The file with other settings or arrays."""
    import json

    with zipfile.ZipFile(file) as old:
        entries = {name: old.read(name) for name in old.namelist()}
    settings = json.loads(entries["settings.json"]) | changed
    with zipfile.ZipFile(file, "w") as new:
        for name, data in entries.items():
            new.writestr(name, json.dumps(settings) if name == "settings.json" else data)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda file: file.write_bytes(b""), "is damaged"),
        (lambda file: file.write_text("not a checkpoint"), "is damaged"),
        (lambda file: file.write_bytes(file.read_bytes()[:-200]), "is damaged"),
        (lambda file: np.savez(file, w=np.zeros(25)), "no 'settings.json'"),
        (lambda file: np.savez(file, w=np.zeros(25, complex)), "is damaged"),
        (lambda file: rewritten(file, version=7), "it has version 7, this stiffgrad reads version 2"),
        (lambda file: rewritten(file, loss=0.0), "checksum"),
        (lambda file: rewritten(file, shapes={"w": [10**12]}), "is damaged"),
        (lambda file: rewritten(file, counts={"steps": "x"}), "steps='x'"),
        (lambda file: rewritten(file, jax=3), "'jax' is no text"),
    ],
)
def test_a_damaged_or_foreign_file_is_refused(damage, words, tmp_path):
    file = tmp_path / "run.npz"
    sg.solve(sine(), "rosenbrock", until=sg.Until(steps=2), checkpoint=file)
    damage(file)
    before = file.read_bytes()
    with pytest.raises(ValueError, match=f"checkpoint=.*run.npz.*{words}.*remove the file"):
        sg.solve(sine(), "rosenbrock", checkpoint=file)
    assert file.read_bytes() == before


def test_a_damaged_file_names_the_one_before(tmp_path):
    file = tmp_path / "run.npz"
    for steps in (2, 4):
        sg.solve(sine(), "rosenbrock", until=sg.Until(steps=steps), checkpoint=file)
    file.write_bytes(b"")
    with pytest.raises(ValueError, match=r"the run goes on from the one before it, run.npz.previous"):
        sg.solve(sine(), "rosenbrock", checkpoint=file)


def test_a_place_that_cannot_be_written_is_refused_at_once(tmp_path):
    for path in (tmp_path / "missing" / "run.npz", tmp_path, "/dev/null"):
        with pytest.raises(ValueError, match=r"checkpoint=.*folder"):
            sg.solve(valley(), "lsoda", checkpoint=path)
    with pytest.raises(TypeError, match="checkpoint=3"):
        sg.solve(valley(), "lsoda", checkpoint=3)
    with pytest.raises(ValueError, match="every_seconds=-1"):
        Checkpoint("run.npz", every_seconds=-1)


def test_links_are_followed_to_the_file_and_never_by_a_temporary_name(tmp_path):
    (tmp_path / "real").mkdir()
    target, link, victim = tmp_path / "real" / "run.npz", tmp_path / "run.npz", tmp_path / "victim"
    link.symlink_to(target)
    victim.write_text("precious")
    (target.with_name("run.npz.partial")).symlink_to(victim)
    sg.solve(valley(), "bdf", until=sg.Until(steps=3), checkpoint=link)
    assert link.is_symlink()
    assert target.is_file()
    assert victim.read_text() == "precious"


def test_what_a_killed_writer_left_is_swept(tmp_path):
    import socket

    file, host = tmp_path / "run.npz", socket.gethostname()
    dead, alive = 2**22 - 1, os.getpid()
    parts = [pathlib.Path(tmp_path, f".run.npz.{host}.{process}.0.part") for process in (dead, alive)]
    for part in parts:
        part.write_text("half")
    sg.solve(valley(), "bdf", until=sg.Until(steps=1), checkpoint=file)
    assert [part.exists() for part in parts] == [False, True]
