"""The nano preset: trainable throughout, and exported to graphs that equal it."""

from __future__ import annotations

import pytest
import torch
from tests.oracles.compare import assert_same_numbers
from tests.oracles.onnx_graph import export_onnx, operators, session
from tests.oracles.weights import randomise
from torch import Tensor, nn

from t2s_export.architectures.clip import (
    CLIP_NANO,
    Clip,
    ClipDenseGraph,
    ClipImageGraph,
    ClipPatchesGraph,
    ClipTextGraph,
)

SIDE = CLIP_NANO.image_size
SHAPE_OPERATORS = {"Shape", "Expand", "Pad", "If", "Loop", "NonZero", "Where", "Range"}


@pytest.fixture(scope="module")
def nano() -> Clip:
    model = Clip(CLIP_NANO).eval()
    randomise(model, seed=31)
    model.requires_grad_(False)
    return model


def export(graph: nn.Module, example: Tensor, outputs: list[str], axes: dict[int, str]) -> bytes:
    dynamic = {"input": axes, **{name: {0: axes[0]} for name in outputs}}
    return export_onnx(graph, (example,), ["input"], outputs, dynamic)


def images(size: int, batch: int) -> Tensor:
    generator = torch.Generator().manual_seed(batch)
    return torch.randint(0, 256, (batch, size, size, 3), generator=generator, dtype=torch.uint8)


def test_every_parameter_learns() -> None:
    model = Clip(CLIP_NANO)
    generator = torch.Generator().manual_seed(0)
    patches, surgery, first = model.dense(images(64, 2).float())
    text = model.encode_text(torch.randint(1, 128, (4, 16), generator=generator))
    scale = model.logit_scale.exp()
    loss = sum((scale * x @ text.t()).square().mean() for x in (patches, surgery, first))
    assert isinstance(loss, Tensor)
    torch.autograd.backward(loss)
    still = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().max() > 0
    ]
    assert still == []


def test_crop_graph_equals_the_model_for_any_batch(nano: Clip) -> None:
    model = export(ClipImageGraph(nano, 64), images(64, 2), ["embeddings"], {0: "B"})
    runner = session(model)
    for batch in (1, 5):
        crops = images(64, batch)
        (found,) = runner.run(None, {"input": crops.numpy()})
        assert_same_numbers(found, nano.encode_image(crops))


def test_dense_graph_equals_the_model_for_any_batch(nano: Clip) -> None:
    names = ["patch_embeddings", "surgery_embeddings", "image_embedding"]
    model = export(ClipDenseGraph(nano, SIDE), images(SIDE, 2), names, {0: "B"})
    # a batch of any size passes without one operator that computes shapes
    assert operators(model).isdisjoint(SHAPE_OPERATORS)
    runner = session(model)
    image = images(SIDE, 1)
    found = runner.run(None, {"input": image.numpy()})
    assert [x.shape for x in found] == [(1, (SIDE // 8) ** 2, 64)] * 2 + [(1, 64)]
    for x, expected in zip(found, nano.dense(image), strict=True):
        assert_same_numbers(x, expected)
    assert runner.run(None, {"input": images(SIDE, 3).numpy()})[0].shape == (
        3,
        (SIDE // 8) ** 2,
        64,
    )


def test_patches_graph_is_the_first_output_of_the_dense_one(nano: Clip) -> None:
    runner = session(
        export(ClipPatchesGraph(nano, SIDE), images(SIDE, 2), ["patch_embeddings"], {0: "B"})
    )
    for batch in (1, 3):
        image = images(SIDE, batch)
        (found,) = runner.run(None, {"input": image.numpy()})
        assert_same_numbers(found, nano.dense(image)[0])


def test_text_graph_equals_the_model_for_any_number_and_length(nano: Clip) -> None:
    example = torch.ones(2, 5, dtype=torch.int32)
    runner = session(export(ClipTextGraph(nano), example, ["embeddings"], {0: "N", 1: "L"}))
    generator = torch.Generator().manual_seed(3)
    for count, length in ((1, 3), (7, 16)):
        ids = torch.randint(1, 128, (count, length), generator=generator, dtype=torch.int32)
        (found,) = runner.run(None, {"input": ids.numpy()})
        assert_same_numbers(found, nano.encode_text(ids))
