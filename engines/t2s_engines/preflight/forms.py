"""Rules on form: operators that a release imports in some of their forms only.

Each rule stands for a condition of the table or for a fault that users met; where a condition
holds for some releases only, so does the rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnx

from t2s_engines.preflight.context import Context, Finding, Rule, attributes
from t2s_engines.preflight.releases import operators, type_name

__all__ = ["FORMS", "UNCHECKED", "constant_operands", "form_rules", "unchecked_note"]

_TOPK_LIMIT = 3840
"""TensorRT's limit on K, exclusive."""
_REDUCTIONS = (
    *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean"),
    *("ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare"),
)
_CONSTANT: Mapping[str, tuple[int, str]] = {
    **dict.fromkeys(_REDUCTIONS, (1, "axes")),
    "CumSum": (1, "axis"),
    "DequantizeLinear": (1, "scale"),
    "OneHot": (1, "depth"),
    "QuantizeLinear": (1, "scale"),
    "Squeeze": (1, "axes"),
    "TopK": (1, "K"),
    "Unsqueeze": (1, "axes"),
}
"""Inputs that must be constants, by operator."""
_CONSTANT_ONCE: Mapping[tuple[str, str], tuple[int, str]] = {
    ("Slice", "8.6"): (3, "axes"),
    ("Slice", "10.1"): (3, "axes"),
    ("Pad", "10.1"): (3, "axes"),
}
"""Likewise, but in some releases only."""
UNCHECKED = frozenset(
    {
        *("Constant", "DeformConv", "GRU", "Hardmax", "LSTM", "LpPool", "RNN"),
        *("RotaryEmbedding", "STFT", "TensorScatter"),
    }
)
"""Operators with a condition in the table for which there is no rule: none of our graphs has
them, and whoever uses one is told the condition."""


def form_rules(node: onnx.NodeProto, context: Context) -> Iterator[Finding]:
    """The rules of this operator."""
    yield from constant_operands(node, context)
    if node.op_type in FORMS:
        yield from FORMS[node.op_type](node, context)


def constant_operands(node: onnx.NodeProto, context: Context) -> Iterator[Finding]:
    """Inputs that decide how an engine is built, and so must be known before it runs."""
    wanted = [
        _CONSTANT.get(node.op_type),
        _CONSTANT_ONCE.get((node.op_type, context.release.name)),
    ]
    for index, name in filter(None, wanted):
        used = context.operand(node, index)
        if used and context.constant(node, index) is None:
            yield Finding("form", f"{name} is computed", f"{name} must be a constant")


def unchecked_note(node: onnx.NodeProto, context: Context) -> Iterator[Finding]:
    """A condition of the table that no rule checks."""
    note = operators(context.release.name)[node.op_type].note
    if note and node.op_type in UNCHECKED:
        yield Finding("form", f"TensorRT's condition is not checked: {note}", "check it by hand")


def _topk(node: onnx.NodeProto, context: Context) -> Iterator[Finding]:
    k = context.constant(node, 1)
    if k is not None and int(k.reshape(-1)[0]) >= _TOPK_LIMIT:
        yield Finding("form", f"K is {int(k.reshape(-1)[0])}", f"K must be below {_TOPK_LIMIT}")
    if attributes(node).get("sorted", 1) != 1:
        yield Finding("form", "sorted is 0", "must sort")


def _scatter(node: onnx.NodeProto, context: Context) -> Iterator[Finding]:
    reduction = attributes(node).get("reduction", "none")
    if reduction != "none":
        yield Finding("form", f"reduction {reduction!r}", "only without reduction")
    # the form of opset 18 is read rightly from TensorRT 10.9 on
    if node.op_type == "ScatterND" and context.graph.opset > 17 and context.release.name == "10.1":
        yield Finding("form", f"opset {context.graph.opset}", "export it at opset 17 or lower")


def _first_output(node: onnx.NodeProto, context: Context) -> Iterator[Finding]:
    if len([name for name in node.output if name]) > 1:
        yield Finding("form", "more than one output is used", "only its first output")


def _einsum(node: onnx.NodeProto, context: Context) -> Iterator[Finding]:
    if context.release.name != "8.6":
        return
    equation = str(attributes(node)["equation"]).replace(" ", "")
    if "..." in equation:
        yield Finding("form", f"an ellipsis in {equation!r}", "no ellipsis: use MatMul")
        return
    terms = equation.partition("->")[0].split(",")
    if any(len(set(term)) < len(term) for term in terms):
        yield Finding("form", f"a diagonal in {equation!r}", "multiply with a mask, then sum")
    sizes: dict[str, set[int | str | None]] = {}
    for term, name in zip(terms, node.input, strict=False):
        for letter, size in zip(term, context.shape(name) or (), strict=False):
            sizes.setdefault(letter, set()).add(size)
    if any(1 in found and len(found) > 1 for found in sizes.values()):
        yield Finding("form", f"broadcasting in {equation!r}", "expand the operand, or use MatMul")


def _grid_sample(node: onnx.NodeProto, context: Context) -> Iterator[Finding]:
    shape = context.shape(node.input[0])
    if context.graph.opset >= 20:
        yield Finding(
            "form",
            "its form of opset 20, which is silently read as nearest (TensorRT#4646)",
            "export it at opset 16 to 19",
        )
    if shape is not None and len(shape) != 4:
        yield Finding("form", f"{len(shape)} dimensions", "only four dimensions")


def _resize(node: onnx.NodeProto, context: Context) -> Iterator[Finding]:
    found = attributes(node)
    nearest = found.get("nearest_mode", "round_prefer_floor")
    transformation = found.get("coordinate_transformation_mode", "half_pixel")
    allowed = {
        "mode": ("nearest", "linear"),
        "coordinate_transformation_mode": (
            *("half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn", "asymmetric"),
            "align_corners",
        ),
        "nearest_mode": ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil"),
        "keep_aspect_ratio_policy": ("stretch",),
    }
    for name, values in allowed.items():
        if found.get(name, values[0]) not in values:
            remedy = f"{name} one of {', '.join(values)}; fold what is constant at export"
            yield Finding("form", f"{name} {found[name]!r}", remedy)
    if found.get("antialias", 0):
        yield Finding("form", "antialias", "no antialiasing")
    if transformation == "tf_half_pixel_for_nn" and nearest != "round_prefer_floor":
        yield Finding("form", f"{transformation} with {nearest}", "only with round_prefer_floor")
    axes = list(found.get("axes", ()))
    if axes and axes != list(range(len(context.shape(node.input[0]) or axes))):
        yield Finding("form", f"axes {axes}", "sizes or scales for all axes, in order")


def _quantised(node: onnx.NodeProto, context: Context) -> Iterator[Finding]:
    """Symmetric, and nothing but what DequantizeLinear reads."""
    quantises = node.op_type == "QuantizeLinear"
    name = node.output[0] if quantises else node.input[0]
    kind = context.elem_type(name)
    if quantises and kind and kind not in operators(context.release.name)["DequantizeLinear"].types:
        # without a zero point ONNX means uint8
        yield Finding("form", f"quantises to {type_name(kind)}", "an int8 zero point of 0")
    zero = context.constant(node, 2)
    if context.operand(node, 2) and (zero is None or np.any(zero != np.zeros((), zero.dtype))):
        yield Finding("form", "a zero point that is not a constant 0", "quantise symmetrically")


def _pool(node: onnx.NodeProto, context: Context) -> Iterator[Finding]:
    shape = context.shape(node.input[0])
    if shape is not None and len(shape) not in (4, 5):
        yield Finding("form", f"{len(shape) - 2} spatial dimensions", "two or three")
    if set(attributes(node).get("dilations", ())) - {1} and context.release.name != "8.6":
        yield Finding("form", "dilations", "no dilations")
    yield from _first_output(node, context)


def _training(node: onnx.NodeProto, context: Context) -> Iterator[Finding]:
    mode = context.constant(node, 2) if node.op_type == "Dropout" else None
    computed = node.op_type == "Dropout" and context.operand(node, 2) and mode is None
    if attributes(node).get("training_mode", 0) or computed or (mode is not None and np.any(mode)):
        yield Finding("form", "training mode", "export in evaluation mode")


def _attention(node: onnx.NodeProto, context: Context) -> Iterator[Finding]:
    if any(node.input[4:]) or any(node.output[1:]):
        yield Finding("form", "a key-value cache or a second output", "only Q, K, V and a mask")
    for name in node.input[:4]:
        shape = context.shape(name)
        if shape is not None and len(shape) != 4:
            yield Finding("form", f"{name!r} has {len(shape)} dimensions", "four dimensions")
    if attributes(node).get("softcap", 0.0):
        yield Finding("form", "softcap", "no softcap: use MatMul and Softmax")


def _eye_like(node: onnx.NodeProto, context: Context) -> Iterator[Finding]:
    shape = context.shape(node.input[0])
    if shape is None or not all(isinstance(size, int) for size in shape):
        yield Finding("form", "a shape that is not fixed", "make the matrix a constant")


FORMS: Mapping[str, Rule] = {
    "Attention": _attention,
    "AveragePool": _pool,
    "BatchNormalization": _training,
    "DequantizeLinear": _quantised,
    "Dropout": _training,
    "Einsum": _einsum,
    "EyeLike": _eye_like,
    "GridSample": _grid_sample,
    "LayerNormalization": _first_output,
    "MaxPool": _pool,
    "QuantizeLinear": _quantised,
    "Resize": _resize,
    "ScatterElements": _scatter,
    "ScatterND": _scatter,
    "TopK": _topk,
}
