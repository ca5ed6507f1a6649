"""What eases the first minutes: filled boxes, class colours, whitened patches, short frames."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from t2s_export.architectures.clip import Clip
from t2s_export.nano.augment import augment, cartoon
from t2s_export.nano.auxiliary import FineMap, class_map_loss, class_shares
from t2s_export.nano.clip_start import start_from_own_patches
from t2s_export.nano.data import Sample, ShardSet
from t2s_export.nano.detector_stage import DetectorStage
from t2s_export.nano.models import build_model
from t2s_export.nano.optimiser import MuonAdamW
from t2s_export.nano.sam_geometry import rectangles
from t2s_export.nano.sam_stage import SamStage
from t2s_export.nano.whitening import whiten_patch_embedding
from t2s_rt.errors import BackendError
from t2s_rt.synthetic import CLASSES


@given(st.integers(0, 10_000), st.sampled_from([64, 128]))
@settings(max_examples=40, deadline=None)
def test_rectangles_cover_their_boxes(seed: int, side: int) -> None:
    group = rectangles(12, side, np.random.default_rng(seed))
    corners = group.coords + 0.5
    assert group.boxes and group.labels.tolist() == [[2.0, 3.0]] * len(corners)
    assert bool((corners >= 0).all()) and bool((corners <= side).all())
    sides = corners[:, 1] - corners[:, 0]
    # a share per block of 2 x 2 pixels: four times their sum is the area, to the last fraction
    torch.testing.assert_close(group.masks.sum((1, 2)) * 4, sides.prod(1), rtol=1e-3, atol=0.05)
    for mask, (low, high) in zip(group.masks, corners, strict=True):
        rows, columns = mask.nonzero(as_tuple=True)
        assert int(columns.min()) == int(low[0] // 2) and int(rows.min()) == int(low[1] // 2)
        assert int(rows.max()) == int(-(-high[1] // 2)) - 1


def test_cartoons_keep_shapes_and_drop_pixels(two_objects: Sample) -> None:
    rng = np.random.default_rng(0)
    assert (cartoon(two_objects, 0.0, rng).image == two_objects.image).all()
    flat = cartoon(two_objects, 1.0, rng).image
    colours = []
    for part in (two_objects.instances == 1, two_objects.instances == 2, two_objects.classes == 6):
        assert (flat[part] == flat[part][0]).all()
        colours.append(tuple(flat[part][0]))
    assert len(set(colours)) == 3
    again = cartoon(two_objects, 1.0, rng).image
    assert (again[two_objects.instances == 1] != flat[two_objects.instances == 1]).any()


def test_short_frames_are_black_and_mean_nothing(shards: ShardSet) -> None:
    rng = np.random.default_rng(1)
    frames = [augment(shards.sample(i % 4), 256, rng) for i in range(60)]
    short = [f for f in frames if (f.classes == 255).any()]
    assert 1 <= len(short) <= 20
    for frame in short:
        beyond = frame.classes == 255
        assert (frame.image[beyond] == 0).all() and (frame.instances[beyond] == 0).all()
        shares = class_shares(frame.classes, 8)
        assert shares.sum() == pytest.approx((~beyond).sum() / 64, rel=1e-4)


def test_patches_without_class_cost_nothing() -> None:
    head = nn.Linear(4, len(CLASSES)).requires_grad_(False)
    tokens = torch.randn(1, 6, 4)
    shares = torch.zeros(1, 6, len(CLASSES))
    shares[0, :3, 2] = 1
    moved = tokens.clone()
    moved[0, 3:] += 5
    torch.testing.assert_close(
        class_map_loss(head, tokens, shares), class_map_loss(head, moved, shares)
    )
    assert class_map_loss(head, tokens, torch.zeros(1, 6, len(CLASSES))).item() == 0


def test_sixteenths_of_a_patch_are_named_in_the_order_of_the_shares() -> None:
    classes = np.zeros((16, 16), np.uint8)
    classes[2:4, 14:] = 5
    shares = class_shares(classes, 2)
    assert np.argwhere(shares[:, 5] == 1).tolist() == [[1 * 8 + 7]]
    head = FineMap(2)
    first, _, second = head.layers
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.zero_()
        first.get_parameter("weight")[0, 0, 0, 1] = 4.0  # the upper right quarter
        second.get_parameter("weight")[0, 5, 1, 1] = 1.0  # its lower right quarter is a car
    embeddings = torch.zeros(1, 2, 2, 2)
    embeddings[0, 0, 0, 1] = 1.0
    logits = head(embeddings)[0]
    assert logits.shape == shares.shape
    assert logits[:, 5].argmax() == 1 * 8 + 7 and int((logits != 0).sum()) == 1


def test_whitened_patches_show_texture(shards: ShardSet) -> None:
    conv = nn.Conv2d(3, 64, 8, 8, bias=False)

    def texture() -> float:
        """Share of the embedding's variance that is left when patches lose their mean colour."""
        images = np.stack([shards.sample(i).image for i in range(4)])
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 60
        flat = nn.functional.interpolate(nn.functional.avg_pool2d(pixels, 8), scale_factor=8)
        with torch.no_grad():
            left, whole = conv(pixels - flat), conv(pixels)
        return float(left.var((0, 2, 3)).sum() / whole.var((0, 2, 3)).sum())

    before = texture()
    whiten_patch_embedding(conv, shards, (60.0, 60.0, 60.0), 1.0)
    assert texture() > max(0.6, 2 * before)
    rows = conv.weight.detach().flatten(1)
    cosines = nn.functional.normalize(rows, dim=1) @ nn.functional.normalize(rows, dim=1).T
    torch.testing.assert_close(cosines, torch.eye(64), atol=1e-3, rtol=0)


def test_muon_trains_hidden_matrices_and_adamw_the_rest() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 32), nn.LayerNorm(32), nn.Linear(32, 2))
    optimiser = MuonAdamW(model, 1e-2, 0.01, lambda name: 1.0, 2.0)
    assert sorted(g["rate"] for g in optimiser.param_groups) == [1.0, 1.0, 2.0]
    x, y = torch.randn(64, 32), torch.randint(0, 2, (64,))

    def loss() -> torch.Tensor:
        return nn.functional.cross_entropy(model(x), y)

    first = loss().item()
    for _ in range(30):
        model.zero_grad()
        loss().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert loss().item() < 0.5 * first
    again = MuonAdamW(model, 1e-2, 0.01, lambda name: 1.0, 2.0)
    again.load_state_dict(optimiser.state_dict())
    assert len(again.param_groups) == 3


def test_an_older_torch_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(BackendError, match="torch 2.9"):
        MuonAdamW(nn.Linear(2, 2), 1e-3, 0.0, lambda name: 1.0, 1.0)


def test_small_objects_of_coarse_scenes_are_crowd(shards: ShardSet) -> None:
    """Scenes arrive at one resolution, whatever they were rendered at."""
    frames = [shards.sample(i) for i in range(8)]
    assert {f.image.shape for f in frames} == {(640, 640, 3)}
    assert any(f.crowd.any() for f in frames)
    for frame in frames:
        counts = np.bincount(frame.instances.ravel(), minlength=len(frame.class_ids) + 1)[1:]
        np.testing.assert_array_equal(counts, frame.pixels)
    assert all(replace(f).classes.max() < len(CLASSES) for f in frames)


def test_runs_from_trained_weights_skip_what_eases_a_start(shards: ShardSet) -> None:
    sam, detector = SamStage(shards), DetectorStage(shards)
    eased = detector.batch(np.random.default_rng(2), 0.0).images.float()
    assert sam.batch(np.random.default_rng(2), 0.0).shares is None
    sam.fresh = detector.fresh = False
    assert sam.batch(np.random.default_rng(2), 0.0).shares is not None
    plain = detector.batch(np.random.default_rng(2), 0.0).images.float()
    # the same frames: flat colours have hardly any difference between neighbours
    steps = [(x[:, :, 1:] - x[:, :, :-1]).abs().median() for x in (eased, plain)]
    assert steps[0] < steps[1]


@torch.no_grad()
def test_clip_s_dense_paths_start_from_their_own_patch() -> None:
    torch.manual_seed(0)
    clip = cast(Clip, build_model("clip"))
    size = clip.config.image_size
    image = torch.randint(0, 256, (1, size, size, 3), generator=torch.Generator().manual_seed(1))

    def own_share() -> float:
        """How much of itself a token keeps in the last block's q-q attention, a mean."""
        *blocks, last = clip.visual.transformer.blocks
        x = clip.visual.tokens(image)
        for block in blocks:
            x = block(x)
        q, _, _ = last.attn.project(last.ln_1(x))
        weights = (q @ q.transpose(2, 3) * last.attn.scale).softmax(-1)
        return float(weights.diagonal(dim1=2, dim2=3).mean())

    spread = own_share()
    start_from_own_patches(clip)
    assert spread < 0.05 and own_share() > 0.7
