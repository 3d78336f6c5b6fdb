"""`diamonds` (26-64-64-1) at equal wall time: `python benchmarks/diamonds.py --seconds 60`.

`auto` against Adam, full batch and in batches of 256 with the best of a few learning rates each, and L-BFGS; all from
the same start. Of the 40,455 training rows nine tenths are trained on, one tenth is only watched. The training error is
the objective over the former; the held-out error the same over rows that nothing saw, once at the weights of the lowest
training error, once at those that the watched rows liked best, as in early stopping. Mini-batch runs evaluate the
training error once an epoch; that time, and that of watching, is theirs. Writes
benchmarks/results/diamonds.{json,md} and docs/diamonds.svg.
"""

import argparse
import json
import pathlib
import sys

import numpy as np

import stiffgrad as sg
from stiffgrad.laboratory import problems
from stiffgrad.laboratory.environment import environment
from stiffgrad.solvers.descent import Descent

ROOT = pathlib.Path(__file__).resolve().parent.parent
TUNING_SEED = 1000  # learning rates are chosen on a start of their own
BATCH = 256


WATCHED = 10  # every tenth training row


class Best:
    """Weights of the lowest training error that a callback sees, and of the lowest error over watched rows."""

    def __init__(self, start, watched=None):
        self.watched = watched
        self.loss, self.w = np.inf, start
        self.watched_loss, self.watched_w, self.watched_seconds = np.inf, start, 0.0

    def __call__(self, step):
        if step.row["loss"] < self.loss:
            self.loss, self.w = step.row["loss"], np.array(step.w)
        if self.watched is not None:
            loss = float(self.watched.value(step.w))
            if loss < self.watched_loss:
                self.watched_loss, self.watched_w = loss, np.array(step.w)
                self.watched_seconds = step.row["wall_seconds"]


def train(objective, solver, seconds, watched=None):
    best = Best(np.asarray(objective.w0), watched)
    until = sg.Until(loss=-1.0, wall_seconds=seconds)
    return sg.solve(objective, solver, until=until, callback=best, throw=False), best


def methods(tuned):
    return {
        "auto": "auto",
        f"adam, full batch, rate {tuned['full']:g}": Descent("adam", learning_rate=tuned["full"]),
        f"adam, batches of {BATCH}, rate {tuned['batch']:g}": Descent(
            "adam", learning_rate=tuned["batch"], batch_size=BATCH
        ),
        "lbfgs": "lbfgs",
    }


def tune(make, rates, seconds):
    """The learning rate with the lowest training error, for full batches and for mini-batches."""
    chosen = {}
    for kind, size in (("full", None), ("batch", BATCH)):
        losses = {}
        for rate in rates:
            objective = make(TUNING_SEED)
            _, best = train(objective, Descent("adam", learning_rate=rate, batch_size=size), seconds)
            losses[rate] = float(objective.value(best.w))
            print(f"tuning {kind} {rate:g}: {losses[rate]:.4e}", file=sys.stderr, flush=True)
        chosen[kind] = min(losses, key=losses.get)
    return chosen


def lowest(trace, times):
    """The lowest training error seen up to each time."""
    seen = np.minimum.accumulate(np.where(np.isnan(trace["loss"]), np.inf, trace["loss"]))
    return seen[np.maximum(np.searchsorted(trace["wall_seconds"], times, side="right") - 1, 0)]


def crossing(times, ours, theirs):
    """The time from which on ours is the lower one: 0 if always, None if it is not at the end."""
    behind = np.flatnonzero(ours > theirs)
    if not behind.size:
        return 0.0
    return None if behind[-1] + 1 == len(times) else float(times[behind[-1] + 1])


def one_seed(seed, tuned, seconds, make, watched, held_out):
    watched.value(watched.w0)  # compiled outside of the timed part
    times = np.concatenate([[0.0], np.geomspace(seconds / 1000, seconds, 200)])
    rows, curves = {}, {}
    for name, solver in methods(tuned).items():
        objective = make(seed)
        solution, best = train(objective, solver, seconds, watched)
        curves[name] = lowest(solution.trace, times)
        rows[name] = {
            "training": float(objective.value(best.w)),
            "held_out": float(held_out.value(best.w)),
            "held_out_stopped": float(held_out.value(best.watched_w)),
            "stopped_seconds": best.watched_seconds,
            "presentations": solution.statistics.presentations,
            "wall_seconds": solution.wall_seconds,
            "compile_seconds": solution.compile_seconds,
            "outcome": solution.outcome.name,
            "solver": solution.solver,
            "curve": curves[name].tolist(),
        }
        print(f"seed {seed} {name}: {rows[name]['training']:.4e} {rows[name]['held_out']:.4e}", file=sys.stderr)
    for name, row in rows.items():
        row["auto_ahead_from_seconds"] = None if name == "auto" else crossing(times, curves["auto"], curves[name])
    return {"seed": seed, "times": times.tolist(), "methods": rows}


def table(results):
    lines = [
        "| method | training error | held-out error there | held-out error, stopped early | at (s) | presentations | "
        "`auto` ahead in training error from (s), each seed |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in results[0]["methods"]:
        rows = [result["methods"][name] for result in results]
        middle = {
            key: np.median([np.nan if row[key] is None else row[key] for row in rows])
            for key in ("training", "held_out", "held_out_stopped", "stopped_seconds", "presentations")
        }
        ahead = [row["auto_ahead_from_seconds"] for row in rows]
        words = ", ".join("never" if time is None else f"{time:.1f}" for time in ahead) if name != "auto" else ""
        lines.append(
            f"| {name} | {middle['training']:.2e} | {middle['held_out']:.2e} | {middle['held_out_stopped']:.2e} | "
            f"{middle['stopped_seconds']:.0f} | {middle['presentations']:.0f} | {words} |"
        )
    chosen = results[0]["methods"]["auto"]["solver"]
    return "\n".join(lines) + f"\n\nMedians of {len(results)} seeds. `{chosen}`\n"


def picture(results, path):
    """Training error over time: the lowest so far, a line a seed."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    from stiffgrad.report import _style

    with mpl.rc_context({**_style.RC, "svg.hashsalt": "stiffgrad"}):
        figure = Figure(figsize=(7.0, 3.6), layout="constrained")
        axes = figure.subplots()
        for name, colour in zip(results[0]["methods"], _style.COLOURS, strict=False):
            for result in results:
                label = name if result is results[0] else None
                axes.loglog(result["times"][1:], result["methods"][name]["curve"][1:], color=colour, label=label)
        axes.set(xlabel="seconds", ylabel="training error", ylim=(None, 0.1))
        axes.legend(fontsize=8)
        figure.savefig(path, metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="solving time of each run")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--tuning-seconds", type=float, help="of each learning rate; by default a third of --seconds")
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-2, 3e-3, 1e-3, 3e-4])
    parser.add_argument("--rows", type=int, help="only so many training rows, to try this script")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--picture", type=pathlib.Path, default=ROOT / "docs" / "diamonds.svg")
    options = parser.parse_args()
    problem = problems.get("diamonds")
    train_part, test_part = problem.data

    def over(part, seed, keep=slice(None)):
        apply, params = problem.network(seed)
        X, y = (rows[: options.rows][keep] for rows in part)
        return sg.supervised(apply, params, X, y, loss=problem.loss, weight_decay=problem.weight_decay)

    rows = len(train_part[0][: options.rows])
    trained = np.arange(rows) % WATCHED > 0

    tuning = options.seconds / 3 if options.tuning_seconds is None else options.tuning_seconds

    def make(seed):
        return over(train_part, seed, trained)

    tuned = tune(make, options.rates, tuning)
    watched, held_out = over(train_part, 0, ~trained), over(test_part, 0)
    results = [one_seed(seed, tuned, options.seconds, make, watched, held_out) for seed in range(options.seeds)]
    options.out.mkdir(parents=True, exist_ok=True)
    arguments = {key: value for key, value in vars(options).items() if not isinstance(value, pathlib.Path)}
    saved = {"environment": environment(), "arguments": arguments, "tuned": tuned, "results": results}
    (options.out / "diamonds.json").write_text(json.dumps(saved, indent=1), encoding="utf-8")
    text = table(results)
    picture(results, options.picture)
    (options.out / "diamonds.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
