"""Question 3: whether the flow is stiff, and when it becomes so."""

from __future__ import annotations

from typing import Any

import numpy as np

from stiffgrad.analysis.stiffness import MILD, STIFF
from stiffgrad.laboratory.study._finding import Finding, dots, lines, middle, over, show, table, times, within
from stiffgrad.laboratory.study._lab import SHARES, Lab
from stiffgrad.laboratory.study._runs import Run

KEY = "stiffness"
QUESTION = (
    "Was the problem stiff at all? Stiff against non-stiff solvers at equal tolerance, and when it becomes stiff."
)
RIVALS = ("dopri5", "chebyshev")


def runs(lab: Lab, problem: str) -> dict[str, list[Run]]:
    """Vode against explicit methods, all at the default tolerance of 1e-4."""
    found = {"vode": lab.mains(problem, "vode", probe=True)}
    return found | {name: lab.mains(problem, name) for name in lab.available(RIVALS)}


def answer(lab: Lab) -> Finding:
    """Ratios explicit : stiff at each share of the removable loss, and stiffness along the path."""
    rows, rows_path, curves, panels, wins, numbers = [], [], {}, {}, {}, {}
    for problem in lab.scale.problems:
        found = runs(lab, problem)
        seconds = {n: {s: middle(lab.costs(g, s, "wall_seconds")) for s in SHARES} for n, g in found.items()}
        work = {n: {s: middle(lab.costs(g, s, "presentations")) for s in SHARES} for n, g in found.items()}
        rows += [
            [f"{problem}, {n}", *(show(seconds[n][s]) for s in SHARES), *(show(work[n][s]) for s in SHARES)]
            for n in found
        ]
        panels[problem] = {n: lab.costs(g, 0.99, "wall_seconds") for n, g in found.items()}
        wins[problem] = {n: over(seconds[n][0.99], seconds["vode"][0.99]) for n in found if n != "vode"}
        path = _path(lab, problem, found["vode"])
        rows_path.append([problem, *path["row"]])
        curves[problem] = (path["removed"], path["excess"])
        numbers[problem] = {
            "seconds": seconds,
            "presentations": work,
            "over_vode_at_99": wins[problem],
            **{k: path[k] for k in ("stiff_at", "excess_start", "excess_end", "ratio_end")},
        }
    heads = [f"{100 * s:g}%" for s in SHARES]
    return Finding(
        KEY,
        QUESTION,
        sentence(wins, numbers),
        numbers,
        [
            table(
                "Median over the starts, to shares of the removable loss, tolerance 1e-4",
                "problem, solver",
                [*(f"seconds to {h}" for h in heads), *(f"presentations to {h}" for h in heads)],
                rows,
            ),
            table(
                "Stiffness along the path of vode",
                "problem",
                [
                    "stiffness ratio, start",
                    "end (at least)",
                    "steps for stability per step for accuracy, start",
                    "end",
                    f"above {STIFF:g} from (share of the loss removed)",
                ],
                rows_path,
            ),
        ],
        [
            lines(
                "How many explicit steps stability costs for each that accuracy needs, along the path of vode (median)",
                "part of the removable loss still there",
                "excess",
                curves,
                mark=STIFF,
                falls=True,
            ),
            dots(
                "Wall time to 99% of the removable loss at tolerance 1e-4, one mark a start",
                "seconds of solving",
                panels,
            ),
        ],
        [
            f"A flow is called stiff where stability asks for more than {STIFF:g} times the steps of accuracy "
            f"(relative error "
            f"1e-2), mildly stiff above {MILD:g}; see stiffgrad.stiffness."
        ],
    )


def _path(lab: Lab, problem: str, group: list[Run]) -> dict[str, Any]:
    """Excess against the part of the removable loss that is left: medians over the starts at common points."""
    grid = np.logspace(0, -6, 25)
    tracks, ratios = [], []
    for run in group:
        end, _ = lab.levels(problem, run.spec.seed)
        start = run.trace["loss"][0]
        left = np.array([(probe["loss"] - end) / (start - end) for probe in run.probes])
        excess = np.array([np.nan if probe["excess"] is None else probe["excess"] for probe in run.probes])
        order = np.argsort(left)
        known = (left[order] > 0) & (excess[order] > 0)
        x, y = np.log(left[order][known]), np.log(excess[order][known])
        tracks.append(np.exp(np.interp(np.log(grid), x, y, left=np.nan)) if x.size else np.full(grid.shape, np.nan))
        ratios.append([run.probes[0]["ratio"], run.probes[-1]["ratio"]])
    stack = np.array(tracks)
    seen = ~np.all(np.isnan(stack), axis=0)
    excess = np.nanmedian(stack[:, seen], axis=0)
    above = np.flatnonzero(excess > STIFF)
    stiff_at = float(1 - grid[seen][above[0]]) if above.size else np.nan
    ratio = np.nanmedian(np.array(ratios, dtype=float), axis=0)
    words = "never" if np.isnan(stiff_at) else f"{100 * stiff_at:.4g}%"
    return {
        "removed": grid[seen],
        "excess": excess,
        "stiff_at": stiff_at,
        "ratio_end": float(ratio[1]),
        "excess_start": float(excess[0]),
        "excess_end": float(excess[-1]),
        "row": [show(ratio[0]), show(ratio[1]), show(excess[0]), show(excess[-1]), words],
    }


def sentence(wins: dict[str, dict[str, float]], numbers: dict[str, Any]) -> str:
    """The answer from the time of each rival over vode's, and from where the spectrum says stiff."""
    ratios = {p: found.get("dopri5", np.nan) for p, found in wins.items()}
    told = ", ".join(f"{p} {times(r)}" for p, r in ratios.items() if np.isfinite(r) and r > 0)
    groups = (
        ("takes more than twice vode's time to 99% of the removable loss on", [p for p, r in ratios.items() if r > 2]),
        ("takes up to twice vode's time on", [p for p, r in ratios.items() if 1 < r <= 2]),
        (
            "is at least as fast, so that the suspicion is right and the flow hardly stiff where it matters, on",
            [p for p, r in ratios.items() if r <= 1],
        ),
        ("and vode both miss it on", [p for p, r in ratios.items() if np.isnan(r)]),
    )
    text = "At equal tolerance dopri5 " + "; ".join(f"{words} {within(ps)}" for words, ps in groups if ps)
    text += f" (its time over vode's: {told})." if told else "."
    becomes = [
        f"{p} when {100 * n['stiff_at']:.3g}% of the loss is removed"
        for p, n in numbers.items()
        if np.isfinite(n["stiff_at"])
    ]
    never = [p for p, n in numbers.items() if np.isnan(n["stiff_at"])]
    by_spectrum = [f"becomes stiff on {within(becomes)}"] if becomes else []
    by_spectrum += [f"never does on {within(never)}"] if never else []
    text += f" By the spectrum, the flow {', and '.join(by_spectrum)}."
    better = [p for p, ratio in wins.items() if ratio.get("chebyshev", np.inf) < min(1.0, ratio.get("dopri5", np.inf))]
    return text + (f" chebyshev beats both vode and dopri5 on {within(better)}." if better else "")
