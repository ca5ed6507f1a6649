"""What each release of TensorRT imports: versions of the format, operators, element types.

``tensorrt_operators.csv`` was transcribed from docs/operators.md of onnx-tensorrt (8.5, 8.6 and
10.1: the newest states seen there) and of the parser submodules of NVIDIA/TensorRT v10.16
(6bde6596) and v11.1 (7c51a63a); one slip of the source, INF64 for INT64 at ConstantOfShape in 10.1,
is corrected. Releases in between were not read at their own commits.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import onnx

from t2s_rt.errors import UsageError

__all__ = ["RELEASES", "Release", "Support", "find_release", "operators", "type_name"]

_KINDS = {
    "FP32": "FLOAT", "FP16": "FLOAT16", "BF16": "BFLOAT16", "FP8": "FLOAT8E4M3FN",
    "FP4": "FLOAT4E2M1", "INT4": "INT4", "INT8": "INT8", "UINT8": "UINT8", "INT32": "INT32",
    "INT64": "INT64", "BOOL": "BOOL",
}  # fmt: skip


@dataclass(frozen=True)
class Release:
    """One release of TensorRT and its ONNX parser.

    Attributes:
        name: as NVIDIA writes it.
        opsets: lowest and highest version of the default operator set.
        ir_version: highest version of the file format: that of the onnx release which brought
            the highest opset.
        types: names of the element types that an engine of this release holds.
        narrows_int64: int64 becomes int32 on import.
    """

    name: str
    opsets: tuple[int, int]
    ir_version: int
    types: tuple[str, ...]
    narrows_int64: bool = False

    def elem_types(self) -> frozenset[int]:
        """``types`` as numbers of ONNX, as far as the installed onnx knows them."""
        return frozenset(_elem_type(name) for name in self.types if _known(name))


_OLD = ("FP32", "FP16", "INT32", "INT64", "INT8", "UINT8", "BOOL")
_NEW = (*_OLD, "BF16", "FP8", "INT4")
_ALL = {
    "8.6": Release("8.6", (1, 17), 8, _OLD, narrows_int64=True),
    "10.1": Release("10.1", (9, 20), 9, _NEW),
    "10.16": Release("10.16", (9, 24), 12, (*_NEW, "FP4")),
    "11.1": Release("11.1", (9, 24), 12, (*_NEW, "FP4")),
}

RELEASES: tuple[str, ...] = tuple(_ALL)
"""The releases that every graph of this project is checked for."""


def find_release(name: str) -> Release:
    """The release of that name.

    Raises:
        UsageError: it is not one whose table is known.
    """
    if name not in _ALL:
        raise UsageError(
            f"expected a TensorRT release out of {', '.join(RELEASES)}, found {name!r}; "
            "take the newest of these that is not newer than yours"
        )
    return _ALL[name]


@dataclass(frozen=True)
class Support:
    """What one release takes of one operator.

    Attributes:
        types: element types (numbers of ONNX) of the operator's data.
        note: conditions, in the words of the source.
    """

    types: frozenset[int]
    note: str


@cache
def operators(release: str) -> Mapping[str, Support]:
    """Every operator that a release imports; int64 counts where int32 does if it is narrowed."""
    text = files("t2s_engines.preflight").joinpath("tensorrt_operators.csv").read_text("utf-8")
    found = {}
    for row in csv.DictReader(text.splitlines()):
        if row[f"{release} supported"] != "Y":
            continue
        names = set(row[f"{release} types"].split())
        if _ALL[release].narrows_int64 and "INT32" in names:
            names.add("INT64")
        types = frozenset(_elem_type(name) for name in names if _known(name))
        found[row["op"]] = Support(types, row[f"{release} notes"])
    return found


def _known(name: str) -> bool:
    """Whether the installed onnx has the type; old ones lack the smallest floats."""
    return _KINDS[name] in onnx.TensorProto.DataType.keys()  # noqa: SIM118 (no mapping)


def _elem_type(name: str) -> int:
    return int(onnx.TensorProto.DataType.Value(_KINDS[name]))


def type_name(elem_type: int) -> str:
    """Name of an element type as numpy users know it."""
    name = str(onnx.TensorProto.DataType.Name(elem_type)).lower()
    return {"float": "float32", "double": "float64", "undefined": "unknown"}.get(name, name)
