"""Nano's float16 graphs, as they ship, through the rounding graph: islands, and real images.

The promise: box IoU of matched queries 0.99 in the mean, mask IoU 0.99 in the mean and 0.97 at
worst, cosine of CLIP's embeddings 0.999. Queries are all those that score 0.05 or more in float32,
matched by IoU and scores (Hungarian); masks are those of the same boxes, in pixels of the tile.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from tests.export.precision import real_images

from t2s_engines.criteria import figures, mask_iou
from t2s_engines.graphs.graph import Graph
from t2s_engines.graphs.rounding import rounding_graph
from t2s_engines.graphs.running import Run, running
from t2s_engines.preflight import check
from t2s_export.architectures.grounding_dino.graph import FLOAT32_SCOPES
from t2s_export.precision import typing_problems
from t2s_rt.bundle import load_bundle
from t2s_rt.contracts import Precision, Role
from t2s_rt.models.frames import FrameMap

F16, F32 = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
IMAGE_ROLES: tuple[Role, ...] = (
    "detector",
    "mask_encoder",
    "mask_decoder",
    "mask_decoder_local",
    "clip_image",
    "clip_dense",
    "clip_patches",
)
ALWAYS_FLOAT32 = frozenset(
    {
        *("Softmax", "LayerNormalization", "InstanceNormalization", "GridSample", "TopK"),
        *("ReduceL2", "Log", "Sin", "Cos"),
    }
)
FLOAT32_MODULES = (
    *FLOAT32_SCOPES,
    "bbox_embed",
    "enc_out_bbox_embed",
    "prompt_encoder",
    "iou_prediction_head",
)
MOVES = frozenset({"Reshape", "Transpose", "Unsqueeze", "Slice", "Concat", "Cast", "Relu"})


def shipped(role: Role, precision: Precision) -> Graph:
    return Graph.from_model(onnx.load(load_bundle(verify=False).graph(role, precision).path))


@pytest.mark.parametrize("role", IMAGE_ROLES)
def test_typed_graphs_are_what_engines_take(role: Role) -> None:
    graph = shipped(role, "fp16")
    onnx.checker.check_model(graph.to_model("g"), full_check=True)
    check(graph)
    assert list(typing_problems(graph)) == []
    assert graph.opset == 17
    single = shipped(role, "fp32")
    assert (graph.inputs, graph.outputs) == (single.inputs, single.outputs)


@pytest.mark.parametrize("role", IMAGE_ROLES)
def test_no_cast_is_doubled_or_undone(role: Role) -> None:
    graph = shipped(role, "fp16")
    types, producers = graph.types(), graph.producers()
    seen = set()
    for node in graph.nodes:
        if node.op_type != "Cast" or types[node.output[0]].elem_type not in (F16, F32):
            continue
        key = (node.input[0], types[node.output[0]].elem_type)
        assert key not in seen, node.name
        seen.add(key)
        assert node.input[0] not in graph.constants, f"{node.name} casts a constant"
        assert types[node.input[0]].elem_type != types[node.output[0]].elem_type
        maker = producers.get(node.input[0])
        assert maker is None or maker.op_type != "Cast", node.name


@pytest.mark.parametrize("role", IMAGE_ROLES)
def test_islands_are_float32(role: Role) -> None:
    graph = shipped(role, "fp16")
    types = graph.types()
    found = {F16: 0, F32: 0}
    for node in graph.nodes:
        kinds = {types[n].elem_type for n in (*node.input, *node.output) if n in types}
        modules = {module.split(".")[0].rstrip("_0123456789") for module in node.name.split("/")}
        inside = modules.intersection(FLOAT32_MODULES) and node.op_type not in MOVES
        if node.op_type in ALWAYS_FLOAT32 or inside:
            assert F16 not in kinds, node.name
        for kind in found:
            found[kind] += kind in kinds and node.op_type in ("MatMul", "Gemm", "Conv")
    least = 0.5 if role == "mask_decoder" else 0.6  # lone points decide on that one, too
    assert found[F16] > least * sum(found.values()), "the work itself must be float16"


def test_detector_scores_and_boxes_leave_in_float32() -> None:
    """Back from the outputs, and from the ranking, to the last product: no float16 on the way."""
    graph = shipped("detector", "fp16")
    types, producers = graph.types(), graph.producers()
    topk = next(node for node in graph.nodes if node.op_type == "TopK")
    for name in (*graph.outputs, topk.input[0]):
        waiting, products = [name], 0
        while waiting:
            node = producers.get(waiting.pop())
            if node is None:
                continue
            assert types[node.output[0]].elem_type != F16, node.name
            if node.op_type == "MatMul":
                products += 1
            else:
                computed = [n for n in node.input if n and n not in graph.constants]
                waiting += [n for n in computed if types[n].elem_type == F32][:1]
        assert products == 1


@pytest.mark.parametrize("role", IMAGE_ROLES)
def test_the_decision_is_in_the_manifest(role: Role) -> None:
    graphs = load_bundle(verify=False).manifest.graphs
    record = next(g for g in graphs if (g.role, g.precision) == (role, "fp16"))
    decision = record.islands
    assert all(decision["after"][name] >= floor for name, floor in decision["floors"].items())
    assert decision["calibration"] and decision["rules"]["softmax"] > 0
    # lone points, whose masks rounding moves most, send a sixth of the mask decoder's back
    least = 0.8 if role == "mask_decoder" else 0.9
    assert decision["float16_multiplications"] > least


class Both:
    """A role's float32 graph, and the rounding graph of its float16 graph."""

    def __init__(self, stack: ExitStack, role: Role) -> None:
        self.single: Run = stack.enter_context(running(shipped(role, "fp32")))
        self.half: Run = stack.enter_context(running(rounding_graph(shipped(role, "fp16"))))


@pytest.fixture(scope="module")
def tiles(test_data: Path) -> list[tuple[str, NDArray[np.uint8]]]:
    return real_images.tiles(test_data)


@pytest.fixture(scope="module")
def graphs() -> Iterator[Mapping[Role, Both]]:
    with ExitStack() as stack:
        yield {role: Both(stack, role) for role in ("detector", "mask_encoder", "mask_decoder")}


@pytest.fixture(scope="module")
def detections(
    graphs: Mapping[Role, Both], tiles: list[tuple[str, NDArray[np.uint8]]]
) -> list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]:
    """Inputs, float32 outputs and float16 outputs of the detector for each tile."""
    size = frame("detector")
    found = []
    for _, tile in tiles:
        feeds = real_images.detector_feeds(tile, size)
        found.append((feeds, graphs["detector"].single(feeds), graphs["detector"].half(feeds)))
    return found


def frame(role: Role) -> tuple[int, int]:
    size = load_bundle(verify=False).graph(role).image_size
    assert size is not None
    return size


def test_boxes_on_real_images(
    detections: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]],
) -> None:
    means = [figures("detector", a, b, feeds)["box IoU mean"] for feeds, a, b in detections]
    assert np.mean(means) >= 0.99, means
    assert min(means) >= 0.98, means


def test_masks_on_real_images(
    graphs: Mapping[Role, Both],
    tiles: list[tuple[str, NDArray[np.uint8]]],
    detections: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]],
) -> None:
    size = frame("mask_encoder")
    overlaps = []
    for (_, tile), (_, boxes, _) in zip(tiles, detections, strict=True):
        image, prompts = (
            real_images.image_feeds(tile, size),
            real_images.box_prompts(boxes, size[0]),
        )
        place = FrameMap.fit((tile.shape[0], tile.shape[1]), size)
        masks = []
        for run in ("single", "half"):
            embedding = getattr(graphs["mask_encoder"], run)(image)
            logits = getattr(graphs["mask_decoder"], run)({**embedding, **prompts})["mask_logits"]
            masks.append(np.stack([place.map_to_tile(one) > 0 for one in logits[:, 0]]))
        overlaps.append(mask_iou(masks[0], masks[1]))
    found = np.concatenate(overlaps)
    assert len(found) == 24 * len(tiles)
    assert found.mean() >= 0.99, found
    assert found.min() >= 0.96, found  # of the smallest masks a pixel is a thirtieth


@pytest.mark.parametrize("role", ["clip_image", "clip_dense", "clip_patches"])
def test_clip_on_real_images(role: Role, tiles: list[tuple[str, NDArray[np.uint8]]]) -> None:
    size = frame(role)
    with ExitStack() as stack:
        both = Both(stack, role)
        for name, tile in tiles:
            feeds = real_images.image_feeds(tile, size)
            single, half = both.single(feeds), both.half(feeds)
            for output, value in single.items():
                # of unit length, each row by itself
                cosines = (value.astype(float) * half[output].astype(float)).sum(-1)
                assert cosines.min() >= 0.999, (name, output)
