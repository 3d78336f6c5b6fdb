"""`FlowRegressor`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import norm
from sklearn.base import RegressorMixin, _fit_context
from sklearn.metrics import r2_score
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from stiffgrad._float64 import float64
from stiffgrad.estimators import _noise, _starts, _training
from stiffgrad.estimators._base import FlowEstimator, checked_weights
from stiffgrad.estimators._columns import by_column
from stiffgrad.estimators._network import ACTIVATIONS, Matrix
from stiffgrad.estimators._samples import mean_and_scale
from stiffgrad.estimators._search import Search
from stiffgrad.estimators._training import Fitted, Task, flat


class FlowRegressor(RegressorMixin, FlowEstimator):
    """A neural network for regression with nothing to tune: no learning rate and no regularisation.

    Training solves the gradient flow. The weight decays follow from the data, by maximising the evidence (MacKay 1992;
    Foresee and Hagan 1997), and the same approximation gives error bars. Data without noise are recognised, and
    followed towards the rounding of the residuals. Inputs and targets are standardised inside.

    Parameters
    ----------
    hidden_layer_sizes : sequence of int or "auto", default "auto"
        Units of each hidden layer. "auto": one layer of 10; two of 12 and more where the data determine most of its
        weights and the evidence is higher; for data without noise, and functions that oscillate, two of 12 or one of
        40, by leave-one-out.
    activation : str, default "auto"
        "tanh", "sigmoid" (or "logistic"), "relu", "gelu", "silu", "softplus" or "sine". "auto": tanh, and with
        hidden_layer_sizes="auto" silu or sine where these predict samples that are left out better.
    alpha : "evidence", "relevance" or float, default "evidence"
        "evidence": one decay for the weights and one for the biases of each layer, from the data, and in the end one
        for each input column where samples that are left out are clearly likelier with these. "relevance": each input
        column has its own from the start (automatic relevance determination), see `feature_importances_`. A number
        means what it means in MLPRegressor: alpha/(2 N) times the sum of squared weights. Networks of more than 3,000
        weights, and tables whose Jacobian has more than 2e8 entries, are stopped by a validation score instead.
    solver : str, Solver or None, default None
        None: the estimator's own steps in NumPy, and for a number as alpha the solver "auto". A name of
        `stiffgrad.solvers.names()` means what it means in `stiffgrad.solve`; with decays from the data that solver
        trains once more, from the start, with the decays that were found.
    max_iter : int, default 1000
        Steps at most; reaching them is no error.
    wall_seconds : float, optional
        Seconds of solving at most; by default no limit.
    restarts : int or "auto", default "auto"
        Random starts, of which the one of the highest evidence is kept (or the best validation score, or the lowest
        loss). For data without noise, so many starts of the network that was chosen share the outputs. "auto": 1, and
        without noise up to 4, unless hidden_layer_sizes are given.
    random_state : int, RandomState or None
        Of starts and of the validation split.
    early_stopping : bool, default False
        Keep the weights of the best score on a held-out part; stop `n_iter_no_change` steps after it.
    validation_fraction : float, default 0.1
        The held-out part.
    n_iter_no_change : int, default 10
        Steps without a better validation score that end the run.
    warm_start : bool, default False
        Start from the last fit's weights.
    standardise : bool, default True
        Scale inputs and targets to mean 0 and standard deviation 1 inside.
    verbose : bool, default False
        Show progress.
    n_jobs : int or None, default None
        Random starts at once, in processes by joblib, as in scikit-learn: None is 1, -1 all processors. What is found
        does not depend on it, but for rounding where a table is so large that BLAS uses several threads.
    noise : {"auto", "gaussian", "student-t"}, default "auto"
        Distribution of the targets around the function. "student-t" has heavy tails, so that outliers count little
        (with fewer degrees of freedom less); its degrees of freedom follow from the data. "auto": Student's t where
        samples that are left out are clearly likelier with it, else the normal distribution, also for fits that are
        not by the evidence; and a variance that changes with the inputs, where they are clearly likelier with that.

    Attributes
    ----------
    coefs_, intercepts_ : lists of arrays
        Of each layer, (inputs, outputs) and (outputs,), in the units of X and y; of the network with the largest
        share where several starts share the outputs.
    loss_, best_loss_ : float
        Training objective (standardised units) at the end, and the least of `loss_curve_`; the same where decays follow
        from the data, for then the objectives of earlier steps are others.
    loss_curve_, validation_scores_ : lists of float
        By step; the scores are None without a validation part.
    log_evidence_ : float or None
        In nats; compare networks on the same data by it.
    feature_importances_ : array of shape (d,)
        The root mean square derivative of the outputs in each standardised column, adding up to 1; with
        alpha="relevance" the typical size of the weights of each column.
    activation_ : str
        Of the network.
    noise_ : str
        "gaussian" or "student-t".
    heteroscedastic_ : bool
        Whether the variance of the noise changes with the inputs; then standard deviations and quantiles follow it.
    degrees_of_freedom_ : float
        Of Student's t; infinity for Gaussian noise.
    n_iter_, n_features_in_, feature_names_in_, n_outputs_, n_layers_
        As in scikit-learn.
    solution_ : Solution
        What the solver did.
    minimum_ : Minimum
        Whether the weights, once at rest with the decays that were found, are in a minimum of the training error;
        computed when asked for.

    Raises
    ------
    ValueError, TypeError
        For bad parameters or data, naming them.

    Examples
    --------
    >>> from sklearn.datasets import make_friedman1
    >>> X, y = make_friedman1(200, noise=1.0, random_state=0)
    >>> model = FlowRegressor(random_state=0).fit(X[:150], y[:150])
    >>> model.score(X[150:], y[150:]) > 0.8
    True
    """

    def __init__(
        self,
        hidden_layer_sizes: Any = "auto",
        activation: str = "auto",
        *,
        alpha: str | float = "evidence",
        solver: Any = None,
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
        noise: str = "auto",
        n_jobs: int | None = None,
    ) -> None:
        self.noise = noise
        super().__init__(
            hidden_layer_sizes,
            activation,
            alpha=alpha,
            solver=solver,
            max_iter=max_iter,
            wall_seconds=wall_seconds,
            restarts=restarts,
            random_state=random_state,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            warm_start=warm_start,
            standardise=standardise,
            verbose=verbose,
            n_jobs=n_jobs,
        )

    _parameter_constraints = {  # noqa: RUF012
        **FlowEstimator._parameter_constraints,
        "activation": [StrOptions({"auto", *ACTIVATIONS})],
        "noise": [StrOptions({"auto", "gaussian", "student-t"})],
    }

    def _loss(self) -> str:
        return "squared"

    @_fit_context(prefer_skip_nested_validation=True)
    @float64
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> FlowRegressor:
        """Fit to X (N, d) and y, (N,) or (N, k); `sample_weight` (N,) counts a sample so many times.

        With validation data X_val and y_val the weights of their best score are kept, as with early_stopping=True and a
        part of X. Missing values of X (NaN) are filled with medians, and a column that tells where is added. Sparse X
        becomes dense.
        """
        options = {"multi_output": True, "y_numeric": True}
        X, y = self._checked(X, y, **options)
        weights = checked_weights(sample_weight, X)
        self._fit_rows(X, y, weights, self._held_out(X_val, y_val, sample_weight_val, **options))
        self._joined(X, y, weights, again=False)
        self._goes_on = False
        return self

    def _fit_rows(self, X: Matrix, y: Matrix, weights: Matrix, held_out: Any) -> None:
        self._flat = np.ndim(y) == 1
        if held_out is not None:
            targets = np.asarray(held_out[1], np.float64).reshape(len(held_out[1]), -1)
            if targets.shape[1] != y.reshape(len(y), -1).shape[1]:
                raise ValueError(f"y_val has {targets.shape[1]} columns, and y has {y.reshape(len(y), -1).shape[1]}")
            held_out = (held_out[0], targets, held_out[2])
        self._fit(X, y.reshape(len(y), -1), weights, held_out=held_out)

    @_fit_context(prefer_skip_nested_validation=True)
    @float64
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> FlowRegressor:
        """Fit to further rows X (N, d) and y together with those of the calls before, which the estimator keeps.

        What is found is what `fit` finds with all of them at once. Of more than 10,000 rows a random part is kept. A
        call takes as long as that fit: a method that fits decays to all rows has nothing to learn from a few of them.

        Raises
        ------
        ValueError
            For bad data, and after `fit` for a model that was pickled since: its rows are not in the pickle.
        """
        again = hasattr(self, "n_layers_")
        X, y = self._checked(X, y, reset=not again, multi_output=True, y_numeric=True)
        rows = self._joined(X, y, checked_weights(sample_weight, X), again)
        self._fit_rows(*rows, None)
        self._goes_on = True
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({"noise": "auto", **state})

    @property
    def _starts(self) -> int | None:
        return 1 if self.noise == "student-t" else super()._starts

    def _with_noise(
        self, found: list[Fitted], tasks: list[Task], validated: bool, search: Search, begin: float
    ) -> list[Fitted]:
        by_evidence = isinstance(self.alpha, str) and not validated and self.solver is None
        if self.noise == "student-t" and not by_evidence:
            raise ValueError(
                "noise='student-t' needs a fit by the evidence: alpha='evidence' or 'relevance', solver=None, "
                "no validation data, and at most 3,000 weights"
            )
        if not by_evidence:
            return found
        if len(tasks[0].X) == 1:  # one row tells nothing of how far others are from it
            return [dataclasses.replace(each, noise=None, covariance=None) for each in found]
        if self.noise == "gaussian":
            return _starts.mixed(found, tasks[0]) if len(found) > 1 else [_noise.widened(tasks[0], found[0])]

        def again(task: Task) -> Fitted | None:
            if search.settings.late(begin):
                return None
            weighted = [dataclasses.replace(each, precisions=task.precisions) for each in tasks]
            return search.network(weighted, None, 1)[0][0]

        def onwards(task: Task, last: Fitted) -> Fitted:
            settings = search.settings.since(begin)
            found = _training.onwards(task, last, settings)
            asked = last.by_column or last.precisions is not None or settings.alpha == "relevance"
            return found if asked else by_column(found, task, settings)

        if len(found) > 1 and not _noise.heavy(tasks[0], found[0]):
            return _starts.mixed(found, tasks[0])
        return [_noise.fitted(found[0], tasks[0], again, onwards, self.noise == "student-t")]

    @property
    def degrees_of_freedom_(self) -> float:
        """Of the noise: infinity for a normal distribution."""
        check_is_fitted(self, "n_layers_")
        return float(getattr(self, "_degrees", None) or np.inf)

    @property
    def heteroscedastic_(self) -> bool:
        """Whether the variance of the noise changes with the inputs."""
        check_is_fitted(self, "n_layers_")
        return getattr(self, "_variance_function", None) is not None

    @property
    def noise_(self) -> str:
        """The kind of noise that was found."""
        return "gaussian" if np.isinf(self.degrees_of_freedom_) else "student-t"

    def _scaled_targets(self, y: Matrix, weights: Matrix) -> Matrix:
        self._y_mean, self._y_std = np.zeros(y.shape[1]), np.ones(y.shape[1])
        if self.standardise:
            self._y_mean, self._y_std = mean_and_scale(y, weights)
        return (y - self._y_mean) / self._y_std

    def _score_of(self, z: Matrix, y: Matrix, weights: Matrix) -> float:
        if len(z) < 2:  # R2 needs two samples
            return -float(np.mean((self._unscaled_outputs(z) - y) ** 2))
        return float(r2_score(y, self._unscaled_outputs(z), sample_weight=weights))

    def _unscaled_outputs(self, z: Matrix) -> Matrix:
        return z * self._y_std + self._y_mean

    def predict(
        self, X: Any, return_std: bool = False, return_cov: bool = False, quantiles: Sequence[float] | None = None
    ) -> Any:
        """Predictions of shape (N,) or (N, k).

        With `return_std` also the standard deviations of a new observation, of the same shape: the uncertainty of the
        network in Laplace's approximation (MacKay 1992), and the noise. With `return_cov` instead the covariances of
        new observations at all these points with each other, (N, N), for one target. With `quantiles`, numbers between
        0 and 1, only those of new observations, of shape (quantiles, N) or (quantiles, N, k).
        """
        if (return_std + return_cov + (quantiles is not None)) > 1:
            raise ValueError(
                "predict gives one of return_std, return_cov and quantiles at a time: ask again for others"
            )
        inputs, z = self._outputs(X)
        mean = self._unscaled_outputs(z)
        if not return_std and not return_cov and quantiles is None:
            return mean.ravel() if self._flat else mean
        if self._covariance is None or self._noise is None:
            asked = "return_std=True" if return_std else "return_cov=True" if return_cov else "quantiles"
            remedy = "error bars follow from it"
            if isinstance(self.alpha, str):
                remedy = (
                    "this model has more than 3,000 weights, or its Jacobian more than 2e8 entries, and was stopped by "
                    "a validation score instead: give smaller hidden_layer_sizes, or fewer columns. Or it was fitted "
                    "to a single row, or copies of one, which tell nothing of the spread: give more rows"
                )
            raise ValueError(f"{asked} needs alpha='evidence' or 'relevance': {remedy}")
        if return_cov:
            return mean.ravel(), self._joint(inputs, z)
        spread = np.diagonal(self._covariances(inputs), axis1=1, axis2=2)
        noise = self._noise_at(inputs, z)
        std = np.sqrt(spread + _noise.variance_of(noise, self.degrees_of_freedom_)) * self._y_std
        if quantiles is not None:
            q = np.asarray(quantiles, float)
            if q.ndim != 1 or not np.all((q > 0) & (q < 1)):
                raise ValueError(f"quantiles={quantiles!r} must be a sequence of numbers between 0 and 1")
            found = mean + self._y_std * self._quantiles(q, spread, noise)
            return found[:, :, 0] if self._flat else found
        return (mean.ravel(), std.ravel()) if self._flat else (mean, std)

    def _noise_at(self, inputs: Matrix, z: Matrix) -> Matrix:
        """Squared scale of the noise at scaled inputs (N, d) with outputs (N, k), (N, 1)."""
        assert self._noise is not None
        function = getattr(self, "_variance_function", None)  # older models have none
        return self._noise * (np.ones((len(z), 1)) if function is None else function(inputs, z)[:, None])

    def _quantiles(self, q: Matrix, spread: Matrix, noise: Matrix) -> Matrix:
        """Of new observations around predictions of variances spread (N, k), (quantiles, N, k)."""
        if self.noise_ == "student-t":
            return _noise.quantiles(q, spread, noise, self.degrees_of_freedom_)
        return norm.ppf(q)[:, None, None] * np.sqrt(spread + noise)

    def _covariances(self, X: Matrix) -> Matrix:
        """Of the outputs at scaled inputs, (N, k, k): those of the networks, and of the mean of several starts."""
        found, apart = super()._covariances(X), self._apart(X)
        return found if apart is None else found + np.einsum("mni,mnj->nij", apart, apart)

    def _apart(self, X: Matrix) -> Matrix | None:
        """How far several starts are from their mean, (starts, N, k), scaled: squares add up to the variance of it.

        They are taken for independent estimates: their mean with shares s has the variance (sum of s^2) v, and
        v is estimated by (sum of s (z - mean)^2) / (1 - sum of s^2).
        """
        if len(self._members) == 1:
            return None
        z = np.array([_training.outputs(self._network_of(each), each.params, X) for each in self._members])
        shares = np.array([each.share for each in self._members])
        squares = float(shares @ shares)
        return np.sqrt(shares * squares / (1.0 - squares))[:, None, None] * (z - np.tensordot(shares, z, 1))

    def _joint(self, inputs: Matrix, z: Matrix) -> Matrix:
        if self.n_outputs_ != 1:
            raise ValueError(
                f"return_cov=True is for one target, this model has {self.n_outputs_}: use return_std=True"
            )
        found, apart = np.zeros((len(inputs), len(inputs))), self._apart(inputs)
        members, own = self._own(inputs)
        for member in members:
            network, w = self._network_of(member), flat(member.params)
            a = network.ordered(w, network.forward(w, own), np.ones((len(own), 1, 1)))
            found += member.share * (a @ np.asarray(member.covariance) @ a.T)
        if apart is not None:
            found += apart[:, :, 0].T @ apart[:, :, 0]
        noise = self._noise_at(inputs, z)[:, 0]
        found[np.diag_indices_from(found)] += _noise.variance_of(noise, self.degrees_of_freedom_)
        return found * self._y_std[0] ** 2

    def gradient(self, X: Any) -> Matrix:
        """Derivatives of the prediction in the columns of X, (N, d) or (N, k, d), in units of y by units of X.

        Examples
        --------
        >>> import numpy as np
        >>> X = np.linspace(-1, 1, 50)[:, None]
        >>> model = FlowRegressor(random_state=0).fit(X, X.ravel() ** 2)
        >>> bool(np.allclose(model.gradient([[0.5]]), 1.0, atol=0.05))
        True
        """
        inputs, _ = self._outputs(X)
        slopes = self._slopes(inputs)[:, :, : self.n_features_in_] / self._x_scale[: self.n_features_in_]
        found = slopes * self._y_std[:, None]
        return found[:, 0] if self._flat else found

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
