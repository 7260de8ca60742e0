"""Proofs: what no attack within a radius can break."""

from skrobust.certificates import _curves  # noqa: F401  registers what robustness_curve asks for
from skrobust.certificates._population import PopulationStatement, population_statement
from skrobust.certificates._smoothed_classifier import SmoothedClassifier
from skrobust.certificates._smoothed_regressor import SmoothedRegressor

__all__ = [
    "PopulationStatement",
    "SmoothedClassifier",
    "SmoothedRegressor",
    "population_statement",
]
