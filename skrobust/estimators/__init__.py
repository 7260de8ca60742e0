"""The estimators: scikit-learn outside, skorch and torch inside."""

from skrobust.estimators._classifier import RobustClassifier
from skrobust.estimators._persistence import trusted_types
from skrobust.estimators._regressor import RobustRegressor

__all__ = ["RobustClassifier", "RobustRegressor", "trusted_types"]
