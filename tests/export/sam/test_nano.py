"""The nano preset: trainable throughout, and exported to graphs that equal it."""

from __future__ import annotations

import pytest
import torch
from tests.oracles.compare import assert_same_numbers
from tests.oracles.onnx_graph import export_onnx, operators, session
from tests.oracles.originals import sam_like
from tests.oracles.weights import randomise

from t2s_export.architectures.sam import SAM_NANO, MaskDecoderGraph, MaskEncoderGraph, Sam

SIZE = SAM_NANO.image_size
GRID = SAM_NANO.grid
SHAPE_OPERATORS = {"Shape", "Expand", "Pad", "If", "Loop", "NonZero", "Where", "Range"}


@pytest.fixture(scope="module")
def nano() -> Sam:
    model = Sam(SAM_NANO).eval()
    randomise(model, seed=1)
    return model


def test_every_parameter_learns() -> None:
    model = Sam(SAM_NANO)
    generator = torch.Generator().manual_seed(0)
    image = torch.rand((1, SIZE, SIZE, 3), generator=generator) * 255
    labels = torch.tensor([[1.0, 0.0, -1.0], [2.0, 3.0, -1.0]])
    coords = torch.rand((2, 3, 2), generator=generator) * SIZE
    masks, iou = model.decode(model.encode(image), coords, labels)
    target = torch.rand(masks.shape, generator=generator)
    loss = ((masks - target) ** 2).mean() + iou.sum()
    torch.autograd.backward(loss)
    unused = {
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().max() > 0
    }
    # weights of mask prompts, which no contract has: carried so that checkpoints map one to one
    carried = {name for name in unused if name.startswith("prompt_encoder.mask_downscaling.")}
    # a bias of keys shifts all scores of a query alike
    softmax_invariant = {name for name in unused if name.endswith("k_proj.bias")}
    assert unused == carried | softmax_invariant
    assert len(carried) == len(list(model.prompt_encoder.mask_downscaling.parameters()))


def test_encoder_graph_equals_the_model_for_any_batch(nano: Sam) -> None:
    size = SAM_NANO.image_size
    example = (torch.zeros(2, size, size, 3, dtype=torch.uint8),)
    dynamic = {"image": {0: "B"}, "image_embedding": {0: "B"}}
    model = export_onnx(MaskEncoderGraph(nano), example, ["image"], ["image_embedding"], dynamic)
    # a batch of any size passes without one operator that computes shapes
    assert operators(model).isdisjoint(SHAPE_OPERATORS)
    generator = torch.Generator().manual_seed(6)
    image = torch.randint(0, 256, (1, size, size, 3), generator=generator, dtype=torch.uint8)
    (found,) = session(model).run(None, {"image": image.numpy()})
    with torch.no_grad():
        expected = nano.encode(image).numpy()
    assert found.shape == (1, SAM_NANO.out_channels, GRID, GRID)
    assert_same_numbers(found, expected)


def test_decoder_graph_equals_the_model_for_any_number_of_prompts_and_points(nano: Sam) -> None:
    generator = torch.Generator().manual_seed(7)
    embedding = torch.randn((1, SAM_NANO.out_channels, GRID, GRID), generator=generator)
    names = ["image_embedding", "point_coords", "point_labels"]
    model = export_onnx(
        MaskDecoderGraph(nano),
        (embedding, torch.zeros(2, 3, 2), torch.zeros(2, 3)),
        names,
        ["mask_logits", "iou"],
        {
            "point_coords": {0: "N", 1: "P"},
            "point_labels": {0: "N", 1: "P"},
            "mask_logits": {0: "N"},
            "iou": {0: "N"},
        },
    )
    assert operators(model).isdisjoint(SHAPE_OPERATORS - {"Shape"})
    runner = session(model)
    for count, points in ((1, 1), (3, 2), (2, 6)):
        coords = torch.rand((count, points, 2), generator=generator) * SIZE
        labels = torch.randint(-1, 4, (count, points), generator=generator).float()
        inputs = (embedding, coords, labels)
        masks, iou = runner.run(
            None, {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
        )
        with torch.no_grad():
            expected = nano.decode(*inputs)
        assert masks.shape == (count, 4, 4 * GRID, 4 * GRID)
        assert_same_numbers(masks, expected[0].numpy())
        assert_same_numbers(iou, expected[1].numpy())


def test_nano_stays_small() -> None:
    parameters = sum(p.numel() for p in Sam(SAM_NANO).parameters())
    assert parameters < 3_000_000  # 11 MB, of the 30 that all graphs together may take


def test_the_original_code_behind_the_stem_sees_the_same(nano: Sam) -> None:
    original = sam_like(SAM_NANO)
    original.load_state_dict(nano.state_dict())
    generator = torch.Generator().manual_seed(8)
    image = torch.randint(0, 256, (1, SIZE, SIZE, 3), generator=generator).float()
    planes = image.permute(0, 3, 1, 2)
    with torch.no_grad():
        found = original.image_encoder((planes - original.pixel_mean) / original.pixel_std)
        assert_same_numbers(found.numpy(), nano.encode(image).numpy())
