"""How bad can it get? Scores, curves and scorers under a threat."""

from skrobust.metrics._curve import RobustnessCurve, robustness_curve
from skrobust.metrics._losses import ErrorPrice, Pinball
from skrobust.metrics._schedule import AttackSchedule
from skrobust.metrics._scorer import RobustScorer, get_robust_scorer
from skrobust.metrics._scores import robust_accuracy_score, robust_loss
from skrobust.metrics._worst_case import WorstCase, worst_case

__all__ = [
    "AttackSchedule",
    "ErrorPrice",
    "Pinball",
    "RobustScorer",
    "RobustnessCurve",
    "WorstCase",
    "get_robust_scorer",
    "robust_accuracy_score",
    "robust_loss",
    "robustness_curve",
    "worst_case",
]
