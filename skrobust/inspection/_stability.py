"""How much the reasons for an answer change when the row moves a little."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from skrobust._compat import import_extra
from skrobust._params import check_bool, check_integer, check_number
from skrobust._torch import per_row, to_numpy
from skrobust.exceptions import invalid
from skrobust.inspection._attributions import Slopes
from skrobust.inspection._rows import row_labels
from skrobust.threats import Region, check_threat

__all__ = ["AttributionStability", "attribution_stability"]

N_STEPS = 8  # of the climb along the curvature, where there is any


@dataclass(frozen=True, eq=False)
class AttributionStability:
    """What :func:`attribution_stability` found; per row, in the order of the rows given.

    All of them are the worst that a search found: the truth is at most that.

    Attributes
    ----------
    overlap : ndarray of shape (n,)
        Share of the ``top`` strongest entries that are still among the ``top`` strongest.
    correlation : ndarray of shape (n,)
        Spearman's rank correlation of the strengths of all entries. NaN where all are equal.
    cosine : ndarray of shape (n,)
        Cosine of the angle between the gradients, signs included. NaN where one is 0.
    top : int
    radius : float
    n_looks : int
        Places looked at for each row.
    labels : list
        What the rows are called.
    """

    overlap: np.ndarray
    correlation: np.ndarray
    cosine: np.ndarray
    top: int
    radius: float
    n_looks: int
    labels: list

    def frame(self) -> Any:
        """The numbers as a pandas DataFrame, one row per row."""
        pandas = import_extra("pandas", "frames")
        names = ("overlap", "correlation", "cosine")
        return pandas.DataFrame(
            {"row": self.labels} | {name: getattr(self, name) for name in names}
        )

    def __repr__(self) -> str:
        if len(self.overlap) == 0:
            return f"AttributionStability(0 rows, radius {self.radius:g})"
        return (
            f"AttributionStability({len(self.overlap)} rows, radius {self.radius:g}, median overlap of "
            f"the top {self.top}: at most {np.median(self.overlap):.2f})"
        )


def attribution_stability(
    estimator: Any,
    X: Any,
    *,
    radius: float,
    threat: Any = "linf",
    top: int | None = None,
    n_looks: int = 60,
    keep_answer: bool = True,
    random_state: Any = None,
) -> AttributionStability:
    """Search, near each row, for the place where the reasons for the answer differ most.

    The reasons are the gradient of what speaks for the answer (the logit margin of the class given to
    the row; a regressor's output), each entry times its step of the threat. At a place z within the
    radius it is compared with that at the row x in three ways: how many of the ``top`` strongest
    entries remain, the rank correlation of the strengths, and the cosine. The smallest of each is
    returned. It comes from a search (the curvature, the ends of the gradient's way, random places,
    and walks from the worst place seen): reasons may change more than was found, never less.

    Parameters
    ----------
    estimator : fitted classifier or regressor
        With a gradient that says something: linear models, networks, kernel machines.
    X : array, tensor or DataFrame of shape (n, ...)
        The rows.
    radius : float
        How far they move, in steps of the threat's ``scale``; > 0.
    threat : {"linf", "l2", "l1"} or threat object
        Where rows may move.
    top : int, optional
        How many entries count as the reasons: 5, or a twentieth of all where that is more.
    n_looks : int
        Places to look at for each row.
    keep_answer : bool
        Whether only places count where the answer is still the same: an explanation that changes
        with the answer surprises nobody.
    random_state : int, RandomState or None
        An int gives the same numbers each time.

    Returns
    -------
    AttributionStability
        ``overlap``, ``correlation``, ``cosine`` per row; ``frame()``.

    Raises
    ------
    UnsupportedEstimatorError
        For models without a gradient that says something (trees, bins, black boxes).
    ValueError, TypeError
        As for :func:`skrobust.worst_case`.

    References
    ----------
    Ghorbani, Abid & Zou (2019), "Interpretation of neural networks is fragile", arXiv:1710.10547.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.svm import SVC
    >>> from skrobust import attribution_stability
    >>> X, y = load_iris(return_X_y=True)
    >>> X, y = X[:100], y[:100]
    >>> line = LogisticRegression().fit(X, y)
    >>> attribution_stability(
    ...     line, X[:3], radius=0.5, top=2
    ... ).overlap  # a plane is the same all over
    array([1., 1., 1.])
    >>> curve = SVC(gamma=2.0).fit(X, y)
    >>> found = attribution_stability(curve, X[:3], radius=0.5, top=2, random_state=0)
    >>> bool((found.cosine < 0.5).all())
    True
    """
    radius = check_number("radius", radius, low=0, open_low=True)
    n_looks = check_integer("n_looks", n_looks, low=1)
    keep_answer = check_bool("keep_answer", keep_answer)
    slopes = Slopes(estimator, X, check_threat(threat))
    slopes.need(estimator)
    size = int(slopes.x[0].numel())
    if top is None:
        top = min(max(5, size // 20), size)
    if check_integer("top", top, low=1) > size:
        raise invalid("top", top, f"at most {size}, the number of entries of a row")
    generator = slopes.evaluation.generator(random_state)
    search = _Search(slopes, radius, top, keep_answer)
    search.run(n_looks, generator)
    labels = row_labels(X, len(slopes.x))
    return AttributionStability(*search.worst, top, radius, search.n_looks, labels)


class _Search:
    """The worst comparison seen per row, and the place with the smallest cosine."""

    def __init__(self, slopes: Slopes, radius: float, top: int, keep_answer: bool):
        self.slopes, self.top, self.keep_answer = slopes, top, keep_answer
        self.x, self.n_looks = slopes.x, 0
        self.region: Region = slopes.evaluation.threat.region(self.x, radius)
        self.scale = self.region.scale.expand_as(self.x)
        self.slope, _ = slopes.at(self.x)
        self.here = self._counted(self.slope)
        self.known = _strengths(self.here, top)
        self.best = self.x
        self.worst = np.ones((3, len(self.x)))
        flat = np.abs(self.here)
        self.worst[1][np.ptp(flat, axis=1) == 0] = np.nan
        self.worst[2][(flat == 0).all(axis=1)] = np.nan

    def run(self, n_looks: int, generator: torch.Generator) -> None:
        for slope in (self.slope, -self.slope):
            self._look(self.region.steepest(slope), n_looks)
        begins = (self.region.sample(generator), self._corner(generator))
        for begin in begins:
            self._climb(begin, min(N_STEPS, n_looks - self.n_looks))
        while self.n_looks < n_looks:
            there = self.region.sample(generator) if self.n_looks % 4 else self._corner(generator)
            self._look(there, n_looks)
            # a walk from the worst place, ever shorter
            share = 0.5 * (1 - self.n_looks / n_looks) + 0.05
            self._look(self.region.project(self.best + share * (there - self.best)), n_looks)

    def _look(self, z: Tensor, at_most: int) -> None:
        if self.n_looks >= at_most:
            return
        self.n_looks += 1
        z = self.region.realize(z)
        self._compare(z, *self.slopes.at(z))

    def _compare(self, z: Tensor, slope: Tensor, same: Tensor) -> None:
        found = _compare(self.here, self._counted(slope), self.top, self.known)
        if self.keep_answer:
            found[:, ~to_numpy(same)] = np.nan
        better = found[2] < self.worst[2]
        self.worst = np.where(np.isnan(self.worst), np.nan, np.fmin(self.worst, found))
        mask = torch.as_tensor(better, device=z.device)
        self.best = torch.where(per_row(mask, z), z, self.best)

    def _corner(self, generator: torch.Generator) -> Tensor:
        """As far as a row can go, in a random direction."""
        way = torch.randn(
            self.x.shape, dtype=self.x.dtype, device=self.x.device, generator=generator
        )
        return self.region.steepest(way)

    def _climb(self, z: Tensor, n_steps: int) -> None:
        """Steps along the gradient of the cosine, where gradients have gradients.

        The gradient whose gradient is taken is a look at its place already.
        """
        for _ in range(max(0, n_steps - 1)):
            z = self.region.realize(z)
            turn = self._turn(z)
            if turn is None or not bool((turn[0] != 0).any()):
                return
            self.n_looks += 1
            self._compare(z, *turn[1:])
            z = self.region.step(z, -turn[0], 0.3 * self.region.radius)
        if n_steps > 0:
            self._look(z, self.n_looks + 1)

    def _turn(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
        """Where the cosine rises, and the gradient at ``z`` (n, ...) with whether the answer is kept."""
        z = z.detach().requires_grad_(True)
        try:
            with torch.enable_grad():
                slope, same = self.slopes.at(z, graph=True)
                there = (slope * self.scale).flatten(1)
                here = torch.as_tensor(self.here, dtype=there.dtype, device=there.device)
                cosine = torch.nn.functional.cosine_similarity(here, there, dim=1)
                (turn,) = torch.autograd.grad(cosine.sum(), z, allow_unused=True)
        except RuntimeError:  # an operation that is differentiable once
            return None
        return None if turn is None else (torch.nan_to_num(turn), slope.detach(), same)

    def _counted(self, slope: Tensor) -> np.ndarray:
        """Per step of the threat, flat; what is missing or cannot be told is 0."""
        return np.nan_to_num(to_numpy((slope * self.scale).flatten(1)).astype(np.float64))


def _compare(here: np.ndarray, there: np.ndarray, top: int, known=None) -> np.ndarray:
    """Overlap of the strongest, rank correlation and cosine, (3, n); ``known``: strengths of ``here``.

    >>> _compare(np.array([[3.0, 2.0, 1.0]]), np.array([[-3.0, 1.0, 2.0]]), 2).round(2)
    array([[ 0.5 ],
           [ 0.5 ],
           [-0.36]])
    """
    chosen, ranks = zip(known or _strengths(here, top), _strengths(there, top), strict=True)
    overlap = (chosen[0] & chosen[1]).sum(axis=1) / top
    return np.stack([overlap, _cosine(*ranks), _cosine(here, there)])


def _strengths(slope: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """Which entries (n, k) are the strongest, and the centred ranks of all."""
    size = np.abs(slope)
    chosen = np.zeros(size.shape, dtype=bool)
    first = np.argsort(-size, axis=1, kind="stable")[:, :top]
    np.put_along_axis(chosen, first, True, axis=1)
    ranks = stats.rankdata(size, axis=1)
    return chosen, ranks - ranks.mean(axis=1, keepdims=True)


def _cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        a, b = (part / np.abs(part).max(axis=1, keepdims=True) for part in (a, b))
        found = (a * b).sum(axis=1) / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return np.clip(found, -1.0, 1.0)
