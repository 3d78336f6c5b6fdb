"""What the two compilations of a gradient cost, and how fast it then runs: `python benchmarks/compilation.py`."""

import argparse
import os
import time

os.environ["STIFFGRAD_CACHE_DIR"] = ""

import jax

jax.config.update("jax_enable_x64", True)

from stiffgrad.laboratory import problems  # noqa: E402
from stiffgrad.objective import derivatives  # noqa: E402
from stiffgrad.solvers._compiled import QUICK  # noqa: E402

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--problem", action="append", help="default: iris, sine, product2d, digits")
parser.add_argument("--repeats", type=int, default=60)
arguments = parser.parse_args()
jax.jit(lambda x: x + 1).lower(1.0).compile()  # what is done once in a process
print("| gradient of | full: compile, run | quick: compile, run |\n|---|---|---|")
for name in arguments.problem or ("iris", "sine", "product2d", "digits"):
    objective = problems.get(name).objective(0)
    w = objective.w0
    compiled, seconds, times = {}, {}, {}
    for kind, options in (("full", None), ("quick", QUICK)):
        begin = time.process_time()
        lowered = jax.jit(lambda o, w: derivatives.value_and_gradient(o, w)).lower(objective, w)
        compiled[kind] = lowered.compile(compiler_options=options)
        seconds[kind], times[kind] = time.process_time() - begin, []
    for _ in range(arguments.repeats):
        for kind, program in compiled.items():
            begin = time.perf_counter()
            jax.block_until_ready(program(objective, w))
            times[kind].append(time.perf_counter() - begin)
    cells = [f"{seconds[kind]:.2f} s, {1e6 * min(times[kind]):,.0f} us" for kind in compiled]
    print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
