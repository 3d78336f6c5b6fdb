"""Random solves and random damage: a result, or an error that names its cause; never anything else.

A few in the suite, always the same ones; `make fuzz` runs thousands, and prints the seed with which a failure repeats.
"""

import functools
import os

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

import stiffgrad as sg
from stiffgrad import report
from stiffgrad.estimators import TableModel

SOLVES = int(os.environ.get("FUZZ_SOLVES", "5"))
FILES = int(os.environ.get("FUZZ_FILES", "60"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))

OWN = [name for name in sg.solvers.names() if sg.solvers.solver_class(name).family == "own"]
REFUSALS = (ValueError, TypeError, MemoryError, sg.SolveError)
COLUMNS = {
    "plain": lambda n: np.linspace(-1, 1, n),
    "constant": lambda n: np.full(n, 3.0),
    "zero": lambda n: np.zeros(n),
    "tiny": lambda n: 1e-150 * np.linspace(1, 2, n),
    "huge": lambda n: 1e150 * np.linspace(1, 2, n),
    "large": lambda n: 1e8 + np.linspace(0, 1, n),
}


def options(name):
    """Random options of a solver, good and bad."""
    known = {
        "rtol": st.sampled_from([1e-12, 1e-4, 1.0]),
        "atol": st.sampled_from([1e-12, 1e-4, 1.0]),
        "jacobian": st.sampled_from(["autodiff", "finite-difference", "gauss-newton"]),
        "learning_rate": st.sampled_from([1e-6, 0.1, 1e3]),
        "curvature": st.sampled_from(["auto", "hessian", "gauss-newton"]),
        "max_order": st.sampled_from([1, 2, 9]),
        "path": st.booleans(),
        "batch_size": st.sampled_from([None, 1, 2]),
        "pairs": st.sampled_from([0, 40]),
        "memory": st.sampled_from([1, 10]),
    }
    import dataclasses

    fields = {field.name for field in dataclasses.fields(sg.solvers.solver_class(name))}
    return st.fixed_dictionaries({}, optional={key: known[key] for key in sorted(fields & set(known))})


@st.composite
def solves(draw):
    """A problem with data as they may come, a solver with options, and budgets."""
    name = draw(st.sampled_from(sg.solvers.names()))
    samples = draw(st.sampled_from([1, 2, 9]))
    loss = draw(st.sampled_from(["squared", "cross_entropy", "binary_cross_entropy"]))
    columns = draw(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=2, max_size=2))
    target = draw(st.sampled_from(sorted(COLUMNS)))
    return {
        "name": name,
        "options": draw(options(name)),
        "samples": samples,
        "loss": loss,
        "columns": columns,
        "target": target,
        "dtype": draw(st.sampled_from(["float64", "float64", "float32"])),
        "decay": draw(st.sampled_from([0.0, 1e-3])),
        "until": {"steps": 6, "wall_seconds": 2.0, "loss": draw(st.sampled_from([None, 1e-3]))},
    }


def problem(case):
    X = np.stack([COLUMNS[column](case["samples"]) for column in case["columns"]], axis=1)
    apply, params = sg.mlp([2, 3, 2])
    if case["loss"] == "cross_entropy":
        y = np.arange(case["samples"]) % 2
    elif case["loss"] == "squared":
        y = np.stack([COLUMNS[case["target"]](case["samples"])] * 2, axis=1)
    else:
        y = np.stack([np.arange(case["samples"]) % 2] * 2, axis=1)
    return sg.supervised(apply, params, X, y, case["loss"], weight_decay=case["decay"], dtype=case["dtype"])


@seed(SEED)
@settings(
    max_examples=SOLVES,
    derandomize=False,
    database=None,
    deadline=None,
    phases=[Phase.generate],  # to shrink a failure would compile hundreds of others
    suppress_health_check=list(HealthCheck),
)
@given(case=solves())
@pytest.mark.filterwarnings("ignore:column .* of X has mean:UserWarning", "ignore:y has mean:UserWarning")
def test_a_solve_gives_a_result_or_names_what_is_wrong(case):
    try:
        objective = problem(case)
        solver = sg.solvers.create(case["name"], **case["options"])
        with np.errstate(all="ignore"):
            solution = sg.solve(objective, solver, until=sg.Until(**case["until"]), throw=False)
    except REFUSALS as error:
        refusal = str(error)
    else:
        check(case, objective, solution)
        return
    assert len(refusal) > 20, case
    assert "Traceback" not in refusal


def check(case, objective, solution):
    """What holds for every solution."""
    start = float(objective.value(objective.w0))
    assert solution.w.shape == (objective.size,)
    assert solution.w.dtype == case["dtype"]
    assert solution.message.startswith(case["name"]), solution.message
    assert len(solution.message) < 1000
    if solution.outcome is not sg.Outcome.DIVERGED:
        assert np.isfinite(solution.loss), (case, solution.message)
        assert np.all(np.isfinite(solution.w))
    if case["name"] in OWN and case["name"] != "chebyshev" and not case["options"].get("path") and np.isfinite(start):
        assert solution.loss <= start * (1 + 1e-6) + 1e-12, (case, solution.message)
    if solution.outcome is sg.Outcome.OUT_OF_STEPS:
        assert solution.statistics.steps >= 6
    for count in ("steps", "presentations"):
        column = solution.trace[count]
        assert np.all(np.diff(column[np.isfinite(column)]) >= 0)


# ---- files


@functools.cache
def _whole():
    """One good file of each kind, as bytes."""
    import json
    import pathlib
    import tempfile

    from stiffgrad.laboratory.cells import Cell, Method, failed_cell

    folder = pathlib.Path(tempfile.mkdtemp())
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=30), "c": rng.choice(["x", "y"], 30)})
    TableModel.fit(frame.assign(y=frame["a"]), "y").save(folder / "model")
    sg.solve(bowl(), "adam", until=sg.Until(steps=3), checkpoint=folder / "checkpoint").save(folder / "solution")
    cell = json.dumps(failed_cell(Cell("xor", Method.of("vode"), 0, 4.0), "x", 0.1)).encode()
    table = frame.to_csv(index=False).encode()
    files = {kind: (folder / kind).read_bytes() for kind in ("model", "checkpoint", "solution")}
    return {**files, "cell": cell, "table": table}


def bowl():
    return sg.minimise(lambda w: (w**2).sum(), np.ones(2))


def _read_table(path):
    from stiffgrad.estimators import _csv
    from stiffgrad.estimators._table import Columns

    frame, _ = _csv.read(path)
    columns, _ = Columns.of(frame)
    assert np.all(np.isfinite(columns.encode(frame)))


READERS = {
    "model": TableModel.load,
    "checkpoint": lambda path: sg.solve(bowl(), "adam", until=sg.Until(steps=3), checkpoint=path),
    "solution": sg.load,
    "cell": lambda path: report.read(path.parent),
    "table": _read_table,
}


@pytest.mark.parametrize("kind", sorted(READERS))
def test_a_damaged_file_is_read_or_refused(kind, tmp_path):
    # Bytes flipped, cut out, doubled and put in, with a generator of its own: the files are too long for hypothesis.
    rng = np.random.default_rng(SEED)
    whole, path = _whole()[kind], tmp_path / f"file{'.json' if kind == 'cell' else ''}"
    refused, strange = 0, []
    for _ in range(FILES):
        data = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            at, length = int(rng.integers(len(data))), int(rng.integers(1, 40))
            what = rng.integers(4)
            if what == 0:
                data[at] ^= 1 << int(rng.integers(8))
            elif what == 1:
                del data[at : at + length]
            elif what == 2:
                data[at:at] = data[at : at + length]
            else:
                data[at : at + length] = rng.bytes(length)
        path.write_bytes(bytes(data))
        try:
            READERS[kind](path)
        except (ValueError, TypeError) as error:
            refused += 1
            strange += [] if str(path) in str(error) or kind in ("table", "cell") else [str(error)]
    assert not strange
    assert refused > FILES // 10
