"""Prompts, masks and labels from the truth; losses of sam and clip; windows equal the frame."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from t2s_export.architectures.clip import CLIP_NANO, Clip
from t2s_export.architectures.sam import SAM_NANO, Sam
from t2s_export.architectures.sam.image_encoder import ImageEncoder
from t2s_export.nano.augment import augment, centre_frame, objects_of
from t2s_export.nano.auxiliary import CLASSES, class_shares
from t2s_export.nano.clip_stage import ClipStage, group_log_probabilities
from t2s_export.nano.data import Sample, ShardSet
from t2s_export.nano.labels import full_labels, sample_labels
from t2s_export.nano.models import LOCAL_CELLS
from t2s_export.nano.sam_prompts import PromptGroup, localised, regions_of, sample_prompts
from t2s_export.nano.sam_stage import LOCAL_WINDOWS, SamStage, mask_losses
from t2s_export.nano.sam_start import is_taught, start_from_clip
from t2s_export.nano.windowed_sam import Prompts, WindowedSam
from t2s_rt.errors import UsageError

SMALL = dataclasses.replace(SAM_NANO, image_size=128, depth=2, global_blocks=(1,), window_size=8)


def test_augmented_truth_follows_the_pixels(two_objects: Sample) -> None:
    # an image that shows the truth: whatever the geometry did, colours must still tell classes
    shown = dataclasses.replace(
        two_objects, image=np.repeat(two_objects.classes[..., None] * 20, 3, axis=2)
    )
    for seed in range(20):
        frame = centre_frame(augment(shown, 64, np.random.default_rng(seed)), 64)
        car = frame.image[frame.classes == 5].mean() if (frame.classes == 5).any() else None
        tree = frame.image[frame.classes == 3].mean() if (frame.classes == 3).any() else None
        if car is not None and tree is not None:
            assert car > tree
        assert set(np.unique(frame.instances)) <= {0, 1, 2, 3}


def test_objects_are_tight(two_objects: Sample) -> None:
    objects = objects_of(two_objects)
    assert objects.boxes.tolist() == [[4, 8, 20, 20], [30, 40, 38, 46], [48, 48, 64, 64]]
    assert objects.pixels.tolist() == [192, 48, 256]
    assert objects.share.tolist() == [1, 1, 1]


def test_prompts_lie_where_they_say(two_objects: Sample) -> None:
    for seed in range(10):
        groups = sample_prompts(two_objects, 6, 6, np.random.default_rng(seed))
        boxes, points = groups
        assert boxes.boxes and not points.boxes
        assert boxes.labels[:, :2].tolist() == [[2, 3]] * 6
        assert bool((points.labels[:, -1] == -1).all())
        for mask, coords, labels in zip(points.masks, points.coords, points.labels, strict=True):
            for (x, y), label in zip((coords + 0.5).tolist(), labels.tolist(), strict=True):
                value = float(mask[int(y) // 2, int(x) // 2])
                if label == 1:
                    assert value > 0
                if label == 0:
                    assert value < 1
        corners = (boxes.coords[:, :2] + 0.5).tolist()
        for mask, (low, high) in zip(boxes.masks, corners, strict=True):
            rows, columns = np.nonzero(mask.numpy())
            side = max(high[0] - low[0], high[1] - low[1])
            assert abs(columns.min() * 2 - low[0]) <= 0.15 * side + 2
            assert abs((rows.max() + 1) * 2 - high[1]) <= 0.15 * side + 2


def test_stuff_components_are_regions(two_objects: Sample) -> None:
    regions = regions_of(two_objects)
    assert sorted(r.class_id for r in regions.regions) == [1, 3, 5, 6]
    grass = next(r for r in regions.regions if r.class_id == 6)
    assert int(regions.mask(grass).sum()) == int((two_objects.classes == 6).sum())


def test_mask_losses_order_masks_by_quality() -> None:
    target = torch.zeros(1, 32, 32)
    target[0, 4:8, 4:8] = 1
    perfect = (target * 2 - 1) * 10
    shifted = perfect.roll(2, 1)
    nothing = torch.full_like(target, -10.0)
    logits = torch.stack([perfect, shifted, nothing], 1)
    cross, dice = mask_losses(logits, target)
    each = (2 * cross + dice)[0].tolist()
    assert each[0] < 0.05 < each[1] and each[0] < each[2]


def test_window_of_the_whole_frame_is_the_frame() -> None:
    torch.manual_seed(0)
    sam = Sam(SMALL)
    image = torch.randint(0, 256, (1, 128, 128, 3))
    prompts: Prompts = [
        [(torch.rand(3, 2, 2) * 128, torch.tensor([[2.0, 3.0]]).expand(3, 2), None)]
    ]
    runner = WindowedSam(sam, 128)
    ((whole,),), _ = runner(image, prompts)
    ((window,),), embeddings = runner(image, prompts, (0, 0))
    assert embeddings.shape == (1, SMALL.out_channels, 16, 16)
    torch.testing.assert_close(window, whole, rtol=1e-4, atol=1e-4)


def test_window_trains_the_frame_s_weights() -> None:
    torch.manual_seed(0)
    sam = Sam(SMALL)
    prompts: Prompts = [[(torch.rand(3, 2, 2) * 64, torch.tensor([[2.0, 3.0]]).expand(3, 2), None)]]
    runner = WindowedSam(sam, 64)
    ((result,),), _ = runner(torch.randint(0, 256, (1, 64, 64, 3)), prompts, (64, 0))
    assert result[0].shape == (3, 4, 32, 32)
    result[0].sum().backward()  # type: ignore[no-untyped-call]
    assert isinstance(sam.image_encoder, ImageEncoder)
    seen = sam.image_encoder.pos_embed.grad
    assert seen is not None
    assert bool(seen[:, 8:, :8].any()) and not bool(seen[:, :8].any())
    assert not bool(seen[:, 8:, 8:].any())


def test_window_positions_are_the_frame_s() -> None:
    sam = Sam(SMALL)
    runner = WindowedSam(sam, 64)
    runner.positions.offset = torch.tensor([0.0, 0.5])
    xy = torch.rand(5, 2)
    frame = sam.prompt_encoder.pe_layer(xy * 0.5 + torch.tensor([0.0, 0.5]))
    torch.testing.assert_close(runner.positions(xy), frame)


def test_class_shares_of_patches() -> None:
    classes = np.zeros((16, 16), np.uint8)
    classes[:8, 8:12] = 5
    shares = class_shares(classes, 8)
    assert shares.shape == (4, CLASSES)
    assert shares[1, 5] == 0.5 and shares[1, 0] == 0.5 and shares[2, 0] == 1


def test_words_of_one_meaning_share_their_mass() -> None:
    logits = torch.tensor([[1.0, 2.0, 3.0]])
    means = torch.tensor([[True, True, False], [False, False, True], [False, False, False]])
    log_p = group_log_probabilities(logits, means)
    p = logits.softmax(-1)[0]
    torch.testing.assert_close(log_p[0, 0].exp(), p[0] + p[1])
    torch.testing.assert_close(log_p[0, 1].exp(), p[2])
    assert float(log_p[0, 2]) < -1000


@pytest.mark.parametrize("seed", range(8))
def test_label_sets_hold_one_word_per_class(seed: int) -> None:
    labels = sample_labels(np.random.default_rng(seed))
    assert bool((labels.means[1:].sum(1) <= 1).all())
    assert labels.ids.shape[0] == labels.means.shape[1] + 1
    assert labels.ids.shape[1] <= 16
    assert bool(full_labels().asked.all())


def test_losses_of_both_stages_reach_their_models(shards: ShardSet) -> None:
    sam, clip = SamStage(shards), ClipStage(shards)
    for stage in (sam, clip):
        model = stage.build()
        loss, parts = stage.losses(model, stage.batch(np.random.default_rng(0), 0.6))  # type: ignore[arg-type]
        loss.backward()  # type: ignore[no-untyped-call]
        assert bool(torch.isfinite(loss)) and all(np.isfinite(v) for v in parts.values())
        trained = [p.grad is not None for p in model.parameters() if p.requires_grad]
        assert np.mean(trained) > 0.9


def test_windows_grow_to_the_frame_and_targets_are_half_of_them(shards: ShardSet) -> None:
    stage = SamStage(shards)
    sides = []
    for spent in (0.3, 0.5, 0.75, 0.95):
        batch = stage.batch(np.random.default_rng(0), spent)
        side = batch.side
        sides.append(side)
        assert batch.images.shape[1:] == (side, side, 3)
        assert batch.shares is not None
        assert bool(batch.prompts[0]) == (spent > 0.4)
        for group in batch.prompts[0]:
            seen = side if group.window is None else LOCAL_CELLS * SAM_NANO.patch_size
            assert group.masks.shape[1:] == (seen // 2, seen // 2)
            assert group.window is None or (group.boxes and batch.corner is None)
        assert (batch.corner is None) == (side == SAM_NANO.image_size)
        assert batch.shares.shape[1:] == ((side // 2) ** 2, CLASSES)
        assert float(batch.shares.sum(-1).max()) <= 1.0 + 1e-5
    assert sides == [192, 192, 384, SAM_NANO.image_size]


def test_the_first_minutes_train_the_decoder_on_rectangles(shards: ShardSet) -> None:
    stage = SamStage(shards)
    model = stage.build()
    batch = stage.batch(np.random.default_rng(0), 0.0)
    assert batch.shares is None and batch.images.shape[1] == SAM_NANO.out_channels
    loss, parts = stage.losses(model, batch)
    loss.backward()  # type: ignore[no-untyped-call]
    assert "class_map" not in parts and parts["box_mask"] > 0
    for name, parameter in model.named_parameters():
        if name.startswith("image_encoder."):
            assert parameter.grad is None
    assert model.mask_decoder.mask_tokens.weight.grad is not None  # type: ignore[union-attr]


def test_sam_starts_with_what_clip_knows() -> None:
    torch.manual_seed(3)
    clip, sam = Clip(CLIP_NANO).eval(), Sam(SAM_NANO).eval()
    start_from_clip(sam, clip)
    encoder = sam.image_encoder
    assert isinstance(encoder, ImageEncoder)
    image = torch.randint(0, 256, (1, SAM_NANO.image_size, SAM_NANO.image_size, 3)).float()
    window = CLIP_NANO.image_size
    tokens: list[Tensor] = []
    blocks = encoder.blocks
    hook = blocks[0].register_forward_pre_hook(lambda _, inputs: tokens.append(inputs[0]))
    with torch.no_grad():
        sam.encode(image)
        hook.remove()
        corner = image[:, window : 2 * window, window : 2 * window]
        theirs = clip.visual.tokens(corner)[:, 1:]
        grid = CLIP_NANO.grid
        own = tokens[0][:, grid : 2 * grid, grid : 2 * grid]
        # at the window's edge CLIP's stem sees zeros, and SAM's the neighbouring window
        inner = (slice(None), slice(6, 18), slice(6, 18))
        torch.testing.assert_close(own[inner], theirs.view_as(own)[inner], rtol=1e-4, atol=1e-4)
        block = clip.visual.transformer.blocks[1]
        normed = block.ln_1(own.flatten(1, 2))
        wanted = block.attn.merge(block.attn.attend(*block.attn.project(normed)))
        found = blocks[1].attn(blocks[1].norm1(own))  # type: ignore[operator]
        torch.testing.assert_close(found.flatten(1, 2), wanted, rtol=1e-3, atol=1e-4)
    other = Sam(SAM_NANO)
    start_from_clip(other, clip)
    with torch.no_grad():
        parameters = dict(sam.named_parameters())
        same = {n for n, p in parameters.items() if torch.equal(p, other.get_parameter(n))}
        drawn = {n for n, p in parameters.items() if bool((p != p.flatten()[0]).any())}
    taught = {n for n in parameters if is_taught(n)}
    assert taught <= same
    assert {n for n in same & drawn if n.startswith("image_encoder.")} <= taught
    with pytest.raises(UsageError, match="of CLIP's width"):
        start_from_clip(Sam(SMALL), clip)


def test_a_block_that_clip_does_not_have_starts_as_a_no_op() -> None:
    sam = Sam(dataclasses.replace(SAM_NANO, global_blocks=(3,)))
    start_from_clip(sam, Clip(CLIP_NANO))
    assert isinstance(sam.image_encoder, ImageEncoder)
    tokens = torch.randn(1, 72, 72, SAM_NANO.embed_dim)
    with torch.no_grad():
        torch.testing.assert_close(sam.image_encoder.blocks[3](tokens), tokens)


def test_small_boxes_of_whole_frames_are_decoded_where_they_lie() -> None:
    low, high = np.array([[10.0, 300], [20, 20], [500, 540]]), np.array([12, 200, 30])
    corners = np.stack([low, low + high[:, None]], 1).astype(np.float32)
    masks = torch.zeros(3, 288, 288)
    for mask, ((x0, y0), (x1, y1)) in zip(masks, (corners / 2).astype(int), strict=True):
        mask[y0:y1, x0:x1] = 1
    labels = torch.tensor([[2.0, 3.0]]).repeat(3, 1)
    boxes = PromptGroup(torch.from_numpy(corners - 0.5), labels, masks, True)
    points = PromptGroup(boxes.coords[:, :1], labels[:, :1] * 0 + 1, masks, False)
    rest, near, same = localised([boxes, points], LOCAL_WINDOWS)
    assert same is points and rest.window is None and rest.masks.shape == (1, 288, 288)
    assert near.window is not None and near.window.tolist() == [[26, 0], [48, 48]]
    assert near.masks.shape == (2, 96, 96)
    kept = masks[[0, 2]].sum((1, 2))
    torch.testing.assert_close(near.masks.sum((1, 2)), kept)  # nothing of a target is cut off
    assert bool(near.masks[0, 46:52, 5:11].all())


def test_box_prompts_are_drawn_among_what_a_detector_finds(two_objects: Sample) -> None:
    classes = [r.class_id for r in regions_of(two_objects).draw(40, np.random.default_rng(0), (5,))]
    assert set(classes) == {5}
    # where the frame has none of them, anything will do
    none = regions_of(two_objects).draw(40, np.random.default_rng(0), (4,))
    assert {r.class_id for r in none} == {1, 3, 5, 6}
