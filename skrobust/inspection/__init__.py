"""Reports, pictures and doubts: what a robust score is worth, and where a model is weak."""

from skrobust.inspection._diagnostics import diagnose
from skrobust.inspection._finding import Finding

__all__ = ["Finding", "diagnose"]
