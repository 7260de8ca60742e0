"""How accuracy falls (or loss grows) with the radius."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skrobust._compat import import_extra
from skrobust._params import check_number
from skrobust.exceptions import invalid
from skrobust.metrics._certified import Proven, proof_of
from skrobust.metrics._evaluation import Evaluation, Found, check_radius, mean
from skrobust.metrics._intervals import (
    clopper_pearson,
    effective_size,
    normal_high,
    normal_interval,
    proven_low,
    sandwich,
)

__all__ = ["RobustnessCurve", "robustness_curve"]


@dataclass(frozen=True, eq=False)
class RobustnessCurve:
    """Accuracy (of a regressor: mean loss) under attack, by radius.

    Attributes
    ----------
    radii : ndarray of shape (n_radii,)
        In ascending order, in steps of the threat's ``scale``.
    clean : float
        Accuracy, or mean loss, of the rows as they are.
    attacked : ndarray of shape (n_radii,)
        Accuracy at the worst rows found: never rises with the radius. For a regressor the mean
        worst loss, which never falls.
    certified : ndarray of shape (n_radii,) or None
        Share of rows proven to stay right (of a regressor the mean loss that is proven to be the
        largest); None where no proof was asked for.
    interval : ndarray of shape (n_radii, 2)
        Where the figure of the population lies: Clopper-Pearson for accuracy (of weighted rows
        with their effective number), the normal approximation for a mean loss. With a proof it
        reaches from the limit of the certified figure to that of the attacked one, and so holds
        for the best attack there can be; without one it is the interval of the attacked figure.
    majority : float
        What a model that ignores X would score: share of the most frequent class, or the loss of
        the mean of y.
    confidence : float
        Of the interval.
    quantity : {"accuracy", "loss"}
        What the numbers are.
    at_most : ndarray of shape (n_radii,) or None
        With a proof: what share of such rows can be wrong within the radius at most (of a
        regressor, how large the mean worst loss is at most), with one-sided ``confidence``.
    variation, variation_at_most : ndarray of shape (n_radii,) or None
        With a proof, of a regressor: how far the prediction of a row can move from where it is, on
        average over the rows; and over all such rows at most, with one-sided ``confidence``, by the
        normal approximation.
    method : str
        How it was proven.
    """

    radii: np.ndarray
    clean: float
    attacked: np.ndarray
    certified: np.ndarray | None
    interval: np.ndarray
    majority: float
    confidence: float = 0.95
    quantity: str = field(default="accuracy")
    at_most: np.ndarray | None = None
    variation: np.ndarray | None = None
    variation_at_most: np.ndarray | None = None
    method: str = ""

    def statement(self, radius: float) -> str:
        """What the curve says of all such rows at one of its radii, in plain words.

        >>> half = np.array([[0.83, 0.92]])
        >>> curve = RobustnessCurve(
        ...     np.array([0.2]), 0.95, np.array([0.9]), np.array([0.85]), half, 0.5,
        ...     at_most=np.array([0.1687]), method="linear",
        ... )
        >>> curve.statement(0.2)
        'With 95% confidence at most 16.9% of such rows are wrong or can be made wrong within \
radius 0.2.'
        """
        at = np.flatnonzero(self.radii == radius)
        if not len(at):
            raise invalid("radius", radius, f"one of {self.radii.tolist()}")
        if self.at_most is None:
            return f"Nothing is proven within radius {radius:g}: ask with certify=True."
        sure, most = f"With {self.confidence:.0%} confidence", self.at_most[at[0]]
        if self.quantity == "accuracy":
            what = "of such rows are wrong or can be made wrong"
            return f"{sure} at most {most:.1%} {what} within radius {radius:g}."
        said = f"{sure} the mean loss of such rows is at most {most:.4g} within radius {radius:g}."
        if self.variation_at_most is not None:
            moves = self.variation_at_most[at[0]]
            said += f" {sure} their predictions move by at most {moves:.4g} on average."
        return said

    def frame(self) -> Any:
        """The curve as a pandas DataFrame, one row per radius."""
        pandas = import_extra("pandas", "frames")
        columns = {
            "radius": self.radii,
            "clean": self.clean,
            "attacked": self.attacked,
            "certified": self.certified,
            "low": self.interval[:, 0],
            "high": self.interval[:, 1],
            "at_most": self.at_most,
            "variation": self.variation,
            "variation_at_most": self.variation_at_most,
            "majority": self.majority,
        }
        return pandas.DataFrame({k: v for k, v in columns.items() if v is not None})

    def plot(self, ax: Any = None) -> Any:
        """Draw the curve with its interval, the clean figure and the majority's; return the axes."""
        if ax is None:
            _, ax = import_extra("matplotlib.pyplot", "plot").subplots()
        (line,) = ax.plot(self.radii, self.attacked, marker="o", label="attacked")
        low, high = self.interval.T
        label = f"{self.confidence:.0%} interval"
        ax.fill_between(self.radii, low, high, alpha=0.2, color=line.get_color(), label=label)
        if self.certified is not None:
            ax.plot(self.radii, self.certified, marker="s", label="certified")
        ax.axhline(self.clean, color="gray", label="clean")
        ax.axhline(self.majority, color="gray", linestyle=":", label="ignoring X")
        ax.set(xlabel="radius", ylabel=self.quantity)
        ax.legend()
        return ax


def robustness_curve(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    radii: Sequence[float],
    threat: Any = "linf",
    attack: Any = "auto",
    sample_weight: Any = None,
    random_state: Any = None,
    confidence: float = 0.95,
    loss: str | Callable | None = None,
    batch_size: int | None = None,
    certify: bool | str | None = None,
) -> RobustnessCurve:
    """Score a model at several radii, each search going on from the rows of the one before.

    A row that was broken at a radius is broken at every larger one and is not searched again, so
    the curve cannot rise, and costs less than its points one by one.

    Parameters
    ----------
    estimator, X, y, threat, attack, random_state, batch_size
        As for :func:`skrobust.worst_case`.
    radii : sequence of float
        In any order, in steps of the threat's ``scale``.
    sample_weight : array-like of shape (n,), optional
        Weight of each row in the means.
    confidence : float, between 0 and 1
        Of the interval.
    loss : str or callable, optional
        Of a regressor: as for :func:`skrobust.worst_case`. With a loss, a
        classifier's curve shows the mean loss instead of the accuracy.
    certify : bool or str, optional
        Whether to prove, too, which rows nothing within the radius can break; a string is a
        ``method`` of :func:`skrobust.certify`. See ``certified``, ``interval`` and ``at_most`` of
        the result.

    Returns
    -------
    RobustnessCurve

    Raises
    ------
    ValueError, TypeError
        As for :func:`skrobust.worst_case`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skrobust import robustness_curve
    >>> X, y = load_iris(return_X_y=True)
    >>> model = LogisticRegression(max_iter=1000).fit(X, y)
    >>> curve = robustness_curve(model, X, y, radii=[0, 0.2, 0.4])
    >>> curve.attacked.round(3)
    array([0.973, 0.867, 0.64 ])
    >>> round(curve.majority, 3)
    0.333
    """
    radii = _check_radii(radii)
    confidence = check_number(
        "confidence", confidence, low=0, high=1, open_low=True, open_high=True
    )
    evaluation = Evaluation(
        estimator,
        X,
        y,
        threat=threat,
        attack=attack,
        sample_weight=sample_weight,
        loss=loss,
        batch_size=batch_size,
    )
    generator = evaluation.generator(random_state)
    found, path = evaluation.clean, []
    for radius in radii:
        found = evaluation.worst(radius, generator, start=found)
        path.append(found)
    return _summary(evaluation, radii, path, confidence, certify)


def _summary(
    evaluation: Evaluation,
    radii: np.ndarray,
    path: list[Found],
    confidence: float,
    certify: bool | str | None,
) -> RobustnessCurve:
    weight, accuracy = evaluation.weight, evaluation.task.is_margin
    rows = [per_row(found, accuracy) for found in (evaluation.clean, *path)]
    clean, *attacked = [mean(values, weight) for values in rows]
    proof = proof_of(evaluation, certify, radii, np.array(rows[1:]))
    every = np.ones(len(weight), dtype=bool)
    return RobustnessCurve(
        radii=radii,
        clean=clean,
        attacked=np.array(attacked),
        **population(np.array(rows[1:]), proof, weight, accuracy, confidence, every),
        majority=evaluation.task.majority(weight),
        confidence=confidence,
        quantity="accuracy" if accuracy else "loss",
        method="" if proof is None else proof.method,
    )


def population(
    attacked: np.ndarray,
    proof: Proven | None,
    weight: np.ndarray,
    accuracy: bool,
    confidence: float,
    mask: np.ndarray,
) -> dict[str, Any]:
    """What rows ``attacked`` (n_radii, n) and their proof say of all rows like those of a mask."""
    weight, attacked = weight[mask], attacked[:, mask]
    if proof is None:
        limits = _share_limits if accuracy else normal_interval
        interval = [limits(values, weight, confidence) for values in attacked]
        none = dict.fromkeys(("certified", "at_most", "variation", "variation_at_most"))
        return {**none, "interval": np.array(interval)}
    proven = proof.values[:, mask]
    both = list(zip(proven, attacked, strict=True))
    if not accuracy:
        ends = [[normal_interval(v, weight, confidence) for v in pair] for pair in both]
        interval = [(found[0], bound[1]) for bound, found in ends]
        at_most = [normal_high(v, weight, confidence) for v in proven]
    else:
        n_rows, doubt = effective_size(weight), proof.doubt
        share = lambda values: float(np.average(values, weights=weight))
        interval = [sandwich(share(p), share(a), n_rows, confidence, doubt) for p, a in both]
        at_most = [1 - proven_low(share(p), n_rows, confidence, doubt) for p in proven]
    certified = [mean(values, weight) for values in proven]
    named = {"certified": certified, "interval": interval, "at_most": at_most}
    return {
        **{name: np.array(values) for name, values in named.items()},
        **_variation(proof.variation, weight, confidence, mask),
    }


def _variation(varies: np.ndarray | None, weight: np.ndarray, confidence: float, mask) -> dict:
    if varies is None:
        return {"variation": None, "variation_at_most": None}
    return {
        "variation": np.array([mean(v[mask], weight) for v in varies]),
        "variation_at_most": np.array([normal_high(v[mask], weight, confidence) for v in varies]),
    }


def _share_limits(values: np.ndarray, weight: np.ndarray, confidence: float):
    return clopper_pearson(
        float(np.average(values, weights=weight)), effective_size(weight), confidence
    )


def per_row(found: Found, accuracy: bool) -> np.ndarray:
    return 1.0 - found.broken if accuracy else found.value


def _check_radii(radii: Any) -> np.ndarray:
    allowed = "a sequence of finite numbers >= 0"
    if isinstance(radii, (str, bytes)) or not np.iterable(radii) or np.ndim(radii) != 1:
        raise invalid("radii", radii, allowed, "For one radius write radii=[0.1].", TypeError)
    if len(radii) == 0:
        raise invalid("radii", radii, f"{allowed}, at least one")
    return np.sort([check_radius(radius) for radius in radii])
