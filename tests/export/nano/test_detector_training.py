"""Captions, box targets, matching and the detector's losses on cases small enough to check."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from t2s_export.nano.augment import objects_of
from t2s_export.nano.captions import (
    BOX_CLASSES,
    collate_captions,
    encode_caption,
    full_caption,
    sample_caption,
    special_ids,
)
from t2s_export.nano.data import Sample, ShardSet
from t2s_export.nano.detector_loss import encoder_loss, layer_loss
from t2s_export.nano.detector_stage import DetectorStage, box_targets, wanted_objects
from t2s_export.nano.matching import BoxTargets, corners, generalised_iou, match
from t2s_rt.prompts.caption import caption_inputs


def test_caption_masks_are_the_hosts_rule_row_by_row() -> None:
    captions = [
        encode_caption([("car", 5), ("parking lot", 9)]),
        encode_caption([("low vegetation", 0)]),
    ]
    batch = collate_captions(captions)
    for row, caption in enumerate(captions):
        n = len(caption.ids)
        mask, attention, positions = caption_inputs(caption.ids, special_ids())
        assert batch.token_mask[row].tolist() == mask[0].tolist() + [False] * (
            batch.input_ids.shape[1] - n
        )
        np.testing.assert_array_equal(batch.self_attention_mask[row, :n, :n], attention[0])
        np.testing.assert_array_equal(batch.position_ids[row, :n], positions[0])
    # "parking lot ." sees itself and nothing of "car ."
    start, end = captions[0].spans[1]
    seen = batch.self_attention_mask[0, start].nonzero()[:, 0].tolist()
    assert seen == [start, start + 1, end]


@given(st.integers(0, 10_000))
def test_sampled_captions_keep_their_spans(seed: int) -> None:
    caption = sample_caption(np.random.default_rng(seed))
    assert len(caption.ids) <= 64
    assert any(caption.class_ids)
    ends = [end for _, end in caption.spans]
    assert all(caption.ids[end] == special_ids()[2] for end in ends)
    assert {c for c in caption.class_ids if c} <= {c.id for c in BOX_CLASSES}


def test_absent_words_are_negatives_of_the_full_caption() -> None:
    caption = full_caption()
    length = len(caption.ids)
    boxed = sum(caption.token_map(c.id, length).sum() for c in BOX_CLASSES)
    tokens = sum(end - start for start, end in caption.spans)
    assert 0 < boxed < tokens  # road, low vegetation … have tokens but no class


def test_targets_of_objects_and_ignored_crowd(two_objects: Sample) -> None:
    caption = encode_caption([("building", 1), ("car", 5), ("tree", 3), ("boat", 0)])
    wanted = wanted_objects(objects_of(two_objects))
    assert wanted.tolist() == [True, True, False]
    targets = box_targets(two_objects, caption, 12)
    expected = torch.tensor([[12, 14, 16, 12], [34, 43, 8, 6]]) / 64
    torch.testing.assert_close(targets.boxes, expected)
    assert targets.tokens.argmax(1).tolist() == [caption.spans[0][0], caption.spans[1][0]]
    assert targets.ignored is not None
    tree = caption.spans[2][0]
    assert targets.ignored[tree, 48:, 48:].all() and not targets.ignored[tree, :48].any()
    assert not targets.ignored[: tree - 1].any()


def test_objects_of_classes_not_asked_for_are_no_targets(two_objects: Sample) -> None:
    targets = box_targets(two_objects, encode_caption([("car", 5)]), 8)
    assert len(targets.boxes) == 1 and targets.ignored is None


def test_cut_objects_need_enough_in_view(two_objects: Sample) -> None:
    mostly_outside = replace(two_objects, pixels=np.array([192 * 4, 48, 256]))
    assert wanted_objects(objects_of(mostly_outside)).tolist() == [False, True, False]


def test_giou_of_known_boxes() -> None:
    a = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
    b = torch.tensor([[1.0, 1.0, 3.0, 3.0], [2.0, 0.0, 4.0, 2.0], [0.0, 0.0, 2.0, 2.0]])
    giou, iou = generalised_iou(a, b)
    torch.testing.assert_close(iou, torch.tensor([1 / 7, 0.0, 1.0]))
    torch.testing.assert_close(giou, torch.tensor([1 / 7 - 2 / 9, 0.0, 1.0]))


def _random_case(seed: int, objects: int) -> tuple[torch.Tensor, torch.Tensor, BoxTargets]:
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.rand(1, 5, 4, generator=generator) * 0.5 + 0.2
    logits = torch.randn(1, 5, 6, generator=generator)
    tokens = torch.zeros(objects, 6)
    tokens[torch.arange(objects), torch.randint(0, 6, (objects,), generator=generator)] = 1
    wanted = torch.rand(objects, 4, generator=generator) * 0.5 + 0.2
    return logits, boxes, BoxTargets(wanted, tokens)


@pytest.mark.parametrize("seed", range(5))
def test_matching_is_the_cheapest_of_all_assignments(seed: int) -> None:
    logits, boxes, target = _random_case(seed, 3)
    ((queries, objects),) = match(logits, boxes, [target])

    def cost(query: int, thing: int) -> float:
        p = logits[0, query, target.tokens[thing] > 0].sigmoid()
        focal = 0.25 * (1 - p) ** 2 * -p.log() - 0.75 * p**2 * -(1 - p).log()
        giou, _ = generalised_iou(corners(boxes[0, query]), corners(target.boxes[thing]))
        distance = (boxes[0, query] - target.boxes[thing]).abs().sum()
        return float(2 * focal + 5 * distance - 2 * giou)

    best = min(
        itertools.permutations(range(5), 3),
        key=lambda chosen: sum(cost(q, t) for t, q in enumerate(chosen)),
    )
    assert dict(zip(objects.tolist(), queries.tolist(), strict=True)) == dict(enumerate(best))


def test_perfect_layer_costs_less_than_any_other_and_padding_costs_nothing() -> None:
    _, boxes, target = _random_case(1, 3)
    mask = torch.tensor([[True] * 6 + [False] * 2])
    target = BoxTargets(target.boxes, torch.cat([target.tokens, torch.zeros(3, 2)], 1))
    boxes[0, :3] = target.boxes
    logits = torch.full((1, 5, 8), -9.0)
    logits[0, :3][target.tokens > 0] = 9.0
    perfect = layer_loss(logits, boxes, [target], mask)
    assert sum(float(part) for part in perfect) < 0.01
    padded = logits.clone()
    padded[..., 6:] = 50.0
    assert layer_loss(padded, boxes, [target], mask)[0] == perfect[0]
    worse = logits.clone()
    worse[0, 4, 0] = 3.0
    assert layer_loss(worse, boxes, [target], mask)[0] > perfect[0]


def test_ignored_places_are_no_negatives() -> None:
    boxes = torch.tensor([[[0.25, 0.25, 0.1, 0.1], [0.75, 0.75, 0.1, 0.1]]])
    logits = torch.tensor([[[-9.0, -9.0], [4.0, -9.0]]])
    mask = torch.ones(1, 2, dtype=torch.bool)
    ignored = torch.zeros(2, 4, 4, dtype=torch.bool)
    ignored[0, 2:, 2:] = True
    nothing = BoxTargets(torch.zeros(0, 4), torch.zeros(0, 2))
    assert layer_loss(logits, boxes, [nothing], mask)[0] > 0.1
    spared = BoxTargets(nothing.boxes, nothing.tokens, ignored)
    assert layer_loss(logits, boxes, [spared], mask)[0] < 1e-3


def test_encoder_loss_wants_each_object_on_its_level() -> None:
    shapes = [(8, 8), (4, 4)]
    target = BoxTargets(torch.tensor([[0.44, 0.31, 0.2, 0.2]]), torch.tensor([[0.0, 1.0]]))
    valid = torch.ones(80, dtype=torch.bool)
    mask = torch.ones(1, 2, dtype=torch.bool)
    boxes = target.boxes.expand(80, 4)[None]

    def focal(cell: int) -> float:
        logits = torch.full((1, 80, 2), -9.0)
        logits[0, cell, 1] = 9.0
        return float(encoder_loss(logits, boxes, shapes, valid, [target], mask, 64)[0])

    # 12.8 px in a 64 px frame: the fine level, row 2, column 3
    costs = [focal(cell) for cell in range(80)]
    assert int(np.argmin(costs)) == 2 * 8 + 3
    _, distance, overlap = encoder_loss(
        torch.zeros(1, 80, 2), boxes, shapes, valid, [target], mask, 64
    )
    assert float(distance) == 0 and float(overlap) == pytest.approx(0, abs=1e-6)


def test_an_object_at_the_very_edge_alone_gives_no_nan() -> None:
    target = BoxTargets(torch.tensor([[0.5, 0.02, 0.2, 0.04]]), torch.tensor([[1.0]]))
    valid = torch.zeros(64, dtype=torch.bool)
    valid[8:] = True  # proposals of the first row are too close to the edge
    logits, boxes = torch.zeros(1, 64, 1), torch.full((1, 64, 4), 0.4)
    mask = torch.ones(1, 1, dtype=torch.bool)
    focal, *of_boxes = encoder_loss(logits, boxes, [(8, 8)], valid, [target], mask, 128)
    assert 0 < float(focal) < 100 and of_boxes == [0, 0]


def test_stage_batches_depend_on_the_generator_only(shards: ShardSet) -> None:
    stage = DetectorStage(shards)
    first, again = (stage.batch(np.random.default_rng(3), 0.0) for _ in range(2))
    other = stage.batch(np.random.default_rng(4), 0.0)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.targets[0].boxes, again.targets[0].boxes)
    assert not torch.equal(first.images, other.images)
    boxes = first.targets[0].boxes
    assert first.images.shape == (2, 256, 256, 3)
    assert stage.batch(np.random.default_rng(3), 0.9).images.shape == (
        1,
        stage.frame,
        stage.frame,
        3,
    )
    assert bool((corners(boxes) >= 0).all() and (corners(boxes) <= 1).all())


def test_small_frames_train_the_same_parameters(shards: ShardSet) -> None:
    stage = DetectorStage(shards)
    model = stage.build()
    loss, parts = stage.losses(model, stage.batch(np.random.default_rng(1), 0.0))
    loss.backward()  # type: ignore[no-untyped-call]
    assert bool(torch.isfinite(loss)) and parts["class_map"] > 0
    seen = {n for n, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())}
    assert "auxiliary.0.weight" in seen
    assert any(n.startswith("backbone.0.patch_embed") for n in seen)
    assert any(n.startswith("bert.embeddings") for n in seen)
    assert "transformer.tgt_embed.weight" in seen
