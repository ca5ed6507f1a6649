"""The preflight itself: all rules on all nodes, for each release."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.external_data_helper import load_external_data_for_tensor, uses_external_data

from t2s_engines.errors import GraphError, PreflightError
from t2s_engines.graphs.graph import Array, Graph
from t2s_engines.preflight.borders import external_tensors, file_rules, graph_rules, model_rules
from t2s_engines.preflight.context import Context, Finding, computed_values
from t2s_engines.preflight.forms import form_rules, unchecked_note
from t2s_engines.preflight.operators import known_faults, operator_rule, shape_rule, type_rules
from t2s_engines.preflight.releases import RELEASES, Release, find_release
from t2s_engines.preflight.report import PreflightReport, Problem, by_problem

__all__ = ["check", "preflight"]

_SHOWN = 8
_READ_BYTES = 2**20
"""External constants up to this size are read: only small ones decide what an operator means."""


def preflight(graph: Graph | Path, releases: Sequence[str] = RELEASES) -> PreflightReport:
    """Compare a graph with what releases of TensorRT import.

    Args:
        graph: a graph, or the path of an ``.onnx`` file; a file's format version and the data
            beside it are checked too, and its large constants are not read.
        releases: out of ``RELEASES``.

    Returns:
        Problems and warnings of every release asked for.

    Raises:
        GraphError: the file cannot be read as ONNX.
        UsageError: a release whose operators are not known.
    """
    wanted = [find_release(name) for name in releases]
    if isinstance(graph, Graph):
        return _graph_report(graph, wanted, lambda release: ())
    model = _read(graph)
    broken = [*model_rules(model), *external_tensors(model, graph.parent)]
    if broken:
        found = tuple(Problem("", "", *finding) for finding in broken)
        return PreflightReport(dict.fromkeys(releases, found), dict.fromkeys(releases, ()))
    placeholders = _take_external(model, graph.parent)
    editable = Graph.from_model(model)
    editable.constants |= placeholders
    editable.inputs = {k: v for k, v in editable.inputs.items() if k not in placeholders}
    return _graph_report(editable, wanted, lambda release: file_rules(model, release))


def check(graph: Graph | Path, releases: Sequence[str] = RELEASES) -> None:
    """Raise unless every release can import the graph; warnings pass.

    Raises:
        PreflightError: names up to eight faults and what should be there instead.
        GraphError: the file cannot be read as ONNX.
        UsageError: a release whose operators are not known.
    """
    report = preflight(graph, releases)
    if report.ok:
        return
    faults = by_problem(report.problems)
    shown = [
        f"{problem} [{', '.join(where)}]" if len(where) < len(releases) else str(problem)
        for problem, where in list(faults.items())[:_SHOWN]
    ]
    more = f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
    raise PreflightError(
        f"expected a graph that TensorRT {', '.join(releases)} imports; found "
        + "; ".join(shown)
        + more
    )


def _graph_report(
    graph: Graph, releases: Sequence[Release], extra: Callable[[Release], Iterable[Finding]]
) -> PreflightReport:
    types = graph.types()
    computed = computed_values(graph)
    problems, warnings = {}, {}
    for release in releases:
        context = Context(graph, types, release, computed)
        whole = [Problem("", "", *finding) for finding in (*extra(release), *graph_rules(context))]
        problems[release.name] = (*whole, *_node_problems(context))
        warnings[release.name] = tuple(_node_warnings(context))
    return PreflightReport(problems, warnings)


def _node_problems(context: Context) -> Iterator[Problem]:
    for node in context.graph.nodes:
        findings = list(operator_rule(node, context))
        if not findings:
            rules = (shape_rule, type_rules, form_rules)
            findings = [finding for rule in rules for finding in rule(node, context)]
        yield from (_place(node, finding) for finding in findings)


def _node_warnings(context: Context) -> Iterator[Problem]:
    for node in context.graph.nodes:
        if any(operator_rule(node, context)):
            continue
        for rule in (known_faults, unchecked_note):
            yield from (_place(node, finding) for finding in rule(node, context))


def _place(node: onnx.NodeProto, finding: Finding) -> Problem:
    return Problem(node.name or node.output[0], node.op_type, *finding)


def _read(path: Path) -> onnx.ModelProto:
    try:
        return onnx.load(path, load_external_data=False)
    except Exception as cause:  # protobuf's errors share no base with OSError below it
        raise GraphError(
            f"expected {path} to be an ONNX file, it cannot be read: {cause}; export it again"
        ) from cause


def _take_external(model: onnx.ModelProto, folder: Path) -> dict[str, Array]:
    """Move constants out of the message that lie beside it: small ones read, large ones as zeros.

    The zeros take no memory, whatever their shape.
    """
    found: dict[str, Array] = {}
    inside = []
    for tensor in model.graph.initializer:
        if not uses_external_data(tensor):
            inside.append(tensor)
            continue
        dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
        if int(np.prod(tensor.dims)) * dtype.itemsize > _READ_BYTES:
            found[tensor.name] = np.broadcast_to(np.zeros((), dtype), tuple(tensor.dims))
        else:
            try:
                load_external_data_for_tensor(tensor, str(folder))
            except (OSError, ValueError, onnx.checker.ValidationError) as cause:
                raise GraphError(
                    f"expected the constant {tensor.name!r} beside the graph in {folder}, it "
                    f"cannot be read: {cause}; copy the graph together with its data, as files"
                ) from cause
            found[tensor.name] = numpy_helper.to_array(tensor)
    kept = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in inside]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return found
