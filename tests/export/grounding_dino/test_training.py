"""The modules train: gradients, batches with a caption each, initial values."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from tests.export.grounding_dino.conftest import SMALL, Caption, CaptionMaker
from torch import Tensor

from t2s_export.architectures.grounding_dino import DetectorOutput, GroundingDino
from t2s_rt.errors import UsageError

PROPOSALS = 16 * 16 + 8 * 8 + 4 * 4


def _token_ids(batch: int, length: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, SMALL.vocabulary_size, (batch, length), generator=generator)


def _detect(model: GroundingDino, images: Tensor, caption: CaptionMaker) -> DetectorOutput:
    words = caption(7, batch=2, padding=2)
    features = model.encode_text(_token_ids(2, 9), words.position_ids, words.self_attention_mask)
    return model.detect(images, features, *words[1:])


def test_every_parameter_trains(
    small: GroundingDino, images: Tensor, caption: CaptionMaker
) -> None:
    found = _detect(small.train(), images, caption)
    assert found.encoder_logits is not None
    assert found.encoder_boxes is not None
    outputs = [found.encoder_logits, found.encoder_boxes]
    outputs += [tensor for layer in found.layers for tensor in layer]
    generator = torch.Generator().manual_seed(2)
    loss = torch.zeros(())
    for output in outputs:
        kept = output.clamp(min=-100.0)  # padding has -1e4, which would drown the rest
        loss = loss + (kept * torch.randn(kept.shape, generator=generator)).mean()
    torch.autograd.backward(loss)
    dead = {
        name
        for name, parameter in small.named_parameters()
        if parameter.grad is None or float(parameter.grad.abs().max()) < 1e-9
    }
    # the bias of a key shifts all scores of a query alike, which its softmax does not see
    assert dead <= {f"bert.encoder.layer.{i}.attention.self.key.bias" for i in (0, 1)}
    assert all(bool(p.grad.isfinite().all()) for p in small.parameters() if p.grad is not None)


def test_outputs_of_both_modes(small: GroundingDino, images: Tensor, caption: CaptionMaker) -> None:
    trained = _detect(small.train(), images, caption)
    assert trained.logits.shape == (2, SMALL.queries, 9)
    assert trained.boxes.shape == (2, SMALL.queries, 4)
    assert trained.level_shapes == ((16, 16), (8, 8), (4, 4))
    assert trained.valid.shape == (PROPOSALS,)
    assert len(trained.layers) == SMALL.decoder_layers
    assert trained.layers[-1][1] is trained.boxes
    assert trained.encoder_logits is not None
    assert trained.encoder_logits.shape == (2, PROPOSALS, 9)
    with torch.no_grad():
        evaluated = _detect(small.eval(), images, caption)
    assert evaluated.encoder_boxes is None
    assert evaluated.layers == ()
    assert torch.equal(evaluated.selected, trained.selected)
    torch.testing.assert_close(evaluated.boxes, trained.boxes, atol=1e-5, rtol=0)


def test_proposals_lie_where_their_cells_are(
    small: GroundingDino, images: Tensor, caption: CaptionMaker
) -> None:
    """With a box head of zeros the dense boxes are the proposals themselves."""
    for parameter in small.transformer.enc_out_bbox_embed.layers[-1].parameters():
        torch.nn.init.zeros_(parameter)
    found = _detect(small.train(), images, caption)
    assert found.encoder_boxes is not None
    # second level: cell (row 3, column 5) of 8 x 8; its box is twice the first level's
    cell = 16 * 16 + 3 * 8 + 5
    expected = torch.tensor([5.5 / 8, 3.5 / 8, 0.1, 0.1])
    torch.testing.assert_close(found.encoder_boxes[0, cell], expected)
    assert bool(found.valid[cell])


def test_proposals_beyond_the_frame_are_never_selected(
    small: GroundingDino, images: Tensor, caption: CaptionMaker
) -> None:
    # proposals of the last level reach beyond 0.99 when the base size is large
    object.__setattr__(small.config, "proposal_size", 0.3)
    found = _detect(small.train(), images, caption)
    object.__setattr__(small.config, "proposal_size", 0.05)
    assert not bool(found.valid[-16:].any())
    assert bool(found.valid[found.selected].all())


def test_images_of_a_batch_do_not_mix(
    small: GroundingDino, images: Tensor, caption: CaptionMaker
) -> None:
    words = caption(7, batch=2, padding=2)
    with torch.no_grad():
        together = small.eval().detect(images, *words)
        for row in range(2):
            one = slice(row, row + 1)
            alone = small.detect(
                images[one], *Caption(*(part[one] for part in words)), together.selected[one]
            )
            torch.testing.assert_close(alone.boxes[0], together.boxes[row], atol=2e-4, rtol=0)
            torch.testing.assert_close(alone.logits[0], together.logits[row], atol=5e-3, rtol=1e-4)
    assert not torch.allclose(together.boxes[0], together.boxes[1], atol=1e-2)


def test_one_caption_serves_a_batch(
    small: GroundingDino, images: Tensor, caption: CaptionMaker
) -> None:
    words = caption(7)
    with torch.no_grad():
        shared = small.eval().detect(images, *words)
        twice = Caption(*(part.expand(2, *part.shape[1:]) for part in words))
        repeated = small.detect(images, *twice, shared.selected)
    torch.testing.assert_close(shared.boxes, repeated.boxes, atol=2e-4, rtol=0)


def test_float_images_are_bytes(
    small: GroundingDino, images: Tensor, caption: CaptionMaker
) -> None:
    words = caption(7)
    with torch.no_grad():
        as_bytes = small.eval().detect(images, *words)
        as_floats = small.detect(images.float(), *words)
    assert torch.equal(as_bytes.boxes, as_floats.boxes)


def test_initial_values_cover_every_parameter() -> None:
    model = GroundingDino(SMALL)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(math.nan)
    torch.manual_seed(0)
    model.initialise_for_training()
    assert [n for n, p in model.named_parameters() if not bool(p.isfinite().all())] == []
    first = model.transformer.encoder.fusion_layers[0]
    assert torch.equal(first.get_parameter("gamma_v"), torch.full((SMALL.d_model,), 0.5))


def test_class_logits_start_rare(images: Tensor, caption: CaptionMaker) -> None:
    """The prior of the contrastive head: about one in a hundred tokens fits."""
    torch.manual_seed(0)
    model = GroundingDino(SMALL)
    model.initialise_for_training()
    with torch.no_grad():
        found = _detect(model.train(), images, caption)
    assert found.encoder_logits is not None
    for logits in (found.logits, found.encoder_logits):
        real = logits[..., :7]
        assert -6.0 < float(real.mean()) < -3.0
        assert float(real.sigmoid().mean()) < 0.1


def test_a_few_steps_fit_two_images(images: Tensor, caption: CaptionMaker) -> None:
    torch.manual_seed(0)
    model = GroundingDino(SMALL)
    model.initialise_for_training()
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
    # one object, seen by the second level's cell (row 3, column 5) and by any one query
    cell, box = 16 * 16 + 3 * 8 + 5, torch.tensor([0.7, 0.45, 0.2, 0.3])
    losses: list[float] = []
    for _ in range(20):
        found = _detect(model.train(), images, caption)
        assert found.encoder_logits is not None
        assert found.encoder_boxes is not None
        target = torch.zeros_like(found.encoder_logits[..., :7])
        target[:, cell, 1] = 1.0
        loss = F.binary_cross_entropy_with_logits(
            found.encoder_logits[..., :7], target, reduction="sum"
        ).div(2)
        loss = loss + 5 * (found.encoder_boxes[:, cell] - box).abs().sum(dim=-1).mean()
        for _, predicted in found.layers:
            loss = loss + 5 * (predicted - box).abs().sum(dim=-1).amin(dim=1).mean()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.parametrize("size", [(130, 128), (128, 2)])
def test_odd_frames_are_refused(
    small: GroundingDino, caption: CaptionMaker, size: tuple[int, int]
) -> None:
    with pytest.raises(UsageError, match="multiple of 4"):
        small.detect(torch.zeros(1, *size, 3, dtype=torch.uint8), *caption(5))
