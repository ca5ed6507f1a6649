"""The comparison of graph and module finds planted faults, and forgives only ties."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.export.toy_modules import (
    ToyClipDense,
    ToyDetector,
    toy_detector_inputs,
    toy_images,
)

from t2s_engines.graphs.files import save_model
from t2s_engines.graphs.graph import Graph
from t2s_export.errors import (
    ParityDtypeError,
    ParityError,
    ParityNonFiniteError,
    ParityShapeError,
    ParityToleranceError,
)
from t2s_export.graphs.to_onnx import export_graph
from t2s_export.parity import check_parity, compare_outputs
from t2s_export.parity_cases import Case

CASES = [Case("B=2", toy_images(2)), Case("B=1", toy_images(1))]
DETECTOR_CASES = [
    Case("T=5", toy_detector_inputs(2, 5)),
    Case("T=9", toy_detector_inputs(1, 9, padding=3)),
]


def save(graph: Graph, folder: Path) -> Path:
    return save_model(graph.to_model("g"), folder / "graph.onnx")[0]


@pytest.fixture(scope="module")
def dense_module() -> ToyClipDense:
    return ToyClipDense()


@pytest.fixture
def dense_graph(dense_module: ToyClipDense) -> Graph:
    return export_graph("clip_dense", dense_module, CASES[0].feeds).graph


def test_a_faithful_graph_passes_and_is_recorded(
    dense_module: ToyClipDense, dense_graph: Graph, tmp_path: Path
) -> None:
    parity = check_parity("clip_dense", dense_module, save(dense_graph, tmp_path), CASES)
    record = parity.as_record()
    assert record["cases"] == ["B=2", "B=1"]
    assert set(record["outputs"]) == {"patch_embeddings", "surgery_embeddings", "image_embedding"}
    assert parity.cosine > 0.999999


def test_one_wrong_weight_is_found(
    dense_module: ToyClipDense, dense_graph: Graph, tmp_path: Path
) -> None:
    for name in ("token", "norm.weight"):
        changed = dense_graph.constants[name].copy()
        changed.reshape(-1)[1] += np.float32(0.05)
        original, dense_graph.constants[name] = dense_graph.constants[name], changed
        with pytest.raises(ParityToleranceError, match=r"clip_dense \(B=2\): expected .*embedding"):
            check_parity("clip_dense", dense_module, save(dense_graph, tmp_path), CASES)
        dense_graph.constants[name] = original


def test_swapped_outputs_of_one_shape_are_found(
    dense_module: ToyClipDense, dense_graph: Graph, tmp_path: Path
) -> None:
    swap = {"patch_embeddings": "surgery_embeddings", "surgery_embeddings": "patch_embeddings"}
    for node in dense_graph.nodes:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                names[index] = swap.get(name, name)
    with pytest.raises(ParityToleranceError, match="patch_embeddings"):
        check_parity("clip_dense", dense_module, save(dense_graph, tmp_path), CASES)


def test_a_batch_made_constant_is_found(
    dense_module: ToyClipDense, dense_graph: Graph, tmp_path: Path
) -> None:
    for name, value in dense_graph.constants.items():
        if value.dtype == np.int64 and value.ndim == 1 and value.size == 6:
            dense_graph.constants[name] = np.array([1, *value[1:]], dtype=np.int64)
    path = tmp_path / "graph.onnx"
    path.write_bytes(dense_graph.to_model("g").SerializeToString())
    with pytest.raises(Exception, match=r"(?i)reshape|shape"):
        check_parity("clip_dense", dense_module, path, CASES)


def outputs(**changes: NDArray[Any]) -> dict[str, NDArray[Any]]:
    generator = np.random.default_rng(0)
    values = generator.normal(size=(2, 4, 6)).astype(np.float32)
    return {
        "patch_embeddings": values,
        "surgery_embeddings": values + 1,
        "image_embedding": values[:, 0],
        **changes,
    }


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"image_embedding": np.zeros((1, 6), np.float32)}, ParityShapeError, r"found \[1, 6\]"),
        ({"image_embedding": np.zeros((2, 6))}, ParityDtypeError, "found float64"),
        (
            {"image_embedding": np.full((2, 6), np.nan, np.float32)},
            ParityNonFiniteError,
            "12 of 12 NaN or infinite from the graph",
        ),
        (
            {"image_embedding": np.full((2, 6), np.inf, np.float32)},
            ParityNonFiniteError,
            "image_embedding",
        ),
        ({"image_embedding": np.zeros((2, 6), np.float32)}, ParityToleranceError, "cosine"),
    ],
)
def test_each_kind_of_mismatch_has_its_error(
    changes: dict[str, NDArray[Any]], error: type[ParityError], text: str
) -> None:
    with pytest.raises(error, match=text):
        compare_outputs("clip_dense", outputs(), outputs(**changes), {})


def test_nan_on_both_sides_is_no_agreement() -> None:
    bad = outputs(image_embedding=np.full((2, 6), np.nan, np.float32))
    with pytest.raises(ParityNonFiniteError, match="from the torch module"):
        compare_outputs("clip_dense", bad, bad, {})


def test_a_missing_output_is_found() -> None:
    found = outputs()
    del found["surgery_embeddings"]
    with pytest.raises(ParityShapeError, match="surgery_embeddings"):
        compare_outputs("clip_dense", outputs(), found, {})


def test_cosine_catches_what_is_small_everywhere() -> None:
    # every element within the absolute tolerance, yet another direction
    expected = outputs(image_embedding=np.full((2, 6), 1e-5, np.float32))
    found = dict(expected, image_embedding=np.full((2, 6), -1e-5, np.float32))
    with pytest.raises(ParityToleranceError, match="cosine"):
        compare_outputs("clip_dense", expected, found, {})


def detections(queries: int = 200, tokens: int = 4) -> dict[str, NDArray[Any]]:
    generator = np.random.default_rng(1)
    return {
        "logits": generator.normal(0, 3, (1, queries, tokens)).astype(np.float32),
        "boxes": generator.uniform(0, 1, (1, queries, 4)).astype(np.float32),
    }


def rows(source: dict[str, NDArray[Any]], order: NDArray[np.intp]) -> dict[str, NDArray[Any]]:
    return {name: value[:, order] for name, value in source.items()}


FEEDS = {"text_token_mask": np.ones((1, 4), dtype=bool)}


def test_swapped_queries_are_ties() -> None:
    order = np.arange(200)
    order[[3, 4, 90, 91]] = order[[4, 3, 91, 90]]
    figures, exchanged = compare_outputs("detector", detections(), rows(detections(), order), FEEDS)
    assert figures["logits"].max_abs == figures["boxes"].max_abs == 0
    assert exchanged == 0


def test_one_exchanged_query_is_a_tie_and_many_are_a_fault() -> None:
    found = detections()
    found["boxes"][0, 7] = 0.5
    _, exchanged = compare_outputs("detector", detections(), found, FEEDS)
    assert exchanged == pytest.approx(1 / 200)
    found["boxes"][0, :20] = 0.5
    with pytest.raises(ParityToleranceError, match="boxes"):
        compare_outputs("detector", detections(), found, FEEDS)


def test_boxes_of_other_queries_are_found() -> None:
    found = detections()
    found["boxes"] = np.roll(found["boxes"], 1, axis=1)
    with pytest.raises(ParityToleranceError):
        compare_outputs("detector", detections(), found, FEEDS)


def test_padding_counts_only_by_being_low() -> None:
    feeds = {"text_token_mask": np.array([[True, True, False, False]])}
    expected, found = detections(), detections()
    expected["logits"][..., 2:], found["logits"][..., 2:] = -1e4, -9.9e3
    figures, _ = compare_outputs("detector", expected, found, feeds)
    assert figures["logits"].max_abs == 0
    found["logits"][0, 5, 3] = 0.5
    with pytest.raises(ParityToleranceError, match="padding"):
        compare_outputs("detector", expected, found, feeds)


def test_a_detector_graph_with_padding_passes(tmp_path: Path) -> None:
    module = ToyDetector()
    graph = export_graph("detector", module, DETECTOR_CASES[0].feeds).graph
    parity = check_parity("detector", module, save(graph, tmp_path), DETECTOR_CASES)
    assert parity.max_abs < 1e-5


def test_a_detector_with_another_box_head_is_found(tmp_path: Path) -> None:
    module = ToyDetector()
    graph = export_graph("detector", module, DETECTOR_CASES[0].feeds).graph
    with torch.no_grad():
        module.boxes.bias[2] += 0.01
    with pytest.raises(ParityToleranceError, match="boxes"):
        check_parity("detector", module, save(graph, tmp_path), DETECTOR_CASES)
