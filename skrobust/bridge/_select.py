"""Feature selectors: some of the columns, and perhaps a model behind them."""

from __future__ import annotations

from sklearn.feature_selection import RFE, RFECV, SelectorMixin
from torch import nn

from skrobust.bridge._as_torch import DECISION, PREDICT, PROBA, TRANSFORM, part_view, register
from skrobust.bridge._views import Chain, Take


@register(SelectorMixin, role=TRANSFORM)
def selector(estimator) -> nn.Module:
    return Take(estimator.get_support(indices=True))


@register(RFE, RFECV, role=(PREDICT, PROBA, DECISION))
def eliminated(estimator, role: str) -> nn.Module:
    where = f"estimator_ of {type(estimator).__name__}"
    return Chain(selector(estimator), part_view(estimator.estimator_, role, where))
