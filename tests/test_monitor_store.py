"""The store: a kill at any moment loses nothing that was acknowledged, and a restart goes on."""

from __future__ import annotations

import os
import pickle
import signal
import sqlite3
import time

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression

from skrobust import LpBall, RobustnessMonitor

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(4000, 3))
Y = (X[:, 0] + RANDOM.normal(size=4000) > 0).astype(int)
MODEL = LogisticRegression().fit(X[:300], Y[:300])
REF = slice(300, 1000)


def monitor(path, **options):
    options = {"radius": 0.2, "threat": LpBall(scale="std"), "random_state": 0, **options}
    return RobustnessMonitor(MODEL, store=path, **options)


def n_stored(watcher):
    """Rows in the store, single ones and those in bundles."""
    single = watcher._store.read("SELECT COUNT(*) FROM rows")[0][0]
    return single + watcher._store.read("SELECT TOTAL(n) FROM bundles")[0][0]


def plain(watcher):
    return watcher.frame().drop(columns="life")


def test_restart_goes_on_where_it_stood(tmp_path):
    straight = monitor(tmp_path / "a.db").fit(X[REF], Y[REF])
    for low in (1000, 1230, 1260, 1500):
        straight.update(X[low : low + 230], Y[low : low + 230])
    first = monitor(tmp_path / "b.db").fit(X[REF], Y[REF])
    first.update(X[1000:1230], Y[1000:1230])
    first.close()
    second = monitor(tmp_path / "b.db")  # without fit: from the store
    second.update(X[1230:1460], Y[1230:1460])
    third = monitor(tmp_path / "b.db").fit(X[REF], Y[REF])  # with the same fit: it goes on
    third.update(X[1260:1490], Y[1260:1490])
    fourth = pickle.loads(pickle.dumps(third))
    assert fourth.update(X[1500:1730], Y[1500:1730]).n_rows == 920
    pd.testing.assert_frame_equal(plain(straight), plain(fourth))


def test_another_reference_model_or_option_begins_a_new_life(tmp_path):
    path = tmp_path / "m.db"
    old = monitor(path).fit(X[REF], Y[REF])
    old.update(X[1000:1200])
    assert monitor(path).fit(X[300:900], Y[300:900]).state().n_rows == 0
    assert monitor(path, false_alarm_rate=0.05).fit(X[REF], Y[REF]).state().n_rows == 0
    other = LogisticRegression(C=0.01).fit(X[:300], Y[:300])
    watcher = monitor(path).set_params(estimator=other).fit(X[REF], Y[REF])
    assert watcher.state().n_rows == 0 and watcher.life_ == 4
    assert old.state().n_rows == 200  # the history of the others is there still


def test_labels_reach_rows_of_an_earlier_process(tmp_path):
    path = tmp_path / "m.db"
    monitor(path).fit(X[REF], Y[REF]).update(X[1000:1100])
    state = monitor(path).label(range(100), Y[1000:1100])
    assert state.n_labelled == 100


def test_labels_reach_rows_in_bundles(tmp_path):
    watcher = monitor(tmp_path / "m.db").fit(X[REF], Y[REF])
    watcher.update(X[1000:1030])  # waits, and is in the first bundle with the next
    watcher.update(X[1030:1100])
    watcher.update(X[1100:1130], ids=[f"{k}" for k in range(500, 530)])
    watcher.update(X[1130:1200])
    assert watcher._store.read("SELECT COUNT(*) FROM bundles") == [(2,)]
    state = watcher.label([199, "505", 7, 31, 5000, 1000], Y[[1199, 1105, 1007, 1031, 0, 0]])
    assert state.n_labelled == 0  # four are known, and wait for others
    assert watcher.label([7], 1 - Y[[1007]]).n_labelled == 0  # labels don't change afterwards
    assert watcher.flush().n_labelled == 4
    table = watcher.frame("rows").dropna(subset=["label"]).set_index("id")
    assert set(table.index) == {"199", "505", "7", "31"}
    for name, k in (("199", 1199), ("505", 1105), ("7", 1007), ("31", 1031)):
        np.testing.assert_array_equal(table.loc[name, ["x0", "x1", "x2"]], X[k])
        assert table.loc[name, "label"] == Y[k]
        assert table.loc[name, "prediction"] == MODEL.predict(X[k : k + 1])[0]
    rows, labels = watcher.labelled()
    assert len(rows) == 4 and sorted(labels) == sorted(Y[[1199, 1105, 1007, 1031]])


def test_several_processes_take_turns_as_one_would(tmp_path):
    """Two objects on one store remember the state of the other's making of it."""
    alone = monitor(tmp_path / "a.db").fit(X[REF], Y[REF])
    pair = [monitor(tmp_path / "b.db").fit(X[REF], Y[REF]) for _ in range(2)]
    for k, low in enumerate(range(1000, 2000, 90)):
        part = slice(low, low + (90 if k % 3 else 20))
        alone.update(X[part], Y[part])
        pair[k % 2].update(X[part], Y[part])
    for watcher in pair:
        pd.testing.assert_frame_equal(plain(watcher), plain(alone))
        assert watcher.state().n_rows == alone.state().n_rows


def test_reset_is_followed_by_the_others(tmp_path):
    path = tmp_path / "m.db"
    first, second, third = (monitor(path).fit(X[REF], Y[REF]) for _ in range(3))
    second.update(np.full((100, 3), 9.0))
    assert first.state().alarm and third.state().alarm
    first.reset()
    state = second.update(X[1000:1100])
    assert not state.alarm and state.n_rows == 100  # of the new life
    assert second.life_ == first.life_ == 2
    assert third.label(range(100), Y[1000:1100]).n_labelled == 100
    assert not third.state().alarm and third.frame("alarms").empty
    assert set(monitor(path).fit(X[REF], Y[REF]).frame()["life"]) == {2}
    fourth = monitor(path).fit(X[REF], Y[REF])
    second.reset()
    assert fourth.frame().empty  # what only reads follows, too
    other = monitor(path, false_alarm_rate=0.05).fit(
        X[REF], Y[REF]
    )  # another monitor: another life
    assert other.life_ == 4 and second.update(X[1000:1100]).n_rows == 100 and second.life_ == 3


def test_without_seed_a_restart_still_goes_on(tmp_path):
    options = {"store": tmp_path / "m.db", "random_state": None}
    path = options.pop("store")
    monitor(path, **options).fit(X[REF]).update(X[1000:1100])
    assert monitor(path, **options).fit(X[REF]).state().n_rows == 100


def test_files_that_are_not_stores(tmp_path):
    (tmp_path / "text.db").write_text("no database, but long enough to look at " * 50)
    with pytest.raises(ValueError, match="SQLite"):
        monitor(tmp_path / "text.db").fit(X[REF])
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE mine (a)")
    with pytest.raises(ValueError, match="another program"):
        monitor(tmp_path / "other.db").fit(X[REF])
    with pytest.raises(NotFittedError):
        monitor(tmp_path / "new.db").update(X[:10])


def test_a_failed_update_leaves_no_trace(tmp_path, monkeypatch):
    watcher = monitor(tmp_path / "m.db").fit(X[REF], Y[REF])
    watcher.update(X[1000:1100])
    before = watcher._store.read("SELECT state FROM states"), watcher.frame()
    monkeypatch.setattr(watcher.probe_, "margins", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        watcher.update(X[1100:1200])
    assert watcher._store.read("SELECT state FROM states") == before[0]
    assert watcher._store.read("SELECT n_given, n_updates FROM counts") == [(100, 1)]
    assert n_stored(watcher) == 100
    pd.testing.assert_frame_equal(watcher.frame(), before[1])
    monkeypatch.undo()
    assert watcher.update(X[1100:1200]).n_rows == 200


def test_old_rows_are_forgotten_flagged_ones_stay_longer(tmp_path):
    watcher = monitor(tmp_path / "m.db", keep_rows=200, max_rows=None).fit(X[REF])
    watcher.update(X[1000:4000])
    for _ in range(3):
        watcher.update(X[1000:4000])
    kept = watcher._store.read("SELECT seq, flagged FROM rows")
    # keep_rows=200: of 12,000 rows the last update's, and flagged ones of the last 2,000 before
    assert 10 < sum(flag for _, flag in kept) and n_stored(watcher) < 4000
    assert watcher.state().n_rows == 12_000


ALL = {"max_rows": None, "keep_rows": 10**9}  # every row is looked at, none is forgotten


def writer(path, name, log):
    """A process that updates until it is killed, and says what was acknowledged."""
    watcher, random, k = monitor(path, **ALL), np.random.default_rng(os.getpid()), 0
    while True:
        n = int(random.integers(1, 120))
        part = random.integers(1000, 4000, size=n)
        ids = [f"{name}-{k}-{j}" for j in range(n)] if k % 2 else None  # None: numbers, bundles
        y = np.where(random.random(n) < 0.5, Y[part], np.nan)
        state = watcher.update(X[part], y, ids=ids)
        first = f"{name}-{k}" if ids else state.ids[0]
        os.write(log, f"{first} {n}\n".encode())
        k += 1


def kill_while_writing(path, n_kills):
    """Two writers at any time; one of them is killed, and replaced, again and again."""
    fitted = monitor(path, **ALL).fit(X[REF], Y[REF])
    fitted.close()
    log = os.open(path.with_suffix(".log"), os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    random, alive, started = np.random.default_rng(0), [], 0
    while started < n_kills + 2 or alive:
        while len(alive) < 2 and started < n_kills + 2:
            child = os.fork()
            if child == 0:
                try:
                    writer(path, f"w{started}", log)
                finally:
                    os._exit(1)
            alive.append(child)
            started += 1
        time.sleep(random.uniform(0.02, 0.25))
        victim = alive.pop(int(random.integers(len(alive))))
        os.kill(victim, signal.SIGKILL)
        assert os.waitpid(victim, 0)[1] == signal.SIGKILL  # it had not died of an error
    os.close(log)
    return dict(line.split() for line in path.with_suffix(".log").read_text().splitlines())


def check_nothing_lost(path, acknowledged):
    watcher = monitor(path, **ALL)
    state = watcher.state()
    read = watcher._store.read
    assert read("PRAGMA integrity_check") == [("ok",)]
    found, numbers = {}, []
    for (name,) in read("SELECT id FROM rows"):
        if isinstance(name, int):
            numbers.append(name)
        else:
            update = name.rpartition("-")[0]
            found[update] = found.get(update, 0) + 1
    for (blob,) in read("SELECT ids FROM bundles"):
        numbers += np.frombuffer(blob, np.int64).tolist()
    assert len(set(numbers)) == len(numbers)
    for update, n in acknowledged.items():
        if update.isdecimal():
            assert set(range(int(update), int(update) + int(n))) <= set(numbers)
        else:
            assert found[update] == int(n)
    # updates are there as a whole or not at all, and the state agrees with the rows
    assert sum(found.values()) + len(numbers) == state.n_rows
    assert read("SELECT SUM(n_rows) FROM windows WHERE kind = 'rows'") == [(state.n_watched,)]
    waiting = read("SELECT COUNT(*) FROM rows WHERE looked = 0")[0][0]
    assert state.n_watched + waiting == state.n_rows and waiting < watcher.window
    assert read("SELECT n_waiting FROM counts") == [(waiting,)]
    looks = [n for (n,) in read("SELECT number FROM windows ORDER BY number")]
    assert looks == list(range(1, len(looks) + 1))
    return state


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")


@needs_fork
@pytest.mark.filterwarnings("ignore:This process")
def test_kills_lose_nothing(tmp_path):
    acknowledged = kill_while_writing(tmp_path / "m.db", 8)
    assert len(acknowledged) > 4
    check_nothing_lost(tmp_path / "m.db", acknowledged)


@needs_fork
@pytest.mark.proof
@pytest.mark.filterwarnings("ignore:This process")
def test_200_kills_lose_nothing(tmp_path):
    acknowledged = kill_while_writing(tmp_path / "m.db", 200)
    state = check_nothing_lost(tmp_path / "m.db", acknowledged)
    print(f"200 kills, {len(acknowledged)} updates acknowledged, {state.n_rows} rows, none lost")
    assert len(acknowledged) > 200
