"""The benchmark: declared suites of problems, our integrators with their defaults against tuned and warmed-up peers."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stiffgrad import _checks
from stiffgrad.laboratory.compare import compare
from stiffgrad.laboratory.environment import environment
from stiffgrad.laboratory.performance import Summary, summarise
from stiffgrad.laboratory.problems import names
from stiffgrad.laboratory.show import COLUMNS, shown
from stiffgrad.laboratory.store import finite, write_json
from stiffgrad.solvers import names as solver_names

OWN = ("auto", "rosenbrock", "exponential", "chebyshev")  # never with an option: one default for every problem


@dataclasses.dataclass(frozen=True)
class Suite:
    """One part of the benchmark.

    Attributes
    ----------
    summary : str
        What it asks.
    problems : tuple of str
    own, peers : tuples
        Our solvers by name; the others by name, or by name and options.
    seeds : int
        Number of starts.
    seconds : float
        Budget of a run, in seconds of solving.
    target : str
        Where a run stops.
    """

    summary: str
    problems: tuple[str, ...]
    own: tuple[str, ...]
    peers: tuple[str | tuple[str, dict[str, Any]], ...]
    seeds: int = 5
    seconds: float = 20.0
    target: str = "deep"


_SMALL = ("encoder", "xor", "parity4")
_DENSE = ("sine", "product2d", *_SMALL, "two-spirals", "teacher-student")
_LEAST_SQUARES = ("levenberg-marquardt", "minpack")
_QUASI_NEWTON = ("lbfgs", "bfgs", "optimistix-bfgs", "ssbroyden")

SUITES: dict[str, Suite] = {
    "dense": Suite(
        "seconds to a small residual",
        _DENSE,
        ("auto", "rosenbrock"),
        (*_LEAST_SQUARES, *_QUASI_NEWTON, "adam"),
    ),
    "gradient-norm": Suite(
        "seconds to a small gradient where the loss stays large: classification and noise with weight decay",
        tuple(name for name in names() if "-decay-" in name),
        ("auto",),
        (("lbfgs", {"memory": 10}), ("lbfgs", {"memory": 50}), "bfgs", "ssbroyden"),
    ),
    "easy": Suite("seconds to an easy classification target", ("digits",), ("auto",), ("lbfgs", "adam")),
    "equations": Suite(
        "seconds to a small residual of differential equations with networks",
        ("poisson2d", "heat1d", "poisson5d", "kovasznay"),
        ("auto",),
        ("levenberg-marquardt", "lbfgs", "optimistix-bfgs", "ssbroyden", "adam", "adam-lbfgs"),
    ),
    "success": Suite(
        "from how many of 100 random starts the target is reached",
        (*_SMALL, "two-spirals"),
        ("rosenbrock",),
        ("minpack", "lbfgs"),
        seeds=100,
        seconds=10.0,
    ),
}


def bench(
    suite: str,
    out: str | Path,
    seeds: int | None = None,
    seconds: float | None = None,
    problems: Sequence[str] = (),
    solvers: Sequence[str] = (),
    jobs: int = 1,
    progress: bool | None = None,
    dask: str | None = None,
) -> Summary:
    """Run a suite, or what is missing of it, and write its tables.

    Parameters
    ----------
    suite : str
        A name of `SUITES`.
    out : path
        Folder: results go to `<suite>/cells`, tables to `<suite>/bench.json`, `.csv` and `.md`.
    seeds : int, optional
        Number of starts; by default the suite's.
    seconds : float, optional
        Budget of a run, in seconds of solving; by default the suite's.
    problems, solvers : sequences of str, optional
        Only these of the suite.
    jobs, progress, dask
        As for `compare`.

    Returns
    -------
    Summary
        Table, speed-ups, geometric means and performance profile.

    Raises
    ------
    ValueError, TypeError, OSError
        For bad arguments, before any work.
    """
    chosen = select(suite, problems, solvers)
    folder = Path(out) / suite
    results = compare(
        chosen.problems,
        [*chosen.own, *chosen.peers],
        chosen.seeds if seeds is None else seeds,
        chosen.seconds if seconds is None else seconds,
        folder / "cells",
        jobs=jobs,
        target=chosen.target,
        progress=progress,
        dask=dask,
    )
    summary = summarise(results, chosen.own)
    _write(folder, suite, chosen, summary)
    return summary


def select(suite: str, problems: Sequence[str] = (), solvers: Sequence[str] = ()) -> Suite:
    """A suite, or the part of it with these problems and solvers. Raises ValueError for names it lacks."""
    if suite not in SUITES:
        raise _checks.unknown("suite", suite, SUITES)
    whole = SUITES[suite]
    all_solvers = [*whole.own, *map(_name, whole.peers)]
    for kind, asked, known in (("problem", problems, whole.problems), ("solver", solvers, all_solvers)):
        for name in asked:
            if name not in known:
                raise ValueError(f"{kind}={name!r} is not in suite {suite!r}, which has {', '.join(known)}")
    known_solvers = solver_names()
    missing = [name for name in all_solvers if name not in known_solvers and (not solvers or name in solvers)]
    if missing:
        raise ValueError(f"suite={suite!r} needs {', '.join(missing)}, which this installation lacks")
    return dataclasses.replace(
        whole,
        problems=tuple(name for name in whole.problems if not problems or name in problems),
        own=tuple(name for name in whole.own if not solvers or name in solvers),
        peers=tuple(peer for peer in whole.peers if not solvers or _name(peer) in solvers),
    )


def _name(peer: str | tuple[str, dict[str, Any]]) -> str:
    return peer if isinstance(peer, str) else peer[0]


def speedup_rows(summary: Summary) -> list[tuple[str, ...]]:
    """The speed-ups as text: problem, our solver, its seconds, the fastest peer, its seconds, the ratio."""
    rows: list[tuple[str, ...]] = []
    for entry in summary.speedups:
        ours, peer = str(entry.own_seconds), str(entry.peer_seconds)
        rows.append((entry.problem, entry.own, ours, entry.peer or "none", peer, str(entry.ratio)))
    rows += [("geometric mean", own, "", "", "", str(mean)) for own, mean in summary.means.items()]
    return rows


def against_table(summary: Summary, own: str) -> tuple[list[str], list[tuple[str, ...]]]:
    """Columns and rows of the ratios of every peer's seconds to those of one of our solvers."""
    entries = [entry for entry in summary.against if entry.own == own and entry.peer]
    peers = list(dict.fromkeys(str(entry.peer) for entry in entries))
    texts = {(entry.problem, entry.peer): str(entry.ratio) for entry in entries}
    lines = dict.fromkeys(entry.problem for entry in entries)
    rows = [(problem, *(texts.get((problem, peer), "-") for peer in peers)) for problem in lines]
    return [f"seconds / {own}'s", *peers], rows


SPEEDUP_COLUMNS = ("problem", "ours", "seconds", "fastest peer", "its seconds", "peer / ours")


def _write(folder: Path, name: str, suite: Suite, summary: Summary) -> None:
    write_json(
        folder / "bench.json",
        finite(
            {"suite": name, **dataclasses.asdict(suite), **dataclasses.asdict(summary), "environment": environment()}
        ),
    )
    with (folder / "bench.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        fields = [field.name for field in dataclasses.fields(summary.rows[0])]
        writer.writerow(fields)
        for row in summary.rows:
            writer.writerow([*(getattr(row, name) for name in fields[:-1]), json.dumps(row.outcomes)])
    made = environment()
    parts = [
        f"# {name}: {suite.summary}",
        f"{made['cpu']}, {made['cores']} cores, Python {made['python']}, revision {made['revision']}, {made['date']}.",
        f"Medians over starts; ≥ where a target was missed. Target: {suite.target}. Times in seconds.",
        markdown(SPEEDUP_COLUMNS, speedup_rows(summary)),
        *(markdown(columns, rows) for columns, rows in (against_table(summary, own) for own in suite.own) if rows),
        markdown(COLUMNS, [shown(row) for row in summary.rows]),
    ]
    (folder / "bench.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table.

    Examples
    --------
    >>> print(markdown(["a", "b"], [["1", "2"]]))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    lines = [columns, *rows]
    text = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([text[0], f"|{'---|' * len(columns)}", *text[1:]])
