"""Rules for the graph as a whole, and for its file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import TensorProto
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from t2s_engines.preflight.context import Context, Finding
from t2s_engines.preflight.releases import Release, type_name

__all__ = ["external_tensors", "file_rules", "graph_rules", "model_rules"]

_MAX_RANK = 8


def graph_rules(context: Context) -> Iterator[Finding]:
    """Opset, border, and what no engine of the release holds, wherever it is."""
    low, high = context.release.opsets
    if not low <= context.graph.opset <= high:
        yield Finding(
            "opset",
            f"opset {context.graph.opset}",
            f"TensorRT {context.release.name} reads opsets {low} to {high}: export it at one",
        )
    for name, value in {**context.graph.inputs, **context.graph.outputs}.items():
        if value.elem_type == TensorProto.INT64:
            yield Finding("border", f"int64 at the border in {name!r}", "use int32")
        if value.shape is None:
            yield Finding("border", f"{name!r} has no known rank", "give it a shape")
    for name, value in context.types.items():
        if value.elem_type and value.elem_type not in context.release.elem_types():
            yield Finding(
                "types",
                f"{name!r} is {type_name(value.elem_type)}, which no engine holds",
                "cast to float32 or int32 in the module",
            )
        if value.shape is not None and len(value.shape) > _MAX_RANK:
            yield Finding(
                "shape", f"{name!r} has {len(value.shape)} dimensions", f"at most {_MAX_RANK}"
            )


def file_rules(model: onnx.ModelProto, release: Release) -> Iterator[Finding]:
    """The format's version."""
    if model.ir_version > release.ir_version:
        yield Finding(
            "file",
            f"format version {model.ir_version}",
            f"TensorRT {release.name} knows versions up to {release.ir_version}: save it as one",
        )


def model_rules(model: onnx.ModelProto) -> Iterator[Finding]:
    """What is no plain graph for any release."""
    domains = sorted({entry.domain for entry in model.opset_import} - {""})
    if domains:
        yield Finding("file", f"operator sets {domains}", "only ONNX's default operator set")
    if len(model.functions):
        yield Finding("file", f"{len(model.functions)} functions", "inline them")
    if len(model.graph.sparse_initializer):
        yield Finding("file", "sparse constants", "store them densely")


def external_tensors(model: onnx.ModelProto, folder: Path) -> Iterator[Finding]:
    """Constants beside the graph: their files lie in its folder, and are long enough."""
    seen: set[str] = set()
    for tensor in model.graph.initializer:
        if not uses_external_data(tensor):
            continue
        info = ExternalDataInfo(tensor)
        path = folder / info.location
        end = (info.offset or 0) + (info.length or 0)
        if info.location in seen:
            continue
        if Path(info.location).is_absolute() or ".." in Path(info.location).parts:
            found = f"constants outside its folder ({info.location})"
        elif not path.is_file():
            found = f"no {info.location} beside it"
        elif path.stat().st_size < end:
            found = f"{info.location} has {path.stat().st_size} bytes, {end} are read"
        else:
            continue
        seen.add(info.location)
        yield Finding("file", found, "copy the graph together with its data, whole")
