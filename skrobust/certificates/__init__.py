"""Proofs: what no attack within a radius can break."""

from skrobust.certificates import _curves  # noqa: F401  tells robustness_curve how to prove
from skrobust.certificates._base import Prover, Settings
from skrobust.certificates._certify import Certificate, certify
from skrobust.certificates._check import PROVERS
from skrobust.certificates._population import PopulationStatement, population_statement
from skrobust.certificates._scores import certified_accuracy_score, certified_loss
from skrobust.certificates._smoothed_classifier import SmoothedClassifier
from skrobust.certificates._smoothed_regressor import SmoothedRegressor

__all__ = [
    "PROVERS",
    "Certificate",
    "PopulationStatement",
    "Prover",
    "Settings",
    "SmoothedClassifier",
    "SmoothedRegressor",
    "certified_accuracy_score",
    "certified_loss",
    "certify",
    "population_statement",
]
