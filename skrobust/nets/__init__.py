"""Networks and their training; skorch lives here and nowhere else."""

from skrobust.nets import _bounds  # noqa: F401
from skrobust.nets._additive import Additive, StepSum
from skrobust.nets._adopt import KEPT, adopt, is_robustly_trained
from skrobust.nets._build import Recipe, fit_net, freeze, skorch_view, thaw
from skrobust.nets._full_batch import EXACT, fit_exact
from skrobust.nets._guard import Probe
from skrobust.nets._lines import ColumnSum, LineSum
from skrobust.nets._loader import Batch, BatchLoader, Rows
from skrobust.nets._modules import MODULES, Network, build_network, check_module
from skrobust.nets._net import RobustNet

__all__ = [
    "EXACT",
    "KEPT",
    "MODULES",
    "Additive",
    "Batch",
    "BatchLoader",
    "ColumnSum",
    "LineSum",
    "Network",
    "Probe",
    "Recipe",
    "RobustNet",
    "Rows",
    "StepSum",
    "adopt",
    "build_network",
    "check_module",
    "fit_exact",
    "fit_net",
    "freeze",
    "is_robustly_trained",
    "skorch_view",
    "thaw",
]
