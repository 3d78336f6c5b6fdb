"""A warning where the size of inputs or targets alone spoils the fit of a perceptron.

The usual starts suppose inputs and targets near 1 (Glorot and Bengio 2010; LeCun et al., "Efficient BackProp", 1998,
section 4.3). The bounds are from `benchmarks/scales.py`, on a smooth function of two inputs: within them `auto` fits it
from most starts, beyond them it may end at a poor stationary point or take long.
"""

from __future__ import annotations

import warnings
from typing import Any

import jax
import numpy as np

from stiffgrad._checks import stacklevel

LARGE, SMALL = 90.0, 1e-4  # root mean square of a column of inputs
WIDE, OFFSET = 1e4, 500.0  # deviation of targets, and their mean in deviations
_ROWS = 1000  # looked at, evenly spread


def warn(X: Any, y: Any = None) -> None:
    """Warn of inputs (N, d), and of targets (N,) or (N, k) of a squared loss where given, far from size 1.

    Examples
    --------
    >>> import pytest
    >>> with pytest.warns(UserWarning, match="column 1 of X has size 1e"):
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
    sizes = np.sqrt(np.mean(seen**2, axis=0))
    largest = int(np.argmax(sizes))
    smallest = int(np.argmin(np.where(sizes > 0, sizes, np.inf)))  # a column of zeros says nothing
    if sizes[largest] > LARGE:
        column, harm = largest, "there the units saturate, and the fit ends early or takes long"
    elif 0 < sizes[smallest] < SMALL:
        column, harm = smallest, "the network hardly sees it"
    else:
        return ""
    return (
        f"column {column} of X has size {sizes[column]:.3g} (root mean square), and the start of a network supposes "
        f"about 1: {harm}. Standardise it, (X - X.mean(0)) / X.std(0), or use stiffgrad.estimators, which do"
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
