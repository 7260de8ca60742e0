"""What a model's answers cost, when somebody moves the rows: costs, thresholds, decisions."""

from skrobust.risk import _scorer, _view  # noqa: F401  names for RobustScorer; views of thresholds
from skrobust.risk._business import business_case
from skrobust.risk._case import BusinessCase
from skrobust.risk._cost import CostInterval, cost_interval, expected_cost
from skrobust.risk._curve import cost_curve
from skrobust.risk._power import (
    PairedTest,
    paired_test,
    power_of_rows,
    rows_needed,
    smallest_difference,
)
from skrobust.risk._rows import RowCosts, row_costs
from skrobust.risk._sweep import CostCurve
from skrobust.risk._threshold import RobustThresholdClassifier

__all__ = [
    "BusinessCase",
    "CostCurve",
    "CostInterval",
    "PairedTest",
    "RobustThresholdClassifier",
    "RowCosts",
    "business_case",
    "cost_curve",
    "cost_interval",
    "expected_cost",
    "paired_test",
    "power_of_rows",
    "row_costs",
    "rows_needed",
    "smallest_difference",
]
