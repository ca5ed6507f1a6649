"""The exported form: both deformable forms, padding, and ONNX Runtime on nano's real frame."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from tests.export.grounding_dino.conftest import SMALL, Caption, CaptionMaker
from tests.oracles.weights import randomise
from torch import Tensor

from t2s_export.architectures.grounding_dino import (
    FLOAT32_SCOPES,
    GDINO_NANO,
    DetectorGraph,
    DetectorTextGraph,
    GroundingDino,
)
from t2s_export.choices import DeformableForm
from t2s_export.graphs.to_onnx import ExportedGraph, export_graph
from t2s_rt.errors import UsageError

NAMES = ("image", "text_features", "text_token_mask", "text_self_attention_mask", "position_ids")
FORMS: tuple[DeformableForm, ...] = ("grid_sample", "gather")


def _run(graph: DetectorGraph, image: Tensor, words: Caption, selected: Tensor) -> list[Tensor]:
    """Logits and boxes with a given selection, so that ties cannot swap rows."""
    with torch.no_grad():
        text = graph.model.text_inputs(*words)
        _, layers = graph.model.run(image, text, graph.geometry, dense=False, selected=selected)
    return list(layers[-1])


def test_both_deformable_forms_agree(
    small: GroundingDino, images: Tensor, caption: CaptionMaker
) -> None:
    words = caption(7)
    with torch.no_grad():
        expected = small.eval().detect(images, *words)
    for form in FORMS:
        logits, boxes = _run(DetectorGraph(small, 128, form), images, words, expected.selected)
        torch.testing.assert_close(boxes, expected.boxes, atol=2e-4, rtol=0)
        torch.testing.assert_close(logits, expected.logits, atol=5e-3, rtol=1e-4)


def test_padding_changes_nothing(
    small: GroundingDino, images: Tensor, caption: CaptionMaker
) -> None:
    graph = DetectorGraph(small, 128)
    words, padded = caption(7), caption(7, padding=9)
    padded.features[:, :7] = words.features
    with torch.no_grad():
        selected = small.eval().detect(images, *words).selected
    logits, boxes = _run(graph, images, words, selected)
    padded_logits, padded_boxes = _run(graph, images, padded, selected)
    torch.testing.assert_close(padded_boxes, boxes, atol=2e-4, rtol=0)
    torch.testing.assert_close(padded_logits[..., :7], logits, atol=5e-3, rtol=1e-4)
    assert bool((padded_logits[..., 7:] < -9e3).all())
    assert bool(padded_logits.isfinite().all())


def test_a_graph_is_a_copy(small: GroundingDino, images: Tensor, caption: CaptionMaker) -> None:
    words = caption(7)
    graph = DetectorGraph(small, 128)
    with torch.no_grad():
        before = graph(images, *words)[0]
        for parameter in small.parameters():
            parameter.add_(0.1)
        assert torch.equal(graph(images, *words)[0], before)
    assert all(parameter.requires_grad for parameter in small.parameters())


def test_frames_too_small_for_the_queries_are_refused(small: GroundingDino) -> None:
    with pytest.raises(UsageError, match="21 proposals, fewer than the 40 queries"):
        DetectorGraph(small, 32)


@pytest.mark.parametrize(
    ("field", "value"), [("heads", 3), ("d_model", 80), ("swin_outputs", (0, 1)), ("levels", 1)]
)
def test_impossible_sizes_are_refused(field: str, value: Any) -> None:
    with pytest.raises(UsageError, match=field):
        dataclasses.replace(SMALL, **{field: value})


class Nano:
    """An exported nano detector on ONNX Runtime, and the module it came from."""

    def __init__(self, form: DeformableForm, words: Caption) -> None:
        self.form = form
        model = GroundingDino(GDINO_NANO).eval()
        randomise(model, seed=4)
        with torch.no_grad():
            # One content for all queries: where rounding swaps two tied proposals, their rows
            # swap too and nothing else changes. (Contents by rank: the parity tests.)
            content = model.transformer.tgt_embed.weight
            content.copy_(content[:1].expand_as(content).clone())
        self.module = DetectorGraph(model, GDINO_NANO.frame, form)
        self.image = torch.randint(
            0,
            256,
            (2, GDINO_NANO.frame, GDINO_NANO.frame, 3),
            generator=torch.Generator().manual_seed(6),
            dtype=torch.uint8,
        )
        example = dict(zip(NAMES, (self.image, *words), strict=True))
        self.exported: ExportedGraph = export_graph("detector", self.module, example)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            self.exported.to_model().SerializeToString(),
            options,
            providers=["CPUExecutionProvider"],
        )

    def both(self, batch: int, words: Caption) -> list[tuple[NDArray[Any], NDArray[Any]]]:
        """(ONNX Runtime, torch) for logits and boxes."""
        image = self.image[:batch]
        with torch.no_grad():
            expected = self.module(image, *words)
        tensors = zip(NAMES, (image, *words), strict=True)
        found = self.session.run(None, {name: value.numpy() for name, value in tensors})
        return [(a, b.numpy()) for a, b in zip(found, expected, strict=True)]


@pytest.fixture(scope="module", params=FORMS)
def nano(request: pytest.FixtureRequest) -> Nano:
    """Nano in one form, traced with a batch of two and eleven tokens."""
    form: DeformableForm = request.param
    places = torch.arange(11)
    words = Caption(
        torch.randn(1, 11, GDINO_NANO.d_model, generator=torch.Generator().manual_seed(7)),
        torch.ones(1, 11, dtype=torch.bool),
        (places[:, None] // 3 == places[None] // 3)[None],
        (places % 3).to(torch.int32)[None],
    )
    return Nano(form, words)


@pytest.mark.parametrize(("batch", "length", "padding"), [(2, 11, 0), (1, 17, 4)])
def test_onnx_runtime_computes_the_same(
    nano: Nano, caption: CaptionMaker, batch: int, length: int, padding: int
) -> None:
    words = caption(length, padding=padding)
    (logits, expected_logits), (boxes, expected_boxes) = nano.both(batch, words)
    assert logits.shape == (batch, GDINO_NANO.queries, length + padding)
    for image in range(batch):
        apart = np.abs(boxes[image][:, None] - expected_boxes[image][None]).max(axis=-1)
        partner = apart.argmin(axis=1)
        assert apart.min(axis=1).max() < 1e-4
        error = np.abs(logits[image] - expected_logits[image][partner])[:, :length].max()
        # rounding through random weights; the trained nano differs by 3e-5 in all (its manifest)
        assert error < 3e-4 * np.abs(expected_logits[image][:, :length]).max()
    assert expected_boxes.std() > 0.05


def test_the_file_is_small_and_plain(nano: Nano) -> None:
    model = nano.exported.to_model()
    assert [entry.version for entry in model.opset_import] == [17]
    operators = Counter(node.op_type for node in model.graph.node)
    config = GDINO_NANO
    samplings = config.levels * (config.encoder_layers + config.decoder_layers)
    assert operators["GridSample"] == (samplings if nano.form == "grid_sample" else 0)
    assert not operators.keys() & {"If", "Loop", "NonZero", "ScatterND", "Einsum"}
    # 1.7 million weights in float32; the masks of shifted windows alone would be 5.8 MB more
    assert model.ByteSize() < 9e6
    places = " ".join(node.name for node in model.graph.node)
    assert all(scope in places for scope in FLOAT32_SCOPES)


def test_the_text_graph(small: GroundingDino, caption: CaptionMaker) -> None:
    words = caption(7)
    ids = torch.randint(
        0, SMALL.vocabulary_size, (1, 7), generator=torch.Generator().manual_seed(8)
    ).to(torch.int32)
    example = {
        "input_ids": ids,
        "position_ids": words.position_ids,
        "text_self_attention_mask": words.self_attention_mask,
    }
    exported = export_graph("detector_text", DetectorTextGraph(small), example)
    session = onnxruntime.InferenceSession(
        exported.to_model().SerializeToString(), providers=["CPUExecutionProvider"]
    )
    for length in (7, 4):
        (found,) = session.run(
            None,
            {
                "input_ids": ids[:, :length].numpy(),
                "position_ids": words.position_ids[:, :length].numpy(),
                "text_self_attention_mask": words.self_attention_mask[:, :length, :length].numpy(),
            },
        )
        with torch.no_grad():
            expected = small.encode_text(
                ids[:, :length],
                words.position_ids[:, :length],
                words.self_attention_mask[:, :length, :length],
            )
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)
