"""Processes: forks are refused instead of hanging, and the same seed gives the same numbers in each."""

import contextlib
import io
import os
import subprocess
import sys

import numpy as np
import pytest

FORK = """if True:
    import os, warnings
    warnings.simplefilter("ignore")  # JAX warns at the fork, and goes on
    import numpy as np
    import stiffgrad as sg
    objective = sg.minimise(lambda w: (w**2).sum(), np.ones(2))
    sg.solve(objective, "adam", until=sg.Until(steps=2))
    child = os.fork()
    if not child:
        words = []
        for call in (lambda: sg.solve(objective, "adam"), lambda: sg.minimise(lambda w: w.sum(), np.ones(1))):
            try:
                call()
            except RuntimeError as error:
                words.append("fork of one" in str(error) and "spawn" in str(error))
        os._exit(0 if words == [True, True] else 1)
    raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_after_a_solve_is_refused():
    assert subprocess.run([sys.executable, "-c", FORK], timeout=120).returncode == 0


SOLVE = """if True:
    import numpy as np
    import stiffgrad as sg
    x = np.linspace(-1, 1, 30)[:, None]
    apply, params = sg.mlp([1, 8, 1])
    objective = sg.supervised(apply, params, x, np.sin(3 * x))
    ends = [sg.solve(objective, name, until=sg.Until(steps=20)).w for name in ("rosenbrock", "adam", "lsoda")]
    print("".join(w.tobytes().hex() for w in ends))
"""


def test_the_same_seed_gives_the_same_bits_in_another_process():
    there = subprocess.run([sys.executable, "-c", SOLVE], capture_output=True, text=True, timeout=170)
    with contextlib.redirect_stdout(io.StringIO()) as here:
        exec(SOLVE, {})
    assert len(there.stdout) > 3 * 25 * 16, there.stderr
    assert there.stdout == here.getvalue()


# In a process of its own: in that of the tests, what others leave behind is freed at any moment.
ROOM = """if True:
    import numpy as np
    import stiffgrad as sg
    from stiffgrad import _config
    def solved(units):
        x = np.linspace(-1, 1, 30)[:, None]
        objective = sg.supervised(*sg.mlp([1, units, 1]), x, np.sin(x))
        return sg.solve(objective, "adam", until=sg.Until(steps=5)).w
    ends = [solved(5)]
    before = _config._maps()
    for units in (6, 7, 8):
        solved(units)
    kept = _config._maps()
    _config._most_maps = lambda: kept
    for _ in range(_config._RUNS_A_LOOK):
        ends.append(solved(5))
    print(before, kept, _config._maps(), all(np.array_equal(w, ends[0]) for w in ends))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="maps of memory are counted on Linux")
def test_compiled_programs_are_let_go_before_the_system_has_no_room():
    # JAX keeps every program, and dies by a segmentation fault where a process has more memory maps than allowed.
    run = subprocess.run([sys.executable, "-c", ROOM], capture_output=True, text=True, timeout=170)
    before, kept, after, same = run.stdout.split()
    assert int(after) - int(before) < (int(kept) - int(before)) / 2
    assert same == "True"


THREADS = """if True:
    import os, sys
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:int(sys.argv[1])])
    import numpy as np
    import stiffgrad as sg
    X = np.random.default_rng(0).uniform(-1, 1, (2000, 8))
    objective = sg.supervised(*sg.mlp([8, 20, 20, 1]), X, np.sin(3 * X.sum(1)))
    until = sg.Until(steps=5, wall_seconds=None)
    ends = [sg.solve(objective, name, until=until).w for name in ("auto", "krylov", "adam")]
    print("".join(w.tobytes().hex() for w in ends))
"""


@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2, reason="needs two cores that it may use"
)
def test_threads_change_no_more_than_rounding():
    # Sums in another order: 1e-17 to 1e-14 of the norm after five steps (benchmarks/threads.py).
    one, two = (
        subprocess.run([sys.executable, "-c", THREADS, cores], capture_output=True, text=True, timeout=170)
        for cores in ("1", "2")
    )
    a, b = (np.frombuffer(bytes.fromhex(run.stdout.strip())).reshape(3, -1) for run in (one, two))
    assert a.shape == (3, 621)
    assert np.all(np.abs(a - b).max(1) <= 1e-10 * np.linalg.norm(a, axis=1))
