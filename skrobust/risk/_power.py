"""Is one candidate better than another, and how many rows does it take to know?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from skrobust._params import check_integer, check_number
from skrobust.exceptions import invalid

__all__ = ["PairedTest", "paired_test", "power_of_rows", "rows_needed", "smallest_difference"]

MOST_ROWS = 10**12


@dataclass(frozen=True)
class PairedTest:
    """What :func:`paired_test` found.

    Attributes
    ----------
    difference : float
        Mean of first minus second.
    interval : (float, float)
        Of the difference, two-sided.
    p_value : float
        Two-sided, of there being no difference.
    n_rows : int
    kind : {"mcnemar", "t"}
        ``"mcnemar"`` where all values are 0 or 1, else ``"t"``.
    discordant : float or None
        Share of the rows on which the two differ (of ``"mcnemar"``).
    sd : float
        Standard deviation of the differences of single rows.
    confidence : float
    """

    difference: float
    interval: tuple[float, float]
    p_value: float
    n_rows: int
    kind: str
    discordant: float | None
    sd: float
    confidence: float

    @property
    def told_apart(self) -> bool:
        """Whether the test rejects that there is no difference."""
        return bool(self.p_value < 1 - self.confidence)

    def rows_needed(self, power: float = 0.8) -> int | None:
        """Rows that would tell a difference as large as the one seen; None if none was seen."""
        if self.difference == 0:
            return None
        options = dict(power=power, alpha=1 - self.confidence)
        if self.kind == "mcnemar":
            return rows_needed(self.difference, discordant=self.discordant, **options)
        return rows_needed(self.difference, sd=self.sd, **options) if self.sd else 2

    def smallest_difference(self, power: float = 0.8) -> float:
        """The smallest difference that as many rows tell with this power."""
        options = dict(power=power, alpha=1 - self.confidence)
        if self.kind == "mcnemar":
            return smallest_difference(self.n_rows, discordant=self.discordant, **options)
        return smallest_difference(self.n_rows, sd=self.sd, **options)

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"difference {self.difference:.4g} ({self.confidence:.0%} interval {low:.4g} to "
            f"{high:.4g}), p = {self.p_value:.2g}, {self.n_rows} rows"
        )


def paired_test(first: Any, second: Any, *, confidence: float = 0.95) -> PairedTest:
    """Compare two candidates on the same rows: what each row cost, or whether it was right.

    Rows are hard or easy for both alike. Their differences leave that out, and need far fewer rows
    than two separate means.

    Parameters
    ----------
    first, second : array-like of shape (n,)
        One number per row, in the same order: costs, losses, or right (1) and wrong (0).
    confidence : float
        Of the interval; the test is at level ``1 - confidence``.

    Returns
    -------
    PairedTest

    Raises
    ------
    ValueError, TypeError
        For values that are no finite numbers or not as many.

    Notes
    -----
    0 and 1: the exact McNemar test of the rows on which the two differ (a binomial one), and the
    interval of Agresti and Min (2005), which adds half a row to each of the four cells. Other
    numbers: the paired t test and its interval.

    Examples
    --------
    >>> import numpy as np
    >>> from skrobust.risk import paired_test
    >>> first = np.array([1] * 80 + [1] * 12 + [0] * 3 + [0] * 5)
    >>> second = np.array([1] * 80 + [0] * 12 + [1] * 3 + [0] * 5)
    >>> print(paired_test(first, second))
    difference 0.09 (95% interval 0.01331 to 0.1632), p = 0.035, 100 rows
    """
    confidence = _inside("confidence", confidence)
    one, two = _values("first", first), _values("second", second)
    if len(one) != len(two) or len(one) < 2:
        raise invalid(
            "second", f"<{len(two)} values>", f"one for each of the {len(one)} rows, at least two",
            "Both candidates must have been measured on the same rows.",
        )  # fmt: skip
    apart, n = one - two, len(one)
    sd = float(apart.std(ddof=1))
    if np.isin(one, (0, 1)).all() and np.isin(two, (0, 1)).all():
        up, down = int((apart > 0).sum()), int((apart < 0).sum())
        p_value = stats.binomtest(up, up + down).pvalue if up + down else 1.0
        interval = _agresti_min(up, down, n, confidence)
        kind, discordant = "mcnemar", (up + down) / n
    else:
        kind, discordant = "t", None
        half = stats.t.ppf((1 + confidence) / 2, n - 1) * sd / math.sqrt(n)
        interval = (float(apart.mean() - half), float(apart.mean() + half))
        p_value = _t_p_value(apart, sd)
    return PairedTest(
        float(apart.mean()), interval, float(p_value), n, kind, discordant, sd, confidence
    )


def _t_p_value(apart: np.ndarray, sd: float) -> float:
    if sd == 0:
        return 1.0 if apart[0] == 0 else 0.0
    return 2 * stats.t.sf(abs(apart.mean()) / (sd / math.sqrt(len(apart))), len(apart) - 1)


def _agresti_min(up: int, down: int, n: int, confidence: float) -> tuple[float, float]:
    """Wald's interval after half a row more in each of the four cells.

    >>> low, high = _agresti_min(0, 0, 100, 0.95)
    >>> round(low, 3), round(high, 3)
    (-0.019, 0.019)
    """
    up, down, n = up + 0.5, down + 0.5, n + 2
    center = (up - down) / n
    half = stats.norm.ppf((1 + confidence) / 2) * math.sqrt(up + down - (up - down) ** 2 / n) / n
    return float(max(-1.0, center - half)), float(min(1.0, center + half))


def power_of_rows(
    n_rows: int,
    difference: float,
    *,
    discordant: float | None = None,
    sd: float | None = None,
    alpha: float = 0.05,
) -> float:
    """The chance that ``n_rows`` rows tell two candidates apart that differ by so much.

    Parameters
    ----------
    n_rows : int
        >= 2.
    difference : float
        Of the means: of accuracies in [-1, 1], of costs in their currency per row.
    discordant : float, optional
        For right and wrong: the share of rows on which the candidates differ, in (0, 1], at least
        ``abs(difference)``. Power of McNemar's test (Connor 1987):
        ``Phi((|d| sqrt(n) - z sqrt(p)) / sqrt(p - d^2))``, p the discordant share, z the normal
        quantile of ``1 - alpha / 2``.
    sd : float, optional
        For costs: the standard deviation of the differences of single rows. Power of the paired t test:
        a noncentral t distribution with ``|d| sqrt(n) / sd``.
    alpha : float
        Level of the two-sided test.

    Returns
    -------
    float

    Raises
    ------
    ValueError, TypeError
        Unless exactly one of ``discordant`` and ``sd`` is given; for numbers that make no sense.

    Examples
    --------
    >>> from skrobust.risk import power_of_rows
    >>> round(power_of_rows(34, 0.5, sd=1.0), 3)  # a textbook value of the t test
    0.808
    """
    n_rows, alpha = check_integer("n_rows", n_rows, low=2), _inside("alpha", alpha)
    spread = _spread(difference, discordant, sd)
    return _power(n_rows, abs(float(difference)), *spread, alpha)


def rows_needed(
    difference: float,
    *,
    discordant: float | None = None,
    sd: float | None = None,
    power: float = 0.8,
    alpha: float = 0.05,
) -> int:
    """The fewest rows that tell two candidates apart that differ by so much.

    Parameters
    ----------
    difference, discordant, sd, alpha
        As for :func:`skrobust.risk.power_of_rows`; ``difference`` is not 0.
    power : float
        The chance that they do.

    Returns
    -------
    int

    Raises
    ------
    ValueError, TypeError
        As for :func:`skrobust.risk.power_of_rows`.

    Examples
    --------
    Two points of accuracy, where the candidates differ on a tenth of the rows; one euro per row,
    where single rows differ by a standard deviation of 20 euros:

    >>> from skrobust.risk import rows_needed
    >>> rows_needed(0.02, discordant=0.1)
    1960
    >>> rows_needed(1.0, sd=20.0)
    3142
    """
    power, alpha = _inside("power", power), _inside("alpha", alpha)
    spread = _spread(difference, discordant, sd)
    size = abs(check_number("difference", difference))
    if size == 0:
        raise invalid(
            "difference", difference, "not 0", "No number of rows shows a difference that is none."
        )
    low, high = 1, 2
    while _power(high, size, *spread, alpha) < power:
        low, high = high, 2 * high
        if high > MOST_ROWS:
            raise invalid("difference", difference, f"large enough for {MOST_ROWS:g} rows to show")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (
            (low, middle) if _power(middle, size, *spread, alpha) >= power else (middle, high)
        )
    return high


def smallest_difference(
    n_rows: int,
    *,
    discordant: float | None = None,
    sd: float | None = None,
    power: float = 0.8,
    alpha: float = 0.05,
) -> float:
    """The smallest difference of two candidates that ``n_rows`` rows tell.

    Parameters
    ----------
    n_rows, discordant, sd, alpha
        As for :func:`skrobust.risk.power_of_rows`.
    power : float
        The chance that they do.

    Returns
    -------
    float
        In the unit of ``sd``, or a difference of accuracies; infinity where so few rows on which the
        candidates differ tell no difference at all.

    Raises
    ------
    ValueError, TypeError
        As for :func:`skrobust.risk.power_of_rows`.

    Examples
    --------
    >>> from skrobust.risk import smallest_difference
    >>> round(smallest_difference(500, discordant=0.1), 3)
    0.04
    """
    n_rows = check_integer("n_rows", n_rows, low=2)
    power, alpha = _inside("power", power), _inside("alpha", alpha)
    spread = _spread(0.0, discordant, sd)
    discordant, sd = spread
    low, high = 0.0, discordant if sd is None else sd
    if sd is not None:
        while _power(n_rows, high, *spread, alpha) < power:
            high *= 2
    elif _power(n_rows, high, *spread, alpha) < power:
        return math.inf
    for _ in range(60):
        middle = (low + high) / 2
        enough = _power(n_rows, middle, *spread, alpha) >= power
        low, high = (low, middle) if enough else (middle, high)
    return high


def _power(n: int, size: float, discordant: float | None, sd: float | None, alpha: float) -> float:
    if sd is not None:
        cut, shift = stats.t.ppf(1 - alpha / 2, n - 1), size * math.sqrt(n) / sd
        if n > 10_000:  # where the noncentral t is slow, it is normal
            return float(stats.norm.sf(cut - shift) + stats.norm.cdf(-cut - shift))
        # far away from 0 scipy has no number for the other tail, which is none
        other = np.nan_to_num(stats.nct.cdf(-cut, n - 1, shift))
        return float(stats.nct.sf(cut, n - 1, shift) + other)
    cut = stats.norm.ppf(1 - alpha / 2)
    spread = discordant - size**2
    reach = size * math.sqrt(n) - cut * math.sqrt(discordant)
    if spread <= 1e-15:  # all rows differ, all in the same way
        return float(reach >= 0)
    return float(stats.norm.cdf(reach / math.sqrt(spread)))


def _spread(difference: Any, discordant: Any, sd: Any) -> tuple[float | None, float | None]:
    """Exactly one of the two, checked."""
    size = abs(check_number("difference", difference))
    if (discordant is None) == (sd is None):
        raise invalid(
            "discordant", discordant, "given, or sd=, and not both",
            "discordant= for right and wrong answers, sd= for costs.", TypeError,
        )  # fmt: skip
    if sd is not None:
        return None, check_number("sd", sd, low=0, open_low=True)
    hint = "The candidates differ on at least as many rows as their accuracies do."
    return check_number(
        "discordant", discordant, low=size, high=1, open_low=size == 0, hint=hint
    ), None


def _inside(name: str, value: Any) -> float:
    return check_number(name, value, low=0, high=1, open_low=True, open_high=True)


def _values(name: str, values: Any) -> np.ndarray:
    try:
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise invalid(name, values, "one number per row", error=TypeError) from error
    if found.ndim != 1 or not np.isfinite(found).all():
        raise invalid(name, values, "one finite number per row, of shape (n,)")
    return found
