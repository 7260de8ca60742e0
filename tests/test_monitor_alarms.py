"""When the monitor speaks: no alarm below the gate, what grows, attacks after a broken sensor."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from skrobust import LpBall, RobustnessMonitor, worst_case
from skrobust.metrics._rows import Rows
from skrobust.monitoring._reasons import start_of
from skrobust.monitoring._sequential import (
    CELLS,
    MASS,
    N_CELLS,
    Evidence,
    cells_of,
    is_sure,
    ranks,
)
from skrobust.monitoring._setup import watch
from skrobust.monitoring._windows import State

MIX = np.random.default_rng(0).normal(size=(6, 6))


def rows(n, seed):
    """Correlated columns and a noisy linear answer."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(n, 6)) @ MIX
    return X, (X @ [1.0, -1, 0.5, 0, 0, 0.3] + random.normal(size=n) > 0).astype(int)


X_TRAIN, Y_TRAIN = rows(800, 1)
X_REF, Y_REF = rows(1500, 2)
X_NEW, Y_NEW = rows(4000, 3)
MODEL = LogisticRegression().fit(X_TRAIN, Y_TRAIN)
THREAT = LpBall(scale="std").bind(X_TRAIN)


def monitor(model=MODEL, y=None, **options):
    options = {"radius": 0.2, "threat": THREAT, "random_state": 0, **options}
    return RobustnessMonitor(model, **options).fit(X_REF, y)


# The gate --------------------------------------------------------------------------------------


def gated(seed, effect, gate, n=4000, before=2000, size=50):
    """At which looks at ``n`` rows whose ranks lie ``effect`` higher (evidence is enough, gate opens).

    The change moves a share ``effect`` of the rows from the lower half to the upper one.
    """
    random = np.random.default_rng(seed)
    moved = random.random(n) < 2 * effect
    values = random.random(n)
    values = np.where(moved & (values < 0.5), values + 0.5, values)
    codes = np.minimum((values * 40).astype(int), 39)[:, None]
    pools = np.bincount((random.random(before) * 40).astype(int), minlength=40)[None]
    evidence, cells, peak, found = Evidence.fresh(["both"]), [], 0.0, []
    for low in range(0, n, size):
        part = codes[low : low + size]
        cells.append(cells_of(ranks(part, pools, random.random(part.shape)))[0])
        peak = max(peak, float(evidence.absorb(cells[-1][None])[-1, 0]))
        recent = np.array(cells[-64:])
        recent = recent[start_of(recent, 0) :]
        sure = is_sure(recent, pools.sum() - recent.sum(), gate)
        found.append((peak >= np.log(20), sure))
    return np.array(found)


def alarms(*options):
    return bool(gated(*options).all(axis=1).any())


def test_gate_holds_back_what_is_smaller_and_lets_through_what_is_larger():
    below = [alarms(seed, 0.06, 0.10) for seed in range(10)]
    above = [alarms(seed, 0.18, 0.10) for seed in range(8)]
    assert np.mean(below) <= 0.1 and all(above)
    assert sum(alarms(seed, 0.06, 0.0) for seed in range(3)) >= 2  # it was the gate


@pytest.mark.slow
def test_at_the_gate_itself_it_opens_at_no_more_than_a_tenth_of_the_looks():
    """90% confidence is of one look: a change of exactly the gate's size passes 10% of them at most."""
    looks = np.array([gated(seed, 0.05, 0.05) for seed in range(120)])
    opens, both = looks[:, :, 1], looks.all(axis=2)
    print(
        f"of all looks {opens.mean():.3f} open the gate, {both.mean():.3f} raise an alarm; ", end=""
    )
    print(f"at one look at most {opens.mean(axis=0).max():.3f} do; ", end="")
    print(f"{both.any(axis=1).mean():.3f} of the streams have an alarm at any of 80 looks")
    slack = 2 * np.sqrt(0.1 * 0.9 / len(looks))
    assert opens.mean() <= 0.1 and both.mean(axis=0).max() <= 0.1
    assert opens.mean(axis=0).max() <= 0.1 + slack


def test_sure_is_chernoff():
    """60 of 100 ranks in the upper half: exp(-100 KL(.6, .5 + least)) against 0.1, by hand."""
    counts = np.zeros((1, N_CELLS), dtype=int)
    upper = np.flatnonzero(CELLS[:-1] >= 0.5)[0]
    counts[0, [0, upper]] = 40, 60  # the lower 40 at the very bottom: that is a change, too
    least = 0.05
    apart = 0.6 * np.log(0.6 / (0.5 + least)) + 0.4 * np.log(0.4 / (0.5 - least))
    needed = -np.log(0.1) / apart  # ranks in the upper half that would do
    many = counts * int(np.ceil(needed / 100) + 1)
    assert is_sure(many, 1e12, least, side=1)
    assert not is_sure(counts * int(needed // 100), 1e12, least, side=1)
    assert not is_sure(many, 50, least, side=1)  # a small pool has luck of its own
    # a change that the pool has taken in by half is still seen
    n, pool, effect = 30_000, 10_000, 0.16
    left = effect * pool / n * np.log(1 + n / pool)
    counts[0, [0, upper]] = n * (0.5 - left), n * (0.5 + left)
    assert left < 0.10 and is_sure(counts, pool, 0.10, side=1)
    assert not is_sure(np.zeros((2, N_CELLS), dtype=int), 100, least)
    even = np.round(1e5 * MASS).astype(int)[None]
    assert not is_sure(even, 1e12, 0.01) and is_sure(even, 1e12, 0.0)


# What grows ------------------------------------------------------------------------------------


def test_wait_while_evidence_grows_says_where():
    watcher, told = monitor(false_alarm_rate=1e-6), []
    assert watcher.update(X_NEW[:500]).signs == []
    X = X_NEW[500:1500].copy()
    X[:, 2] += 0.5 * X[:, 2].std()
    for low in range(0, 1000, 50):
        state = watcher.update(X[low : low + 50])
        if state.alarm:
            break
        told += state.signs
    assert state.alarm and told
    names = {name for sign in told for name in sign.features}
    assert "x2" in names and {sign.action for sign in told} == {"wait"}
    (sign,) = [s for s in told if s.features == ("x2",)][-1:]
    assert sign.cause == "growing evidence" and 0.5 <= sign.evidence and "'x2'" in sign.advice
    assert "x2" not in {name for sign in state.signs for name in sign.features}  # it has an alarm


def test_wait_while_a_change_is_sure_but_small():
    watcher = monitor(min_effect=0.4, max_rows=None)
    X = X_NEW.copy()
    X[:, 2] += 0.5 * X[:, 2].std()
    state = watcher.update(X)
    assert not state.alarm and state.signs[0].features == ("x2",)
    assert state.advice.startswith("Wait: 'x2' has changed") and "0.4 (min_effect)" in state.advice


# Attacks after a broken sensor -----------------------------------------------------------------


def stuck(X):
    X = X.copy()
    X[:, 4] = X_NEW[0, 4]
    return X


def attacked(X, y, share, seed=0):
    X = X.copy()
    hit = np.flatnonzero(np.random.default_rng(seed).random(len(X)) < share)
    X[hit] = worst_case(MODEL, X[hit], y[hit], radius=1.0, threat=THREAT, random_state=0).X
    return X


def causes(watcher, X, size=200):
    for low in range(0, len(X), size):
        state = watcher.update(X[low : low + size])
    return [reason.cause for reason in state.reasons]


def test_an_attack_after_a_broken_sensor_is_seen():
    watcher = monitor()
    assert causes(watcher, stuck(X_NEW[:1600])) == ["sensor failure"]
    table = watcher.frame("now").set_index("stream")
    assert 1000 < table.n["suspicion"] < 1600  # ranked among the rows since the alarm alone
    later = stuck(attacked(X_NEW[1600:2600], Y_NEW[1600:2600], 0.15))
    assert causes(watcher, later) == ["sensor failure", "attack campaign"]


def test_a_broken_sensor_alone_is_no_attack():
    for seed in range(3):
        watcher = monitor(random_state=seed)
        assert causes(watcher, stuck(rows(3000, 10 + seed)[0]), 300) == ["sensor failure"]


def test_accounts_share_the_rate():
    watcher = monitor()
    with watcher._session() as (_, state, _):
        shares = []
        for j in range(1, 2000):
            state.count["n_accounts"] = j
            shares.append(np.exp(-state.price))
        assert 0.999 < sum(shares) < 1
        state.count["n_accounts"] = 1
        k = watcher._setup.place("suspicion")
        state.open_account(k)
        assert state.value[k] == -np.log(2) and state.pools[k].sum() == 0
        copy = State.from_bytes(watcher._setup, state.to_bytes())
        assert copy.count["n_accounts"] == 1 and copy.value[k] == -np.log(2)
        np.testing.assert_array_equal(copy.evidence.log_sum, state.evidence.log_sum)


def test_suspicion_without_some_columns_is_that_of_the_others():
    watcher = monitor()
    shape = watcher._setup.shape
    gone = np.array([False, False, True, False, True, False])
    keep = ~gone
    cov = np.linalg.inv(shape.precision)[np.ix_(keep, keep)]
    z = ((X_NEW[:20] - shape.center) / shape.scale)[:, keep]
    expected = np.sqrt(((z @ np.linalg.inv(cov)) * z).sum(axis=1))
    np.testing.assert_allclose(shape.without(gone).length(X_NEW[:20]), expected)


# What is looked at, and what it costs -----------------------------------------------------------


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("options", [{}, {"frozen": [1]}, {"direction": {2: "up"}}], ids=str)
def test_linear_models_are_pushed_all_alike(norm, options):
    """Margins from one product of rows and weights are those of gradients and regions."""
    for y_train in (
        Y_TRAIN,
        np.digitize(X_TRAIN[:, 0], [-1, 0.5]),
        np.digitize(X_TRAIN[:, 1], [0]),
    ):
        model = LogisticRegression().fit(X_TRAIN, y_train)
        watcher = monitor(model, threat=LpBall(norm, scale="std", **options).bind(X_TRAIN))
        probe, asked = watcher.probe_, np.arange(400) % 2 == 0
        rows, answers = Rows(X_NEW[:400]), probe.answers(X_NEW[:400])
        assert probe._pushes is not None
        quick = probe.margins(rows.values, rows, answers, 0, asked)
        probe._pushes = probe._map = None
        slow = probe.margins(rows.values, rows, answers, 0, asked)
        for field in ("distance", "near", "push"):
            one, other = getattr(quick, field), getattr(slow, field)
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)
        assert 0 < np.nanmean(quick.near) < 1 and np.isnan(quick.near).sum() == 200


def test_bounds_and_missing_values_go_the_long_way():
    walls = LpBall(bounds=(-50.0, 50.0))
    watcher = monitor(threat=walls)
    assert watcher.probe_._pushes is None
    X = X_NEW[:60].copy()
    X[:, 0] = 49.9
    rows = Rows(X)
    push = watcher.probe_.margins(X, rows, watcher.probe_.answers(X), 0).push
    assert np.abs(push[:, 0]).max() <= 0.2 and (X + push).max() <= 50.0


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_large_models_have_the_margins_of_a_fifth_computed():
    big = MLPClassifier((200, 100), max_iter=3, random_state=0).fit(X_TRAIN, Y_TRAIN)
    watcher = monitor(big, Y_REF, max_rows=500)
    seen, ask = [], watcher.probe_.view.forward
    object.__setattr__(watcher.probe_.view, "forward", lambda x: (seen.append(len(x)), ask(x))[1])
    outputs = big.predict_proba(X_NEW[:1000])
    watcher.update(X_NEW[:1000], outputs=outputs)
    assert seen == [100]  # one pass, no more: nobody has given labels
    table = watcher.frame("now").set_index("stream")
    assert table.n["x0"] == table.n["confidence"] == 500
    assert table.n["margin"] == table.n["suspicion"] == 100
    del seen[:]
    watcher.update(X_NEW[:80], Y_NEW[:80], outputs=outputs[:80])
    assert seen == [80, 80]
    assert watcher.frame("now").set_index("stream").n["robust error"] == 80


def test_models_without_a_slope_are_asked_near_a_window_and_for_labelled_rows():
    forest = RandomForestClassifier(10, random_state=0).fit(X_TRAIN, Y_TRAIN)
    watcher, asked = monitor(forest, Y_REF), []
    ask = watcher.probe_.ask
    watcher.probe_.ask = lambda X: (asked.append(len(X)), ask(X))[1]
    watcher.update(X_NEW[:400], outputs=forest.predict_proba(X_NEW[:400]))
    assert asked == [3 * 50]
    assert (watcher.frame("now").set_index("stream").n[["margin", "suspicion"]] == 50).all()
    watcher.update(X_NEW[400:450], outputs=forest.predict_proba(X_NEW[400:450]))
    del asked[:]
    state = watcher.label(range(400, 450), Y_NEW[400:450])
    assert asked == [50] and state.n_labelled == 50
    table = watcher.frame("rows").set_index("id")
    known = table.dropna(subset=["label"]).loc[[str(number) for number in range(400, 450)]]
    assert len(known) == 50 and known["near"].isin([True, False]).all()
    assert table[table["label"].isna()]["near"].isna().all()  # flagged ones: nobody asked
    wrong = forest.predict(X_NEW[400:450]) != Y_NEW[400:450]
    now = watcher.frame("now").set_index("stream")
    assert now["mean"]["error"] == pytest.approx(wrong.mean())
    either = wrong | known["near"].to_numpy(dtype=bool)
    assert now["mean"]["robust error"] == pytest.approx(either.mean())


@pytest.mark.filterwarnings("ignore::skrobust.exceptions.BlackBoxWarning")
def test_attacked_rows_of_a_forest_are_suspicious():
    """They stop just beyond the boundary, where random steps lead back; usual rows do not."""
    forest = RandomForestClassifier(20, random_state=0).fit(X_TRAIN, Y_TRAIN)
    watcher = monitor(forest)
    attacked = worst_case(
        forest, X_NEW[:150], Y_NEW[:150], radius=0.2, threat=THREAT, random_state=0
    )
    fooled = attacked.broken & (forest.predict(X_NEW[:150]) == Y_NEW[:150])
    assert fooled.sum() > 20
    moved = attacked.X[fooled]
    seen = [
        watch(watcher._setup, watcher.probe_, Rows(part), part, seed=1).suspicion
        for part in (moved, X_NEW[150:950])
    ]
    limit = np.quantile(seen[1], 0.95)
    assert (seen[0] > limit).mean() > 0.6  # chance: 0.05


def test_answers_of_another_kind_than_those_of_fit_are_refused():
    for outputs in (MODEL.predict(X_NEW[:60]), MODEL.decision_function(X_NEW[:60])):
        with pytest.raises(ValueError, match="outputs=.* is not valid.*predict_proba"):
            monitor().update(X_NEW[:60], outputs=outputs)


def test_looks_of_one_update_are_those_one_by_one():
    """Ten windows in one pass: the numbers of ten updates of one window each."""
    options = {"max_rows": None, "random_state": 0}
    together, single = monitor(**options), monitor(**options)
    setup, random = together._setup, np.random.default_rng(0)
    counts = random.multinomial(50, MASS, size=(30, len(setup.streams)))
    counts[10:, 3] = 0
    counts[10:, 3, -1] = 50  # a change: evidence beyond what exponentials hold
    counts[::3, 5] = 0  # nothing seen
    a, b = (Evidence.fresh([s.side for s in setup.streams]) for _ in range(2))
    whole = a.absorb(counts)
    parts = [b.absorb(part)[0] for part in counts]
    np.testing.assert_allclose(whole, parts, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(a.log_sum, b.log_sum, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(a.looks, b.looks)
    assert whole[-1, 3] > 1000
    together.update(X_NEW[:500])
    for low in range(0, 500, 50):
        single.update(X_NEW[low : low + 50])
    columns = ["look", "rows", "stream", "n", "mean", "missing"]
    pd.testing.assert_frame_equal(together.frame()[columns], single.frame()[columns])
