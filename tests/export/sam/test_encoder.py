"""The image encoder and its export form against segment_anything's."""

from __future__ import annotations

import pytest
import torch
from tests.export.sam.conftest import Pair
from tests.oracles.compare import assert_same_numbers
from torch import Tensor

from t2s_export.architectures.sam import MaskEncoderGraph
from t2s_export.architectures.sam import global_attention as module
from t2s_export.architectures.sam.image_encoder import attend
from t2s_export.graphs.to_onnx import export_graph


def images(size: int, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (batch, size, size, 3), generator=generator, dtype=torch.uint8)


def original_embedding(pair: Pair, image: Tensor) -> Tensor:
    planes = image.permute(0, 3, 1, 2).float()
    embedding = pair.original.image_encoder(pair.original.preprocess(planes))
    assert isinstance(embedding, Tensor)
    return embedding


def test_encoder_equals_the_original(pair: Pair) -> None:
    image = images(pair.size)
    expected = original_embedding(pair, image)
    assert_same_numbers(pair.ours.encode(image), expected)


def test_export_form_equals_the_original(pair: Pair) -> None:
    image = images(pair.size)
    found = MaskEncoderGraph(pair.ours)(image)
    assert_same_numbers(found, original_embedding(pair, image))


def test_float_images_are_the_same_images(pair: Pair) -> None:
    image = images(pair.size, 1)
    torch.testing.assert_close(pair.ours.encode(image.float()), pair.ours.encode(image))


def test_export_form_leaves_the_model_alone(pair: Pair) -> None:
    before = {name: tensor.clone() for name, tensor in pair.ours.state_dict().items()}
    MaskEncoderGraph(pair.ours)
    after = pair.ours.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_export_does_not_depend_on_the_batch_that_was_traced(pair: Pair) -> None:
    """So that full-size models may be traced with a single image."""
    graph = MaskEncoderGraph(pair.ours)
    first, second = (
        export_graph("mask_encoder", graph, {"image": images(pair.size, batch)}).to_model()
        for batch in (1, 2)
    )
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(
        deterministic=True
    )


def attention_inputs(groups: int, size: int, width: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    shapes = [(groups, size * size, width)] * 3 + [(groups, size, size, size)] * 2
    return [
        torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in shapes
    ]


def test_chunked_attention_equals_plain_attention_forward_and_backward(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    size = 10
    monkeypatch.setattr(module, "_CPU_SCORES", 3 * size**3)  # chunks of 3, 3, 3 and 1 rows
    chunked, plain = attention_inputs(2, size, 4), attention_inputs(2, size, 4)
    found = module.global_attention(*chunked)
    q, k, v, rows, columns = plain
    expected = attend(q, k, v, rows[..., None], columns[..., None, :], size=size, step=size)
    assert_same_numbers(found.detach(), expected.detach(), 1e-12)
    torch.autograd.backward(found.square().sum())
    torch.autograd.backward(expected.square().sum())
    for ours, theirs in zip(chunked, plain, strict=True):
        assert ours.grad is not None and theirs.grad is not None
        assert_same_numbers(ours.grad, theirs.grad, 1e-12)


def test_gradient_of_chunked_attention_is_the_numerical_one() -> None:
    assert torch.autograd.gradcheck(module.global_attention, attention_inputs(2, 4, 3))
