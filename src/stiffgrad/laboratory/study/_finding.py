"""What a question comes to: a verdict, three sentences with their numbers, one figure, and tables to look things up."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from stiffgrad.laboratory.statistics import Amount
from stiffgrad.laboratory.store import finite


@dataclasses.dataclass(frozen=True)
class Finding:
    """The answer to one question of the study.

    Attributes
    ----------
    verdict : str
        In a few words; chosen by thresholds from the data.
    sentences : sequence of str
        Three, each with its numbers and their spread.
    figure : mapping
        One chart; see `lines`, `dots`, `bars` and `panels`.
    numbers : mapping
        The numbers behind, for machines.
    tables : sequence of mapping
        See `table`.
    remarks : sequence of str
        What to know when reading it.
    """

    verdict: str
    sentences: Sequence[str]
    figure: Mapping[str, Any]
    numbers: Mapping[str, Any]
    tables: Sequence[Mapping[str, Any]] = ()
    remarks: Sequence[str] = ()

    def as_json(self, question: str) -> dict[str, Any]:
        """The entry of `findings.json`."""
        return finite({"question": question, **dataclasses.asdict(self)})


def table(caption: str, head: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """A table; the first entry of each row is its head."""
    return {"caption": caption, "head": head, "columns": list(columns), "rows": [[str(v) for v in row] for row in rows]}


def lines(caption: str, x: str, y: str, curves: Mapping[str, tuple[Any, Any]], **look: Any) -> dict[str, Any]:
    """Curves y(x) by name.

    `logs` names the logarithmic axes; `marks` are levels to draw across, by name; `falls`: x falls during training, so
    the axis runs from large to small; `points`: no lines between.
    """
    drawn = {name: {"x": list(map(float, a)), "y": list(map(float, b))} for name, (a, b) in curves.items()}
    usual = {"logs": "xy", "marks": {}, "falls": False, "points": False}
    return {"kind": "lines", "caption": caption, "x": x, "y": y, "curves": drawn, **usual, **look}


def dots(caption: str, x: str, values: Mapping[str, Mapping[str, Sequence[Amount]]]) -> dict[str, Any]:
    """One panel for each group, one row for each name, a dot for each run; an arrow where a cost is a bound.

    A cross where a run never got there: it has no value, and "never" for a bound.
    """
    shown = {
        group: {
            name: [[None, "never"] if math.isinf(amount.value) else [amount.value, amount.bound] for amount in amounts]
            for name, amounts in rows.items()
        }
        for group, rows in values.items()
    }
    return {"kind": "dots", "caption": caption, "x": x, "values": shown}


def bars(caption: str, x: str, parts: Sequence[str], shares: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """One bar for each name, cut into parts that add up to 100%."""
    rows = {name: list(map(float, row)) for name, row in shares.items()}
    return {"kind": "bars", "caption": caption, "x": x, "parts": list(parts), "bars": rows}


def panels(caption: str, charts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Charts of kind "lines" side by side, with one look for each name."""
    return {"kind": "panels", "caption": caption, "charts": list(charts)}


def listed(words: Sequence[str]) -> str:
    """A list in words: "a, b and c".

    Examples
    --------
    >>> listed(["a", "b", "c"]), listed([])
    ('a, b and c', 'none')
    """
    words = list(words)
    return "none" if not words else words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def verdict(right: int, total: int) -> str:
    """Whether a suspicion is "right" (all cases say so), "wrong" (none does), or "partly" right.

    Examples
    --------
    >>> verdict(5, 5), verdict(2, 5), verdict(0, 5)
    ('right', 'partly', 'wrong')
    """
    return "cannot be told" if not total else "right" if right == total else "wrong" if not right else "partly"
