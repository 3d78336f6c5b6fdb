"""Networks for scikit-learn users: no learning rate and no regularisation to tune."""

from stiffgrad._collector import loading
from stiffgrad._extras import needing

with needing("sklearn", "stiffgrad.estimators"), loading():
    from stiffgrad.estimators._classifier import FlowClassifier
    from stiffgrad.estimators._regressor import FlowRegressor
    from stiffgrad.estimators._table import TableModel

__all__ = ["FlowClassifier", "FlowRegressor", "TableModel"]
