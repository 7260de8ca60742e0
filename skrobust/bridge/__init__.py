"""scikit-learn objects, seen as torch functions.

A family of estimators is one file of functions ``fn(fitted estimator) -> nn.Module``, each under
``@register(Class, ..., role="predict" | "transform")``, and one name in the import below. To add
one, write the file, add its name, and a row to ``tests/test_bridge_table.py``.
"""

from skrobust.bridge import (  # noqa: F401
    _bayes,
    _bounds,
    _compose,
    _encoders,
    _ensemble,
    _features,
    _functions,
    _gaussian_process,
    _impute,
    _isotonic,
    _kernels,
    _laplace,
    _linear,
    _meta,
    _neighbors,
    _neural,
    _project,
    _scalers,
    _select,
    _splines,
    _votes,
    _wrappers,
)
from skrobust.bridge._as_torch import (
    as_torch,
    part_view,
    register,
    register_torch_view,
    supported_estimators,
    unsupported,
)
from skrobust.bridge._lines import Lines, lines_of
from skrobust.bridge._views import (
    Affine,
    Beside,
    Chain,
    Clip,
    Shift,
    Stretch,
    Take,
    View,
    affine_map,
    has_steps,
    is_affine,
)

__all__ = [
    "Affine",
    "Beside",
    "Chain",
    "Clip",
    "Lines",
    "Shift",
    "Stretch",
    "Take",
    "View",
    "affine_map",
    "as_torch",
    "has_steps",
    "is_affine",
    "lines_of",
    "part_view",
    "register",
    "register_torch_view",
    "supported_estimators",
    "unsupported",
]
