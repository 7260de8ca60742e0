"""Reports, pictures and doubts: what a robust score is worth, and where a model is weak."""

from skrobust.inspection._additive_display import AdditiveDisplay
from skrobust.inspection._cost_display import CostCurveDisplay
from skrobust.inspection._curve_display import RobustnessCurveDisplay
from skrobust.inspection._diagnostics import diagnose
from skrobust.inspection._finding import Finding
from skrobust.inspection._report import RobustnessReport, robustness_report
from skrobust.inspection._sensitivity_display import FeatureSensitivityDisplay
from skrobust.inspection._tradeoff_display import TradeoffDisplay
from skrobust.inspection._worst_case_display import WorstCaseDisplay

__all__ = [
    "AdditiveDisplay",
    "CostCurveDisplay",
    "FeatureSensitivityDisplay",
    "Finding",
    "RobustnessCurveDisplay",
    "RobustnessReport",
    "TradeoffDisplay",
    "WorstCaseDisplay",
    "diagnose",
    "robustness_report",
]
