"""``bench roofline``: work counted from files as torch counts it, and time accounted for."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

from t2s_bench.cli import bench
from t2s_bench.roofline.count import bytes_moved, flops, op_class, with_weights
from t2s_bench.roofline.profile import NodeRun, Tensor, profile_graph
from t2s_rt.errors import BackendError, InternalError

torch = pytest.importorskip("torch", reason="torch's counter is the oracle")


def _save(path: Path, nodes: list[Any], shapes: dict[str, tuple[int, ...]], weights: Any) -> Path:
    """A graph from ``shapes`` to the last node's output, opset 17."""
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()]
    output = helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)
    constants = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "g", inputs, [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def _random(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def _counted(path: Path, feeds: dict[str, Any], *, optimised: bool) -> int:
    plain = profile_graph(path, feeds, optimised=False, repeat=0)
    nodes = profile_graph(path, feeds, repeat=1) if optimised else plain
    by_name = {node.name: node for node in plain}
    return sum(flops(with_weights(node, by_name)) for node in nodes)


@pytest.mark.parametrize("optimised", [False, True])
def test_work_follows_from_shapes(tmp_path: Path, optimised: bool) -> None:
    make = helper.make_node
    cases: list[tuple[list[Any], dict[str, Any], dict[str, Any], int]] = [
        (
            [make("MatMul", ["x", "w"], ["m"], "a"), make("Add", ["m", "b"], ["y"], "b")],
            {"x": _random(2, 5, 7)}, {"w": _random(7, 11), "b": _random(11)}, 2 * 2 * 5 * 7 * 11,
        ),
        (
            [make("Transpose", ["z"], ["t"], "a", perm=[0, 2, 1]),
             make("MatMul", ["x", "t"], ["y"], "b")],
            {"x": _random(2, 5, 7), "z": _random(2, 3, 7)}, {}, 2 * 2 * 5 * 7 * 3,
        ),
        (
            [make("Gemm", ["x", "w", "b"], ["y"], "a", transA=1, transB=1)],
            {"x": _random(7, 5)}, {"w": _random(4, 7), "b": _random(4)}, 2 * 5 * 7 * 4,
        ),
        (
            [make("Conv", ["x", "w"], ["m"], "a", group=2, pads=[1, 1, 1, 1], strides=[2, 2]),
             make("Relu", ["m"], ["y"], "b")],
            {"x": _random(1, 16, 8, 8)}, {"w": _random(32, 8, 3, 3)}, 2 * 32 * 4 * 4 * 8 * 9,
        ),
        (
            [make("ConvTranspose", ["x", "w"], ["y"], "a", strides=[2, 2])],
            {"x": _random(1, 6, 5, 5)}, {"w": _random(6, 3, 2, 2)}, 2 * 6 * 25 * 3 * 4,
        ),
        (
            [make("MatMul", ["x", "v"], ["y"], "a")],
            {"x": _random(3, 7), "v": _random(7)}, {}, 2 * 3 * 7,
        ),
    ]  # fmt: skip
    for index, (nodes, feeds, weights, expected) in enumerate(cases):
        shapes = {name: value.shape for name, value in feeds.items()}
        path = _save(tmp_path / f"{index}.onnx", nodes, shapes, weights)
        assert _counted(path, feeds, optimised=optimised) == expected, index


def test_nano_counts_as_torch_does(tmp_path: Path) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    from t2s_engines.graphs.files import save_model
    from t2s_export.graphs.to_onnx import export_graph
    from t2s_export.nano.models import build_model
    from t2s_export.nano_bundle import nano_jobs

    modules = {name: build_model(name).eval() for name in ("detector", "sam", "clip")}
    seen = []
    for job in nano_jobs(modules, dict.fromkeys(modules, {})):  # type: ignore[arg-type]
        if job.role not in ("mask_encoder", "clip_patches"):
            continue
        feeds = job.cases[0].feeds
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            job.module(*feeds.values())
        graph = export_graph(job.role, job.module, feeds).graph
        path = save_model(graph.to_model("g"), tmp_path / f"{job.role}.onnx")[0]
        arrays = {name: tensor.numpy() for name, tensor in feeds.items()}
        counted = _counted(path, arrays, optimised=False)
        assert counted == pytest.approx(counter.get_total_flops(), rel=0.01), job.role
        assert _counted(path, arrays, optimised=True) == pytest.approx(counted, rel=0.01)
        seen.append(job.role)
    assert seen == ["mask_encoder", "clip_patches"]


def test_bytes_and_classes() -> None:
    node = NodeRun("n", "Cast", 0.0, (Tensor("uint8", (2, 3)),), (Tensor("float", (2, 3)),))
    assert bytes_moved(node) == 6 + 24
    assert (op_class("FusedMatMul"), op_class("Add")) == ("matrix products", "elementwise")


@pytest.mark.parametrize(
    ("left", "right", "out", "summed"),
    [
        ((20, 4, 256), (4, 256, 32), (4, 20, 32), 256),  # transBatchA
        ((20, 40, 256), (40, 256, 32), (40, 20, 32), 256),
        ((4, 20, 256), (256, 4, 32), (4, 20, 32), 256),  # transBatchB
        ((1, 5, 8), (4, 8, 2), (4, 5, 2), 8),
        ((5, 8), (4, 8, 2), (4, 5, 2), 8),
        ((4, 8, 5), (4, 2, 8), (4, 5, 2), 8),  # both transposed
    ],
)
def test_the_summed_length_is_the_one_both_operands_hold(
    left: tuple[int, ...], right: tuple[int, ...], out: tuple[int, ...], summed: int
) -> None:
    inputs = Tensor("float", left), Tensor("float", right)
    node = NodeRun("n", "FusedMatMul", 0.0, inputs, (Tensor("float", out),))
    assert flops(node) == 2 * math.prod(out) * summed


def test_impossible_shapes_are_refused() -> None:
    tensors = (Tensor("float", (5, 7)), Tensor("float", (7, 2)))
    wrong = NodeRun("n", "MatMul", 0.0, tensors, (Tensor("float", (4, 2)),))
    with pytest.raises(InternalError, match="n: expected shapes of a matrix product"):
        flops(wrong)
    einsum = NodeRun("e", "Einsum", 0.0, tensors, (Tensor("float", (5, 2)),))
    with pytest.raises(InternalError, match="e: an Einsum"):
        flops(einsum)
    conv = NodeRun("c", "Conv", 0.0, tensors[:1], (Tensor("float", (5, 7)),))
    with pytest.raises(InternalError, match="c: the weights of a Conv"):
        with_weights(conv, {})


def test_a_broken_graph_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no graph")
    with pytest.raises(BackendError, match=r"broken\.onnx: ONNX Runtime cannot profile"):
        profile_graph(path, {})


def test_the_command_accounts_for_a_graph(tmp_path: Path) -> None:
    words = ["roofline", "--graphs", "clip_image", "--repeat", "2", "-o", str(tmp_path / "r.json")]
    result = CliRunner().invoke(bench, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "r.json").read_text())
    (graph,) = record["graphs"].values()
    assert set(record["graphs"]) == {"clip_image"}
    assert math.isclose(sum(c["share_of_time"] for c in graph["classes"].values()), 1.0)
    assert sum(c["flops"] for c in graph["classes"].values()) == pytest.approx(graph["flops"])
    assert graph["share_of_peak"] == pytest.approx(
        graph["flops"] / graph["seconds"] / record["peak_flops"]
    )
    assert record["gains"] == sorted(record["gains"], key=lambda gain: -gain["gain_s"])
    assert "share of peak" in result.output and "clip_image" in result.output
    unknown = CliRunner().invoke(bench, ["roofline", "--graphs", "mars"])
    assert "mars" in str(unknown.exception)
