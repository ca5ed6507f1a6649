"""The folder that a bundle's graphs are written to, and the files of weights that they share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from t2s_engines.graphs.files import SharedWeights, save_model
from t2s_export.graphs.storage import StorageReport
from t2s_export.graphs.to_onnx import ExportedGraph
from t2s_export.parity import GraphParity
from t2s_export.precision import Decision
from t2s_rt.bundle import FileRecord, GraphRecord, file_record
from t2s_rt.contracts import Precision, Role

__all__ = ["SHARED_WEIGHTS", "BuiltGraph", "GraphStore"]

SHARED_WEIGHTS: Mapping[Role, str] = {
    "detector": "detector.weights",
    "mask_encoder": "sam.weights",
    "mask_decoder": "sam.weights",
    "mask_decoder_local": "sam.weights",
    "clip_image": "clip.weights",
    "clip_dense": "clip.weights",
    "clip_patches": "clip.weights",
}
"""The file of weights by role; text encoders have none and are float32 only."""


@dataclass(frozen=True)
class BuiltGraph:
    """One graph that was written and proven.

    Attributes:
        record: its entry of the manifest. While the bundle is being built, the shared file of
            weights is not on it yet: it still grows.
        nodes: operators in the file.
        bytes: what it adds to the bundle: its file and the weights that no graph before it had.
        storage: what became float16 in a float32 graph; None for a float16 graph.
        parity: how far it is from its module, or a float16 graph from the float32 one.
        decision: on the islands of a float16 graph; None for a float32 graph.
    """

    record: GraphRecord
    nodes: int
    bytes: int
    storage: StorageReport | None
    parity: GraphParity
    decision: Decision | None = None


class GraphStore:
    """The folder that graphs are written to, with the weights that they share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._shared: dict[str, SharedWeights] = {}

    def save(
        self, exported: ExportedGraph, precision: Precision
    ) -> tuple[Path, tuple[FileRecord, ...], int]:
        """Write one graph.

        Returns:
            Its file, the records of the files that are its own, and the bytes that the bundle
            grew by.
        """
        weights = None
        if exported.role in SHARED_WEIGHTS:
            name = SHARED_WEIGHTS[exported.role]
            weights = self._shared.setdefault(name, SharedWeights(self.folder / name))
        before = 0 if weights is None else weights.bytes
        path = self.folder / f"{exported.role}.{precision}.onnx"
        files = save_model(exported.to_model(), path, weights=weights)
        own = [file for file in files if weights is None or file != weights.path]
        records = tuple(file_record(self.folder, file.name) for file in own)
        shared = 0 if weights is None else weights.bytes - before
        return path, records, sum(record.bytes for record in records) + shared

    def final(self, graphs: Iterable[BuiltGraph]) -> Iterator[BuiltGraph]:
        """The graphs with their shared weights on record, now that no graph is to come."""
        records = {
            name: file_record(self.folder, name)
            for name, weights in self._shared.items()
            if weights.bytes
        }
        for graph in graphs:
            shared = records.get(SHARED_WEIGHTS.get(graph.record.role, ""))
            more = () if shared is None else (shared,)
            yield replace(graph, record=replace(graph.record, files=(*graph.record.files, *more)))
