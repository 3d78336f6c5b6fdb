"""The study of why a stiff solver needed fewer iterations, yet more time, than gradient descent.

Each question has a module with its runs and its answer. Questions share runs; each run is one file, so an interrupted
study continues, and a second one does no work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from stiffgrad.laboratory.cells import read_json, write_json
from stiffgrad.laboratory.environment import environment
from stiffgrad.laboratory.study import (
    bands,
    integrators,
    jacobians,
    minima,
    original,
    owens_filkin,
    stiff,
    tolerance,
)
from stiffgrad.laboratory.study._lab import FULL, QUICK, Lab, Scale
from stiffgrad.laboratory.study._problems import SETTINGS
from stiffgrad.laboratory.study._store import Store, plain

QUESTIONS = (original, minima, tolerance, stiff, bands, jacobians, owens_filkin, integrators)
KEYS: tuple[str, ...] = tuple(question.KEY for question in QUESTIONS)


def run(
    out: str | Path,
    *,
    quick: bool = False,
    only: Sequence[str] = (),
    scale: Scale | None = None,
    say: Callable[[str], None] = lambda words: None,
) -> dict[str, Any]:
    """Run what is missing, answer every question, and write `findings.json`.

    Parameters
    ----------
    out : str or Path
        Folder; its subfolder `runs` keeps one file a run.
    quick : bool
        One problem, one start, short budgets: to see that everything works. Its answers mean little.
    only : sequence of str
        Keys of the questions to answer; all without it. Answers given before are kept.
    scale : Scale, optional
        How much to run, instead of the two usual scales.
    say : callable
        Told one line for each run that was made.

    Returns
    -------
    dict
        What `findings.json` holds: for each key "question", "answer", "evidence" and "command"; and "environment",
        "settings", "seeds", "computed" (the runs that this call made).

    Raises
    ------
    ValueError
        An unknown key, or a folder that cannot be made.
    """
    unknown = sorted(set(only) - set(KEYS))
    if unknown:
        raise ValueError(f"only={', '.join(unknown)} is unknown; use some of {', '.join(KEYS)}")
    folder = Path(out)
    store = Store(folder / "runs")
    lab = Lab(store, scale or (QUICK if quick else FULL), say)
    findings = _before(folder)
    flag = " --quick" if quick else ""
    for question in QUESTIONS:
        if not only or question.KEY in only:
            say(f"== {question.KEY}")
            command = f"stiffgrad study{flag} --only {question.KEY} --out {out}"
            findings[question.KEY] = question.answer(lab).as_json(command)
    used = dict.fromkeys((*lab.scale.problems, *lab.scale.exact_problems))
    findings["settings"] = {name: SETTINGS[name].words for name in used}
    findings["seeds"] = lab.scale.seeds
    findings["quick"] = quick
    findings["environment"] = store.get({"kind": "environment"}, environment)
    write_json(folder / "findings.json", plain(findings))
    return {**findings, "computed": store.computed}


def _before(folder: Path) -> dict[str, Any]:
    """Answers of an earlier call; an unreadable file counts as none."""
    return read_json(folder / "findings.json") or {}


__all__ = ["FULL", "KEYS", "QUICK", "Scale", "run"]
