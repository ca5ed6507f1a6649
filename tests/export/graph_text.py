"""Small graphs from ONNX text, and what they compute."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx
import onnxruntime
from numpy.typing import NDArray

from t2s_engines.graphs.graph import Graph

Arrays = dict[str, NDArray[Any]]


def parse(text: str) -> Graph:
    """A graph from ONNX's own text form, opset 17."""
    return Graph.from_model(
        onnx.parser.parse_model('<ir_version: 8, opset_import: ["" : 17]> ' + text)
    )


def run(graph: Graph, feeds: Mapping[str, NDArray[Any]]) -> Arrays:
    """Outputs by name, from ONNX Runtime without any of its own optimisations."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        graph.to_model("test").SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, dict(feeds)), strict=True))
