"""The study of why a stiff solver needed fewer iterations, yet more time, than gradient descent.

Each question has a module: what it wants run, and what it makes of the results. All runs are planned together and made
in turns, each into a file of its own, so that an interrupted study continues, and a second one does no work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from stiffgrad.laboratory import cluster
from stiffgrad.laboratory.environment import code, environment
from stiffgrad.laboratory.store import Store, finite, read_json, write_json
from stiffgrad.laboratory.study import (
    bands,
    integrators,
    jacobians,
    minima,
    original,
    owens_filkin,
    paths,
    saddle,
    stiff,
    tolerance,
)
from stiffgrad.laboratory.study._lab import SCALES, Lab, Scale
from stiffgrad.laboratory.study._networks import EXACT, LARGER, NETWORKS, weights

QUESTIONS = (original, minima, saddle, tolerance, stiff, bands, jacobians, owens_filkin, paths, integrators)
KEYS: tuple[str, ...] = tuple(question.KEY for question in QUESTIONS)
TITLES: dict[str, str] = {question.KEY: question.TITLE for question in QUESTIONS}


def run(
    out: str | Path,
    *,
    scale: str | Scale = "full",
    only: Sequence[str] = (),
    say: Callable[[str], None] = lambda words: None,
    dask: str | None = None,
) -> dict[str, Any]:
    """Run what is missing, answer the questions, and write `findings.json`.

    Parameters
    ----------
    out : str or Path
        Folder; its subfolder `runs` keeps one file a run.
    scale : str or Scale
        "full" (hours), "long" (an hour: "medium" with five times the patience), "medium" (half an hour), "short" (ten
        minutes) or "quick" (a minute, to see that everything works: its answers mean nothing); or how much to run
        in detail.
    only : sequence of str
        Keys of the questions to answer; all without it.
    say : callable
        Told one line for each run that was made.
    dask : str, optional
        Address of a Dask scheduler, whose workers make the runs; tuning and answers are made here.

    Returns
    -------
    dict
        What `findings.json` holds: for each key "question", "verdict", "sentences", "figure", "tables", "numbers" and
        "remarks"; "networks", "environment", "scale", "seeds"; and "computed" (the runs that this call made).

    Raises
    ------
    ValueError
        An unknown key or scale, a folder that cannot be made, or results of other code or another machine among these.
    """
    unknown = sorted(set(only) - set(KEYS))
    if unknown:
        raise ValueError(f"only={', '.join(unknown)} is unknown; use some of {', '.join(KEYS)}")
    if isinstance(scale, str) and scale not in SCALES:
        raise ValueError(f"scale={scale!r} is unknown; use one of {', '.join(SCALES)}")
    if dask is not None:
        cluster.check(dask)  # before the learning rates are tuned here
    chosen = SCALES[scale] if isinstance(scale, str) else scale
    folder = Path(out)
    lab = Lab(Store(folder / "runs"), chosen, say, dask)
    asked = [question for question in QUESTIONS if not only or question.KEY in only]
    for question in asked:
        question.plan(lab)
    lab.make()
    findings = _before(folder, scale) if only else {}
    for question in asked:
        say(f"== {question.TITLE}")
        findings[question.KEY] = question.answer(lab).as_json(question.QUESTION)
    findings["networks"] = {
        **{name: f"{NETWORKS[name].summary}, {weights(NETWORKS[name])} weights" for name in chosen.problems},
        **{f"{name} (squares)": f"{EXACT[name].summary}, {weights(EXACT[name])} weights" for name in chosen.exact},
        **{name: f"{LARGER[name].summary}, {weights(LARGER[name])} weights" for name in chosen.larger},
    }
    findings["seeds"] = chosen.seeds
    findings["scale"] = scale if isinstance(scale, str) else "own"
    findings["environment"] = environment()
    findings = finite(findings)
    write_json(folder / "findings.json", findings)
    return {**findings, "computed": lab.store.computed}


def _before(folder: Path, scale: str | Scale) -> dict[str, Any]:
    """Answers of an earlier call by the same code and to the same extent."""
    found = read_json(folder / "findings.json") or {}
    same = (found.get("environment") or {}).get("code") == code() and found.get("scale") == scale
    return {key: found[key] for key in KEYS if key in found} if same else {}


__all__ = ["KEYS", "SCALES", "TITLES", "Scale", "run"]
