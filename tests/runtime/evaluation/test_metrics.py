"""Metrics against cases worked out by hand and against slow, literal definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from t2s_rt.errors import UsageError
from t2s_rt.evaluation import (
    ConfusionMatrix,
    DetectionTally,
    box_iou,
    colour_kmeans,
    kmeans_labels,
    largest_class,
    mask_iou,
    match_clusters,
)


@given(st.integers(0, 2**32 - 1))
def test_iou_per_class_equals_its_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 4, (9, 7)).astype(np.uint8)
    prediction = rng.integers(0, 4, (9, 7)).astype(np.uint8)
    matrix = ConfusionMatrix(["a", "b", "c", "d"], ignore=[3])
    matrix.add(truth, prediction)
    kept = truth != 3
    for label in range(4):
        t, p = (truth == label) & kept, (prediction == label) & kept
        if (t | p).any():
            assert matrix.iou()[label] == pytest.approx((t & p).sum() / (t | p).sum())
        else:
            assert np.isnan(matrix.iou()[label])
    if kept.any():
        assert matrix.pixel_accuracy() == pytest.approx((truth == prediction)[kept].mean())


def test_absent_classes_stay_out_of_the_mean() -> None:
    matrix = ConfusionMatrix(["a", "b", "never"])
    matrix.add(np.array([[0, 1]]), np.array([[0, 0]]))
    assert matrix.miou() == pytest.approx((0.5 + 0.0) / 2)
    assert list(matrix.present) == [True, True, False]


def test_confusion_matrix_refuses_what_it_cannot_count() -> None:
    matrix = ConfusionMatrix(["a", "b"])
    with pytest.raises(UsageError, match="one shape"):
        matrix.add(np.zeros((2, 2), int), np.zeros((2, 3), int))
    with pytest.raises(UsageError, match=r"0\.\.1"):
        matrix.add(np.array([[0]]), np.array([[2]]))


def test_mask_iou_of_half_a_mask() -> None:
    whole = np.ones((4, 4), bool)
    half = whole.copy()
    half[:, 2:] = False
    assert mask_iou(whole, half) == 0.5
    assert mask_iou(~whole, ~whole) == 1.0


def test_box_iou_by_hand() -> None:
    iou = box_iou(
        np.array([[0, 0, 2, 2.0]]), np.array([[1, 1, 3, 3.0], [5, 5, 6, 6], [0, 0, 2, 2]])
    )
    np.testing.assert_allclose(iou, [[1 / 7, 0, 1]])


def test_average_precision_by_hand() -> None:
    # ranked: right, wrong, right; of three objects two are found
    tally = DetectionTally()
    truth = np.array([[0, 0, 10, 10], [20, 20, 30, 30], [40, 40, 50, 50.0]])
    boxes = np.array([[0, 0, 10, 10], [60, 60, 70, 70], [20, 20, 30, 30.0]])
    tally.add(boxes, np.array([0.9, 0.8, 0.7]), truth)
    scores = tally.scores()
    assert scores.ap == pytest.approx(1 / 3 * 1 + 1 / 3 * 2 / 3)
    assert scores.recall == pytest.approx(2 / 3)


def test_a_second_box_on_one_object_is_wrong() -> None:
    tally = DetectionTally()
    box = np.array([[0, 0, 10, 10.0]])
    tally.add(np.repeat(box, 2, 0), np.array([0.9, 0.95]), box)
    tally.add(box, np.array([0.1]), box)
    assert tally.scores().ap == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_boxes_inside_an_ignored_region_do_not_count() -> None:
    plain, crowd = DetectionTally(), DetectionTally()
    truth = np.array([[0, 0, 10, 10.0]])
    boxes = np.array([[100, 100, 110, 110], [0, 0, 10, 10.0]])
    plain.add(boxes, np.array([0.9, 0.5]), truth)
    crowd.add(boxes, np.array([0.9, 0.5]), truth, np.array([[90, 90, 200, 200.0]]))
    assert plain.scores().ap == pytest.approx(0.5)
    assert crowd.scores().ap == 1.0


def test_false_boxes_of_an_absent_class() -> None:
    tally = DetectionTally(threshold=0.3)
    none = np.zeros((0, 4))
    tally.add(np.array([[0, 0, 1, 1], [2, 2, 3, 3.0]]), np.array([0.5, 0.2]), none)
    tally.add(none, np.zeros(0), none)
    scores = tally.scores()
    assert scores.false_per_absent_image == 0.5
    assert scores.absent_images == 2
    assert np.isnan(scores.ap)


def test_kmeans_separates_plain_colours_and_not_equal_ones() -> None:
    truth = np.repeat(np.array([[0, 1]], np.uint8), 32, 0).repeat(16, 1)
    plain = np.where(truth[..., None] == 0, 30, 220).astype(np.uint8).repeat(3, 2)
    assert (colour_kmeans(plain, truth) == truth).all()
    noise = np.random.default_rng(0).integers(0, 255, (32, 32, 3)).astype(np.uint8)
    assert (colour_kmeans(noise, truth) == truth).mean() < 0.7


@given(st.integers(1, 9), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_clusters_are_matched_as_the_assignment_problem_wants(classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    ids = rng.permutation(12)[:classes].astype(np.uint8)
    truth = rng.choice(ids, (24, 24))
    truth.flat[:classes] = ids
    clusters = np.where(rng.random((24, 24)) < 0.5, truth, rng.integers(0, 99)) % classes
    named = match_clusters(clusters, truth)
    present = np.unique(truth)
    hits = np.array(
        [[np.sum((truth == c) & (clusters == k)) for k in range(classes)] for c in present]
    )
    rows, columns = linear_sum_assignment(hits, maximize=True)
    assert np.sum(named == truth) == hits[rows, columns].sum()
    pairs = {(int(k), int(c)) for k, c in zip(clusters.flat, named.flat, strict=True)}
    assert len({k for k, _ in pairs}) == len(pairs) == len({c for _, c in pairs})


def test_kmeans_leaves_out_what_no_metric_counts() -> None:
    truth = np.repeat(np.array([0, 1, 255], np.uint8), 30).reshape(9, 10)
    image = np.zeros((9, 10, 3), np.uint8)
    image[truth == 1] = 200
    image[truth == 255] = (255, 0, 0)
    assert (kmeans_labels(image, truth, 255) == truth).all()


def test_the_largest_class_is_everywhere() -> None:
    counts = np.array([[5, 1, 0], [0, 2, 2], [1, 0, 3]])
    assert largest_class(counts).tolist() == [[6, 0, 0], [4, 0, 0], [4, 0, 0]]
    assert largest_class(counts, [1, 2]).tolist() == [[0, 6, 0], [0, 4, 0], [0, 4, 0]]


def test_more_clusters_than_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="3 clusters"):
        match_clusters(np.array([[0, 1, 2]]), np.array([[0, 0, 1]], np.uint8))


@pytest.mark.parametrize("seed", range(25))
def test_segmentation_agrees_with_scikit_learn(seed: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is in the test extra")
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(2, 9))
    # some classes stay out of both maps, some are ignored
    pool = rng.choice(classes, int(rng.integers(1, classes + 1)), replace=False)
    truth = rng.choice(np.append(pool, 255), (2, 17, 23)).astype(np.uint8)
    prediction = rng.choice(pool, (2, 17, 23)).astype(np.uint8)
    matrix = ConfusionMatrix([str(k) for k in range(classes)], (255,))
    for one, two in zip(truth, prediction, strict=True):
        matrix.add(one, two)
    kept = truth != 255
    flat, guess, labels = truth[kept], prediction[kept], list(range(classes))
    assert (matrix.counts == metrics.confusion_matrix(flat, guess, labels=labels)).all()
    present = sorted({*flat.tolist(), *guess.tolist()})
    iou = metrics.jaccard_score(flat, guess, labels=present, average=None, zero_division=0)
    np.testing.assert_allclose(matrix.iou()[present], iou, rtol=1e-12)
    assert np.isnan(np.delete(matrix.iou(), present)).all()
    assert matrix.miou() == pytest.approx(iou.mean(), rel=1e-12)
    assert matrix.pixel_accuracy() == pytest.approx(metrics.accuracy_score(flat, guess))
