"""Watching within a budget: a tenth of the time of predictions, and no row uncounted.

    python examples/62_monitor_budget.py

A quick model answers in well under a millisecond; looking at rows takes longer than that. With
``max_overhead=0.1`` the monitor saves a tenth of the time of each prediction, and looks at an update when
it has enough. What it passes over is counted. A sensor that hangs is told later then, and told.
"""

from __future__ import annotations

import numpy as np
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrobust import LpBall, RobustnessMonitor

SIZE = 1000  # rows of one request


def main() -> None:
    X, y = make_classification(20_000, 20, n_informative=8, random_state=0)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X[:3000], y[:3000])
    threat = LpBall(scale="std").bind(X[:3000])
    random = np.random.default_rng(0)
    for share in (None, 0.1):
        monitor = RobustnessMonitor(
            model, radius=0.2, threat=threat, max_overhead=share, random_state=0
        ).fit(X[3000:6000])
        for request in range(1, 3001):
            rows = X[random.integers(6000, len(X), size=SIZE)]
            if request > 500:
                rows[:, 4] = 1.0  # the sensor hangs
            monitor.predict(rows)
            if request % 10 == 0 and monitor.state().alarm:
                break
        state = monitor.state()
        print(f"max_overhead={share}: request {request}, {state.reasons or 'no alarm'}")
        print(monitor.frame("overhead").round(3).to_string(index=False), "\n")


if __name__ == "__main__":
    main()
