from __future__ import annotations

from unittest import mock

import cv2
import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from t2s_rt.scene.resample import resample, resample_masked


def integral(profile: npt.NDArray[np.float64], at: float) -> float:
    """Area under a row of pixels from 0 to ``at``; edge pixels repeat outside."""
    if at < 0:
        return at * float(profile[0])
    whole = min(int(np.floor(at)), len(profile))
    rest = at - whole
    beyond = float(profile[min(whole, len(profile) - 1)])
    return float(profile[:whole].sum()) + rest * beyond


@settings(deadline=None, max_examples=40)
@given(
    st.integers(4, 40),
    st.integers(1, 12),
    st.floats(1, 3),
    st.floats(-1.5, 3),
    st.integers(0, 99),
)
def test_shrinking_is_the_exact_mean_over_each_output_pixel(
    size: int, count: int, step: float, start: float, seed: int
) -> None:
    profile = np.random.default_rng(seed).uniform(0, 255, size)
    image = np.tile(profile[:, None], (1, 3))
    found = resample(image, start, 0, step * count, 3, count, 3)[:, 0]
    across = resample(image.T, 0, start, 3, step * count, 3, count)[0]
    np.testing.assert_allclose(found, across, rtol=1e-5, atol=1e-3)
    expected = [
        (integral(profile, start + (k + 1) * step) - integral(profile, start + k * step)) / step
        for k in range(count)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=0.05)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 50),
    st.integers(1, 50),
    st.sampled_from([(), (1,), (3,)]),
    st.tuples(*[st.floats(-2, 4)] * 2),
    st.tuples(*[st.floats(1, 2.5)] * 2),
    st.integers(1, 5),
)
def test_bytes_and_floats_shrink_alike(
    height: int,
    width: int,
    tail: tuple[int, ...],
    start: tuple[float, float],
    steps: tuple[float, float],
    chunk: int,
) -> None:
    """Bytes go through summed-area tables, floats do not."""
    rng = np.random.default_rng(height * width)
    image = rng.integers(0, 256, (height, width, *tail), dtype=np.uint8)
    rows, cols = max(1, int(height / steps[0])), max(1, int(width / steps[1]))
    window = (*start, rows * steps[0], cols * steps[1], rows, cols)
    with mock.patch("t2s_rt.scene.resample._CHUNK_ROWS", chunk):
        quick = resample(image, *window)
    np.testing.assert_allclose(quick, resample(image.astype(np.float32), *window), atol=0.02)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 99))
def test_whole_factors_agree_with_opencv(down: int, across: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 255, (5 * down, 4 * across, 3), dtype=np.uint8)
    ours = resample(image, 0, 0, 5 * down, 4 * across, 5, 4)
    theirs = cv2.resize(image.astype(np.float32), (4, 5), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(ours, theirs, atol=0.01)
    bytes_, valid = resample_masked(
        image, np.ones(image.shape[:2], bool), (0, 0, 5 * down, 4 * across), 5, 4
    )
    assert valid.all()
    np.testing.assert_allclose(bytes_, theirs, atol=0.51)


@settings(deadline=None, max_examples=40)
@given(st.floats(1.01, 4), st.floats(1.01, 4), st.floats(0, 8), st.floats(0, 8))
def test_growing_reproduces_a_plane(down: float, across: float, row: float, col: float) -> None:
    """Linear interpolation between pixel centres keeps a linear image, wherever the window is."""
    y, x = np.mgrid[0:24, 0:24] + 0.5
    image = (3 * y + 5 * x)[..., None]
    out_h, out_w = int(8 * down), int(8 * across)
    grown = resample(image, row + 2, col + 2, 8, 8, out_h, out_w)[..., 0]
    rows = row + 2 + (np.arange(out_h) + 0.5) * 8 / out_h
    cols = col + 2 + (np.arange(out_w) + 0.5) * 8 / out_w
    np.testing.assert_allclose(grown, 3 * rows[:, None] + 5 * cols, rtol=1e-4)


@settings(deadline=None, max_examples=40)
@given(st.floats(0, 4), st.floats(0, 4), st.integers(3, 30))
def test_a_constant_stays_constant_beside_invalid_pixels(row: float, col: float, size: int) -> None:
    image = np.full((24, 24, 3), 200, np.uint8)
    valid = np.ones((24, 24), bool)
    valid[:, 10:13] = False
    image[~valid] = 0
    out, keep = resample_masked(image, valid, (row, col, 20.0, 20.0), size, size)
    assert keep.any()
    assert (out[keep] == 200).all() and (out[~keep] == 0).all()


def test_validity_needs_half_of_the_pixel() -> None:
    valid = np.array([[True, False, False, False], [True, True, False, True]])
    image = np.zeros((2, 4, 3), np.uint8)
    _, keep = resample_masked(image, valid, (0, 0, 2, 4), 1, 2)
    assert keep.tolist() == [[True, False]]


def test_two_dimensional_arrays_keep_their_shape() -> None:
    assert resample(np.ones((6, 6)), 0, 0, 6, 6, 4, 9).shape == (4, 9)
