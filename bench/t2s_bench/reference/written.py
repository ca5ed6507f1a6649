"""An exported graph as a file that this runtime opens, without the proofs of an export."""

from __future__ import annotations

from pathlib import Path

from t2s_engines.graphs.files import save_model
from t2s_export.graphs.to_onnx import ExportedGraph
from t2s_rt.bundle import GraphEntry, file_record
from t2s_rt.contracts import OPSET

__all__ = ["write_graph"]


def write_graph(
    exported: ExportedGraph, folder: Path, image_size: tuple[int, int] | None
) -> GraphEntry:
    """Write ``ROLE.onnx``, and its weights where they are large, into a folder.

    Args:
        exported: float32.
        folder: must outlive the sessions.
        image_size: height and width of an image graph's frame.
    """
    path = folder / f"{exported.role}.onnx"
    files = save_model(exported.to_model(), path)
    records = tuple(file_record(folder, file.name) for file in files)
    return GraphEntry(
        exported.role, "fp32", path, records[0].sha256, exported.inputs, exported.outputs,
        image_size, OPSET, {}, files=records,
    )  # fmt: skip
