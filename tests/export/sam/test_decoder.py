"""Prompts and masks against segment_anything, which takes one prompt at a time."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from tests.export.sam.conftest import Pair
from tests.oracles.compare import assert_same_numbers
from tests.oracles.onnx_graph import session
from torch import Tensor

from t2s_export.architectures.sam import LocalMaskDecoder, LocalMaskDecoderGraph, MaskDecoderGraph
from t2s_export.graphs.to_onnx import export_graph
from t2s_export.references import MaskDecoderLocalReference
from t2s_rt.contracts import CONTRACTS

Decode = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def embedding(pair: Pair, count: int = 1) -> Tensor:
    config = pair.ours.config
    shape = (count, config.out_channels, config.grid, config.grid)
    return torch.randn(shape, generator=torch.Generator().manual_seed(2))


def coordinates(pair: Pair, count: int, points: int) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.rand((count, points, 2), generator=generator) * pair.size


def original_masks(
    pair: Pair,
    image: Tensor,
    points: tuple[Tensor, Tensor] | None = None,
    boxes: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """All four masks and IoUs of one prompt, as the original gives them in two calls."""
    encoder, decoder = pair.original.prompt_encoder, pair.original.mask_decoder
    sparse, dense = encoder(points=points, boxes=boxes, masks=None)
    results = [
        decoder(
            image_embeddings=image,
            image_pe=encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=several,
        )
        for several in (False, True)
    ]
    return torch.cat([r[0] for r in results], 1), torch.cat([r[1] for r in results], 1)


@pytest.fixture(params=["model", "graph", "onnx"])
def decode(request: pytest.FixtureRequest, pair: Pair) -> Decode:
    """All forms take and give the same tensors."""
    graph = MaskDecoderGraph(pair.ours)
    if request.param == "model":
        return pair.ours.decode
    return graph if request.param == "graph" else on_onnx_runtime(graph, pair)


def on_onnx_runtime(graph: MaskDecoderGraph, pair: Pair) -> Decode:
    """The exported graph, called like the module."""
    names = [spec.name for spec in CONTRACTS["mask_decoder"].inputs]
    example = (embedding(pair), torch.rand(3, 5, 2), torch.ones(3, 5))
    exported = export_graph("mask_decoder", graph, dict(zip(names, example, strict=True)))
    runner = session(exported.to_model().SerializeToString())

    def run(*inputs: Tensor) -> tuple[Tensor, Tensor]:
        feeds = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
        masks, iou = runner.run(["mask_logits", "iou"], feeds)
        return torch.from_numpy(masks), torch.from_numpy(iou)

    return run


def test_boxes_in_one_call_equal_the_originals_one_by_one(pair: Pair, decode: Decode) -> None:
    image, corners = embedding(pair), coordinates(pair, 5, 2)
    labels = torch.tensor([2.0, 3.0]).repeat(5, 1)
    masks, iou = decode(image, corners, labels)
    for index in range(5):
        expected = original_masks(pair, image, boxes=corners[index].reshape(1, 4))
        assert_same_numbers(masks[index : index + 1], expected[0])
        assert_same_numbers(iou[index : index + 1], expected[1])


def test_points_equal_the_original_with_its_padding_point(pair: Pair, decode: Decode) -> None:
    image, xy = embedding(pair), coordinates(pair, 3, 2)
    kinds = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    padded_xy = torch.cat([xy, torch.zeros(3, 1, 2)], 1)
    padded_kinds = torch.cat([kinds, -torch.ones(3, 1)], 1)
    masks, iou = decode(image, padded_xy, padded_kinds)
    for index in range(3):
        one = slice(index, index + 1)
        expected = original_masks(pair, image, points=(xy[one], kinds[one]))
        assert_same_numbers(masks[one], expected[0])
        assert_same_numbers(iou[one], expected[1])


def test_points_with_a_box_equal_the_original(pair: Pair, decode: Decode) -> None:
    image, xy, corners = embedding(pair), coordinates(pair, 1, 2), coordinates(pair, 1, 4)[:, 2:]
    kinds = torch.tensor([[1.0, 0.0]])
    both = torch.cat([xy, corners], 1), torch.tensor([[1.0, 0.0, 2.0, 3.0]])
    masks, iou = decode(image, *both)
    expected = original_masks(pair, image, points=(xy, kinds), boxes=corners.reshape(1, 4))
    assert_same_numbers(masks, expected[0])
    assert_same_numbers(iou, expected[1])


def test_one_embedding_per_prompt_equals_separate_calls(pair: Pair) -> None:
    several, xy = embedding(pair, 3), coordinates(pair, 3, 2)
    labels = torch.tensor([2.0, 3.0]).repeat(3, 1)
    masks, iou = pair.ours.decode(several, xy, labels)
    for index in range(3):
        one = slice(index, index + 1)
        expected = pair.ours.decode(several[one], xy[one], labels[one])
        assert_same_numbers(masks[one], expected[0])
        assert_same_numbers(iou[one], expected[1])
    assert not torch.allclose(masks[0], masks[1])


@pytest.mark.parametrize("form", ["model", "graph", "reference"])
@torch.no_grad()
def test_a_window_equals_the_original_on_a_cut_embedding(pair: Pair, form: str) -> None:
    cells, image, corners = 6, embedding(pair), coordinates(pair, 3, 2)
    local: torch.nn.Module = {
        "model": LocalMaskDecoder,
        "graph": LocalMaskDecoderGraph,
        "reference": MaskDecoderLocalReference,
    }[form](pair.ours, cells)
    last = pair.ours.config.grid - cells
    window = torch.tensor([[0, 0], [2, last], [last, 1]], dtype=torch.int32)
    masks, iou = local(image, corners, torch.tensor([2.0, 3.0]).repeat(3, 1), window)
    assert masks.shape == (3, 4, 4 * cells, 4 * cells)
    encoder, decoder = pair.original.prompt_encoder, pair.original.mask_decoder
    for index, (row, column) in enumerate(window.tolist()):
        cut = (..., slice(row, row + cells), slice(column, column + cells))
        sparse, dense = encoder(points=None, boxes=corners[index].reshape(1, 4), masks=None)
        expected = decoder.predict_masks(
            image_embeddings=image[cut],
            image_pe=encoder.get_dense_pe()[cut],
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense[cut],
        )
        assert_same_numbers(masks[index : index + 1], expected[0])
        assert_same_numbers(iou[index : index + 1], expected[1])


def test_local_decoding_trains_the_model(pair: Pair) -> None:
    sam = copy.deepcopy(pair.ours).requires_grad_(True)
    local = LocalMaskDecoder(sam, 6)
    window = torch.tensor([[1, 2]], dtype=torch.int32)
    labels = torch.tensor([[2.0, 3.0]])
    masks, _ = local(embedding(pair), coordinates(pair, 1, 2), labels, window)
    masks.square().sum().backward()
    gradient = sam.mask_decoder.mask_tokens.weight.grad
    assert gradient is not None and bool(gradient[0].any())
