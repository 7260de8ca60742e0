"""What a model's answers cost, when somebody moves the rows: costs, thresholds, decisions."""

from skrobust.risk._cost import CostInterval, cost_interval, expected_cost
from skrobust.risk._rows import RowCosts, row_costs

__all__ = ["CostInterval", "RowCosts", "cost_interval", "expected_cost", "row_costs"]
