"""What a question comes to: one sentence, the evidence as tables and charts, and the command that redoes it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stiffgrad.laboratory.study._store import plain


@dataclasses.dataclass(frozen=True)
class Finding:
    """The answer to one question of the study.

    Attributes
    ----------
    key, question : str
        Its name in `findings.json`, and what was asked.
    answer : str
        In words, with the numbers; chosen by thresholds from the data.
    numbers : mapping
        The numbers of the answer, for machines.
    tables, charts : sequence of mapping
        What the page shows; see `table`, `lines` and `dots`.
    remarks : sequence of str
        What to know when reading it.
    """

    key: str
    question: str
    answer: str
    numbers: Mapping[str, Any]
    tables: Sequence[Mapping[str, Any]] = ()
    charts: Sequence[Mapping[str, Any]] = ()
    remarks: Sequence[str] = ()

    def as_json(self, command: str) -> dict[str, Any]:
        """The entry of `findings.json`."""
        evidence = {"numbers": self.numbers, "tables": self.tables, "charts": self.charts, "remarks": self.remarks}
        return plain({"question": self.question, "answer": self.answer, "evidence": evidence, "command": command})


def table(
    caption: str, head: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], note: str = ""
) -> dict[str, Any]:
    """A table; the first entry of each row is its head."""
    return {
        "caption": caption,
        "head": head,
        "columns": list(columns),
        "rows": [list(row) for row in rows],
        "note": note,
    }


def lines(
    caption: str,
    x: str,
    y: str,
    curves: Mapping[str, tuple[Any, Any]],
    *,
    logs: str = "xy",
    mark: float | None = None,
    falls: bool = False,
) -> dict[str, Any]:
    """Curves y(x) by name; `logs` names the logarithmic axes, `mark` is a level to draw across.

    With `falls` x falls during training, so the axis runs from large to small.
    """
    drawn = {name: {"x": list(map(float, a)), "y": list(map(float, b))} for name, (a, b) in curves.items()}
    return {
        "kind": "lines",
        "caption": caption,
        "x": x,
        "y": y,
        "logs": logs,
        "mark": mark,
        "falls": falls,
        "curves": drawn,
    }


def dots(caption: str, x: str, values: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, Any]:
    """One panel for each group, one row for each name, a dot for each run, on a logarithmic axis; null is a miss."""
    return {
        "kind": "dots",
        "caption": caption,
        "x": x,
        "values": {g: {n: list(map(float, v)) for n, v in rows.items()} for g, rows in values.items()},
    }


def stacked(caption: str, parts: Sequence[str], bars: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """One bar of shares for each name."""
    return {
        "kind": "stacked",
        "caption": caption,
        "parts": list(parts),
        "bars": {name: list(map(float, shares)) for name, shares in bars.items()},
    }


def middle(values: Sequence[float]) -> float:
    """Median in which a miss is infinite; NaN for none."""
    known = [np.inf if np.isnan(value) else value for value in values]
    if not known:
        return np.nan
    ordered = sorted(known)
    half = len(ordered) // 2
    if len(ordered) % 2 or not np.isfinite(ordered[half]):
        return float(ordered[half])
    return 0.5 * float(ordered[half - 1] + ordered[half])


def typical(values: Sequence[float]) -> float:
    """Geometric mean of the finite positive values; NaN for none."""
    known = [value for value in values if np.isfinite(value) and value > 0]
    return float(np.exp(np.mean(np.log(known)))) if known else np.nan


def over(a: float, b: float) -> float:
    """A / b, with inf where only a missed, 0 where only b did, NaN where both did."""
    if np.isinf(a) and np.isinf(b):
        return np.nan
    return 0.0 if np.isinf(b) else a / b


def show(value: float, digits: int = 3) -> str:
    """A number as text, "missed" where infinite, a dash where unknown."""
    if value is None or np.isnan(value):
        return "–"
    if np.isinf(value):
        return "missed"
    if value == 0:
        return "0"
    if abs(value) >= 1000 and abs(value) < 1e7:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def times(value: float) -> str:
    """A ratio as text."""
    return "an unknown number of times" if np.isnan(value) else f"{value:.2g} times"


def within(words: Sequence[str]) -> str:
    """A list in words: "a, b and c"."""
    words = list(words)
    return "none" if not words else words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
