"""The promise of the monitor: exact ranks, bets of mean one, false alarms at the rate, ever."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from skrobust.monitoring._bins import Bins, Coder, counted
from skrobust.monitoring._sequential import (
    CELLS,
    MASS,
    N_CELLS,
    Evidence,
    _start_weight,
    bets,
    cells_of,
    effect_of,
    ranks,
)
from skrobust.monitoring._windows import windows_of


@pytest.mark.parametrize(("bag", "n_known"), [([0, 0, 1, 2, 2], 3), ([0, 1], 0)])
def test_ranks_of_all_orders_are_even(bag, n_known):
    """Over all orders of a small bag with ties, the last two ranks are uniform and independent.

    Also where nothing is known before, as in a new account.
    """
    low, high = [], []
    for order in itertools.permutations(bag):
        for random, found in ((0.0, low), (1.0, high)):
            pools = np.bincount(order[:n_known], minlength=3)[None]
            part = np.array(order[n_known:])[:, None]
            found.append(ranks(part, pools, np.full((2, 1), random))[:, 0])
    low, high = np.array(low), np.array(high)
    # P(rank <= u) with uniform ties is the mean of the ramp between low and high
    grid = np.linspace(0, 1, 21)
    share = np.clip((grid[:, None, None] - low) / (high - low), 0, 1)
    np.testing.assert_allclose(share.mean(axis=1), np.repeat(grid[:, None], 2, axis=1), atol=1e-12)
    both = np.einsum("in,jn->ij", share[:, :, 0], share[:, :, 1]) / len(low)
    np.testing.assert_allclose(both, np.outer(grid, grid), atol=1e-12)


def test_ranks_in_windows_are_those_one_by_one():
    random = np.random.default_rng(0)
    codes, ties = random.integers(-1, 5, size=(40, 3)), random.random((40, 3))
    pools = random.integers(0, 4, size=(3, 5))
    together, single = pools.copy(), pools.copy()
    whole = ranks(codes, together, ties)
    parts = [ranks(codes[k : k + 1], single, ties[k : k + 1]) for k in range(40)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    np.testing.assert_array_equal(together, single)
    assert np.isnan(whole[codes == -1]).all()


def test_bets_are_densities_and_weights_sum_to_one():
    logs, weights = bets()
    np.testing.assert_allclose(np.exp(logs) @ MASS, 1.0)
    total = np.exp(weights).sum(axis=1) + [Evidence.LEARNING, 0, 0]
    np.testing.assert_allclose(total, 1.0)
    assert _start_weight(np.arange(1_000_000)).sum() < 1
    assert np.isneginf(weights[1]).any()  # one-sided streams do not bet on the other side


def test_evidence_has_mean_one():
    """Exactly, over all outcomes of one look of two ranks, and after a second one."""
    for side in ("both", "up", "down"):
        pairs = list(itertools.combinations_with_replacement(range(N_CELLS), 2))
        counts = np.zeros((len(pairs), N_CELLS), dtype=int)
        for row, pair in enumerate(pairs):
            np.add.at(counts[row], list(pair), 1)
        chance = np.array([MASS[a] * MASS[b] * (1 + (a != b)) for a, b in pairs])
        evidence = Evidence.fresh([side] * len(pairs))
        evidence.absorb(counts)
        np.testing.assert_allclose(chance @ np.exp(evidence.log_value()), 1.0)
        before = evidence.log_value()[7]
        again = Evidence.fresh([side] * len(pairs))
        again.absorb(np.repeat(counts[7:8], len(pairs), axis=0))
        again.absorb(counts)
        np.testing.assert_allclose(chance @ np.exp(again.log_value()), np.exp(before))


def stream(seed, *, n=1500, change=None, shift=0.0, side="both", naive=False, size=50):
    """Peak of the log evidence; and the row at which it passed log(1000) after the change."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(300 + 300 + n, 1))
    if change is not None:
        values[600 + change :] += shift
    bins = [Bins.of(values[:300, 0], False)]
    codes = Coder.of(bins).codes(values, np.ones(values.shape, dtype=bool))
    pools = counted(bins, codes[300:600])
    evidence, peak, when = Evidence.fresh([side]), 0.0, np.inf
    for low in range(0, n, size):
        part = codes[600 + low : 600 + low + size]
        mine = pools.copy() if naive else pools
        evidence.absorb(cells_of(ranks(part, mine, random.random(part.shape))))
        peak = max(peak, evidence.log_value()[0])
        if change is not None and peak > np.log(1000) and when == np.inf:
            when = low + size - change
    return peak, when


def test_false_alarms_keep_the_rate_and_naive_ranks_do_not():
    peaks = np.array([stream(seed)[0] for seed in range(200)])
    for rate in (0.3, 0.1, 0.05):
        slack = 3 * np.sqrt(rate * (1 - rate) / len(peaks))
        assert np.mean(peaks >= np.log(1 / rate)) <= rate + slack
    # ranks in the reference alone share its luck: that is why the pools grow
    naive = np.array([stream(seed, n=5000, naive=True)[0] for seed in range(20)])
    assert np.mean(naive >= np.log(1 / 0.1)) > 0.25


@pytest.mark.parametrize(("shift", "side", "rows"), [(1.0, "both", 150), (-0.7, "down", 250)])
def test_changes_are_found_late_in_life(shift, side, rows):
    found = [stream(s, n=2000, change=1000, shift=shift, side=side)[1] for s in range(10)]
    assert 0 < np.median(found) <= rows


def test_the_wrong_side_is_no_news():
    assert max(stream(s, n=2000, change=500, shift=1.0, side="down")[0] for s in range(5)) < 5


def test_effect_is_the_distance_of_distributions():
    counts = np.zeros((8, N_CELLS), dtype=int)
    counts[:, CELLS[:-1] >= 0.5] = np.round(20_000 * MASS[CELLS[:-1] >= 0.5])
    assert effect_of(counts) == pytest.approx(0.5, abs=0.01)
    assert effect_of(counts, 1) == pytest.approx(0.5, abs=0.01)
    assert effect_of(counts, 2) == 0
    assert effect_of(np.zeros((3, N_CELLS), dtype=int)) == 0


def test_codes():
    values = np.array([3.0, np.nan, 1.0, 9.0, 2.0])
    category = Bins.of(np.array([1.0, 2.0, 3.0, 2.0]), True)
    assert category.codes(values).tolist() == [2, 4, 0, 3, 1]
    number = Bins.of(np.linspace(0, 1, 1000), False)
    codes = number.codes(np.array([-5.0, 0.5, 5.0, np.nan]))
    assert codes[0] == 0 and codes[2] == number.n_codes - 2 and codes[3] == number.n_codes - 1
    np.testing.assert_array_equal(number.codes(np.sort(values)), np.sort(number.codes(values)))


def test_codes_of_all_streams_at_once_are_those_of_each():
    """Even, skewed, crowded, constant, whole, missing, far: at the edges themselves and between."""
    random = np.random.default_rng(0)

    def columns(n):
        whole, few = random.integers(0, 5, size=(2, n))
        crowded = np.where(random.random(n) < 0.9, random.random(n) * 1e-6, 100 * random.random(n))
        return np.column_stack([
            random.normal(size=n), random.exponential(size=n), np.exp(3 * random.normal(size=n)),
            crowded, whole, few, np.full(n, 3.0), np.full(n, np.nan), 1e300 * random.normal(size=n),
        ])  # fmt: skip

    bins = [Bins.of(column, k == 5) for k, column in enumerate(columns(2000).T)]
    coder = Coder.of(bins)
    assert coder.steps > 1 and coder.searched[3] and not coder.searched[:2].any()
    values = columns(700)
    for k, b in enumerate(bins):
        n = len(b.edges)
        values[:n, k], values[n : 2 * n, k] = b.edges, np.nextafter(b.edges, np.inf)
        values[-5:, k] = -np.inf, np.inf, np.nan, -1e9, 1e9
    seen = random.random(values.shape) < 0.9
    expected = np.column_stack([b.codes(values[:, k]) for k, b in enumerate(bins)])
    expected[~seen] = -1
    np.testing.assert_array_equal(coder.codes(values, seen), expected)
    some = np.array([1, 3, 5, 8])
    np.testing.assert_array_equal(
        coder.codes(values[:, some], seen[:, some], some), expected[:, some]
    )


def test_evidence_is_the_same_where_a_float_holds_it_and_in_logs():
    random = np.random.default_rng(0)
    plain, logs = (Evidence.fresh(["both", "up", "down"]) for _ in range(2))
    for _ in range(20):
        counts = random.multinomial(50, MASS, size=(4, 3))
        counts[0, 1] = 0
        value = plain.absorb(counts)
        far = np.ones(3, dtype=bool)
        there = counts.sum(axis=2) > 0
        weight = np.where(there, _start_weight(logs.looks + np.cumsum(there, 0) - there), 0.0)
        won = np.empty((4, 3, logs.log_sum.shape[1]))
        won[:, :, :-1] = counts @ bets()[0].T
        won[:, :, -1] = logs._learning(counts.astype(float), counts.sum(axis=2))
        placed = logs.placed + np.cumsum(weight, axis=0)
        other = logs._grow_in_logs(far, won, weight, placed)
        logs.placed, logs.looks = placed[-1], logs.looks + there.sum(axis=0)
        np.testing.assert_allclose(value, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("n", [50, 99, 100, 149, 501])
def test_windows_hold_every_row_once(n):
    parts = windows_of(n, 50)
    assert [k for part in parts for k in range(n)[part]] == list(range(n))
    assert all(50 <= part.stop - part.start < 100 for part in parts)


@pytest.mark.proof
def test_whole_monitor_keeps_the_rate_on_real_rows():
    """Breast cancer, rows drawn with replacement: nothing changes, everything is watched."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from skrobust import LpBall, RobustnessMonitor

    X, y = load_breast_cancer(return_X_y=True)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X[::2], y[::2])
    threat, X, y = LpBall(scale="std").bind(X[::2]), X[1::2], y[1::2]
    n_streams, rate, alarms = 100, 0.2, 0
    for seed in range(n_streams):
        random = np.random.default_rng(seed)
        ref, new = (random.integers(len(X), size=n) for n in (300, 600))
        options = dict(false_alarm_rate=rate, min_effect=0.0, max_rows=None, random_state=seed)
        monitor = RobustnessMonitor(model, radius=0.2, threat=threat, **options)
        monitor.fit(X[ref], y[ref])
        for low in range(0, 600, 100):
            state = monitor.update(X[new[low : low + 100]], y[new[low : low + 100]])
        alarms += state.alarm
    print(f"{alarms} of {n_streams} streams with an alarm at rate {rate}")
    assert alarms / n_streams <= rate + 2 * np.sqrt(rate * (1 - rate) / n_streams)
