"""scikit-learn's own checks of an estimator, with no expected failure."""

import warnings

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from stiffgrad.estimators import FlowClassifier, FlowRegressor

# One network of one size: the checks fit some hundred times, and ask about the interface, not about accuracy.
SMALL = {"hidden_layer_sizes": (8,), "restarts": 1}


@pytest.mark.filterwarnings("default::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks([FlowClassifier(**SMALL), FlowRegressor(**SMALL)])
def test_scikit_learn_checks(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        check(estimator)
