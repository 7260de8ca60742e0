"""The way back: labelled rows, a new model from the old one's weights, and a comparison of both."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone

from skrobust._compat import import_extra
from skrobust._params import check_number
from skrobust.inspection import RobustnessReport, robustness_report
from skrobust.inspection._rows import take_rows
from skrobust.metrics._rows import Rows

__all__ = ["Retraining", "labelled", "retrain"]

LEAST = 20


@dataclass(frozen=True)
class Retraining:
    """A new model, and what speaks for it.

    Attributes
    ----------
    estimator : fitted estimator
        The new model; the old one is untouched, and still the one that is watched.
    report : RobustnessReport
        Old and new, on labelled rows that neither was trained on.
    report_before : RobustnessReport or None
        Old and new on held-out rows of old.
    n_train, n_test : int
        Labelled rows that were learned from, and held out.
    """

    estimator: Any
    report: RobustnessReport
    report_before: RobustnessReport | None
    n_train: int
    n_test: int

    def frame(self) -> Any:
        """Clean and attacked scores of both models, as a pandas DataFrame."""
        pandas = import_extra("pandas", "frames")
        parts = {"labelled rows": self.report, "rows of old": self.report_before}
        found = []
        for name, report in parts.items():
            if report is None:
                continue
            scores = report.frame().query("part == 'all'").assign(rows=name)
            found.append(scores[["rows", "estimator", "n_rows", "radius", "clean", "attacked"]])
        return pandas.concat(found, ignore_index=True)


def labelled(monitor: Any) -> tuple[Any, np.ndarray]:
    """Rows with labels, in the container of X."""
    query = "SELECT x, label FROM rows WHERE life = ? AND y IS NOT NULL ORDER BY seq"
    found = monitor._store.read(query, monitor.life_)
    words = monitor._store.read("SELECT categories FROM counts WHERE life = ?", monitor.life_)[0][0]
    blobs = b"".join(x for x, _ in found)
    values = np.frombuffer(blobs).reshape(len(found), *monitor._setup.row_shape)
    labels = np.array([json.loads(word) for _, word in found])
    if not hasattr(monitor, "_like"):
        return values, labels
    categories = {int(k): v for k, v in json.loads(words).items()}
    return Rows(monitor._like, categories).wrap(values), labels


def retrain(monitor: Any, X: Any, y: Any, X_test: Any, y_test: Any, share: float) -> Retraining:
    share = check_number("test_fraction", share, low=0, high=1, open_low=True, open_high=True)
    new_X, new_y = labelled(monitor)
    if len(new_y) < LEAST:
        raise ValueError(
            f"Only {len(new_y)} rows have labels: give at least {LEAST} by label(ids, y) or "
            "update(X, y) before you retrain."
        )
    order = monitor._random(5).permutation(len(new_y))
    cut = max(int(share * len(new_y)), 1)
    test, train = np.sort(order[:cut]), np.sort(order[cut:])
    estimator = _warm(monitor.estimator)
    estimator.fit(
        _joined(X, take_rows(new_X, train)), np.concatenate([np.asarray(y), new_y[train]])
    )
    both = {"old": monitor.estimator, "new": estimator}
    options = dict(
        radii=[float(monitor.radius)],
        threat=monitor.probe_.threat,
        random_state=monitor.seed_,
        diagnostics=False,
        features=False,
    )
    now = robustness_report(both, take_rows(new_X, test), new_y[test], **options)
    before = None if X_test is None else robustness_report(both, X_test, y_test, **options)
    return Retraining(estimator, now, before, len(train), len(test))


def _warm(estimator: Any) -> Any:
    """An unfitted copy that starts from the weights of the fitted one, where it can."""
    new = clone(estimator)
    if "initial_weights" in new.get_params(deep=False):
        return new.set_params(initial_weights=estimator)
    steps = getattr(new, "steps", None)
    if steps and hasattr(steps[-1][1], "get_params"):
        name, last = steps[-1]
        if "initial_weights" in last.get_params(deep=False):
            new.set_params(**{f"{name}__initial_weights": estimator.steps[-1][1]})
    return new


def _joined(X: Any, other: Any) -> Any:
    """More rows of the same kind."""
    if hasattr(X, "iloc"):
        return import_extra("pandas", "frames").concat([X, other], ignore_index=True)
    if hasattr(X, "vstack"):
        return X.vstack(other.cast(X.schema))
    return np.concatenate([np.asarray(X), np.asarray(other)])
