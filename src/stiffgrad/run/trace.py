"""What a run leaves behind: its statistics, its trace (one row a step) and its solution."""

from __future__ import annotations

import dataclasses
import functools
import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stiffgrad import _archive, _checks, _display
from stiffgrad._extras import require
from stiffgrad._types import Outcome, Params
from stiffgrad.objective import Objective
from stiffgrad.run.saving import packed, unpacked

FORMAT, VERSION = "stiffgrad solution", 1


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Cumulative counts of a run. `None` where a solver cannot tell, never 0.

    One presentation is one gradient over the whole training set. A Hessian or Gauss-Newton product counts 2, a
    dense Jacobian of k outputs k, a dense Hessian 2n, and an evaluation of the loss alone counts 1 as well (it
    presents every sample once).
    """

    steps: int | None = None
    rejected_steps: int | None = None
    error_test_failures: int | None = None
    newton_iterations: int | None = None
    newton_failures: int | None = None
    rhs_evaluations: int | None = None
    loss_evaluations: int | None = None
    jacobian_evaluations: int | None = None
    hessian_products: int | None = None
    factorizations: int | None = None
    linear_solves: int | None = None
    presentations: int | None = None

    @classmethod
    def from_row(cls, row: Mapping[str, float]) -> Statistics:
        """Read the counts of one trace row; a missing or NaN count becomes None."""
        counts = {name: row.get(name, np.nan) for name in COUNTS}
        return cls(**{name: None if np.isnan(value) else int(value) for name, value in counts.items()})


COUNTS: tuple[str, ...] = tuple(field.name for field in dataclasses.fields(Statistics))
COLUMNS: tuple[str, ...] = ("flow_time", "step_size", "order", "loss", "gradient_norm", "wall_seconds", *COUNTS)


class Trace:
    """Columns of numbers, one row a step; row 0 is the start.

    Every trace has the columns of `COLUMNS` (NaN where a solver cannot tell); solvers add their own. Long runs are
    thinned: the first, the last and the best row are always kept. `wall_seconds` counts solving time since the
    start, compilation left out; inside one compiled chunk it is interpolated. `flow_time` has no unit.

    Examples
    --------
    >>> trace = Trace({"steps": np.array([0.0, 1.0]), "loss": np.array([2.0, 1.0])})
    >>> len(trace), float(trace["loss"][-1])
    (2, 1.0)
    """

    def __init__(self, columns: Mapping[str, NDArray[np.float64]]) -> None:
        self._columns = dict(columns)

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        if name not in self._columns:
            raise KeyError(f"the trace has no column {name!r}; it has {', '.join(self._columns)}")
        return self._columns[name]

    def __len__(self) -> int:
        return len(next(iter(self._columns.values()), ()))

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __repr__(self) -> str:
        return f"Trace({len(self)} rows: {', '.join(self._columns)})"

    def row(self, index: int) -> dict[str, float]:
        """One row as a dict."""
        return {name: float(column[index]) for name, column in self._columns.items()}

    def to_pandas(self) -> Any:
        """The trace as a `pandas.DataFrame`; counts are nullable integers."""
        frame = require("pandas", "report", "trace.to_pandas()").DataFrame(self._columns)
        for name in (name for name in COUNTS if name in frame):
            frame[name] = frame[name].astype("Int64")
        return frame

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the trace as CSV; a count that the solver cannot tell is empty."""
        self.to_pandas().to_csv(path, index=False)

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write the trace as Parquet, which also needs pyarrow."""
        frame = self.to_pandas()
        require("pyarrow", "parquet", "trace.to_parquet()")
        frame.to_parquet(path, index=False)

    def plot(self) -> Any:
        """Loss and gradient norm by steps and by seconds, as a `matplotlib.figure.Figure`."""
        figure, axes = _display.figure(2, "trace.plot()")
        for axis, name, label in zip(axes, ("steps", "wall_seconds"), ("accepted steps", "wall seconds"), strict=True):
            for column, colour, dash in (("loss", _display.BLUE, "-"), ("gradient_norm", _display.ORANGE, "--")):
                values = np.where(self[column] > 0, self[column], np.nan)  # a logarithm shows no others
                axis.plot(self[name], values, color=colour, linestyle=dash, label=column.replace("_", " "))
            axis.set(xlabel=label, yscale="log")
        axes[0].legend(frameon=False)
        return figure


@dataclasses.dataclass(slots=True)
class _Piece:
    """Rows at equal distances, as columns: the number of the first one, counted from the start, and the columns.

    A single row keeps its own dict, so that the driver can still add to it.
    """

    first: int
    columns: Mapping[str, Any]

    def __len__(self) -> int:
        loss = self.columns["loss"]
        return len(loss) if isinstance(loss, np.ndarray) else 1

    def every_second(self, stride: int) -> _Piece | None:
        """The rows whose number is a multiple of `stride`, twice their distance; None if there are none."""
        offset = 0 if self.first % stride == 0 else 1
        if offset >= len(self):
            return None
        if len(self) == 1:
            return self
        columns = {name: column[offset::2] for name, column in self.columns.items()}
        return _Piece(self.first + offset * stride // 2, columns)


class TraceBuilder:
    """Collects rows and thins them: after `max_rows` every second row goes, but never the first, last or best.

    Nor does the first row at which a column is at or below a value, for every (column, value) of `marks`.

    Rows of a compiled chunk stay columns throughout: a row of a tiny network takes a microsecond to compute, and a
    dict of it as long to make.
    """

    def __init__(self, max_rows: int = 4096, marks: Iterable[tuple[str, float]] = ()) -> None:
        self.max_rows = max_rows
        self._marks = frozenset(marks)
        self._unmet = set(self._marks)
        self._met: list[tuple[int, dict[str, float]]] = []
        self._pieces: list[_Piece] = []
        self._kept = 0
        self._seen = 0
        self._stride = 1
        self._best: tuple[int, dict[str, float]] | None = None
        self._last: dict[str, float] | None = None

    def append(self, row: dict[str, float]) -> None:
        """Add the row of one step; a second row of step 0 (the solver's own view of the start) replaces the first."""
        if self._seen == 1 and row.get("steps") == 0.0:
            self._pieces, self._kept, self._seen, self._best = [], 0, 0, None
            self._met, self._unmet = [], set(self._marks)
        if self._best is None or row["loss"] < self._best[1]["loss"]:
            self._best = self._seen, row
        self._last = row
        if self._unmet:
            self._mark(row)
        if self._seen % self._stride == 0:
            self._keep(_Piece(self._seen, row), 1)
        self._seen += 1

    def extend(self, rows: Mapping[str, NDArray[np.float64]]) -> None:
        """Add the rows of one compiled chunk, given as columns of equal length."""
        loss = np.asarray(rows["loss"])
        if len(loss) == 1:
            self.append({name: float(column[0]) for name, column in rows.items()})
            return
        lowest = int(np.argmin(np.where(np.isnan(loss), np.inf, loss)))
        if self._best is None or loss[lowest] < self._best[1]["loss"]:
            self._best = self._seen + lowest, {name: float(column[lowest]) for name, column in rows.items()}
        self._last = {name: float(column[-1]) for name, column in rows.items()}
        self._mark(rows)
        offset = -self._seen % self._stride
        if offset < len(loss):
            columns = {name: column[offset :: self._stride].copy() for name, column in rows.items()}
            self._keep(_Piece(self._seen + offset, columns), len(columns["loss"]))
        self._seen += len(loss)

    def _mark(self, rows: Mapping[str, Any]) -> None:
        for name, value in [mark for mark in self._unmet if mark[0] in rows]:
            met = np.atleast_1d(rows[name]) <= value
            if met.any():
                first = int(np.argmax(met))
                row = {column: float(np.atleast_1d(values)[first]) for column, values in rows.items()}
                self._met.append((self._seen + first, row))
                self._unmet.remove((name, value))

    def _keep(self, piece: _Piece, rows: int) -> None:
        self._pieces.append(piece)
        self._kept += rows
        while self._kept > self.max_rows:
            self._stride *= 2
            thinned = [piece.every_second(self._stride) for piece in self._pieces]
            self._pieces = [piece for piece in thinned if piece is not None]
            self._kept = sum(map(len, self._pieces))

    @property
    def empty(self) -> bool:
        """Whether no row was recorded yet."""
        return self._last is None

    @property
    def last(self) -> dict[str, float]:
        """The newest row."""
        assert self._last is not None, "no row was recorded yet"
        return self._last

    def build(self) -> Trace:
        """The trace so far."""
        return Trace(self._rows()[1])

    def saved(self) -> dict[str, NDArray[np.float64]]:
        """All that `restored` needs, as arrays."""
        numbers, columns = self._rows()
        return {**columns, "_number": numbers, "_thinned": np.array([self._seen, self._stride])}

    @classmethod
    def restored(cls, saved: Mapping[str, NDArray[np.float64]]) -> TraceBuilder:
        """A builder that goes on where `saved` was called."""
        builder = cls()
        columns = {name: column for name, column in saved.items() if not name.startswith("_")}
        numbers = saved["_number"]
        builder._seen, builder._stride = map(int, saved["_thinned"])
        even = numbers % builder._stride == 0  # a row that is only the best or the last comes back by itself
        builder._pieces = [_Piece(0, {name: column[even] for name, column in columns.items()})]
        builder._kept = int(even.sum())
        rows = [{name: float(column[i]) for name, column in columns.items()} for i in range(len(numbers))]
        lowest = int(np.argmin(np.where(np.isnan(columns["loss"]), np.inf, columns["loss"])))
        builder._best, builder._last = (int(numbers[lowest]), rows[lowest]), rows[-1]
        return builder

    def _rows(self) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float64]]]:
        """Numbers of the kept rows, counted from the start, and their columns, in order."""
        pieces = list(self._pieces)
        extra = [*self._met] if self._best is None else [*self._met, self._best]
        if self._last is not None:
            extra.append((self._seen - 1, self._last))
        pieces += [_Piece(number, row) for number, row in dict(extra).items() if number % self._stride]
        names = dict.fromkeys([*COLUMNS, *(name for piece in pieces for name in piece.columns)])
        each = [piece.first + self._stride * np.arange(len(piece)) for piece in pieces]
        numbers = np.concatenate(each) if pieces else np.zeros(0, int)
        order = np.argsort(numbers)

        def column(name: str) -> NDArray[np.float64]:
            parts = [np.atleast_1d(p.columns[name]) if name in p.columns else np.full(len(p), np.nan) for p in pieces]
            return np.concatenate(parts).astype(float)[order]

        return numbers[order], {name: column(name) for name in names}


@dataclasses.dataclass(frozen=True)
class FlowPath:
    """The weights at the flow times that `solve(save_at=...)` asked for, as far as the run came.

    Attributes
    ----------
    times : array of shape (k,)
        Flow times, which have no unit.
    weights : array of shape (k, n)
        Flat parameters; `Objective.unflatten` gives their pytree.
    """

    times: NDArray[np.float64]
    weights: NDArray[np.floating]

    def __len__(self) -> int:
        return len(self.times)


@dataclasses.dataclass(frozen=True)
class Solution:
    """The result of `solve`.

    Attributes
    ----------
    params : pytree
        The parameters in the shape they were given.
    w : array of shape (n,)
        The same, flat.
    loss, gradient_norm : float
        The objective and the Euclidean norm of its gradient at `w`.
    outcome : Outcome
        How the run ended; `message` adds the solver's own words and the advice.
    statistics : Statistics
        Cumulative counts.
    trace : Trace
        One row a step.
    wall_seconds, compile_seconds : float
        Time spent solving, and compiling before that.
    solver : str
        What ran; for "auto" also what it chose and why.
    best_params : pytree or None
        With `validation`: the parameters of the best validation score.
    state : object
        The solver's own last state, for inspection and for resuming.
    restore : callable or None
        For `model`: a model of the given kind from its parameters.
    path : FlowPath or None
        With `save_at`: times and weights.
    predictor : callable or None
        For `predict`: outputs from flat parameters and samples.
    """

    params: Params
    w: Any
    loss: float
    gradient_norm: float
    outcome: Outcome
    message: str
    statistics: Statistics
    trace: Trace
    wall_seconds: float
    compile_seconds: float
    solver: str
    best_params: Params | None = None
    state: Any = dataclasses.field(default=None, repr=False)
    restore: Callable[[Params], Any] | None = dataclasses.field(default=None, repr=False)
    path: FlowPath | None = None
    predictor: Callable[[Any, Any], Any] | None = dataclasses.field(default=None, repr=False)

    @functools.cached_property  # one model: what is done to it, as model.eval(), stays
    def model(self) -> Any:
        """The trained model, of the kind that was given to the objective, with its number types and devices.

        Raises
        ------
        ValueError
            The objective was made of a function: the trained parameters are `params`.
        """
        if self.restore is None:
            raise ValueError(
                "this solution knows no model: it was made of a function, or read from a file; its parameters are "
                "solution.params and its outputs solution.predict(X); load(path, objective) or "
                "objective.restore(params) makes a model of them"
            )
        return self.restore(self.params)

    def predict(self, X: Any) -> Any:
        """Outputs of the trained function for samples X, any number of them, as a NumPy array.

        In the objective's number type, whatever JAX is set to: `Objective.predict` with `params`.

        Parameters
        ----------
        X : array (N, ...) or pytree of arrays
            Samples, as in training; their number is free.

        Returns
        -------
        array
            (N,) or (N, k), as the targets were; (N, k) logits for the cross entropies with labels.

        Raises
        ------
        ValueError
            The objective had several terms or was a scalar, the solution was read without its objective, or X does not
            fit.

        Examples
        --------
        >>> import stiffgrad as sg
        >>> X = np.linspace(-1, 1, 20)[:, None]
        >>> solution = sg.solve(sg.supervised(sg.mlp([1, 4, 1]), X, 2 * X[:, 0]), until=sg.Until(loss=1e-12))
        >>> solution.predict([[0.25]]).round(3).tolist()
        [0.5]
        """
        if self.predictor is None:
            raise ValueError(
                "this solution knows no function of one sample: its objective had several terms or was a scalar, or it "
                "was read from a file, where load(path, objective) gives the function"
            )
        return self.predictor(self.w, X)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all but the solver's state and the model's code to a file, for `stiffgrad.load`.

        A zip of JSON and NumPy arrays, by custom ending in `.npz`; `numpy.load(path)["w"]` reads the weights too.
        Parameters keep their structure where it is of dicts, lists and tuples; otherwise `load` needs the objective.

        Raises
        ------
        ValueError, OSError
            The file cannot be written; an old one is then untouched.
        """
        file = _archive.target(path, "path")
        arrays: dict[str, Any] = {"w": np.asarray(self.w)}
        arrays |= {f"trace.{name}": self.trace[name] for name in self.trace}
        settings: dict[str, Any] = {"format": FORMAT, "version": VERSION, "outcome": self.outcome.name}
        settings |= {name: getattr(self, name) for name in SCALARS}
        settings["statistics"] = dataclasses.asdict(self.statistics)
        for name in ("params", "best_params"):
            try:
                settings[name], leaves = packed(getattr(self, name), name)
            except TypeError:  # a container of the user's own, whose code a file must not name
                settings[name], leaves = None, {}
            arrays |= leaves
        if self.path is not None:
            arrays |= {"path.times": self.path.times, "path.weights": self.path.weights}
        settings["shapes"] = {name: list(np.shape(array)) for name, array in arrays.items()}
        _archive.write(file, settings, arrays)

    def plot(self) -> Any:
        """Loss and gradient norm by steps and by seconds, as a `matplotlib.figure.Figure`."""
        figure = self.trace.plot()
        figure.suptitle(f"{self.solver.partition(',')[0]}: {self.outcome.value}", fontsize="medium")
        return figure

    def __getstate__(self) -> dict[str, Any]:
        """For pickle: without the solver's state, and without the model's code where that cannot be pickled."""
        state = {**self.__dict__, "state": None}
        for name in ("restore", "predictor"):
            try:
                pickle.dumps(state[name])
            except Exception:  # a library may raise anything here
                state[name] = None
        return state

    def _repr_html_(self) -> str:
        counts = {name.replace("_", " "): f"{count:,}" for name, count in self._counts().items()}
        rows = {
            "loss": f"{self.loss:.6e}",
            "gradient norm": f"{self.gradient_norm:.3e}",
            "wall seconds": f"{self.wall_seconds:.3f} (and {self.compile_seconds:.3f} to compile)",
        }
        return _display.table(f"Solution by {self.solver}: {self.outcome.value}", {**rows, **counts}, self.message)

    def _counts(self) -> dict[str, int]:
        return {name: count for name, count in dataclasses.asdict(self.statistics).items() if count is not None}

    def __repr__(self) -> str:
        counts = ", ".join(f"{name}={count}" for name, count in self._counts().items())
        return (
            f"Solution by {self.solver}: {self.outcome.value}\n"
            f"  loss           {self.loss:.6e}\n"
            f"  gradient norm  {self.gradient_norm:.3e}\n"
            f"  wall seconds   {self.wall_seconds:.3f} (and {self.compile_seconds:.3f} to compile)\n"
            f"  counts         {counts}\n"
            f"  {self.message}"
        )


SCALARS = ("loss", "gradient_norm", "message", "wall_seconds", "compile_seconds", "solver")


def load(path: str | os.PathLike[str], objective: Objective | None = None) -> Solution:
    """Read what `Solution.save` wrote. No code is run, whatever the file holds.

    Parameters
    ----------
    path : path-like
        The file.
    objective : Objective, optional
        That the solution is of: gives `params` its structure, and `model` and `predict`.

    Returns
    -------
    Solution
        Without the solver's state. Where the parameters were no plain containers and no objective is given, `params`
        is the flat vector.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is damaged, of something else, of a newer stiffgrad, or of another objective.

    Examples
    --------
    >>> import tempfile, stiffgrad as sg
    >>> objective = sg.minimise(lambda p: (p["a"] - 1.0) ** 2, {"a": 0.0})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sg.solve(objective).save(f"{folder}/solution.npz")
    ...     round(float(sg.load(f"{folder}/solution.npz").params["a"]), 3)
    1.0
    """
    settings, arrays = _archive.read(_archive.given(path, "path"), _shapes)
    with _archive.damage(path):
        w = arrays["w"]
        best = unpacked(settings["best_params"], "best_params", arrays)
        params = w if settings["params"] is None else unpacked(settings["params"], "params", arrays)
        columns = checked({n.removeprefix("trace."): array for n, array in arrays.items() if n.startswith("trace.")})
        times, weights = arrays.get("path.times"), arrays.get("path.weights")
        solution = Solution(
            params=params,
            w=w,
            outcome=Outcome[settings["outcome"]],
            statistics=Statistics(**settings["statistics"]),
            trace=Trace(columns),
            best_params=best,
            path=None if times is None or weights is None else FlowPath(times, weights),
            **{name: settings[name] for name in SCALARS},
        )
    if objective is None:
        return solution
    if w.shape != (objective.size,):
        raise ValueError(f"{path} holds {w.size} parameters, but the objective has {objective.size}: it is another one")
    return dataclasses.replace(
        solution, params=objective.unflatten(w), restore=objective.restore, predictor=objective.predictor
    )


def _shapes(settings: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    if settings.get("format") != FORMAT:
        raise ValueError(f"it is no {FORMAT}; it says format={settings.get('format')!r}")
    if settings.get("version") != VERSION:
        raise ValueError(f"it is of version {settings.get('version')!r}, and this stiffgrad reads {VERSION}")
    shapes = {name: tuple(_checks.whole(name, size) for size in shape) for name, shape in settings["shapes"].items()}
    weights = shapes.get("w", ())
    if len(weights) != 1:
        raise ValueError("it has no weights")
    for name in SCALARS:
        kinds = (str,) if name in ("message", "solver") else (int, float)  # numbers, NaN of a diverged run among them
        if not isinstance(settings[name], kinds) or isinstance(settings[name], bool):
            raise ValueError(f"its {name!r} is no {'text' if kinds == (str,) else 'number'}")
    _checks.choice("outcome", settings["outcome"], tuple(Outcome.__members__))
    for name, count in settings["statistics"].items():
        _checks.choice("statistics", name, COUNTS)
        if count is not None:
            _checks.whole(name, count)
    times, path = shapes.get("path.times"), shapes.get("path.weights")
    if (times, path) != (None, None) and (times is None or len(times) != 1 or path != times + weights):
        raise ValueError(f"its path has times of shape {times} and weights of shape {path}")
    return shapes


def checked(columns: dict[str, Any]) -> dict[str, Any]:
    """The columns of a trace as they were read: all that every trace has, of one length, counts whole or unknown."""
    missing = sorted(set(COLUMNS) - set(columns))
    if missing:
        raise ValueError(f"its trace has no column {missing[0]!r}")
    if {column.shape for column in columns.values()} != {(len(columns["loss"]),)} or not len(columns["loss"]):
        raise ValueError("the columns of its trace differ in their lengths, or are empty")
    for name in COUNTS:
        known = columns[name][~np.isnan(columns[name])]
        if np.any(known % 1) or np.any(known < 0) or np.any(known > 2.0**62):
            raise ValueError(f"its trace has a {name!r} that is no count")
    return {name: column.astype(float) for name, column in columns.items()}
