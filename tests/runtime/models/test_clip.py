"""CLIP over fake sessions whose embeddings are the pixels themselves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from t2s_rt.backends import FakeSession, fake_entry
from t2s_rt.bundle import FileRecord
from t2s_rt.errors import BundleError, InternalError
from t2s_rt.limits import SMALL_MODEL_BYTES
from t2s_rt.models import ClipEncoder, DenseFeatures
from t2s_rt.models.clip import _starts

Arrays = dict[str, NDArray[Any]]
FRAME, PATCH = 32, 4
GRID = FRAME // PATCH


def unit(array: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(array / np.linalg.norm(array, axis=-1, keepdims=True))


def patches(image: NDArray[Any], size: int = PATCH) -> NDArray[Any]:
    """Mean colour plus one of each patch, unit length: [..., h / size, w / size, 3]."""
    *lead, height, width, _ = image.shape
    blocks = image.astype(np.float64).reshape(*lead, height // size, size, width // size, size, 3)
    return unit(blocks.mean(axis=(-2, -4)) + 1)


def embed_dense(feeds: Arrays) -> Arrays:
    found = patches(feeds["image"]).reshape(len(feeds["image"]), -1, 3).astype(np.float32)
    mean = unit(feeds["image"].reshape(len(found), -1, 3).mean(axis=1) + 1).astype(np.float32)
    return {"patch_embeddings": found, "surgery_embeddings": -found, "image_embedding": mean}


def encoder(
    overlap: float = 0.25, batch: int | None = None, **sizes: int
) -> tuple[ClipEncoder, FakeSession]:
    entry = fake_entry("clip_dense", H=FRAME, W=FRAME, h=GRID, w=GRID, D=3, **sizes)
    session = FakeSession(entry, embed_dense)
    return ClipEncoder(session, None, overlap=overlap, batch=batch), session


def picture(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(5).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("size", [(32, 32), (64, 64), (72, 64), (36, 200), (64, 32)])
def test_every_patch_lands_in_its_place(overlap: float, size: tuple[int, int]) -> None:
    """Windows agree where they overlap, so the mean is the patch itself, wherever it lies."""
    made, _ = encoder(overlap)
    image = picture(*size)
    found = made.dense(image)
    np.testing.assert_allclose(found.patch, patches(image), atol=1e-5)
    surgery, first = found.dual_path()
    np.testing.assert_allclose(surgery, -patches(image), atol=1e-5)
    assert found.patch.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(first), 1, atol=1e-5)


@pytest.mark.parametrize(("overlap", "count"), [(0.0, 4), (0.25, 9), (0.5, 9)])
def test_number_of_windows(overlap: float, count: int) -> None:
    made, session = encoder(overlap, batch=100)
    made.dense(picture(64, 64))
    assert [len(call["image"]) for call in session.calls] == [count]


def test_windows_keep_the_native_scale() -> None:
    made, session = encoder(0.0, batch=100)
    image = picture(64, 64)
    made.dense(image)
    seen = session.calls[0]["image"]
    np.testing.assert_array_equal(seen[1], image[:32, 32:])
    np.testing.assert_array_equal(seen[2], image[32:, :32])


def test_batches_are_bounded_and_change_nothing() -> None:
    image = picture(96, 96)
    whole, _ = encoder(0.25, batch=100)
    parts, session = encoder(0.25, batch=5)
    np.testing.assert_array_equal(whole.dense(image).patch, parts.dense(image).patch)
    assert [len(call["image"]) for call in session.calls] == [5, 5, 5, 1]


@pytest.mark.parametrize(
    ("device", "calls"),
    [("cuda", [128, 41]), ("cpu", [32] * 5 + [9])],  # 2^17 / 32^2 and 2^15 / 32^2
)
def test_one_call_stays_within_a_number_of_pixels(
    device: Literal["cpu", "cuda"], calls: list[int]
) -> None:
    entry = fake_entry("clip_dense", H=FRAME, W=FRAME, h=GRID, w=GRID, D=3)
    session = FakeSession(entry, embed_dense, device=device)
    ClipEncoder(session, None, overlap=0.0).dense(picture(32 * 13, 32 * 13))
    assert [len(call["image"]) for call in session.calls] == calls
    large = fake_entry("clip_dense", H=512, W=512, h=128, w=128, D=3)
    session = FakeSession(large, embed_dense, device=device)
    ClipEncoder(session, None, overlap=0.0).dense(picture(512, 1024))
    assert [len(call["image"]) for call in session.calls] == [1, 1]


@pytest.mark.parametrize(("size", "windows"), [(1 << 20, 3), (SMALL_MODEL_BYTES + 1, 2)])
def test_windows_of_small_models_overlap_by_half(size: int, windows: int) -> None:
    entry = fake_entry("clip_dense", H=FRAME, W=FRAME, h=GRID, w=GRID, D=3)
    sized = replace(entry, files=(FileRecord("graph.onnx", "0" * 64, size),))
    session = FakeSession(sized, embed_dense)
    ClipEncoder(session, None).dense(picture(FRAME, 2 * FRAME))
    assert sum(len(call["image"]) for call in session.calls) == windows


def test_a_static_batch_is_filled_up() -> None:
    image = picture(96, 96)
    fixed, session = encoder(0.25, B=3)
    free, _ = encoder(0.25)
    np.testing.assert_allclose(fixed.dense(image).patch, free.dense(image).patch, atol=1e-6)
    assert {len(call["image"]) for call in session.calls} == {3}


@pytest.mark.parametrize("size", [(16, 16), (31, 20), (5, 64)])
def test_a_side_within_the_frame_is_enlarged_to_it(size: tuple[int, int]) -> None:
    made, _ = encoder(0.0)
    image = np.zeros((*size, 3), np.uint8)
    image[: size[0] // 2] = 200
    image[size[0] // 2 :, :, 0] = 99
    found = made.dense(image).patch
    assert found.shape[:2] == (GRID, max(size[1], FRAME) // PATCH)
    np.testing.assert_allclose(found[0], np.full((len(found[0]), 3), 3**-0.5), atol=1e-5)


@pytest.mark.parametrize("side", [33, 34, 62, 63, 65, 130])
def test_odd_sides_still_give_a_grid_over_the_whole_tile(side: int) -> None:
    made, _ = encoder()
    image = picture(side, side)
    image[-1] = image[:, -1] = 255
    found = made.dense(image)
    assert found.patch.shape[0] == found.patch.shape[1]
    assert abs(found.patch.shape[0] * PATCH - side) <= PATCH
    # the last row of patches sees the tile's last row
    assert found.patch.shape == found.dual_path()[0].shape
    assert np.isfinite(found.patch).all()


@given(st.integers(8, 40), st.integers(0, 60), st.integers(1, 6), st.floats(0, 0.95))
@settings(max_examples=300)
def test_windows_cover_every_patch_within_the_tile(
    frame: int, more: int, patch: int, overlap: float
) -> None:
    frame, size = frame * patch, (frame + more) * patch
    starts = _starts(size, frame, patch, overlap)
    assert starts[0] == 0 and starts[-1] == size - frame
    assert all(start % patch == 0 for start in starts)
    assert sorted(set(starts)) == starts
    assert all(b - a <= frame for a, b in zip(starts, starts[1:], strict=False))


def test_disagreeing_windows_are_blended_towards_the_nearer_centre() -> None:
    """Each window answers with its own colour: near its centre that colour prevails."""
    answers = iter(np.eye(3, dtype=np.float32)[[0, 1]])

    def answer(feeds: Arrays) -> Arrays:
        rows = np.stack([next(answers) for _ in feeds["image"]])
        grid = np.repeat(rows[:, None], GRID * GRID, axis=1)
        return {"patch_embeddings": grid, "surgery_embeddings": grid, "image_embedding": rows}

    entry = fake_entry("clip_dense", H=FRAME, W=FRAME, h=GRID, w=GRID, D=3)
    made = ClipEncoder(FakeSession(entry, answer), None, overlap=0.5)
    found = made.dense(picture(32, 48))  # two windows, half a frame apart
    share = found.patch[0, :, 0] / (found.patch[0, :, 0] + found.patch[0, :, 1])
    assert share[:4].tolist() == [1] * 4 and share[-4:].tolist() == [0] * 4
    assert (np.diff(share[3:9]) < 0).all()
    np.testing.assert_allclose(share, 1 - share[::-1], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found.patch, axis=-1), 1, atol=1e-6)
    np.testing.assert_allclose(found.dual_path()[1], [0.5**0.5, 0.5**0.5, 0], atol=1e-6)


def embed_mean(feeds: Arrays) -> Arrays:
    mean = unit(feeds["image"].astype(np.float64).mean(axis=(1, 2)) + 1)
    return {"embeddings": mean.astype(np.float32)}


def image_encoder(batch: int = 8, **sizes: int) -> tuple[ClipEncoder, FakeSession]:
    session = FakeSession(fake_entry("clip_image", H=16, W=16, D=3, **sizes), embed_mean)
    return ClipEncoder(None, session, batch=batch), session


@pytest.mark.parametrize("static", [None, 4])
@pytest.mark.parametrize("count", [0, 1, 4, 9])
def test_crops_come_back_in_order(count: int, static: int | None) -> None:
    sizes = {} if static is None else {"B": static}
    made, session = image_encoder(batch=4, **sizes)
    colours = np.random.default_rng(1).integers(0, 256, (count, 3), dtype=np.uint8)
    crops = [
        np.broadcast_to(colour, (5 + i, 3 + 2 * i, 3)).copy() for i, colour in enumerate(colours)
    ]
    found = made.embed(crops)
    assert found.shape == (count, 3) and found.dtype == np.float32
    np.testing.assert_allclose(found, unit(colours + 1.0), atol=1e-5)
    assert all(len(call["image"]) <= 4 for call in session.calls)


@pytest.mark.parametrize("shape", [(4, 16), (16, 4), (1, 9), (9, 1), (7, 16)])
def test_crops_are_made_square_without_squeezing_or_black(shape: tuple[int, int]) -> None:
    made, session = image_encoder()
    crop = np.full((*shape, 3), 90, np.uint8)
    crop[:, : max(1, shape[1] // 2)] = 200
    made.embed([crop])
    seen = session.calls[0]["image"][0]
    assert seen.shape == (16, 16, 3)
    assert seen.min() >= 90
    if shape == (4, 16):  # columns keep their width, whatever was added above and below
        np.testing.assert_array_equal(seen[:, :, 0], np.repeat(crop[:1, :, 0], 16, axis=0))


def test_parts_that_were_not_opened_say_so() -> None:
    made, _ = image_encoder()
    with pytest.raises(InternalError, match="clip_dense was not opened"):
        made.dense(picture(32, 32))
    dense, _ = encoder()
    with pytest.raises(InternalError, match="clip_image was not opened"):
        dense.embed([])


def test_graphs_whose_patches_do_not_tile_the_frame() -> None:
    entry = fake_entry("clip_dense", H=32, W=32, h=5, w=5, D=3)
    with pytest.raises(BundleError, match="25 patches do not tile a frame"):
        ClipEncoder(FakeSession(entry, embed_dense), None)
    entry = fake_entry("clip_dense", H=32, W=32, D=3)
    with pytest.raises(BundleError, match="static number of patches, found hw"):
        ClipEncoder(FakeSession(entry, embed_dense), None)


@pytest.mark.parametrize(("overlap", "batch"), [(1.0, 8), (-0.1, 8), (0.5, 0)])
def test_settings_out_of_range(overlap: float, batch: int) -> None:
    with pytest.raises(InternalError, match="expected an overlap"):
        encoder(overlap, batch)


def test_dense_features_are_checked() -> None:
    with pytest.raises(InternalError, match=r"\[gh, gw, D\]"):
        DenseFeatures(
            np.zeros((2, 2, 3), np.float32),
            np.zeros((2, 3, 3), np.float32),
            np.zeros(3, np.float32),
        )
