"""What is wrong with a table that scikit-learn's checks refuse, in words that name the column and the remedy."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import issparse

_TEXT = (
    "give a column of 0 and 1 for each value (pandas.get_dummies, or sklearn.preprocessing.OneHotEncoder in a "
    "pipeline), or fit the file by `stiffgrad fit`, which does"
)
_TIMES = "give the days since the first, (t - t.min()) / numpy.timedelta64(1, 'D')"


def of(X: Any, y: Any, numeric: bool) -> str | None:
    """A sentence about X or y that were refused, where a common mistake explains it; y is `numeric`, or labels."""
    return _inputs(X) or (None if isinstance(y, str) else _targets(y, numeric))  # a str is scikit-learn's "no y"


def _inputs(X: Any) -> str | None:
    if issparse(X):
        return None
    named = hasattr(X, "columns") and hasattr(X, "iloc")
    table = X if named else np.asarray(X, object if isinstance(X, list) else None)
    if not named and table.ndim != 2:
        return None
    for number in range(table.shape[1]):
        name = repr(X.columns[number]) if named else number
        column = np.asarray(X.iloc[:, number] if named else table[:, number])
        if column.dtype.kind in "mM":
            return f"column {name} of X holds times, and numbers are asked for: {_TIMES}"
        word = _word(column)
        if word is not None:
            return f"column {name} of X holds text, such as {word!r}, and numbers are asked for: {_TEXT}"
    return None


def _targets(y: Any, numeric: bool) -> str | None:
    if y is None:
        return None
    if issparse(y):
        return "y is sparse, and an array is asked for: give y.toarray()"
    column = np.ravel(np.asarray(y))
    word = _word(column) if numeric else None
    if word is None:
        return None
    return (
        f"y holds text, such as {word!r}, and FlowRegressor fits numbers: use FlowClassifier for classes, or make "
        "numbers of it"
    )


def missing_label(y: Any) -> None:
    """Raise ValueError for labels among which None, NaN or NA stands for a missing one."""
    if y is None or issparse(y):  # refused by scikit-learn's checks
        return
    if hasattr(y, "dtype") and getattr(y.dtype, "kind", "O") not in "OT":
        return
    labels = np.ravel(np.asarray(y, object))
    # A text "None" is a label; pandas.NA, which is not imported for this, has no truth value.
    empty = [not isinstance(each, str) and str(each) in ("None", "nan", "NaT", "<NA>") for each in labels]
    if any(empty):
        raise ValueError(
            f"y has a missing label ({labels[empty.index(True)]}) in row {empty.index(True)}; Input y contains NaN or "
            "None: leave such rows out"
        )


def _word(column: Any) -> str | None:
    """The first text of a column (N,) that is no number."""
    if column.dtype.kind not in "OUST":
        return None
    for each in column:
        if isinstance(each, str):
            try:
                float(each)
            except ValueError:
                return str(each)
    return None


__all__ = ["missing_label", "of"]
