"""Histograms and the ranges taken from them, against numpy on the values themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from t2s_calibration.int8.histogram import BINS, Histogram
from t2s_calibration.int8.ranges import METHODS, choose_range, squared_error

SEEDS = st.integers(0, 2**32 - 1)


def _values(seed: int, size: int = 4000) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.uniform(-4, 4)
    shift = rng.uniform(-2, 2)
    return np.asarray(scale * (rng.standard_t(3, size) + shift), np.float32)


def _histogram(*parts: NDArray[np.float32]) -> Histogram:
    found = Histogram()
    for part in parts:
        found.add(part)
    return found


def _rounded(
    values: NDArray[np.float32], low: float, high: float, steps: int
) -> NDArray[np.float64]:
    step = (high - low) / steps
    exact = values.astype(np.float64)
    return np.asarray(np.clip(np.rint((exact - low) / step), 0, steps) * step + low)


@given(SEEDS, st.permutations(range(4)))
@settings(max_examples=40, deadline=None)
def test_order_does_not_matter(seed: int, order: list[int]) -> None:
    values = _values(seed)
    # parts of very different size, so that the range grows on the way
    parts = [values[:1000] * np.float32(f) for f in (1.0, 1e-3, 40.0, 0.2)]
    one, two = _histogram(*parts), _histogram(*(parts[i] for i in order))
    assert one.reach == two.reach
    assert (one.counts == two.counts).all()
    assert (one.low, one.high) == (two.low, two.high)
    assert one.counts.sum() == 4000


@given(SEEDS, st.floats(0.01, 0.99))
@settings(max_examples=40, deadline=None)
def test_quantiles_lie_within_a_bin_of_the_true_ones(seed: int, share: float) -> None:
    values = _values(seed)
    found = _histogram(values)
    true = np.quantile(values.astype(np.float64), share, method="inverted_cdf")
    assert abs(found.quantile(share) - true) <= 2 * (2 * found.reach / BINS)


def test_what_is_not_finite_is_left_out() -> None:
    values = np.array([1.0, np.nan, -2.0, np.inf, -np.inf], np.float32)
    found = _histogram(values, np.zeros(3, np.float32))
    assert (found.low, found.high, int(found.counts.sum())) == (-2.0, 1.0, 5)


def test_zeros_alone_give_a_usable_range() -> None:
    for histogram in (_histogram(np.zeros(9, np.float32)), Histogram()):
        found = choose_range(histogram, "auto", symmetric=False)
        assert found.low < 0 < found.high


@given(SEEDS, st.floats(0.05, 1.0), st.booleans())
@settings(max_examples=40, deadline=None)
def test_the_error_is_that_of_rounding_the_values(seed: int, share: float, symmetric: bool) -> None:
    values = _values(seed)
    found = _histogram(values)
    low, high = min(0.0, share * found.low), max(0.0, share * found.high)
    if symmetric:
        size = max(-low, high)
        exact = _rounded(values, -size, size, 254)
    else:
        exact = _rounded(values, low, high, 255)
    true = float(np.square(exact - values).sum() / np.square(values.astype(np.float64)).sum())
    assert squared_error(found, low, high, symmetric) == pytest.approx(true, rel=0.2, abs=2e-6)


@given(SEEDS, st.booleans())
@settings(max_examples=30, deadline=None)
def test_auto_is_never_worse_than_any_one_way(seed: int, symmetric: bool) -> None:
    histogram = _histogram(_values(seed))
    best = choose_range(histogram, "auto", symmetric)
    for method in METHODS[1:]:
        one = choose_range(histogram, method, symmetric)
        assert best.error <= one.error
        assert histogram.low - 1e-3 * histogram.reach <= one.low <= 0.0 <= one.high


def test_rare_outliers_are_clipped_and_even_values_are_not() -> None:
    rng = np.random.default_rng(1)
    plain = rng.uniform(-1, 1, 2_000_000).astype(np.float32)
    outlier = np.append(plain, np.float32(30.0))
    found = choose_range(_histogram(outlier), "auto", symmetric=False)
    assert found.high < 5.0 and found.method != "min-max"
    even = choose_range(_histogram(plain), "auto", symmetric=False)
    assert even.high == pytest.approx(1.0, abs=0.01) and even.low == pytest.approx(-1.0, abs=0.01)
