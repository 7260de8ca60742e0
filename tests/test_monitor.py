"""RobustnessMonitor: quiet on the same, loud on the other, with the right cause and column."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

from skrobust import DriftDisplay, LpBall, RobustClassifier, RobustnessMonitor, worst_case

RANDOM = np.random.default_rng(0)
MIX = RANDOM.normal(size=(6, 6))


def rows(n, seed):
    """Correlated columns and a noisy linear answer."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(n, 6)) @ MIX
    y = (X @ [1.0, -1, 0.5, 0, 0, 0.3] + random.normal(size=n) > 0).astype(int)
    return X, y


X_TRAIN, Y_TRAIN = rows(800, 1)
X_REF, Y_REF = rows(1500, 2)
X_NEW, Y_NEW = rows(4000, 3)
MODEL = LogisticRegression().fit(X_TRAIN, Y_TRAIN)
THREAT = LpBall(scale="std").bind(X_TRAIN)


def monitor(model=MODEL, y=Y_REF, X=X_REF, **options):
    options = {"radius": 0.2, "threat": THREAT, "random_state": 0, **options}
    return RobustnessMonitor(model, **options).fit(X, y)


def changed(kind, X, y):
    X, y, random = X.copy(), y.copy(), np.random.default_rng(5)
    if kind == "mean":
        X[:, 2] += 0.8 * X[:, 2].std()
    elif kind == "stuck":
        X[:, 4] = X[0, 4]
    elif kind == "labels":
        y = np.where(random.random(len(y)) < 0.3, 1 - y, y)
    elif kind == "attack":
        hit = random.permutation(len(X))[: len(X) // 6]
        X[hit] = worst_case(MODEL, X[hit], y[hit], radius=0.4, threat=THREAT, random_state=0).X
    return X, y


CAUSES = {
    "mean": ("covariate shift", "x2", "relabel"),
    "stuck": ("sensor failure", "x4", "repair"),
    "labels": ("concept drift", "error", "retrain"),
    "attack": ("attack campaign", "suspicion", "widen the radius"),
}


@pytest.mark.parametrize("kind", CAUSES)
def test_change_is_found_with_its_cause(kind):
    watcher = monitor()
    before = watcher.update(X_NEW[:1000], Y_NEW[:1000])
    assert not before.alarm and before.reasons == [] and before.advice.startswith("Nothing")
    cause, name, action = CAUSES[kind]
    for low in range(1000, 4000 if kind == "attack" else 2000, 500):
        part = slice(low, low + 500)
        state = watcher.update(*changed(kind, X_NEW[part], Y_NEW[part]))
    assert state.alarm
    reason = state.reasons[0]
    assert reason.cause == cause and name in reason.features and reason.action == action
    assert cause in reason and repr(name) in reason and reason.advice
    # in rows given, of which half are looked at; what hits few rows begins less exactly
    least, most = {"labels": (650, 1100), "attack": (350, 1500)}.get(kind, (950, 1050))
    assert least <= reason.since <= most


def test_the_same_stays_quiet_in_batches_of_any_size():
    for size in (7, 50, 333, 3000):
        watcher = monitor()
        for low in range(0, 3000, size):
            part = slice(low, min(low + size, 3000))
            state = watcher.update(X_NEW[part], Y_NEW[part])
        assert not state.alarm
        assert state.n_rows == 3000 and state.n_watched <= 3000


def test_single_rows_wait_for_a_window_and_flush_looks_at_them():
    watcher = monitor(window=20)
    for k in range(19):
        state = watcher.update(X_NEW[k : k + 1])
        assert state.n_watched == 0 and state.ids == [str(k)]
    assert watcher.update(X_NEW[19:20]).n_watched == 20
    assert watcher.update(X_NEW[20:25]).n_watched == 20
    assert watcher.flush().n_watched == 25


def test_same_seed_same_history():
    frames = []
    for _ in range(2):
        watcher = monitor(max_rows=100)
        watcher.update(X_NEW[:400], Y_NEW[:400])
        watcher.update(X_NEW[400:430])
        frames.append(watcher.update(X_NEW[430:900]).frame())
    pd.testing.assert_frame_equal(*frames)
    assert frames[0]["n"].sum() > 0
    other = monitor(random_state=1)
    other.update(X_NEW[:900])
    assert not np.array_equal(other.frame()["evidence"][:50], frames[0]["evidence"][:50])


def test_small_changes_raise_no_alarm_however_sure():
    X, _y = rows(4000, 7)
    X[:, 2] += 0.3 * X[:, 2].std()
    loud, quiet = monitor(min_effect=0.0, max_rows=None), monitor(max_rows=None, min_effect=0.2)
    assert not quiet.update(X).alarm
    assert loud.update(X).alarm


def test_late_and_partial_labels():
    X, y = changed("labels", X_NEW, Y_NEW)
    together, late = monitor(), monitor()
    partial = np.where(np.arange(len(y)) % 2, np.nan, y.astype(float))
    for low in range(0, 2000, 200):
        part = slice(low, low + 200)
        state = together.update(X[part], partial[part])
    assert state.alarm and state.n_labelled == 1000 and state.reasons[0].cause == "concept drift"
    for low in range(0, 2000, 200):
        state = late.update(X[low : low + 200])
        assert not state.alarm
    state = late.label(np.arange(0, 2000, 2), y[:2000:2])
    assert state.alarm and state.n_labelled == 1000 and "error" in state.reasons[0].features
    again = late.label(np.arange(0, 2000, 2), 1 - y[:2000:2])  # labels don't change afterwards
    assert again.n_labelled == 1000
    assert late.label(["nobody"], [1]).n_labelled == 1000
    assert together.labelled()[1].dtype == Y_NEW.dtype  # labels with gaps came as floats


def test_labels_by_names_of_rows():
    watcher = monitor(window=20)
    watcher.update(X_NEW[:30], ids=[f"row {k}" for k in range(30)])
    watcher.label([f"row {k}" for k in range(25)], Y_NEW[:25])
    table = watcher.frame("rows").set_index("id")
    known = table["label"].dropna()
    assert known["row 3"] == Y_NEW[3] and len(known) == 25
    numbers = [int(name.removeprefix("row ")) for name in known.index]
    assert (table.loc[known.index, "prediction"] == MODEL.predict(X_NEW[numbers])).all()


def test_flagged_rows_come_first_the_newest_first():
    watcher = monitor(window=20)
    X, _y = changed("attack", X_NEW[:400], Y_NEW[:400])
    watcher.update(X[:200], Y_NEW[:200])
    watcher.update(X[200:], Y_NEW[200:400])
    table = watcher.frame("rows")
    n, numbers = int(table["flagged"].sum()), table["id"].astype(int)
    assert 5 < n < 200 and table["flagged"][:n].all() and not table["flagged"][n:].any()
    assert numbers[:n].is_monotonic_decreasing and numbers[n:].is_monotonic_decreasing


def test_outputs_given_are_not_asked_for_again():
    free, asking, asked = monitor(), monitor(), []
    ask = asking.probe_.ask
    free.probe_.ask = asking.probe_.ask = lambda X: (asked.append(len(X)), ask(X))[1]
    free.update(X_NEW[:200], outputs=MODEL.predict_proba(X_NEW[:200]))
    assert asked == []
    asking.update(X_NEW[:200])
    assert asked == [200]
    pd.testing.assert_frame_equal(free.frame(), asking.frame())
    answers = asking.predict(X_NEW[:60])
    np.testing.assert_array_equal(answers, MODEL.predict(X_NEW[:60]))
    assert asking.state().n_rows == 260


def test_margin_is_the_distance_to_the_boundary():
    """Of a linear model: logit / (sum of |w| * scale), in steps."""
    watcher = monitor(window=50)
    watcher.update(X_NEW[:50], Y_NEW[:50])
    table = watcher.frame("rows").sort_values("id", key=lambda names: names.astype(int))
    distance = np.abs(MODEL.decision_function(X_NEW[:50]))
    distance = distance / (np.abs(MODEL.coef_[0]) @ THREAT.scale)
    np.testing.assert_allclose(table["margin"], distance, rtol=1e-6)
    np.testing.assert_array_equal(table["near"], distance <= 0.2)


FRAME = pd.DataFrame(X_REF, columns=list("abcdef")).assign(
    kind=np.where(X_REF[:, 0] > 1, "red", "blue")
)
TEXT = make_pipeline(
    make_column_transformer(
        (StandardScaler(), list("abcdef")), (OneHotEncoder(handle_unknown="ignore"), ["kind"])
    ),
    LogisticRegression(),
).fit(FRAME[:500], Y_REF[:500])


def test_text_columns_new_categories_and_missing_values():
    ref, new = FRAME[500:1000], FRAME[1000:]
    watcher = monitor(TEXT, Y_REF[500:1000], ref, threat="linf")
    assert not watcher.update(new).alarm
    other = new.assign(kind=np.where(np.arange(len(new)) % 3, new["kind"], "green"))
    state = watcher.update(other)
    assert state.reasons[0].features == ("kind",) and state.reasons[0].cause == "covariate shift"
    assert set(watcher.frame("rows")["kind"]) <= {"red", "blue", "green"}

    holes = X_REF.copy()
    holes[RANDOM.random(holes.shape) < 0.05] = np.nan
    trees = HistGradientBoostingClassifier(max_iter=10).fit(holes[:500], Y_REF[:500])
    watcher = monitor(trees, Y_REF[500:1000], holes[500:1000])
    assert not watcher.update(holes[1000:]).alarm
    broken = holes[1000:].copy()
    broken[::2, 1] = np.nan
    state = watcher.update(broken)
    assert state.reasons[0].cause == "sensor failure" and "missing" in state.reasons[0]


MODELS = {
    "forest": RandomForestClassifier(10, random_state=0),
    "no probabilities": LinearSVC(),
    "robust": RobustClassifier(max_epochs=1, batch_size=200, random_state=0),
    "text labels": LogisticRegression(),
    "regressor": Ridge(),
}


@pytest.mark.parametrize("name", MODELS)
def test_any_model(name):
    y_train, y_ref, y_new = Y_TRAIN, Y_REF, Y_NEW
    if name == "text labels":
        y_train, y_ref, y_new = (np.array(["no", "yes"])[part] for part in (Y_TRAIN, Y_REF, Y_NEW))
    if name == "regressor":
        y_train, y_ref, y_new = (part[:, 0] - part[:, 3] for part in (X_TRAIN, X_REF, X_NEW))
    model = clone(MODELS[name]).fit(X_TRAIN, y_train)
    watcher = monitor(model, y_ref)
    assert not watcher.update(X_NEW[:500], y_new[:500]).alarm
    assert watcher.update(X_NEW[500:1000] + 2.0, y_new[500:1000]).alarm
    np.testing.assert_array_equal(watcher.predict(X_NEW[:10]), model.predict(X_NEW[:10]))
    assert len(watcher.frame("now")) == len(watcher.streams_)


def test_regressor_that_goes_wrong():
    model = Ridge().fit(X_TRAIN, X_TRAIN[:, 0])
    noise = np.random.default_rng(3).normal(size=len(X_NEW))
    watcher = monitor(model, X_REF[:, 0] + noise[: len(X_REF)])
    state = watcher.update(X_NEW[:500], X_NEW[:500, 0] + noise[:500])
    assert not state.alarm
    state = watcher.update(X_NEW[500:1000], X_NEW[500:1000, 0] + 3 * noise[500:1000])
    assert state.reasons[0].cause == "concept drift"


def test_images_are_watched_through_blocks():
    random = np.random.default_rng(0)
    X = random.normal(size=(900, 1, 12, 12))
    y = (X[:, 0, :6].mean(axis=(1, 2)) > 0).astype(int)
    model = RobustClassifier("mlp", max_epochs=2, smoothing=0, random_state=0).fit(X[:200], y[:200])
    watcher = monitor(model, y[200:600], X[200:600], threat="linf")
    assert sum("x" in name for name in watcher.streams_) >= 64
    assert not watcher.update(X[600:]).alarm
    dark = X[600:].copy()
    dark[:, :, 3] = 0.0
    assert watcher.update(dark).alarm


def test_flagged_rows_return_retrained_models_are_compared(tmp_path):
    watcher = monitor()
    X, _y = changed("labels", X_NEW, Y_NEW)
    watcher.update(X[:1000], 1 - Y_NEW[:1000])
    retraining = watcher.retrain(X_TRAIN[:50], Y_TRAIN[:50], X_test=X_REF, y_test=Y_REF)
    table = retraining.frame().set_index(["rows", "estimator"])["clean"]
    assert table["labelled rows", "new"] > table["labelled rows", "old"]
    assert table["rows of old", "new"] < table["rows of old", "old"]
    assert retraining.n_train + retraining.n_test == 500  # max_rows
    assert watcher.estimator is MODEL
    rows_back, labels = watcher.labelled()
    assert rows_back.shape == (500, 6) and set(labels) == {0, 1}


def test_warm_start():
    model = RobustClassifier(max_epochs=1, batch_size=200, random_state=0).fit(X_TRAIN, Y_TRAIN)
    watcher = monitor(model)
    watcher.update(X_NEW[:100], Y_NEW[:100])
    new = watcher.retrain(X_TRAIN, Y_TRAIN).estimator
    assert new.initial_weights is model and new is not model


def test_exports_agree_with_the_frame(tmp_path):
    watcher = monitor()
    watcher.update(*changed("stuck", X_NEW[:500], Y_NEW[:500]))
    text = watcher.to_jsonl(tmp_path / "history.jsonl")
    events = [json.loads(line) for line in text.splitlines()]
    assert (tmp_path / "history.jsonl").read_text() == text
    assert sum(event["event"] == "look" for event in events) == len(watcher.frame())
    (alarm,) = [e for e in events if e["event"] == "alarm" and e["cause"] == "sensor failure"]
    assert alarm["features"] == ["x4"]
    lines = watcher.to_prometheus().splitlines()
    assert "skrobust_monitor_alarm 1" in lines and "skrobust_monitor_rows_total 500" in lines
    assert 'skrobust_monitor_cause{cause="sensor failure",stream="x4"} 1' in lines
    values = {
        line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if line[0] != "#"
    }
    now = watcher.frame("now").set_index("stream")
    assert values['skrobust_monitor_effect{stream="x4"}'] == pytest.approx(now.effect["x4"])


def test_display_draws_what_the_frame_says():
    watcher = monitor()
    watcher.update(*changed("stuck", X_NEW[:500], Y_NEW[:500]))
    display = DriftDisplay.from_monitor(watcher, at_most=3)
    assert display.streams[0] == "x4" and len(display.ax_) == 2
    line = display.ax_[0].get_lines()[0]
    shown = display.frame().query("stream == 'x4'")
    np.testing.assert_allclose(line.get_ydata(), shown["evidence"].clip(lower=0))


def test_reset_begins_anew_and_keeps_the_history_apart():
    watcher = monitor()
    watcher.update(*changed("stuck", X_NEW[:500], Y_NEW[:500]))
    assert watcher.state().alarm
    state = watcher.reset().update(X_NEW[500:900])
    assert not state.alarm and state.n_rows == 400


def test_pickle_goes_on_where_it_stood():
    watcher = monitor()
    watcher.update(X_NEW[:430], Y_NEW[:430])
    copy = pickle.loads(pickle.dumps(watcher))
    frames = [one.update(X_NEW[430:900], Y_NEW[430:900]).frame() for one in (watcher, copy)]
    pd.testing.assert_frame_equal(*frames)


def test_impossible_rows_are_suspicious_not_fatal():
    threat = LpBall(bounds=(-50.0, 50.0))
    watcher = monitor(threat=threat)
    X = X_NEW[:100].copy()
    X[3] = 70.0
    assert watcher.update(X).n_watched == 100


def test_auto_rows_cost_a_tenth():
    forest = RandomForestClassifier(30, random_state=0).fit(X_TRAIN, Y_TRAIN)
    watcher = monitor(forest, max_rows="auto")
    assert 50 <= watcher.max_rows_ <= len(X_REF)  # a window at least
    assert watcher.update(X_NEW).n_watched == watcher.max_rows_


BAD = {
    "radius": (-1, ValueError),
    "threat": ("l7", ValueError),
    "false_alarm_rate": (0, ValueError),
    "window": (1, ValueError),
    "min_effect": ("big", TypeError),
    "max_rows": (0, ValueError),
    "keep_rows": (1.5, TypeError),
    "random_state": (-1, ValueError),
    "store": (3, TypeError),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_options_are_named(name):
    value, error = BAD[name]
    with pytest.raises(error, match=name):
        monitor(**{name: value})


def test_bad_input_is_named():
    with pytest.raises(NotFittedError, match="held-out"):
        RobustnessMonitor(MODEL, radius=0.1).update(X_NEW)
    with pytest.raises(ValueError, match="at least 30"):
        monitor(X=X_REF[:20], y=Y_REF[:20])
    with pytest.raises(NotFittedError):
        monitor(LogisticRegression())
    with pytest.raises(TypeError, match="estimator"):
        monitor("model")
    with pytest.raises(ValueError, match="outside the bounds"):
        monitor(threat=LpBall(bounds=(0.0, 1.0)))
    watcher = monitor()
    for call, words in (
        (lambda: watcher.update(X_NEW[:, :3]), "columns"),
        (lambda: watcher.update(X_NEW[:10], Y_NEW[:9]), "y has 9"),
        (lambda: watcher.update(X_NEW[:10], outputs=np.zeros((3, 2))), "outputs"),
        (lambda: watcher.update(X_NEW[:10], ids=["a"]), "ids"),
        (lambda: watcher.label(["0"], [0, 1]), "ids"),
        (lambda: watcher.frame("all"), "kind"),
        (lambda: watcher.update(np.full((5, 6), np.inf)), "infinity"),
        (lambda: watcher.retrain(X_TRAIN, Y_TRAIN), "labels"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
    assert watcher.state().n_rows == 0  # nothing of it was taken in
