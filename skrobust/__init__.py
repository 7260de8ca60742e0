"""Robust learning for scikit-learn: models whose output stays put when the input moves a little."""

from skrobust.bridge import as_torch
from skrobust.certificates import (
    SmoothedClassifier,
    SmoothedRegressor,
    certified_accuracy_score,
    certify,
)
from skrobust.estimators import RobustClassifier, RobustRegressor
from skrobust.inspection import (
    AdditiveDisplay,
    CounterfactualDisplay,
    FeatureSensitivityDisplay,
    InputSensitivityDisplay,
    RobustnessCurveDisplay,
    TradeoffDisplay,
    WorstCaseDisplay,
    attribution_stability,
    certified_reasons,
    group_comparison,
    input_sensitivity,
    nearest_counterfactual,
    robustness_report,
)
from skrobust.metrics import (
    RobustScorer,
    get_robust_scorer,
    robust_accuracy_score,
    robust_loss,
    robustness_curve,
    worst_case,
)
from skrobust.monitoring import DriftDisplay, RobustnessMonitor
from skrobust.risk import RobustThresholdClassifier, business_case, expected_cost
from skrobust.threats import LpBall

__version__ = "0.1.0.dev0"

__all__ = [
    "AdditiveDisplay",
    "CounterfactualDisplay",
    "DriftDisplay",
    "FeatureSensitivityDisplay",
    "InputSensitivityDisplay",
    "LpBall",
    "RobustClassifier",
    "RobustRegressor",
    "RobustScorer",
    "RobustThresholdClassifier",
    "RobustnessCurveDisplay",
    "RobustnessMonitor",
    "SmoothedClassifier",
    "SmoothedRegressor",
    "TradeoffDisplay",
    "WorstCaseDisplay",
    "as_torch",
    "attribution_stability",
    "business_case",
    "certified_accuracy_score",
    "certified_reasons",
    "certify",
    "expected_cost",
    "get_robust_scorer",
    "group_comparison",
    "input_sensitivity",
    "nearest_counterfactual",
    "robust_accuracy_score",
    "robust_loss",
    "robustness_curve",
    "robustness_report",
    "worst_case",
]
