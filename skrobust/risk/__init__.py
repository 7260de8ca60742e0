"""What a model's answers cost, when somebody moves the rows: costs, thresholds, decisions."""

from skrobust.risk._power import (
    PairedTest,
    paired_test,
    power_of_rows,
    rows_needed,
    smallest_difference,
)

__all__ = ["PairedTest", "paired_test", "power_of_rows", "rows_needed", "smallest_difference"]
