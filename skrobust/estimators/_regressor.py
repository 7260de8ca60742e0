"""Robust regression."""

from __future__ import annotations

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted

from skrobust.estimators._base import BaseRobust
from skrobust.estimators._doc import document
from skrobust.estimators._exact import stepped_model
from skrobust.estimators._view import NetView
from skrobust.nets import StepSum

__all__ = ["RobustRegressor"]


@document
class RobustRegressor(RegressorMixin, BaseRobust):
    """Regressor whose predictions stay put when a row moves a little.

    It minimises, per row ``x`` with target ``y``::

        (f(x) - y)^2 + smoothing * max over z near x of divergence(f(z), f(x))

    where *near* means within ``radius`` of the row in the geometry of ``threat``. Targets are
    standardised inside, so ``smoothing`` and ``lr`` mean the same in any unit of ``y``; several
    outputs add up. ``divergence="squared"`` (the default) penalises how far the prediction can be
    moved [1]_; ``divergence="loss"`` with ``smoothing=1`` is adversarial training on the squared
    error [2]_; ``smoothing=0`` is plain training.
    {parameters}
    {more_parameters}
    Attributes
    ----------
    target_mean_, target_spread_ : ndarray of shape (n_outputs,)
        What targets are standardised with.
    {attributes}
    References
    ----------
    .. [1] Miyato et al. "Virtual Adversarial Training". TPAMI 2018. arXiv:1704.03976 (the same
       local smoothness, for classifiers).
    .. [2] Madry et al. "Towards Deep Learning Models Resistant to Adversarial Attacks".
       ICLR 2018. arXiv:1706.06083

    Examples
    --------
    >>> from sklearn.datasets import make_regression
    >>> from skrobust import RobustRegressor
    >>> X, y = make_regression(200, 5, random_state=0)
    >>> model = RobustRegressor(radius=0.1, smoothing=0.1, max_epochs=40, random_state=0)
    >>> bool(model.fit(X, y).score(X, y) > 0.9)
    True
    """

    _is_classifier = False

    def __init__(
        self,
        module="auto",
        *,
        radius=0.1,
        smoothing="auto",
        threat="linf",
        attack="auto",
        divergence="squared",
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
        self._one_column = y.ndim == 1
        y = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
        source = self.initial_weights
        if source is not None and not (self.warm_start and hasattr(self, "net_")):
            # weights know their targets in the units they were trained on
            self.target_mean_ = np.copy(getattr(source, "target_mean_", np.zeros(y.shape[1])))
            self.target_spread_ = np.copy(getattr(source, "target_spread_", np.ones(y.shape[1])))
        elif not (self.warm_start and hasattr(self, "net_")):
            self.target_mean_ = np.average(y, axis=0, weights=weight)
            spread = np.sqrt(np.average((y - self.target_mean_) ** 2, axis=0, weights=weight))
            self.target_spread_ = np.where(spread > 0, spread, 1.0)
        targets = (y - self.target_mean_) / self.target_spread_
        return targets, weight, y.shape[1]

    def predict(self, X) -> np.ndarray:
        """Predicted targets, in the units and of the shape (n,) or (n, n_outputs) of ``y``.

        Parameters
        ----------
        X : array-like of the shape seen in ``fit``
            Rows.

        Returns
        -------
        ndarray of shape (n,) or (n, n_outputs)
            Predictions.
        """
        values = self._outputs(X) * self.target_spread_ + self.target_mean_
        return values[:, 0] if self._one_column else values

    def __skrobust_torch__(self):
        """Module from rows, in the units of X, to values (n, n_outputs) in the units of y."""
        check_is_fitted(self)
        return NetView(self.net_.module_, self.target_mean_, self.target_spread_)

    def __skrobust_trees__(self):
        """An additive model as trees of one column each; None for other networks."""
        check_is_fitted(self)
        if not isinstance(self.net_.module_.body, StepSum):
            return None
        return stepped_model(self.net_.module_, False, self.target_mean_, self.target_spread_)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
