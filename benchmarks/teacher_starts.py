"""From how many of 40 starts `teacher-student` falls to 1e-20 within 2 s: `python benchmarks/teacher_starts.py`."""

import sys

import stiffgrad as sg
from stiffgrad.laboratory import problems

problem = problems.get("teacher-student")
print("| solver | starts at 1e-20, of 40 |\n|---|---|")
for name in sys.argv[1:] or ["rosenbrock", "optimistix-bfgs", "ssbroyden", "minpack"]:
    until = sg.Until(loss=1e-20, wall_seconds=2)
    ends = [sg.solve(problem.objective(seed), name, until=until, throw=False).outcome for seed in range(40)]
    print(f"| {name} | {ends.count(sg.Outcome.TARGET)} |", flush=True)
