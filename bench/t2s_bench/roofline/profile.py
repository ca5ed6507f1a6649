"""One graph under ONNX Runtime's profiler: every node with its time and shapes."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from t2s_rt.errors import BackendError

__all__ = ["NodeRun", "Tensor", "profile_graph"]

_END = "_kernel_time"


@dataclass(frozen=True)
class Tensor:
    """Type and shape of what enters or leaves a node."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class NodeRun:
    """A node of the graph that ran.

    Attributes:
        name: of the node.
        op: its operator.
        seconds: median over the runs.
        inputs: types and shapes; of an optimised graph without the weights that were packed.
        outputs: likewise.
    """

    name: str
    op: str
    seconds: float
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def profile_graph(
    path: Path,
    feeds: Mapping[str, NDArray[Any]],
    *,
    optimised: bool = True,
    threads: int = 1,
    repeat: int = 5,
) -> list[NodeRun]:
    """Run a graph and tell every node's time.

    Args:
        path: the ONNX file.
        feeds: its inputs.
        optimised: whether ONNX Runtime may rewrite the graph first, as it does for ``infer``;
            without it the nodes are those of the file.
        threads: within an operator.
        repeat: runs after one that warms up.

    Raises:
        BackendError: ONNX Runtime refuses the graph or the feeds.
    """
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        settings.enable_profiling = True
        settings.profile_file_prefix = str(Path(folder) / "profile")
        if not optimised:
            settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            # packed weights vanish from the inputs that the profile tells
            settings.add_session_config_entry("session.disable_prepacking", "1")
        try:
            session = onnxruntime.InferenceSession(
                str(path), settings, providers=["CPUExecutionProvider"]
            )
            for _ in range(1 + repeat):
                session.run(None, dict(feeds))
            log = Path(session.end_profiling())
        except Exception as error:  # onnxruntime raises classes of its own, without a common base
            raise BackendError(f"{path}: ONNX Runtime cannot profile it ({error})") from error
        events = json.loads(log.read_text(encoding="utf-8"))
    return _nodes(events)


def _nodes(events: list[dict[str, Any]]) -> list[NodeRun]:
    """One entry for each node; the first run of each, which warms up, is left out."""
    runs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for event in events:
        name = str(event.get("name", ""))
        if event.get("cat") == "Node" and name.endswith(_END):
            key = (str(event["args"]["node_index"]), name[: -len(_END)])
            runs.setdefault(key, []).append(event)
    found = []
    for (_, name), entries in runs.items():
        # a node whose value never changes may run only once
        timed = entries[1:] or entries
        args = entries[0]["args"]
        found.append(
            NodeRun(
                name,
                str(args["op_name"]),
                float(np.median([entry["dur"] for entry in timed])) / 1e6,
                _tensors(args["input_type_shape"]),
                _tensors(args["output_type_shape"]),
            )
        )
    return found


def _tensors(entries: list[dict[str, list[int]]]) -> tuple[Tensor, ...]:
    return tuple(Tensor(dtype, tuple(shape)) for entry in entries for dtype, shape in entry.items())
