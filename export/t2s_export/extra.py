"""The extra "export" of the package t2s-rt: what to say where it is not installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from t2s_rt.errors import MissingExtraError

__all__ = ["needs_extra"]

_PACKAGES = frozenset({"onnx", "onnxruntime", "scipy", "tokenizers", "torch"})
"""What the extra brings."""


@contextmanager
def needs_extra() -> Iterator[None]:
    """Import what needs the extra; any other missing package is an error as it is.

    Raises:
        MissingExtraError: one of the extra's packages is missing; told by the extra's name.
    """
    try:
        yield
    except ImportError as cause:
        package = (cause.name or "").partition(".")[0]
        if package not in _PACKAGES:
            raise
        raise MissingExtraError("t2s-rt export", package, "export") from cause
