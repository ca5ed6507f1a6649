"""What a bench finds wrong.

::

    BackendError
    +-- RegressionError     a figure is worse than an earlier one by more than it may be
"""

from __future__ import annotations

from t2s_rt.errors import BackendError

__all__ = ["RegressionError"]


class RegressionError(BackendError):
    """A figure is worse than an earlier one by more than it may be."""
