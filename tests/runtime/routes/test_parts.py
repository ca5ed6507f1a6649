"""The parts that routes are made of, against slow or closed-form oracles."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from tests.runtime.routes.fakes import pack_of

from t2s_rt.models import Detections
from t2s_rt.routes import RouteSettings
from t2s_rt.routes.boxes import select
from t2s_rt.routes.decision import MapRule, decide, map_rule
from t2s_rt.routes.labels import LabelSet, softmax
from t2s_rt.routes.painting import (
    box_iou,
    mask_boxes,
    mask_window,
    nms,
    resize_planes,
    window_of,
)
from t2s_rt.routes.points import prompts_of, spread
from t2s_rt.routes.proposals import grid_points, stability
from t2s_rt.routes.result import TileResult

unit_floats = st.floats(0, 1, width=32)


@st.composite
def some_boxes(draw: st.DrawFn) -> NDArray[np.float32]:
    corners = draw(
        npst.arrays(np.float32, st.tuples(st.integers(1, 12), st.just(4)), elements=unit_floats)
    )
    low = np.minimum(corners[:, :2], corners[:, 2:])
    return np.concatenate([low, np.maximum(corners[:, :2], corners[:, 2:])], axis=1) * 64


@settings(deadline=None)
@given(some_boxes(), st.integers(0, 2**31), st.floats(0.1, 0.9))
def test_nms_is_the_textbook_loop(boxes: NDArray[np.float32], seed: int, limit: float) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.random(len(boxes)).astype(np.float32)
    groups = rng.integers(0, 3, len(boxes))
    kept: list[int] = []
    for index in np.argsort(-scores, kind="stable"):
        same = [k for k in kept if groups[k] == groups[index]]
        if all(box_iou(boxes[[index]], boxes[[k]])[0, 0] <= limit for k in same):
            kept.append(int(index))
    assert nms(boxes, scores, limit, groups).tolist() == kept


@settings(deadline=None)
@given(some_boxes())
def test_iou_is_symmetric_and_one_with_itself(boxes: NDArray[np.float32]) -> None:
    iou = box_iou(boxes, boxes)
    np.testing.assert_allclose(iou, iou.T, atol=1e-6)
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    np.testing.assert_allclose(np.diag(iou), (area > 0).astype(float), atol=1e-5)
    assert iou.min() >= 0 and iou.max() <= 1 + 1e-5


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 5), st.data())
def test_window_of_a_mask_equals_the_whole_enlarged_mask(
    seed: int, factor: int, data: st.DataObject
) -> None:
    logits = np.random.default_rng(seed).normal(size=(12, 16)).astype(np.float32)
    shape = (12 * factor, 16 * factor)
    row0 = data.draw(st.integers(0, shape[0] - 1))
    col0 = data.draw(st.integers(0, shape[1] - 1))
    window = (row0, data.draw(st.integers(row0 + 1, shape[0])), col0, shape[1])
    whole = cv2.resize(logits, shape[::-1], interpolation=cv2.INTER_LINEAR)
    part = whole[window[0] : window[1], window[2] : window[3]]
    found = mask_window(logits, shape, window)
    # warpAffine rounds positions to 1/32 pixel, so only clear signs must agree
    clear = np.abs(part) > 0.2
    assert (found == (part > 0))[clear].all()


@settings(deadline=None)
@given(npst.arrays(np.bool_, (3, 7, 9)))
def test_mask_boxes_are_tight(masks: NDArray[np.bool_]) -> None:
    for mask, box in zip(masks, mask_boxes(masks), strict=True):
        rows, cols = np.nonzero(mask)
        if len(rows):
            want = [cols.min(), rows.min(), cols.max() + 1, rows.max() + 1]
            assert box.tolist() == want
        else:
            assert not box.any()


@settings(deadline=None)
@given(st.tuples(*[st.floats(-50, 150, allow_nan=False)] * 4), st.floats(0, 0.5), st.floats(0, 5))
def test_window_of_a_box_stays_inside_and_covers_it(
    box: tuple[float, float, float, float], margin: float, extra: float
) -> None:
    x0, x1 = sorted(box[:2])
    y0, y1 = sorted(box[2:])
    row0, row1, col0, col1 = window_of(np.array([x0, y0, x1, y1]), (80, 100), margin, extra)
    assert 0 <= row0 <= row1 <= 80 and 0 <= col0 <= col1 <= 100
    for x, y in ((x0, y0), (x1, y1)):
        if 0 <= x <= 100 and 0 <= y <= 80:
            assert col0 <= x <= col1 and row0 <= y <= row1


def test_resized_planes_keep_pixel_centres() -> None:
    ramp = np.arange(8, dtype=np.float32)[None, None].repeat(4, axis=1)
    big = resize_planes(ramp, (16, 32))
    centres = (np.arange(32) + 0.5) / 4 - 0.5
    np.testing.assert_allclose(big[0, 5], np.clip(centres, 0, 7), atol=1e-5)


def _labels(seed: int = 0, classes: int = 3, others: int = 4, width: int = 16) -> LabelSet:
    rng = np.random.default_rng(seed)

    def unit(count: int) -> NDArray[np.float32]:
        x = rng.normal(size=(count, width)).astype(np.float32)
        return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True), dtype=np.float32)

    groups = [unit(1 + index) for index in range(classes)]
    sizes = [len(group) for group in groups] + [1] * others
    return LabelSet(
        texts=np.concatenate([*groups, unit(others)]),
        starts=np.cumsum([0, *sizes[:-1]]),
        classes=classes,
        redundant=unit(1)[0],
        scale=20.0,
    )


def test_label_set_of_a_pack_holds_classes_then_other_words() -> None:
    pack = pack_of("water", "road")
    labels = LabelSet.from_pack(pack)
    assert labels.classes == 2 and labels.scale == pack.logit_scale
    assert len(labels.starts) == 2 + len(pack.other_words)
    np.testing.assert_array_equal(labels.texts[1], pack.class_embeddings[1][0])
    assert LabelSet.from_pack(pack, 3.0).scale == 3.0


def test_feature_surgery_equals_the_published_form_with_its_large_tensor() -> None:
    rng = np.random.default_rng(3)
    labels = _labels()
    features = rng.normal(size=(20, 16)).astype(np.float32)
    image = rng.normal(size=16).astype(np.float32)
    # one text per label, so that the published form applies: [n, K, D] features
    texts = labels.texts[labels.starts]
    single = LabelSet(texts, np.arange(len(texts)), 3, labels.redundant, labels.scale)
    weights = np.exp(2 * image @ texts.T)
    weights = weights / weights.mean()
    large = features[:, None, :] * (texts - labels.redundant)[None] * weights[None, :, None]
    large = large - large.mean(axis=1, keepdims=True)
    want = softmax((labels.scale * large.sum(axis=2)).astype(np.float32))
    np.testing.assert_allclose(single.surgery_scores(features, image), want, atol=2e-5)


def test_scores_are_a_softmax_over_all_labels() -> None:
    labels = _labels()
    scores = labels.scores(np.random.default_rng(1).normal(size=(9, 16)).astype(np.float32))
    assert scores.shape == (9, 7)
    np.testing.assert_allclose(scores.sum(axis=1), 1.0, atol=1e-5)


def test_repeating_a_synonym_changes_nothing() -> None:
    labels = _labels()
    texts = np.insert(labels.texts, 1, labels.texts[0], axis=0)
    starts = labels.starts + (np.arange(len(labels.starts)) > 0)
    doubled = LabelSet(texts, starts, labels.classes, labels.redundant, labels.scale)
    features = np.random.default_rng(2).normal(size=(5, 16)).astype(np.float32)
    np.testing.assert_allclose(doubled.scores(features), labels.scores(features), atol=1e-6)


def _rule(*thresholds: float, over: tuple[bool, ...] | None = None) -> MapRule:
    count = len(thresholds)
    return MapRule(np.array(thresholds, np.float32), (False,) * count, over or (False,) * count)


def test_thing_goes_over_stuff_with_a_higher_score() -> None:
    scores = np.array([[[0.9, 0.9, 0.9]], [[0.0, 0.3, 0.1]], [[0.0, 0.2, 0.0]]], np.float32)
    labels, confidence = decide(scores, _rule(0.4, 0.2, 0.1, over=(False, True, True)))
    assert labels.tolist() == [[1, 2, 1]]
    np.testing.assert_allclose(confidence, [[0.9, 0.3, 0.9]])


def test_decision_takes_the_best_that_passes() -> None:
    scores = np.array([[[0.3, 0.6, 0.0, 0.5]], [[0.9, 0.55, 0.0, 0.5]]], np.float32)
    labels, confidence = decide(scores, _rule(0.2, 0.95))
    assert labels.tolist() == [[1, 1, 0, 1]]
    np.testing.assert_allclose(confidence, [[0.3, 0.6, 0.0, 0.5]])
    labels, _ = decide(scores, _rule(0.0, 0.0))
    assert labels.tolist() == [[2, 1, 0, 1]]


def test_map_rule_follow_kind_and_route() -> None:
    pack = pack_of("building", "tree", "road", building={"detector": 0.5}, road={"dense": 0.7})
    s = RouteSettings(detector=0.4, dense=0.6, points=0.2, masks=0.3)

    def of(route: str) -> list[float]:
        return [round(float(v), 3) for v in map_rule(pack, route, s).thresholds]  # type: ignore[arg-type]

    assert of("boxes") == [0.25, 0.2, 0.2]
    assert of("dense") == [0.6, 0.6, 0.7]
    assert of("points") == [0.1] * 3
    assert of("masks") == [0.15] * 3
    assert of("fused") == [0.25, 0.2, 0.7]


def _detections(*rows: tuple[tuple[float, ...], tuple[float, ...]]) -> Detections:
    return Detections(
        np.array([box for box, _ in rows], np.float32),
        np.array([scores for _, scores in rows], np.float32),
    )


def test_select_drops_image_wide_tiny_and_weak_boxes() -> None:
    pack = pack_of("building", "car")
    detections = _detections(
        ((10, 10, 40, 40), (0.8, 0.0)),
        ((0, 0, 100, 100), (0.9, 0.0)),
        ((5, 5, 6, 30), (0.9, 0.0)),
        ((60, 60, 90, 90), (0.1, 0.2)),
        ((11, 10, 41, 40), (0.7, 0.0)),
    )
    found = select(detections, pack, RouteSettings(), (100, 100))
    assert found.boxes.tolist() == [[10, 10, 40, 40]]
    assert found.classes.tolist() == [0]


def test_box_that_two_classes_claim_goes_to_the_higher_score() -> None:
    pack = pack_of("building", "car")
    detections = _detections(((10, 10, 40, 40), (0.5, 0.7)), ((11, 10, 40, 40), (0.6, 0.0)))
    found = select(detections, pack, RouteSettings(), (100, 100))
    assert found.classes.tolist() == [1]
    only = select(detections, pack, RouteSettings(), (100, 100), (True, False))
    assert only.classes.tolist() == [0]
    np.testing.assert_allclose(only.scores, [0.6])


def test_box_belongs_to_the_tile_that_holds_its_centre() -> None:
    pack = pack_of("building")
    detections = _detections(((10, 10, 40, 40), (0.8,)), ((50, 10, 90, 40), (0.8,)))
    for owned, kept in (
        ((0, 100, 0, 45), [10]),
        ((0, 100, 45, 100), [50]),
        ((30, 100, 0, 100), []),
    ):
        found = select(detections, pack, RouteSettings(), (100, 100), owned=owned)
        assert found.boxes[:, 0].tolist() == kept


def test_overlapping_boxes_of_two_classes_both_stay() -> None:
    pack = pack_of("building", "car")
    detections = _detections(((10, 10, 40, 40), (0.5, 0.0)), ((10, 20, 40, 50), (0.0, 0.9)))
    found = select(detections, pack, RouteSettings(), (100, 100))
    assert sorted(found.classes.tolist()) == [0, 1]


def test_each_component_gets_its_own_points() -> None:
    plane = np.full((20, 20), 0.1, np.float32)
    plane[2:5, 2:5] = 0.6
    plane[3, 3] = 0.9
    plane[10:18, 10:18] = 0.7
    plane[12, 15] = 0.95
    prompts = prompts_of(4, plane, plane > 0.5, RouteSettings())
    assert [int(p.component.sum()) for p in prompts] == [64, 9]
    assert prompts[0].positive[0].tolist() == [12, 15]
    assert prompts[1].positive.tolist() == [[3, 3]]
    for prompt in prompts:
        assert prompt.cls == 4
        assert all(prompt.component[tuple(cell)] for cell in prompt.positive)
        assert not any(plane[tuple(cell)] > 0.5 for cell in prompt.negative)
        assert len(prompt.negative) == len(prompt.positive)


@settings(deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 6))
def test_spread_cells_keep_their_distance_and_hold_the_peak(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    cells = np.argwhere(rng.random((9, 9)) > 0.5)
    values = rng.random(len(cells)).astype(np.float32)
    chosen = spread(cells, values, count)
    assert len(chosen) <= count
    if len(cells):
        assert chosen[0].tolist() == cells[values.argmax()].tolist()
    for a in range(len(chosen)):
        for b in range(a):
            assert np.abs(chosen[a] - chosen[b]).max() >= 2


def test_grid_points_are_cell_middles_on_valid_pixels() -> None:
    valid = np.ones((40, 80), bool)
    valid[:20] = False
    coords, labels = grid_points(valid, 2)
    assert coords[:, 0].tolist() == [[20.0, 30.0], [60.0, 30.0]]
    assert labels.tolist() == [[1.0], [1.0]]


def test_stability_of_sharp_and_soft_masks() -> None:
    sharp = np.where(np.eye(8) > 0, 9.0, -9.0).astype(np.float32)
    soft = np.linspace(-2, 2, 64, dtype=np.float32).reshape(8, 8)
    nothing = np.full((8, 8), -5.0, np.float32)
    found = stability(np.stack([sharp, soft, nothing]), 1.0)
    np.testing.assert_allclose(found, [1.0, 16 / 48, 0.0], atol=0.02)


@pytest.mark.parametrize(
    ("scores", "counts"),
    [
        (np.zeros((2, 4, 4), np.float64), (0, 0)),
        (np.zeros((4, 4), np.float32), (0,)),
        (np.zeros((2, 4, 4), np.float32), (0,)),
    ],
)
def test_result_of_wrong_shape_is_refused(
    scores: NDArray[np.float32], counts: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="found"):
        TileResult(scores, counts)
