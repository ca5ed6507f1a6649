"""What is known about the integers that describe shapes.

A batch of unknown size turns ``x.reshape(B, 4, 8)`` into Shape, Gather, Unsqueeze and Concat
nodes, although all but one of the numbers are fixed. This module follows such integers through
the graph: each element is a number, the symbol of a dynamic dimension, or unknown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from t2s_engines.graphs.graph import Graph, ValueType

__all__ = ["ShapeValue", "shape_values"]

Element = int | str | None
_LIMIT = 64
"""Longest integer vector followed; shapes have a handful of elements."""


@dataclass(frozen=True)
class ShapeValue:
    """A small integer (or truth) tensor of rank 0 or 1.

    Attributes:
        elements: numbers, symbols of dimensions (always positive), or None where unknown.
        scalar: whether the tensor has rank 0.
    """

    elements: tuple[Element, ...]
    scalar: bool = False

    @property
    def known(self) -> tuple[int, ...] | None:
        """The numbers, if there is nothing else."""
        numbers = tuple(e for e in self.elements if isinstance(e, int))
        return numbers if len(numbers) == len(self.elements) else None

    @property
    def symbolic(self) -> bool:
        """Whether every element is at least known by its symbol."""
        return None not in self.elements


_Rule = Callable[
    [onnx.NodeProto, list[ShapeValue | None], Mapping[str, ValueType]], "ShapeValue | None"
]


def shape_values(graph: Graph, types: Mapping[str, ValueType]) -> dict[str, ShapeValue]:
    """Follow shape integers through ``graph`` in topological order.

    Args:
        graph: the graph to read.
        types: its value types, from ``graph.types()``.

    Returns:
        What is known of each small integer tensor, by value name.
    """
    values: dict[str, ShapeValue] = {}
    for name, array in graph.constants.items():
        if (
            array.dtype in (np.int64, np.int32, np.bool_)
            and array.ndim <= 1
            and array.size <= _LIMIT
        ):
            values[name] = ShapeValue(tuple(int(v) for v in array.reshape(-1)), array.ndim == 0)
    for node in graph.nodes:
        rule = _RULES.get(node.op_type)
        if rule is None or len(node.output) != 1:
            continue
        result = rule(node, [values.get(name) for name in node.input], types)
        if result is not None and len(result.elements) <= _LIMIT:
            values[node.output[0]] = result
    return values


def _attributes(node: onnx.NodeProto) -> dict[str, object]:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def _shape(
    node: onnx.NodeProto, _: list[ShapeValue | None], types: Mapping[str, ValueType]
) -> ShapeValue | None:
    source = types.get(node.input[0])
    if source is None or source.shape is None:
        return None
    attributes = _attributes(node)
    start, end = attributes.get("start"), attributes.get("end")
    first = start if isinstance(start, int) else None
    last = end if isinstance(end, int) else None
    return ShapeValue(source.shape[first:last])


def _gather(
    node: onnx.NodeProto, inputs: list[ShapeValue | None], _: Mapping[str, ValueType]
) -> ShapeValue | None:
    data, indices = inputs[0], inputs[1]
    if data is None or data.scalar or indices is None or indices.known is None:
        return None
    return ShapeValue(tuple(data.elements[i] for i in indices.known), indices.scalar)


def _slice(
    node: onnx.NodeProto, inputs: list[ShapeValue | None], _: Mapping[str, ValueType]
) -> ShapeValue | None:
    data = inputs[0]
    bounds = [value.known if value is not None else None for value in inputs[1:]]
    if data is None or data.scalar or any(bound is None or len(bound) != 1 for bound in bounds):
        return None
    numbers = [bound[0] for bound in bounds if bound is not None]
    step = numbers[3] if len(numbers) > 3 else 1
    return ShapeValue(data.elements[numbers[0] : numbers[1] : step]) if step > 0 else None


def _concat(
    node: onnx.NodeProto, inputs: list[ShapeValue | None], types: Mapping[str, ValueType]
) -> ShapeValue | None:
    elements: list[Element] = []
    for name, value in zip(node.input, inputs, strict=True):
        if value is not None:
            elements.extend(value.elements)
            continue
        source = types.get(name)
        shape = source.shape if source is not None else None
        if source is None or shape is None or len(shape) != 1 or not isinstance(shape[0], int):
            return None
        if source.elem_type not in (onnx.TensorProto.INT64, onnx.TensorProto.INT32):
            return None
        elements.extend([None] * shape[0])
    return ShapeValue(tuple(elements))


def _unsqueeze(
    node: onnx.NodeProto, inputs: list[ShapeValue | None], _: Mapping[str, ValueType]
) -> ShapeValue | None:
    data = inputs[0]
    return ShapeValue(data.elements) if data is not None and data.scalar else None


def _squeeze(
    node: onnx.NodeProto, inputs: list[ShapeValue | None], _: Mapping[str, ValueType]
) -> ShapeValue | None:
    data = inputs[0]
    if data is None or data.scalar or len(data.elements) != 1:
        return None
    return ShapeValue(data.elements, scalar=True)


def _reshape(
    node: onnx.NodeProto, inputs: list[ShapeValue | None], _: Mapping[str, ValueType]
) -> ShapeValue | None:
    data, target = inputs
    one_axis = target is not None and not target.scalar and len(target.elements) == 1
    return ShapeValue(data.elements) if data is not None and one_axis else None


def _cast(
    node: onnx.NodeProto, inputs: list[ShapeValue | None], _: Mapping[str, ValueType]
) -> ShapeValue | None:
    target = _attributes(node)["to"]
    return inputs[0] if target in (onnx.TensorProto.INT64, onnx.TensorProto.INT32) else None


def _constant_of_shape(
    node: onnx.NodeProto, inputs: list[ShapeValue | None], _: Mapping[str, ValueType]
) -> ShapeValue | None:
    length = inputs[0].known if inputs[0] is not None else None
    fill = node.attribute[0].t if node.attribute else None
    if length is None or len(length) != 1 or length[0] > _LIMIT or fill is None:
        return None
    if fill.data_type != onnx.TensorProto.INT64:
        return None
    return ShapeValue((int(onnx.numpy_helper.to_array(fill).reshape(-1)[0]),) * length[0])


def _elementwise(operation: Callable[[Element, Element], Element]) -> _Rule:
    def rule(
        node: onnx.NodeProto, inputs: list[ShapeValue | None], _: Mapping[str, ValueType]
    ) -> ShapeValue | None:
        left, right = inputs
        if left is None or right is None:
            return None
        length = max(len(left.elements), len(right.elements))
        pair = [v.elements * length if len(v.elements) == 1 else v.elements for v in (left, right)]
        combined = tuple(operation(a, b) for a, b in zip(*pair, strict=True))
        return ShapeValue(combined, left.scalar and right.scalar)

    return rule


def _number(operation: Callable[[int, int], int], neutral: int, commutes: bool = False) -> _Rule:
    """Arithmetic on numbers; a symbol survives only the neutral element."""

    def apply(left: Element, right: Element) -> Element:
        if isinstance(left, int) and isinstance(right, int):
            return operation(left, right)
        if right == neutral:
            return left
        return right if commutes and left == neutral else None

    return _elementwise(apply)


def _equal(left: Element, right: Element) -> Element:
    if isinstance(left, int) and isinstance(right, int):
        return int(left == right)
    symbols = [e for e in (left, right) if isinstance(e, str)]
    numbers = [e for e in (left, right) if isinstance(e, int)]
    # a dimension is never negative, so a symbol never equals -1
    return 0 if symbols and numbers and numbers[0] < 0 else None


def _where(
    node: onnx.NodeProto, inputs: list[ShapeValue | None], _: Mapping[str, ValueType]
) -> ShapeValue | None:
    condition, yes, no = inputs
    if condition is None or yes is None or no is None:
        return None
    length = max(len(v.elements) for v in (condition, yes, no))
    parts = [
        v.elements * length if len(v.elements) == 1 else v.elements for v in (condition, yes, no)
    ]
    chosen = tuple(None if c is None else (a if c else b) for c, a, b in zip(*parts, strict=True))
    return ShapeValue(chosen, condition.scalar and yes.scalar and no.scalar)


def _truncated_quotient(left: int, right: int) -> int:
    return math.trunc(left / right) if right else 0


_RULES: Mapping[str, _Rule] = {
    "Shape": _shape,
    "Gather": _gather,
    "Slice": _slice,
    "Concat": _concat,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Reshape": _reshape,
    "Cast": _cast,
    "ConstantOfShape": _constant_of_shape,
    "Add": _number(lambda a, b: a + b, 0, commutes=True),
    "Sub": _number(lambda a, b: a - b, 0),
    "Mul": _number(lambda a, b: a * b, 1, commutes=True),
    "Div": _number(_truncated_quotient, 1),
    "Equal": _elementwise(_equal),
    "Where": _where,
}
