"""Graphs as files: format version, constants beside them, what is no plain graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from t2s_engines.errors import GraphError
from t2s_engines.graphs.files import save_model
from t2s_engines.graphs.graph import Array, Graph, ValueType
from t2s_engines.preflight import RELEASES, check, preflight
from t2s_rt.bundle import GraphEntry, load_bundle


def product(elements: int = 64) -> onnx.ModelProto:
    kind = ValueType(TensorProto.FLOAT, (1, elements))
    constants: dict[str, Array] = {"w": np.ones((elements, elements), np.float32)}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    return Graph(nodes, constants, {"x": kind}, {"y": kind}, 17).to_model("product")


def faults(path: Path) -> str:
    return "\n".join(preflight(path).lines())


@pytest.mark.parametrize("entry", load_bundle().graphs, ids=lambda entry: entry.path.name)
def test_every_graph_of_nano_passes_for_every_release(entry: GraphEntry) -> None:
    path = entry.path
    assert preflight(path).ok, faults(path)
    assert preflight(path) == preflight(Graph.from_model(onnx.load(path)))


@pytest.mark.parametrize("elements", [64, 1024])  # read; too large to be read
def test_constants_beside_the_graph(tmp_path: Path, elements: int) -> None:
    graph, data = save_model(product(elements), tmp_path / "g.onnx", external_limit=0)
    check(graph)
    data.write_bytes(data.read_bytes()[:-1])
    assert f"{elements**2 * 4} are read" in faults(graph)
    data.unlink()
    assert "no g.onnx.data beside it" in faults(graph)
    assert faults(graph).count("TensorRT") == len(RELEASES)


def test_small_constants_beside_the_graph_are_read(tmp_path: Path) -> None:
    vector = ValueType(TensorProto.FLOAT, (512, 4))
    constants: dict[str, Array] = {"s": np.ones(512, np.float32), "z": np.ones(512, np.int8)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], axis=0),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], axis=0),
    ]
    model = Graph(nodes, constants, {"x": vector}, {"y": vector}, 17).to_model("q")
    path = tmp_path / "q.onnx"
    onnx.save_model(model, path, save_as_external_data=True, location="q.data", size_threshold=0)
    assert "zero point that is not a constant 0" in faults(path)


def test_constants_elsewhere_are_refused(tmp_path: Path) -> None:
    graph, data = save_model(product(), tmp_path / "g.onnx", external_limit=0)
    model = onnx.load(graph, load_external_data=False)
    model.graph.initializer[0].external_data[0].value = f"../{tmp_path.name}/{data.name}"
    graph.write_bytes(model.SerializeToString())
    assert "outside its folder" in faults(graph)


def test_a_newer_format_is_named(tmp_path: Path) -> None:
    model = product()
    model.ir_version = 10
    (tmp_path / "g.onnx").write_bytes(model.SerializeToString())
    report = preflight(tmp_path / "g.onnx")
    assert [release for release, found in report.problems.items() if found] == ["8.6", "10.1"]
    assert "format version 10" in report.problems["8.6"][0].found


def test_other_operator_sets_and_functions_are_refused(tmp_path: Path) -> None:
    model = product()
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    model.functions.append(
        helper.make_function("com.microsoft", "f", ["a"], ["b"],
                             [helper.make_node("Relu", ["a"], ["b"])],
                             [helper.make_opsetid("", 17)])
    )  # fmt: skip
    (tmp_path / "g.onnx").write_bytes(model.SerializeToString())
    assert "['com.microsoft']" in faults(tmp_path / "g.onnx")
    assert "1 functions" in faults(tmp_path / "g.onnx")


def test_sparse_constants_are_refused(tmp_path: Path) -> None:
    model = product()
    values = helper.make_tensor("v", TensorProto.FLOAT, [1], [1.0])
    places = helper.make_tensor("p", TensorProto.INT64, [1], [0])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [4]))
    (tmp_path / "g.onnx").write_bytes(model.SerializeToString())
    assert "sparse constants" in faults(tmp_path / "g.onnx")


@pytest.mark.parametrize("content", [None, b"\xff not a graph"])
def test_what_is_no_graph_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "g.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(GraphError, match=r"g\.onnx to be an ONNX file"):
        preflight(path)


def test_data_that_onnx_will_not_follow_is_named(tmp_path: Path) -> None:
    graph, data = save_model(product(), tmp_path / "g.onnx", external_limit=0)
    data.rename(tmp_path / "elsewhere")
    data.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(GraphError, match="'w' beside the graph"):
        preflight(graph)
