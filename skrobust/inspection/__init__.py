"""Reports, pictures and doubts: what a robust score is worth, and where a model is weak."""

from skrobust.inspection._additive_display import AdditiveDisplay
from skrobust.inspection._business_display import BusinessCaseDisplay
from skrobust.inspection._business_html import case_page as _case_page  # noqa: F401  registers itself
from skrobust.inspection._cost_display import CostCurveDisplay
from skrobust.inspection._counterfactual import Counterfactuals, nearest_counterfactual
from skrobust.inspection._counterfactual_display import CounterfactualDisplay
from skrobust.inspection._curve_display import RobustnessCurveDisplay
from skrobust.inspection._data_check import DataReport, check_data
from skrobust.inspection._data_sample import DataFinding
from skrobust.inspection._diagnostics import diagnose
from skrobust.inspection._explain import Explained
from skrobust.inspection._finding import Finding
from skrobust.inspection._groups import GroupComparison, group_comparison
from skrobust.inspection._input_sensitivity import InputSensitivity, input_sensitivity
from skrobust.inspection._input_sensitivity_display import InputSensitivityDisplay
from skrobust.inspection._page import Page
from skrobust.inspection._reasons import CertifiedReasons, certified_reasons
from skrobust.inspection._report import RobustnessReport, robustness_report
from skrobust.inspection._sensitivity_display import FeatureSensitivityDisplay
from skrobust.inspection._stability import AttributionStability, attribution_stability
from skrobust.inspection._tradeoff_display import TradeoffDisplay
from skrobust.inspection._worst_case_display import WorstCaseDisplay

__all__ = [
    "AdditiveDisplay",
    "AttributionStability",
    "BusinessCaseDisplay",
    "CertifiedReasons",
    "CostCurveDisplay",
    "CounterfactualDisplay",
    "Counterfactuals",
    "DataFinding",
    "DataReport",
    "Explained",
    "FeatureSensitivityDisplay",
    "Finding",
    "GroupComparison",
    "InputSensitivity",
    "InputSensitivityDisplay",
    "Page",
    "RobustnessCurveDisplay",
    "RobustnessReport",
    "TradeoffDisplay",
    "WorstCaseDisplay",
    "attribution_stability",
    "certified_reasons",
    "check_data",
    "diagnose",
    "group_comparison",
    "input_sensitivity",
    "nearest_counterfactual",
    "robustness_report",
]
