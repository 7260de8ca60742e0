"""Do two samples look alike? Column by column, and all columns together."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

__all__ = ["Apart", "chi_square", "classifier_test", "holm", "ks", "outside"]

FEWEST_EXPECTED = 5  # rows in a cell of a chi-square test


class Apart(NamedTuple):
    """How different two samples of one column are: an effect from 0 to 1, and a p value."""

    effect: float
    p_value: float


def holm(p_values: np.ndarray) -> np.ndarray:
    """p values that hold for all tests together (Holm 1979); NaN are no tests.

    >>> holm(np.array([0.01, np.nan, 0.04, 0.03]))
    array([0.03,  nan, 0.06, 0.06])
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    adjusted, tests = np.full(p_values.shape, np.nan), np.flatnonzero(~np.isnan(p_values))
    order = tests[np.argsort(p_values[tests], kind="stable")]
    steps = p_values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps)) if len(order) else steps
    return adjusted


def ks(first: np.ndarray, second: np.ndarray) -> Apart:
    """Kolmogorov and Smirnov: the largest distance of the two distribution functions.

    >>> ks(np.arange(10.0), np.arange(10.0) + 5)
    Apart(effect=0.5, p_value=0.1678...)
    """
    first, second = first[~np.isnan(first)], second[~np.isnan(second)]
    if not len(first) or not len(second):
        return Apart(np.nan, np.nan)
    found = stats.ks_2samp(first, second, method="auto")
    return Apart(float(found.statistic), float(found.pvalue))


def chi_square(first: np.ndarray, second: np.ndarray) -> Apart:
    """Shares of categories; the effect is Cramer's V. Rare categories count together.

    >>> chi_square(np.array([0.0] * 50 + [1.0] * 50), np.array([0.0] * 80 + [1.0] * 20)).effect
    0.3144...
    """
    codes, place = np.unique(np.concatenate([first, second]), return_inverse=True)
    table = np.stack(
        [
            np.bincount(place[: len(first)], minlength=len(codes)),
            np.bincount(place[len(first) :], minlength=len(codes)),
        ]
    ).astype(float)
    expected = table.sum(axis=0) * table.sum(axis=1).min() / table.sum()
    rare = expected < FEWEST_EXPECTED
    if rare.any():
        table = np.column_stack([table[:, ~rare], table[:, rare].sum(axis=1)])
    if table.shape[1] < 2:
        return Apart(0.0, 1.0)
    found = stats.chi2_contingency(table, correction=False)
    return Apart(float(np.sqrt(found.statistic / table.sum())), float(found.pvalue))


def outside(seen: np.ndarray, new: np.ndarray) -> tuple[float, float]:
    """Share of new values beyond the least and the largest seen, and the p value of so many.

    Of alike samples a new value lies outside with probability ``2 / (n_seen + 1)``; given the
    extremes seen, the number outside has a beta-binomial law.

    >>> outside(np.arange(99.0), np.array([50.0, 200.0]))[0]
    0.5
    """
    seen, new = seen[~np.isnan(seen)], new[~np.isnan(new)]
    if not len(seen) or not len(new):
        return np.nan, np.nan
    n_out = int(((new < seen.min()) | (new > seen.max())).sum())
    if len(np.unique(seen)) < 3:  # two values are no range
        return n_out / len(new), 0.0 if n_out else 1.0
    law = stats.betabinom(len(new), 2, len(seen) - 1)
    return n_out / len(new), float(law.sf(n_out - 1))


def classifier_test(
    first: np.ndarray, second: np.ndarray, random: np.random.RandomState
) -> tuple[float, float, int]:
    """Can a model tell two samples apart? (held-out AUC, p value of its accuracy, rows held out).

    It learns on one half which sample a row is from; on the other half, as many rows of each, it is
    right as often as a coin if there is no difference (Lopez-Paz & Oquab 2017).
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score

    m = min(len(first), len(second)) // 2 * 2
    parts = [part[random.permutation(len(part))[:m]] for part in (first, second)]
    half = m // 2
    X = [np.concatenate([part[:half] for part in parts]), np.concatenate([p[half:] for p in parts])]
    y = np.repeat([0, 1], half)
    model = HistGradientBoostingClassifier(
        max_iter=40, early_stopping=False, random_state=random.randint(2**31 - 1)
    ).fit(X[0], y)
    score = model.predict_proba(X[1])[:, 1]
    # a coin decides rows that stand right on the line, and all of them if nothing was learned
    said = np.where(score == 0.5, random.rand(len(score)) < 0.5, score > 0.5)
    right = int((said == y).sum())
    p_value = stats.binomtest(right, len(y), 0.5, alternative="greater").pvalue
    return float(roc_auc_score(y, score)), float(p_value), len(y)
