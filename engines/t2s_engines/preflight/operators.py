"""Rules for every node: is the operator there, do its element types fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from onnx import TensorProto

from t2s_engines.preflight.context import Context, Finding
from t2s_engines.preflight.releases import operators, type_name

__all__ = ["known_faults", "operator_rule", "shape_rule", "type_rules"]

_CONTROL_FLOW = frozenset({"If", "Loop", "Scan"})
_DATA_DEPENDENT = frozenset({"Compress", "NonMaxSuppression", "NonZero", "Unique"})
_RANDOM = frozenset(
    {
        *("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike"),
        *("RandomUniform", "RandomUniformLike"),
    }
)
_SHAPE_OPERANDS: Mapping[str, tuple[int, ...]] = {
    "ConstantOfShape": (0,),
    "Expand": (1,),
    "Pad": (1,),
    "Range": (0, 1, 2),
    "Reshape": (1,),
    "Resize": (2, 3),
    "Slice": (1, 2),
    "Split": (1,),
    "Tile": (1,),
    "Upsample": (1,),
}
"""Inputs that decide the shape of what the operator makes."""
_TYPED_INPUT: Mapping[str, int] = {"OneHot": 2, "Where": 1}
"""Which input the table's types are about, where it is not the first."""
_TYPED_OUTPUT = frozenset({"ConstantOfShape", "EyeLike"})
"""Operators whose table speaks of their output."""
_FLOATS = frozenset(
    {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}
)
_FIXED_FLOATS: Mapping[str, frozenset[int]] = {
    "Dropout": frozenset({1}),
    "Resize": frozenset({1, 2}),
    "Upsample": frozenset({1}),
}
"""Inputs that are parameters: their float type is not the data's."""
_INT32 = np.iinfo(np.int32)

_GRID_SAMPLE = Finding(
    "known fault",
    "imported, and reported to give wrong values in deformable decoders without any message "
    "(TensorRT#4813: 10.14 and 11.1; lightly-train#917: 10.13)",
    "export deformable attention in its gather form",
)
_KNOWN_FAULTS: Mapping[tuple[str, str], Finding] = {
    ("GridSample", "10.16"): _GRID_SAMPLE,
    ("GridSample", "11.1"): _GRID_SAMPLE,
}


def operator_rule(node: onnx.NodeProto, context: Context) -> Iterator[Finding]:
    """The operator itself; where it fails, no other rule needs to speak."""
    graphs = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
    release = context.release.name
    if node.op_type in _CONTROL_FLOW or any(a.type in graphs for a in node.attribute):
        yield Finding("control flow", "a branch or loop", "unroll it in the module")
    elif node.op_type in _DATA_DEPENDENT:
        yield Finding(
            "data-dependent shape",
            "its output shape depends on data",
            "use masks, or TopK of fixed size",
        )
    elif node.op_type in _RANDOM:
        yield Finding("operator", "its seed is ignored", "draw random numbers outside the graph")
    elif node.domain or node.op_type not in operators(release):
        yield Finding("operator", "the release lacks it", "write it with simpler operators")
    elif _schema(node, context) is None:
        yield Finding(
            "operator",
            f"opset {context.graph.opset} has no such operator",
            "export it at the opset that the graph names",
        )


def shape_rule(node: onnx.NodeProto, context: Context) -> Iterator[Finding]:
    """Shapes follow from constants and from the shapes of the graph's inputs."""
    for index in _SHAPE_OPERANDS.get(node.op_type, ()):
        name = context.operand(node, index)
        if name in context.computed:
            yield Finding(
                "data-dependent shape",
                f"a size from data ({name!r})",
                "take sizes from constants or from Shape",
            )


def known_faults(node: onnx.NodeProto, context: Context) -> Iterator[Finding]:
    """What imports, and was reported to compute wrongly."""
    finding = _KNOWN_FAULTS.get((node.op_type, context.release.name))
    if finding is not None:
        yield finding


def type_rules(node: onnx.NodeProto, context: Context) -> Iterator[Finding]:
    """Element types against the table, against ONNX and against each other."""
    yield from _table_types(node, context)
    yield from _onnx_types(node, context)
    yield from _strong_typing(node, context)
    yield from _pixels(node, context)
    yield from _narrowing(node, context)
    known = all(context.elem_type(name) for name in node.input if name)
    for name in node.output:
        if name and known and not context.elem_type(name):
            yield Finding(
                "types",
                f"{name!r} has no known tensor type",
                "use plain tensors, simpler operators",
            )


def _table_types(node: onnx.NodeProto, context: Context) -> Iterator[Finding]:
    names = []
    if node.op_type in _TYPED_OUTPUT or node.op_type in ("Cast", "CastLike"):
        names.append(node.output[0])
    if node.op_type not in _TYPED_OUTPUT:
        names.append(context.operand(node, _TYPED_INPUT.get(node.op_type, 0)))
    allowed = operators(context.release.name)[node.op_type].types
    for name in names:
        kind = context.elem_type(name)
        if kind and kind in context.release.elem_types() and kind not in allowed:
            expected = ", ".join(sorted(type_name(t) for t in allowed))
            yield Finding("types", f"on {type_name(kind)}", f"expected {expected}: cast first")


def _onnx_types(node: onnx.NodeProto, context: Context) -> Iterator[Finding]:
    """Types that ONNX itself allows, e.g. bool as the condition of Where."""
    for index, name in enumerate(node.input):
        formal = _formal(node, index, context)
        kind = context.elem_type(name)
        if formal is None or not kind:
            continue
        if f"tensor({TensorProto.DataType.Name(kind).lower()})" not in formal.types:
            yield Finding(
                "types",
                f"input {formal.name} is {type_name(kind)}",
                f"ONNX takes none there in opset {context.graph.opset}: cast first",
            )


def _strong_typing(node: onnx.NodeProto, context: Context) -> Iterator[Finding]:
    """A strongly typed network never casts by itself: the parts of an operator share a type."""
    groups: dict[str, dict[int, str]] = {}
    fixed = _FIXED_FLOATS.get(node.op_type, frozenset())
    for index, name in enumerate(node.input):
        kind = context.elem_type(name)
        formal = _formal(node, index, context)
        if not kind or formal is None:
            continue
        if not formal.type_str.startswith("tensor("):
            groups.setdefault(formal.type_str, {}).setdefault(kind, name)
        if kind in _FLOATS and index not in fixed:
            groups.setdefault("floats", {}).setdefault(kind, name)
    for kinds in groups.values():
        if len(kinds) > 1:
            found = " and ".join(f"{type_name(k)} ({n!r})" for k, n in kinds.items())
            yield Finding("strong typing", f"mixes {found}", "cast to one type first")
            return


def _pixels(node: onnx.NodeProto, context: Context) -> Iterator[Finding]:
    """An engine takes uint8 in and gives it out, and computes nothing in it."""
    if node.op_type not in ("Cast", "CastLike"):
        return
    source, target = node.input[0], node.output[0]
    graph = context.graph
    if context.elem_type(source) == TensorProto.UINT8 and source not in graph.inputs:
        yield Finding("types", f"uint8 inside the graph ({source!r})", "cast the input at once")
    if context.elem_type(target) == TensorProto.UINT8 and target not in graph.outputs:
        yield Finding("types", f"uint8 inside the graph ({target!r})", "cast to uint8 last of all")


def _narrowing(node: onnx.NodeProto, context: Context) -> Iterator[Finding]:
    """Where int64 becomes int32, its constants must fit; the bounds of Slice saturate."""
    if not context.release.narrows_int64 or node.op_type == "Slice":
        return
    for index, name in enumerate(node.input):
        value = context.constant(node, index)
        if value is None or value.dtype != np.int64 or not value.size:
            continue
        low, high = int(np.min(value)), int(np.max(value))
        if low < _INT32.min or high > _INT32.max:
            yield Finding("types", f"int64 beyond int32 in {name!r}", "keep it within 32 bits")


def _schema(node: onnx.NodeProto, context: Context) -> onnx.defs.OpSchema | None:
    """The operator's definition in the graph's opset."""
    try:
        return onnx.defs.get_schema(node.op_type, context.graph.opset, "")
    except onnx.defs.SchemaError:
        return None


def _formal(
    node: onnx.NodeProto, index: int, context: Context
) -> onnx.defs.OpSchema.FormalParameter | None:
    """The definition of one input; the last one of an operator may stand for many."""
    schema = _schema(node, context)
    if schema is None or not schema.inputs:
        return None
    formal = schema.inputs[min(index, len(schema.inputs) - 1)]
    return formal
