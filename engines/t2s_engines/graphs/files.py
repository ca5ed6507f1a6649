"""Graphs as files: checked when written, their constants inside or in a file beside them.

Graphs of one model share its weights: so may their files. A :class:`SharedWeights` holds each
constant once, by its content, for all graphs and precisions that are saved with it. A graph that is
saved without one keeps its constants inside up to protobuf's 2 GiB, and above has a file to itself.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import onnx
from onnx import TensorProto

from t2s_engines.errors import GraphError

__all__ = ["EXTERNAL_LIMIT", "SharedWeights", "save_model"]

EXTERNAL_LIMIT = 2**31 - 2**20
"""Bytes of constants that still go inside the graph: protobuf's 2 GiB, less room for nodes."""

_ALIGNMENT = 64
"""Of a constant's first byte: a cache line, and the widest vector register there is."""
_SMALLEST = 1024
"""Bytes from which a constant goes beside the graph; smaller ones may describe shapes."""
_DIGEST_KEY = "external_sha256"


class SharedWeights:
    """A file of constants for several graphs in its folder; equal bytes are stored once.

    Args:
        path: the file; one that is there is replaced when the first constant is added.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes = 0
        self._places: dict[bytes, int] = {}

    def move(self, model: onnx.ModelProto) -> bool:
        """Move a model's large constants here.

        The file grows at its end, so graphs that were saved before stay valid. The model's
        metadata gets the SHA-256 of what it refers to: a graph's file alone says what it computes.

        Args:
            model: changed in place.

        Returns:
            Whether it had any.
        """
        digest = hashlib.sha256()
        moved = [t for t in model.graph.initializer if len(t.raw_data) >= _SMALLEST]
        if not moved:
            return False
        with open(self.path, "ab" if self.bytes else "wb") as stream:
            for tensor in moved:
                content = hashlib.sha256(tensor.raw_data).digest()
                if content not in self._places:
                    stream.write(bytes(-self.bytes % _ALIGNMENT))
                    self._places[content] = self.bytes + -self.bytes % _ALIGNMENT
                    stream.write(tensor.raw_data)
                    self.bytes = self._places[content] + len(tensor.raw_data)
                digest.update(content)
                self._refer(tensor, self._places[content])
        model.metadata_props.add(key=_DIGEST_KEY, value=digest.hexdigest())
        return True

    def _refer(self, tensor: TensorProto, offset: int) -> None:
        """Put a place in this file where the tensor's bytes were."""
        places = {"location": self.path.name, "offset": offset, "length": len(tensor.raw_data)}
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in places.items():
            tensor.external_data.add(key=key, value=str(value))


def save_model(
    model: onnx.ModelProto,
    path: Path,
    external_limit: int = EXTERNAL_LIMIT,
    weights: SharedWeights | None = None,
) -> tuple[Path, ...]:
    """Write a model and check it.

    Args:
        model: the message to write; its constants are moved out of it if they go beside it.
        path: the ``.onnx`` file.
        external_limit: without ``weights``, bytes of constants that still go inside; above, they go
            to ``<path>.data``.
        weights: where constants go instead, in the same folder.

    Returns:
        The files written: the graph, and the file of its constants if there is one.

    Raises:
        GraphError: ``onnx.checker`` refuses what was written.
    """
    files = [path]
    total = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    if weights is None and total > external_limit:
        weights = SharedWeights(path.with_name(path.name + ".data"))
    if weights is not None and weights.move(model):
        files.append(weights.path)
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
