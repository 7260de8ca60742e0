"""Robust classification."""

from __future__ import annotations

import numpy as np
from scipy.special import softmax
from sklearn.base import ClassifierMixin
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from skrobust._costs import class_costs
from skrobust.estimators._base import BaseRobust
from skrobust.estimators._doc import document
from skrobust.estimators._exact import stepped_model
from skrobust.estimators._view import NetView
from skrobust.exceptions import invalid
from skrobust.nets import StepSum

__all__ = ["RobustClassifier"]


@document
class RobustClassifier(ClassifierMixin, BaseRobust):
    """Classifier whose probabilities stay put when a row moves a little.

    It minimises, per row ``x`` with label ``y``::

        cross_entropy(f(x), y) + smoothing * max over z near x of divergence(f(z), f(x))

    where *near* means within ``radius`` of the row in the geometry of ``threat``. The defaults
    (``divergence="kl"``, a projected-gradient attack) are TRADES [1]_; ``divergence="loss"`` with
    ``smoothing=1`` is adversarial training [2]_; ``attack="noise"`` is noise regularisation;
    ``divergence="gradient"`` penalises the input gradient [3]_; ``smoothing=0`` is plain training.
    {parameters}
    class_weight : dict, "balanced" or None, default=None
        Weight of each class in the loss, as in scikit-learn.
    cost_matrix : array-like of shape (n_classes, n_classes), dict or None, default=None
        What decisions cost, as for :func:`skrobust.expected_cost`: true classes in rows, decisions in
        columns, in the order of ``classes_``; or ``{{(true, decided): cost}}``. A row of class y then
        weighs c, the mean of ``C[y, k] - C[y, y]`` over the other classes k, and each of them enters
        its loss by its share of that, ``c log(1 + sum_k (C[y, k] - C[y, y]) / c exp(f_k - f_y))``,
        clean and at the worst place [4]_. With two classes that is a ``class_weight``; with more,
        "auto" makes ``divergence`` the loss.
    {more_parameters}
    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels in the order of the columns of ``predict_proba``.
    {attributes}
    References
    ----------
    .. [1] Zhang et al. "Theoretically Principled Trade-off between Robustness and Accuracy".
       ICML 2019. arXiv:1901.08573
    .. [2] Madry et al. "Towards Deep Learning Models Resistant to Adversarial Attacks".
       ICLR 2018. arXiv:1706.06083
    .. [3] Drucker & LeCun. "Improving generalization performance using double backpropagation".
       IEEE Transactions on Neural Networks, 1992.
    .. [4] Zhang & Evans. "Cost-Sensitive Robustness against Adversarial Examples".
       ICLR 2019. arXiv:1810.09225

    Examples
    --------
    >>> from sklearn.datasets import make_moons
    >>> from skrobust import RobustClassifier, robust_accuracy_score
    >>> X, y = make_moons(200, noise=0.1, random_state=0)
    >>> model = RobustClassifier(radius=0.1, max_epochs=20, random_state=0).fit(X, y)
    >>> bool(model.score(X, y) > 0.85)
    True
    >>> bool(robust_accuracy_score(model, X, y, radius=0.1) > 0.75)
    True
    """

    _is_classifier = True

    def __init__(
        self,
        module="auto",
        *,
        radius=0.1,
        smoothing="auto",
        threat="linf",
        attack="auto",
        divergence="auto",
        optimizer="adamw",
        lr="auto",
        weight_decay=5e-4,
        max_epochs="auto",
        batch_size="auto",
        radius_warmup=0.0,
        weight_averaging=0.0,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=10,
        class_weight=None,
        cost_matrix=None,
        preprocessor=None,
        initial_weights=None,
        warm_start=False,
        device="auto",
        random_state=None,
        callbacks=None,
        net_params=None,
        verbose=0,
    ):
        super().__init__(
            module=module,
            radius=radius,
            smoothing=smoothing,
            threat=threat,
            attack=attack,
            divergence=divergence,
            optimizer=optimizer,
            lr=lr,
            weight_decay=weight_decay,
            max_epochs=max_epochs,
            batch_size=batch_size,
            radius_warmup=radius_warmup,
            weight_averaging=weight_averaging,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            class_weight=class_weight,
            cost_matrix=cost_matrix,
            preprocessor=preprocessor,
            initial_weights=initial_weights,
            warm_start=warm_start,
            device=device,
            random_state=random_state,
            callbacks=callbacks,
            net_params=net_params,
            verbose=verbose,
        )

    def _encode_targets(self, y, X, weight):
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        classes, codes = np.unique(y, return_inverse=True)
        present = np.unique(codes[weight > 0])
        if len(present) < 2:
            raise ValueError(
                f"RobustClassifier needs rows of at least two classes; y holds one class with "
                f"positive weight: {classes[present][0]!r}."
            )
        if self.warm_start and hasattr(self, "net_") and not np.array_equal(classes, self.classes_):
            raise ValueError(
                f"warm_start=True goes on with classes {self.classes_}; y now holds {classes}."
            )
        self.classes_ = classes
        weight = weight * (self._class_weights(y) * self._mistake_weights(codes, weight))[codes]
        return codes.astype(np.int64), weight, len(classes)

    def _check_same_task(self, source) -> None:
        theirs = getattr(source, "classes_", None)
        if theirs is not None and not np.array_equal(theirs, self.classes_):
            raise ValueError(
                f"initial_weights come from a model of the classes {np.asarray(theirs)}, and y holds "
                f"{self.classes_}. Use a model of the same classes."
            )

    def _class_weights(self, y) -> np.ndarray:
        weight = self.class_weight
        if weight is not None and not isinstance(weight, dict) and weight != "balanced":
            raise invalid("class_weight", weight, "None, 'balanced' or a dict {label: weight}")
        found = compute_class_weight(weight, classes=self.classes_, y=y)
        if not (np.isfinite(found).all() and (found >= 0).all() and found.any()):
            raise invalid("class_weight", weight, "finite weights >= 0, one of them positive")
        return found

    def _mistake_weights(self, codes: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """What mistakes about each class cost (k,), 1 on average over the rows."""
        if self.cost_matrix is None:
            return np.ones(len(self.classes_))
        cost, _ = class_costs(self.cost_matrix, self.classes_.tolist())
        return cost / np.average(cost[codes], weights=weight)

    def _cost_shares(self) -> np.ndarray | None:
        if self.cost_matrix is None or len(self.classes_) == 2:
            return None
        _, share = class_costs(self.cost_matrix, self.classes_.tolist())
        return None if (share == 1).all() else share

    def _divergence_name(self):
        name = super()._divergence_name()
        by_itself = isinstance(self.divergence, str) and self.divergence == "auto"
        return "loss" if by_itself and self._cost_shares() is not None else name

    def decision_function(self, X) -> np.ndarray:
        """Logits: (n,) for two classes (positive speaks for ``classes_[1]``), else (n, n_classes).

        Parameters
        ----------
        X : array-like of the shape seen in ``fit``
            Rows.

        Returns
        -------
        ndarray
            Logits, as float64.
        """
        logits = self._outputs(X)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def predict_proba(self, X) -> np.ndarray:
        """Class probabilities (n, n_classes), the softmax of the logits.

        Parameters
        ----------
        X : array-like of the shape seen in ``fit``
            Rows.

        Returns
        -------
        ndarray of shape (n, n_classes)
            Probabilities in the order of ``classes_``.
        """
        return softmax(self._outputs(X), axis=1)

    def predict(self, X) -> np.ndarray:
        """The most probable label of each row.

        Parameters
        ----------
        X : array-like of the shape seen in ``fit``
            Rows.

        Returns
        -------
        ndarray of shape (n,)
            Labels.
        """
        best = self._outputs(X).argmax(axis=1)
        return self.classes_[best]

    def __skrobust_torch__(self):
        """Module from rows, in the units of X, to logits (n, n_classes)."""
        check_is_fitted(self)
        return NetView(self.net_.module_)

    def __skrobust_trees__(self):
        """An additive model as trees of one column each; None for other networks."""
        check_is_fitted(self)
        if not isinstance(self.net_.module_.body, StepSum):
            return None
        return stepped_model(self.net_.module_, True)
