"""What a run leaves behind: counts that are None rather than 0, and a trace that is thinned without losing its ends."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stiffgrad import Statistics, Trace
from stiffgrad.run.trace import COLUMNS, COUNTS, TraceBuilder


def build(losses, max_rows):
    builder = TraceBuilder(max_rows)
    for step, loss in enumerate(losses):
        builder.append({"steps": float(step), "loss": loss})
    return builder.build()


@given(losses=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200), max_rows=st.integers(4, 40))
def test_thinning_keeps_first_last_and_best_in_order(losses, max_rows):
    trace = build(losses, max_rows)
    steps = trace["steps"]
    assert steps[0] == 0
    assert steps[-1] == len(losses) - 1
    assert trace["loss"].min() == min(losses)
    assert np.all(np.diff(steps) > 0)
    assert len(trace) <= max_rows + 2
    np.testing.assert_array_equal(trace["loss"], np.array(losses)[steps.astype(int)])


@given(length=st.integers(1, 40))
def test_short_runs_are_not_thinned(length):
    assert build([0.0] * length, 40)["steps"].tolist() == list(range(length))


def test_thinned_rows_are_spread_evenly():
    steps = build(np.arange(1000.0), 50)["steps"][:-1]
    assert np.ptp(np.diff(steps)) == 0
    assert 25 <= len(steps) <= 50


def test_a_chunk_adds_what_its_rows_add():
    one, other = TraceBuilder(8), TraceBuilder(8)
    columns = {"steps": np.arange(30.0), "loss": np.cos(np.arange(30.0))}
    one.extend(columns)
    for step, loss in zip(*columns.values()):
        other.append({"steps": step, "loss": loss})
    pd.testing.assert_frame_equal(one.build().to_pandas(), other.build().to_pandas())
    assert one.last == {"steps": 29.0, "loss": np.cos(29.0)}


def test_the_solvers_own_row_of_the_start_replaces_the_drivers():
    builder = TraceBuilder()
    builder.append({"steps": 0.0, "loss": 1.0})
    builder.append({"steps": 0.0, "loss": 1.0, "rho": 0.5})
    builder.append({"steps": 1.0, "loss": 0.5, "rho": 0.7})
    assert builder.build()["steps"].tolist() == [0.0, 1.0]
    assert builder.build()["rho"].tolist() == [0.5, 0.7]


def test_columns_that_some_rows_lack_are_nan_there():
    builder = TraceBuilder()
    builder.append({"steps": 0.0, "loss": 1.0})
    builder.append({"steps": 1.0, "loss": 0.5, "order": 2.0})
    np.testing.assert_array_equal(builder.build()["order"], [np.nan, 2.0])


def test_counts_that_nobody_knows_are_none_and_never_zero():
    statistics = Statistics.from_row({"steps": 3.0, "rejected_steps": np.nan, "rhs_evaluations": 0.0, "loss": 1.0})
    assert (statistics.steps, statistics.rejected_steps, statistics.rhs_evaluations) == (3, None, 0)
    assert statistics.factorizations is None


def test_as_a_data_frame():
    frame = Trace({"steps": np.array([0.0, 1.0]), "rejected_steps": np.array([np.nan, 2.0]), "loss": np.ones(2)})
    frame = frame.to_pandas()
    assert frame["rejected_steps"].isna().tolist() == [True, False]
    assert frame["rejected_steps"].dtype == "Int64"
    assert frame["loss"].dtype == float


def test_access():
    trace = Trace({"steps": np.array([0.0, 1.0]), "loss": np.array([2.0, 1.0])})
    assert list(trace) == ["steps", "loss"]
    assert trace.row(-1) == {"steps": 1.0, "loss": 1.0}
    assert "2 rows" in repr(trace)
    assert len(Trace({})) == 0
    with pytest.raises(KeyError, match="no column 'los'; it has steps, loss"):
        trace["los"]


def test_the_fixed_columns():
    assert COLUMNS[:6] == ("flow_time", "step_size", "order", "loss", "gradient_norm", "wall_seconds")
    assert set(COUNTS) >= {"steps", "rejected_steps", "error_test_failures", "newton_iterations", "newton_failures"}
    assert set(COUNTS) >= {"rhs_evaluations", "jacobian_evaluations", "hessian_products", "factorizations"}
    assert set(COUNTS) >= {"linear_solves", "presentations"}


@pytest.mark.parametrize("chunk", [1, 7])
def test_the_first_row_at_a_mark_is_never_thinned(chunk):
    builder = TraceBuilder(16, marks=[("loss", 0.37), ("loss", 0.83), ("gradient_norm", 0.5), ("loss", -1.0)])
    builder.append({"steps": 0.0, "loss": 0.1, "gradient_norm": 9.0})
    builder.append({"steps": 0.0, "loss": 1.0, "gradient_norm": 9.0})  # the solver's own view of the start
    for first in range(1, 1001, chunk):
        steps = np.arange(first, min(first + chunk, 1001), dtype=float)
        builder.extend({"steps": steps, "loss": 1.0 - steps / 1000, "gradient_norm": 9.0 - steps / 100})
    steps = builder.build()["steps"]
    assert {170.0, 630.0, 850.0, 1000.0} <= set(steps)
    assert len(steps) < 25
    assert np.all(np.diff(steps) > 0)
