"""Suspect 3: whether the flow is stiff, and when it becomes so."""

from __future__ import annotations

from typing import Any

import numpy as np

from stiffgrad.analysis.stiffness import STIFF
from stiffgrad.laboratory.cells import Method
from stiffgrad.laboratory.statistics import Amount, median, number, span
from stiffgrad.laboratory.study._finding import Finding, lines, listed, table, verdict
from stiffgrad.laboratory.study._lab import SHARES, Lab, level, methods
from stiffgrad.laboratory.study._networks import NETWORKS

KEY = "stiffness"
TITLE = "3. Hardly stiff?"
QUESTION = (
    "Was the problem stiff at all? Stiff against explicit solvers at equal tolerance, and when the flow turns stiff."
)
AT = "99%"
NAMES = ("vode", "dopri5", "tsit5", "chebyshev")


def plan(lab: Lab) -> None:
    """All at the default tolerance of 1e-4."""
    for network in lab.scale.problems:
        lab.want(network, methods(*NAMES).values())


def answer(lab: Lab) -> Finding:
    """Ratios explicit : stiff at each share of the removable loss, and stiffness along the path of vode."""
    rows, paths, curves, numbers = [], [], {}, {}
    seconds: dict[str, Amount] = {}
    evaluations: dict[str, Amount] = {}
    for network in lab.scale.problems:
        problem = NETWORKS[network].name
        medians = {
            name: {
                (s, c): median(lab.costs(problem, method, level(s), c))
                for s in SHARES
                for c in ("wall_seconds", "presentations")
            }
            for name, method in methods(*NAMES).items()
        }
        rows += [
            [f"{network}, {name}", *(found[s, c] for c in ("wall_seconds", "presentations") for s in SHARES)]
            for name, found in medians.items()
        ]
        seconds[network] = medians["dopri5"][0.99, "wall_seconds"] / medians["vode"][0.99, "wall_seconds"]
        evaluations[network] = medians["dopri5"][0.99, "presentations"] / medians["vode"][0.99, "presentations"]
        path = along(lab, problem)
        curves[network] = (path["left"], path["excess"])
        numbers[network] = path
        ends = [number(path[name]) for name in ("ratio_start", "ratio_end", "excess_start", "excess_end")]
        paths.append([network, *ends, "never" if np.isnan(path["stiff_at"]) else f"{100 * path['stiff_at']:.3g}%"])
    explicit = [p for p, ratio in seconds.items() if ratio.value <= 1 and ratio.bound != "≥"]
    turns = {p: n["stiff_at"] for p, n in numbers.items() if np.isfinite(n["stiff_at"])}
    ratios = [n["ratio_end"] for n in numbers.values()]
    return Finding(
        verdict(len(explicit), len(seconds)),
        [
            f"At equal tolerance (1e-4) the explicit dopri5 takes {span(seconds.values())} times the seconds of "
            "vode to "
            f"{AT} of the removable loss; it is as fast on {len(explicit)} of {len(seconds)} networks "
            f"({listed(explicit)}).",
            "In presentations, where a dense Hessian of n weights counts 2n, dopri5 takes "
            f"{span(evaluations.values())} "
            "times those of vode.",
            f"By the spectrum the flow turns stiff on {len(turns)} of {len(numbers)} networks"
            + (f", once {_span(turns)} of the loss is removed" if turns else "")
            + f"; the stiffness ratio ends at {number(min(ratios))} to {number(max(ratios))} or more.",
        ],
        lines(
            "Explicit steps that stability costs for each one that accuracy needs, along the path of vode (medians)",
            "part of the removable loss still there",
            "steps for stability / steps for accuracy",
            curves,
            marks={"stiff": STIFF},
            falls=True,
        ),
        {"dopri5_over_vode_seconds": seconds, "dopri5_over_vode_presentations": evaluations, "paths": numbers},
        [
            table(
                "Medians over the starts, to shares of the removable loss",
                "network, solver",
                [f"{what} to {level(s)}" for what in ("seconds", "presentations") for s in SHARES],
                rows,
            ),
            table(
                "Stiffness along the path of vode",
                "network",
                [
                    "stiffness ratio, start",
                    "end (at least)",
                    "steps for stability, start",
                    "end",
                    f"above {STIFF:g} from",
                ],
                paths,
            ),
        ],
        [f"Stiff: stability asks for more than {STIFF:g} times the steps of accuracy (relative error 1e-2 a step)."],
    )


def _span(turns: dict[str, float]) -> str:
    ends = [f"{100 * value:.4g}%" for value in (min(turns.values()), max(turns.values()))]
    return " to ".join(dict.fromkeys(ends))


def along(lab: Lab, problem: str) -> dict[str, Any]:
    """Excess against the part of the removable loss that is left: medians over the starts at common points."""
    grid = np.logspace(0, -6, 25)
    tracks, ratios = [], []
    for result in lab.results(problem, Method("vode")):
        probes = lab.probes(problem, result)
        if len(probes) < 2:
            continue
        start, near = result.trace["loss"][0], result.data["targets"][level(SHARES[-1])]["loss"]
        end = start - (start - near) / SHARES[-1]
        left = np.array([(probe["loss"] - end) / (start - end) for probe in probes])
        excess = np.array([np.nan if probe["excess"] is None else probe["excess"] for probe in probes])
        known = (left > 0) & (excess > 0)
        order = np.argsort(left[known])
        x, y = np.log(left[known][order]), np.log(excess[known][order])
        tracks.append(np.exp(np.interp(np.log(grid), x, y, left=np.nan)) if x.size else np.full(grid.shape, np.nan))
        ratios.append([probes[0]["ratio"], probes[-1]["ratio"]])
    if not tracks:
        return {"left": [], "excess": [], "stiff_at": np.nan, **dict.fromkeys(("ratio_start", "ratio_end"), np.nan)} | {
            "excess_start": np.nan,
            "excess_end": np.nan,
        }
    stack = np.array(tracks)
    seen = ~np.all(np.isnan(stack), axis=0)
    excess = np.nanmedian(stack[:, seen], axis=0)
    above = np.flatnonzero(excess > STIFF)
    first, last = np.nanmedian(np.array(ratios, dtype=float), axis=0)
    return {
        "left": grid[seen].tolist(),
        "excess": excess.tolist(),
        "stiff_at": float(1 - grid[seen][above[0]]) if above.size else np.nan,
        "ratio_start": float(first),
        "ratio_end": float(last),
        "excess_start": float(excess[0]),
        "excess_end": float(excess[-1]),
    }
