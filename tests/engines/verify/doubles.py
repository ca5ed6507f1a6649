"""Devices that are right, and devices that are wrong in one way, over nano's real graphs."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray

from t2s_engines.graphs import files
from t2s_engines.graphs.graph import Graph
from t2s_engines.verify.judging import Target
from t2s_engines.verify.tiles import VerifyTile
from t2s_engines.verify.verification import Outcome, Verdict, verify_targets
from t2s_rt.backends import FakeSession, Session, open_session
from t2s_rt.bundle import Bundle, GraphEntry
from t2s_rt.contracts import Precision, Role
from t2s_rt.prompts import PromptPack

Arrays = Mapping[str, NDArray[Any]]
Answer = Callable[[Arrays], Arrays]


class Bench:
    """Nano, its classes and some tiles; what the reference once computed is not computed again."""

    def __init__(self, bundle: Bundle, pack: PromptPack, tiles: Sequence[VerifyTile]) -> None:
        self.bundle, self.pack, self.tiles = bundle, pack, list(tiles)
        self._sessions: dict[Role, Session] = {}
        self._known: dict[str, Arrays] = {}

    def answer(self, role: Role, feeds: Arrays) -> Arrays:
        """What the reference says."""
        digest = hashlib.sha256(role.encode())
        for name in sorted(feeds):
            digest.update(f"{name}{feeds[name].shape}".encode() + feeds[name].tobytes())
        key = digest.hexdigest()
        if key not in self._known:
            if role not in self._sessions:
                self._sessions[role] = open_session(self.bundle.graph(role), "onnxruntime-cpu")
            self._known[key] = self._sessions[role].run(feeds)
        return self._known[key]

    def reference(self, entry: GraphEntry) -> Session:
        """A session that answers as the reference."""
        return FakeSession(entry, lambda feeds: self.answer(entry.role, feeds))

    def fake(
        self, role: Role, spoil: Callable[[Answer, Arrays], Arrays], precision: Precision = "fp16"
    ) -> Target:
        """A device that makes something of the right answer."""
        entry = self.bundle.graph(role, precision)

        def function(feeds: Arrays) -> Arrays:
            return spoil(lambda given: self.answer(role, given), feeds)

        return Target(entry, lambda: FakeSession(entry, function))

    def graph(self, role: Role, precision: Precision = "fp32") -> Graph:
        """Nano's graph, ready to be altered."""
        return Graph.from_model(onnx.load(self.bundle.graph(role, precision).path))

    def target(self, role: Role, graph: Graph, folder: Path, precision: Precision) -> Target:
        """A real session over another graph than the bundle's, taken for one of this precision."""
        path = folder / f"{role}.onnx"
        files.save_model(graph.to_model("altered"), path)
        entry = dataclasses.replace(self.bundle.graph(role, precision), path=path)
        return Target(entry, lambda: open_session(entry, "onnxruntime-cpu"))

    def verify(self, *targets: Target) -> Outcome:
        """Verify against the reference, computed or known."""
        return verify_targets(self.bundle, self.pack, targets, self.tiles, reference=self.reference)


def verdict_of(outcome: Outcome, role: str) -> Verdict:
    """The verdict on a role."""
    return next(verdict for verdict in outcome.verdicts if verdict.role == role)
