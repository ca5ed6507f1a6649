"""The rounding graph: what a typed fp16 graph computes, provable on a CPU.

ONNX Runtime's CPU provider computes fp16 graphs in float32 and casts at the ends, so an overflow
that a GPU would turn into infinity never shows there. The rounding graph is derived from the
typed graph by rule: every float16 tensor becomes a float32 tensor followed by
``Cast(float16) -> Cast(float32)``. ONNX Runtime keeps explicit pairs at every optimisation level.

It models fp16 *storage* with float32 *arithmetic*: each operator reads fp16 values, computes and
accumulates in float32, and writes fp16, denormals included. It does not model

* fp16 accumulation (a matrix product that sums in half precision loses more),
* fused kernels, which skip roundings between their operators (they lose less, and may hide an
  overflow that the rounding graph shows),
* the order in which tensor cores add, nor a flush of denormals to zero.

Only a run on the device itself proves those.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx
from onnx import helper, numpy_helper

from t2s_engines.errors import GraphError
from t2s_engines.graphs.graph import Array, Graph, ValueType

__all__ = ["EXACT", "RoundedGraph", "round_graph", "rounding_graph"]

HALF = onnx.TensorProto.FLOAT16
SINGLE = onnx.TensorProto.FLOAT

EXACT = frozenset(
    {
        *("Abs", "Ceil", "Clip", "Concat", "ConstantOfShape", "DepthToSpace", "Expand", "EyeLike"),
        *("Flatten", "Floor", "Gather", "GatherElements", "GatherND", "Identity", "Max", "Min"),
        *("Neg", "Pad", "ReduceMax", "ReduceMin", "Relu", "Reshape", "Round", "ScatterElements"),
        *("ScatterND", "Sign", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "TopK"),
        *("Transpose", "Trilu", "Unsqueeze", "Where"),
    }
)
"""Operators whose results are fp16 values when their inputs are: no second rounding is needed.

Scatter operators only without a reduction; all in their forms of opset 13 and later, which take
bounds and fill values as inputs."""

_EXACT_OPSET = 13

_RANDOM = frozenset(
    {
        *("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike"),
        *("RandomUniform", "RandomUniformLike"),
    }
)
_TYPE_ATTRIBUTES = frozenset({"dtype", "output_dtype", "to"})
"""Attributes that name an element type of an output; float16 there becomes float32."""
_PRECISION_ATTRIBUTES = frozenset({"softmax_precision", "stash_type"})
"""Attributes that name the type an operator computes in."""


@dataclass(frozen=True)
class RoundedGraph:
    """A rounding graph, and where the values of the typed graph are to be found in it.

    Attributes:
        graph: the rounding graph.
        unrounded: for each float16 value that a node of the typed graph makes, the name of the
            float32 value before its rounding; of the value itself where none is needed.
    """

    graph: Graph
    unrounded: Mapping[str, str]


def rounding_graph(graph: Graph) -> Graph:
    """The graph that rounds to float16 wherever ``graph`` holds float16, computing in float32.

    Args:
        graph: the typed graph; it is left as it is, and its arrays are shared, not copied.

    Returns:
        A graph with the same inputs and outputs. Inside it a value that was float16 has its old
        name and type float32; float16 inputs and outputs keep their type.

    Raises:
        GraphError: a value without a known type, control flow, a random operator, or an operator
            that is told to compute in float16.
    """
    return round_graph(graph).graph


def round_graph(graph: Graph) -> RoundedGraph:
    """As ``rounding_graph``, and say where each value was before its rounding.

    Raises:
        GraphError: as ``rounding_graph``.
    """
    types = graph.types()
    halves = {name for name, value in types.items() if value.elem_type == HALF}
    border = graph.inputs.keys() | graph.outputs.keys()
    work = _Rounding(graph.opset, halves, border, set(types))
    for name in graph.inputs:
        if name in halves:
            work.widen(name)
    for name, value in graph.constants.items():
        if name in halves:
            work.constants[work.half(name)] = value
            work.widen(name)
        else:
            work.constants[name] = value
    for node in graph.nodes:
        _check(node, types)
        work.add(node, types)
    shapes = {
        name: ValueType(SINGLE, value.shape) if name in halves else value
        for name, value in graph.shapes.items()
    }
    rounded = Graph(
        work.nodes, work.constants, dict(graph.inputs), dict(graph.outputs), graph.opset, shapes
    )
    return RoundedGraph(rounded, work.unrounded)


@dataclass
class _Rounding:
    """The graph under construction.

    Attributes:
        opset: version of the operator set.
        halves: values that are float16 in the typed graph.
        border: inputs and outputs, whose names and types are a contract.
        taken: every name in use.
        nodes: operators so far.
        constants: arrays so far.
        unrounded: see ``RoundedGraph``.
    """

    opset: int
    halves: set[str]
    border: set[str]
    taken: set[str]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    unrounded: dict[str, str] = field(default_factory=dict)

    def half(self, name: str) -> str:
        """The float16 form of a value; at the border that is the value itself."""
        return name if name in self.border else self._derived(name, "half")

    def wide(self, name: str) -> str:
        """The float32 form of a value, already rounded; inside the graph it keeps the name."""
        return self._derived(name, "wide") if name in self.border else name

    def _derived(self, name: str, suffix: str) -> str:
        derived = f"{name}/{suffix}"
        while derived in self.taken:
            derived += "_"
        return derived

    def cast(self, source: str, target: str, to: int) -> None:
        """Add one Cast."""
        self.nodes.append(helper.make_node("Cast", [source], [target], f"{target}/cast", to=to))

    def widen(self, name: str) -> None:
        """Make the float32 form from the float16 form."""
        self.cast(self.half(name), self.wide(name), SINGLE)

    def add(self, source: onnx.NodeProto, types: Mapping[str, ValueType]) -> None:
        """Add a node of the typed graph, computing in float32, and round what it makes."""
        made = [name for name in source.output if name in self.halves]
        if not made and not self.halves.intersection(source.input):
            self.nodes.append(source)
            return
        node = onnx.NodeProto()
        node.CopyFrom(source)
        node.input[:] = [self.wide(n) if n in self.halves else n for n in source.input]
        if source.op_type in ("Cast", "CastLike"):
            self._add_cast(node, types[source.input[0]].elem_type, types[node.output[0]].elem_type)
            return
        _widen_attributes(node)
        exact = self.opset >= _EXACT_OPSET and _is_exact(source)
        after: list[tuple[str, str]] = []
        for index, name in enumerate(source.output):
            if name not in self.halves:
                continue
            raw = self.wide(name) if exact else self._derived(name, "raw")
            node.output[index] = self.unrounded[name] = raw
            if not exact or name in self.border:
                after.append((raw, name))
        self.nodes.append(node)
        for raw, name in after:
            self.cast(raw, self.half(name), HALF)
            if raw != self.wide(name):
                self.widen(name)

    def _add_cast(self, node: onnx.NodeProto, origin: int, to: int) -> None:
        """Casts to float16 round; casts from float16 read a value that is float32 already."""
        (target,) = node.output
        source = node.input[0]
        if to == HALF:
            self.unrounded[target] = source if origin in (HALF, SINGLE) else self.wide(target)
            self.cast(source, self.half(target), HALF)
            self.widen(target)
        elif to == SINGLE:
            self.nodes.append(helper.make_node("Identity", [source], [target], node.name))
        else:
            self.cast(source, target, to)


def _is_exact(node: onnx.NodeProto) -> bool:
    """Whether results need no rounding of their own, the inputs being fp16 values."""
    reduces = any(a.name == "reduction" and a.s != b"none" for a in node.attribute)
    return node.op_type in EXACT and not reduces


def _check(node: onnx.NodeProto, types: Mapping[str, ValueType]) -> None:
    """Refuse what cannot be derived by rule."""
    where = f"{node.op_type} {node.name!r}"
    for name in node.output:
        if name and (name not in types or types[name].elem_type == onnx.TensorProto.UNDEFINED):
            raise GraphError(
                f"expected every value to be a tensor of known type, {name!r} of {where} is not; "
                "the rounding graph needs types everywhere: simplify the node that makes it"
            )
    if any(
        a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for a in node.attribute
    ):
        raise GraphError(f"expected no control flow, found {where}; unroll it in the module")
    used = [types[name].elem_type for name in (*node.input, *node.output) if name in types]
    if HALF not in used:
        return
    if node.op_type in _RANDOM:
        raise GraphError(
            f"expected results that repeat, found {where} on float16; draw random numbers outside"
        )
    for attribute in node.attribute:
        if attribute.name in _PRECISION_ATTRIBUTES and attribute.i == HALF:
            raise GraphError(
                f"expected operators that compute in float32, found {where} with "
                f"{attribute.name} float16; the rounding graph models float16 storage only"
            )


def _widen_attributes(node: onnx.NodeProto) -> None:
    """Make every attribute that is bound to float16 name or hold float32."""
    for attribute in node.attribute:
        if attribute.name in _TYPE_ATTRIBUTES and attribute.i == HALF:
            attribute.i = SINGLE
        elif attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == HALF:
            value = numpy_helper.to_array(attribute.t).astype("float32")
            attribute.t.CopyFrom(numpy_helper.from_array(value))
