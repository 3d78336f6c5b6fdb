"""Rows of a table as words, for the terminal and for Markdown."""

from __future__ import annotations

from stiffgrad.laboratory.tables import Row

COLUMNS = (
    "problem", "solver", "solved", "easy", "medium", "deep", "ratio", "presentations", "compile", "total", "tuning",
    "ended",
)  # fmt: skip
NUMBERS = COLUMNS[2:-1]  # aligned to the right


def shown(row: Row) -> tuple[str, ...]:
    """One row as text, in the order of `COLUMNS`; times in seconds."""
    ended = ", ".join(f"{name.lower().replace('_', ' ')} {count}" for name, count in row.outcomes.items())
    costs = (seconds(value) for value in (row.compile_seconds, row.total_seconds, row.tuning_seconds))
    return (
        row.problem,
        row.solver,
        f"{row.solved}/{row.total}",
        *map(str, (row.easy_seconds, row.medium_seconds, row.deep_seconds, row.ratio, row.presentations)),
        *costs,
        ended,
    )


def seconds(value: float | None) -> str:
    """Seconds to three digits; "–" where there is nothing to say.

    Examples
    --------
    >>> seconds(0.01234), seconds(None)
    ('0.0123', '–')
    """
    return "–" if value is None else f"{value:.3g}"
