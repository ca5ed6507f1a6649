"""Host memory that outputs land in: page-locked beside a GPU, and used again and again.

A GPU copies straight into page-locked memory; into any other the driver goes through a buffer of
its own. Locking pages is slow, so blocks are lent: an output array is a view of a block, and the
block comes back when the caller drops the array. So outputs belong to the caller, nothing is
copied twice, and no run waits for fresh pages.

Inputs need no such memory: a feed arrives in the caller's pages, and copying it into locked ones
first is just what the driver does.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["HostMemory", "HostPool", "plain_memory"]

HostMemory = Callable[[int], tuple[int, Callable[[], object]]]
"""From bytes to an address and what frees it."""

_SMALLEST = 64 << 10
"""Bytes below which an array is not worth a block."""
_STEP = 64 << 10


def plain_memory(size: int) -> tuple[int, Callable[[], object]]:
    """Memory of NumPy's own."""
    block = [np.empty(size, np.uint8)]
    return block[0].ctypes.data, block.clear


class HostPool:
    """Arrays over lent blocks.

    Args:
        memory: where blocks come from.
        limit: most bytes of all blocks; beyond it arrays are NumPy's own.
    """

    def __init__(self, memory: HostMemory, limit: int = 512 << 20) -> None:
        self._memory = memory
        self._limit = limit
        self._lock = threading.RLock()  # reentrant: the collector may return a block at any time
        self._idle: list[_Block] = []
        self._total = 0
        self._closed = False

    @property
    def total(self) -> int:
        """Bytes of all blocks, lent or idle."""
        return self._total

    def array(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """An uninitialised C-contiguous array, the caller's for as long as it is referenced."""
        size = prod(shape) * np.dtype(dtype).itemsize
        block = self._take(size) if size >= _SMALLEST else None
        if block is None:
            return np.empty(shape, dtype)
        lease = _Lease(block.pointer, shape, np.dtype(dtype))
        weakref.finalize(lease, self._give_back, block).atexit = False
        return np.asarray(lease)

    def close(self) -> None:
        """Free idle blocks now, and lent ones when they come back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for block in idle:
            self._drop(block)

    def _take(self, size: int) -> _Block | None:
        rounded = -(-size // _STEP) * _STEP
        with self._lock:
            fitting = [block for block in self._idle if rounded <= block.size <= 2 * rounded]
            if fitting:
                block = min(fitting, key=lambda item: item.size)
                self._idle.remove(block)
                return block
            while self._idle and self._total + rounded > self._limit:
                self._drop(self._idle.pop(0))
            if self._total + rounded > self._limit:
                return None
            pointer, free = self._memory(rounded)
            self._total += rounded
        return _Block(pointer, rounded, free)

    def _give_back(self, block: _Block) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(block)
                return
        self._drop(block)

    def _drop(self, block: _Block) -> None:
        with self._lock:
            self._total -= block.size
        block.free()


class _Block:
    def __init__(self, pointer: int, size: int, free: Callable[[], object]) -> None:
        self.pointer = pointer
        self.size = size
        self.free = free


class _Lease:
    """What an array over a block refers to as its base."""

    def __init__(self, pointer: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.__array_interface__ = {
            "version": 3,
            "shape": shape,
            "typestr": dtype.str,
            "data": (pointer, False),
        }
