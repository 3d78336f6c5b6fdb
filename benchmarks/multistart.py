"""64 starts of `encoder`, together and one by one: `python benchmarks/multistart.py`."""

import time

import numpy as np

import stiffgrad as sg
from stiffgrad.laboratory import problems

problem = problems.get("encoder")
until = sg.Until(loss=1e-5, wall_seconds=60)
objectives = [problem.objective(seed) for seed in range(64)]
starts = np.stack([np.asarray(objective.w0) for objective in objectives])
sg.multistart(objectives[0], starts, until)
sg.solve(objectives[0], "rosenbrock", until=until)
ratios = []
for _ in range(5):
    begin = time.perf_counter()
    together = sg.multistart(objectives[0], starts, until)
    middle = time.perf_counter()
    alone = [sg.solve(objective, "rosenbrock", until=until) for objective in objectives]
    end = time.perf_counter()
    ratios.append((middle - begin) / (end - middle))
    solved = [sum(s.outcome is sg.Outcome.TARGET for s in solutions) for solutions in (together, alone)]
    print(f"together {middle - begin:.3f} s ({solved[0]} solved), one by one {end - middle:.3f} s ({solved[1]} solved)")
print(f"median ratio {np.median(ratios):.2f}")
