"""Comparisons: equal starts, one whole file a cell, resumed runs, and failures that are results."""

import json
import os
import pathlib
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest

from stiffgrad._types import Outcome
from stiffgrad.laboratory import cells, problems, schedule, snapshots, tables, tuning
from stiffgrad.laboratory import compare as comparison
from stiffgrad.laboratory.cells import Cell, Method
from stiffgrad.laboratory.compare import compare
from stiffgrad.laboratory.problems import Target
from stiffgrad.laboratory.statistics import thinned
from stiffgrad.laboratory.store import read_json, write_json
from stiffgrad.laboratory.workers import Crashed, Worker
from stiffgrad.run.trace import Trace

KEYS = {
    "key", "problem", "solver", "options", "seed", "seconds", "outcome", "success", "message", "loss", "gradient_norm",
    "wall_seconds", "compile_seconds", "total_seconds", "statistics", "trace", "targets", "scores", "score_name",
    "learning_rate", "tuning_seconds", "environment",
}  # fmt: skip


def run(out: pathlib.Path, solvers: tuple[Any, ...] = ("lsoda",), seeds: int = 1) -> list[dict[str, Any]]:
    return compare(["xor"], solvers, seeds, 5.0, out, isolated=False, target="easy")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    out = tmp_path_factory.mktemp("results")
    compare(["xor"], ["lsoda", ("lsoda", {"rtol": 1e-5})], 2, 5.0, out, isolated=False)
    return out


def test_a_cell_holds_what_the_report_reads(folder: pathlib.Path) -> None:
    results = tables.read(folder)
    assert len(results) == 4
    for result in results:
        assert set(result) >= KEYS
        assert result["outcome"] == "TARGET"
        assert result["success"]
        assert (folder / f"{result['key']}.json").exists()
        assert len({len(column) for column in result["trace"].values()}) == 1
        assert result["statistics"]["steps"] == result["trace"]["steps"][-1]


def test_targets_are_the_first_row_at_or_below(folder: pathlib.Path) -> None:
    for result in tables.read(folder):
        loss, wall = (np.array(result["trace"][name], float) for name in ("loss", "wall_seconds"))
        for level, target in problems.get("xor").targets.items():
            met = result["targets"][level]
            assert met["loss"] == target.value
            assert met["wall_seconds"] == wall[np.argmax(loss <= target.value)]


def test_every_method_starts_at_the_same_point(folder: pathlib.Path) -> None:
    for seed in (0, 1):
        losses = [r["trace"]["loss"][0] for r in tables.read(folder) if r["seed"] == seed]
        objective = problems.get("xor").objective(seed)
        assert losses == [float(objective.value(objective.w0))] * 2


def test_scores_come_from_the_weights_of_the_run(folder: pathlib.Path) -> None:
    for result in tables.read(folder):
        scores = result["scores"]
        assert [s["steps"] for s in scores] == sorted(s["steps"] for s in scores)
        assert scores[-1]["loss"] == result["trace"]["loss"][-1]
        assert scores[-1]["train"] == 1.0  # a loss of 1e-5 leaves no bit wrong
        assert {s["test"] for s in scores} == {None}


def test_a_second_run_does_nothing(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}

    def forbidden(*_: Any) -> None:
        raise AssertionError("nothing was missing")

    monkeypatch.setattr(comparison, "run_cell", forbidden)
    results = compare(["xor"], ["lsoda", ("lsoda", {"rtol": 1e-5})], 2, 5.0, folder, isolated=False)
    assert len(results) == 4
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_an_interrupted_comparison_continues(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Cell] = []

    def interrupted(cell: Cell, *_: Any) -> dict[str, Any]:
        calls.append(cell)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return cells.run_cell(cell)

    monkeypatch.setattr(comparison, "run_cell", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, seeds=3)
    assert len(list(tmp_path.glob("*.json"))) == 1
    assert len(run(tmp_path, seeds=3)) == 3
    assert [cell.seed for cell in calls] == [0, 1, 1, 2]


def test_a_damaged_file_is_made_again(tmp_path: pathlib.Path) -> None:
    (first,) = run(tmp_path)
    path = tmp_path / f"{first['key']}.json"
    path.write_text(path.read_text()[:100])
    (second,) = run(tmp_path)
    assert second["key"] == first["key"]
    assert read_json(path) == second


def test_a_file_is_written_whole_or_not_at_all(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "result.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": float("nan")})
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_json(path, {"a": 2})
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"]
    assert json.loads(path.read_text()) == {"a": 1}


def test_a_failure_is_a_result(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise FloatingPointError("overflow in step 7")

    monkeypatch.setattr(cells, "solve", broken)
    (result,) = run(tmp_path)
    assert result["outcome"] == "FAILED"
    assert not result["success"]
    assert "FloatingPointError: overflow in step 7" in result["message"]
    assert set(result) >= KEYS
    assert {level["wall_seconds"] for level in result["targets"].values()} == {None}
    monkeypatch.undo()
    assert run(tmp_path) == [result]  # and is not tried again


def test_out_of_time_is_a_result(tmp_path: pathlib.Path) -> None:
    (result,) = compare(["xor"], ["lsoda"], 1, 1e-6, tmp_path, isolated=False)
    assert result["outcome"] == Outcome.OUT_OF_TIME.name
    assert not result["success"]


def test_a_crash_and_a_hang_are_seen_and_the_next_call_works() -> None:
    with Worker() as worker:
        with pytest.raises(Crashed, match="process died"):
            worker.run(os._exit, 3)
        with pytest.raises(Crashed, match=r"within 0\.5 s"):
            worker.run(time.sleep, 60, timeout_seconds=0.5)
        assert worker.run(divmod, 7, 3) == (2, 1)
    with pytest.raises(Crashed, match="stopped"):
        worker.run(divmod, 7, 3)


def test_calls_travel_by_value_and_raise_here() -> None:
    offset = 3
    with Worker() as worker:
        assert worker.run(lambda x: x + offset, 4) == 7
        with pytest.raises(ZeroDivisionError):
            worker.run(lambda: 1 // 0)
        with pytest.raises(RuntimeError, match="lock"):  # a result that cannot travel
            worker.run(threading.Lock)
        assert worker.run(print, "not an answer") is None


def _gone(pid: int) -> bool:
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="looks into /proc")
def test_a_worker_ends_with_its_parent_however_that_ends() -> None:
    # The parent is killed while its worker sleeps inside a call, as compare would be.
    script = """if True:
        import threading, time
        from stiffgrad.laboratory.workers import Worker
        worker = Worker()
        worker.run(abs, -1)
        threading.Thread(target=worker.run, args=(time.sleep, 300), daemon=True).start()
        print(worker.pid, flush=True)
        time.sleep(300)
    """
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    assert not _gone(worker)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 60
    while not _gone(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _gone(worker)


def test_a_crashed_task_leaves_a_result(tmp_path: pathlib.Path) -> None:
    cell = Cell("xor", Method.of("lsoda"), 0, 1.0)

    def crashed(reason: str, seconds: float) -> dict[str, Any]:
        return cells.failed_cell(cell, reason, seconds)

    task = schedule.Job("a crash", tmp_path / "crash.json", os._exit, lambda: (3,), crashed, 1.0)
    fine = schedule.Job("fine", tmp_path / "fine.json", divmod, lambda: (7, 3), crashed, 1.0)
    schedule.run_all([task, fine], jobs=1)
    result = read_json(tmp_path / "crash.json")
    assert result is not None
    assert result["outcome"] == "FAILED"
    assert "process died" in result["message"]
    assert json.loads((tmp_path / "fine.json").read_text()) == [2, 1]


def test_learning_rates_are_tuned_on_other_starts_and_once(tmp_path: pathlib.Path) -> None:
    (result,) = compare(["xor"], ["sgd"], 1, 0.5, tmp_path, isolated=False)
    assert result["learning_rate"] in tuning.RATES
    assert result["tuning_seconds"] > 0
    assert result["options"] == {}
    (path,) = (tmp_path / "tuning").glob("*.json")
    found = json.loads(path.read_text())
    assert found["learning_rate"] == result["learning_rate"]
    assert {run["seed"] for run in found["runs"]} == {1000, 1001}
    assert sorted({run["learning_rate"] for run in found["runs"]}, reverse=True) == list(tuning.RATES)
    finals = [run for run in found["runs"] if run["seed"] == 1001]
    assert len(finals) == tuning.FINALISTS
    if not any(run["reached"] for run in finals):
        assert min(finals, key=lambda run: run["loss"])["learning_rate"] == result["learning_rate"]
    assert not tuning.tunable(Method.of(("sgd", {"learning_rate": 0.1})))


def test_keys_are_stable_and_tell_every_part_apart() -> None:
    cell = Cell("xor", Method.of("lsoda"), 0, 1.0)
    others = [
        Cell("encoder", Method.of("lsoda"), 0, 1.0),
        Cell("xor", Method.of("vode"), 0, 1.0),
        Cell("xor", Method.of(("lsoda", {"rtol": 1e-3})), 0, 1.0),
        Cell("xor", Method.of("lsoda"), 1, 1.0),
        Cell("xor", Method.of("lsoda"), 0, 2.0),
        Cell("xor", Method.of("lsoda"), 0, 1.0, "easy"),
    ]
    assert len({cell.key, *(other.key for other in others)}) == 7
    # Targets that are only watched change no run.
    assert Cell("xor", Method.of("lsoda"), 0, 1.0, watched={"low": Target(loss=1e-2)}).key == cell.key
    with Worker() as worker:  # hashes of strings differ between processes: keys must not
        assert worker.run(getattr, cell, "key") == cell.key


def test_keys_depend_on_protocol_and_code(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Cell("xor", Method.of("lsoda"), 0, 1.0)
    keys = [cell.key]
    monkeypatch.setattr(cells, "PROTOCOL", cells.PROTOCOL + 1)
    keys.append(cell.key)
    monkeypatch.setattr(cells, "code", lambda: "other code")
    keys.append(cell.key)
    assert len(set(keys)) == 3


def test_a_target_met_after_the_budget_is_missed() -> None:
    cell = Cell("xor", Method.of("lsoda"), 0, 1.0)
    late = {name: np.array([0.0, 1.0, 2.0]) for name in ("presentations", "steps", "rhs_evaluations")}
    jacobians = {"jacobian_evaluations": np.full(3, np.nan)}
    trace = {"loss": np.array([1.0, 2e-2, 1e-6]), "wall_seconds": np.array([0.0, 0.9, 1.1]), **late, **jacobians}
    targets = cells._traced(cell, Trace(trace))["targets"]
    assert targets["easy"]["steps"] == 1.0
    assert targets["easy"]["wall_seconds"] == 0.9
    assert targets["deep"]["wall_seconds"] is targets["deep"]["steps"] is None


def test_iterations_of_long_runs_are_exact() -> None:
    # 20,000 iterations: more rows than a trace keeps in its file, and than `solve` keeps at all.
    target = Target(loss=0.0)
    watched = {"0.1249": Target(loss=0.1249)}
    method = Method.of(("sgd", {"learning_rate": 0.05}))
    result = cells.run_cell(Cell("xor", method, 0, 2.0, target, watched=watched))
    objective = problems.get("xor").objective(0)
    w = np.asarray(objective.w0)
    loss, slope = objective.value_and_gradient(w)
    count = 0
    while loss > 0.1249:
        w = w - 0.05 * np.asarray(slope)
        loss, slope = objective.value_and_gradient(w)
        count += 1
    assert result["targets"]["0.1249"]["steps"] == count
    assert result["statistics"]["steps"] > 4096
    assert len(result["trace"]["loss"]) <= 410


def test_methods_take_turns() -> None:
    planned = comparison.plan(["xor", "encoder"], ["lsoda", "vode"], 2, 1.0)
    order = [(cell.problem, cell.seed, cell.method.solver) for cell in planned]
    assert order == [(p, s, m) for p in ("xor", "encoder") for s in (0, 1) for m in ("lsoda", "vode")]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"problems": ["nope"]}, ValueError, "problem='nope' is unknown"),
        ({"problems": []}, ValueError, "problems is empty"),
        ({"solvers": ["nope"]}, ValueError, "solver='nope' is unknown"),
        ({"solvers": []}, ValueError, "solvers is empty"),
        ({"solvers": [("lsoda", {"nope": 1})]}, TypeError, "has no option nope"),
        ({"seeds": 0}, ValueError, "seeds=0 must be at least 1"),
        ({"seeds": [-1]}, ValueError, "seeds="),
        ({"seconds": -1.0}, ValueError, "seconds=-1.0"),
        ({"seconds": float("nan")}, ValueError, "seconds=nan"),
        ({"target": "deepest"}, ValueError, "target='deepest'"),
        ({"jobs": 0}, ValueError, "jobs=0"),
        ({"jobs": 2, "isolated": False}, ValueError, "jobs=2"),
    ],
)
def test_bad_input_is_refused_before_any_work(
    change: dict[str, Any], error: type[Exception], message: str, tmp_path: pathlib.Path
) -> None:
    out = tmp_path / "never made"
    arguments: dict[str, Any] = {"problems": ["xor"], "solvers": ["lsoda"], "seeds": 1, "seconds": 1.0, "out": out}
    with pytest.raises(error, match=message):
        compare(**{**arguments, **change})
    assert not out.exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ValueError, match="cannot be made"):
        compare(["xor"], ["lsoda"], 1, 1.0, file)


def test_thinning_keeps_first_last_best_and_hits() -> None:
    loss = np.linspace(2.0, 1.0, 10_000)
    loss[6_543] = 0.5
    rows = thinned(loss, [77, 9_000])
    assert {0, 77, 6_543, 9_000, 9_999} <= set(rows.tolist())
    assert len(rows) <= 400
    assert np.all(np.diff(rows) > 0)


def test_snapshots_store_references_and_stay_few() -> None:
    kept = snapshots.Snapshots()
    for step in range(5_000):
        row = {"loss": 0.9**step, "wall_seconds": 0.001 * step, "steps": float(step)}
        kept(snapshots.Step(row, np.full(1, step), None))  # type: ignore[arg-type]  # the objective is not looked at
    assert len(kept._kept) <= snapshots.MAX_KEPT + 1
    assert kept._last is not None
    assert kept._last[0]["steps"] == 4_999
