"""A detector on windows of its frame: the same coordinates, the same weights."""

from __future__ import annotations

import dataclasses
from typing import cast

import pytest
import torch

from t2s_export.architectures.grounding_dino import GroundingDino, GroundingDinoConfig
from t2s_export.nano.captions import CaptionBatch, collate_captions, encode_caption
from t2s_export.nano.models import nano_config
from t2s_export.nano.windowed_detector import WindowedDetector, detect

FRAME = 512
LAST = FRAME - 128


@pytest.fixture
def model() -> GroundingDino:
    torch.manual_seed(0)
    config = dataclasses.replace(
        cast(GroundingDinoConfig, nano_config("detector")),
        frame=FRAME,
        queries=60,
        swin_depths=(1, 1, 1),
        encoder_layers=1,
        decoder_layers=2,
    )
    model = GroundingDino(config)
    model.initialise_for_training()
    with torch.no_grad():  # windows draw their queries: alike, the draw does not matter
        model.transformer.tgt_embed.weight.copy_(model.transformer.tgt_embed.weight[:1].clone())
    return model.train()


@pytest.fixture
def captions() -> CaptionBatch:
    return collate_captions([encode_caption([("car", 5), ("tree", 3)])])


def test_a_window_that_is_the_frame_sees_what_the_frame_sees(
    model: GroundingDino, captions: CaptionBatch
) -> None:
    image = torch.randint(0, 256, (1, FRAME, FRAME, 3))
    whole = detect(model, image, captions)
    window = WindowedDetector(model, FRAME, 60)(image, captions, (0, 0))
    torch.testing.assert_close(window.logits, whole.logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(window.boxes, whole.boxes, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("corner", [(0, 0), (LAST, 0), (0, LAST), (192, LAST)])
def test_proposals_of_a_window_are_the_frame_s(
    model: GroundingDino, captions: CaptionBatch, corner: tuple[int, int]
) -> None:
    """Before anything is learnt, boxes are the proposals: the same places and sizes in pixels."""
    for layer in (model.transformer.enc_out_bbox_embed, *model.bbox_embed):
        torch.nn.init.zeros_(layer.layers[-1].weight)
        torch.nn.init.zeros_(layer.layers[-1].bias)
    image = torch.randint(0, 256, (1, 128, 128, 3))
    output = WindowedDetector(model, 128, 60)(image, captions, corner)
    assert output.encoder_boxes is not None
    boxes = output.encoder_boxes[0] * 128
    rows, columns = output.level_shapes[0]
    first = boxes[: rows * columns].view(rows, columns, 4)[
        output.valid[: rows * columns].view(rows, columns)
    ]
    offset = (first[:, :2] / 8) % 1
    torch.testing.assert_close(offset, torch.full_like(offset, 0.5), rtol=0, atol=1e-3)
    size = model.config.proposal_size * FRAME
    torch.testing.assert_close(first[:, 2:], torch.full_like(first[:, 2:], size), rtol=1e-3, atol=0)
    # the frame's edge makes proposals invalid, an edge between windows does not
    valid = output.valid[: rows * columns].view(rows, columns)
    assert bool(valid[0].any()) == (corner[0] > 0)
    assert bool(valid[:, 0].any()) == (corner[1] > 0)
    assert bool(valid[-1].any()) == (corner[0] < LAST)


def test_gradients_land_in_the_frame_s_parameters(
    model: GroundingDino, captions: CaptionBatch
) -> None:
    output = WindowedDetector(model, 128, 40)(
        torch.randint(0, 256, (1, 128, 128, 3)), captions, (128, 0)
    )
    assert output.encoder_logits is not None and output.encoder_boxes is not None
    parts = (output.encoder_logits, output.encoder_boxes, output.logits, output.boxes)
    sum(part[part > -100].sum() for part in parts).backward()  # type: ignore[union-attr]
    missing = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert missing == []
    drawn = model.transformer.tgt_embed.weight.grad
    assert drawn is not None
    assert int((drawn.abs().sum(1) > 0).sum()) == 40
