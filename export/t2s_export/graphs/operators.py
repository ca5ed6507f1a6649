"""Refuse graphs that some TensorRT release from 8.6 to 11 could not import, or would misread.

``tensorrt_operators.json`` lists the operators and element types that all of them take. On top
of it stand rules on form, each for a fault that users met: a TopK larger than the engine's
limit, uint8 anywhere but at the border, float64 anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files

import onnx
from onnx import helper

from t2s_engines.graphs.graph import Graph, ValueType
from t2s_export.errors import OperatorError

__all__ = ["check_operators", "operator_problems"]

_CONTROL_FLOW = frozenset({"If", "Loop", "Scan"})
_DATA_DEPENDENT = frozenset({"Compress", "NonMaxSuppression", "NonZero", "Unique"})
_TOPK_LIMIT = 3840
"""TensorRT's limit on K, exclusive."""
_TYPED_INPUT: Mapping[str, int] = {"Where": 1}
"""Which input carries the data, where it is not the first."""
_SHOWN = 8
_NEVER_INSIDE: Mapping[int, str] = {
    onnx.TensorProto.DOUBLE: "float64",
    onnx.TensorProto.STRING: "string",
    onnx.TensorProto.COMPLEX64: "complex64",
    onnx.TensorProto.UNDEFINED: "a sequence, optional or other non-tensor",
}


@cache
def _table() -> Mapping[str, frozenset[str]]:
    text = files("t2s_export.graphs").joinpath("tensorrt_operators.json").read_text("utf-8")
    return {name: frozenset(types) for name, types in json.loads(text)["operators"].items()}


def check_operators(graph: Graph) -> None:
    """Raise unless every node is importable by TensorRT 8.6 to 11.

    Raises:
        OperatorError: names up to eight offending nodes and what each should be instead.
    """
    problems = list(operator_problems(graph))
    if problems:
        rest = len(problems) - _SHOWN
        more = f"; and {rest} more" if rest > 0 else ""
        raise OperatorError(
            "expected only operators that TensorRT 8.6 to 11 imports; found "
            + "; ".join(problems[:_SHOWN])
            + more
        )


def operator_problems(graph: Graph) -> Iterator[str]:
    """Yield one sentence for each fault of each node."""
    types = graph.types()
    for name, value in {**graph.inputs, **graph.outputs}.items():
        if value.elem_type == onnx.TensorProto.INT64:
            yield f"int64 at the border in {name!r} (use int32)"
    for node in graph.nodes:
        where = f"{node.op_type} in {node.name!r}"
        problem = _operator_problem(node)
        if problem:
            yield f"{where} ({problem})"
            continue
        yield from (f"{where} ({text})" for text in _type_problems(node, types))
        yield from (f"{where} ({text})" for text in _form_problems(node, graph, types))


def _operator_problem(node: onnx.NodeProto) -> str | None:
    if node.op_type in _CONTROL_FLOW or any(
        a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for a in node.attribute
    ):
        return "control flow: unroll it in the module"
    if node.op_type in _DATA_DEPENDENT:
        return "its output shape depends on data: use masks or TopK of fixed size"
    if node.domain or node.op_type not in _table():
        return "some release lacks it: write it with simpler operators"
    return None


def _type_problems(node: onnx.NodeProto, types: Mapping[str, ValueType]) -> Iterator[str]:
    for name in node.output:
        kind = types[name].elem_type if name in types else -1
        if kind in _NEVER_INSIDE:
            yield f"makes {_NEVER_INSIDE[kind]}, which no engine holds"
    index = _TYPED_INPUT.get(node.op_type, 0)
    source = types.get(node.input[index]) if len(node.input) > index else None
    if source is None or source.elem_type in _NEVER_INSIDE:
        return
    dtype = str(helper.tensor_dtype_to_np_dtype(source.elem_type))
    if node.op_type != "ConstantOfShape" and dtype not in _table()[node.op_type]:
        allowed = ", ".join(sorted(_table()[node.op_type]))
        yield f"on {dtype}, expected one of {allowed}: cast first"


def _form_problems(
    node: onnx.NodeProto, graph: Graph, types: Mapping[str, ValueType]
) -> Iterator[str]:
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if node.op_type == "TopK":
        k = graph.constants.get(node.input[1])
        if k is None or int(k.reshape(-1)[0]) >= _TOPK_LIMIT:
            yield f"K must be a constant below {_TOPK_LIMIT}"
        if attributes.get("sorted", 1) != 1:
            yield "must sort"
    elif node.op_type == "CumSum" and node.input[1] not in graph.constants:
        yield "its axis must be a constant"
    elif node.op_type == "ScatterND" and attributes.get("reduction", b"none") != b"none":
        yield "only without reduction"
    elif node.op_type == "LayerNormalization" and len([o for o in node.output if o]) > 1:
        yield "only its first output"
    elif node.op_type == "Einsum" and b"..." in attributes["equation"]:
        yield "no ellipsis: use MatMul"
    elif node.op_type == "GridSample":
        source = types.get(node.input[0])
        if graph.opset >= 20 or (source and source.shape and len(source.shape) != 4):
            yield "only four dimensions, and in its form before opset 20"
    elif node.op_type == "Resize" and attributes.get("antialias", 0):
        yield "no antialiasing"
