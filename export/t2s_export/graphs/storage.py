"""Weights at half the size, computed at full precision.

A float32 constant that float16 holds without loss is stored as float16 followed by one Cast.
ONNX Runtime and TensorRT fold that Cast when they load the graph, so every operator still
computes in float32: the graph's precision stays fp32, only the file is smaller.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from t2s_engines.graphs.graph import Array, Graph

__all__ = ["StorageReport", "fits_float16", "store_float16"]

_MINIMUM_ELEMENTS = 256
"""Smaller constants are not worth a node."""
_HALF_MAX = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class StorageReport:
    """What ``store_float16`` did.

    Attributes:
        stored: names of constants that are float16 now.
        kept: names of large float32 constants that would have lost digits or overflowed.
        bytes_before: size of all constants before.
        bytes_after: and after.
    """

    stored: tuple[str, ...]
    kept: tuple[str, ...]
    bytes_before: int
    bytes_after: int


def fits_float16(value: Array, tolerance: float = 0.0) -> bool:
    """Whether rounding to float16 changes no element by more than ``tolerance`` of itself.

    Args:
        value: float32 array.
        tolerance: largest allowed relative change of any element; 0 means without any loss.
    """
    if not np.isfinite(value).all() or np.abs(value).max(initial=0.0) > _HALF_MAX:
        return False
    wide = value.astype(np.float64)
    change = np.abs(value.astype(np.float16).astype(np.float64) - wide)
    return bool((change <= tolerance * np.abs(wide)).all())


def store_float16(graph: Graph, tolerance: float = 0.0) -> StorageReport:
    """Store large float32 constants as float16 plus Cast where that keeps their values.

    Args:
        graph: edited in place; run ``clean`` first.
        tolerance: see ``fits_float16``. With 0 the graph computes exactly what it did.

    Returns:
        Which constants were stored, and which had to stay float32.
    """
    before = _constant_bytes(graph)
    stored, kept, casts = [], [], []
    renamed: dict[str, str] = {}
    for name, value in list(graph.constants.items()):
        if value.dtype != np.float32 or value.size < _MINIMUM_ELEMENTS or name in graph.outputs:
            continue
        if not fits_float16(value, tolerance):
            kept.append(name)
            continue
        graph.constants[name] = value.astype(np.float16)
        renamed[name] = f"{name}/float32"
        casts.append(
            helper.make_node(
                "Cast", [name], [renamed[name]], name=f"{name}/Cast", to=onnx.TensorProto.FLOAT
            )
        )
        stored.append(name)
    graph.replace_uses(renamed)
    graph.nodes = [*casts, *graph.nodes]
    return StorageReport(tuple(stored), tuple(kept), before, _constant_bytes(graph))


def _constant_bytes(graph: Graph) -> int:
    return sum(value.nbytes for value in graph.constants.values())
