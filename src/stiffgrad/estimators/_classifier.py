"""`FlowClassifier`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d, compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from stiffgrad._float64 import float64
from stiffgrad.estimators import _mistakes
from stiffgrad.estimators._base import FlowEstimator, checked_weights
from stiffgrad.estimators._network import Matrix
from stiffgrad.estimators._problem import LOSSES
from stiffgrad.estimators._training import Fitted, Task

TEMPERS = (0.0, *np.logspace(-4, 0, 9))  # parts of the posterior variance to choose from


class FlowClassifier(ClassifierMixin, FlowEstimator):
    """A neural network for classification with nothing to tune: no learning rate and no regularisation.

    Binary, multiclass and multilabel, on the cross entropy. A linear model and a network are fitted, the network from
    several starts. Their weight decays, and their shares in the outputs, are those with which samples that are left out
    are predicted best, by approximate leave-one-out (Rad and Maleki 2020); the same approximation calibrates the
    probabilities. Inputs are standardised inside.

    Parameters
    ----------
    hidden_layer_sizes : sequence of int or "auto", default "auto"
        Units of each hidden layer. "auto": a linear model and two layers of 12, together.
    activation : str, default "silu"
        "tanh", "sigmoid", "relu", "gelu", "silu", "softplus" or "sine".
    alpha : "evidence", "relevance" or float, default "evidence"
        "evidence": one decay for all weights, by leave-one-out; the evidence itself (MacKay 1992) chooses no better and
        takes longer, see the documentation. "relevance": each input column has its own, by the evidence. A number
        means what it means in MLPClassifier.
    restarts : int or "auto", default "auto"
        Random starts of each network, whose mean outputs count. "auto": as many as pay, 5 at most, and fewer for large
        tables.
    solver : str, Solver or None, default None
        As in `FlowRegressor`.
    max_iter : int, default 1000
        As in `FlowRegressor`; of one start.
    wall_seconds : float, optional
        As in `FlowRegressor`.
    random_state : int, RandomState or None
        As in `FlowRegressor`.
    early_stopping : bool, default False
        As in `FlowRegressor`; the validation score is the accuracy.
    validation_fraction : float, default 0.1
        As in `FlowRegressor`.
    n_iter_no_change : int, default 10
        As in `FlowRegressor`.
    warm_start : bool, default False
        As in `FlowRegressor`.
    standardise : bool, default True
        As in `FlowRegressor`, of inputs.
    verbose : bool, default False
        As in `FlowRegressor`.
    n_jobs : int or None, default None
        As in `FlowRegressor`.
    class_weight : dict, "balanced" or None
        Factors of the sample weights of each class, as in scikit-learn.

    Attributes
    ----------
    classes_ : array of shape (number of classes,)
        Labels in the order of the columns of `predict_proba`.
    coefs_, intercepts_, loss_, best_loss_, loss_curve_, validation_scores_, log_evidence_, feature_importances_
        As in `FlowRegressor`, of the network with the largest share.
    n_iter_, n_features_in_, feature_names_in_, n_outputs_, n_layers_, solution_, minimum_
        As in `FlowRegressor`, of the network with the largest share.

    Raises
    ------
    ValueError, TypeError
        For bad parameters or data, naming them.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = FlowClassifier(random_state=0).fit(X[::2], y[::2])
    >>> model.score(X[1::2], y[1::2]) > 0.9
    True
    """

    _auto = ((), (12, 12))
    _alone = (20, 20)

    _parameter_constraints = {  # noqa: RUF012
        **FlowEstimator._parameter_constraints,
        "class_weight": [dict, list, str, None],
    }

    def __init__(
        self,
        hidden_layer_sizes: Any = "auto",
        activation: str = "silu",
        *,
        alpha: str | float = "evidence",
        solver: Any = None,
        max_iter: int = 1000,
        wall_seconds: float | None = None,
        restarts: int | str = "auto",
        class_weight: Any = None,
        random_state: Any = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        warm_start: bool = False,
        standardise: bool = True,
        verbose: bool = False,
        n_jobs: int | None = None,
    ) -> None:
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
        self.class_weight = class_weight

    def _loss(self) -> str:
        return "cross_entropy" if self._kind == "multiclass" else "binary_cross_entropy"

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
    ) -> FlowClassifier:
        """Fit to X (N, d) and labels y, (N,), or (N, k) of zeros and ones for several labels a sample.

        `sample_weight`, validation data, missing and sparse values as in `FlowRegressor.fit`.
        """
        X, y = self._checked_labels(X, y)
        weights = checked_weights(sample_weight, X)
        self._fit_labels(X, y, weights, y, (X_val, y_val, sample_weight_val))
        self._joined(X, y, weights, again=False)
        self._goes_on = False
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    @float64
    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> FlowClassifier:
        """Fit to further rows X (N, d) and labels y together with those of the calls before.

        As `FlowRegressor.partial_fit`. `classes` are all labels that can occur: they are needed in the first call.

        Raises
        ------
        ValueError
            For bad data and other classes, and after `fit` for a model that was pickled since.
        """
        first = not hasattr(self, "n_layers_")
        if first and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit: all labels that can occur")
        known = np.unique(classes) if first else self.classes_
        if classes is not None and not np.array_equal(np.unique(classes), known):
            raise ValueError(f"classes={classes!r} are not those of the first call, {known!r}")
        X, y = self._checked_labels(X, y, reset=first)
        rows = self._joined(X, y, checked_weights(sample_weight, X), not first)
        self._fit_labels(*rows, rows[1] if y.ndim == 2 else known, (None, None, None))
        self._goes_on = True
        return self

    def _checked_labels(self, X: Any, y: Any, **options: Any) -> tuple[Matrix, NDArray[Any]]:
        _mistakes.missing_label(y)
        X, y = self._checked(X, y, multi_output=True, **options)
        check_classification_targets(y)
        if type_of_target(y) == "multiclass-multioutput":
            raise ValueError("y has several columns of more than two classes each: fit one FlowClassifier a column")
        return X, column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y

    def _one_hot(self, labels: Any, name: str) -> Matrix:
        """Labels as targets (N, k)."""
        if self._kind != "multilabel" and not np.isin(labels, self.classes_).all():
            raise ValueError(f"{name} has labels that are no classes: {sorted(set(labels) - set(self.classes_))}")
        return np.asarray(self._binarizer.transform(labels), np.float64)

    def _fit_labels(self, X: Matrix, y: NDArray[Any], weights: Matrix, classes: Any, validation: Any) -> None:
        """The fit; `classes` are the labels that can occur."""
        if self.class_weight is not None:
            weights = weights * compute_sample_weight(self.class_weight, y)
        several = y.ndim == 2
        self._binarizer = LabelBinarizer().fit(classes)
        self.classes_ = self._binarizer.classes_
        self._kind = "multilabel" if several else ("multiclass" if len(self.classes_) > 2 else "binary")
        targets = self._one_hot(y, "y")
        held_out = self._held_out(*validation, multi_output=True)
        if held_out is not None:
            labels = held_out[1] if several else column_or_1d(held_out[1])
            held_out = (held_out[0], self._one_hot(labels, "y_val"), held_out[2])
        rare = not several and np.unique(y, return_counts=True)[1].min() < 2
        self._fit(X, targets, weights, None if several or rare else y, held_out)

    def _keep(self, found: list[Fitted], task: Task) -> None:
        super()._keep(found, task)
        self._temper = 1.0 if any(each.judges is None for each in found) else self._best_temper(found)

    def _best_temper(self, found: list[Fitted]) -> float:
        """The part of the posterior variance that predicts best, by approximate leave-one-out (Rad and Maleki 2020).

        Where classes are separable, the curvature vanishes at the data and Laplace's approximation is too wide.
        """
        judges, value = found[0].judges, LOSSES[self._loss()].value
        assert judges is not None
        left_out = sum(each.share * np.asarray(each.left_out) for each in found)
        spread = np.average([np.asarray(each.spread) for each in found], axis=0, weights=[f.share for f in found])

        def loss(temper: float) -> float:
            losses = value(left_out * self._moderation(temper * spread), judges.y)
            return float(np.average(losses, weights=judges.weights))

        return min(TEMPERS, key=loss)

    def _scaled_targets(self, y: Matrix, weights: Matrix) -> Matrix:
        return y

    def _score_of(self, z: Matrix, y: Matrix, weights: Matrix) -> float:
        seen, wanted = (z.argmax(1), y.argmax(1)) if self._kind == "multiclass" else (z > 0, y > 0.5)
        return float(accuracy_score(wanted, seen, sample_weight=weights))

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable class of each sample, (N,); for several labels zeros and ones, (N, k)."""
        z = self._outputs(X)[1]
        if self._kind == "multiclass":
            return self.classes_[z.argmax(1)]
        if self._kind == "binary":
            return self.classes_[(z.ravel() > 0).astype(int) * (len(self.classes_) - 1)]
        return (z > 0).astype(int)

    def predict_proba(self, X: Any) -> Matrix:
        """Probabilities, (N, number of classes).

        With the evidence they are averaged over the posterior of the weights in MacKay's approximation (Neural
        Computation 1992, 4:720): logits shrink by 1/sqrt(1 + pi/8 s^2), s the standard deviation of a difference of
        two logits; how much of that variance is believed is chosen by approximate leave-one-out on the training data.
        The most probable class stays the same.
        """
        inputs, z = self._outputs(X)
        if self._covariance is not None:
            z = z * self._moderation(self._temper * self._covariances(inputs))
        if self._kind == "multiclass":
            return softmax(z, axis=1)
        p = expit(z)
        if self._kind == "multilabel":
            return p
        return np.column_stack([1 - p, p]) if len(self.classes_) == 2 else np.ones((len(z), 1))

    def _moderation(self, covariance: Matrix) -> Matrix:
        """Factors of the logits: one a sample for softmax, one for each logit otherwise."""
        if self._kind != "multiclass":
            variance = np.diagonal(covariance, axis1=1, axis2=2)
        else:
            k = covariance.shape[1]
            centred = np.trace(covariance, axis1=1, axis2=2) - covariance.sum(axis=(1, 2)) / k
            variance = (2.0 / (k - 1) * centred)[:, None]  # mean over pairs of the variance of their difference
        return 1.0 / np.sqrt(1.0 + np.pi / 8.0 * variance)

    def predict_log_proba(self, X: Any) -> Matrix:
        """Logarithms of `predict_proba`."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
