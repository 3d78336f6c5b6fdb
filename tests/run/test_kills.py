"""A run that is killed at random moments, as by `kill -9`, and started again, ends with the bits of one that was not.

Two kills in the suite; `make kills` does 200.
"""

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

KILLS = int(os.environ.get("KILLS", "2"))
SEED = int(os.environ.get("KILLS_SEED", "0"))

# Long enough to be killed in: a small problem whose steps take microseconds, saved after every chunk of them.
SOLVE = """if True:
    import sys
    import numpy as np
    import stiffgrad as sg
    x = np.linspace(-1, 1, 30)[:, None]
    apply, params = sg.mlp([1, 8, 1])
    objective = sg.supervised(apply, params, x, np.sin(3 * x))
    checkpoint = None if sys.argv[1] == "none" else sg.Checkpoint(sys.argv[1], every_seconds=0.0)
    until = sg.Until(steps=int(sys.argv[3]), wall_seconds=None)
    told = []
    def tell(step):
        if not told:
            told.append(print("going", flush=True))
    solution = sg.solve(objective, "adam", until=until, checkpoint=checkpoint, callback=tell)
    np.savez(sys.argv[2], w=solution.w, loss=solution.trace["loss"], steps=solution.statistics.steps)
"""


def start(checkpoint, out, steps):
    command = [sys.executable, "-c", SOLVE, str(checkpoint), str(out), str(steps)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def finish(process):
    process.communicate()
    return process.returncode


@pytest.mark.timeout(60 + 30 * KILLS)
def test_a_killed_run_ends_with_the_bits_of_one_that_was_not(tmp_path):
    steps, rng = 60_000 * (1 + KILLS // 20), random.Random(SEED)
    checkpoint, out, whole = (tmp_path / name for name in ("run.npz", "out.npz", "whole.npz"))
    begin = time.monotonic()
    assert finish(start("none", whole, steps)) == 0
    seconds = time.monotonic() - begin
    killed = 0
    for _ in range(KILLS):
        process = start(checkpoint, out, steps)
        process.stdout.readline()  # it solves, or has ended
        time.sleep(rng.uniform(0, min(0.5, seconds / 2)))
        process.send_signal(signal.SIGKILL)
        killed += finish(process) == -signal.SIGKILL
    assert finish(start(checkpoint, out, steps)) == 0
    assert killed
    with np.load(out) as seen, np.load(whole) as expected:
        for name in expected:
            assert np.array_equal(seen[name], expected[name]), name
    left = {path.name for path in tmp_path.iterdir()}
    assert left <= {"run.npz", "run.npz.previous", "out.npz", "whole.npz"}
