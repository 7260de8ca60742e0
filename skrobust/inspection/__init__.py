"""Reports, pictures and doubts: what a robust score is worth, and where a model is weak."""

from skrobust.inspection._additive_display import AdditiveDisplay
from skrobust.inspection._business_display import BusinessCaseDisplay
from skrobust.inspection._business_html import case_page as _case_page  # noqa: F401  registers itself
from skrobust.inspection._cost_display import CostCurveDisplay
from skrobust.inspection._curve_display import RobustnessCurveDisplay
from skrobust.inspection._data_check import DataReport, check_data
from skrobust.inspection._data_sample import DataFinding
from skrobust.inspection._diagnostics import diagnose
from skrobust.inspection._finding import Finding
from skrobust.inspection._page import Page
from skrobust.inspection._report import RobustnessReport, robustness_report
from skrobust.inspection._sensitivity_display import FeatureSensitivityDisplay
from skrobust.inspection._tradeoff_display import TradeoffDisplay
from skrobust.inspection._worst_case_display import WorstCaseDisplay

__all__ = [
    "AdditiveDisplay",
    "BusinessCaseDisplay",
    "DataFinding",
    "DataReport",
    "CostCurveDisplay",
    "FeatureSensitivityDisplay",
    "Finding",
    "Page",
    "RobustnessCurveDisplay",
    "RobustnessReport",
    "TradeoffDisplay",
    "WorstCaseDisplay",
    "check_data",
    "diagnose",
    "robustness_report",
]
