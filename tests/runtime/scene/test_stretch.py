from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t2s_rt.scene.stretch import fit_stretch


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 99), st.sampled_from(["uint16", "int16", "int32", "float32", "float64"]))
def test_percentiles_map_to_the_ends_and_order_is_kept(seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    sample = rng.normal(8000, 1500, (2000, 3)).astype(dtype)
    stretch = fit_stretch(dtype, None, sample, 3)
    out = stretch.apply(sample.reshape(40, 50, 3)).reshape(-1, 3)
    for band in range(3):
        low, high = np.percentile(sample[:, band].astype(float), [2, 98])
        assert stretch.low[band] == pytest.approx(low)
        assert stretch.high[band] == pytest.approx(high)
        order = np.argsort(sample[:, band], kind="stable")
        assert (np.diff(out[order, band].astype(int)) >= 0).all()
        assert (out[sample[:, band] <= low, band] == 0).all()
        assert (out[sample[:, band] >= high, band] == 255).all()


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 99))
def test_tables_agree_with_arithmetic(seed: int) -> None:
    """16-bit pixels go through a table; the same numbers as float64 do not."""
    sample = np.random.default_rng(seed).integers(0, 65535, (500, 1)).astype(np.uint16)
    stretch = fit_stretch("uint16", None, sample, 1)
    pixels = sample.reshape(20, 25, 1)
    np.testing.assert_array_equal(stretch.apply(pixels), stretch.apply(pixels.astype(np.float64)))


def test_eight_bits_pass_unchanged() -> None:
    every = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    np.testing.assert_array_equal(fit_stretch("uint8", None, None, 1).apply(every), every)


@pytest.mark.parametrize(("bits", "top"), [(1, 1), (2, 3), (4, 15), (6, 63)])
def test_fewer_bits_fill_the_range(bits: int, top: int) -> None:
    stretch = fit_stretch("uint8", bits, None, 1)
    assert stretch.apply(np.array([[[0], [top]]], np.uint8)).ravel().tolist() == [0, 255]


def test_signed_bytes_are_shifted() -> None:
    stretch = fit_stretch("int8", None, None, 1)
    pixels = np.array([-128, -1, 0, 127], np.int8).reshape(1, 4, 1)
    assert stretch.apply(pixels).ravel().tolist() == [0, 127, 128, 255]


def test_bytes_in_a_wider_type_pass_unchanged() -> None:
    sample = np.arange(3, 250).reshape(-1, 1).astype(np.uint16)
    stretch = fit_stretch("uint16", None, sample, 1)
    np.testing.assert_array_equal(stretch.apply(sample[None])[0], sample)


@pytest.mark.parametrize("greatest", [30, 256])
def test_darker_or_wider_data_are_stretched(greatest: int) -> None:
    sample = np.linspace(0, greatest, 500).astype(np.uint16).reshape(-1, 1)
    out = fit_stretch("uint16", None, sample, 1).apply(sample[None])
    assert (out.min(), out.max()) == (0, 255)


def test_constant_and_empty_samples_give_black() -> None:
    for sample in (np.full((9, 1), 700.0), np.empty((0, 1))):
        out = fit_stretch("float64", None, sample, 1).apply(np.full((2, 2, 1), 700.0))
        assert out.dtype == np.uint8
    assert (
        not fit_stretch("float64", None, np.full((9, 1), 7.0), 1)
        .apply(np.full((1, 1, 1), 7.0))
        .any()
    )


def test_numbers_that_are_none_become_bytes() -> None:
    sample = np.linspace(0, 1, 100).reshape(-1, 1)
    pixels = np.array([np.nan, -np.inf, np.inf, 3e38]).reshape(1, 4, 1).astype(np.float32)
    out = fit_stretch("float32", None, sample, 1).apply(pixels)
    assert out.ravel().tolist() == [0, 0, 255, 255]
