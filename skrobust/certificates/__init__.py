"""Proofs: what no attack within a radius can break."""

from skrobust.certificates._base import Prover, Settings
from skrobust.certificates._certify import Certificate, certify
from skrobust.certificates._check import PROVERS
from skrobust.certificates._scores import certified_accuracy_score, certified_loss

__all__ = [
    "PROVERS",
    "Certificate",
    "Prover",
    "Settings",
    "certified_accuracy_score",
    "certified_loss",
    "certify",
]
