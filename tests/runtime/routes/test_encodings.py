"""Encoders that tiles share: once, side by side where asked for, and no tile fails for another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.runtime.models.packs import make_pack
from tests.runtime.routes.fakes import FakeDetector, FakeModels, pack_of, paint_scene

from t2s_rt.backends import FakeSession, fake_entry
from t2s_rt.errors import BackendError, BundleError
from t2s_rt.models import ClipEncoder, Detector, Models, Segmenter
from t2s_rt.routes.encodings import TileEncodings, TileInputs

ROLES: Any = {"detector", "mask_encoder", "clip_patches", "mask_decoder"}
PACK = pack_of("building", "water")


def _scenes(count: int) -> list[NDArray[np.uint8]]:
    return [paint_scene(64, 64, ("building", (8, 20, 8, 20 + 4 * i))) for i in range(count)]


def _encodings(models: Any, count: int = 3) -> TileEncodings:
    return TileEncodings(models, [TileInputs(models, image) for image in _scenes(count)], PACK)


class Picky(FakeDetector):
    """Fails where a call holds more tiles than it likes, or one that it cannot stand."""

    def __init__(self, models: FakeModels, most: int = 9, bad: int | None = None) -> None:
        super().__init__(models.calls)
        self.most, self.bad = most, bad
        self.sizes: list[int] = []

    def detect_frames(self, frames: Sequence[NDArray[np.uint8]], pack: Any) -> Any:
        self.sizes.append(len(frames))
        scenes = _scenes(3)
        if len(frames) > self.most:
            raise BackendError("out of memory")
        if self.bad is not None and any((f == scenes[self.bad]).all() for f in frames):
            raise BackendError("cannot stand it")
        return super().detect_frames(list(frames), pack)


def test_an_encoder_runs_once_for_all_tiles_when_the_first_asks() -> None:
    models = FakeModels()
    models.detector = picky = Picky(models)
    encodings = _encodings(models)
    assert not models.calls
    widths = [encodings.detections(i).boxes[0, 2] for i in (1, 0, 2, 1)]
    assert widths == [24, 20, 28, 24]
    assert picky.sizes == [3]
    assert models.calls["mask_encoder"] == models.calls["clip_dense"] == 0


def test_a_bad_tile_fails_alone() -> None:
    models = FakeModels()
    models.detector = picky = Picky(models, bad=1)
    encodings = _encodings(models)
    assert len(encodings.detections(0)) == len(encodings.detections(2)) == 2
    for _ in range(2):
        with pytest.raises(BackendError, match="stand"):
            encodings.detections(1)
    assert picky.sizes == [3, 1, 1, 1]
    assert encodings.too_large is None


def test_a_call_that_is_too_large_is_told_from_a_bad_tile() -> None:
    models = FakeModels()
    models.detector = Picky(models, most=1)
    encodings = _encodings(models)
    assert all(len(encodings.detections(i)) == 2 for i in range(3))
    assert str(encodings.too_large) == "out of memory"


def test_a_tile_by_itself_is_not_tried_twice() -> None:
    models = FakeModels()
    models.detector = picky = Picky(models, most=0)
    with pytest.raises(BackendError, match="memory"):
        _encodings(models, 1).detections(0)
    assert picky.sizes == [1]


def test_a_backends_failure_waits_for_the_tile_that_asks_and_a_fault_does_not() -> None:
    models = FakeModels()
    models.detector = Picky(models, most=0)
    encodings = _encodings(models)
    models.segmenter = None
    with ThreadPoolExecutor(3) as pool:
        detector, segmenter, clip = encodings.prefetch(ROLES, pool)
        detector.result()
        clip.result()
        with pytest.raises(BundleError, match="mask_encoder"):
            segmenter.result()
    with pytest.raises(BackendError, match="memory"):
        encodings.detections(0)
    assert models.calls["clip_dense"] == 3


def test_only_what_the_roles_name_is_prepared_and_fetched() -> None:
    models = FakeModels()
    encodings = _encodings(models)
    with ThreadPoolExecutor(3) as pool:
        assert len(encodings.prefetch({"clip_dense", "mask_decoder"}, pool)) == 1
    assert set(models.calls) == {"clip_dense"}


def _meeting_models(meet: Callable[[], object]) -> Models:
    """Real models over sessions of a device, none of which answers before ``meet`` returns."""
    outputs = {
        "detector": {
            "logits": np.zeros((1, 2, 4), np.float32),
            "boxes": np.zeros((1, 2, 4), np.float32),
        },
        "mask_encoder": {"image_embedding": np.zeros((1, 3, 2, 2), np.float32)},
        "clip_patches": {"patch_embeddings": np.ones((1, 4, 4), np.float32)},
    }

    def session(role: Any, **sizes: int) -> FakeSession:
        def answer(_: Any) -> Any:
            meet()
            return outputs[role]

        return FakeSession(fake_entry(role, H=32, W=32, D=4, **sizes), answer, device="cuda")

    detector = session("detector", Q=2)
    encoder = session("mask_encoder", C=3, h=2, w=2)
    clip = session("clip_patches", h=2, w=2)
    decoder = FakeSession(fake_entry("mask_decoder", C=3, h=2, w=2), lambda _: {}, device="cuda")
    return Models(
        Detector(detector),
        Segmenter(encoder, decoder),
        ClipEncoder(clip, None),
        (detector, encoder, decoder, clip),
    )


def test_the_three_encoders_of_a_tile_really_run_at_once() -> None:
    """Each session answers only when all three have been called: in turn they never would."""
    all_three = threading.Barrier(3, timeout=30)
    models = _meeting_models(all_three.wait)
    pack = make_pack((((1, 2),),), 4)
    image = np.zeros((32, 32, 3), np.uint8)
    encodings = TileEncodings(models, [TileInputs(models, image)], pack)
    with ThreadPoolExecutor(3) as pool:
        running = encodings.prefetch(ROLES, pool)
        assert len(encodings.detections(0)) == 2
        for future in running:
            future.result()
    assert encodings.embedding(0).array.shape == (1, 3, 2, 2)
    assert encodings.dense(0).patch.shape == (2, 2, 4)
    seconds = encodings.clock.shares()
    assert set(seconds) == {"detector", "mask_encoder", "clip"}


def test_in_turn_they_do_not_meet() -> None:
    """The proof above is one: the same sessions, asked lazily, wait in vain."""
    all_three = threading.Barrier(3, timeout=0.2)
    models = _meeting_models(all_three.wait)
    image = np.zeros((32, 32, 3), np.uint8)
    encodings = TileEncodings(models, [TileInputs(models, image)], make_pack((((1, 2),),), 4))
    with pytest.raises(threading.BrokenBarrierError):
        encodings.detections(0)
