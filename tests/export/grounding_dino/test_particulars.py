"""On ONNX Runtime: padding of the text, and the two forms of deformable attention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.export.grounding_dino.conftest import SMALL, Caption, CaptionMaker
from tests.oracles.compare import assert_same_numbers
from tests.oracles.onnx_graph import session
from torch import Tensor

from t2s_bench.models.graphs import with_selection
from t2s_engines.graphs.graph import Graph
from t2s_export.architectures.grounding_dino import DetectorGraph, GroundingDino
from t2s_export.choices import DeformableForm
from t2s_export.graphs.to_onnx import export_graph
from t2s_rt.contracts import CONTRACTS
from t2s_rt.errors import InternalError

NAMES = [spec.name for spec in CONTRACTS["detector"].inputs]
SIZE = 128
SCORES = "what the selection ranks"
Outputs = Mapping[str, NDArray[Any]]


def exported(model: GroundingDino, image: Tensor, words: Caption, form: DeformableForm) -> Graph:
    module = DetectorGraph(model, SIZE, form)
    return export_graph("detector", module, dict(zip(NAMES, (image, *words), strict=True))).graph


def run(graph: Graph, image: Tensor, words: Caption, selected: NDArray[Any]) -> Outputs:
    """The graph with its selection given, so that ties cannot swap rows."""
    given, selection, scores = with_selection(graph)
    runner = session(given.to_model("test").SerializeToString())
    feeds = {n: x.numpy() for n, x in zip(NAMES, (image, *words), strict=True)}
    found = runner.run(["logits", "boxes", scores], {**feeds, selection: selected})
    return dict(zip(["logits", "boxes", SCORES], found, strict=True))


@pytest.fixture
def selected(small: GroundingDino, images: Tensor, caption: CaptionMaker) -> NDArray[Any]:
    with torch.no_grad():
        found = small.eval().detect(images, *caption(7)).selected
    return np.asarray(found.numpy())


@pytest.mark.parametrize("form", ["grid_sample", "gather"])
def test_padding_up_to_256_tokens_changes_nothing(
    small: GroundingDino,
    images: Tensor,
    caption: CaptionMaker,
    selected: NDArray[Any],
    form: DeformableForm,
) -> None:
    words = caption(7)
    graph = exported(small, images, words, form)
    plain = run(graph, images, words, selected)
    for length in (8, 64, 256):
        padded = caption(7, padding=length - 7)
        padded.features[:, :7] = words.features
        # what lies in the padding must not matter either
        padded.features[:, 7:] *= 10.0
        found = run(graph, images, padded, selected)
        assert found["logits"].shape == (2, SMALL.queries, length)
        assert_same_numbers(found["logits"][..., :7], plain["logits"])
        assert_same_numbers(found["boxes"], plain["boxes"])
        assert_same_numbers(found[SCORES], plain[SCORES])
        assert (found["logits"][..., 7:] < -9e3).all()


def test_both_deformable_forms_agree(
    small: GroundingDino, images: Tensor, caption: CaptionMaker, selected: NDArray[Any]
) -> None:
    words = caption(7)
    graphs = {
        form: exported(small, images, words, form)
        for form in ("grid_sample", "gather")  # type: DeformableForm
    }
    assert "GridSample" in graphs["grid_sample"].operator_counts()
    assert "GridSample" not in graphs["gather"].operator_counts()
    by_sample, by_gather = (run(graph, images, words, selected) for graph in graphs.values())
    for name, expected in by_sample.items():
        assert_same_numbers(by_gather[name], expected)


def test_given_its_own_selection_the_graph_gives_its_own_outputs(
    small: GroundingDino, images: Tensor, caption: CaptionMaker, selected: NDArray[Any]
) -> None:
    words = caption(7)
    graph = exported(small, images, words, "grid_sample")
    before = [node.op_type for node in graph.nodes]
    given = run(graph, images, words, selected)
    assert [node.op_type for node in graph.nodes] == before  # the edit is on a copy
    feeds = {n: x.numpy() for n, x in zip(NAMES, (images, *words), strict=True)}
    plain = session(graph.to_model("test").SerializeToString()).run(["boxes"], feeds)[0]
    # in another order where scores tie
    assert_same_numbers(np.sort(given["boxes"][..., 0]), np.sort(plain[..., 0]))
    own = np.argsort(-given[SCORES], axis=1)[:, : SMALL.queries]
    assert (np.sort(own) == np.sort(selected)).mean() > 0.95
    # and another selection gives other boxes
    other = run(graph, images, words, np.ascontiguousarray(selected[:, ::-1]))
    assert np.abs(other["boxes"] - given["boxes"]).max() > 1e-3


def test_a_graph_without_a_selection_is_refused(
    small: GroundingDino, images: Tensor, caption: CaptionMaker
) -> None:
    graph = exported(small, images, caption(7), "grid_sample")
    graph.nodes = [node for node in graph.nodes if node.op_type != "TopK"]
    with pytest.raises(InternalError, match="one TopK"):
        with_selection(graph)


def test_the_graph_does_not_depend_on_the_batch_or_text_that_was_traced(
    small: GroundingDino, images: Tensor, caption: CaptionMaker
) -> None:
    """So that full-size models may be traced with a single image."""
    models = [
        exported(small, images[:batch], caption(length), "grid_sample").to_model("test")
        for batch, length in ((1, 9), (2, 11))
    ]
    first, second = (model.SerializeToString(deterministic=True) for model in models)
    assert first == second
