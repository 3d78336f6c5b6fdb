"""`FlowRegressor`."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin, _fit_context
from sklearn.metrics import r2_score
from sklearn.utils.validation import validate_data

from stiffgrad._float64 import float64
from stiffgrad.estimators._base import FlowEstimator, checked_weights, mean_and_scale
from stiffgrad.estimators._network import Matrix


class FlowRegressor(RegressorMixin, FlowEstimator):
    """A neural network for regression with nothing to tune: no learning rate and no regularisation.

    Training solves the gradient flow. The weight decays follow from the data, by maximising the evidence (MacKay 1992;
    Foresee and Hagan 1997), and the same approximation gives error bars. Inputs and targets are standardised inside.

    Parameters
    ----------
    hidden_layer_sizes : sequence of int, default (20,)
        Units of each hidden layer.
    activation : str, default "tanh"
        "tanh", "sigmoid", "relu", "gelu", "silu", "softplus" or "sine".
    alpha : "evidence", "relevance" or float, default "evidence"
        "evidence": one decay for the weights and one for the biases of each layer, from the data. "relevance": each
        input column has its own (automatic relevance determination), see `feature_importances_`. A number means what
        it means in MLPRegressor: alpha/(2 N) times the sum of squared weights. Networks of more than 3,000 weights, and
        tables whose Jacobian has more than 2e8 entries, are stopped by a validation score instead.
    solver : str or Solver, default "auto"
        A name of `stiffgrad.solvers.names()`. With the evidence, another solver than "auto" trains once more, from
        the start, with the decays that were found.
    max_iter : int, default 1000
        Steps at most; reaching them is no error.
    wall_seconds : float, optional
        Seconds of solving at most; by default no limit.
    restarts : int or "auto", default "auto"
        Random starts, of which the one of the highest evidence is kept (for classification the lowest leave-one-out
        loss, or the best validation score, or the lowest loss). "auto": 3 for regression on up to 500 rows with decays
        from the data, else 1.
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

    Attributes
    ----------
    coefs_, intercepts_ : lists of arrays
        Of each layer, (inputs, outputs) and (outputs,), in the units of X and y.
    loss_, best_loss_ : float
        Training objective (standardised units) at the end, and the least of `loss_curve_`; the same where decays follow
        from the data, for then the objectives of earlier steps are others.
    loss_curve_, validation_scores_ : lists of float
        By step; the scores are None without a validation part.
    log_evidence_ : float or None
        In nats; compare networks on the same data by it.
    feature_importances_ : array of shape (d,)
        With alpha="relevance": the typical size of the weights of each column, adding up to 1.
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

    def _loss(self) -> str:
        return "squared"

    @_fit_context(prefer_skip_nested_validation=True)
    @float64
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> FlowRegressor:
        """Fit to X (N, d) and y, (N,) or (N, k); `sample_weight` (N,) counts a sample so many times."""
        X, y = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)
        weights = checked_weights(sample_weight, X)
        self._flat = np.ndim(y) == 1
        y = np.asarray(y, np.float64)
        self._fit(X, y.reshape(len(y), -1), weights)
        return self

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

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Predictions of shape (N,) or (N, k).

        With `return_std` also the standard deviations of a new observation, of the same shape: the uncertainty of the
        network in Laplace's approximation (MacKay 1992), and the noise.
        """
        inputs, z = self._outputs(X)
        mean = self._unscaled_outputs(z)
        if not return_std:
            return mean.ravel() if self._flat else mean
        if self._covariance is None or self._noise is None:
            raise ValueError("return_std=True needs alpha='evidence' or 'relevance': error bars follow from it")
        variance = np.diagonal(self._covariances(inputs), axis1=1, axis2=2) + self._noise
        std = np.sqrt(variance) * self._y_std
        return (mean.ravel(), std.ravel()) if self._flat else (mean, std)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
