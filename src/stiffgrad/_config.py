"""The one place that configures JAX: a compilation cache that outlives the process. For 64-bit numbers: `_float64`.

It also bounds what JAX keeps in memory, where JAX does not: see `make_room`.

The cache lies in the user's cache folder; the environment variable STIFFGRAD_CACHE_DIR moves it, and an empty value
switches it off. A cache that the user configured in JAX already is left alone.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import platformdirs
import threadpoolctl

# XLA's schedule for several threads lets a part of a program overwrite what another part still reads: of 24,000 starts
# of `levenberg-marquardt` 29 had another first step, with this one none (JAX 0.10.2; `benchmarks/repeats.py`).
SOUND: dict[str, Any] = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}
if jax.__version_info__ < (0, 10):  # its earlier name
    SOUND = {"xla_cpu_enable_concurrency_optimized_scheduler": False}
# XLA's options for code that runs for a second at most: compiled three to five times as fast (docs/first-call.md).
QUICK: dict[str, Any] = {**SOUND, "xla_backend_optimization_level": 0}
if jax.__version_info__ < (0, 11):  # some 0.11 has dropped this option
    QUICK["xla_cpu_use_fusion_emitters"] = False
# And for code that runs for some seconds: compiled in half the time of all that XLA does, and 1.2 to 1.4 times as slow.
LASTING: dict[str, Any] = {**QUICK, "xla_backend_optimization_level": 1}
# One module: splitting a small program for several threads costs more than it gains.
QUICK_AND_SMALL = {**QUICK, "xla_cpu_parallel_codegen_split_count": 1}


class Program:
    """`jax.jit` of a function with options of XLA, or without any where this JAX has dropped one and refuses it."""

    def __init__(self, function: Callable[..., Any], options: dict[str, Any], **how: Any) -> None:
        self._function, self._how = function, how
        self._jit = jax.jit(function, compiler_options=options, **how)

    def __call__(self, *arguments: Any) -> Any:
        try:
            return self._jit(*arguments)
        except jax.errors.JaxRuntimeError as error:
            if "compile option" not in str(error):
                raise
        self._jit = jax.jit(self._function, **self._how)
        return self._jit(*arguments)

    def _cache_size(self) -> int:
        return int(self._jit._cache_size())  # type: ignore[attr-defined]


def configure() -> None:
    """Switch on the persistent compilation cache."""
    folder = os.environ.get("STIFFGRAD_CACHE_DIR", platformdirs.user_cache_dir("stiffgrad"))
    if folder and jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]  # made at run time
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


_used = _forked = False


def _note_fork() -> None:
    global _forked
    _forked = _used


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


def in_use() -> None:
    """Note that JAX runs in this process; raises RuntimeError in a fork of one where it ran.

    A fork copies JAX's memory and none of its threads, so that the next computation would wait for them for ever.
    """
    global _used
    if _forked:
        raise RuntimeError(
            "this process is a fork of one that has used JAX, where every computation would hang: start processes with "
            "multiprocessing.get_context('spawn') or joblib, or fork before stiffgrad is used"
        )
    _used = True


_runs = itertools.count(1)
_RUNS_A_LOOK = 16  # to count maps takes 0.5 microseconds each


def make_room() -> None:
    """Called before a run: let JAX forget its compiled programs while there is still room for more.

    Linux allows a process 65,530 memory maps, a compiled program takes 40 to 110 of them, JAX keeps every program, and
    at the limit it dies by a segmentation fault: after some 600 networks of different shapes. What runs on is compiled
    again, from the cache on disk where there is one.
    """
    if next(_runs) % _RUNS_A_LOOK == 0 and _maps() > _most_maps() / 2:
        jax.clear_caches()


def _maps() -> int:
    try:
        return pathlib.Path("/proc/self/maps").read_bytes().count(b"\n")
    except OSError:  # no Linux
        return 0


@functools.cache
def _most_maps() -> int:
    try:
        return int(pathlib.Path("/proc/sys/vm/max_map_count").read_text())
    except (OSError, ValueError):
        return 65530


@functools.cache
def _blas() -> threadpoolctl.ThreadpoolController:
    return threadpoolctl.ThreadpoolController()


def one_blas_thread(wanted: bool = True) -> contextlib.AbstractContextManager[object]:
    """One BLAS thread inside, where wanted: OpenBLAS's threads spin against those of XLA, and of other processes.

    Factorizing a matrix of order 200 to 500 gains nothing from a second thread on an idle machine of two cores, and
    takes 10 to 100 times as long on a busy one (`benchmarks/blas_threads.py`).
    """
    return _blas().limit(limits=1, user_api="blas") if wanted else contextlib.nullcontext()
