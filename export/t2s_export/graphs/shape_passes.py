"""Clean-up passes on shape arithmetic, led by what ``shape_values`` knows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper

from t2s_engines.graphs.graph import Graph, ValueType
from t2s_export.graphs.shape_values import ShapeValue, shape_values

__all__ = ["cast_pixels_first", "fold_shapes", "remove_expands"]

_SHAPE_PARTS = frozenset({"Cast", "Concat", "Gather", "Shape", "Slice", "Squeeze", "Unsqueeze"})
_BROADCASTING = frozenset({"Add", "Sub", "Mul", "Div", "Min", "Max", "Where", "Equal", "Pow"})


def fold_shapes(graph: Graph) -> bool:
    """Replace shape arithmetic whose result is known; keep at most one copy of the rest.

    A Reshape target with one unknown number becomes a constant with -1 there, and one that
    copies a dimension of its input a constant with 0 there, so that the Shape, Gather and
    Concat nodes behind it die. Comparisons that resolve a -1 given to ``expand`` become one
    Concat.
    """
    types = graph.types()
    values = shape_values(graph, types)
    changed = False
    available: dict[tuple[object, ...], str] = {}
    replacements: dict[str, str] = {}
    gone = []
    for node in graph.nodes:
        changed |= _fix_reshape(graph, node, values, types)
        name = node.output[0]
        value = values.get(name)
        if value is None or name in graph.outputs or name not in types:
            continue
        kind = types[name].elem_type
        if value.known is not None:
            shape = () if value.scalar else (len(value.known),)
            dtype = helper.tensor_dtype_to_np_dtype(kind)
            graph.constants[name] = np.array(value.known, dtype=dtype).reshape(shape)
            gone.append(node)
        elif value.symbolic:
            key = (value.elements, value.scalar, kind)
            if key in available:
                replacements[name] = available[key]
                gone.append(node)
            elif node.op_type not in _SHAPE_PARTS:
                changed |= _as_concat(graph, node, value, kind, available)
            available.setdefault(key, name)
    graph.remove(gone)
    graph.replace_uses(replacements)
    return changed or bool(gone)


def _as_concat(
    graph: Graph,
    node: onnx.NodeProto,
    value: ShapeValue,
    kind: int,
    available: Mapping[tuple[object, ...], str],
) -> bool:
    """Make one node a Concat of dimensions that are at hand and of numbers."""
    symbols = [element for element in value.elements if isinstance(element, str)]
    parts = {symbol: available.get(((symbol,), False, kind)) for symbol in symbols}
    if value.scalar or None in parts.values():
        return False
    name = node.output[0]
    inputs = []
    for index, element in enumerate(value.elements):
        part = parts[element] if isinstance(element, str) else f"{name}/{index}"
        if isinstance(element, int):
            dtype = helper.tensor_dtype_to_np_dtype(kind)
            graph.constants[f"{name}/{index}"] = np.array([element], dtype=dtype)
        inputs.append(part or "")
    node.CopyFrom(helper.make_node("Concat", inputs, [name], name=node.name, axis=0))
    return True


def _fix_reshape(
    graph: Graph,
    node: onnx.NodeProto,
    values: Mapping[str, ShapeValue],
    types: Mapping[str, ValueType],
) -> bool:
    """Make one Reshape's target a constant where at most one number of it is unknown."""
    if node.op_type != "Reshape" or node.input[1] in graph.constants:
        return False
    target = values.get(node.input[1])
    source = types.get(node.input[0])
    if target is None or source is None or 0 in target.elements:
        return False
    shape = source.shape or ()
    numbers = []
    for index, element in enumerate(target.elements):
        copied = isinstance(element, str) and index < len(shape) and shape[index] == element
        numbers.append(element if isinstance(element, int) else 0 if copied else -1)
    if numbers.count(-1) > 1:
        return False
    if target.symbolic and -1 not in target.elements:
        graph.shapes[node.output[0]] = ValueType(source.elem_type, target.elements)
    name = f"{node.output[0]}/target"
    graph.constants[name] = np.array(numbers, dtype=np.int64)
    node.input[1] = name
    return True


def remove_expands(graph: Graph) -> bool:
    """Take out every Expand that broadcasting makes needless.

    That is one to the shape that its input already has, and one to the shape of the value with
    which its result is then combined: ``x / expand(norm, shape(x))``.
    """
    types = graph.types()
    values = shape_values(graph, types)
    producers = graph.producers()

    def goes_to(expand: onnx.NodeProto, name: str) -> bool:
        shape_node = producers.get(expand.input[1])
        measures = shape_node is not None and shape_node.op_type == "Shape"
        if shape_node is not None and measures and shape_node.input[0] == name:
            return True
        target, other = values.get(expand.input[1]), types.get(name)
        return (
            target is not None
            and target.symbolic
            and other is not None
            and other.shape == target.elements
        )

    changed = False
    for node in graph.nodes:
        for index, name in enumerate(node.input):
            expand = producers.get(name)
            if expand is None or expand.op_type != "Expand":
                continue
            combined = node.op_type in _BROADCASTING and len(node.input) == 2
            partners = [expand.input[0], *([node.input[1 - index]] if combined else [])]
            if any(goes_to(expand, partner) for partner in partners):
                node.input[index] = expand.input[0]
                changed = True
    return changed


def cast_pixels_first(graph: Graph) -> bool:
    """Let nothing but Cast read uint8 pixels, as TensorRT demands.

    ``image.shape[0]`` puts a Shape there and ``image.permute(...).float()`` a Transpose: the one
    reads the cast image instead, the other changes places with its Cast.
    """
    types = graph.types()
    casts = {node.input[0]: node for node in reversed(graph.nodes) if node.op_type == "Cast"}
    readers = Counter(name for node in graph.nodes for name in node.input)
    changed = False
    for node in list(graph.nodes):
        source = node.input[0] if node.op_type in ("Shape", "Transpose") else ""
        if source not in types or types[source].elem_type != onnx.TensorProto.UINT8:
            continue
        after = casts.get(node.output[0])
        if node.op_type == "Shape" and source in casts:
            cast = casts[source]
            graph.remove([cast])
            _insert_before(graph, node, cast)
            node.input[0] = cast.output[0]
            changed = True
        elif after is not None and readers[node.output[0]] == 1:
            between, last = node.output[0], after.output[0]
            after.input[0], after.output[0] = source, between
            node.input[0], node.output[0] = between, last
            graph.remove([after])
            _insert_before(graph, node, after)
            changed = True
    return changed


def _insert_before(graph: Graph, place: onnx.NodeProto, node: onnx.NodeProto) -> None:
    index = next(i for i, other in enumerate(graph.nodes) if other is place)
    graph.nodes.insert(index, node)
