"""Limits and ranks from counts: coverage summed over all counts, and against scipy's own tests."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from skrobust.certificates._noise import (
    deciding_share,
    lower_rank,
    lower_share,
    median_shares,
    ranks_within,
    shifted,
    tied,
    upper_rank,
    upper_share,
)

DOUBTS = [0.05, 0.001]
SIZES = [10, 101, 1000]
SHARES = np.array([0.001, 0.03, 0.25, 0.5, 0.77, 0.95, 0.9999])


@pytest.mark.parametrize("doubt", DOUBTS)
@pytest.mark.parametrize("n", SIZES)
def test_limits_cover_whatever_the_probability(n, doubt):
    """Over all counts, weighted by their probability: no simulation needed."""
    counts = np.arange(n + 1)
    low, high = lower_share(counts, n, doubt), upper_share(counts, n, doubt)
    for share in SHARES:
        weight = stats.binom.pmf(counts, n, share)
        assert weight[low > share].sum() <= doubt * (1 + 1e-9)
        assert weight[high < share].sum() <= doubt * (1 + 1e-9)


def test_limits_cover_in_a_simulation():
    rng = np.random.default_rng(0)
    counts = rng.binomial(200, 0.9, size=100_000)
    missed = (lower_share(counts, 200, 0.05) > 0.9).mean()
    assert 0.01 < missed <= 0.05 + 3 * np.sqrt(0.05 / 100_000)


@pytest.mark.parametrize("count", [0, 1, 60, 99, 100])
def test_limits_are_those_of_scipy(count):
    test = stats.binomtest(count, 100, alternative="greater")
    expected = test.proportion_ci(0.99, method="exact").low
    assert lower_share(np.array(count), 100, 0.01) == pytest.approx(expected, abs=1e-12)
    test = stats.binomtest(count, 100, alternative="less")
    expected = test.proportion_ci(0.99, method="exact").high
    assert upper_share(np.array(count), 100, 0.01) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("doubt", DOUBTS)
@pytest.mark.parametrize("n", SIZES)
def test_a_deciding_share_wins_the_vote(n, doubt):
    share = deciding_share(n, doubt)
    assert stats.binom.sf(n // 2, n, share) == pytest.approx(1 - doubt, abs=1e-9)
    assert share > 0.5


@pytest.mark.parametrize("doubt", DOUBTS)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("share", SHARES)
def test_ranks_enclose_the_quantile_and_no_others_would(n, doubt, share):
    """Of uniform answers the k-th is at most ``share`` if at least k answers are."""
    low, high = int(lower_rank(share, n, doubt)), int(upper_rank(share, n, doubt))
    at_most = lambda k: stats.binom.sf(k - 1, n, share)  # P(k-th smallest <= share)
    assert at_most(low) >= 1 - doubt or low == 0
    assert at_most(low + 1) < 1 - doubt
    assert 1 - at_most(high) >= 1 - doubt - 1e-12 or high == n + 1
    assert high == 1 or 1 - at_most(high - 1) < 1 - doubt


@pytest.mark.parametrize("rank", [1, 50, 99])
def test_quantiles_that_a_rank_lies_between(rank):
    low, high = median_shares(rank, 99, 0.01)
    assert stats.binom.sf(rank - 1, 99, low) == pytest.approx(0.01, abs=1e-9)
    assert stats.binom.cdf(rank - 1, 99, high) == pytest.approx(0.01, abs=1e-9)


def test_shift_is_that_of_a_half_space():
    """P(e > t - l) for P(e > t), the extreme case of the lemma."""
    threshold, length = np.array([-2.0, 0.0, 1.5]), 0.7
    share = stats.norm.sf(threshold)
    np.testing.assert_allclose(shifted(share, length), stats.norm.sf(threshold - length))
    np.testing.assert_allclose(shifted(share, -length), stats.norm.sf(threshold + length))
    np.testing.assert_array_equal(shifted(np.array([0.0, 1.0]), 3.0), [0, 1])
    assert shifted(np.array([0.0]), np.inf) == 0


def test_ties_are_those_of_the_binomial_test():
    first = np.array([51, 60, 66, 67, 90])
    for count, found in zip(first, tied(first, 100 - first, 0.001), strict=True):
        assert found == (stats.binomtest(int(count), 100).pvalue > 0.001)
    assert tied(np.array([5]), np.array([5]), 0.5).all()


def test_ranks_spread_with_the_length():
    low, high = ranks_within((0.5, 0.5), np.array([0.0, 0.5, 1.0, 9.0]), 1000, 0.001)
    assert (np.diff(low) < 0).all() and (np.diff(high) > 0).all()
    assert low[-1] == 0 and high[-1] == 1001
    assert low[0] < 500 < high[0]
