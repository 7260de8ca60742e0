"""From a fitted estimator to a torch module: who answers, and what happens if nobody does.

One table per role maps classes to functions ``fn(estimator) -> nn.Module``. Roles tell the faces of
an object apart, and are named by the method that shows the face:

- ``"predict"``: logits whose argmax is the prediction, or values; what ``as_torch`` gives;
- ``"transform"``: columns, for what stands before the end of a Pipeline
  (``LinearDiscriminantAnalysis`` predicts at the end of one and transforms in the middle);
- ``"predict_proba"``: logits whose softmax is ``predict_proba``, for averages of probabilities;
- ``"decision_function"``: its columns, (0, d) for two classes;
- ``"inverse_transform"``: for transformed targets.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from functools import partial, singledispatch
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted
from torch import nn

from skrobust.bridge._views import Cast, Chain, Columns
from skrobust.exceptions import UnsupportedEstimatorError, invalid

__all__ = [
    "as_torch",
    "named",
    "part_view",
    "register",
    "register_torch_view",
    "role_of",
    "supported_estimators",
    "text_columns",
    "unsupported",
    "view",
]

PREDICT, TRANSFORM = "predict", "transform"
PROBA, DECISION, INVERSE = "predict_proba", "decision_function", "inverse_transform"
_FACES = {
    TRANSFORM: " as a transformer",
    PROBA: " of its probabilities",
    DECISION: " of its decision function",
    INVERSE: " of its inverse",
}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# What a subclass may bring of its own without changing what its predictions are.
_HARMLESS = _words(
    "fit partial_fit fit_predict fit_transform score get_params set_params inverse_transform "
    "set_output get_feature_names_out get_metadata_routing sparsify densify path"
)
_ANSWERS = _words(
    "predict predict_proba predict_log_proba decision_function transform infer forward "
    "forward_iter evaluation_step"
)


def _nobody(estimator: Any) -> nn.Module:
    raise unsupported(estimator, "has no torch view")


# Values of the text columns while a view is made: column name -> values in the order of codes.
text_columns: ContextVar[Mapping[str, Sequence[str]] | None] = ContextVar(
    "text_columns", default=None
)

_views = {role: singledispatch(_nobody) for role in (PREDICT, *_FACES)}


def as_torch(estimator: Any, *, categories: Mapping[str, Sequence[str]] | None = None) -> nn.Module:
    """A fitted estimator as a torch function of raw rows, to be differentiated and bounded.

    The module maps a float tensor of rows, columns in the order seen at fit, to

    - *logits* (n, n_classes) for a classifier, one column per class in the order of ``classes_``;
      their argmax is ``predict``. Two classes with one decision value d give the columns (0, d).
      Where the probabilities are a softmax or a sigmoid, the softmax of the logits equals
      ``predict_proba``; one-versus-rest models give their decision values;
    - *values* (n, n_outputs) for a regressor;
    - *columns* (n, n_features_out) for a transformer without ``predict``.

    Rows that the estimator would refuse (an unknown category, a place beyond the knots of a spline
    that may not be continued, no neighbour within the radius) give NaN, which no attack takes.
    Where the output is a step function (votes of neighbours, bins) it is given exactly;
    :func:`skrobust.bridge.has_steps` says so, and votes come with the gradient of a smooth vote.

    It is in evaluation mode, needs no gradients of its own, computes in the type and on the device
    of the rows (call ``.to(device)`` first), pickles, and shares no memory with the estimator.

    Parameters
    ----------
    estimator : fitted estimator
        See :func:`skrobust.bridge.supported_estimators` for scikit-learn's. Pipelines and other
        wrappers are followed inside. Besides: anything with a method ``__skrobust_torch__()`` that
        returns a module of logits or values, and fitted skorch nets.
    categories : dict of column name -> list of str, optional
        Text columns of the data frame that the estimator was fitted on. The module takes their
        codes: 0 for the first of the values, 1 for the second, and so on. Encoders in the estimator
        look up what they know about each.

    Returns
    -------
    nn.Module

    Raises
    ------
    UnsupportedEstimatorError
        If the estimator, or a part of it, has no view; also for a subclass that overrides a
        prediction method, since the view of its parent would be another model.
    sklearn.exceptions.NotFittedError
        If it is not fitted.

    Examples
    --------
    >>> import torch
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> X, y = load_iris(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    >>> logits = as_torch(model)(torch.tensor(X))
    >>> logits.shape
    torch.Size([150, 3])
    >>> bool((logits.argmax(1).numpy() == model.predict(X)).all())
    True
    """
    token = text_columns.set(categories)
    try:
        module = view(estimator, role_of(estimator))
    finally:
        text_columns.reset(token)
    n_features = getattr(estimator, "n_features_in_", None)
    if n_features is not None and not _speaks_torch(estimator):
        module = Chain(Columns(n_features, type(estimator).__name__), module)
    return module.eval().requires_grad_(False)


def register_torch_view(
    cls: type, fn: Callable[[Any], nn.Module], *, method: str | None = None
) -> None:
    """Teach :func:`as_torch` a class of estimators.

    Parameters
    ----------
    cls : type
        Instances, and those of subclasses that do not override its prediction methods, are seen
        through ``fn``. A later registration replaces an earlier one.
    fn : callable
        ``fn(fitted estimator) -> nn.Module`` from rows to logits, values or columns, in the
        conventions of :func:`as_torch`.
    method : str, optional
        Which face of the class the view shows: ``"predict"`` (the default, if it has that method),
        ``"transform"``, or what ensembles ask of their members, ``"predict_proba"`` (logits whose
        softmax it is) and ``"decision_function"``.

    Examples
    --------
    >>> import torch
    >>> from sklearn.base import BaseEstimator, TransformerMixin
    >>> class Double(TransformerMixin, BaseEstimator):
    ...     def fit(self, X, y=None):
    ...         self.n_features_in_ = X.shape[1]
    ...         return self
    ...
    ...     def transform(self, X):
    ...         return 2 * X
    >>> from skrobust.bridge import Stretch
    >>> register_torch_view(Double, lambda estimator: Stretch(2.0))
    >>> as_torch(Double().fit(torch.ones(3, 1)))(torch.ones(1, 1))
    tensor([[2.]])
    """
    if not isinstance(cls, type):
        raise invalid("cls", cls, "a class", "Pass type(estimator).", TypeError)
    if not callable(fn):
        raise invalid("fn", fn, "a function from an estimator to an nn.Module", error=TypeError)
    if method is not None and method not in _views:
        raise invalid("method", method, f"None or one of {list(_views)}")
    role = method or (PREDICT if hasattr(cls, "predict") else TRANSFORM)
    # The module may be alive elsewhere: the view is a copy, to be frozen and moved at will.
    _views[role].register(cls, lambda estimator: copy.deepcopy(_checked(fn(estimator), estimator)))


def supported_estimators() -> dict[str, list[str]]:
    """Names of the classes with a view, for ``"predict"`` and for ``"transform"``.

    >>> "LogisticRegression" in supported_estimators()["predict"]
    True
    """
    return {
        role: sorted(cls.__name__ for cls in _views[role].registry if _is_public(cls))
        for role in (PREDICT, TRANSFORM)
    }


def _is_public(cls: type) -> bool:
    return cls is not object and not cls.__name__.startswith("_")


def register(*classes: type, role: str | tuple[str, ...]) -> Callable:
    """Decorator of the family files: ``fn(estimator)`` gives the views of these classes.

    With several roles, it is asked as ``fn(estimator, role)``.
    """

    def add(fn: Callable) -> Callable:
        for cls in classes:
            for one in (role,) if isinstance(role, str) else role:
                asked = fn if isinstance(role, str) else partial(_in_role, fn, one)
                _views[one].register(cls, asked)
        return fn

    return add


def _in_role(fn: Callable, role: str, estimator: Any) -> nn.Module:
    return fn(estimator, role)


def named(module: Any, names: str) -> Iterable[type]:
    """The classes of a scikit-learn module that this version of it has."""
    return [getattr(module, name) for name in names.split() if hasattr(module, name)]


def role_of(estimator: Any) -> str:
    """``"predict"`` for whatever predicts, ``"transform"`` for the rest."""
    return PREDICT if hasattr(estimator, "predict") or _has_hook(estimator) else TRANSFORM


def view(estimator: Any, role: str) -> nn.Module:
    """The torch view of a fitted estimator in a role."""
    if isinstance(estimator, type):
        raise unsupported(estimator, "is a class, not a fitted instance of it,")
    predicts = hasattr(estimator, "predict")
    if _speaks_torch(estimator) and (role in (PREDICT, PROBA) or not predicts):
        return _from_torch(estimator)
    table = _views[role]
    _refuse_other_answers(estimator, table.registry, role)
    if table.dispatch(type(estimator)) is _nobody:
        if _views[PREDICT].dispatch(type(estimator)) is not _nobody:
            check_is_fitted(estimator)  # some have no ``predict`` before they are
        raise unsupported(estimator, "has no torch view", role)
    if isinstance(estimator, BaseEstimator):
        check_is_fitted(estimator)
    if role in (PREDICT, PROBA, DECISION):
        _check_classes(estimator)
    return _checked(table(estimator), estimator)


def part_view(estimator: Any, role: str, where: str) -> nn.Module:
    """The view of a part of an estimator; an error says ``where`` the part sits."""
    try:
        return view(estimator, role)
    except UnsupportedEstimatorError as error:
        raise UnsupportedEstimatorError(f"{where}: {error}") from None


def unsupported(estimator: Any, reason: str, role: str | None = None) -> UnsupportedEstimatorError:
    """Build (not raise) the error for an estimator without a view."""
    name = estimator.__name__ if isinstance(estimator, type) else type(estimator).__name__
    face = _FACES.get(role, "") if hasattr(estimator, "predict") or role == INVERSE else ""
    return UnsupportedEstimatorError(
        f"{name} {reason}{face}. Supported: the estimators and transformers named by "
        "skrobust.bridge.supported_estimators(), Pipelines and searches of them, skrobust's own, "
        "fitted skorch nets, and objects with __skrobust_torch__(). "
        f"Teach it with skrobust.bridge.register_torch_view({name}, fn), or use attack='search', "
        "which asks for predictions only."
    )


def _has_hook(estimator: Any) -> bool:
    return callable(getattr(type(estimator), "__skrobust_torch__", None)) or callable(
        getattr(estimator, "__skrobust_torch__", None)
    )


def _is_skorch(estimator: Any) -> bool:
    # A skorch net can only exist if skorch has been imported; we need not import it to see one.
    skorch = sys.modules.get("skorch")
    return skorch is not None and isinstance(estimator, skorch.NeuralNet)


def _speaks_torch(estimator: Any) -> bool:
    return _has_hook(estimator) or _is_skorch(estimator)


def _from_torch(estimator: Any) -> nn.Module:
    """A copy of the module of an object that has one: through its hook, or as a skorch net."""
    if _has_hook(estimator):
        owner = _first(type(estimator), lambda cls: "__skrobust_torch__" in vars(cls))
        module = estimator.__skrobust_torch__
    else:
        owner = _first(type(estimator), lambda cls: cls.__module__.startswith("skorch."))
        module = partial(_skorch_module, estimator)
    for cls in _younger(estimator, owner):
        for name in _ANSWERS & vars(cls).keys():
            if hasattr(owner, name) and not cls.__module__.startswith("skrobust."):
                raise _overrides(estimator, name, owner)
    found = copy.deepcopy(_checked(module(), estimator))
    if type(found).__module__.startswith("skrobust."):
        return found  # made for rows of any float type
    return Cast(found, two_classes=len(getattr(estimator, "classes_", ())) == 2)


def _skorch_module(net: Any) -> nn.Module:
    if not getattr(net, "initialized_", False):
        raise NotFittedError(f"This {type(net).__name__} is not fitted yet: call fit first.")
    from skrobust.nets import skorch_view

    return skorch_view(net)


def _refuse_other_answers(estimator: Any, registry, role: str) -> None:
    """Raise if a subclass of a class with a view may answer otherwise than its parent."""
    owner = _first(type(estimator), lambda cls: cls is not object and cls in registry)
    for cls in _younger(estimator, owner):
        # scikit-learn's own private helpers below a registered base belong to that family.
        family = cls.__module__.startswith("sklearn.")
        for name in vars(cls):
            if _matters(name, owner, role) and not (family and name.startswith("_")):
                raise _overrides(estimator, name, owner)
    if owner is not None:
        for name in _ANSWERS & vars(estimator).keys():
            if callable(vars(estimator)[name]):
                raise unsupported(estimator, f"has a {name}() of its own on the instance and")


def _matters(name: str, owner: type, role: str) -> bool:
    """Whether a subclass that redefines ``name`` may answer something else than ``owner``."""
    if name == role:
        return True
    if name.startswith("__") or name in _HARMLESS or hasattr(BaseEstimator, name):
        return False
    if name.startswith("set_") and name.endswith("_request"):
        return False
    old = getattr(owner, name, None)
    return callable(old) and not getattr(old, "__isabstractmethod__", False)


def _overrides(estimator: Any, name: str, owner: type) -> UnsupportedEstimatorError:
    reason = f"overrides {name}() of {owner.__name__}, so that it cannot take its torch view, and"
    return unsupported(estimator, reason)


def _younger(estimator: Any, owner: type | None) -> Iterable[type]:
    """The classes of the estimator that come before ``owner`` and may override it."""
    order = type(estimator).__mro__
    return order[: order.index(owner)] if owner in order else ()


def _first(cls: type, accepts: Callable[[type], bool]) -> type | None:
    return next((parent for parent in cls.__mro__ if accepts(parent)), None)


def _check_classes(estimator: Any) -> None:
    classes = getattr(estimator, "classes_", None)
    if classes is None:
        return
    if isinstance(classes, list) or np.ndim(classes) != 1:
        raise unsupported(estimator, "predicts several labels per row, which has no torch view,")
    if len(classes) < 2:
        raise unsupported(estimator, "was fitted on a single class: it has no logits and")


def _checked(module: Any, estimator: Any) -> nn.Module:
    if not isinstance(module, nn.Module):
        name = f"torch view of {type(estimator).__name__}"
        raise invalid(name, module, "an nn.Module from rows to logits or values", error=TypeError)
    return module
