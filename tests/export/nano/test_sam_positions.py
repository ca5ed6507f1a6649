"""A SAM that no image has trained draws the box that it is asked for."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from t2s_export.architectures.sam import SAM_NANO, Sam
from t2s_export.nano.sam_geometry import rectangles
from t2s_export.nano.sam_positions import place_positions
from t2s_rt.errors import UsageError


def _iou(logits: torch.Tensor, target: torch.Tensor) -> float:
    found, wanted = logits > 0, target >= 0.5
    union = (found | wanted).sum((1, 2)).clamp(min=1)
    return float(((found & wanted).sum((1, 2)) / union).mean())


def test_boxes_are_drawn_before_any_training() -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    group = rectangles(24, SAM_NANO.image_size, rng)
    ious = []
    for placed in (False, True):
        sam = Sam(SAM_NANO).eval()
        if placed:
            place_positions(sam)
        with torch.no_grad():
            image = torch.from_numpy(rng.integers(0, 256, (1, 576, 576, 3), np.uint8))
            logits, _ = sam.decode(sam.encode(image), group.coords, group.labels)
        ious.append(_iou(logits[:, 0], group.masks))
    assert ious[0] < 0.3 and ious[1] > 0.8


def test_positions_see_one_axis_each() -> None:
    torch.manual_seed(0)
    sam = Sam(SAM_NANO)
    place_positions(sam)
    matrix = sam.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
    seen = (matrix != 0).sum(0)
    assert int(seen.max()) == 1
    assert sorted(matrix[0][matrix[0] > 0].tolist()) == sorted(matrix[1][matrix[1] > 0].tolist())
    # two channels stand still, one for each axis: what they would have said is the corners' flag
    # and the image tokens' constant
    assert int((seen == 0).sum()) == 2


def test_a_decoder_of_other_heads_is_refused() -> None:
    with pytest.raises(UsageError, match="expected 4 decoder heads"):
        place_positions(Sam(dataclasses.replace(SAM_NANO, decoder_heads=2)))
