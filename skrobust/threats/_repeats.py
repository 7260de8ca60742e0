"""How large is a radius? As large as the noise of the measurement, seen in repeats."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import stats
from sklearn.utils import check_random_state

from skrobust._compat import import_extra
from skrobust._params import check_integer, check_name, check_number
from skrobust.exceptions import caution, invalid
from skrobust.threats._geometry import Norm, find_norm
from skrobust.threats._lp_ball import LpBall
from skrobust.threats._numbers import Columns

__all__ = ["MeasuredRadius", "radius_from_repeats"]

MOST_PAIRS = 2000  # of one item: thousands of repeats would otherwise make millions of pairs
N_DRAWS = 2000  # simulated measurements of distribution="normal"


@dataclass(eq=False)
class MeasuredRadius:
    """What :func:`radius_from_repeats` found.

    Attributes
    ----------
    radius : float
        In steps of ``scale``: with ``confidence`` at least ``share`` of the measurements stay within.
    estimate : float
        The same without a margin for the few items: holds ``share`` of the noise that was seen.
    interval : (float, float)
        Two-sided bootstrap interval of the radius that holds ``share`` of all such noise.
    scale : ndarray of shape (n_features,)
        Standard deviation of one measurement, in the units of the column; 1 where there is no noise.
    noisy : ndarray of bool
        The columns with noise.
    reliability : ndarray of shape (n_features,)
        Share of a column's variance that is the item and not the measurement, 0 to 1.
    threat : LpBall
        Norm and scale as numbers, columns without noise frozen: pass it as ``threat=``.
    n_items, n_rows : int
        Items with at least two measurements, and their rows.
    share, confidence : float
        As asked for.
    names : list of str
        Names of the columns, or their numbers.
    """

    radius: float
    estimate: float
    interval: tuple[float, float]
    scale: np.ndarray
    noisy: np.ndarray
    reliability: np.ndarray
    threat: LpBall
    n_items: int
    n_rows: int
    share: float
    confidence: float
    names: list[str]
    _length: np.ndarray = field(repr=False, default_factory=lambda: np.zeros(0))
    _weight: np.ndarray = field(repr=False, default_factory=lambda: np.zeros(0))

    def held(self, radius: float) -> float:
        """Share of the noise that was seen that another radius holds."""
        radius = check_number("radius", radius, low=0)
        return float(self._weight[self._length <= radius].sum() / self._weight.sum())

    def frame(self) -> Any:
        """One row per column: its noise in its own units, the radius in these, its reliability."""
        pandas = import_extra("pandas", "frames")
        noise = np.where(self.noisy, self.scale, 0.0)
        return pandas.DataFrame(
            {
                "column": self.names,
                "noise_std": noise,
                "moves_by": self.radius * noise,
                "reliability": self.reliability,
            }
        )

    def __repr__(self) -> str:
        low, high = self.interval
        return (
            f"radius {self.radius:.3g} holds {self.share:.0%} of the measurement noise "
            f"({self.confidence:.0%} sure; estimate {self.estimate:.3g}, interval {low:.3g} to "
            f"{high:.3g}; {self.n_items} items, {self.n_rows} measurements)"
        )


def radius_from_repeats(
    X: Any,
    groups: Any,
    *,
    norm: Any = "linf",
    share: float = 0.95,
    confidence: float = 0.95,
    between: str = "repeats",
    distribution: str = "empirical",
    n_bootstrap: int = 500,
    random_state: Any = None,
) -> MeasuredRadius:
    """The radius that measurement noise asks for: measure some items several times.

    The noise of a column is the standard deviation within items, pooled:
    ``s_j^2 = sum over items and rows of (x_j - mean of the item)^2 / (n_rows - n_items)``.
    One step of the threat is ``s_j``, and the radius is the length, in steps, that ``share`` of the
    differences do not exceed.

    Parameters
    ----------
    X : array or data frame of shape (n, n_features)
        Measurements in the units in which the model gets them. NaN is skipped; columns of text are
        taken to be without noise.
    groups : array of shape (n,) or name of a column of X
        Which item each row measures; items measured once tell nothing and are left out. A column
        named here is no measurement, and has no noise.
    norm : {"linf", "l2", "l1", inf, 2, 1}
        Of the ball that holds the noise.
    share : float
        Share of the measurements that the radius is to hold, in (0, 1).
    confidence : float
        How sure this is: the radius is the upper limit of a bootstrap over items, or the tolerance
        limit of as many lengths as there are degrees of freedom, whichever is larger.
    between : {"repeats", "truth"}
        ``"repeats"``: between one measurement and another of the same item, which is what happens
        to a row that is measured again (for normal noise longer by the square root of 2).
        ``"truth"``: between a measurement and the true value of the item.
    distribution : {"empirical", "normal"}
        ``"empirical"``: lengths of the differences seen. ``"normal"``: simulated from their
        covariance, for few repeats of noise that is known to be normal.
    n_bootstrap : int
        Resamples of the items, >= 20.
    random_state : int, RandomState or None

    Returns
    -------
    MeasuredRadius
        ``radius``, ``scale``, ``threat`` (an :class:`~skrobust.LpBall`), ``interval``, ``frame()``.

    Raises
    ------
    ValueError, TypeError
        Where no item has two rows, no column has noise, or an option makes no sense.

    Warns
    -----
    RobustnessWarning
        Where so few items cannot tell that ``share`` is held with ``confidence``.

    Notes
    -----
    Pairs (and residuals) of an item count by its degrees of freedom, so that both ways agree with
    the pooled variance. The bootstrap draws whole items, for measurements of one item share their
    mean, finds scale and radius on the draw, and sees by which factor these fall short on the items
    that it drew from. With few items its upper limit falls short; an order statistic of the lengths
    does not, and holds for independent lengths of any law. Without a normal distribution, ``log(1 - confidence) /
    log(share)`` items are needed to say anything (Wilks 1941): 59 for 95% and 95%.

    Examples
    --------
    A hundred items, measured three times with a noise of 0.5 and of 2:

    >>> import numpy as np
    >>> from skrobust.threats import radius_from_repeats
    >>> random = np.random.RandomState(0)
    >>> items = np.repeat(np.arange(100), 3)
    >>> X = 10 * random.normal(size=(100, 2))[items] + [0.5, 2] * random.normal(size=(300, 2))
    >>> found = radius_from_repeats(X, items, random_state=0)
    >>> found.scale.round(1)
    array([0.5, 2.1])
    >>> 2.9 < found.estimate < 3.4 and found.radius > found.estimate  # normal noise: 3.16
    True
    >>> found.threat
    LpBall(scale=<2 numbers>)
    """
    kind = find_norm(norm)
    if kind is None:
        raise invalid("norm", norm, '"linf", "l2" or "l1" (or inf, 2, 1)')
    share = check_number("share", share, low=0, high=1, open_low=True, open_high=True)
    confidence = check_number(
        "confidence", confidence, low=0, high=1, open_low=True, open_high=True
    )
    check_name("between", between, ["repeats", "truth"])
    check_name("distribution", distribution, ["empirical", "normal"])
    n_bootstrap = check_integer("n_bootstrap", n_bootstrap, low=20)
    random = check_random_state(random_state)
    columns = Columns.of(X)
    values, item = _repeated(columns, _items(X, groups))
    if isinstance(groups, str):
        values[:, columns.position(groups, "groups")] = np.nan
    residual, pooled = _residuals(values, item)
    for place in columns.categories:
        pooled[place] = 0.0
    noisy = pooled > 0
    if not noisy.any():
        raise invalid(
            "X", f"<{len(values)} rows>", "repeats that differ in at least one column",
            "All measurements of each item are the same: there is no noise to hold.",
        )  # fmt: skip
    scale = np.where(noisy, np.sqrt(pooled), 1.0)
    steps = np.where(noisy, np.nan_to_num(residual) / scale, 0.0)
    n_items = int(item.max()) + 1
    seen = _differences(steps, item, between, random)
    if distribution == "empirical":
        _check_enough(n_items, share, confidence)
    length, weight, ratio = _law(seen, kind, share, distribution, n_items, random)
    estimate = _quantile(length, weight, share)
    samples = random.multinomial(n_items, np.full(n_items, 1 / n_items), size=n_bootstrap)
    ratios = [ratio(count) for count in samples]
    tail = (1 - confidence) / 2
    low, high, radius = estimate * np.quantile(ratios, [tail, 1 - tail, confidence])
    if distribution == "empirical":
        level = _tolerance_level(len(values) - n_items, share, confidence)
        radius = max(radius, _quantile(length, weight, level))
    radius = max(radius, estimate)
    return MeasuredRadius(
        radius=float(radius),
        estimate=float(estimate),
        interval=(float(low), float(max(high, radius))),
        scale=scale,
        noisy=noisy,
        reliability=_reliability(values, pooled),
        threat=LpBall(norm=kind.name, scale=scale, frozen=None if noisy.all() else ~noisy),
        n_items=n_items,
        n_rows=len(values),
        share=share,
        confidence=confidence,
        names=columns.names or [str(place) for place in range(columns.length)],
        _length=length,
        _weight=weight,
    )


def _law(seen: Any, kind: Any, share: float, distribution: str, n_items: int, random: Any):
    """Lengths of differences, their weights, and what a sample of items makes of the estimate."""
    if distribution == "empirical":
        return _norm(kind, seen.steps), seen.weight, lambda count: _ratio(seen, count, kind, share)
    normal = random.normal(size=(N_DRAWS, seen.steps.shape[1]))
    length = _norm(kind, normal @ _root(seen, np.ones(n_items)).T)
    ratio = lambda count: _normal_ratio(seen, count, kind, share, normal)
    return length, np.ones(len(length)), ratio


def _tolerance_level(n: int, share: float, confidence: float) -> float:
    """Which quantile of n lengths holds ``share`` of all lengths with ``confidence`` (Wilks 1941).

    >>> _tolerance_level(100, 0.9, 0.95)
    0.96
    """
    return float(min(1.0, (stats.binom.ppf(confidence, n, share) + 1) / n))


def _items(X: Any, groups: Any) -> np.ndarray:
    if isinstance(groups, str):
        known = list(map(str, getattr(X, "columns", [])))
        if groups not in known:
            raise invalid("groups", groups, f"a column of X (one of {known[:10]}), or an array")
        groups = X[groups]
    found = np.asarray(groups)
    if found.shape != (len(X),):
        raise invalid("groups", groups, f"one item for each of the {len(X)} rows")
    return found


def _repeated(columns: Columns, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows of items with two measurements or more, and their items as 0, 1, 2, ..."""
    values = columns.values
    if values.ndim != 2:
        raise invalid("X", f"<rows of shape {columns.shape}>", "a table (n, n_features)")
    _, item, count = np.unique(groups, return_inverse=True, return_counts=True)
    keep = count[item] > 1
    if not keep.any():
        raise invalid(
            "groups", groups, "items of which at least one has two rows",
            "Measure some items again: two measurements each are enough, 60 items are a good start.",
        )  # fmt: skip
    return values[keep].copy(), np.unique(item[keep], return_inverse=True)[1]


def _residuals(values: np.ndarray, item: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each measurement minus the mean of its item, and the pooled variance of each column."""
    seen = ~np.isnan(values)
    count = _by_item(seen.astype(float), item)
    total = _by_item(np.where(seen, values, 0.0), item)
    residual = values - (total / np.maximum(count, 1))[item]
    # what rounding leaves of equal measurements is no noise
    size = np.where(seen, np.abs(values), 0.0).max(axis=0)
    residual[np.abs(residual) <= 1e-12 * size] = 0.0
    freedom = np.maximum(count - 1, 0).sum(axis=0)
    squares = np.nansum(residual**2, axis=0)
    return residual, np.where(freedom > 0, squares / np.maximum(freedom, 1), 0.0)


def _by_item(values: np.ndarray, item: np.ndarray) -> np.ndarray:
    total = np.zeros((int(item.max()) + 1, values.shape[1]))
    np.add.at(total, item, values)
    return total


class _Differences(NamedTuple):
    """Differences in steps; the weights of an item add up to its degrees of freedom."""

    steps: np.ndarray
    weight: np.ndarray
    item: np.ndarray
    variance: float  # of a difference, in variances of one measurement

    def scale(self, count: np.ndarray) -> np.ndarray:
        """Standard deviation of one measurement if item i had been drawn ``count[i]`` times."""
        weight = self.weight * count[self.item]
        pooled = weight @ self.steps**2 / (self.variance * weight.sum())
        return np.where(pooled > 0, np.sqrt(pooled), 1.0)


def _differences(steps, item, between, random: np.random.RandomState) -> _Differences:
    if between == "truth":
        size = np.bincount(item)[item]
        weight = (size - 1) / size  # the residual is that much narrower than the noise
        return _Differences(steps / np.sqrt(weight)[:, None], weight, item, 1.0)
    order = np.argsort(item, kind="stable")
    first, second, weight, whose = [], [], [], []
    start = 0
    for number, size in enumerate(np.bincount(item)):
        one, two = np.triu_indices(size, 1)
        if len(one) > MOST_PAIRS:
            some = random.choice(len(one), MOST_PAIRS, replace=False)
            one, two = one[some], two[some]
        first.append(order[start + one])
        second.append(order[start + two])
        weight.append(np.full(len(one), (size - 1) / len(one)))
        whose.append(np.full(len(one), number))
        start += size
    apart = steps[np.concatenate(first)] - steps[np.concatenate(second)]
    return _Differences(apart, np.concatenate(weight), np.concatenate(whose), 2.0)


def _ratio(seen: _Differences, count: np.ndarray, norm: Norm, share: float) -> float:
    """Radius needed over radius found, had the items been drawn ``count`` times.

    Scale and radius are found on the draw and needed on the items that it was drawn from.
    """
    length = _norm(norm, seen.steps / seen.scale(count))
    found = _quantile(length, seen.weight * count[seen.item], share)
    return _quantile(length, seen.weight, share) / found if found > 0 else 1.0


def _normal_ratio(seen, count, norm, share, normal: np.ndarray) -> float:
    """The same for noise simulated from the covariance."""
    scale, every = seen.scale(count), np.ones(len(count))
    needed, found = (
        np.quantile(_norm(norm, normal @ _root(seen, times).T / scale), share)
        for times in (every, count)
    )
    return float(needed / found)


def _root(seen: _Differences, count: np.ndarray) -> np.ndarray:
    """Lower triangle whose square is the covariance of the differences."""
    weight = seen.weight * count[seen.item]
    covariance = (seen.steps * weight[:, None]).T @ seen.steps / weight.sum()
    return np.linalg.cholesky(covariance + 1e-9 * np.eye(len(covariance)))


def _norm(norm: Norm, steps: np.ndarray) -> np.ndarray:
    return norm.length(torch.from_numpy(np.ascontiguousarray(steps))).numpy()


def _quantile(values: np.ndarray, weight: np.ndarray, share: float) -> float:
    """The smallest value that holds ``share`` of the weight."""
    order = np.argsort(values)
    cumulated = np.cumsum(weight[order])
    place = np.searchsorted(cumulated, share * cumulated[-1] * (1 - 1e-12))
    return float(values[order][min(place, len(values) - 1)])


def _reliability(values: np.ndarray, pooled: np.ndarray) -> np.ndarray:
    """One minus the share of noise in the variance of all measurements; NaN for constants."""
    seen = ~np.isnan(values)
    count = np.maximum(seen.sum(axis=0), 1)
    center = np.where(seen, values, 0.0).sum(axis=0) / count
    total = np.where(seen, (values - center) ** 2, 0.0).sum(axis=0) / np.maximum(count - 1, 1)
    varies = total > 0
    return np.where(varies, 1 - np.minimum(pooled / np.where(varies, total, 1.0), 1.0), np.nan)


def _check_enough(n_items: int, share: float, confidence: float) -> None:
    needed = math.ceil(math.log(1 - confidence) / math.log(share))
    if n_items < needed:
        caution(
            f"{n_items} items are too few to be {confidence:.0%} sure that a radius holds "
            f"{share:.0%} of the noise: it takes {needed}. Measure more items again, ask for less, "
            'or take distribution="normal" if the noise is known to be normal.'
        )
