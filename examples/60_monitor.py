"""Watch a model in operation: a quiet year, a broken sensor, an attack, late labels, and the way back.

    python examples/60_monitor.py

Rows of synthetic customers come in day by day. The monitor keeps its state in a file, names each change
and its column, gets labels late, and a model that was retrained on them is compared with the old one.
Takes about half a minute; pictures and the store are written to examples/output.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.datasets import make_classification

from skrobust import DriftDisplay, LpBall, RobustClassifier, RobustnessMonitor, worst_case

OUTPUT = Path(__file__).parent / "output"


def main() -> None:
    OUTPUT.mkdir(exist_ok=True)
    X, y = make_classification(
        12_000, 8, n_informative=4, n_redundant=3, flip_y=0.03, random_state=0
    )
    train, reference, new = slice(0, 2000), slice(2000, 4000), slice(4000, None)
    threat = LpBall(scale="std").bind(X[train])
    model = RobustClassifier(radius=0.1, threat=threat, random_state=0).fit(X[train], y[train])
    X_new, y_new = X[new], y[new]
    random = np.random.default_rng(0)

    def stuck(rows, labels):
        rows[:, 5] = rows[0, 5]
        return rows, labels

    def attacked(rows, labels):
        hit = random.permutation(len(rows))[: len(rows) // 5]
        where = dict(radius=0.4, threat=threat, random_state=0)
        rows[hit] = worst_case(model, rows[hit], labels[hit], **where).X
        return rows, labels

    def other_answers(rows, labels):
        return rows, np.where(rows[:, 1] > 0.5, 1 - labels, labels)

    stories = {
        "nothing happens": lambda rows, labels: (rows, labels),
        "a sensor hangs": stuck,
        "every fifth row is attacked": attacked,
        "other answers than before": other_answers,
    }
    store = OUTPUT / "monitor.db"
    store.unlink(missing_ok=True)
    monitor = RobustnessMonitor(model, radius=0.2, threat=threat, store=store, random_state=0)
    monitor.fit(X[reference], y[reference])
    for title, story in stories.items():
        print(f"\n{title}")
        monitor.reset()
        for day in range(20):
            part = slice(200 * day, 200 * day + 200)
            rows, labels = X_new[part].copy(), y_new[part].copy()
            if day >= 8:
                rows, labels = story(rows, labels)
            state = monitor.update(rows)
            # labels of half of the rows arrive at the end of the day
            state = monitor.label(state.ids[::2], labels[::2])
            if state.alarm:
                break
        print(f"  {state.n_rows} rows, {state.n_labelled} labels, alarm: {state.alarm}")
        for reason in state.reasons:
            print(f"  {reason}\n    next: {reason.action}")
        if title.startswith("every"):
            display = DriftDisplay.from_monitor(monitor, at_most=4)
            display.figure_.savefig(OUTPUT / "monitor.png", dpi=120)

    # the last story goes on for a while; then the model is retrained on what came in, with few of the
    # old rows, whose answers no longer hold
    rows, labels = other_answers(X_new[4000:6000].copy(), y_new[4000:6000])
    for low in range(0, 2000, 400):
        monitor.update(rows[low : low + 400], labels[low : low + 400])
    retraining = monitor.retrain(X[:300], y[:300], X_test=X[reference], y_test=y[reference])
    print(f"\nretrained with {retraining.n_train} labelled rows:")
    print(retraining.frame().round(3).to_string(index=False))
    print(f"\nhistory as a picture: {OUTPUT / 'monitor.png'}, as a file: {store}")


if __name__ == "__main__":
    main()
