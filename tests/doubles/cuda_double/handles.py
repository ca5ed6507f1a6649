"""cuda-python's handle classes, and how it reads its arguments."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = [
    "HANDLES",
    "Handle",
    "address",
    "cudaEvent_t",
    "cudaGraphExec_t",
    "cudaGraph_t",
    "cudaStream_t",
    "size",
]


class Handle:
    """A handle: an opaque number that ``int`` reads."""

    def __init__(self, init_value: int = 0) -> None:
        self._value = int(init_value)

    def __int__(self) -> int:
        return self._value

    def __index__(self) -> int:
        return self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Handle) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._value:#x}>"


class cudaStream_t(Handle):
    pass


class cudaEvent_t(Handle):
    pass


class cudaGraph_t(Handle):
    pass


class cudaGraphExec_t(Handle):
    pass


HANDLES: dict[str, type[Handle]] = {
    c.__name__: c for c in (cudaStream_t, cudaEvent_t, cudaGraph_t, cudaGraphExec_t)
}


def address(value: Any) -> int:
    """An address from None, a number or an object with the buffer protocol.

    Raises:
        TypeError: something else.
    """
    if value is None:
        return 0
    if isinstance(value, (int, np.integer, Handle)):
        return int(value)
    try:
        view = memoryview(value)
    except TypeError:
        raise TypeError(
            f"Provided argument is of type {type(value)} but expected Type None, int or object "
            "with Buffer Protocol"
        ) from None
    return int(np.frombuffer(view, dtype=np.uint8).ctypes.data) if view.nbytes else 0


def size(value: Any) -> int:
    """A ``size_t``.

    Raises:
        OverflowError: it is negative.
        TypeError: no whole number. (The genuine package drops the fraction of a float.)
    """
    if isinstance(value, (float, np.floating)):
        raise TypeError("a size in bytes is an int")
    if isinstance(value, (str, bytes)):
        raise TypeError("an integer is required")
    number = int(value)
    if number < 0:
        raise OverflowError("can't convert negative value to size_t")
    return number


def handle(value: Any) -> int:
    """A handle as a number: from a handle, a number, or None for the null handle.

    Raises:
        TypeError: something else.
    """
    if value is None:
        return 0
    if not isinstance(value, (int, np.integer, Handle)):
        raise TypeError("an integer is required")
    return int(value)
