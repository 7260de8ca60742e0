"""The smallest move that changes a decision."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skrobust._compat import import_extra
from skrobust._params import check_integer, check_name, check_number
from skrobust._torch import to_numpy, to_tensor
from skrobust.certificates import Settings
from skrobust.certificates._proof import Proof, search
from skrobust.exceptions import UnsupportedEstimatorError, invalid
from skrobust.inspection._fragility import influence, judge, smallest_radius
from skrobust.inspection._rows import feature_names, row_labels
from skrobust.inspection._toward import Toward
from skrobust.inspection._worst_case_display import WorstCaseDisplay, answers, step_of
from skrobust.metrics._evaluation import Evaluation
from skrobust.metrics._tasks import is_regression
from skrobust.threats import check_threat

__all__ = ["Counterfactuals", "nearest_counterfactual", "proven_radius"]

PRECISION = 1e-3  # how finely the smallest radius is sought, relative to itself
MANY = 20_000  # numbers; in larger tables columns are ordered by how far they moved
OUTWARDS, FARTHEST = 4.0, 4.0**8  # without max_radius: the search goes out in such steps, so far


@dataclass(frozen=True, eq=False)
class Counterfactuals:
    """What :func:`nearest_counterfactual` found; per row, in the order of the rows given.

    Attributes
    ----------
    X : same container as the rows given
        The rows moved just so far that the answer changes, in the units of X; rows for which
        nothing was found are as they were.
    radius : ndarray of shape (n,)
        How far they moved, in steps of the threat's ``scale``: what was found, so the truth is at
        most that. Infinity where nothing was found, 0 where the row is there already.
    proven : ndarray of shape (n,)
        No smaller move changes the answer, whatever the search: the truth is at least that. 0
        where nothing is proven, infinity where no move does it.
    before, after : ndarray of shape (n,)
        The answers to the rows and to the moved rows.
    method : str
        How ``proven`` was proven; empty if it was not.
    """

    X: Any
    radius: np.ndarray
    proven: np.ndarray
    before: np.ndarray
    after: np.ndarray
    method: str
    picture: WorstCaseDisplay = field(repr=False)

    @property
    def found(self) -> np.ndarray:
        """Of which rows the answer was changed."""
        return np.isfinite(self.radius)

    def frame(self, kind: str = "changes") -> Any:
        """The numbers as a pandas DataFrame.

        Parameters
        ----------
        kind : {"changes", "rows"}
            ``"changes"``: one row per row and column that moved, with the values before and after,
            the difference, and the same in steps of the threat. ``"rows"``: one row per row, with
            the answers, ``radius``, ``proven`` and how many columns moved.
        """
        check_name("kind", kind, ("changes", "rows"))
        pandas = import_extra("pandas", "frames")
        if kind == "changes":
            return self.picture.frame()
        x, z = (part.reshape(len(part), -1) for part in (self.picture.x, self.picture.z))
        columns = {
            "row": self.picture.labels,
            "before": self.before,
            "after": self.after,
            "radius": self.radius,
            "proven": self.proven,
            "n_changed": ((x != z) & ~np.isnan(x)).sum(axis=1),
        }
        return pandas.DataFrame(columns)

    def __repr__(self) -> str:
        return f"Counterfactuals({len(self.radius)} rows, {int(self.found.sum())} found)"


def nearest_counterfactual(
    estimator: Any,
    X: Any,
    *,
    threat: Any = "linf",
    target: Any = None,
    max_radius: float | None = None,
    attack: Any = "auto",
    certify: bool | str = True,
    n_halvings: int = 8,
    random_state: Any = None,
    known: np.ndarray | None = None,
) -> Counterfactuals:
    """Find, for each row, the smallest move within the threat that changes the answer.

    For row x with answer c this looks for

        min r  such that some z in {x + scale * u : ||u|| <= r} within the threat has another answer

    by halving the radius between what is proven and what an attack found; every row returned obeys
    the threat (frozen and one-way columns, bounds, whole numbers, categories, repairs) and is judged by
    ``estimator.predict``. Columns that are not needed are put back. The smallest radius of a linear
    model is its margin over the dual norm of its weights, and the answer is exact to a thousandth; of
    other models it is an upper limit, with the proven lower one beside it.

    Parameters
    ----------
    estimator : fitted classifier or regressor
        As for :func:`skrobust.worst_case`.
    X : array, tensor or DataFrame of shape (n, ...)
        The rows, a few: each is searched closely.
    threat : {"linf", "l2", "l1"} or threat object
        Where rows may move. What "smallest" means is its norm: ``"linf"`` moves many columns a
        little, ``"l1"`` few columns.
    target : label, or number for a regressor, optional
        The class to reach (any other by default); of a regressor, the value to reach or pass, which
        it needs.
    max_radius : float, optional
        How far to look, in steps; by default as far as need be (up to 65,536 steps).
    attack : str or attack object
        Of the search.
    certify : bool or str
        Whether to prove a lower limit, where a method of :func:`skrobust.certify` can; or its name.
    n_halvings : int
        Searches between the two limits, at most. Each may cost as much as :func:`skrobust.worst_case`.
    random_state : int, RandomState or None
        An int gives the same rows each time.
    known : ndarray of the shape of X, optional
        Moved rows that an attack found before, as numbers: where they have another answer, the search
        begins there.

    Returns
    -------
    Counterfactuals
        ``X``, ``radius``, ``proven``, ``before``, ``after``; ``frame()`` says what changed.

    Raises
    ------
    ValueError, TypeError
        As for :func:`skrobust.worst_case`; for a target that the model cannot answer.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skrobust import LpBall, nearest_counterfactual
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> model = LogisticRegression(max_iter=1000).fit(X, y)
    >>> found = nearest_counterfactual(model, X.iloc[[70, 100]], threat=LpBall("l1", bounds=(0, 8)))
    >>> found.frame().round(2)
       row           feature  given  moved  difference  steps
    0   70  petal width (cm)    1.8   1.72       -0.08  -0.08
    1  100  petal width (cm)    2.5   0.64       -1.86  -1.86
    >>> found.frame("rows")[["before", "after", "radius", "proven"]].round(2)
       before  after  radius  proven
    0       2      1    0.08    0.08
    1       2      1    1.86    1.86
    """
    threat, n_halvings = check_threat(threat), check_integer("n_halvings", n_halvings, low=0)
    if max_radius is not None:
        max_radius = check_number("max_radius", max_radius, low=0, open_low=True)
    before = answers(estimator, X)
    aim = _aims(estimator, target, before)
    options = dict(threat=threat, attack=attack)
    if aim is None:
        evaluation = Evaluation(estimator, X, before, **options)
    else:
        evaluation = Toward(estimator, X, before, aim, **options)
    proven, method = proven_radius(estimator, X, threat, certify, aim, evaluation.clean.broken)
    hunt = _Hunt(evaluation, np.nan_to_num(proven, posinf=np.inf), random_state)
    if known is not None:
        hunt.begin_at(known, max_radius)
    hunt.outwards(max_radius)
    hunt.inwards(n_halvings)
    weight = _influence(estimator, X, hunt, before)
    hunt.put_back(weight)
    return _counterfactuals(X, evaluation, hunt, proven, method, weight, before)


def proven_radius(
    estimator: Any, X: Any, threat: Any, certify: bool | str, aim: Any, there: np.ndarray
) -> tuple[np.ndarray, str]:
    """Up to which radius (n,) no move reaches the aim (None: another answer), and how it is known."""
    nothing = np.zeros(len(there))
    if certify is False:
        return nothing, ""
    if certify is not True and not isinstance(certify, str):
        allowed = "True, False or the name of a method of skrobust.certify"
        raise invalid("certify", certify, allowed, error=TypeError)
    method = "auto" if certify is True else certify
    try:
        settings = Settings(random_state=0)
        proof = Proof(estimator, X, None, threat=threat, method=method, settings=settings)
    except UnsupportedEstimatorError:
        if certify is True:
            return nothing, ""
        raise
    if proof.prover.confidence is not None and certify is True:
        return nothing, ""  # a statement about another model, or true with a probability only
    found = _of_values(proof, aim) if proof.is_regression else proof.largest()
    return np.where(there, 0.0, found), proof.prover.name


def _of_values(proof: Proof, aim: np.ndarray) -> np.ndarray:
    """Up to which radius the bounds of a regressor's output stay on their side of the aim."""
    center, aim = to_numpy(proof.center)[:, 0], to_tensor(aim)
    way = to_tensor(np.where(center < to_numpy(aim), 1.0, -1.0))

    def margin(rows, radius):
        low, high = proof.prover.outputs(proof.X[rows], radius)
        end = low[:, 0].where(way[rows] < 0, high[:, 0])
        return way[rows] * (aim[rows] - end)

    return search(margin, len(proof.X), proof.prover.precision)


def _aims(estimator: Any, target: Any, before: np.ndarray) -> np.ndarray | None:
    """The target of each row; None: any other answer."""
    if is_regression(estimator):
        if target is None:
            hint = "A regressor's answer changes with every move: say which value it should reach."
            raise invalid("target", None, "a number for a regressor", hint)
        return np.full(len(before), check_number("target", target))
    if target is None:
        return None
    if isinstance(target, str) or np.ndim(target) == 0:
        return np.array([target] * len(before))
    raise invalid("target", target, "one class", "Call it once for each target.", TypeError)


class _Hunt:
    """Between what is proven and what was found: per row the shortest way known.

    ``low`` (n,): no way was found within that; ``far`` (n,): the length of the way to ``z``.
    """

    def __init__(self, evaluation: Evaluation, proven: np.ndarray, random_state: Any):
        self.evaluation = evaluation
        self.x = evaluation.rows.values
        self.generator = evaluation.generator(random_state)
        self.there = evaluation.clean.broken
        able = evaluation.task.searchable() & ~np.isposinf(proven)
        self.low = np.where(self.there, 0.0, proven)
        self.far = np.where(self.there, 0.0, np.inf)
        self.z, self.able = self.x.copy(), able & ~self.there

    def begin_at(self, known: np.ndarray, max_radius: float | None) -> None:
        """Take rows that were found before, and walk back from them."""
        if np.shape(known) != self.x.shape:
            raise invalid("known", known, f"moved rows as numbers, shape {self.x.shape}")
        self._keep(np.where(np.isnan(self.x), self.x, known), self.able)
        if max_radius is not None:
            self._forget(self.far > max_radius)

    def _forget(self, rows: np.ndarray) -> None:
        self.far, self.z = (
            np.where(rows, np.inf, self.far),
            np.where(self._wide(rows), self.x, self.z),
        )

    def outwards(self, max_radius: float | None) -> None:
        """First just beyond what is proven, then further and further, until each row has a way."""
        start = 1.0 if max_radius is None else max_radius
        trial = np.where(self.low > 0, self.low * (1 + PRECISION), start)
        most = np.maximum(start, np.where(np.isfinite(self.low), self.low, 0)) * FARTHEST
        most = most if max_radius is None else np.full(len(trial), max_radius)
        open_ = self.able & (trial <= most) & np.isinf(self.far)
        while open_.any():
            self._try(open_, trial)
            missing = open_ & np.isinf(self.far)
            self.low = np.where(missing, trial, self.low)
            last = trial >= most
            trial = np.minimum(OUTWARDS * trial, most)
            open_ = missing & ~last

    def inwards(self, n_halvings: int) -> None:
        for _ in range(n_halvings):
            open_ = np.isfinite(self.far) & (self.far > self.low * (1 + 2 * PRECISION))
            if not open_.any():
                return
            middle = (self.low + np.where(open_, self.far, 0.0)) / 2
            found = self._try(open_, middle)
            self.low = np.where(open_ & ~found, middle, self.low)

    def _try(self, rows: np.ndarray, radius: np.ndarray) -> np.ndarray:
        """Search some rows within a radius of their own; which have a way now."""
        radius = np.where(rows & (radius > 0), radius, 1.0)
        start = self.evaluation.clean
        begin = np.where(self._wide(np.isfinite(self.far)), self.z, start.z)
        start = start._replace(z=begin, broken=start.broken | ~rows)
        found = self.evaluation.worst(radius, self.generator, start)
        found = found._replace(broken=found.broken & rows)
        first = np.where(found.broken, radius, np.inf)
        _, z = smallest_radius(self.evaluation, found, first, n_halvings=24)
        self._keep(found.z, found.broken)
        self._keep(z, found.broken)
        return found.broken

    def _keep(self, z: np.ndarray, rows: np.ndarray) -> None:
        """Take the moved rows that reach the aim by a shorter way."""
        if not rows.any():
            return
        z = np.where(self._wide(rows), z, self.x)
        way = self.length(z)
        better = rows & (way < self.far) & judge(self.evaluation, z).broken
        self.far = np.where(better, way, self.far)
        self.z = np.where(self._wide(better), z, self.z)

    def length(self, z: np.ndarray) -> np.ndarray:
        """How far rows moved, in steps; infinity where they break the threat."""
        x = to_tensor(self.x)
        return to_numpy(self.evaluation.threat.region(x, 1.0).distance(to_tensor(z)))

    def put_back(self, weight: np.ndarray | None) -> None:
        """Give as many columns as possible their values back, those that matter least first."""
        rows = np.isfinite(self.far) & ~self.there
        if self.x.ndim != 2 or not rows.any():
            return
        if weight is None:
            weight = np.abs(np.nan_to_num(self.z - self.x))
        order = np.argsort(np.where(self.z == self.x, -np.inf, weight), axis=1, kind="stable")
        rank = np.argsort(order, axis=1)
        low, high = np.zeros(len(rank), int), np.full(len(rank), rank.shape[1])
        while (high - low > 1).any():  # the largest number of columns to be put back
            middle = (low + high) // 2
            z = np.where(rank < middle[:, None], self.x, self.z)
            fine = judge(self.evaluation, z).broken & (self.length(z) <= self.far) & rows
            low, high = np.where(fine, middle, low), np.where(fine, high, middle)
        self.z = np.where((rank < low[:, None]) & rows[:, None], self.x, self.z)
        self.far = np.where(rows, self.length(self.z), self.far)

    def _wide(self, rows: np.ndarray) -> np.ndarray:
        return rows.reshape(-1, *[1] * (self.x.ndim - 1))


def _influence(estimator: Any, X: Any, hunt: _Hunt, before: np.ndarray) -> np.ndarray | None:
    """Of tables with few numbers: what each column that moved does for the other answer."""
    if hunt.x.ndim != 2 or hunt.x.size * (hunt.x.shape[1] + 1) > MANY:
        return None
    return influence(estimator, X, hunt.z, before, None, hunt.evaluation.rows.categories)


def _counterfactuals(
    X: Any, evaluation: Evaluation, hunt: _Hunt, proven, method: str, weight, before: np.ndarray
) -> Counterfactuals:
    rows, threat = evaluation.rows, evaluation.threat
    moved = rows.like_given(hunt.z)
    after = answers(evaluation.task.estimator, moved)
    region = threat.region(to_tensor(rows.values[:1]), 0.0)
    picture = WorstCaseDisplay(
        rows.values,
        rows.read(moved),
        labels=row_labels(X, len(rows)),
        before=[_word(answer) for answer in before],
        after=[_word(answer) for answer in after],
        names=feature_names(X, rows.values.shape[1]),
        scale=step_of(threat, rows.values),
        radius=float(np.max(hunt.far, where=np.isfinite(hunt.far), initial=0.0)),
        influence=weight,
        categories=rows.categories,
        leaps=[j for j in range(rows.values.shape[1]) if region.leaps(j)],
    )
    return Counterfactuals(
        moved, hunt.far, np.minimum(proven, hunt.far), before, after, method, picture
    )


def _word(answer: Any) -> str:
    return f"{answer:.4g}" if isinstance(answer, (float, np.floating)) else str(answer)
