"""Make an exported graph small, regular and the same every time.

The TorchScript exporter leaves shape arithmetic, copies of constants, Identity nodes and names
that count from wherever it happened to be. Each pass here removes one kind and says whether it
changed anything; ``clean`` repeats them until none does. No pass changes a number.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np
import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator

from t2s_engines.graphs.graph import Array, Graph
from t2s_export.errors import ExportError
from t2s_export.graphs.shape_passes import cast_pixels_first, fold_shapes, remove_expands

__all__ = [
    "clean",
    "fold_constants",
    "merge_duplicates",
    "merge_slices",
    "remove_identities",
    "rename",
]

_ROUNDS = 20
_FOLD_FREE = 65_536
"""Elements that a folded result may have whatever it is made from. Above that it may not be
larger than its parts: every runtime folds it when it loads the graph, the file stays small."""
_RANDOM = frozenset({"Bernoulli", "Multinomial", "RandomNormalLike", "RandomUniformLike"})


def clean(graph: Graph, keep_names: Mapping[str, str] | None = None) -> None:
    """Run every pass until the graph stops changing, then give everything its final name.

    Args:
        graph: edited in place.
        keep_names: names of parameters and buffers as the exporter writes them, and how they
            should read in the file; other constants are named after their first use.

    Raises:
        ExportError: the passes keep undoing each other (a fault of ours).
    """
    passes: tuple[Callable[[Graph], bool], ...] = (
        remove_identities,
        merge_slices,
        cast_pixels_first,
        fold_constants,
        fold_shapes,
        remove_expands,
        merge_duplicates,
        Graph.remove_dead,
    )
    for _ in range(_ROUNDS):
        changes = [change(graph) for change in passes]  # every pass, every round
        if not any(changes):
            rename(graph, keep_names or {})
            return
    raise ExportError(
        f"expected the clean-up to settle within {_ROUNDS} rounds, and it did not; "
        "please report the module that was exported"
    )


def remove_identities(graph: Graph) -> bool:
    """Take out Identity, Dropout and casts to the type that a value already has."""
    types = graph.types()
    producers = graph.producers()
    gone: list[onnx.NodeProto] = []
    replacements: dict[str, str] = {}
    for node in graph.nodes:
        source, target = node.input[0] if node.input else "", node.output[0]
        same = node.op_type in ("Identity", "Dropout") or (
            node.op_type == "Cast"
            and source in types
            and types[source].elem_type == helper.get_attribute_value(node.attribute[0])
        )
        if not same:
            continue
        if target not in graph.outputs:
            replacements[target] = source
            gone.append(node)
        elif source in producers and source not in graph.outputs and source not in replacements:
            # the output's name is fixed by the contract, so its producer takes it over
            maker = producers[source]
            maker.output[list(maker.output).index(source)] = target
            replacements[source] = target
            gone.append(node)
    graph.remove(gone)
    graph.replace_uses(replacements)
    return bool(gone)


def merge_slices(graph: Graph) -> bool:
    """Make one Slice of two that follow each other on different axes, all numbers constant."""
    readers = Counter(name for node in graph.nodes for name in node.input)
    producers = graph.producers()
    gone = []
    for node in graph.nodes:
        first = producers.get(node.input[0]) if node.op_type == "Slice" else None
        if first is None or first.op_type != "Slice" or first.output[0] in graph.outputs:
            continue
        if readers[first.output[0]] != 1 or len(first.input) != len(node.input):
            continue
        pairs = list(zip(first.input[1:], node.input[1:], strict=True))
        if len(pairs) < 3 or any(name not in graph.constants for pair in pairs for name in pair):
            continue
        axes = [set(graph.constants[name].tolist()) for name in pairs[2]]
        # an axis counted from the end might be the same as one counted from the start
        if axes[0] & axes[1] or min(axes[0] | axes[1]) < 0:
            continue
        for index, (one, other) in enumerate(pairs, 1):
            name = f"{node.output[0]}/{index}"
            graph.constants[name] = np.concatenate([graph.constants[one], graph.constants[other]])
            node.input[index] = name
        node.input[0] = first.input[0]
        producers.pop(first.output[0])
        gone.append(first)
    graph.remove(gone)
    return bool(gone)


def fold_constants(graph: Graph) -> bool:
    """Compute every node whose inputs are all constant, unless the result would be much larger."""
    types = graph.types()
    gone = []
    for node in graph.nodes:
        names = [name for name in node.input if name]
        constant = bool(names) and all(name in graph.constants for name in names)
        if not constant or node.op_type in _RANDOM or graph.outputs.keys() & set(node.output):
            continue
        if any(a.type == onnx.AttributeProto.GRAPH for a in node.attribute):
            continue
        feeds = {name: graph.constants[name] for name in names}
        arrays = _evaluate(node, feeds, graph.opset)
        budget = max(_FOLD_FREE, sum(value.size for value in feeds.values()))
        if sum(array.size for array in arrays) > budget:
            continue
        for name, array in zip(node.output, arrays, strict=True):
            if name in types:
                dtype = helper.tensor_dtype_to_np_dtype(types[name].elem_type)
                array = array.astype(dtype, copy=False)
            graph.constants[name] = array
        gone.append(node)
    graph.remove(gone)
    return bool(gone)


def _evaluate(node: onnx.NodeProto, feeds: Mapping[str, Array], opset: int) -> list[Array]:
    """Run one node on constants with the reference implementation of ONNX."""
    inputs = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
        )
        for name, value in feeds.items()
    ]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output]
    body = helper.make_graph([node], "fold", inputs, outputs)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", opset)])
    results = ReferenceEvaluator(model).run(None, dict(feeds))
    return [np.asarray(result) for result in results]


def merge_duplicates(graph: Graph) -> bool:
    """Keep one of equal constants and one of equal nodes with equal inputs."""
    replacements: dict[str, str] = {}
    seen_constants: dict[tuple[object, ...], str] = {}
    # parameters first, and by name: the exporter's own order is not the same every time
    for name in sorted(graph.constants, key=lambda name: ("/" in name or "::" in name, name)):
        value = graph.constants[name]
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).digest()
        key = (value.dtype.str, value.shape, digest)
        if key in seen_constants and name not in graph.outputs:
            replacements[name] = seen_constants[key]
        seen_constants.setdefault(key, name)
    for name in replacements:
        del graph.constants[name]
    graph.replace_uses(replacements)
    gone = []
    seen_nodes: dict[bytes, onnx.NodeProto] = {}
    merged: dict[str, str] = {}
    for node in graph.nodes:
        for index, name in enumerate(node.input):
            node.input[index] = merged.get(name, name)
        key_bytes = _node_key(node)
        twin = seen_nodes.setdefault(key_bytes, node)
        if twin is node or any(name in graph.outputs for name in node.output):
            continue
        merged.update(zip(node.output, twin.output, strict=True))
        gone.append(node)
    graph.remove(gone)
    return bool(replacements or gone)


def _node_key(node: onnx.NodeProto) -> bytes:
    """What a node computes, apart from the names of its results."""
    copy = onnx.NodeProto(op_type=node.op_type, domain=node.domain, input=list(node.input))
    copy.attribute.extend(sorted(node.attribute, key=lambda a: a.name))
    content: bytes = copy.SerializeToString(deterministic=True)
    return bytes([len(node.output)]) + content


def rename(graph: Graph, keep_names: Mapping[str, str]) -> None:
    """Name nodes after their module and number, values after their node, constants after use.

    Also drops doc strings and metadata of nodes, which hold paths of the exporting machine, and
    orders attributes and constants.
    """
    fixed = set(graph.inputs) | set(graph.outputs)
    names: dict[str, str] = {}
    counts: dict[str, int] = {}
    constants: dict[str, Array] = {}
    for node in graph.nodes:
        scope = node.name.rpartition("/")[0].strip("/")
        stem = f"{scope}/{node.op_type}" if scope else node.op_type
        number = counts[stem] = counts.get(stem, -1) + 1
        node.name = f"{stem}_{number}" if number else stem
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
        attributes = sorted(node.attribute, key=lambda a: a.name)
        node.ClearField("attribute")
        for attribute in attributes:
            attribute.ClearField("doc_string")
        node.attribute.extend(attributes)
        for index, name in enumerate(node.input):
            if name in graph.constants and name not in names:
                names[name] = keep_names.get(name, f"{node.name}.{index}")
                constants[names[name]] = graph.constants[name]
            node.input[index] = names.get(name, name)
        for index, name in enumerate(node.output):
            if name and name not in fixed:
                names[name] = f"{node.name}:{index}"
                node.output[index] = names[name]
    for name in graph.outputs:
        if name in graph.constants:
            constants[name] = graph.constants[name]
    graph.constants = constants
    graph.shapes.clear()
