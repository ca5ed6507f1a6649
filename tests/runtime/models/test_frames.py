"""Tile pixels to model pixels and back: images, points, boxes and maps agree."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from t2s_rt.errors import InternalError
from t2s_rt.models.frames import FrameMap, check_image, resize_image

SIDES = st.integers(1, 300)
SIZES = st.tuples(SIDES, SIDES)


@given(SIZES, SIZES)
def test_content_fits_and_touches_the_frame(tile: tuple[int, int], frame: tuple[int, int]) -> None:
    found = FrameMap.fit(tile, frame)
    assert all(1 <= c <= f for c, f in zip(found.content, frame, strict=True))
    assert any(c == f for c, f in zip(found.content, frame, strict=True))
    # aspect ratio kept to within rounding to whole pixels
    scale = min(frame[0] / tile[0], frame[1] / tile[1])
    for side, content in zip(tile, found.content, strict=True):
        assert abs(content - max(1.0, side * scale)) <= 0.5


@given(SIZES, SIZES, st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=5))
def test_points_round_trip(
    tile: tuple[int, int], frame: tuple[int, int], shares: list[tuple[float, float]]
) -> None:
    found = FrameMap.fit(tile, frame)
    points = np.array(shares, dtype=np.float32).reshape(-1, 2) * [tile[1], tile[0]]
    inside = found.points_to_frame(points)
    assert inside.dtype == np.float32
    assert (inside <= np.add(found.content[::-1], 1e-3)).all()
    np.testing.assert_allclose(found.points_to_tile(inside), points, rtol=1e-5, atol=1e-3)


@given(SIZES, SIZES, st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_boxes_map_as_their_corners(
    tile: tuple[int, int], frame: tuple[int, int], shares: list[float]
) -> None:
    found = FrameMap.fit(tile, frame)
    xs, ys = sorted(shares[:2]), sorted(shares[2:])
    box = np.array([xs[0] * tile[1], ys[0] * tile[0], xs[1] * tile[1], ys[1] * tile[0]])
    mapped = found.boxes_to_frame(box)
    np.testing.assert_allclose(mapped[:2], found.points_to_frame(box[:2]), rtol=1e-6)
    np.testing.assert_allclose(mapped[2:], found.points_to_frame(box[2:]), rtol=1e-6)
    np.testing.assert_allclose(found.boxes_to_tile(mapped), box, rtol=1e-5, atol=1e-3)


def test_boxes_are_cut_at_the_tile() -> None:
    found = FrameMap.fit((50, 100), (200, 200))
    boxes = found.boxes_to_tile(np.array([[-10.0, -10, 500, 500]]))
    assert boxes.tolist() == [[0, 0, 100, 50]]


@given(st.sampled_from([(8, 8), (16, 8), (8, 16)]), st.integers(2, 5), st.data())
@settings(deadline=None)
def test_pixels_and_coordinates_move_together(
    tile: tuple[int, int], factor: int, data: st.DataObject
) -> None:
    """The centroid of a bright pixel in the frame is where its centre is mapped to."""
    side = max(tile) * factor
    found = FrameMap.fit(tile, (side, side))
    row = data.draw(st.integers(2, tile[0] - 3))
    col = data.draw(st.integers(2, tile[1] - 3))
    image = np.zeros((*tile, 3), np.uint8)
    image[row, col] = 255
    pixels = found.image_to_frame(image)[: found.content[0], : found.content[1], 0].astype(float)
    rows, cols = np.indices(pixels.shape) + 0.5
    centroid = [(cols * pixels).sum() / pixels.sum(), (rows * pixels).sum() / pixels.sum()]
    expected = found.points_to_frame(np.array([col + 0.5, row + 0.5]))
    np.testing.assert_allclose(centroid, expected, atol=0.02 * factor)


@pytest.mark.parametrize("tile", [(64, 64), (64, 32), (32, 64), (50, 64)])
def test_a_map_drawn_in_the_frame_lands_on_its_box_in_the_tile(tile: tuple[int, int]) -> None:
    found = FrameMap.fit(tile, (128, 128))
    box = np.array([8, 12, 24, 28])
    x0, y0, x1, y1 = found.boxes_to_frame(box) / 4  # low resolution: a quarter of the frame
    rows, cols = np.indices((32, 32)) + 0.5
    inside = (cols > x0) & (cols < x1) & (rows > y0) & (rows < y1)
    values = np.where(inside, np.float32(4), np.float32(-4)).astype(np.float32)
    mask = found.map_to_tile(values) > 0
    assert mask.shape == tile
    expected = np.zeros(tile, bool)
    expected[12:28, 8:24] = True
    # edges of a quarter-resolution mask are good to one low-resolution pixel
    assert (mask & expected).sum() / (mask | expected).sum() > 0.75
    centre = np.argwhere(mask).mean(axis=0)
    np.testing.assert_allclose(centre, [19.5, 15.5], atol=0.6)


def interpolation(old: int, new: int) -> NDArray[np.float64]:
    """The matrix of bilinear resizing with half-pixel centres (align_corners=False)."""
    matrix = np.zeros((new, old))
    for i in range(new):
        place = max((i + 0.5) * old / new - 0.5, 0.0)
        low = min(int(place), old - 1)
        high, share = min(low + 1, old - 1), place - low
        matrix[i, low] += 1 - share
        matrix[i, high] += share
    return matrix


def test_map_to_tile_is_sams_own_way() -> None:
    """segment-anything's postprocess_masks: enlarge to the frame, cut, resize to the image."""
    values = np.random.default_rng(1).normal(size=(16, 16)).astype(np.float32)
    found = FrameMap.fit((30, 48), (64, 64))
    assert found.content == (40, 64)
    whole = interpolation(16, 64) @ values @ interpolation(16, 64).T
    expected = interpolation(40, 30) @ whole[:40, :64] @ interpolation(64, 48).T
    np.testing.assert_allclose(found.map_to_tile(values), expected, atol=1e-5)


def test_padding_is_below_and_to_the_right() -> None:
    image = np.full((10, 20, 3), 255, np.uint8)
    pixels = FrameMap.fit((10, 20), (40, 40)).image_to_frame(image)
    assert pixels.shape == (40, 40, 3) and pixels.dtype == np.uint8
    assert (pixels[:20] == 255).all() and (pixels[20:] < 255).all()


def test_shrinking_takes_the_mean_of_areas() -> None:
    image = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    mean = image.reshape(4, 3, 4, 3, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(resize_image(image, (4, 4)), mean, atol=0.51)


def test_same_size_changes_nothing() -> None:
    image = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    assert resize_image(image, (7, 9)) is image


def test_enlarging_has_half_pixel_centres() -> None:
    ramp = np.tile(np.arange(0, 240, 10, dtype=np.uint8)[None, :, None], (4, 1, 3))
    large = resize_image(ramp, (8, 48))
    # value at continuous x is 10 * (x - 0.5) in the small image, so 5 * x - 5 in the large one
    places = np.arange(2, 46) + 0.5
    np.testing.assert_allclose(large[0, 2:46, 0], 5 * places - 5, atol=0.51)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_other_arrays_are_refused(image: np.ndarray) -> None:
    with pytest.raises(InternalError, match=r"expected a tile uint8 \[H, W, 3\], found"):
        check_image(image)
