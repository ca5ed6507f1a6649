"""An exported graph as a file on ONNX Runtime; for the detector also with its selection given.

Neighbouring proposals of a detector score alike to the last digit of a float, so rounding swaps
rows and, at the end of the TopK, exchanges some. With the original's own selection fed in, every
other number can be compared row by row. The graph that is compared differs from the one in the
bundle by its TopK alone, and what that ranks comes out to be compared as well.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from t2s_engines.graphs.graph import Graph, ValueType
from t2s_rt.errors import InternalError

__all__ = ["SCORES", "SELECTED", "run_graph", "with_selection"]

SELECTED, SCORES = "selected", "scores"
_INT64, _FLOAT = 7, 1  # numbers of the element types in ONNX


def with_selection(graph: Graph) -> Graph:
    """A detector graph whose TopK is replaced by the input ``selected`` ``[B, Q]`` int64.

    What the TopK would rank becomes the output ``scores`` ``[B, S]``. Constants are shared.

    Raises:
        InternalError: the graph has not exactly one TopK, or its values are used.
    """
    found = [node for node in graph.nodes if node.op_type == "TopK"]
    used = {name for node in graph.nodes for name in node.input}
    if len(found) != 1 or found[0].output[0] in used:
        raise InternalError(
            f"expected one TopK of whose outputs the indices alone are used, found {len(found)}; "
            "the selection of this detector cannot be fed in"
        )
    topk = found[0]
    edited = Graph(
        [copy.deepcopy(node) for node in graph.nodes if node is not topk],
        graph.constants,
        {**graph.inputs, SELECTED: ValueType(_INT64, ("B", None))},
        {**graph.outputs, SCORES: ValueType(_FLOAT, ("B", None))},
        graph.opset,
    )
    edited.replace_uses({topk.output[1]: SELECTED})
    producer = edited.producers()[topk.input[0]]
    producer.output[list(producer.output).index(topk.input[0])] = SCORES
    edited.replace_uses({topk.input[0]: SCORES})
    return edited


def open_graph(path: Path, threads: int) -> Any:
    """A session on the CPU that leaves the cores alone between its runs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run_graph(
    path: Path, feeds: Mapping[str, NDArray[Any]], threads: int
) -> dict[str, NDArray[Any]]:
    """Outputs of a graph file by name."""
    session = open_graph(path, threads)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))
