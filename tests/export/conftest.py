"""Fixtures for the exporter's tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from tests.export.graph_text import parse, run

from t2s_engines.graphs.graph import Graph

SameResult = Callable[[str, Callable[[Graph], object], Mapping[str, NDArray[Any]]], Graph]


@pytest.fixture
def same_result() -> SameResult:
    """Apply a pass to a graph and demand that its outputs keep every bit."""

    def check(
        text: str, change: Callable[[Graph], object], feeds: Mapping[str, NDArray[Any]]
    ) -> Graph:
        before = run(parse(text), feeds)
        graph = parse(text)
        change(graph)
        onnx.checker.check_model(graph.to_model("test"), full_check=True)
        after = run(graph, feeds)
        assert before.keys() == after.keys()
        for name, value in before.items():
            np.testing.assert_array_equal(after[name], value)
        return graph

    return check
