"""What a model's answers cost, when somebody moves the rows: costs, thresholds, decisions."""

from skrobust.risk._business import business_case
from skrobust.risk._case import BusinessCase
from skrobust.risk._cost import CostInterval, cost_interval, expected_cost
from skrobust.risk._power import (
    PairedTest,
    paired_test,
    power_of_rows,
    rows_needed,
    smallest_difference,
)
from skrobust.risk._rows import RowCosts, row_costs

__all__ = [
    "BusinessCase",
    "CostInterval",
    "PairedTest",
    "RowCosts",
    "business_case",
    "cost_interval",
    "expected_cost",
    "paired_test",
    "power_of_rows",
    "row_costs",
    "rows_needed",
    "smallest_difference",
]
