"""What a careful loader of saved models needs to know."""

from __future__ import annotations

import skrobust.attacks
import skrobust.smoothing
import skrobust.threats

__all__ = ["trusted_types"]


def trusted_types() -> list[str]:
    """Names of this project's types that a saved estimator may hold, for ``skops.io.load``.

    A saved :class:`RobustClassifier` or :class:`RobustRegressor` holds numbers, numpy arrays, text
    and objects of these types: no code, no torch object. Types of your own (a module factory, a
    callback, a preprocessor that skops does not know) come on top, after you have looked at them.

    Returns
    -------
    list of str
        Full names, sorted.

    Examples
    --------
    >>> from skrobust.estimators import trusted_types
    >>> "skrobust.estimators._classifier.RobustClassifier" in trusted_types()
    True
    """
    from skrobust.estimators._classifier import RobustClassifier
    from skrobust.estimators._regressor import RobustRegressor
    from skrobust.nets import Additive
    from skrobust.threats._numbers import Bounds

    found = {RobustClassifier, RobustRegressor, Bounds, Additive}
    for package, base in (
        (skrobust.threats, skrobust.threats.Threat),
        (skrobust.attacks, skrobust.attacks.Attack),
        (skrobust.smoothing, skrobust.smoothing.Divergence),
    ):
        public = (getattr(package, name) for name in package.__all__)
        found |= {cls for cls in public if isinstance(cls, type) and issubclass(cls, base)}
    return sorted(f"{cls.__module__}.{cls.__qualname__}" for cls in found)
