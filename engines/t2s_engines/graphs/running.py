"""Graphs that run: one ONNX Runtime session on the CPU, opened from a file.

From a file and not from bytes, because protobuf ends at 2 GiB and the largest encoder does not.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from t2s_engines.errors import GraphError
from t2s_engines.graphs import files
from t2s_engines.graphs.graph import Array, Graph
from t2s_rt.errors import MissingExtraError

__all__ = ["Run", "running"]

Run = Callable[[Mapping[str, Array]], dict[str, Array]]
"""Named arrays in, named arrays out."""


@contextmanager
def running(graph: Graph, *, optimise: bool = True) -> Iterator[Run]:
    """Open a session of ``graph`` on the CPU for the length of a ``with`` block.

    Args:
        graph: what to run; its file lives in a temporary folder until the block ends.
        optimise: let ONNX Runtime fuse operators; False runs each node as it stands.

    Yields:
        A function of named inputs that returns all outputs by name.

    Raises:
        GraphError: the ONNX checker or ONNX Runtime refuses the graph.
        MissingExtraError: onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as cause:
        raise MissingExtraError("running a graph", "onnxruntime", "cpu") from cause
    options = onnxruntime.SessionOptions()
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimise else levels.ORT_DISABLE_ALL
    # nodes run in the order of the file: the default order leaves side results to the end, and with
    # them every value that they read
    options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
    # plans of memory come on top of the arena: a detector at full size in a batch of two takes
    # 3.5 GiB without them and 6.2 with them, in the same time
    options.enable_mem_pattern = False
    options.log_severity_level = 4  # fatal only: an error is raised as well
    # other libraries' threads need the cores that idle threads would burn
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    with tempfile.TemporaryDirectory(prefix="t2s-graph-") as folder:
        path = Path(folder) / "graph.onnx"
        files.save_model(graph.to_model("graph"), path)
        try:
            session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as cause:  # the library's classes share no base below Exception
            raise GraphError(
                f"expected a graph that ONNX Runtime {onnxruntime.__version__} loads, "
                f"it refuses this one: {cause}"
            ) from cause
        names = list(graph.outputs)

        def run(feeds: Mapping[str, Array]) -> dict[str, Array]:
            return dict(zip(names, session.run(names, dict(feeds)), strict=True))

        yield run
