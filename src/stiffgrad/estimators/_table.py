"""A table with mixed columns in, predictions out: what `stiffgrad fit` and `stiffgrad predict` do with a CSV file."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import OneHotEncoder

from stiffgrad import _archive, _checks
from stiffgrad.estimators import _csv, _files
from stiffgrad.estimators._classifier import FlowClassifier
from stiffgrad.estimators._network import Matrix
from stiffgrad.estimators._regressor import FlowRegressor

MAX_CATEGORIES = 60  # a text column with more is an identifier or free text, and is left out; see `_is_free`
MAX_CLASSES = 20  # whole numbers with no more different values are classes
HELD_OUT = 0.2
MISSING = "missing"


@dataclasses.dataclass(frozen=True)
class Columns:
    """How columns become numbers: medians fill numeric ones, a category of their own the others, which are one-hot.

    Dates are numbers too, days since 1970; `dates` tells how they are written, `decimal` how numbers are.
    """

    medians: dict[str, float]
    categories: dict[str, list[str]]
    left_out: list[str]
    dates: dict[str, str] = dataclasses.field(default_factory=dict)
    decimal: str = "."

    @classmethod
    def of(cls, frame: pd.DataFrame, decimal: str | None = None) -> tuple[Columns, list[str]]:
        """Learn them from a table; and what was recognised, in words."""
        medians, categories, left_out, dates, notes = {}, {}, [], {}, []
        decimal = decimal_of(frame, decimal)
        for name in map(str, frame.columns):
            column, note = frame[name], ""
            if column.isna().all():
                left_out.append(name)
                continue
            if _is_text(column):
                form = _csv.date_format(column)
                if form is not None:
                    dates[name], note = form, f"{name}: dates, as days"
                    column = _csv.days(column, form)
                else:
                    found, note = _csv.numbers(column, decimal)
                    column = column if found is None else found
            notes += [note] if note else []
            if pd.api.types.is_numeric_dtype(column):
                values = _finite(column.to_numpy(np.float64, na_value=np.nan), name)[:, None]
                medians[name] = float(SimpleImputer(strategy="median").fit(values).statistics_[0])
            elif _is_free(column) or (name.startswith("column ") and name.endswith(" without a name")):
                left_out.append(name)
            else:
                encoder = OneHotEncoder(sparse_output=False).fit(_text(column))
                categories[name] = [str(level) for level in encoder.categories_[0]]
        if not medians and not categories:
            raise ValueError("the table has no column to learn from: every one is empty or free text")
        notes += ["numbers have a decimal comma"] if decimal == "," else []
        return cls(medians, categories, left_out, dates, decimal), notes

    @property
    def names(self) -> list[str]:
        """Columns that are used, in order."""
        return [*self.medians, *self.categories]

    def encode(self, frame: pd.DataFrame) -> Matrix:
        """The inputs (N, d) of a table that has all these columns; an unknown category is all zeros."""
        absent = [name for name in self.names if name not in frame.columns]
        if absent:
            raise ValueError(f"the table lacks the columns {', '.join(absent)}; it has {', '.join(map(str, frame))}")
        parts = []
        for name, median in self.medians.items():
            column = frame[name]
            if name in self.dates:
                column = _csv.days(column, self.dates[name])
            elif _is_text(column) and not column.isna().all():
                column = _csv.numbers(column, self.decimal, must=True)[0]
            try:
                values = column.to_numpy(np.float64, na_value=np.nan)
            except (TypeError, ValueError):
                raise ValueError(f"column {name!r} must hold numbers, as it did when the model was fitted") from None
            values = _finite(values, name)
            parts.append(np.where(np.isnan(values), median, values)[:, None])
        for name, levels in self.categories.items():
            encoder = OneHotEncoder(categories=[levels], handle_unknown="ignore", sparse_output=False)
            parts.append(encoder.fit(np.array(levels, object)[:1, None]).transform(_text(frame[name])))
        return np.concatenate(parts, axis=1)


def decimal_of(frame: pd.DataFrame, given: str | None = None) -> str:
    """The decimal sign of the numbers in a table's columns of text."""
    return _csv.decimal_of((frame[name] for name in frame if _is_text(frame[name])), given)


def _is_text(column: pd.Series) -> bool:
    return not pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _is_free(column: pd.Series) -> bool:
    """Whether text has so many values that it is free text, or names each row: no categories to learn from."""
    return column.nunique() > MAX_CATEGORIES or (column.nunique() > _csv.FEW and 2 * column.nunique() > column.count())


def _finite(values: Matrix, name: str) -> Matrix:
    if np.isinf(values).any():
        raise ValueError(f"column {name!r} contains infinity: remove or correct those rows")
    if np.nanmax(np.abs(values), initial=0.0) > _csv.LARGEST:
        raise ValueError(f"column {name!r} holds numbers beyond {_csv.LARGEST:g}, whose squares overflow: rescale it")
    return values


def _text(column: pd.Series) -> np.ndarray[Any, Any]:
    return column.astype(object).where(column.notna(), MISSING).astype(str).to_numpy(object)[:, None]


@dataclasses.dataclass
class TableModel:
    """A fitted estimator with the columns it reads.

    Attributes
    ----------
    target : str
        The column that is predicted.
    columns : Columns
        How the columns of a table become numbers.
    estimator : FlowRegressor or FlowClassifier
        What was fitted to those numbers.
    score : float
        R2 or accuracy on the held-out part, of a model that did not see it; the estimator itself saw all rows.
    notes : list of str
        What was recognised in the table that it was fitted to: dates, marks for missing values, a decimal comma.
    """

    target: str
    columns: Columns
    estimator: FlowRegressor | FlowClassifier
    score: float
    notes: list[str] = dataclasses.field(default_factory=list)

    @classmethod
    def fit(
        cls, frame: pd.DataFrame, target: str, task: str | None = None, seed: int = 0, decimal: str | None = None
    ) -> TableModel:
        """Fit to a table; numbers may be text with a decimal point or comma. Raises ValueError naming what is wrong."""
        _checks.whole("seed", seed, most=2**32 - 1)
        twice = [str(name) for name in frame.columns[frame.columns.duplicated()]]
        if twice:
            raise ValueError(f"the column {twice[0]!r} occurs twice: rename or remove one")
        if target not in frame.columns:
            raise ValueError(f"target={target!r} is no column; the table has {', '.join(map(str, frame.columns))}")
        rows, frame = len(frame), frame[frame[target].notna()]
        if len(frame) < 5:
            raise ValueError(f"the table has {len(frame)} rows with a value of {target!r}; at least 5 are needed")
        if task is not None:
            _checks.choice("task", task, ("regression", "classification"))
        columns, notes = Columns.of(frame.drop(columns=target), decimal_of(frame, decimal))
        wanted, note = _known(frame[target], columns.decimal)
        frame = frame[wanted.notna()]
        task = infer_task(wanted.dropna()) if task is None else task
        X, y = columns.encode(frame), _target(wanted.dropna(), task)
        classes = y if task == "classification" and np.unique(y, return_counts=True)[1].min() > 1 else None
        split = train_test_split(X, y, test_size=HELD_OUT, random_state=seed, stratify=classes)
        score = _estimator(task, seed).fit(split[0], split[2]).score(split[1], split[3])
        notes += [note] if note else []
        notes += [f"{rows - len(y)} rows without a value of {target!r} left out"] if len(y) < rows else []
        return cls(target, columns, _estimator(task, seed).fit(X, y), float(score), notes)

    @property
    def task(self) -> str:
        """Whether it is a "regression" or a "classification"."""
        return "regression" if isinstance(self.estimator, FlowRegressor) else "classification"

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Predictions, with standard deviations or the probability of each class."""
        X = self.columns.encode(frame)
        if not len(X):
            raise ValueError("the table has no rows to predict")
        if isinstance(self.estimator, FlowRegressor):
            mean, std = self.estimator.predict(X, return_std=True)
            return pd.DataFrame({self.target: mean, _csv.unlike("standard deviation", [self.target]): std})
        found = pd.DataFrame({self.target: self.estimator.predict(X)})
        for label, column in zip(self.estimator.classes_, self.estimator.predict_proba(X).T, strict=True):
            found[_csv.unlike(f"probability of {label}", list(found))] = column
        return found

    def save(self, path: str | Path) -> None:
        """Write the model; the file holds numbers and text, no code."""
        settings, arrays = _files.state_of(self.estimator)
        settings |= {"task": self.task, "target": self.target, "score": self.score}
        settings["columns"] = dataclasses.asdict(self.columns)
        _files.write(Path(path), settings, arrays)

    @classmethod
    def load(cls, path: str | Path) -> TableModel:
        """Read a model. Raises ValueError for a file that is damaged, foreign or of another version."""
        settings, arrays = _files.read(_archive.given(path, "path"))
        with _archive.damage(path):
            kind = {"regression": FlowRegressor, "classification": FlowClassifier}[settings["task"]]
            estimator = _files.restore(kind(), settings, arrays)
            return cls(settings["target"], Columns(**settings["columns"]), estimator, settings["score"])


def _known(target: pd.Series, decimal: str) -> tuple[pd.Series, str]:
    """A target of text that holds numbers, as numbers."""
    if not _is_text(target):
        return target, ""
    found, note = _csv.numbers(target, decimal)
    return (target, "") if found is None else (found, note)


def infer_task(target: pd.Series) -> str:
    """Classification for text, truth values, and whole numbers with few different values; else regression."""
    if pd.api.types.is_bool_dtype(target) or not pd.api.types.is_numeric_dtype(target):
        return "classification"
    values = target.to_numpy(np.float64)
    few = len(np.unique(values)) <= min(MAX_CLASSES, max(2, len(values) // 5))
    return "classification" if few and np.all(values == np.round(values)) else "regression"


def _target(target: pd.Series, task: str) -> np.ndarray[Any, Any]:
    if task == "regression":
        if not pd.api.types.is_numeric_dtype(target):
            raise ValueError(f"target {target.name!r} holds text: regression needs numbers")
        return _finite(target.to_numpy(np.float64), str(target.name))
    if len(target.unique()) > len(target) // 2:
        raise ValueError(f"target {target.name!r} has nearly as many values as rows: these are no classes")
    signed = pd.api.types.is_integer_dtype(target) and target.dtype != np.uint64
    return target.to_numpy(np.int64) if signed else target.astype(str).to_numpy(object)


def _estimator(task: str, seed: int) -> FlowRegressor | FlowClassifier:
    return FlowRegressor(random_state=seed) if task == "regression" else FlowClassifier(random_state=seed)
