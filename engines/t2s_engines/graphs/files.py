"""Graphs as files: checked when written, their constants beside them above 2 GiB."""

from __future__ import annotations

from pathlib import Path

import onnx

from t2s_engines.errors import GraphError

__all__ = ["EXTERNAL_LIMIT", "save_model"]

EXTERNAL_LIMIT = 2**31 - 2**20
"""Bytes of constants that still go inside the graph: protobuf's 2 GiB, less room for nodes."""


def save_model(
    model: onnx.ModelProto, path: Path, external_limit: int = EXTERNAL_LIMIT
) -> tuple[Path, ...]:
    """Write a model, with its constants in ``<path>.data`` where they pass the limit, and check it.

    Args:
        model: the message to write; its constants are moved out of it if they go beside it.
        path: the ``.onnx`` file.
        external_limit: bytes of constants that still go inside.

    Returns:
        The files written: the graph, and its data file if there is one.

    Raises:
        GraphError: ``onnx.checker`` refuses what was written.
    """
    files = [path]
    total = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    if total > external_limit:
        data = path.with_name(path.name + ".data")
        data.unlink(missing_ok=True)  # onnx appends to a file that is there
        onnx.save_model(
            model, path, save_as_external_data=True, location=data.name, size_threshold=1024
        )
        files.append(data)
    else:
        path.write_bytes(model.SerializeToString(deterministic=True))
    try:
        # by path, because a message of more than 2 GiB cannot be checked in memory
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as cause:
        raise GraphError(
            f"expected {path.name} to pass the ONNX checker, it did not: {cause}; "
            "this is a fault of the exporter"
        ) from cause
    return tuple(files)
