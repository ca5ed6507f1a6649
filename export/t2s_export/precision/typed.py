"""From a float32 graph to a typed float16 one: every value has one explicit type.

Strong typing (TensorRT 10 and 11, ONNX Runtime on CUDA) takes types from the file and nothing
else, so a Cast stands wherever float16 and float32 meet, and only there: one for each value, put
where its first reader needs it. Operators that only move values take the type of their
surroundings, float32 where it comes from an island and goes to one, else float16. The borders
stay what the contracts say.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from onnx import helper

from t2s_engines.graphs.graph import Array, Graph
from t2s_export.errors import ExportError
from t2s_export.precision.view import KEEPERS, GraphView

__all__ = ["typed_float16", "typing_problems"]

FLOAT, HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16

_OWN_TYPE: Mapping[str, frozenset[int]] = {"Resize": frozenset({1, 2})}
"""Inputs whose type is not tied to the others': region and scales of Resize stay float32."""
_ANY_TYPE = frozenset({"Shape", "Size", "Cast"})
"""Operators that read a value in whatever type it has."""


def typed_float16(graph: Graph, islands: Mapping[str, str]) -> Graph:
    """Make every float32 tensor float16, but for islands and the graph's borders.

    Args:
        graph: a clean float32 graph as ``export_graph`` gives it; not changed.
        islands: names of the nodes that compute in float32 (values are reasons, not used here).

    Returns:
        A graph of the same opset, inputs and outputs.

    Raises:
        ExportError: an island names no node, a constant overflows float16 outside islands, or
            the graph holds float16 already (run this before ``store_float16``).
    """
    missing = sorted(islands.keys() - {node.name for node in graph.nodes})
    if missing:
        raise ExportError(f"expected islands to be nodes of the graph, found {missing[:4]}")
    if any(value.dtype == np.float16 for value in graph.constants.values()):
        raise ExportError(
            "expected a graph whose constants are float32, found float16; make it typed before "
            "its constants are stored as float16"
        )
    typed = _Typing(graph, islands).result()
    problems = list(typing_problems(typed))
    if problems:
        raise ExportError(
            f"expected one float type for each node, found {'; '.join(problems[:4])}; this is a "
            "fault of the exporter"
        )
    return typed


def typing_problems(graph: Graph) -> Iterator[str]:
    """Yield one sentence for each node whose float inputs differ in type, as inference sees it."""
    types = graph.types()
    for node in graph.nodes:
        own = _OWN_TYPE.get(node.op_type, frozenset())
        kinds = {
            types[name].elem_type
            for index, name in enumerate(node.input)
            if name in types and index not in own and types[name].elem_type in (FLOAT, HALF)
        }
        if len(kinds) > 1:
            yield f"{node.op_type} in {node.name!r} reads float16 and float32"


class _Typing:
    """One conversion: first the type of every node, then nodes and Casts in order."""

    def __init__(self, graph: Graph, islands: Mapping[str, str]) -> None:
        self.graph, self.islands = graph, islands
        self.view = GraphView(graph)
        self.kinds: dict[str, int] = {
            name: FLOAT for name in graph.inputs if self.view.is_float(name)
        }
        self.wanted = self._wanted()
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Array] = {}
        self.converted: dict[tuple[str, int], str] = {}

    def _wanted(self) -> dict[str, set[int]]:
        """By value, the types in which its readers compute, seen through those that move it."""
        wanted: dict[str, set[int]] = defaultdict(set)
        for name in self.graph.outputs:
            wanted[name].add(FLOAT)
        for node in reversed(self.graph.nodes):
            if node.op_type in _ANY_TYPE:
                continue
            if node.op_type in KEEPERS:
                kinds = {kind for name in node.output for kind in wanted[name]}
            else:
                kinds = {FLOAT if node.name in self.islands else HALF}
            for name in self.view.float_inputs(node):
                wanted[name] |= kinds
        return wanted

    def _kind(self, node: onnx.NodeProto) -> int:
        """The type in which a node takes and gives floats."""
        if node.name in self.islands:
            return FLOAT
        if node.op_type == "Cast":
            return FLOAT if FLOAT in self.wanted[node.output[0]] else HALF
        if node.op_type not in KEEPERS:
            return FLOAT if node.op_type == "ConstantOfShape" else HALF
        wanted = {kind for name in node.output for kind in self.wanted[name]}
        computed = self.view.computed_inputs(node)
        made = {self.kinds[name] for name in computed} if computed else {FLOAT}
        return FLOAT if FLOAT in wanted and FLOAT in made else HALF

    def result(self) -> Graph:
        """Put the typed graph together."""
        for source in self.graph.nodes:
            node = onnx.NodeProto()
            node.CopyFrom(source)
            if any(map(self.view.is_float, (*source.input, *source.output))):
                self._convert(node, source)
            else:
                for name in source.input:
                    self._keep(name)
            self.nodes.append(node)
            for name in source.output:
                if name in self.graph.outputs and self.kinds.get(name) == HALF:
                    self._cast(f"{name}/float16", name, f"{name}/Cast", FLOAT)
        for name in self.graph.outputs:
            self._keep(name)
        return Graph(
            self.nodes,
            self.constants,
            dict(self.graph.inputs),
            dict(self.graph.outputs),
            self.graph.opset,
        )

    def _convert(self, node: onnx.NodeProto, source: onnx.NodeProto) -> None:
        """Give one node's inputs and outputs their type."""
        kind = self._kind(source)
        own = _OWN_TYPE.get(source.op_type, frozenset())
        for index, name in enumerate(source.input):
            if not self.view.is_float(name):
                self._keep(name)
            elif source.op_type in _ANY_TYPE:
                node.input[index] = self._as_made(name)
            else:
                node.input[index] = self._read(name, FLOAT if index in own else kind)
        for index, name in enumerate(source.output):
            if self.view.is_float(name):
                self.kinds[name] = kind
                if kind == HALF and name in self.graph.outputs:
                    node.output[index] = f"{name}/float16"
        if source.op_type == "Cast" and self.view.is_float(source.output[0]):
            node.attribute[0].i = kind

    def _keep(self, name: str) -> None:
        """Carry a constant over that is no float."""
        if name in self.graph.constants and name not in self.constants:
            value = self.graph.constants[name]
            self.constants[name] = value

    def _as_made(self, name: str) -> str:
        """A float value in the type it has."""
        if name in self.graph.constants:
            return self._read(name, FLOAT)
        return f"{name}/float16" if self._is_half_output(name) else name

    def _is_half_output(self, name: str) -> bool:
        return name in self.graph.outputs and self.kinds[name] == HALF

    def _read(self, name: str, kind: int) -> str:
        """The name of a float value in the type that a reader needs, made if it is not there."""
        if name in self.graph.constants:
            return self._constant(name, kind)
        if self.kinds[name] == kind:
            return self._as_made(name)
        if self._is_half_output(name):
            return name  # the output itself is its float32 form
        key = (name, kind)
        if key not in self.converted:
            target = f"{name}/{'float16' if kind == HALF else 'float32'}"
            maker = self.view.producers.get(name)
            # bool and integer values are cast to both types side by side
            again = maker is not None and maker.op_type == "Cast"
            origin = maker.input[0] if again and maker is not None else name
            self._cast(origin, target, f"{name}/Cast", kind)
            self.converted[key] = target
        return self.converted[key]

    def _cast(self, source: str, target: str, name: str, kind: int) -> None:
        self.nodes.append(helper.make_node("Cast", [source], [target], name=name, to=kind))

    def _constant(self, name: str, kind: int) -> str:
        """A float constant in one type; in both, the float32 copy has a name of its own."""
        value = self.graph.constants[name]
        if kind == FLOAT:
            both = HALF in self.wanted[name]
            target = f"{name}/float32" if both else name
            self.constants.setdefault(target, value)
            return target
        with np.errstate(over="ignore"):
            rounded = value.astype(np.float16)
        if not np.array_equal(np.isfinite(rounded), np.isfinite(value)):
            raise ExportError(
                f"expected constants within float16's 65504 outside islands, found "
                f"{np.abs(value).max():.4g} in {name}; make the nodes that read it islands"
            )
        self.constants.setdefault(name, rounded)
        return name
