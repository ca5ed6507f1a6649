"""Several tiles in one call: each gets what it gets alone, and calls stay within their limits."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.runtime.models.packs import make_pack

from t2s_rt.backends import DeviceArray, FakeSession, fake_entry
from t2s_rt.limits import TILES_PER_CALL
from t2s_rt.models import ClipEncoder, Detector, Segmenter

Arrays = dict[str, NDArray[Any]]
PACK = make_pack((((1, 2),),), 4)
COUNT = 2 * TILES_PER_CALL + 1


def _tiles() -> list[NDArray[np.uint8]]:
    """Of several sizes: together they meet only in the model frame."""
    rng = np.random.default_rng(1)
    sizes = [(32, 32), (16, 32), (48, 48)]
    return [rng.integers(0, 256, (*sizes[i % 3], 3), dtype=np.uint8) for i in range(COUNT)]


def _sessions(device: Literal["cpu", "cuda"] = "cpu", **sizes: int) -> dict[str, FakeSession]:
    """Encoders whose every output tells the mean of its own image."""

    def means(feeds: Arrays) -> NDArray[np.float32]:
        return np.asarray(feeds["image"].mean(axis=(1, 2, 3)) / 255, dtype=np.float32)

    def detect(feeds: Arrays) -> Arrays:
        found = means(feeds)
        boxes = np.full((len(found), 2, 4), 0.5, np.float32) * found[:, None, None]
        logits = np.full((len(found), 2, 4), 1, np.float32) * found[:, None, None]
        return {"logits": logits, "boxes": boxes}

    def encode(feeds: Arrays) -> Arrays:
        return {
            "image_embedding": np.ones((1, 3, 2, 2), np.float32) * means(feeds)[:, None, None, None]
        }

    def dense(feeds: Arrays) -> Arrays:
        found = means(feeds)
        angle = np.stack([np.cos(found), np.sin(found)], axis=1).astype(np.float32)
        return {"patch_embeddings": np.repeat(angle[:, None], 4, axis=1)}

    def of(role: Any, function: Any, **more: int) -> FakeSession:
        entry = fake_entry(role, H=32, W=32, D=more.pop("D", 4), **sizes, **more)
        return FakeSession(entry, function, device=device)

    return {
        "detector": of("detector", detect, Q=2),
        "mask_encoder": of("mask_encoder", encode, C=3, h=2, w=2),
        "clip_patches": of("clip_patches", dense, h=2, w=2, D=2),
        "mask_decoder": FakeSession(fake_entry("mask_decoder", C=3, h=2, w=2), lambda _: {}),
    }


@pytest.mark.parametrize("sizes", [{}, {"B": 1}, {"B": 3}])
def test_every_tile_gets_what_it_gets_alone(sizes: dict[str, int]) -> None:
    made, tiles = _sessions("cpu", **sizes), _tiles()
    detector = Detector(made["detector"])
    segmenter = Segmenter(made["mask_encoder"], made["mask_decoder"])
    clip = ClipEncoder(made["clip_patches"], None, batch=TILES_PER_CALL)
    found = detector.detect_frames([detector.frame(tile) for tile in tiles], PACK)
    embedded = segmenter.encode_frames([segmenter.frame(tile) for tile in tiles])
    dense = clip.dense_windows([clip.windows(tile) for tile in tiles])
    per_call = sizes.get("B", TILES_PER_CALL)
    for role in ("detector", "mask_encoder", "clip_patches"):
        held = {len(call["image"]) for call in made[role].calls}
        assert max(held) <= per_call and (held == {per_call} or not sizes), role
    assert len(found) == len(embedded) == len(dense) == COUNT
    for tile, one, embedding, features in zip(tiles, found, embedded, dense, strict=True):
        alone = detector.detect(tile, PACK)
        np.testing.assert_array_equal(one.boxes, alone.boxes)
        np.testing.assert_array_equal(one.scores, alone.scores)
        assert embedding.frame == segmenter.encode(tile).frame
        assert isinstance(embedding.array, np.ndarray) and embedding.array.shape == (1, 3, 2, 2)
        np.testing.assert_array_equal(embedding.array, segmenter.encode(tile).array)
        np.testing.assert_array_equal(features.patch, clip.dense(tile).patch)


def test_embeddings_of_one_call_stay_on_the_device_until_the_last_is_done() -> None:
    made = _sessions("cuda")
    segmenter = Segmenter(made["mask_encoder"], made["mask_decoder"])
    tiles = _tiles()[:3]
    together = segmenter.encode_frames([segmenter.frame(tile) for tile in tiles])
    assert len(made["mask_encoder"].calls) == 1
    for tile, embedding in zip(tiles, together, strict=True):
        alone = segmenter.encode(tile).array
        assert isinstance(embedding.array, DeviceArray) and isinstance(alone, DeviceArray)
        np.testing.assert_array_equal(embedding.array.numpy(), alone.numpy())
    last = together.pop().array
    together.clear()
    assert isinstance(last, DeviceArray) and last.numpy().shape == (1, 3, 2, 2)


def test_no_tiles_need_no_call() -> None:
    made = _sessions()
    assert Detector(made["detector"]).detect_frames([], PACK) == []
    assert ClipEncoder(made["clip_patches"], None).dense_windows([]) == []
    assert not made["detector"].calls and not made["clip_patches"].calls


def test_an_engine_for_fewer_tiles_gets_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    made, tiles = _sessions(), _tiles()
    monkeypatch.setattr(FakeSession, "greatest", {"image": (2, 32, 32, 3)})
    detector = Detector(made["detector"])
    found = detector.detect_frames([detector.frame(tile) for tile in tiles], PACK)
    assert {len(call["image"]) for call in made["detector"].calls} == {1, 2}
    for tile, one in zip(tiles, found, strict=True):
        np.testing.assert_array_equal(one.scores, detector.detect(tile, PACK).scores)
