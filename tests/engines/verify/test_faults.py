"""Planted faults: each must fail the verdict, by the figure that names it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper
from tests.engines.verify.doubles import Answer, Arrays, Bench, verdict_of

from t2s_engines.graphs.graph import Graph
from t2s_engines.graphs.rounding import rounding_graph
from t2s_engines.verify.judging import Target
from t2s_engines.verify.verification import CHAIN_ROLE
from t2s_rt.backends import Session
from t2s_rt.contracts import Role
from t2s_rt.errors import BackendError

WEIGHTS: tuple[Role, ...] = ("clip_patches", "mask_encoder", "mask_decoder_local", "detector")


def heaviest(graph: Graph) -> str:
    """Name of the largest float constant."""
    floats = {k: v for k, v in graph.constants.items() if v.dtype == np.float32}
    return max(floats, key=lambda name: floats[name].size)


@pytest.mark.parametrize("role", WEIGHTS)
def test_one_wrong_weight(bench: Bench, tmp_path: Path, role: Role) -> None:
    graph = bench.graph(role)
    name = heaviest(graph)
    altered = np.array(graph.constants[name])
    # one element of the largest initialiser, as a damaged download or a bad refit would leave it
    altered.flat[altered.size // 2] += 40 * np.abs(altered).max()
    graph.constants[name] = altered
    outcome = bench.verify(bench.target(role, graph, tmp_path, "fp32"))
    verdict = verdict_of(outcome, role)
    assert not verdict.passed and not outcome.passed


def test_swapped_outputs_of_one_shape(bench: Bench) -> None:
    pair = ("patch_embeddings", "surgery_embeddings")

    def swap(answer: Answer, feeds: Arrays) -> Arrays:
        right = answer(feeds)
        return {**right, pair[0]: right[pair[1]], pair[1]: right[pair[0]]}

    verdict = verdict_of(bench.verify(bench.fake("clip_dense", swap)), "clip_dense")
    assert len(verdict.faults) == 2
    assert all(f"cosine {name}" in " ".join(verdict.faults) for name in pair)


def test_swapped_rows_of_one_output(bench: Bench) -> None:
    """Mask 0 and mask 1 exchanged, the scores too: a wrong Concat or Slice of an importer."""

    def swap(answer: Answer, feeds: Arrays) -> Arrays:
        return {name: array[:, [1, 0, 2, 3]] for name, array in answer(feeds).items()}

    outcome = bench.verify(bench.fake("mask_decoder_local", swap))
    verdict = verdict_of(outcome, "mask_decoder_local")
    assert any("mask IoU mean: expected at least 0.99" in fault for fault in verdict.faults)


def test_a_grid_sample_in_nearest_mode(bench: Bench, tmp_path: Path) -> None:
    """NVIDIA/TensorRT#4646: what the parser makes of an interpolation that it does not know."""
    graph = bench.graph("detector")
    samples = [node for node in graph.nodes if node.op_type == "GridSample"]
    assert samples
    for node in samples:
        (mode,) = (a for a in node.attribute if a.name == "mode")
        assert mode.s == b"bilinear"
        mode.s = b"nearest"
    outcome = bench.verify(bench.target("detector", graph, tmp_path, "fp16"))
    verdict = verdict_of(outcome, "detector")
    assert not verdict.passed
    assert any("--deformable gather" in fault for fault in verdict.faults), verdict.faults


def overflowing(graph: Graph) -> Graph:
    """A typed fp16 graph with a scale up and down again that float16 has no room for."""
    types = graph.types()
    half = onnx.TensorProto.FLOAT16
    node = next(
        node
        for node in graph.nodes
        if node.op_type == "MatMul" and types[node.output[0]].elem_type == half
    )
    value = node.output[0]
    node.output[0] = f"{value}/before"
    graph.constants["plant"] = np.array(6e4, np.float16)
    place = graph.nodes.index(node) + 1
    graph.nodes[place:place] = [
        helper.make_node("Mul", [node.output[0], "plant"], [f"{value}/up"], "plant/up"),
        helper.make_node("Div", [f"{value}/up", "plant"], [value], "plant/down"),
    ]
    return graph


def test_an_overflow_of_float16_shows_through_the_rounding_graph(
    bench: Bench, tmp_path: Path
) -> None:
    typed = overflowing(bench.graph("clip_patches", "fp16"))
    target = bench.target("clip_patches", rounding_graph(typed), tmp_path, "fp16")
    verdict = verdict_of(bench.verify(target), "clip_patches")
    assert verdict.figures["non-finite values"] > 0
    assert any("an overflow of float16" in fault for fault in verdict.faults)


def test_a_device_that_answers_with_nan(bench: Bench) -> None:
    def spoil(answer: Answer, feeds: Arrays) -> Arrays:
        return {name: np.full_like(array, np.nan) for name, array in answer(feeds).items()}

    for role in ("detector", "mask_encoder", "mask_decoder"):
        outcome = bench.verify(bench.fake(role, spoil))
        verdict = verdict_of(outcome, role)
        assert any("non-finite values" in fault for fault in verdict.faults)
        assert not outcome.passed


def test_wrong_in_every_row_of_a_batch_but_the_first(bench: Bench) -> None:
    """NVIDIA/TensorRT#4853: right one at a time, wrong together."""

    def spoil(answer: Answer, feeds: Arrays) -> Arrays:
        return {name: _first_everywhere(array) for name, array in answer(feeds).items()}

    outcome = bench.verify(bench.fake("mask_encoder", spoil))
    verdict = verdict_of(outcome, "mask_encoder")
    assert verdict.figures["cosine image_embedding"] == pytest.approx(1.0)
    (fault,) = verdict.faults
    assert "cosine image_embedding, batched" in fault and "build --batch 1" in fault


def _first_everywhere(array: NDArray[Any]) -> NDArray[Any]:
    return np.repeat(array[:1], len(array), axis=0)


def test_wrong_after_the_first_image(bench: Bench) -> None:
    first: list[Arrays] = []

    def spoil(answer: Answer, feeds: Arrays) -> Arrays:
        first.append(answer(feeds))
        return first[0] if len(feeds["image"]) == 1 else answer(feeds)

    outcome = bench.verify(bench.fake("mask_encoder", spoil))
    assert not verdict_of(outcome, "mask_encoder").passed


def test_answers_of_the_call_before(bench: Bench) -> None:
    """A copy that is not waited for."""
    last: dict[tuple[int, ...], Arrays] = {}

    def stale(answer: Answer, feeds: Arrays) -> Arrays:
        right = answer(feeds)
        shape = right["patch_embeddings"].shape
        before = last.get(shape, right)
        last[shape] = right
        return before

    verdict = verdict_of(bench.verify(bench.fake("clip_patches", stale)), "clip_patches")
    assert any(fault.startswith("clip_patches fp16: cosine") for fault in verdict.faults)


def test_an_answer_that_changes_when_the_question_is_repeated(bench: Bench) -> None:
    seen: set[bytes] = set()

    def drift(answer: Answer, feeds: Arrays) -> Arrays:
        key = feeds["image"].tobytes()
        again, right = key in seen, answer(feeds)
        seen.add(key)
        return {n: a[..., ::-1].copy() for n, a in right.items()} if again else right

    verdict = verdict_of(bench.verify(bench.fake("clip_image", drift)), "clip_image")
    (fault,) = verdict.faults
    assert "repeated" in fault and "another answer the second time" in fault


def test_boxes_where_nothing_is(bench: Bench) -> None:
    """Right on every scene, and full of buildings on bare ground."""
    empty = next(tile for tile in bench.tiles if tile.empty).image

    def invent(answer: Answer, feeds: Arrays) -> Arrays:
        right = {name: array.copy() for name, array in answer(feeds).items()}
        for row, image in enumerate(feeds["image"]):
            if abs(float(image.mean()) - float(empty.mean())) < 1 and image.std() < 20:
                right["logits"][row, :7] = 5.0
                right["boxes"][row, :7] = (0.5, 0.5, 0.2, 0.2)
        return right

    outcome = bench.verify(bench.fake("detector", invent))
    verdict = verdict_of(outcome, "detector")
    assert verdict.figures["recall"] == 1.0
    assert verdict.figures["hallucinated boxes"] == 7.0
    assert "hallucinated boxes: expected at most 0, found 7" in " ".join(verdict.faults)


def test_boxes_that_are_lost(bench: Bench) -> None:
    def forget(answer: Answer, feeds: Arrays) -> Arrays:
        right = {name: array.copy() for name, array in answer(feeds).items()}
        right["logits"][:, ::10] = -20.0
        return right

    verdict = verdict_of(bench.verify(bench.fake("detector", forget)), "detector")
    assert 0.8 < verdict.figures["recall"] < 0.98
    assert any("recall: expected at least 0.98" in fault for fault in verdict.faults)


def test_graphs_that_are_right_alone_and_wrong_together(bench: Bench) -> None:
    """The decoder is right on the reference's embedding, and not on the device's own."""
    own: list[NDArray[Any]] = []

    def encode(answer: Answer, feeds: Arrays) -> Arrays:
        # within the limits of fp16, so that the decoder can tell whose embedding it is
        right = answer(feeds)["image_embedding"] * np.float32(1.0005)
        own.append(right)
        return {"image_embedding": right}

    def decode(answer: Answer, feeds: Arrays) -> Arrays:
        right = answer(feeds)
        given = feeds["image_embedding"]
        if any(np.array_equal(given, mine) for mine in own):
            return {name: -array for name, array in right.items()}
        return right

    targets = (bench.fake("mask_encoder", encode), bench.fake("mask_decoder_local", decode))
    outcome = bench.verify(*targets)
    chain = verdict_of(outcome, CHAIN_ROLE)
    assert any("own embedding" in fault for fault in chain.faults)
    assert all(fault.startswith("chain fp16") for fault in chain.faults)
    for role in ("mask_encoder", "mask_decoder_local"):
        assert verdict_of(outcome, role).faults == chain.faults


def test_a_device_that_fails_is_a_fault_of_its_graph_alone(bench: Bench) -> None:
    def fail(answer: Answer, feeds: Arrays) -> Arrays:
        raise BackendError("out of memory")

    def fine(answer: Answer, feeds: Arrays) -> Arrays:
        return answer(feeds)

    def refuse() -> Session:
        raise BackendError("no engine fits")

    entry = bench.bundle.graph("clip_patches", "fp16")
    outcome = bench.verify(
        bench.fake("clip_dense", fail), bench.fake("clip_image", fine), Target(entry, refuse)
    )
    assert verdict_of(outcome, "clip_image").passed
    assert "cannot run: out of memory" in verdict_of(outcome, "clip_dense").faults[0]
    assert "cannot be opened: no engine fits" in verdict_of(outcome, "clip_patches").faults[0]
