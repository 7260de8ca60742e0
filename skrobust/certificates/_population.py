"""From rows that were certified to all rows like them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skrobust._compat import check_sample_weight
from skrobust._params import check_number
from skrobust.exceptions import invalid
from skrobust.metrics._evaluation import mean
from skrobust.metrics._intervals import (
    effective_size,
    normal_high,
    proven_low,
    sandwich,
    tolerance,
)

__all__ = ["PopulationStatement", "population_statement"]


@dataclass(frozen=True)
class PopulationStatement:
    """What holds of all rows like those that were certified; see :func:`population_statement`.

    ``str()`` says it in plain words.

    Attributes
    ----------
    n_rows : float
        Rows that it rests on (of weighted rows the effective number).
    confidence : float
        Of each statement, on its own.
    certified : float or None
        Share of the rows that were certified.
    at_most : float or None
        Share of all such rows that can be made wrong within the radius, at most. (If the
        certificate knew no right answers: whose prediction can be changed. Of a regressor: that can
        leave the tolerance; None without one.)
    interval : tuple of float or None
        Share of all such rows that cannot: from the lower limit of what was certified to the upper
        limit of what withstood the attack, where one was given.
    variation : float or None
        Mean over the rows of how much the output can vary within the radius.
    variation_at_most : float or None
        That mean for all such rows, at most: by the normal approximation.
    share : float
        Of the rows that ``share_at_most`` speaks of.
    share_at_most : float or None
        The output of at least ``share`` of all such rows varies by no more than that; holds for
        any distribution, infinite where there are too few rows to say so.
    """

    n_rows: float
    confidence: float
    certified: float | None
    at_most: float | None
    interval: tuple[float, float] | None
    variation: float | None
    variation_at_most: float | None
    share: float
    share_at_most: float | None

    def __str__(self) -> str:
        sure, said = f"With {self.confidence:.0%} confidence", []
        if self.at_most is not None:
            said.append(f"{sure} at most {self.at_most:.1%} of such rows can be made wrong.")
        if self.variation is not None:
            said.append(
                f"{sure} the output of such rows varies by at most {self.variation_at_most:.4g} "
                f"on average; that of {self.share:.0%} of them by at most {self.share_at_most:.4g}."
            )
        return " ".join(said)


def population_statement(
    certificate: Any,
    worst: Any = None,
    *,
    sample_weight: Any = None,
    confidence: float = 0.95,
    share: float = 0.9,
) -> PopulationStatement:
    """Say of all rows like these what the certificate proves of these.

    The rows must be drawn like those to come, and the model must not have been fitted to them.

    Parameters
    ----------
    certificate : Certificate
        Of :func:`skrobust.certify`, with ``radius=``.
    worst : WorstCase, optional
        Of :func:`skrobust.worst_case` for the same rows and radius: what the attack broke gives the
        upper end of ``interval``.
    sample_weight : array-like of shape (n,), optional
        Weight of each row.
    confidence : float, default=0.95
        Of each statement.
    share : float, default=0.9
        Of the rows, for ``share_at_most``.

    Returns
    -------
    PopulationStatement

    Notes
    -----
    Shares have one-sided Clopper-Pearson limits. A row's statistical proof (``certificate.confidence``)
    is wrong with a small probability, which is taken off. How much the output of a row varies is, of
    a regressor, the largest distance of its bounds from its prediction; of a classifier, whose
    outputs are logits or probabilities, the widest range of one of them.

    Raises
    ------
    ValueError
        If the certificate is about no radius.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> import numpy as np
    >>> proven = SimpleNamespace(
    ...     prediction=np.zeros(500),
    ...     certified=np.arange(500) >= 50,
    ...     confidence=None,
    ...     lower=None,
    ...     upper=None,
    ... )
    >>> print(population_statement(proven))
    With 95% confidence at most 12.5% of such rows can be made wrong.
    """
    unit = dict(low=0, high=1, open_low=True, open_high=True)
    confidence = check_number("confidence", confidence, **unit)
    share = check_number("share", share, **unit)
    certified = certificate.certified
    if certified is None and certificate.lower is None:
        raise invalid("certificate", certificate, "one that was asked for with radius=")
    radius = getattr(certificate, "radius", None)
    if radius is not None and np.isnan(radius).all():
        certified = None  # a regressor without a tolerance: there is nothing it could miss
    weight = check_sample_weight(sample_weight, np.zeros((len(certificate.prediction), 1)))
    doubt = 1 - (certificate.confidence or 1.0)
    return PopulationStatement(
        n_rows=effective_size(weight),
        confidence=confidence,
        **_shares(certified, worst, weight, confidence, doubt),
        share=share,
        **_variation(certificate, weight, confidence, share, doubt),
    )


def _shares(certified, worst: Any, weight: np.ndarray, confidence: float, doubt: float) -> dict:
    if certified is None:
        return {"certified": None, "at_most": None, "interval": None}
    n_rows, found = effective_size(weight), mean(np.asarray(certified, dtype=float), weight)
    kept = 1.0 if worst is None else mean(1.0 - worst.broken, weight)
    return {
        "certified": found,
        "at_most": 1 - proven_low(found, n_rows, confidence, doubt),
        "interval": sandwich(found, kept, n_rows, confidence, doubt),
    }


def _variation(
    certificate: Any, weight: np.ndarray, confidence, share: float, doubt: float
) -> dict:
    names = ("variation", "variation_at_most", "share_at_most")
    if certificate.lower is None:
        return dict.fromkeys(names)
    low, high = (np.asarray(b, dtype=np.float64) for b in (certificate.lower, certificate.upper))
    varies = high - low
    center = np.asarray(certificate.prediction)
    if center.dtype.kind == "f" and center.size == low.size:  # a regressor's
        center = center.reshape(low.shape)
        varies = np.maximum(high - center, center - low)
    varies = varies.reshape(len(varies), -1).max(axis=1)
    every = weight.min() == weight.max()  # order statistics of weighted rows prove nothing
    most = tolerance(varies, share + doubt, confidence) if every and share + doubt < 1 else np.inf
    return dict(
        zip(
            names,
            (mean(varies, weight), normal_high(varies, weight, confidence), most),
            strict=True,
        )
    )
