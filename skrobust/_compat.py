"""Names of scikit-learn and skorch that are private, moved, or newer than our oldest versions.

Every such import of the project is made here, guarded, so that a release that moves one of them
is met by one edit.
"""

from __future__ import annotations

from contextlib import contextmanager

__all__ = ["CallbackSupportMixin", "HAS_CALLBACKS", "with_callbacks"]

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
