"""A backend for tests of everything above it: a plain function instead of a graph."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeGuard

import numpy as np
from numpy.typing import NDArray

from t2s_rt.backends.base import Arrays, Session
from t2s_rt.backends.device import Array, DeviceArray
from t2s_rt.bundle import GraphEntry
from t2s_rt.contracts import CONTRACTS, OPSET, Role, TensorSpec
from t2s_rt.errors import BackendError

__all__ = ["FakeSession", "fake_device_array", "fake_entry"]

Function = Callable[[Arrays], Mapping[str, NDArray[Any]]]


class FakeSession(Session):
    """A session that answers with a function's results.

    Args:
        entry: what it pretends to be, e.g. from :func:`fake_entry`.
        function: from checked feeds to outputs.
        reason: as for every session.
        device: ``"cuda"`` makes it behave as on a GPU, with host memory in place of a device's:
            it takes device arrays and answers with them for what a call keeps.

    Attributes:
        calls: copies of the feeds of every call, in order.
        kept: what every call was asked to keep.
    """

    backend = "fake"

    def __init__(
        self,
        entry: GraphEntry,
        function: Function,
        reason: str = "asked for",
        *,
        device: Literal["cpu", "cuda"] = "cpu",
    ) -> None:
        super().__init__(entry, reason)
        self.device = device
        self._function = function
        self.calls: list[Arrays] = []
        self.kept: list[frozenset[str]] = []

    @classmethod
    def recorded(
        cls, entry: GraphEntry, outputs: Iterable[Mapping[str, NDArray[Any]]]
    ) -> FakeSession:
        """A session that plays recorded outputs, one per call."""
        tape = iter(outputs)
        turn = threading.Lock()

        def play(feeds: Arrays) -> Mapping[str, NDArray[Any]]:
            try:
                with turn:
                    return next(tape)
            except StopIteration:
                raise BackendError(f"{entry.role}: no recorded output is left") from None

        return cls(entry, play)

    def _run(self, feeds: dict[str, Array], keep: frozenset[str]) -> dict[str, Array]:
        host = {
            name: _peek(array) if isinstance(array, DeviceArray) else array.copy()
            for name, array in feeds.items()
        }
        self.calls.append(host)
        self.kept.append(keep)
        outputs: dict[str, Array] = dict(self._function(dict(host)))
        if self.device == "cpu":
            return outputs
        return {
            name: fake_device_array(array) if name in keep and _is_host(array) else array
            for name, array in outputs.items()
        }

    def _close(self) -> None:
        self.calls.clear()
        self.kept.clear()


def fake_device_array(array: NDArray[Any]) -> DeviceArray:
    """A device array for tests, whose memory is a copy of a host array.

    It has a ``__cuda_array_interface__`` as on a GPU: hand it to no library that means it.
    """
    memory = [np.array(array, order="C")]
    pointer = memory[0].ctypes.data
    return DeviceArray(
        pointer, array.shape, array.dtype, free=memory.clear, read=_read_host, device="cuda"
    )


def _read_host(pointer: int, out: NDArray[Any]) -> None:
    ctypes.memmove(out.ctypes.data, pointer, out.nbytes)


def _peek(array: DeviceArray) -> NDArray[Any]:
    """What a fake kernel sees, and no copy to the host in the eyes of a test."""
    host = np.empty(array.shape, array.dtype)
    _read_host(array.pointer, host)
    return host


def _is_host(array: Array) -> TypeGuard[NDArray[Any]]:
    return isinstance(array, np.ndarray)


def fake_entry(role: Role, **sizes: int) -> GraphEntry:
    """A graph entry with the contract's tensors.

    Args:
        role: which contract.
        sizes: static sizes by symbol, e.g. ``H=64, W=64, C=4, h=8, w=8``; products such as
            ``4h`` and ``hw`` follow; symbols not given stay dynamic.
    """

    def tensor(spec: TensorSpec) -> TensorSpec:
        shape = tuple(_size(size, sizes) for size in spec.shape)
        return TensorSpec(spec.name, spec.dtype, shape, spec.meaning)

    contract = CONTRACTS[role]
    has_image = any("H" in spec.shape for spec in contract.inputs)
    return GraphEntry(
        role=role,
        precision="fp32",
        path=Path(f"{role}.onnx"),
        sha256="0" * 64,
        inputs=tuple(tensor(spec) for spec in contract.inputs),
        outputs=tuple(tensor(spec) for spec in contract.outputs),
        image_size=(sizes["H"], sizes["W"]) if has_image else None,
        opset=OPSET,
        source={},
    )


def _size(size: int | str, sizes: Mapping[str, int]) -> int | str:
    if isinstance(size, int):
        return size
    letters = size.lstrip("0123456789")
    if any(letter not in sizes for letter in letters):
        return size
    value = int(size[: len(size) - len(letters)] or 1)
    for letter in letters:
        value *= sizes[letter]
    return value
