"""Paired tests and their power: closed forms, brute force, simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import integrate, stats

from skrobust.risk import paired_test, power_of_rows, rows_needed, smallest_difference


def connor(difference, discordant, power, alpha):
    """Rows of McNemar's test by the formula of Connor (1987)."""
    z_alpha, z_beta = stats.norm.ppf([1 - alpha / 2, power])
    root = math.sqrt(discordant - difference**2)
    return (z_alpha * math.sqrt(discordant) + z_beta * root) ** 2 / difference**2


@pytest.mark.parametrize(
    ("difference", "discordant", "power", "alpha"),
    list(itertools.product([0.01, 0.05, -0.1], [0.1, 0.3], [0.8, 0.95], [0.05, 0.01])),
)
def test_rows_of_mcnemar_are_connors(difference, discordant, power, alpha):
    n = rows_needed(difference, discordant=discordant, power=power, alpha=alpha)
    assert n == math.ceil(connor(difference, discordant, power, alpha) - 1e-9)


def t_power_by_integration(n, shift, alpha):
    """Of the two-sided t test, integrated over the estimated standard deviation."""
    cut, freedom = stats.t.ppf(1 - alpha / 2, n - 1), n - 1

    def given(variance):
        s = math.sqrt(variance / freedom)
        inside = stats.norm.cdf(cut * s - shift) - stats.norm.cdf(-cut * s - shift)
        return (1 - inside) * stats.chi2.pdf(variance, freedom)

    return integrate.quad(given, 0, freedom + 40 * math.sqrt(2 * freedom) + 50, limit=300)[0]


@pytest.mark.parametrize(("n", "size"), [(5, 0.7), (20, 0.5), (150, 0.25)])
def test_power_of_the_t_test(n, size):
    expected = t_power_by_integration(n, size * math.sqrt(n), 0.05)
    assert power_of_rows(n, 3 * size, sd=3.0) == pytest.approx(expected, abs=1e-6)


def test_textbook_numbers():
    """Cohen (1988) and the tables of power programs: d = .5, .2, .8, power .8: 34, 199, 15 pairs."""
    assert [rows_needed(d, sd=1.0) for d in (0.5, 0.2, 0.8)] == [34, 199, 15]


def test_large_samples_are_normal():
    z = stats.norm.ppf([0.975, 0.8]).sum()
    assert rows_needed(0.01, sd=2.0) == pytest.approx((z * 2 / 0.01) ** 2, rel=1e-4)
    at = [power_of_rows(n, 0.03, sd=1.0) for n in (10_000, 10_001)]
    assert at[0] == pytest.approx(at[1], abs=2e-4)


@pytest.mark.parametrize("spread", [dict(sd=7.0), dict(discordant=0.2)])
def test_the_three_questions_agree(spread):
    n = rows_needed(0.05, power=0.9, **spread)
    assert power_of_rows(n, 0.05, **spread) >= 0.9 > power_of_rows(n - 1, 0.05, **spread)
    least = smallest_difference(n, power=0.9, **spread)
    assert least == pytest.approx(0.05, rel=1e-3) and least <= 0.05
    assert power_of_rows(n, least, **spread) == pytest.approx(0.9, abs=1e-6)


def test_no_difference_can_be_told_by_few_rows():
    assert smallest_difference(3, discordant=0.1) == math.inf
    assert smallest_difference(2, sd=1.0) > 10


def test_power_is_what_simulation_shows():
    """Discordant rows drawn with their rates, tested with the test of this file."""
    random, n = np.random.RandomState(0), 400
    found = []
    for _ in range(1500):
        up, down, _ = random.multinomial(n, [0.09, 0.04, 0.87])
        found.append((up - down) / math.sqrt(max(up + down, 1)))  # McNemar's own statistic
    seen = np.mean(np.abs(found) > stats.norm.ppf(0.975))
    assert power_of_rows(n, 0.05, discordant=0.13) == pytest.approx(seen, abs=0.04)
    costs = random.normal(2.0, 10.0, size=(4000, 100))
    seen = np.mean(stats.ttest_1samp(costs, 0, axis=1).pvalue < 0.05)
    assert power_of_rows(100, 2.0, sd=10.0) == pytest.approx(seen, abs=0.03)


def test_mcnemar_by_hand():
    first = [1] * 10 + [1] * 6 + [0] * 1 + [0] * 3
    second = [1] * 10 + [0] * 6 + [1] * 1 + [0] * 3
    found = paired_test(first, second)
    # of 7 discordant rows 6 or 7 (or 0, 1) in one direction: 2 (7 + 1) / 2^7
    assert found.p_value == pytest.approx(16 / 128)
    assert (found.kind, found.difference, found.discordant) == ("mcnemar", 0.25, 0.35)
    assert not found.told_apart
    assert found.rows_needed() == rows_needed(0.25, discordant=0.35)
    assert found.smallest_difference() == smallest_difference(20, discordant=0.35)


def test_t_is_scipys():
    random = np.random.RandomState(0)
    first = random.exponential(size=50)
    second = first + random.normal(0.2, 1, size=50)
    found, theirs = paired_test(first, second, confidence=0.9), stats.ttest_rel(first, second)
    assert found.p_value == pytest.approx(theirs.pvalue)
    assert found.interval == pytest.approx(tuple(theirs.confidence_interval(0.9)))
    assert found.rows_needed() == rows_needed(found.difference, sd=found.sd, alpha=0.1)


def test_candidates_that_are_the_same():
    found = paired_test([0, 1, 1], [0, 1, 1])
    assert (found.difference, found.p_value, found.rows_needed()) == (0, 1, None)
    assert found.interval[0] < 0 < found.interval[1]
    found = paired_test([2.5, 3.5], [2.5, 3.5])
    assert (found.p_value, found.interval) == (1, (0, 0))
    assert paired_test([2.5, 3.5], [1.5, 2.5]).told_apart


def test_interval_of_accuracies_covers():
    """Agresti and Min's interval, by enumeration of all tables of 30 rows."""
    n, p_up, p_down, covered = 30, 0.12, 0.05, 0.0
    for up in range(n + 1):
        for down in range(n + 1 - up):
            chance = stats.multinomial.pmf([up, down, n - up - down], n, [p_up, p_down, 0.83])
            if chance < 1e-9:
                continue
            rest = n - up - down
            found = paired_test(
                [1] * up + [0] * down + [1] * rest, [0] * up + [1] * down + [1] * rest
            )
            low, high = found.interval
            covered += chance * (low <= p_up - p_down <= high)
    assert 0.94 <= covered <= 0.99


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rows_needed(0.1), "discordant=None is not valid"),
        (lambda: rows_needed(0.1, sd=1, discordant=0.2), "and not both"),
        (lambda: rows_needed(0, sd=1), "No number of rows"),
        (lambda: rows_needed(0.3, discordant=0.2), "discordant=0.2 is not valid"),
        (lambda: rows_needed(0.1, sd=0), "sd=0.0 is not valid"),
        (lambda: rows_needed(1e-9, sd=1e3), "large enough"),
        (lambda: rows_needed(0.1, sd=1, power=1), "power=1.0 is not valid"),
        (lambda: power_of_rows(1, 0.1, sd=1), "n_rows=1 is not valid"),
        (lambda: smallest_difference(10, sd=1, alpha=0), "alpha=0.0 is not valid"),
        (lambda: paired_test([1, 2], [1, 2, 3]), "the same rows"),
        (lambda: paired_test([1, np.nan], [1, 2]), "first="),
        (lambda: paired_test([1, 2], ["a", "b"]), "second="),
    ],
)
def test_errors_say_what_to_do(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
