"""Rows of a table as words, for the terminal and for Markdown."""

from __future__ import annotations

import math

from stiffgrad.laboratory.tables import Row

COLUMNS = (
    "problem", "solver", "solved", "easy", "medium", "deep", "ratio", "presentations", "compile", "total", "tuning",
    "ended",
)  # fmt: skip
NUMBERS = COLUMNS[2:-1]  # aligned to the right


def shown(row: Row) -> tuple[str, ...]:
    """One row as text, in the order of `COLUMNS`; times in seconds."""
    times = (seconds(value) for value in (row.easy_seconds, row.medium_seconds, row.deep_seconds))
    costs = (seconds(value) for value in (row.compile_seconds, row.total_seconds, row.tuning_seconds))
    ended = ", ".join(f"{name.lower().replace('_', ' ')} {count}" for name, count in row.outcomes.items())
    presentations = "-" if row.presentations is None else f"{row.presentations:,.0f}"
    return (
        row.problem,
        row.solver,
        f"{row.solved}/{row.total}",
        *times,
        factor(row.ratio),
        presentations,
        *costs,
        ended,
    )


def seconds(value: float | None) -> str:
    """Seconds to three digits; "never" for infinity, "-" where there is nothing to say.

    Examples
    --------
    >>> seconds(0.01234), seconds(float("inf")), seconds(None)
    ('0.0123', 'never', '-')
    """
    if value is None:
        return "-"
    return "never" if math.isinf(value) else f"{value:.3g}"


def factor(value: float | None) -> str:
    """A ratio, such as 2.5; "-" where it has no meaning.

    Examples
    --------
    >>> factor(2.5), factor(123.4), factor(None)
    ('2.50', '123', '-')
    """
    if value is None or math.isinf(value):
        return "-"
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"
