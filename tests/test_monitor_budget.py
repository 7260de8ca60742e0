"""max_overhead: watching takes no more than its share, says what it passed over, and loses nothing."""

from __future__ import annotations

import os
import pickle
import signal

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from skrobust import LpBall, RobustnessMonitor
from skrobust.monitoring import _budget
from skrobust.monitoring._budget import AROUND, MANY, RECENT, SAFETY, Budget, Costs

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(6000, 3))
Y = (X[:, 0] + RANDOM.normal(size=6000) > 0).astype(int)
MODEL = LogisticRegression().fit(X[:300], Y[:300])
REF = slice(300, 1000)


UNIT = 1e-3  # seconds: measuring stops where predictions take long


class Time:
    """A clock that moves only when told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Slow:
    """A model whose predictions take one unit of a clock a call and a hundredth a row."""

    def __init__(self, time, model=MODEL):
        self.time, self.model, self.classes_, self.calls = time, model, model.classes_, []

    def _answer(self, method, X):
        self.time.now += UNIT * (1 + 0.01 * len(X))
        self.calls.append(len(X))
        return getattr(self.model, method)(X)

    def predict(self, X):
        return self._answer("predict", X)

    def predict_proba(self, X):
        return self._answer("predict_proba", X)


def budgeted(share=0.1, look=2.0, wait=0.05, store=None, model=MODEL, fit=True, **options):
    """A monitor whose looks take ``look`` units of a clock (and what asking takes), others ``wait``."""
    time = Time()
    options = {"radius": 0.2, "threat": LpBall(scale="std"), "random_state": 0, **options}
    watcher = Timed(Slow(time, model), store=store, max_overhead=share, **options)
    watcher._clock, watcher._takes = time, (wait, look)
    if fit:
        watcher.fit(X[REF], Y[REF])
    if fit and share is not None:
        watcher._budget.prices = [UNIT * wait, UNIT * look]
    return watcher, time


class Timed(RobustnessMonitor):
    _takes = (0.0, 0.0)

    def _watched(self, *args):
        before = self._n_looks
        state = super()._watched(*args)
        if isinstance(self._clock, Time):
            self._clock.now += UNIT * self._takes[self._n_looks != before]
        return state


def outputs(part):
    return MODEL.predict_proba(X[part])


# The account -----------------------------------------------------------------------------------


def test_costs_are_straight_lines_between_measured_batches():
    time = Time()
    model = Slow(time)
    costs = Costs.measured(model.predict, lambda n: X[:n], 150, time)
    assert costs.sizes == [1, 10, 100, 150]
    for n in (1, 7, 100, 5000):
        assert costs.of(n) == pytest.approx(UNIT * (1 + 0.01 * n))
    assert Costs([10, 20], [1.0, 0.5]).of(40) >= 0  # noise: more rows never cost less than nothing


def test_what_is_spent_stays_below_the_share_of_what_predictions_cost():
    """Any mixture of sizes and prices, whatever they were expected to be."""
    for seed in range(20):
        random = np.random.default_rng(seed)
        budget = Budget(0.1, Costs([1, 1001], [1.0, 2.0]), [0.1, 1.0])
        opened = 0
        for _ in range(3000):
            n, looks = int(random.integers(1, 500)), bool(random.random() < 0.7)
            opens = budget.opens(n, looks)
            opened += opens
            if opens:
                budget.pay((0.9 if looks else 0.1) * random.uniform(0.5, 3), looks)
            else:
                budget.pay(0.001)
            assert budget.spent <= 0.1 * budget.predicted + 3 * 0.9
        assert 0.9 * SAFETY < budget.spent / budget.predicted / 0.1 <= 1 and 100 < opened < 3000
        assert budget.balance <= budget.prices[1]


def test_nothing_is_saved_up_beyond_one_look():
    budget = Budget(0.5, Costs([1], [1.0]), [0.1, 3.0])
    for _ in range(100):
        budget.opens(1, True)
    assert budget.balance == 3.0
    budget.pay(1.0, True)
    assert budget.prices[1] == pytest.approx(3 + RECENT * (1 - 3))
    assert budget.balance == pytest.approx(2.0 - AROUND) and budget.predicted == 100


# Monitors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 20, 200])
def test_a_monitor_keeps_to_its_share_and_says_what_it_passed_over(size):
    watcher, _ = budgeted(look=2.0)
    for k in range(600):
        low = 1000 + (k * size) % (5000 - size)
        state = watcher.update(X[low : low + size], outputs=outputs(slice(low, low + size)))
    (table,) = watcher.frame("overhead").itertuples()
    each = UNIT * (1 + 0.01 * size)
    assert table.predict_seconds == pytest.approx(600 * each)
    assert 0.06 < table.overhead <= 0.1 and table.max_overhead == 0.1
    assert state.n_rows == 600 * size == table.n_rows
    waiting = watcher._store.read("SELECT n_waiting FROM counts")[0][0]
    assert state.n_watched + state.n_passed + waiting == state.n_rows
    assert state.n_passed == table.n_passed > 0 < state.n_watched
    assert f"skrobust_monitor_passed_total {state.n_passed}" in watcher.to_prometheus()


def test_everything_is_looked_at_where_it_is_paid_for_and_by_default():
    rich, _ = budgeted(share=10.0)
    poor, _ = budgeted(share=1e-6)
    free, _ = budgeted(share=None)
    for low in range(1000, 3000, 100):
        part = slice(low, low + 100)
        state = rich.update(X[part], Y[part], outputs=outputs(part))
        nothing = poor.update(X[part], Y[part], outputs=outputs(part))
        free.update(X[part], Y[part], outputs=outputs(part))
    assert state.n_passed == 0 and state.n_watched == 2000
    assert nothing.n_passed == nothing.n_rows == 2000 and nothing.n_watched == 0
    assert nothing.ids == [] and not nothing.alarm
    pd.testing.assert_frame_equal(rich.frame(), free.frame())
    assert np.isnan(free.frame("overhead")["overhead"][0])


def test_what_is_passed_over_does_not_depend_on_the_rows():
    """Broken sensors, labels, alarms: the same updates are looked at."""
    seen = []
    for shift in (0.0, 5.0):
        watcher, _ = budgeted(share=0.5)
        told = []
        for low in range(1000, 6000, 50):
            part = slice(low, low + 50)
            told.append(watcher.update(X[part] + shift, Y[part], outputs=outputs(part)).n_watched)
        seen.append(told)
        alarm = watcher.state().alarm
    assert alarm and seen[0] == seen[1] and 0 < seen[0][-1] < 3000


def test_passing_over_reads_nothing():
    watcher, _ = budgeted(share=1e-6)
    watcher.update(X[1000:1010])
    before = watcher._store.connection.total_changes
    state = watcher.update("rows that nobody reads", outputs="ever")
    assert state.n_passed == 10 + len("rows that nobody reads")
    assert watcher._store.connection.total_changes == before


def test_passing_over_is_paid_for_too():
    watcher, time = budgeted(share=0.1)
    count, began = watcher._count_passed, time.now
    watcher._count_passed = lambda n: (setattr(time, "now", time.now + 0.07 * UNIT), count(n))[1]
    for k in range(400):
        watcher.update(X[1000 + k : 1100 + k], outputs=outputs(slice(1000 + k, 1100 + k)))
    (table,) = watcher.frame("overhead").itertuples()
    assert table.watch_seconds == pytest.approx(time.now - began + 400 * AROUND)
    assert table.n_passed // 100 > 300
    assert 0.06 < table.overhead <= 0.1 and table.n_watched > 100


def test_labels_of_rows_passed_over_are_passed_over_others_count_and_are_paid_for():
    watcher, time = budgeted(share=0.5, window=20)
    names = [f"row {k}" for k in range(2000)]
    looked = []
    for low in range(0, 2000, 20):
        part, before = slice(low, low + 20), watcher.state().n_watched
        state = watcher.update(X[part], ids=names[part], outputs=outputs(part))
        assert state.ids == names[part]
        if state.n_watched > before:
            looked += names[part]
    assert 100 < len(looked) < 1000
    state = watcher.label(names, Y[:2000])
    assert state.n_labelled == len(looked) and state.n_passed == 2000 - len(looked)
    table = watcher.frame("rows").dropna(subset=["label"])
    assert set(table["id"]) == set(looked)
    balance, add = watcher._budget.balance, watcher._labelled
    watcher._labelled = lambda *args: (setattr(time, "now", time.now + 0.7 * UNIT), add(*args))[1]
    watcher.label(["nobody"], [1])
    assert watcher._budget.balance == pytest.approx(balance - 0.7 * UNIT - AROUND)


def test_numbers_count_rows_passed_over():
    watcher, _ = budgeted(share=0.5)
    low, found = 1000, []
    for _ in range(60):
        state = watcher.update(X[low : low + 50], outputs=outputs(slice(low, low + 50)))
        found += [(int(state.ids[0]), low)] if state.ids else []
        low += 50
    assert len(found) > 3 and all(number == at - 1000 for number, at in found)
    number, at = found[-1]
    assert watcher.label([number + 3], [Y[at + 3]]).n_labelled == 0  # it waits for others
    assert watcher.flush().n_labelled == 1
    table = watcher.frame("rows").set_index("id")
    np.testing.assert_array_equal(table.loc[str(number + 3), ["x0", "x1", "x2"]], X[at + 3])


# Predictions that are watched on the way ---------------------------------------------------------


def test_predict_pays_for_what_it_adds_alone():
    watcher, time = budgeted(look=2.0)
    model = watcher.estimator
    del model.calls[:]
    began = time.now
    for k in range(200):
        answers = watcher.predict(X[1000 + k : 1200 + k])
        np.testing.assert_array_equal(answers, MODEL.predict(X[1000 + k : 1200 + k]))
    # once, whether watched or passed over; but for the first one, which does not know what comes near
    assert model.calls.count(150) <= 1 and model.calls.count(350) > 5
    assert model.calls.count(200) + model.calls.count(350) == 200
    (table,) = watcher.frame("overhead").itertuples()
    assert table.predict_seconds == pytest.approx(200 * 3.0 * UNIT)
    rest = time.now - began - table.predict_seconds
    assert table.watch_seconds == pytest.approx(rest + 200 * AROUND)
    assert 0.06 < table.overhead <= 0.1 and 0 < table.n_passed < table.n_rows


def test_what_predictions_take_is_measured_where_they_happen():
    watcher, time = budgeted(share=1e-6)
    answer = watcher.estimator._answer

    def slower(*args):
        time.now += 7 * UNIT
        return answer(*args)

    watcher.estimator._answer = slower
    for k in range(60 * (MANY + 1)):
        watcher.predict(X[1000 + k : 1100 + k])
    assert watcher._budget.seconds(100) == pytest.approx((7 + 2) * UNIT, rel=0.01)
    watcher._end_run()
    before = watcher._budget.predicted
    watcher.predict(X[1000:1100])
    watcher._end_run()
    assert watcher._budget.predicted - before == pytest.approx((7 + 2) * UNIT, rel=0.01)
    watcher._budget.learn(100, 1.0)  # an accident counts no more than twice the usual
    assert watcher._budget.seconds(100) < 1.3 * (7 + 2) * UNIT


@pytest.mark.parametrize("share", [0.02, 1e-9])
def test_runs_decide_as_the_account_would(share, monkeypatch):
    """What cannot be paid for is booked in one go; sizes change, labels and resets come between."""

    def watched(many):
        monkeypatch.setattr(_budget, "MANY", many)
        watcher, _ = budgeted(share=share, look=1.0, max_rows=None)
        found = []
        for k in range(600):
            watcher.predict(X[1000 + k : 1000 + k + (60 if k % 97 else 20)])
            if k % 250 == 249:
                watcher.reset()
            found.append(watcher._n_looks)
        (table,) = watcher.frame("overhead").to_dict("records")
        return found, table, watcher.state().n_rows, watcher.state().n_passed

    apart, together = watched(0), watched(MANY)
    assert apart[0] == together[0] and apart[2:] == together[2:] and apart[3] > 0
    assert apart[1] == pytest.approx(together[1])


def test_a_run_counts_rows_as_they_come(tmp_path):
    watcher, _ = budgeted(share=1e-9, store=tmp_path / "m.db")
    for _ in range(10):
        watcher.predict(X[1000:1001])
    assert watcher._run.left == MANY - 10 + 2  # the first two have no run yet
    assert watcher.state().n_passed == watcher.state().n_rows == 10
    watcher.predict(X[1000:1002])  # another size ends it
    assert watcher.state().n_passed == 12
    assert watcher._budget.n_passed - watcher._run.left == 11


def test_regressors_predict_too():
    model = Ridge().fit(X[:300], X[:300, 0])
    watcher = RobustnessMonitor(
        model, radius=0.2, threat=LpBall(scale="std"), max_overhead=1e-9, random_state=0
    ).fit(X[REF])
    np.testing.assert_allclose(watcher.predict(X[1000:1100]), model.predict(X[1000:1100]))
    assert watcher.state().n_passed == 100


# The store -------------------------------------------------------------------------------------


def test_a_restart_counts_what_was_passed_over(tmp_path):
    path = tmp_path / "m.db"
    first, _ = budgeted(share=1e-6, store=path)
    for low in range(1000, 1500, 50):
        first.update(X[low : low + 50])
    assert RobustnessMonitor(MODEL, radius=0.2, store=path).state().n_passed == 500  # not closed
    first.update(X[1500:1550])
    first.close()
    second, _ = budgeted(share=1e-6, store=path, fit=False)
    state = second.update(X[1550:1600])  # what predictions cost is in the store
    assert state.n_passed == state.n_rows == 600 and second._budget.costs == first._budget.costs
    third, _ = budgeted(share=1e-6, store=path)
    assert third.update(X[:10]).n_rows == 610
    assert third.reset().update(X[:10]).n_rows == 10
    assert third._budget is not None and third.state().n_passed == 10


def test_a_budget_where_nobody_has_measured_is_measured_with_the_first_rows(tmp_path):
    path = tmp_path / "m.db"
    budgeted(share=None, store=path)[0].close()
    second, _ = budgeted(share=1e-6, store=path, fit=False)
    assert second.update(X[1000:1050]).n_passed == 50
    assert second._budget.costs.of(1) == pytest.approx(1.01 * UNIT)


def test_several_processes_count_what_each_has_passed_over(tmp_path):
    path = tmp_path / "m.db"
    pair = [budgeted(share=1e-6, store=path)[0] for _ in range(2)]
    assert pair[0].life_ == pair[1].life_
    for k in range(10):
        pair[k % 2].update(X[1000 + 30 * k : 1030 + 30 * k])
    for watcher in pair:
        assert watcher.state().n_rows == watcher.state().n_passed == 300
    copy = pickle.loads(pickle.dumps(pair[0]))
    copy.update(X[:30])
    assert pair[1].state().n_rows == 330
    memory, _ = budgeted(share=1e-6)
    memory.update(X[:30])
    memory.update(X[:10])
    assert pickle.loads(pickle.dumps(memory)).state().n_passed == 40


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked process")
@pytest.mark.filterwarnings("ignore:This process")
def test_a_kill_loses_no_row_that_was_passed_over(tmp_path):
    path = tmp_path / "m.db"
    watcher, _ = budgeted(look=2.0, store=path, window=20)
    watcher.update(X[1000:1010])
    watcher.close()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            for k in range(500):
                state = watcher.update(X[k : k + 10], outputs=outputs(slice(k, k + 10)))
                os.write(write, b".")
                if k == 300:
                    os.write(write, f"{state.n_rows} {state.n_passed}!".encode())
                    os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    os.close(write)
    said = os.read(read, 10_000).decode()
    assert said.count(".") == 301
    n_rows, n_passed = map(int, said.rpartition(".")[2].rstrip("!").split())
    state = watcher.state()
    assert state.n_rows == n_rows == 3020 and state.n_passed == n_passed > 1000
    assert state.n_watched > 100


@pytest.mark.parametrize("value", [0, -0.1, "little", True])
def test_bad_budgets_are_named(value):
    with pytest.raises((ValueError, TypeError), match="max_overhead"):
        budgeted(share=value)
