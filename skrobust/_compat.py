"""Names of scikit-learn and skorch that are private, moved, or newer than our oldest versions.

Every such import of the project is made here, guarded, so that a release that moves one of them
is met by one edit.
"""

from __future__ import annotations

from contextlib import contextmanager

from sklearn.multiclass import _ConstantPredictor as ConstantPredictor
from sklearn.utils import _safe_indexing as some_rows

__all__ = [
    "HAS_CALLBACKS",
    "CallbackSupportMixin",
    "ConstantPredictor",
    "check_sample_weight",
    "import_extra",
    "routing_enabled",
    "some_rows",
    "with_callbacks",
]

try:  # scikit-learn >= 1.9, experimental there
    from sklearn.callback import CallbackSupportMixin, with_callbacks

    HAS_CALLBACKS = True
except ImportError:
    HAS_CALLBACKS = False

    class _NoContext:
        """Stands for a callback context where nobody listens: every hook does nothing."""

        def subcontext(self, *args, **kwargs) -> _NoContext:
            return self

        def call_on_fit_task_begin(self, **kwargs) -> _NoContext:
            return self

        def call_on_fit_task_end(self, **kwargs) -> bool:
            return False  # nobody asks to stop

        @contextmanager
        def propagate_callback_context(self, sub_estimator):
            yield

    class CallbackSupportMixin:
        """Without ``sklearn.callback`` there is nothing to set and nobody to call."""

        def _init_callback_context(self, *args, **kwargs) -> _NoContext:
            return _NoContext()

    def with_callbacks(method):
        """The method as it is."""
        return method


def check_sample_weight(sample_weight, X):
    """Per-row weights as a float64 array (ones for None): finite, not negative, not all zero."""
    import numpy as np
    from sklearn.utils.validation import _check_sample_weight

    weight = _check_sample_weight(
        sample_weight, X, dtype=np.float64, ensure_non_negative=True, copy=True
    )
    if not weight.any():
        raise ValueError("sample_weight is all zero: no row is left to learn from or to score.")
    return weight


def import_extra(module: str, extra: str):
    """An optional module; the ImportError names the extra of ours that brings it."""
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        raise ImportError(
            f"{name} is needed for this and is not installed: pip install 'skrobust[{extra}]'"
        ) from error


def routing_enabled() -> bool:
    """Whether scikit-learn's metadata routing is switched on."""
    from sklearn import get_config

    return bool(get_config().get("enable_metadata_routing", False))
