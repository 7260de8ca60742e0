"""Answers and places nearby in one call of the model, where the monitor predicts itself."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier

from skrobust import LpBall, RobustnessMonitor

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(6000, 3))
Y = (X[:, 0] + RANDOM.normal(size=6000) > 0).astype(int)
REF = slice(300, 1000)


def forest(**options):
    model = RandomForestClassifier(10, random_state=0).fit(X[:300], Y[:300])
    watcher = RobustnessMonitor(
        model, radius=0.2, threat=LpBall(scale="std"), random_state=0, **options
    ).fit(X[REF], Y[REF])
    asked, ask = [], watcher.probe_.ask
    watcher.probe_.ask = lambda X: (asked.append(len(X)), ask(X))[1]
    return watcher, model, asked


@pytest.mark.parametrize("max_rows", [500, 100])
def test_a_forest_is_asked_once_for_answers_and_places_nearby(max_rows):
    together, model, asked = forest(max_rows=max_rows)
    apart, _, asked_apart = forest(max_rows=max_rows)
    for low in range(1000, 4000, 300):
        answers = together.predict(X[low : low + 300])
        np.testing.assert_array_equal(answers, model.predict(X[low : low + 300]))
        apart.update(X[low : low + 300], outputs=model.predict_proba(X[low : low + 300]))
    # of the first call the monitor does not know yet how many looks there have been
    assert asked == [300, 150] + [450] * 9 and asked_apart == [150] * 10
    pd.testing.assert_frame_equal(together.frame(), apart.frame())
    asking, _, asked = forest(max_rows=max_rows)
    for low in range(1000, 4000, 300):
        asking.update(X[low : low + 300])
    assert asked == [min(max_rows, 300) + 150] * 10
    pd.testing.assert_frame_equal(together.frame(), asking.frame())


def test_places_that_another_process_has_made_stale_are_asked_for_again(tmp_path):
    first, model, asked = forest(store=tmp_path / "m.db")
    second, _, _ = forest(store=tmp_path / "m.db")
    alone, _, _ = forest()
    first.predict(X[1000:1200])
    second.predict(X[1200:1400])
    del asked[:]
    first.predict(X[1400:1600])
    assert asked == [350, 150]
    second.update(X[1600:1610], outputs=model.predict_proba(X[1600:1610]))  # they wait
    first.predict(X[1610:1810])
    assert asked == [350, 150, 350, 150]
    for low, n in ((1000, 200), (1200, 200), (1400, 200), (1600, 10), (1610, 200)):
        alone.update(X[low : low + n], outputs=model.predict_proba(X[low : low + n]))
    pd.testing.assert_frame_equal(
        first.frame().drop(columns="life"), alone.frame().drop(columns="life")
    )


def test_frames_are_predicted_in_one_call_where_their_types_stay():
    names = list("abc")
    frame = pd.DataFrame(X, columns=names)
    whole = frame.assign(a=frame["a"].round().astype(int))
    for table, expected in ((frame, [350]), (whole, [200, 150])):
        model = RandomForestClassifier(5, random_state=0).fit(table[:300], Y[:300])
        watcher = RobustnessMonitor(model, radius=0.2, threat=LpBall(scale="std"), random_state=0)
        watcher.fit(table[REF])
        watcher.predict(table[1000:1200])
        asked, ask = [], watcher.probe_.ask
        watcher.probe_.ask = lambda X, asked=asked, ask=ask: (asked.append(len(X)), ask(X))[1]
        answers = watcher.predict(table[1200:1400])
        np.testing.assert_array_equal(answers, model.predict(table[1200:1400]))
        assert asked == expected
