"""The benchmark: no option for our own solvers, and its arithmetic by hand."""

import csv
import json
import pathlib
from typing import Any

import numpy as np
import pytest

from stiffgrad import solvers
from stiffgrad.laboratory import bench, cells, floor, performance, problems, tables
from stiffgrad.laboratory.cells import Method
from stiffgrad.laboratory.statistics import AT_LEAST, Amount


def result(problem: str, solver: str, seed: int, seconds: float | None, **change: Any) -> dict[str, Any]:
    """A result of a run to the deep target of 10 s; None: it was missed."""
    cell = cells.Cell(problem, Method(solver), seed, 10.0)
    made = cells.failed_cell(cell, "made for a test", 10.0)
    made["targets"]["deep"].update(wall_seconds=seconds, presentations=100.0, steps=10.0)
    return {**made, "success": seconds is not None, **change}


@pytest.mark.parametrize("suite", list(bench.SUITES))
def test_no_option_is_ever_passed_to_our_solvers(
    suite: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []

    def recorded(names: Any, methods: Any, *_: Any, **__: Any) -> list[dict[str, Any]]:
        calls.extend(methods)
        (tmp_path / suite).mkdir()
        return [result(name, Method.of(method).solver, 0, 1.0) for name in names for method in methods]

    monkeypatch.setattr(bench, "compare", recorded)
    bench.bench(suite, tmp_path)
    methods = [Method.of(call) for call in calls]
    assert any(method.solver in bench.OWN for method in methods)
    assert [method for method in methods if method.solver in bench.OWN and method.options] == []
    # The options of the peers are none of ours in disguise, and nothing else sets a default for our names.
    assert all(solvers.create(name) == solvers.solver_class(name)() for name in bench.OWN if name in solvers.names())


def test_suites_name_what_exists() -> None:
    for suite in bench.SUITES.values():
        assert set(suite.problems) <= set(problems.names())
        assert set(suite.own) <= set(bench.OWN)
        for method in (*suite.own, *suite.peers):
            Method.of(method)  # raises for an unknown name or option


def test_a_miss_is_a_bound_in_the_table() -> None:
    results = [result("xor", "lsoda", seed, time) for seed, time in enumerate((1.0, None, 3.0))]
    results += [result("xor", "vode", seed, time) for seed, time in enumerate((None, None, 2.0))]
    results += [result("xor", "bdf", seed, None) for seed in range(3)]
    first, *others = tables.table(results)
    assert (first.solver, first.solved, first.total, first.deep_seconds, first.ratio) == (
        "lsoda", 2, 3, Amount(3.0), Amount(1.0),
    )  # fmt: skip
    # Two of three, and three of three starts took longer than the budget of 10 s.
    for row, count in zip(others, (1, 0), strict=True):
        assert (row.solved, row.deep_seconds, row.ratio) == (count, Amount(10.0, AT_LEAST), Amount(10 / 3, AT_LEAST))
    assert [row.solver for row in others] == ["vode", "bdf"]


def test_results_of_other_code_or_machines_are_not_divided() -> None:
    old = result("xor", "bfgs", 0, 1.0)
    for name, other in (("code", "0123456789ab"), ("cpu", "another"), ("cores", 64), ("packages", {"jax": "0.0"})):
        new = result("xor", "lbfgs", 0, 1.0)
        new["environment"] = {**new["environment"], name: other}
        for call in (tables.table, lambda results: performance.summarise(results, ["bfgs"])):
            with pytest.raises(ValueError, match="cannot be compared"):
                call([old, new])
    later = result("xor", "lbfgs", 0, 1.0)
    later["environment"] = {**later["environment"], "date": "2000-01-01", "revision": "another"}
    assert len(tables.table([old, later])) == 2  # a commit that changes nothing that runs changes no result


def test_speedups_and_their_geometric_mean() -> None:
    results = [
        result("xor", "rosenbrock", 0, 1.0),
        result("xor", "bfgs", 0, 8.0),
        result("xor", "lbfgs", 0, 4.0),
        result("encoder", "rosenbrock", 0, 2.0),
        result("encoder", "bfgs", 0, 2.0),
        result("parity4", "rosenbrock", 0, 0.5),
        result("parity4", "bfgs", 0, None),
    ]
    summary = performance.summarise(results, ["rosenbrock"])
    found = {entry.problem: (entry.peer, entry.ratio) for entry in summary.speedups}
    missed = Amount(20.0, AT_LEAST)
    assert found == {"xor": ("lbfgs", Amount(4.0)), "encoder": ("bfgs", Amount(1.0)), "parity4": (None, missed)}
    columns, rows = bench.against_table(summary, "rosenbrock")
    assert columns == ["seconds / rosenbrock's", "bfgs", "lbfgs"]
    assert rows == [("xor", "8", "4"), ("encoder", "1", "-"), ("parity4", "≥ 20", "-")]
    assert summary.means["rosenbrock"].value == pytest.approx(80.0 ** (1 / 3))
    assert summary.means["rosenbrock"].bound == AT_LEAST


def test_the_performance_profile_by_hand() -> None:
    results = [result("xor", "bfgs", 0, 1.0), result("xor", "lbfgs", 0, 3.0)]
    results += [result("xor", "bfgs", 1, None), result("xor", "lbfgs", 1, 5.0)]
    results += [result("xor", "bfgs", 2, None), result("xor", "lbfgs", 2, None)]
    found = performance.profile(results, (1.0, 2.9, 3.0, 100.0))
    np.testing.assert_allclose(found["bfgs"], [1 / 3] * 4)
    np.testing.assert_allclose(found["lbfgs"], [1 / 3, 1 / 3, 2 / 3, 2 / 3])


def test_a_part_of_a_suite_runs_and_writes_its_tables(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = bench.compare

    def here(*arguments: Any, **options: Any) -> list[dict[str, Any]]:
        return inside(*arguments, **{**options, "isolated": False})

    monkeypatch.setattr(bench, "compare", here)
    summary = bench.bench("dense", tmp_path, seeds=1, seconds=3.0, problems=["xor"], solvers=["rosenbrock", "lbfgs"])
    assert {row.solver for row in summary.rows} == {"rosenbrock", "lbfgs"}
    folder = tmp_path / "dense"
    assert json.loads((folder / "bench.json").read_text())["suite"] == "dense"
    with (folder / "bench.csv").open(newline="") as file:
        assert {row["solver"] for row in csv.DictReader(file)} == {"rosenbrock", "lbfgs"}
    assert "| xor | rosenbrock |" in (folder / "bench.md").read_text()
    assert len(list((folder / "cells").glob("*.json"))) == 2


def test_unknown_parts_are_refused() -> None:
    for arguments in (("nope",), ("dense", ["digits"]), ("dense", (), ["vode"])):
        with pytest.raises(ValueError, match=r"use one of|is not in suite"):
            bench.select(*arguments)


def test_the_floor_is_what_was_counted_at_the_measured_speed() -> None:
    measured = floor.measure(300, 200, repeats=2)
    assert min(measured) > 0
    found = floor.floor("xor", seconds=5.0)
    assert (found.rows, found.size) == (4, 13)
    assert found.jacobians > 0
    assert found.factorizations >= found.jacobians // 2
    expected = found.jacobians * found.gram_seconds + found.factorizations * found.factor_seconds
    assert found.floor_seconds == expected
    assert found.ratio > 1  # nothing is faster than its own products
