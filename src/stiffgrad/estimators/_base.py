"""What the classifier and the regressor share: parameters, checks, standardisation, restarts, attributes."""

from __future__ import annotations

import abc
import dataclasses
import numbers
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from stiffgrad._config import one_blas_thread
from stiffgrad._memory import require
from stiffgrad._types import Outcome, Params, SolveError
from stiffgrad.analysis import minimum
from stiffgrad.estimators import _mistakes, _onnx, _screening, _training
from stiffgrad.estimators._jobs import Jobs
from stiffgrad.estimators._kept import Kept
from stiffgrad.estimators._leave_one_out import ROWS
from stiffgrad.estimators._network import ACTIVATIONS, Matrix, Network
from stiffgrad.estimators._samples import may_repeat, mean_and_scale, merged
from stiffgrad.estimators._search import Before, Search, entries
from stiffgrad.estimators._training import DENSE, ENTRIES, Fitted, Member, Settings, Task
from stiffgrad.objective import Objective
from stiffgrad.run.driver import solve
from stiffgrad.run.until import Until
from stiffgrad.solvers._base import Solver

REST = Until(gradient_norm=1e-9, wall_seconds=20.0)
ALONE = 1e6  # entries of the Jacobian up to which one BLAS thread is as fast as several
SENSED = 1000  # samples at which derivatives are taken for the importances of columns
WEAK = 1e-4  # the decay beside a validation stop, beyond dense sizes


class FlowEstimator(BaseEstimator, abc.ABC):
    """Base of `FlowClassifier` and `FlowRegressor`; their docstrings describe parameters and attributes."""

    _auto: tuple[tuple[int, ...], ...] = ((10,), (12, 12), (18, 18), (27, 27))  # what "auto" tries, by size
    _rows: Kept  # of all calls
    _columns: _screening.Columns | None = None  # that the fit is to, where these are not all
    _alone: tuple[int, ...] = (20,)  # hidden layers where "auto" fits one network only

    _parameter_constraints: dict[str, Any] = {  # noqa: RUF012  # scikit-learn's own convention
        "hidden_layer_sizes": [
            StrOptions({"auto"}),
            "array-like",
            Interval(numbers.Integral, 1, None, closed="left"),
        ],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "alpha": [StrOptions({"evidence", "relevance"}), Interval(numbers.Real, 0, None, closed="left")],
        "solver": [None, str, Solver],
        "max_iter": [Interval(numbers.Integral, 1, None, closed="left")],
        "wall_seconds": [None, Interval(numbers.Real, 0, None, closed="neither")],
        "restarts": [StrOptions({"auto"}), Interval(numbers.Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(numbers.Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(numbers.Integral, 1, None, closed="left")],
        "warm_start": ["boolean"],
        "standardise": ["boolean"],
        "verbose": ["verbose"],
        "n_jobs": [None, numbers.Integral],
    }

    def __init__(
        self,
        hidden_layer_sizes: Any = "auto",
        activation: str = "tanh",
        *,
        alpha: str | float = "evidence",
        solver: str | Solver | None = None,
        max_iter: int = 1000,
        wall_seconds: float | None = None,
        restarts: int | str = "auto",
        random_state: Any = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        warm_start: bool = False,
        standardise: bool = True,
        verbose: bool = False,
        n_jobs: int | None = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.alpha = alpha
        self.solver = solver
        self.max_iter = max_iter
        self.wall_seconds = wall_seconds
        self.restarts = restarts
        self.random_state = random_state
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.standardise = standardise
        self.verbose = verbose
        self.n_jobs = n_jobs

    # ---- what the two supply

    @abc.abstractmethod
    def _scaled_targets(self, y: Matrix, weights: Matrix) -> Matrix:
        """Targets (N, k) as the network is to meet them."""

    @abc.abstractmethod
    def _loss(self) -> str:
        """The name of the loss."""

    @abc.abstractmethod
    def _score_of(self, z: Matrix, y: Matrix, weights: Matrix) -> float:
        """The validation score of outputs, higher is better."""

    # ---- the fit

    def _fit(self, X: Matrix, y: Matrix, weights: Matrix, stratify: Any = None, held_out: Any = None) -> None:
        """Fit standardised networks to checked X (N, d) and y (N, k).

        `held_out` are inputs, targets and weights of a validation part, which else is split off where it is needed.
        """
        X = self._fitted_inputs(X)
        random = check_random_state(self.random_state)
        used = weights > 0
        if not used.any():
            raise ValueError("sample_weight is zero for every sample: give at least one a positive weight")
        stops, few = self._stops_by_validation(len(X), X.shape[1], y.shape[1]), None
        if stops and held_out is None:
            few = self._columns_that_can_be_judged(X, y, weights)
            stops = few is None
        if held_out is not None:
            held_out = (self._filled(held_out[0]), *held_out[1:])
        elif stops:
            rows = np.flatnonzero(used)
            seed = random.randint(2**31 - 1)
            fraction, classes = self.validation_fraction, None if stratify is None else stratify[rows]
            rows, other = train_test_split(rows, test_size=fraction, random_state=seed, stratify=classes)
            held_out = (X[other], y[other], weights[other])
            X, y, weights = X[rows], y[rows], weights[rows]
        X, y, weights = merged(X, y, weights)
        if isinstance(self.alpha, str) and not may_repeat(X, y):
            weights = weights * (len(weights) / weights.sum())
        self._set_scale(X, weights)
        targets = self._scaled_targets(y, weights)
        inputs = self._inputs(X)
        several = held_out is None and (self.alpha == "evidence" or (self.alpha == "relevance" and self._regression))
        tasks = [
            Task(inputs, targets, weights, self._loss(), (X.shape[1], *sizes, targets.shape[1]), self._activation)
            for sizes in (self._networks() if several else [self._network_alone()])
        ]
        # Two fits at once on two cores took nine times as long with two threads each.
        self._one_thread = few is not None or max(map(entries, tasks)) <= ALONE
        with one_blas_thread(self._one_thread):
            warm = self.warm_start and hasattr(self, "_members") and self._sizes[0] == X.shape[1]
            before = Before(self._own_members, self._lead, self.activation_) if warm else Before()
            screened = several and self.alpha == "evidence" and self.solver is None
            columns = self._columns if screened and warm and few is None else few
            search, begin = self._search(random, before, columns), time.perf_counter()
            screened = screened and not warm and few is None
            if self.alpha == "evidence" and held_out is None and not self._regression:
                found, tasks = search.committee(tasks, screened)
            else:
                judges = None if held_out is None else (self._inputs(held_out[0]), *held_out[1:])
                found, tasks = search.network(search.narrow(tasks), judges, self._starts, screened)
                found = self._with_noise(found, tasks, held_out is not None, search, begin)
            self._columns = search.columns
            self._keep(found, tasks[-1])

    def _search(self, random: Any, before: Before, columns: _screening.Columns | None) -> Search:
        """The search for networks, as it is asked for by the parameters."""
        steep = self._dense or not isinstance(self.alpha, str)
        settings = Settings(
            self.alpha if steep else WEAK,
            self.solver,
            Until(gradient_norm=1e-7, wall_seconds=self.wall_seconds, steps=self.max_iter),
            self.n_iter_no_change,
            bool(self.verbose),
            Jobs(self.n_jobs, self._one_thread),
        )
        return Search(
            settings,
            random,
            alpha=self.alpha,
            hidden=None if isinstance(self.hidden_layer_sizes, str) else _hidden(self.hidden_layer_sizes),
            activation="auto" if self.activation == "auto" else self._activation,
            restarts=None if isinstance(self.restarts, str) else self.restarts,
            score=self._score_of,
            before=before,
            columns=columns,
        )

    def _columns_that_can_be_judged(self, X: Matrix, y: Matrix, weights: Matrix) -> _screening.Columns | None:
        """Few columns, where the networks of all are too large for decays from the data, and those of these are not."""
        if self.alpha != "evidence" or self.early_stopping or self.solver is not None:
            return None
        used = weights > 0
        columns = _screening.few_of(X[used], y[used], weights[used])
        self._dense = columns is not None and self._is_dense(len(X), len(columns), y.shape[1])
        return columns if self._dense else None

    def _with_noise(
        self, found: list[Fitted], tasks: list[Task], validated: bool, search: Search, begin: float
    ) -> list[Fitted]:
        """The fits, or another one where the noise of the targets is of another kind."""
        return found

    @property
    def _starts(self) -> int | None:
        """How many starts are to share the outputs where there is no noise; None: as many as there is time for."""
        if not isinstance(self.restarts, str):
            return self.restarts
        return None if isinstance(self.hidden_layer_sizes, str) else 1

    @property
    def _regression(self) -> bool:
        return self._loss() == "squared"

    def _networks(self) -> list[tuple[int, ...]]:
        """Hidden layers of the architectures to fit, the largest last."""
        return list(self._auto) if isinstance(self.hidden_layer_sizes, str) else [_hidden(self.hidden_layer_sizes)]

    def _network_alone(self) -> tuple[int, ...]:
        """Hidden layers where only one architecture is fitted."""
        return self._alone if isinstance(self.hidden_layer_sizes, str) else _hidden(self.hidden_layer_sizes)

    def _stops_by_validation(self, samples: int, inputs: int, outputs: int) -> bool:
        self._dense = self._is_dense(samples, inputs, outputs)
        return bool(self.early_stopping or (isinstance(self.alpha, str) and not self._dense))

    def _is_dense(self, samples: int, inputs: int, outputs: int) -> bool:
        """Whether the curvature of the networks is a matrix that can be formed."""
        count = Network((inputs, *self._networks()[0 if self._regression else -1], outputs)).size
        return count <= DENSE and min(samples, ROWS) * outputs * count <= ENTRIES

    def _set_scale(self, X: Matrix, weights: Matrix) -> None:
        self._x_mean, self._x_scale = np.zeros(X.shape[1]), np.ones(X.shape[1])
        if self.standardise:
            self._x_mean, self._x_scale = mean_and_scale(X, weights)

    def _inputs(self, X: Matrix) -> Matrix:
        return (X - self._x_mean) / self._x_scale

    @property
    def _own_members(self) -> list[Member]:
        """The networks, of the columns that the fit was to."""
        if self._columns is None:
            return self._members
        return [_screening.restricted(member, self._columns) for member in self._members]

    def _keep(self, found: list[Fitted], task: Task) -> None:
        """Take over the networks of a fit; the one with the largest share stands for all in `solution_` and others."""
        fitted = max(found, key=lambda each: each.share)
        lead, columns = found.index(fitted), self._columns
        task = dataclasses.replace(task.like(fitted), precisions=fitted.precisions)
        self._training_data = (task, fitted.decay, fitted.solution.params)
        if columns is not None:
            found = [_screening.widened(each, columns, len(self._x_mean)) for each in found]
            fitted = found[lead]
        solution = fitted.solution
        if solution.outcome.failure and not np.isfinite(solution.loss):
            raise SolveError(solution.message, solution.outcome, solution)
        self.solution_ = solution
        self._members = [
            Member(each.sizes, each.solution.params, each.share, each.covariance, each.decays) for each in found
        ]
        self._lead = lead
        self._noise = fitted.noise
        self._degrees = None if np.isinf(fitted.degrees) else fitted.degrees  # of freedom of t noise
        self._variance_function = fitted.variance
        self.activation_ = fitted.activation
        self.log_evidence_ = fitted.log_evidence
        self.loss_ = float(solution.loss)
        self.loss_curve_ = solution.trace["loss"].tolist()
        validated = "validation" in list(solution.trace)
        scores = -solution.trace["validation"] if validated else None
        self.validation_scores_ = None if scores is None else scores[np.isfinite(scores)].tolist()
        self.best_validation_score_ = None if scores is None else float(np.nanmax(scores))
        self.best_loss_ = None if validated else self.loss_
        if not validated and not isinstance(self.alpha, str):  # else decays differ from step to step
            self.best_loss_ = float(np.nanmin(solution.trace["loss"]))
        self.n_iter_ = max(1, int(solution.statistics.steps or 0))
        self.n_layers_ = len(fitted.sizes)
        self.n_outputs_ = fitted.sizes[-1]
        if self.alpha == "relevance" and fitted.decays is not None:
            strength = 1.0 / np.sqrt(fitted.decays[: task.X.shape[1]])
        else:
            rows = np.random.default_rng(0).choice(len(task.X), min(SENSED, len(task.X)), replace=False)
            inputs = np.zeros((len(rows), len(self._x_mean)))
            inputs[:, slice(None) if columns is None else columns] = task.X[rows]
            strength = np.sqrt(np.mean(self._slopes(inputs) ** 2, axis=(0, 1)))
        self.feature_importances_ = self._by_column(strength)

    def _by_column(self, strength: Matrix) -> Matrix:
        """Shares of the columns of X; what tells that a value is missing counts for its column."""
        strength, d = np.array(strength, float), self.n_features_in_
        if self._imputer is not None:
            np.add.at(strength, self._imputer.indicator_.features_, strength[d:])
        found = strength[:d]
        return found / found.sum() if found.sum() > 0 else np.full(d, 1.0 / d)

    def _slopes(self, inputs: Matrix) -> Matrix:
        """Derivatives of the outputs in the scaled inputs, (N, k, d)."""
        found = []
        for member in self._members:
            network, w = self._network_of(member), _training.flat(member.params)
            k = member.sizes[-1]
            heads = np.broadcast_to(np.eye(k), (len(inputs), k, k))
            first = network.signals(w, network.forward(w, inputs), heads)[0]
            found.append(member.share * (first @ network.split(w)[0][0]))
        return np.sum(found, axis=0)

    def _checked(self, X: Any, y: Any = "no_validation", **options: Any) -> Any:
        """Dense X and, where it is given, y, as scikit-learn checks them; X may be sparse and miss values."""
        options |= {"dtype": np.float64, "ensure_all_finite": "allow-nan", "accept_sparse": "csr"}
        try:
            found = validate_data(self, X, y, **options)
            if options.get("y_numeric"):
                found = (found[0], np.asarray(found[1], np.float64))
        except (TypeError, ValueError) as error:
            sentence = _mistakes.of(X, y, bool(options.get("y_numeric")))
            if sentence is None:
                raise
            kind = ValueError if isinstance(error, ValueError) else TypeError
            raise kind(sentence) from error
        X, *rest = found if isinstance(found, tuple) else (found,)
        if issparse(X):
            remedy = "give fewer rows, or fewer columns, for example by sklearn.decomposition.TruncatedSVD"
            require(16.0 * X.shape[0] * X.shape[1], f"a dense copy of sparse X of shape {X.shape}", remedy)
            X = X.toarray()
        return (X, *rest) if rest else X

    def _held_out(self, X_val: Any, y_val: Any, sample_weight_val: Any, **options: Any) -> Any:
        """Inputs, targets and weights of a user's validation data, or nothing."""
        if X_val is None and y_val is None:
            if sample_weight_val is not None:
                raise ValueError("sample_weight_val was given without X_val and y_val: give all three")
            return None
        if X_val is None or y_val is None:
            raise ValueError("X_val and y_val belong together: one of them is missing")
        X_val, y_val = self._checked(X_val, y_val, reset=False, **options)
        return X_val, y_val, checked_weights(sample_weight_val, X_val)

    # ---- rows that come later

    def _joined(self, X: Matrix, y: NDArray[Any], weights: Matrix, again: bool) -> tuple[Any, Any, Any]:
        """These rows, `again` after those of the calls before; of many a random part."""
        if again and not hasattr(self, "_rows"):
            raise ValueError(
                "partial_fit goes on with the rows of the calls before, which a model that was fitted by fit does not "
                "keep in a pickle or a file: call fit with all rows, or partial_fit from the start"
            )
        before = self._rows if again else Kept.none_like(X, y, weights)
        self._rows = before.joined(X, y, weights)
        return self._rows[:3]

    # ---- missing values

    def _fitted_inputs(self, X: Matrix) -> Matrix:
        """X with medians where values are missing, and, for columns with missing values, a column that tells where."""
        self._imputer = None
        if np.isnan(X).any():
            self._imputer = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
            return np.asarray(self._imputer.fit_transform(X))
        return X

    def _filled(self, X: Matrix) -> Matrix:
        imputer = getattr(self, "_imputer", None)
        if imputer is not None:
            return np.asarray(imputer.transform(X))
        if np.isnan(X).any():
            raise ValueError(
                "X has missing values (NaN), and had none in fit: fill them first, for example with SimpleImputer"
            )
        return X

    # ---- after the fit

    @property
    def _params(self) -> Params:
        return self._members[self._lead].params

    @property
    def _covariance(self) -> Matrix | None:
        return self._members[self._lead].covariance

    @property
    def _decays(self) -> Matrix | None:
        return self._members[self._lead].decays

    @property
    def _sizes(self) -> tuple[int, ...]:
        return self._members[self._lead].sizes

    @property
    def coefs_(self) -> list[Matrix]:
        """Weights of each layer, (inputs, outputs) as in scikit-learn, acting on unscaled X and giving unscaled y."""
        return self._unscaled()[0]

    @property
    def intercepts_(self) -> list[Matrix]:
        """Biases of each layer, (outputs,), acting on unscaled X and giving unscaled y."""
        return self._unscaled()[1]

    def _unscaled(self) -> tuple[list[Matrix], list[Matrix]]:
        if not hasattr(self, "_members"):
            raise AttributeError(f"this {type(self).__name__} is not fitted yet: call fit first")
        weights = [np.array(layer["weight"].T) for layer in self._params]
        biases = [np.array(layer["bias"]) for layer in self._params]
        weights[0] = weights[0] / self._x_scale[:, None]
        biases[0] = biases[0] - self._x_mean @ weights[0]
        mean, scale = self._y_scale
        weights[-1], biases[-1] = weights[-1] * scale, biases[-1] * scale + mean
        return weights, biases

    @property
    def _y_scale(self) -> tuple[Any, Any]:
        return getattr(self, "_y_mean", 0.0), getattr(self, "_y_std", 1.0)

    @property
    def minimum_(self) -> Any:
        """The verdict of `stiffgrad.minimum` on the training error with its decays; computed when asked for.

        Decays that follow from the data rest beside a minimum of that error, or near one. So the weights first go on
        along its flow, decays held, until the gradient vanishes (20 seconds at most); the fit itself stays as it is.
        """
        objective = self._objective
        if self._covariance is not None:
            resting = solve(objective, "quasi-newton", until=REST, throw=False)
            if resting.outcome is Outcome.INTERRUPTED:
                raise KeyboardInterrupt
            objective = objective.with_start(resting.params)
        return minimum(objective, objective.unflatten(objective.w0))

    @property
    def _objective(self) -> Objective:
        """The training error with its decays."""
        if not hasattr(self, "_training_data"):
            raise AttributeError("minimum_ needs the training data, which a loaded or unfitted estimator does not have")
        task, decay, params = self._training_data
        share = task.weights.sum() / task.rows.sum()  # the decay is one of the mean over samples
        return _training.objective_of(task, params, jax.tree.map(lambda each: share * each, decay))

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Of models from before `activation_` and `n_jobs`, too."""
        if "n_jobs" not in state:  # what was called "auto" then is None now
            solver = state.get("solver")
            own = isinstance(solver, str) and solver == "auto"
            state = {**state, "n_jobs": None, "solver": None if own else solver}
        if "n_layers_" in state and "activation_" not in state:
            names = {"logistic": "sigmoid", "auto": "tanh"}
            state = {**state, "activation_": names.get(state["activation"], state["activation"])}
        super().__setstate__(state)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        # The training data stay here, unless `partial_fit` has to go on with them.
        dropped = {"_training_data"} if state.get("_goes_on") else {"_training_data", "_rows", "_goes_on"}
        return {name: value for name, value in state.items() if name not in dropped}

    def _outputs(self, X: Any) -> tuple[Matrix, Matrix]:
        """Scaled inputs (N, d) and outputs (N, k) of the network, in the units it was trained in."""
        check_is_fitted(self, "n_layers_")
        X = self._inputs(self._filled(self._checked(X, reset=False)))
        parts = [
            member.share * _training.outputs(self._network_of(member), member.params, X) for member in self._members
        ]
        return X, np.sum(parts, axis=0)

    @property
    def _activation(self) -> str:
        """The one that networks have before the data choose one."""
        return {"logistic": "sigmoid", "auto": "tanh"}.get(self.activation, self.activation)

    def _network_of(self, member: Member) -> Network:
        return Network(member.sizes, self.activation_)

    @property
    def _network(self) -> Network:
        return self._network_of(self._members[self._lead])

    def _own(self, X: Matrix) -> tuple[list[Member], Matrix]:
        """Networks and scaled inputs of the columns that the fit is to, as the covariances are."""
        return self._own_members, X if self._columns is None else X[:, self._columns]

    def _covariances(self, X: Matrix) -> Matrix:
        """Of the outputs at scaled inputs, (N, k, k): the mean over the networks."""
        parts, (members, X) = [], self._own(X)
        for member in members:
            assert member.covariance is not None
            network = self._network_of(member)
            parts.append(_training.covariances(network, member.params, member.covariance, X))
        return np.average(parts, axis=0, weights=[member.share for member in self._members])

    def export(self) -> Callable[[Any], Matrix]:
        """The prediction as a plain function of X (N, d) on NumPy arrays: it holds weights only, and checks nothing.

        It gives what `predict` does, (N,) or (N, k); of a classifier the logits, before they are moderated.

        Raises
        ------
        ValueError
            For a model of data with missing values.
        """
        self._check_export("export()")
        networks = [
            (member.share, [(layer["weight"].copy(), layer["bias"].copy()) for layer in member.params])
            for member in self._members
        ]
        activation, (mean, scale), (shift, unit) = (
            ACTIVATIONS[self.activation_],
            (self._x_mean, self._x_scale),
            self._y_scale,
        )
        flat = bool(getattr(self, "_flat", False))

        def predict(X: Any) -> Matrix:
            inputs, total = (np.asarray(X, float) - mean) / scale, 0.0
            for share, layers in networks:
                a = inputs
                for weight, bias in layers[:-1]:
                    a = activation(a @ weight.T + bias)[0]
                total = total + share * (a @ layers[-1][0].T + layers[-1][1])
            found = np.asarray(total * unit + shift)
            return found.ravel() if flat else found

        return predict

    def to_onnx(self) -> Any:
        """The prediction as a graph for ONNX runtimes (`onnx.ModelProto`), in double precision (extra `onnx`).

        Its input is X (N, d). Of a regressor the output is y, (N,) or (N, k); of a classifier label, (N,) or for
        several labels (N, k), and logits, (N, k), before they are moderated.

        Raises
        ------
        ValueError
            For a model of data with missing values.
        ImportError
            Where onnx is not installed.
        """
        self._check_export("to_onnx()")
        return _onnx.graph_of(self)

    def _check_export(self, call: str) -> None:
        check_is_fitted(self, "n_layers_")
        if getattr(self, "_imputer", None) is not None:
            raise ValueError(f"{call} needs a model of data without missing values: fill them before fit")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.sparse = True
        return tags


def _hidden(sizes: Any) -> tuple[int, ...]:
    listed = [sizes] if isinstance(sizes, numbers.Integral) else list(sizes)
    if any(not isinstance(size, numbers.Integral) or size < 1 for size in listed):
        raise ValueError(f"hidden_layer_sizes={sizes!r} must be whole numbers of at least 1")
    return tuple(int(size) for size in listed)


def checked_weights(sample_weight: Any, X: NDArray[Any]) -> Matrix:
    """Sample weights (N,), finite and not negative."""
    return np.asarray(_check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True))


__all__ = ["FlowEstimator", "checked_weights"]
