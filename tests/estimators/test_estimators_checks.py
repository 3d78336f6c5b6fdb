"""scikit-learn's own checks of an estimator, with no expected failure."""

import warnings

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from stiffgrad.estimators import FlowClassifier, FlowRegressor


@pytest.mark.filterwarnings("default::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks([FlowClassifier(), FlowRegressor()])
def test_scikit_learn_checks(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        check(estimator)
