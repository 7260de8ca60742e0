"""The threshold that costs least when rows are moved against it."""

from __future__ import annotations

from numbers import Real

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import StratifiedShuffleSplit, check_cv
from sklearn.utils import check_array, column_or_1d, get_tags, indexable
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from skrobust._compat import check_sample_weight, some_rows
from skrobust._params import check_name, check_number
from skrobust.certificates._certify import settings_of
from skrobust.certificates._smoothed import relabelled
from skrobust.exceptions import RobustnessWarning, caution, invalid
from skrobust.metrics._evaluation import check_radius
from skrobust.risk._band import best_band, costs_at
from skrobust.risk._intervals import RESPONSES, Intervals, score_intervals, scores_of
from skrobust.risk._prices import Attacker
from skrobust.risk._stakes import Stakes, stakes_of
from skrobust.risk._sweep import sweep
from skrobust.threats import check_threat

__all__ = ["RobustThresholdClassifier"]


def _has(name: str):
    def asks(self) -> bool:
        getattr(getattr(self, "estimator_", self.estimator), name)  # its own AttributeError
        return True

    return available_if(asks)


class RobustThresholdClassifier(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """Any classifier of two classes, with the threshold that costs least under attack.

    The threshold t on the score s (a probability, where there is one) of the second class minimises

        sum_i w_i {(1 - rho) C[y_i, s_i >= t] + rho max(C[y_i, low_i >= t], C[y_i, high_i >= t])}

    where ``low_i`` and ``high_i`` are the smallest and the largest score that row i can be moved to. The
    scores come from cross-validation, the optimum from one sort; nothing is trained again for it.

    Parameters
    ----------
    estimator : classifier
        Anything with ``predict_proba`` or ``decision_function``: trees, Pipelines, networks.
    cost_matrix : array-like of shape (2, 2), or (n, 2, 2), dict or callable, default=None
        What decisions cost, as for :func:`skrobust.expected_cost`. None: each mistake costs 1.
    radius : float, default=0.1
        How far rows may move, in steps of the threat's ``scale``.
    threat : {"linf", "l2", "l1"} or threat object, default="linf"
        Where rows may move; options that depend on data are learned from the rows of ``fit``.
    attack_rate : float, dict or array-like of shape (2,), default=1.0
        The share rho of inputs under attack, or one for each true class.
    bound : {"attacked", "certified"}, default="attacked"
        Whether scores are moved by a search, or enclosed by a proof.
    refer_cost : float, optional
        What it costs to have a human decide about a row (rightly). Where this is worth it, rows
        between two thresholds are referred.
    refer_label : label, optional
        What ``predict`` answers for rows that are referred. None: the class it leans to;
        :meth:`refers` tells which rows are meant.
    gain, price_per_step, price_per_attack
        What pays for the attacker, as for :func:`skrobust.expected_cost`. That a row is referred is
        worth ``refer_cost`` to them, or, with a gain, what the right decision is worth.
    attack, method
        How scores are moved (:func:`skrobust.worst_case`), or enclosed (:func:`skrobust.certify`).
    response_method : {"auto", "predict_proba", "decision_function"}, default="auto"
        The score.
    cv : int, float, splitter, iterable or "prefit", default=None
        As in ``TunedThresholdClassifierCV``: None means 5 folds, a float one split with that share
        of test rows. ``"prefit"``: the estimator is fitted already, on other rows than these.
    n_jobs : int, optional
        Folds at a time.
    random_state : int, RandomState or None
        Of the search, and of the split of a float ``cv``.

    Attributes
    ----------
    threshold_ : float
        The second class is predicted where ``score >= threshold_``. 0 or -inf: always, inf: never.
    refer_band_ : tuple of two floats
        Scores from the first to (but not) the second are referred; equal ones: none is.
    cost_, clean_cost_ : float
        Mean cost of the held-out rows with these thresholds, under attack and without.
    cost_curve_ : CostCurve
        What every threshold costs: ``.thresholds``, ``.clean``, ``.worst``, ``.frame()``.
    estimator_ : estimator
        Fitted to all rows (``cv="prefit"``: the one given).
    classes_ : ndarray of shape (2,)
    threat_ : threat object
        Bound to the rows of ``fit``.

    See Also
    --------
    skrobust.expected_cost : What a fitted model costs under attack.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import MinMaxScaler
    >>> from skrobust import LpBall, RobustThresholdClassifier
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> matrix = [[0, 5], [1, 0]]  # a tumour (class 0) that is missed costs 5
    >>> model = RobustThresholdClassifier(
    ...     make_pipeline(MinMaxScaler(), LogisticRegression()),
    ...     cost_matrix=matrix,
    ...     radius=0.1,
    ...     threat=LpBall(scale="std"),
    ... ).fit(X, y)
    >>> bool(model.threshold_ > 0.6)
    True
    >>> clean, attacked = model.cost_curve_.at(0.5)
    >>> bool(model.cost_ < attacked)
    True
    """

    def __init__(
        self,
        estimator,
        *,
        cost_matrix=None,
        radius=0.1,
        threat="linf",
        attack_rate=1.0,
        bound="attacked",
        refer_cost=None,
        refer_label=None,
        gain=None,
        price_per_step=0.0,
        price_per_attack=0.0,
        attack="auto",
        method="auto",
        response_method="auto",
        cv=None,
        n_jobs=None,
        random_state=None,
    ):
        self.estimator = estimator
        self.cost_matrix = cost_matrix
        self.radius = radius
        self.threat = threat
        self.attack_rate = attack_rate
        self.bound = bound
        self.refer_cost = refer_cost
        self.refer_label = refer_label
        self.gain = gain
        self.price_per_step = price_per_step
        self.price_per_attack = price_per_attack
        self.attack = attack
        self.method = method
        self.response_method = response_method
        self.cv = cv
        self.n_jobs = n_jobs
        self.random_state = random_state

    # Fitting ----------------------------------------------------------------------------------

    def fit(self, X, y, sample_weight=None, amount=None):
        """Choose the threshold by cross-validation, and fit the estimator to all rows.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features) or (n_samples, ...)
            Rows in the units that ``threat`` speaks of.
        y : array-like of shape (n_samples,)
            Labels of two classes.
        sample_weight : array-like of shape (n_samples,), optional
            Weight of each row in the costs, and in the training of estimators that take weights.
        amount : array-like of shape (n_samples,) or callable, optional
            What is at stake in each row: multiplies its costs. The estimator doesn't see it.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For parameters, rows or labels that can't be used; more than two classes are one of them.
        """
        self._check_params()
        if not hasattr(X, "columns"):
            kinds = [np.float64, np.float32]
            X = check_array(
                X, dtype=kinds, allow_nd=True, ensure_all_finite="allow-nan", input_name="X"
            )
        X, y = indexable(X, y)
        y = self._check_labels(y)
        classes = np.unique(y)
        names = getattr(X, "columns", None)
        threat = check_threat(self.threat).bind(X, feature_names=names)
        weight = None if sample_weight is None else check_sample_weight(sample_weight, X)
        case = stakes_of(self, X, y, classes.tolist(), weight, amount)
        if isinstance(self.cv, str) and self.cv == "prefit":
            self._check_prefit(classes)
            self.estimator_ = self.estimator
            case = case.moved(self._intervals(self.estimator_, X, y, case, threat))
        else:
            case = self._held_out(X, y, case, threat, weight)
            self.estimator_ = self._trained(X, y, weight)
        self.threat_, self.classes_ = threat, np.asarray(self.estimator_.classes_)
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(self.estimator_, name):
                setattr(self, name, getattr(self.estimator_, name))
        self._choose(case)
        return self

    def _choose(self, case: Stakes) -> None:
        curve = sweep(case, self.bound)
        low = high = float(curve.thresholds[curve.best])
        self.clean_cost_, self.cost_ = (
            float(curve.clean[curve.best]),
            float(curve.worst[curve.best]),
        )
        self.cost_curve_, self.threshold_ = curve, low
        if self.refer_cost is not None:
            low, high, self.clean_cost_, self.cost_ = best_band(case)
            self.threshold_ = float(np.clip(self.threshold_, low, high))
        self.refer_band_ = low, high
        if low == high and np.isinf(low):
            only = self.classes_.tolist()[int(low < 0)]
            caution(
                f"No threshold costs less under this attack than always deciding {only!r} "
                f"({self.cost_:.4g} per row). Lower radius ({self.radius:g} now) or attack_rate, or "
                "train a more robust estimator.",
                RobustnessWarning,
            )

    def _check_params(self) -> None:
        check_radius(self.radius)
        check_name("bound", self.bound, ("attacked", "certified"))
        check_name("response_method", self.response_method, ("auto", *RESPONSES))
        Attacker(self.gain, self.price_per_step, self.price_per_attack).checked()
        if isinstance(self.estimator, type) or not hasattr(self.estimator, "predict"):
            raise invalid("estimator", self.estimator, "a classifier", error=TypeError)
        if self.refer_cost is not None:
            check_number("refer_cost", self.refer_cost)

    def _check_labels(self, y) -> np.ndarray:
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None."
            )
        y = column_or_1d(check_array(y, ensure_2d=False, dtype=None, input_name="y"), warn=True)
        kind = type_of_target(y, input_name="y")
        if kind != "binary":
            raise ValueError(
                "Only binary classification is supported. Unknown label type: "
                f"{kind}. A threshold divides two classes; with more of them, measure "
                "skrobust.expected_cost, and train with RobustClassifier(cost_matrix=...)."
            )
        if len(np.unique(y)) < 2:
            raise ValueError(f"y holds one class only, {y[0]!r}: a threshold divides two classes.")
        return y

    def _check_prefit(self, classes: np.ndarray) -> None:
        try:
            check_is_fitted(self.estimator, "classes_")
        except NotFittedError as error:
            raise NotFittedError("With cv='prefit' the estimator must be fitted.") from error
        if not np.array_equal(np.asarray(self.estimator.classes_), classes):
            known = np.asarray(self.estimator.classes_).tolist()
            raise invalid("y", f"<labels {classes.tolist()}>", f"labels of both classes, {known}")

    def _intervals(self, estimator, X, y, case: Stakes, threat) -> Intervals:
        return score_intervals(
            estimator,
            X,
            y,
            down=case.low,
            up=case.high,
            threat=threat,
            bound=self.bound,
            attack=self.attack,
            method=self.method,
            response_method=self.response_method,
            settings=settings_of(0.999, None, self.random_state),
            random_state=self.random_state,
        )

    def _held_out(self, X, y, case: Stakes, threat, weight) -> Stakes:
        """The rows that were held out of some fold, with their scores there."""
        splits = list(self._splitter(y).split(X, y))
        work = delayed(_fold)
        found = Parallel(n_jobs=self.n_jobs)(
            work(self, X, y, case.take(test), threat, weight, train, test) for train, test in splits
        )
        tested = np.concatenate([test for _, test in splits])
        ends = Intervals(*(np.concatenate(part) for part in zip(*found, strict=True)))
        return case.take(tested).moved(ends)

    def _splitter(self, y):
        if isinstance(self.cv, Real) and not isinstance(self.cv, int) and 0 < self.cv < 1:
            return StratifiedShuffleSplit(1, test_size=self.cv, random_state=self.random_state)
        return check_cv(self.cv, y=y, classifier=True)

    def _trained(self, X, y, weight):
        estimator = clone(self.estimator)
        if weight is None or not has_fit_parameter(estimator, "sample_weight"):
            return estimator.fit(X, y)
        return estimator.fit(X, y, sample_weight=weight)

    # Answers ----------------------------------------------------------------------------------

    def _scores(self, X) -> np.ndarray:
        check_is_fitted(self)
        return scores_of(self.estimator_, self.response_method)[1](X)

    def predict(self, X) -> np.ndarray:
        """The label of each row; ``refer_label``, if there is one, of rows that are referred.

        Parameters
        ----------
        X : array-like or DataFrame of the shape seen in ``fit``
            Rows.

        Returns
        -------
        ndarray of shape (n,)
            Labels.
        """
        score = self._scores(X)
        labels = self.classes_[(score >= self.threshold_).astype(int)]
        if self.refer_label is None or self.refer_band_[0] == self.refer_band_[1]:
            return labels
        return relabelled(labels, self._between(score), self.refer_label)

    def refers(self, X) -> np.ndarray:
        """Which rows a human should decide about: those between the two thresholds.

        Parameters
        ----------
        X : array-like or DataFrame of the shape seen in ``fit``
            Rows.

        Returns
        -------
        ndarray of bool of shape (n,)
        """
        return self._between(self._scores(X))

    def _between(self, score: np.ndarray) -> np.ndarray:
        low, high = self.refer_band_
        return (score >= low) & (score < high)

    @_has("predict_proba")
    def predict_proba(self, X) -> np.ndarray:
        """The estimator's own probabilities, (n, 2)."""
        check_is_fitted(self)
        return self.estimator_.predict_proba(X)

    @_has("predict_log_proba")
    def predict_log_proba(self, X) -> np.ndarray:
        """The estimator's own log probabilities, (n, 2)."""
        check_is_fitted(self)
        return self.estimator_.predict_log_proba(X)

    @_has("decision_function")
    def decision_function(self, X) -> np.ndarray:
        """The estimator's own decision function, (n,)."""
        check_is_fitted(self)
        return self.estimator_.decision_function(X)

    def worst_case_cost(self, X, y, sample_weight=None, amount=None) -> tuple[float, float]:
        """Mean cost of other rows with the thresholds chosen, referred rows included.

        Parameters
        ----------
        X : array-like or DataFrame of the shape seen in ``fit``
            Rows.
        y : array-like of shape (n,)
            Labels.
        sample_weight : array-like of shape (n,), optional
            Weight of each row in the mean.
        amount : array-like of shape (n,) or callable, optional
            What is at stake in each row.

        Returns
        -------
        clean, worst : float
            Without attacks, and with the share ``attack_rate`` of rows moved to their worst (found or
            proven, as ``bound`` says).
        """
        check_is_fitted(self)
        y = column_or_1d(check_array(y, ensure_2d=False, dtype=None, input_name="y"))
        if not np.isin(y, self.classes_).all():
            raise invalid("y", y, f"labels of the classes {self.classes_.tolist()}")
        weight = None if sample_weight is None else check_sample_weight(sample_weight, X)
        case = stakes_of(self, X, y, self.classes_.tolist(), weight, amount)
        case = case.moved(self._intervals(self.estimator_, X, y, case, self.threat_))
        clean, worst = costs_at(case, *self.refer_band_)
        return tuple(float(np.average(part, weights=case.weight)) for part in (clean, worst))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        tags.classifier_tags.multi_class = False
        tags.input_tags.allow_nan = inner.input_tags.allow_nan
        tags.input_tags.three_d_array = inner.input_tags.three_d_array
        return tags


def _fold(model, X, y, case: Stakes, threat, weight, train: np.ndarray, test: np.ndarray):
    """The work of one process: train on a part of the rows, look at the others."""
    part = None if weight is None else weight[train]
    estimator = model._trained(some_rows(X, train), y[train], part)
    return model._intervals(estimator, some_rows(X, test), y[test], case, threat)
