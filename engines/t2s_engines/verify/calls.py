"""Calls of a graph: what the runtime fed it, what the reference said, and calls made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from t2s_rt.backends import Session
from t2s_rt.backends.base import Arrays
from t2s_rt.backends.device import Array
from t2s_rt.bundle import GraphEntry
from t2s_rt.contracts import TensorSpec
from t2s_rt.errors import InternalError

__all__ = ["Call", "Recorder", "row_axis", "stacked"]


@dataclass(frozen=True, eq=False)
class Call:
    """One call, and the right answer.

    Attributes:
        feeds: inputs by name.
        expected: the reference's outputs by name.
        tiles: index of the tile that each row belongs to; a row is an image or a prompt.
    """

    feeds: Mapping[str, NDArray[Any]]
    expected: Mapping[str, NDArray[Any]]
    tiles: tuple[int, ...]

    def __len__(self) -> int:
        """Rows."""
        return len(self.tiles)

    def rows(self, entry: GraphEntry, part: slice) -> Call:
        """Some rows of the call as a call of their own; the graph's rows must be dynamic."""
        symbol = row_axis(entry)
        return Call(
            _cut(self.feeds, entry.inputs, symbol, part),
            _cut(self.expected, entry.outputs, symbol, part),
            self.tiles[part],
        )


class Recorder(Session):
    """A session that notes every call before it hands the answer on.

    Args:
        inner: the session that computes; closed with this one.

    Attributes:
        calls: since the last :meth:`take`; the arrays are not copies.
    """

    def __init__(self, inner: Session) -> None:
        super().__init__(inner.entry, inner.reason)
        self.backend = inner.backend
        self._inner = inner
        self.calls: list[tuple[Arrays, Arrays]] = []

    def describe(self) -> str:
        """As the inner session."""
        return self._inner.describe()

    def take(self, tile: int) -> list[Call]:
        """The calls since the last time, all of one tile."""
        found = [
            Call(feeds, outputs, (tile,) * _rows(self.entry, feeds))
            for feeds, outputs in self.calls
        ]
        self.calls = []
        return found

    def _run(self, feeds: dict[str, Array], keep: frozenset[str]) -> dict[str, Array]:
        host = {name: np.asarray(array) for name, array in feeds.items()}
        outputs = self._inner.run(host)
        self.calls.append((host, outputs))
        return dict(outputs)

    def _close(self) -> None:
        self._inner.close()


def row_axis(entry: GraphEntry) -> str | None:
    """Symbol of the first axis along which rows are independent; None where it is static."""
    for spec in entry.inputs:
        if spec.shape and spec.shape[0] in ("B", "N"):
            return str(spec.shape[0])
    return None


def stacked(entry: GraphEntry, calls: Sequence[Call], most: int) -> Call:
    """Rows of several calls in one, up to a number.

    Args:
        entry: of the graph; its rows must be dynamic.
        calls: alike in every input that has no rows, such as a caption or an embedding.
        most: rows.
    """
    symbol = row_axis(entry)
    if symbol is None:
        raise InternalError(f"{entry.role}: expected dynamic rows to stack, found static ones")
    part = slice(0, most)
    return Call(
        _joined([call.feeds for call in calls], entry.inputs, symbol, part),
        _joined([call.expected for call in calls], entry.outputs, symbol, part),
        tuple(tile for call in calls for tile in call.tiles)[part],
    )


def _rows(entry: GraphEntry, feeds: Mapping[str, NDArray[Any]]) -> int:
    for spec in entry.inputs:
        if spec.name in ("image", "point_coords", "input_ids"):
            return int(feeds[spec.name].shape[0])
    raise InternalError(f"{entry.role}: expected an input with rows")


def _cut(
    arrays: Mapping[str, NDArray[Any]],
    specs: Sequence[TensorSpec],
    symbol: str | None,
    part: slice,
) -> Arrays:
    return {
        spec.name: arrays[spec.name][part] if spec.shape[:1] == (symbol,) else arrays[spec.name]
        for spec in specs
    }


def _joined(
    sides: Sequence[Mapping[str, NDArray[Any]]],
    specs: Sequence[TensorSpec],
    symbol: str,
    part: slice,
) -> Arrays:
    return {
        spec.name: np.concatenate([side[spec.name] for side in sides])[part]
        if spec.shape[:1] == (symbol,)
        else sides[0][spec.name]
        for spec in specs
    }
