"""An exported graph as a file on ONNX Runtime; for the detector also with its selection given.

Neighbouring proposals of a detector score alike to the last digit of a float, so rounding swaps
rows and, at the end of the TopK, exchanges some. With the original's own selection fed in, every
other number can be compared row by row. The graph that is compared differs from the one in the
bundle by its TopK alone, and what that ranks comes out to be compared as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from t2s_engines.graphs.graph import Graph
from t2s_engines.graphs.ranking import given_ranking
from t2s_rt.errors import InternalError

__all__ = ["open_graph", "run_graph", "with_selection"]


def with_selection(graph: Graph) -> tuple[Graph, str, str]:
    """A detector graph whose selection is given instead of ranked.

    Args:
        graph: not changed; constants are shared.

    Returns:
        The graph, the name of its new input int64 ``[B, Q]``, the selection, and of its new
        output float32 ``[B, S]``, what it would have ranked.

    Raises:
        InternalError: the graph has not exactly one TopK.
    """
    ranked = [node.input[0] for node in graph.nodes if node.op_type == "TopK"]
    if len(ranked) != 1:
        raise InternalError(
            f"expected one TopK, found {len(ranked)}; the selection of this detector cannot be "
            "fed in"
        )
    given, (selected,) = given_ranking(graph)
    given.outputs = {**given.outputs, ranked[0]: graph.types()[ranked[0]]}
    return given, selected, ranked[0]


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
