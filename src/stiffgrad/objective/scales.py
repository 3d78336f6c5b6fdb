"""A warning where the size of inputs or targets alone spoils the fit of a perceptron.

The usual starts suppose inputs and targets near 1 (Glorot and Bengio 2010; LeCun et al., "Efficient BackProp", 1998,
section 4.3). The bounds are from `benchmarks/scales.py`, on three data sets: beyond them the same work leaves several
times the loss, of the samples or of held-out ones, on some of the sets at least.
"""

from __future__ import annotations

import warnings
from typing import Any

import jax
import numpy as np

from stiffgrad._checks import stacklevel

LARGE, SMALL, FAR = 8.0, 3e-3, 8.0  # deviation of a column of inputs, and its mean
WIDE, OFFSET = 50.0, 20.0  # deviation of targets, and their mean in deviations
_ROWS = 1000  # looked at, evenly spread


def warn(X: Any, y: Any = None) -> None:
    """Warn of inputs (N, d), and of targets (N,) or (N, k) of a squared loss where given, far from size 1.

    Examples
    --------
    >>> import pytest
    >>> with pytest.warns(UserWarning, match="column 1 of X has mean 0 and deviation 1e"):
    ...     warn(np.array([[0.0, 1e4], [1.0, -1e4]]))
    """
    with np.errstate(all="ignore"):  # sizes beyond all numbers are too large as well
        lines = _inputs(X), _targets(y)
    for line in lines:
        if line:
            warnings.warn(line, stacklevel=stacklevel())


def _inputs(X: Any) -> str:
    seen = _sample(X)
    if seen is None:
        return ""
    means, deviations = np.abs(seen.mean(axis=0)), seen.std(axis=0)
    large, far = deviations / LARGE, means / FAR
    small = np.where(deviations > 0, SMALL / np.maximum(deviations, np.finfo(float).tiny), 0.0)  # a constant is a bias
    excess = np.max([large, far, small], axis=0)
    excess[np.isnan(excess)] = np.inf  # numbers whose squares overflow
    column = int(np.argmax(excess))
    if excess[column] <= 1:
        return ""
    harm = "the network hardly sees it" if small[column] == excess[column] else "units saturate"
    mean, deviation = seen[:, column].mean(), deviations[column]
    return (
        f"column {column} of X has mean {mean:.3g} and deviation {deviation:.3g}, and the start of a network supposes "
        f"about 0 and 1: {harm}, and the fit is poor or takes long. Standardise it, (X - X.mean(0)) / X.std(0), or use "
        "stiffgrad.estimators, which do"
    )


def _targets(y: Any) -> str:
    seen = None if y is None else _sample(y)
    if seen is None:
        return ""
    means, deviations = np.abs(seen.mean(axis=0)), seen.std(axis=0)
    excess = np.maximum(deviations / WIDE, means / (OFFSET * np.where(deviations > 0, deviations, np.inf)))
    column = int(np.argmax(excess))
    if excess[column] <= 1:
        return ""
    return (
        f"y has mean {seen[:, column].mean():.3g} and deviation {deviations[column]:.3g}, and the outputs of a network "
        "begin about 1: the fit may end early, far from y. Standardise it, (y - y.mean()) / y.std(), and until=Until("
        "loss=...) is then relative to the variance; or use stiffgrad.estimators.FlowRegressor, which does"
    )


def _sample(data: Any) -> Any:
    """Some rows as (n, d), or None for what is no array of this process."""
    if not hasattr(data, "__array__") or (isinstance(data, jax.Array) and not data.is_fully_addressable):
        return None
    array = np.asarray(data)
    rows = array[:: max(1, len(array) // _ROWS)]
    return rows.reshape(len(rows), -1).astype(float)
