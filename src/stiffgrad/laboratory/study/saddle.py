"""An experiment: solvers started beside a constructed saddle, to see which leave it and which rest there."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from stiffgrad.analysis import minimum
from stiffgrad.laboratory.statistics import number
from stiffgrad.laboratory.study._finding import Finding, lines, listed, table
from stiffgrad.laboratory.study._lab import Lab, has
from stiffgrad.laboratory.study._networks import NETWORKS
from stiffgrad.objective import Objective, derivatives, minimise
from stiffgrad.run.driver import solve
from stiffgrad.run.until import Until
from stiffgrad.solvers import create

KEY = "saddle"
TITLE = "Held at a saddle"
QUESTION = "Can a stiff solver mistake a saddle for a minimum? Started beside one, does it leave?"
NETWORK = "encoder"
AWAY = 1e-4  # distance of the start from the saddle, where its weights have a norm of 30
REST = 1e-8  # gradient norm at which a run ends
MOST = 60_000  # presentations
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "vode 1e-2": ("vode", {"rtol": 1e-2, "atol": 1e-2}),
    "vode 1e-4": ("vode", {}),
    "vode 1e-8": ("vode", {"rtol": 1e-8, "atol": 1e-10}),
    "lsoda 1e-4": ("lsoda", {}),
    "dopri5 1e-4": ("dopri5", {}),
    "chebyshev": ("chebyshev", {}),
    "lbfgs": ("lbfgs", {}),
    "rosenbrock": ("rosenbrock", {}),
    "auto": ("auto", {}),
}


def plan(lab: Lab) -> None:
    """Runs of its own, from one constructed start."""


def tied(params: Any) -> Any:
    """A network whose last hidden unit is a copy of its first: n + 1 units out of n."""
    hidden, output = params
    return [
        {
            "weight": jnp.concatenate([hidden["weight"], hidden["weight"][:1]]),
            "bias": jnp.concatenate([hidden["bias"], hidden["bias"][:1]]),
        },
        {"weight": jnp.concatenate([output["weight"], output["weight"][:, :1]], axis=1), "bias": output["bias"]},
    ]


def construct() -> tuple[Objective, np.ndarray, np.ndarray]:
    """An objective, a saddle of it, and the eigenvalues there.

    Two equal hidden units stay equal under the flow, so a minimum among such networks is a stationary point of all; in
    general it is a saddle, because the two would rather differ (Fukumizu and Amari, Neural Networks 13, 2000).
    """
    objective = NETWORKS[NETWORK].objective(0)
    hidden, output = objective.unflatten(objective.w0)
    narrow = [
        {"weight": hidden["weight"][:-1], "bias": hidden["bias"][:-1]},
        {"weight": output["weight"][:, :-1], "bias": output["bias"]},
    ]
    among = minimise(lambda p: derivatives.value(objective, objective.flatten(tied(p))), narrow)
    rested = solve(among, "rosenbrock", until=Until(gradient_norm=1e-12, wall_seconds=30), throw=False)
    w = np.asarray(objective.flatten(tied(rested.params)))
    return objective, w, np.linalg.eigvalsh(np.asarray(objective.hessian(w)))


def answer(lab: Lab) -> Finding:
    """Run all of `RUNS` from beside the saddle, and judge where they end."""

    def make() -> dict[str, Any]:
        objective, w, eigenvalues = construct()
        nudge = np.random.default_rng(0).standard_normal(w.shape)
        start = objective.with_start(objective.unflatten(w + AWAY * nudge / np.linalg.norm(nudge)))
        runs = {}
        for name, (solver, options) in RUNS.items():
            if not has(solver):
                continue
            until = Until(gradient_norm=REST, presentations=MOST, wall_seconds=60 * lab.scale.patience)
            solution = solve(start, create(solver, **options), until=until, throw=False)
            judged = minimum(start, solution.w, gradient_tolerance=10 * REST)
            rows = np.unique(np.geomspace(1, len(solution.trace), 200).astype(int) - 1)
            runs[name] = {
                "outcome": solution.outcome.value,
                "kind": judged.kind,
                "negative": judged.negative,
                "loss": solution.loss,
                "gradient_norm": solution.gradient_norm,
                "steps": solution.statistics.steps,
                **{c: solution.trace[c][rows].tolist() for c in ("presentations", "flow_time")},
                "losses": solution.trace["loss"][rows].tolist(),
            }
        ends = eigenvalues[0], eigenvalues[-1]
        return {"eigenvalues": ends, "saddle_loss": float(objective.value(w)), "runs": runs}

    about = {"away": AWAY, "network": NETWORK, "runs": sorted(RUNS), "patience": lab.scale.patience}
    kept = lab.analysed("saddle", about, make)
    runs, height = kept["runs"], kept["saddle_loss"]
    least, most = kept["eigenvalues"]
    held = [name for name, run in runs.items() if run["loss"] is not None and run["loss"] > 0.999 * height]
    left = [name for name in runs if name not in held]
    curves = {
        n: ([v or 1.0 for v in run["presentations"]], [v or math.nan for v in run["losses"]]) for n, run in runs.items()
    }
    rows = [
        [
            n,
            r["outcome"],
            r["kind"],
            r["negative"],
            number(_known(r["loss"]), 4),
            number(_known(r["gradient_norm"])),
            r["steps"],
        ]
        for n, r in runs.items()
    ]
    return Finding(
        "yes" if held else "no",
        [
            f"The saddle (two equal hidden units of {NETWORK}) has eigenvalues from {least:.2g} to {most:.2g} "
            "and a loss "
            f"of {height:.3g}; every run starts {AWAY:g} beside it.",
            f"Held there, with a loss that fell by less than a thousandth: {listed(held)}.",
            f"Left it: {listed(left)}"
            + (f", for losses of {_span([runs[n]['loss'] for n in left])}." if left else "."),
        ],
        lines("Loss from beside the saddle", "presentations", "loss", curves),
        {"eigenvalues": kept["eigenvalues"], "held": held, "left": left},
        [
            table(
                "Where each run ended",
                "solver",
                ["outcome", "kind of point", "negative eigenvalues", "loss", "gradient norm", "steps"],
                rows,
            )
        ],
        [
            "Along negative curvature the flow grows as exp(|lambda| t). A loose solver whose step h is longer than "
            "2/|lambda| damps what should grow: implicit Euler multiplies it by 1/(1 - h|lambda|).",
        ],
    )


def _known(value: Any) -> float:
    return math.nan if value is None else float(value)


def _span(values: list[Any]) -> str:
    known = [value for value in values if value is not None]
    return " to ".join(dict.fromkeys([number(min(known), 3), number(max(known), 3)])) if known else "unknown"
