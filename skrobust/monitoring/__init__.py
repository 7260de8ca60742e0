"""Watching a deployed model: alarms with a promise, their causes, and what to do next."""

from skrobust.monitoring._display import DriftDisplay
from skrobust.monitoring._monitor import RobustnessMonitor
from skrobust.monitoring._reasons import Reason
from skrobust.monitoring._result import MonitorState
from skrobust.monitoring._retrain import Retraining

__all__ = ["DriftDisplay", "MonitorState", "Reason", "Retraining", "RobustnessMonitor"]
