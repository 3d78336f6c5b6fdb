"""The part of a solve that is spent outside compiled code: `python benchmarks/python_share.py`."""

import math
import time

import jax

import stiffgrad as sg
from stiffgrad.laboratory import problems
from stiffgrad.solvers import _compiled

inside = 0.0
chunk = _compiled._full


def timed(*arguments):
    """The compiled chunk, with a clock around it."""
    global inside
    begin = time.perf_counter()
    result = jax.block_until_ready(chunk(*arguments))
    if max(map(math.isfinite, arguments[4][:2])):  # the limits of a run, not those of the warm-up before it
        inside += time.perf_counter() - begin
    return result


_compiled._full = timed
print("| problem | solver | solving, s | outside compiled code |\n|---|---|---|---|")
for name, solver in (("sine", "rosenbrock"), ("product2d", "rosenbrock"), ("digits-decay-1e-3", "exponential")):
    problem = problems.get(name)
    target = problem.targets["deep"]
    until = sg.Until(loss=target.loss, gradient_norm=target.gradient_norm)
    for seed in range(2):
        objective = problem.objective(seed)
        sg.solve(objective, solver, until=until, compilation="full")
        inside = 0.0
        solution = sg.solve(objective, solver, until=until, compilation="full")
        share = 1.0 - inside / solution.wall_seconds
        print(f"| {name} | {solver} | {solution.wall_seconds:.3f} | {share:.1%} |", flush=True)
