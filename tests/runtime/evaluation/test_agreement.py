"""Figures of agreement, against slower or independent ways to the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from t2s_rt.evaluation.agreement import (
    FRAME_SCALE,
    centre_box_iou,
    cosine,
    frame_maps,
    greedy_pairs,
    mask_ious,
)


def test_boxes_by_counting_pixels() -> None:
    one = np.array([[10, 10, 8, 4], [20, 12, 6, 6]], np.float32)
    two = np.array([[12, 10, 8, 4], [10, 10, 8, 4], [40, 40, 2, 2]], np.float32)

    def painted(box: np.ndarray) -> np.ndarray:
        canvas = np.zeros((64, 64), bool)
        x, y, w, h = box.astype(int)
        canvas[y - h // 2 : y + h // 2, x - w // 2 : x + w // 2] = True
        return canvas

    counted = [[mask_ious(painted(a), painted(b)).item() for b in two] for a in one]
    np.testing.assert_allclose(centre_box_iou(one, two), counted)


def test_pairs_are_those_of_the_assignment_where_both_sides_nearly_agree() -> None:
    generator = np.random.default_rng(0)
    places = generator.uniform(0, 100, (60, 2))
    order = generator.permutation(60)
    moved = places[order] + generator.normal(0, 0.05, (60, 2))
    cost = np.linalg.norm(places[:, None] - moved[None], axis=-1)
    rows, columns = linear_sum_assignment(cost)
    assert (rows == np.arange(60)).all()
    np.testing.assert_array_equal(greedy_pairs(cost), columns)
    np.testing.assert_array_equal(order[columns], np.arange(60))


def test_each_column_is_given_away_once() -> None:
    cost = np.array([[0.1, 0.5], [0.0, 0.6], [0.2, 0.9]])
    assert greedy_pairs(cost).tolist() == [1, 0, -1]
    assert greedy_pairs(np.zeros((0, 4))).tolist() == []
    assert greedy_pairs(np.zeros((2, 0))).tolist() == [-1, -1]


def test_cosine_of_vectors_and_of_nothing() -> None:
    assert cosine(np.array([1.0, 0.0]), np.array([1.0, 1.0])) == pytest.approx(0.5**0.5)
    zero = np.zeros(3, np.float32)
    assert cosine(zero, zero) == 1.0
    assert cosine(zero, np.ones(3, np.float32)) == 0.0


def test_maps_are_enlarged_with_pixel_centres_in_place() -> None:
    ramp = np.tile(np.arange(8, dtype=np.float32), (8, 1))[None]
    large = frame_maps(ramp)
    assert large.shape == (1, 8 * FRAME_SCALE, 8 * FRAME_SCALE) and large.dtype == np.float32
    # inside, the value at frame pixel x is that of the ramp at (x + 0.5) / 4 - 0.5
    middle = np.arange(4, 28)
    np.testing.assert_allclose(large[0, 16, middle], (middle + 0.5) / 4 - 0.5, atol=1e-5)


def test_masks_in_pairs() -> None:
    one = np.zeros((2, 4, 4), bool)
    one[0, :2] = True
    two = np.zeros((2, 4, 4), bool)
    two[0, 1:3] = True
    assert mask_ious(one, two).tolist() == [pytest.approx(4 / 12), 1.0]
