"""One graph on trial: which calls it gets, and what came of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from t2s_engines.verify.calls import Call, row_axis, stacked
from t2s_engines.verify.figures import Comparison
from t2s_rt.backends import Session
from t2s_rt.bundle import GraphEntry
from t2s_rt.contracts import Role
from t2s_rt.errors import T2SError
from t2s_rt.limits import size_range
from t2s_rt.plans import EngineFiles

__all__ = ["BATCHED", "REPEATED", "Judge", "Target", "some"]

BATCHED = "batched"
REPEATED = "repeated"
_CALLS = 8
"""Most calls of one graph and tile: a tile full of cars makes thirty calls of a decoder."""


@dataclass(frozen=True)
class Target:
    """A graph to verify on a device.

    Attributes:
        entry: the graph that the device runs.
        open: from nothing to its session.
        engine: where it is an engine of the cache, its files; the verdict goes beside them. A
            session with an attribute ``files`` knows better which engine it loaded.
    """

    entry: GraphEntry
    open: Callable[[], Session]
    engine: EngineFiles | None = None

    @property
    def role(self) -> Role:
        """The graph's role."""
        return self.entry.role


@dataclass
class Judge:
    """Asks one graph the reference's calls, alone and in batches, and keeps what it answers.

    A graph that fails is asked no more: its fault is in ``faults``.

    Attributes:
        target: the graph.
        comparison: of its answers.
        session: opened, or None where that failed.
        faults: errors of the backend.
    """

    target: Target
    comparison: Comparison
    session: Session | None = None
    faults: list[str] = field(default_factory=list)
    _first: Call | None = None
    _images: list[Call] = field(default_factory=list)
    _batched: bool = False
    _largest: int = 0

    @property
    def engine(self) -> EngineFiles | None:
        """The engine on trial: the one that the session says it loaded."""
        loaded = getattr(self.session, "files", None)
        return loaded if isinstance(loaded, EngineFiles) else self.target.engine

    @property
    def most_rows(self) -> int:
        """Rows of the largest call that infer makes, and that the session takes."""
        entry = self.target.entry
        symbol = row_axis(entry)
        sizes = None if symbol is None else size_range(entry.role, symbol, entry.image_size)
        bounds = {} if self.session is None else self.session.greatest
        taken = [
            bounds[spec.name][0]
            for spec in entry.inputs
            if spec.name in bounds and spec.shape[:1] == (symbol,)
        ]
        return min([1 if sizes is None else sizes.greatest, *taken])

    def open(self) -> Session | None:
        """Open the session; a failure is a fault of this graph alone."""
        try:
            self.session = self.target.open()
        except T2SError as error:
            self.faults.append(f"cannot be opened: {error}")
        return self.session

    def tile(self, calls: Sequence[Call]) -> None:
        """Ask what the reference was asked on one tile."""
        entry, most = self.target.entry, self.most_rows
        calls = some(calls, _CALLS)
        for call in calls:
            self._ask(call)
            if self._first is None:
                self._first = call
                if len(call) > 1 and row_axis(entry) is not None:
                    self._ask(call.rows(entry, slice(0, 1)))
        if row_axis(entry) == "N" and not self._batched and calls:
            self._prompts(calls, most)
        elif row_axis(entry) == "B" and sum(map(len, self._images)) < most:
            self._images += calls

    def finish(self) -> None:
        """Ask for a whole batch of images, and for the first call again."""
        entry, most = self.target.entry, self.most_rows
        if self._images:
            batch = stacked(entry, self._images, most)
            if len(batch) > self._largest:
                self._ask(batch, BATCHED)
        self._images.clear()
        if self._first is not None:
            self._ask(self._first, REPEATED)
        if self._largest <= 1:
            self.comparison.tally.note("only calls of one row were judged: the graph takes no more")

    def answer(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.generic]] | None:
        """Run the session; None where it fails, which is taken down."""
        if self.session is None or self.faults:
            return None
        try:
            return dict(self.session.run(feeds))
        except T2SError as error:
            self.faults.append(f"cannot run: {error}")
            return None

    def _ask(self, call: Call, mode: str = "") -> None:
        found = self.answer(call.feeds)
        if found is not None:
            self._largest = max(self._largest, len(call))
            self.comparison.add(call, found, mode)

    def _prompts(self, calls: Sequence[Call], most: int) -> None:
        """One call with as many prompts of one kind as there are, and as fit."""
        kinds: dict[int, list[Call]] = {}
        for call in calls:
            kinds.setdefault(call.feeds["point_labels"].shape[1], []).append(call)
        rows = max(kinds.values(), key=lambda group: sum(map(len, group)))
        batch = stacked(self.target.entry, rows, most)
        if len(batch) > max(map(len, calls)):
            self._ask(batch, BATCHED)
            self._batched = True


def some(calls: Sequence[Call], most: int) -> Sequence[Call]:
    """The first calls and the last one, whose prompts are of another kind."""
    return calls if len(calls) <= most else (*calls[: most - 1], calls[-1])
