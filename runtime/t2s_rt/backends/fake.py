"""A backend for tests of everything above it: a plain function instead of a graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from t2s_rt.backends.base import Arrays, Session
from t2s_rt.bundle import GraphEntry
from t2s_rt.contracts import CONTRACTS, OPSET, Role, TensorSpec
from t2s_rt.errors import BackendError

__all__ = ["FakeSession", "fake_entry"]

Function = Callable[[Arrays], Mapping[str, NDArray[Any]]]


class FakeSession(Session):
    """A session that answers with a function's results.

    Args:
        entry: what it pretends to be, e.g. from :func:`fake_entry`.
        function: from checked feeds to outputs.
        reason: as for every session.

    Attributes:
        calls: copies of the feeds of every call, in order.
    """

    backend = "fake"

    def __init__(self, entry: GraphEntry, function: Function, reason: str = "asked for") -> None:
        super().__init__(entry, reason)
        self._function = function
        self.calls: list[Arrays] = []

    @classmethod
    def recorded(
        cls, entry: GraphEntry, outputs: Iterable[Mapping[str, NDArray[Any]]]
    ) -> FakeSession:
        """A session that plays recorded outputs, one per call."""
        tape = iter(outputs)

        def play(feeds: Arrays) -> Mapping[str, NDArray[Any]]:
            try:
                return next(tape)
            except StopIteration:
                raise BackendError(f"{entry.role}: no recorded output is left") from None

        return cls(entry, play)

    def _run(self, feeds: Arrays) -> Arrays:
        self.calls.append({name: array.copy() for name, array in feeds.items()})
        return dict(self._function(feeds))

    def _close(self) -> None:
        self.calls.clear()


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
