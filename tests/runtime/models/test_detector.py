"""The detector over a fake session: spans, scores, frames and padding."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.runtime.models.packs import make_pack

from t2s_rt.backends import FakeSession, fake_entry
from t2s_rt.errors import InternalError, PackError
from t2s_rt.models import Detections, Detector

Arrays = dict[str, NDArray[Any]]
SPANS = (((1, 2), (3, 5)), ((6, 8),))
LENGTH = 10
TILE = np.zeros((64, 64, 3), np.uint8)


def session(
    logits: NDArray[np.float32], boxes: NDArray[np.float32] | None = None, **sizes: int
) -> FakeSession:
    entry = fake_entry("detector", H=128, W=128, Q=len(logits), D=4, **sizes)
    placed = np.full((len(logits), 4), 0.5, np.float32) if boxes is None else boxes
    return FakeSession(entry, lambda feeds: {"logits": logits[None], "boxes": placed[None]})


def test_a_class_scores_its_best_token_of_its_best_synonym() -> None:
    logits = np.full((3, LENGTH), -20, np.float32)
    logits[0, 1] = 0.0  # class 0, first phrase
    logits[0, 4] = 2.0  # class 0, second token of the synonym: the best
    logits[1, [6, 7]] = [-1.0, 1.0]  # class 1
    logits[2, [0, 2, 5, 8, 9]] = 9.0  # [CLS], full stops and [SEP] belong to nobody
    scores = Detector(session(logits)).detect(TILE, make_pack(SPANS, LENGTH)).scores
    expected = 1 / (1 + np.exp(-np.array([[2.0, -20], [-20, 1.0], [-20, -20]])))
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, atol=1e-6)


def test_extreme_logits_stay_quiet() -> None:
    logits = np.full((1, LENGTH), -1e4, np.float32)
    logits[0, 1] = 1e4
    scores = Detector(session(logits)).detect(TILE, make_pack(SPANS, LENGTH)).scores
    assert scores.tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize("tile", [(64, 64), (256, 256), (128, 128)])
def test_boxes_come_back_in_tile_pixels(tile: tuple[int, int]) -> None:
    boxes = np.array([[0.5, 0.25, 0.5, 0.25], [0.9, 0.9, 0.4, 0.4]], np.float32)
    detector = Detector(session(np.zeros((2, LENGTH), np.float32), boxes))
    found = detector.detect(np.zeros((*tile, 3), np.uint8), make_pack(SPANS, LENGTH)).boxes
    side = tile[0]
    expected = np.array([[0.25, 0.125, 0.75, 0.375], [0.7, 0.7, 1, 1]]) * side
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_tile_that_is_not_square_keeps_its_shape() -> None:
    boxes = np.array([[0.5, 0.25, 1.0, 0.5]], np.float32)  # the upper half of the frame
    detector = Detector(session(np.zeros((1, LENGTH), np.float32), boxes))
    image = np.zeros((32, 64, 3), np.uint8)  # which is where this tile lies
    found = detector.detect(image, make_pack(SPANS, LENGTH)).boxes
    np.testing.assert_allclose(found, [[0, 0, 64, 32]])


def test_the_session_gets_the_frame_and_the_packs_text() -> None:
    fake = session(np.zeros((1, LENGTH), np.float32))
    pack = make_pack(SPANS, LENGTH)
    image = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    Detector(fake).detect(image, pack)
    feeds = fake.calls[0]
    np.testing.assert_array_equal(feeds["image"], image[None])
    np.testing.assert_array_equal(feeds["text_features"], pack.text_features)
    np.testing.assert_array_equal(feeds["position_ids"], pack.position_ids)


def test_a_static_text_length_is_padded_and_masked() -> None:
    fake = session(np.zeros((1, 16), np.float32), T=16)
    pack = make_pack(SPANS, LENGTH)
    Detector(fake).detect(TILE, pack)
    feeds = fake.calls[0]
    assert feeds["text_features"].shape == (1, 16, 4)
    assert feeds["text_token_mask"].tolist() == [[True] * 10 + [False] * 6]
    attention = feeds["text_self_attention_mask"][0]
    np.testing.assert_array_equal(attention[:10, :10], pack.text_self_attention_mask[0])
    np.testing.assert_array_equal(attention[10:], np.eye(16, dtype=bool)[10:])
    np.testing.assert_array_equal(attention, attention.T)


def test_a_pack_too_long_for_the_graph_names_both_lengths() -> None:
    detector = Detector(session(np.zeros((1, 8), np.float32), T=8))
    with pytest.raises(PackError, match="at most 8 tokens, the prompt pack has 10"):
        detector.detect(TILE, make_pack(SPANS, LENGTH))


def test_a_pack_of_another_width_is_refused() -> None:
    pack = make_pack(SPANS, LENGTH)
    pack = dataclasses.replace(pack, text_features=np.zeros((1, LENGTH, 5), np.float32))
    with pytest.raises(PackError, match="width 4, the prompt pack has 5"):
        Detector(session(np.zeros((1, LENGTH), np.float32))).detect(TILE, pack)


def test_weak_queries_are_dropped_only_if_asked() -> None:
    logits = np.full((3, LENGTH), -20, np.float32)
    logits[1, 1] = 3.0
    boxes = np.array([[0.5, 0.5, 0.1 * i, 0.1] for i in (1, 2, 3)], np.float32)
    detector = Detector(session(logits, boxes))
    pack = make_pack(SPANS, LENGTH)
    assert len(detector.detect(TILE, pack)) == 3
    kept = detector.detect(TILE, pack, score_floor=0.5)
    assert len(kept) == 1
    np.testing.assert_allclose(kept.boxes[0, 2] - kept.boxes[0, 0], 64 * 0.2, rtol=1e-5)


def test_detections_are_checked() -> None:
    with pytest.raises(InternalError, match=r"expected boxes float32 \[Q, 4\]"):
        Detections(np.zeros((2, 4), np.float32), np.zeros((3, 1), np.float32))
    with pytest.raises(InternalError, match="float64"):
        Detections(np.zeros((2, 4)), np.zeros((2, 1), np.float32))  # type: ignore[arg-type]
