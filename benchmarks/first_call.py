"""From the start of a fresh process to the result: `python benchmarks/first_call.py [--problem iris] [--repeats 5]`.

Writes benchmarks/results/first-call.json as runs come, and prints the table of docs/first-call.md.
"""

import argparse
from pathlib import Path

from stiffgrad.laboratory.first_call import PROBLEMS, SCRIPTS, first_call

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--problem", action="append", help=f"default: {', '.join(PROBLEMS)}")
parser.add_argument("--method", action="append", help=f"default: {', '.join(SCRIPTS)}")
parser.add_argument("--repeats", type=int, default=5)
parser.add_argument("--level", default="medium", help="target: easy, medium or deep")
parser.add_argument("--out", type=Path, default=Path("benchmarks/results/first-call.json"))
arguments = parser.parse_args()
print(
    "| problem | method | total | compile | solve | total, cache | compile | solve |\n|---|---|---|---|---|---|---|---|"
)
first_call(
    arguments.problem or PROBLEMS,
    arguments.method or tuple(SCRIPTS),
    arguments.repeats,
    arguments.out,
    arguments.level,
    lambda words: print(words, flush=True),
)
