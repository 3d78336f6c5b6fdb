"""Settings of every test: one cache of compiled programs for all runs, no display, reproducible property tests."""

import gc
import importlib
import itertools
import os
import pathlib
import types

import pytest
from hypothesis import HealthCheck, settings

collect_ignore = ["fuzz/atheris_readers.py"]  # a program of its own, which needs atheris
ROOT = pathlib.Path(__file__).resolve().parent.parent

# Before stiffgrad is imported: it reads the folder once. Compilation is most of the tests' time, so it is kept between
# runs, inside the checkout and away from the user's own cache.
os.environ.setdefault("STIFFGRAD_CACHE_DIR", str(ROOT / ".cache" / "stiffgrad"))
os.environ.setdefault("MPLBACKEND", "Agg")

# What tests compile themselves, oracles and single operations, runs once or twice: XLA need not optimise it. Programs
# of stiffgrad that say how they are compiled are not touched by this.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

# A worker gathers millions of objects that stay: each full look of the garbage collector takes the longer.
gc.set_threshold(20_000, 10, 20)

# Tests compute with JAX themselves, in float64. That stiffgrad does so without this switch: tests/test_float64.py.
os.environ.setdefault("JAX_ENABLE_X64", "1")

# The same examples in every run: a failure seen once is seen again. Few, because each may compile; no deadline, because
# the first of them does.
settings.register_profile(
    "stiffgrad",
    derandomize=True,
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("stiffgrad")


@pytest.fixture
def ticking(monkeypatch):
    """A clock that each reading moves on by a millisecond: budgets of time then end where the readings say, always."""
    readings = itertools.count()
    clock = types.SimpleNamespace(perf_counter=lambda: 1e-3 * next(readings))
    for name in ("stiffgrad.flow", "stiffgrad.run.driver", "stiffgrad.solvers._compiled"):
        monkeypatch.setattr(importlib.import_module(name), "time", clock)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Skip what the installed SciPy cannot do (`nox -s newest`), as the solver itself says; see pyproject.toml."""
    try:
        return (yield)
    except (RuntimeError, ValueError) as error:
        if "has a faulty translation of VODE" in str(error) or "this SciPy reads rtol and atol once" in str(error):
            pytest.skip(str(error))
        raise
