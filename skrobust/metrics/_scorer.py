"""Robust scores where scikit-learn asks for ``scoring=``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.metadata_routing import MetadataRequest

from skrobust._compat import routing_enabled
from skrobust.exceptions import invalid
from skrobust.metrics._evaluation import WHY_RADIUS, Evaluation, Found, check_radius, mean
from skrobust.metrics._schedule import attack_for
from skrobust.metrics._scores import default_loss
from skrobust.metrics._tasks import is_regression

__all__ = ["ALIASES", "METRICS", "RobustScorer", "get_robust_scorer"]


class RobustScorer(BaseEstimator):
    """Scorer of fitted estimators under attack: ``scorer(estimator, X, y) -> float``.

    For ``scoring=`` in ``GridSearchCV``, ``cross_validate``, ``cross_val_score``,
    ``permutation_importance`` and the like. Higher is better.

    Parameters
    ----------
    radius : float
        How far rows may move, in steps of the threat's ``scale``. Required: a score at the
        estimator's own radius would let a grid search win by choosing 0.
    threat : {"linf", "l2", "l1"} or threat object
        Where rows may move. One with data-dependent options must be bound, and to the same rows in
        each fold: ``threat=LpBall(scale="std").bind(X_train)``.
    attack : str, attack object or AttackSchedule
        How the worst case is searched, see :func:`skrobust.worst_case`. With a
        :class:`skrobust.metrics.AttackSchedule` the early rounds of a search by successive halving
        are scored cheaply and the last one carefully.
    metric : str or list of str
        A name gives a float, a list gives a dict (for multi-metric search; then give
        ``GridSearchCV`` a ``refit=`` name). Each name has the same value as when asked for alone.

        - ``"robust_accuracy"`` (or ``"accuracy"``), ``"clean_accuracy"``: classifiers;
        - ``"neg_robust_loss"``, ``"neg_clean_loss"``: minus the mean loss;
        - ``"robust_r2"``, ``"clean_r2"``: regressors, ``1 - sum of losses / sum of the losses of
          the mean of y`` with the loss at the worst rows;
        - ``"neg_robust_cost"`` (or ``"cost"``), ``"neg_clean_cost"``, ``"neg_certified_cost"``: minus
          :func:`skrobust.expected_cost` with ``cost_matrix`` and ``attack_rate``.
    random_state : int, RandomState or None
        An int makes the scores of all candidates and folds repeatable.
    loss : str or callable, optional
        Of the loss metrics: ``"log"`` for classifiers, ``"squared"`` for regressors by default.
    batch_size : int, optional
        Rows per call of the attack.
    cost_matrix, attack_rate : optional
        Of the cost metrics, as for :func:`skrobust.expected_cost`.
    cost_options : dict, optional
        Further arguments of it by name, such as ``{"amount": .., "price_per_step": ..}``; an amount
        has to be a function of X here, for folds see some of the rows only.

    Notes
    -----
    The metrics of one call share their searches: one for accuracy (it climbs the margin, and stops
    where a row is lost), one for a classifier's loss (it climbs that to the end); a regressor's
    metrics share a single one. Names of ours cannot enter ``scoring="..."`` as strings.

    A list of metrics that fails in some folds only meets a limit of scikit-learn's
    (``'float' object is not subscriptable``): see the cause with ``error_score="raise"``, or give
    a dict of scorers of one metric each.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skrobust import RobustScorer
    >>> X, y = load_iris(return_X_y=True)
    >>> search = GridSearchCV(
    ...     LogisticRegression(max_iter=2000),
    ...     {"C": [0.01, 1, 100]},
    ...     scoring=RobustScorer(radius=0.2),
    ... )
    >>> search.fit(X, y).best_params_
    {'C': 1}
    """

    def __init__(
        self,
        *,
        radius: float | None = None,
        threat: Any = "linf",
        attack: Any = "auto",
        metric: str | Sequence[str] = "robust_accuracy",
        random_state: Any = None,
        loss: str | Callable | None = None,
        batch_size: int | None = None,
        cost_matrix: Any = None,
        attack_rate: Any = 1.0,
        cost_options: dict | None = None,
    ):
        if radius is None:  # None stands for "left out", so that the error can say why
            raise invalid("radius", radius, "a finite number >= 0", WHY_RADIUS, TypeError)
        self.radius = radius
        self.threat = threat
        self.attack = attack
        self.metric = metric
        self.random_state = random_state
        self.loss = loss
        self.batch_size = batch_size
        self.cost_matrix = cost_matrix
        self.attack_rate = attack_rate
        self.cost_options = cost_options

    def __call__(
        self, estimator: Any, X: Any, y: Any, sample_weight: Any = None
    ) -> float | dict[str, float]:
        """Score of a fitted estimator on rows ``X`` with answers ``y``; higher is better."""
        names = _names(self.metric)
        run = _Run(self, estimator, X, y, sample_weight)
        scores = {name: METRICS[ALIASES.get(name, name)](run) for name in names}
        return scores[self.metric] if isinstance(self.metric, str) else scores

    # What scikit-learn asks of scorers ------------------------------------------------------

    def _accept_sample_weight(self) -> bool:
        return True

    def set_score_request(self, *, sample_weight: bool | str | None = None) -> RobustScorer:
        """Say whether ``sample_weight`` is to be passed on (metadata routing).

        Parameters
        ----------
        sample_weight : bool, str or None
            True: it is used if given. False: it is not. None: giving it is an error. A string: it
            is used if given under that name.
        """
        if not routing_enabled():
            raise RuntimeError(
                "set_score_request needs metadata routing: call "
                "sklearn.set_config(enable_metadata_routing=True) first."
            )
        self._metadata_request = MetadataRequest(owner=self)
        self._metadata_request.score.add_request(param="sample_weight", alias=sample_weight)
        return self

    def get_metadata_routing(self) -> MetadataRequest:
        """The metadata that this scorer asks for."""
        if hasattr(self, "_metadata_request"):
            return self._metadata_request
        request = MetadataRequest(owner=self)
        request.score.add_request(param="sample_weight", alias=None)
        return request


def get_robust_scorer(
    name: str,
    *,
    radius: float | None = None,
    threat: Any = "linf",
    attack: Any = "auto",
    random_state: Any = None,
    **options: Any,
) -> RobustScorer:
    """A :class:`RobustScorer` by the name of its metric.

    Parameters
    ----------
    name : str
        One of the names of :class:`RobustScorer`'s ``metric``.
    radius : float
        Required, in steps of the threat's ``scale``.
    threat, attack, random_state, **options
        As for :class:`RobustScorer`.

    Returns
    -------
    RobustScorer

    Raises
    ------
    ValueError
        For an unknown name.
    TypeError
        Without a radius.

    Examples
    --------
    >>> from skrobust import get_robust_scorer
    >>> get_robust_scorer("neg_robust_loss", radius=0.1)
    RobustScorer(metric='neg_robust_loss', radius=0.1)
    """
    _names(name)
    return RobustScorer(
        radius=radius,
        threat=threat,
        attack=attack,
        metric=name,
        random_state=random_state,
        **options,
    )


class _Run:
    """One call of a scorer: searches are made when first asked for, and kept."""

    def __init__(self, scorer: RobustScorer, estimator: Any, X: Any, y: Any, sample_weight: Any):
        self.scorer, self.estimator, self.given = scorer, estimator, (X, y, sample_weight)
        self.radius = check_radius(scorer.radius)
        self.regression = not isinstance(estimator, type) and is_regression(estimator)
        self._evaluations: dict[Any, Evaluation] = {}
        self._found: dict[Any, Found] = {}
        self.kept: dict[str, Any] = {}  # of metrics that other layers add

    def accuracy(self) -> Evaluation:
        if self.regression:
            raise invalid(
                "metric",
                self.scorer.metric,
                f"a metric of regressors for {type(self.estimator).__name__}",
                "Use 'neg_robust_loss' or 'robust_r2'.",
            )
        return self._evaluation(None)

    def losses(self) -> Evaluation:
        loss = self.scorer.loss
        return self._evaluation(default_loss(self.estimator) if loss is None else loss)

    def worst(self, evaluation: Evaluation) -> Found:
        if evaluation not in self._found:
            generator = evaluation.generator(self.scorer.random_state)
            self._found[evaluation] = evaluation.worst(self.radius, generator)
        return self._found[evaluation]

    def r2(self, evaluation: Evaluation, found: Found) -> float:
        if not self.regression:
            raise invalid(
                "metric", self.scorer.metric, "a metric of classifiers", "r2 is for regressors."
            )
        base = evaluation.task.majority(evaluation.weight)
        return 1 - mean(found.value, evaluation.weight) / base if base > 0 else np.nan

    def _evaluation(self, loss: Any) -> Evaluation:
        if loss not in self._evaluations:
            X, y, sample_weight = self.given
            self._evaluations[loss] = Evaluation(
                self.estimator,
                X,
                y,
                threat=self.scorer.threat,
                attack=attack_for(self.scorer.attack, self.estimator),
                sample_weight=sample_weight,
                loss=loss,
                batch_size=self.scorer.batch_size,
            )
        return self._evaluations[loss]


def _robust_accuracy(run: _Run) -> float:
    evaluation = run.accuracy()
    return mean(~run.worst(evaluation).broken, evaluation.weight)


def _clean_accuracy(run: _Run) -> float:
    evaluation = run.accuracy()
    return mean(~evaluation.clean.broken, evaluation.weight)


def _neg_robust_loss(run: _Run) -> float:
    evaluation = run.losses()
    return -mean(run.worst(evaluation).value, evaluation.weight)


def _neg_clean_loss(run: _Run) -> float:
    evaluation = run.losses()
    return -mean(evaluation.clean.value, evaluation.weight)


def _robust_r2(run: _Run) -> float:
    evaluation = run.losses()
    return run.r2(evaluation, run.worst(evaluation))


def _clean_r2(run: _Run) -> float:
    evaluation = run.losses()
    return run.r2(evaluation, evaluation.clean)


METRICS: dict[str, Callable[[_Run], float]] = {
    "robust_accuracy": _robust_accuracy,
    "clean_accuracy": _clean_accuracy,
    "neg_robust_loss": _neg_robust_loss,
    "neg_clean_loss": _neg_clean_loss,
    "robust_r2": _robust_r2,
    "clean_r2": _clean_r2,
}
ALIASES = {"accuracy": "robust_accuracy", "r2": "robust_r2"}


def _names(metric: Any) -> list[str]:
    """The metrics asked for; an error for unknown ones and for an empty list."""
    names = [metric] if isinstance(metric, str) else metric
    allowed = f"one of {[*METRICS, *ALIASES]}, or a list of them"
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise invalid("metric", metric, allowed, error=TypeError)
    if not names or any(ALIASES.get(name, name) not in METRICS for name in names):
        raise invalid("metric", metric, allowed)
    return list(names)
