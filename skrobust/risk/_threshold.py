"""The threshold that costs least when rows are moved against it."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_array, column_or_1d, get_tags, indexable
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_is_fitted

from skrobust._compat import check_sample_weight
from skrobust._params import check_name, check_number
from skrobust.certificates._smoothed import relabelled
from skrobust.exceptions import invalid
from skrobust.metrics._evaluation import check_radius
from skrobust.risk import _many, _two
from skrobust.risk._folds import Folds
from skrobust.risk._intervals import RESPONSES
from skrobust.risk._prices import Attacker
from skrobust.threats import check_threat

__all__ = ["RobustThresholdClassifier"]


def _has(name: str):
    def asks(self) -> bool:
        getattr(getattr(self, "estimator_", self.estimator), name)  # its own AttributeError
        return True

    return available_if(asks)


class RobustThresholdClassifier(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """Any classifier, with the threshold that costs least under attack.

    The threshold t on the score s (a probability, where there is one) of the second class minimises

        sum_i w_i {(1 - rho) C[y_i, s_i >= t] + rho max(C[y_i, low_i >= t], C[y_i, high_i >= t])}

    where ``low_i`` and ``high_i`` are the smallest and the largest score that row i can be moved to. The
    scores come from cross-validation, the optimum from one sort; nothing is trained again for it.

    With more than two classes, each has an offset b: the decision is ``argmax_k s_k + b_k`` with s the log
    of the probabilities (or the decision function). See the notes.

    Parameters
    ----------
    estimator : classifier
        Anything with ``predict_proba`` or ``decision_function``: trees, Pipelines, networks.
    cost_matrix : array-like of shape (k, k), or (n, k, k), dict or callable, default=None
        What decisions cost, as for :func:`skrobust.expected_cost`. None: each mistake costs 1.
    radius : float, default=0.1
        How far rows may move, in steps of the threat's ``scale``.
    threat : {"linf", "l2", "l1"} or threat object, default="linf"
        Where rows may move; options that depend on data are learned from the rows of ``fit``.
    attack_rate : float, dict or array-like of shape (k,), default=1.0
        The share rho of inputs under attack, or one for each true class.
    bound : {"attacked", "certified"}, default="attacked"
        Whether scores are moved by a search, or enclosed by a proof.
    refer_cost : float, optional
        What it costs to have a human decide about a row (rightly). Where this is worth it, rows
        between two thresholds are referred (rows of which no class is above ``refer_offset_``).
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
        Of two classes: the second class is predicted where ``score >= threshold_``. 0 or -inf: always, inf: never.
    refer_band_ : tuple of two floats
        Scores from the first to (but not) the second are referred; equal ones: none is.
    offsets_, refer_offset_ : ndarray of shape (k,), float
        Of more than two classes: what is added to their scores, 0 on average; a row is referred
        where no sum reaches ``refer_offset_``, -inf: none is.
    cost_, clean_cost_ : float
        Mean cost of the held-out rows with these thresholds, under attack and without.
    cost_curve_ : CostCurve
        Of two classes: what every threshold costs: ``.thresholds``, ``.clean``, ``.worst``, ``.frame()``.
    estimator_ : estimator
        Fitted to all rows (``cv="prefit"``: the one given).
    classes_ : ndarray of shape (k,)
    threat_ : threat object
        Bound to the rows of ``fit``.

    See Also
    --------
    skrobust.expected_cost : What a fitted model costs under attack.

    Notes
    -----
    Two classes: both thresholds are the exact optimum over the held-out rows, also where attackers
    have prices. More classes: each offset, given the others, is; together they end where no single one can
    be improved, and the best of several starts counts. The rows are moved towards each class against
    the model as it is, and again against the offsets chosen, until that finds nothing worse, so
    that the cost is that of an attacker who knows the offsets. ``bound="certified"`` excludes a decision where
    bounds of the outputs do, within the longest move that pays.

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
            Labels of two classes or more.
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
            For parameters, rows or labels that can't be used.
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
        ways = _ways_of(classes)
        case = ways.stakes_of(self, X, y, classes.tolist(), weight, amount)
        if isinstance(self.cv, str) and self.cv == "prefit":
            self._check_prefit(classes)
        folds = Folds(self, X, y, weight, case, ways.look, threat)
        cases = folds.look()
        self.estimator_ = folds.final()
        self.threat_, self.classes_ = threat, np.asarray(self.estimator_.classes_)
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(self.estimator_, name):
                setattr(self, name, getattr(self.estimator_, name))
        ways.settle(self, cases, folds.look)
        return self

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
        if kind not in ("binary", "multiclass"):
            raise ValueError(
                f"Unknown label type: {kind}. A threshold divides classes; for numbers, train a "
                "RobustRegressor with the prices of its errors."
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
            raise invalid("y", f"<labels {classes.tolist()}>", f"labels of all classes, {known}")

    # Answers ----------------------------------------------------------------------------------

    @property
    def _ways(self):
        return _ways_of(self.classes_)

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
        check_is_fitted(self)
        codes, referred = self._ways.answers(self, X)
        labels = self.classes_[codes]
        if self.refer_label is None or not self._has_human:
            return labels
        return relabelled(labels, referred, self.refer_label)

    def refers(self, X) -> np.ndarray:
        """Which rows a human should decide about: those between the two thresholds (or below all).

        Parameters
        ----------
        X : array-like or DataFrame of the shape seen in ``fit``
            Rows.

        Returns
        -------
        ndarray of bool of shape (n,)
        """
        check_is_fitted(self)
        return self._ways.answers(self, X)[1]

    @property
    def _has_human(self) -> bool:
        return self._ways.refers(self)

    @_has("predict_proba")
    def predict_proba(self, X) -> np.ndarray:
        """The estimator's own probabilities, (n, k)."""
        check_is_fitted(self)
        return self.estimator_.predict_proba(X)

    @_has("predict_log_proba")
    def predict_log_proba(self, X) -> np.ndarray:
        """The estimator's own log probabilities, (n, k)."""
        check_is_fitted(self)
        return self.estimator_.predict_log_proba(X)

    @_has("decision_function")
    def decision_function(self, X) -> np.ndarray:
        """The estimator's own decision function, (n,) or (n, k)."""
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
        case = self._ways.stakes_of(self, X, y, self.classes_.tolist(), weight, amount)
        look, offsets = self._ways.look, getattr(self, "offsets_", None)
        case = look(self, self.estimator_, X, y, case, self.threat_)
        if offsets is not None:
            case = look(self, self.estimator_, X, y, case, self.threat_, offsets)
        clean, worst = self._ways.costs(self, case)
        return tuple(float(np.average(part, weights=case.weight)) for part in (clean, worst))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        tags.input_tags.allow_nan = inner.input_tags.allow_nan
        tags.input_tags.three_d_array = inner.input_tags.three_d_array
        return tags


def _ways_of(classes: np.ndarray):
    """The module that knows what to do with so many classes: two thresholds, or an offset for each."""
    return _two if len(classes) == 2 else _many
