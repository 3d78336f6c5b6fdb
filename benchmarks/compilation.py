"""What the three compilations of a loop cost, and how fast its steps then are: `python benchmarks/compilation.py`.

The loop is that of the method with which `auto` begins; its first `--steps` steps are timed, in turns.
"""

import argparse
import os
import time

os.environ["STIFFGRAD_CACHE_DIR"] = ""

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

from stiffgrad._config import LASTING, QUICK, SOUND  # noqa: E402
from stiffgrad.laboratory import problems  # noqa: E402
from stiffgrad.solvers._compiled import ALWAYS, run_rows  # noqa: E402
from stiffgrad.solvers.auto import choose  # noqa: E402

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--problem", action="append", help="default: iris, sine, product2d, digits, poisson2d")
parser.add_argument("--steps", type=int, default=20)
parser.add_argument("--repeats", type=int, default=20)
arguments = parser.parse_args()
jax.jit(lambda x: x + 1).lower(1.0).compile()  # what is done once in a process
print("| loop of | quick: compile, a step | lasting | full |\n|---|---|---|---|")
for name in arguments.problem or ("iris", "sine", "product2d", "digits", "poisson2d"):
    objective = problems.get(name).objective(0)
    solver = choose(objective).members[0].within
    state, row = solver.initial(objective, np.asarray(objective.w0))
    row = np.array([row[column] for column in (*solver.columns, "ended")], float)
    compiled, seconds, times, steps = {}, {}, {}, {}
    for kind, options in (("quick", QUICK), ("lasting", LASTING), ("full", SOUND)):
        lowered = jax.jit(run_rows).lower(solver, objective, state, row, ALWAYS, arguments.steps)
        begin = time.process_time()
        compiled[kind] = lowered.compile(compiler_options=options)
        seconds[kind], times[kind] = time.process_time() - begin, []
    for _ in range(arguments.repeats):
        for kind, program in compiled.items():
            begin = time.perf_counter()
            *_, count = jax.block_until_ready(program(solver, objective, state, row, ALWAYS, arguments.steps))
            times[kind].append(time.perf_counter() - begin)
            steps[kind] = int(count)
    cells = [f"{seconds[kind]:.1f} s, {1e6 * min(times[kind]) / steps[kind]:,.0f} us" for kind in compiled]
    print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
