"""From a histogram to the range that an 8-bit tensor spans: four ways, and the best of them.

What lies outside a range is clipped, what lies inside is rounded to a step of it: a narrow range
clips more and rounds less. *min-max* clips nothing; *percentile* clips a fixed share of the
values; *entropy* takes the range whose quantised distribution tells least apart from the true one
(Migacz, "8-bit inference with TensorRT", GTC 2017). The squared error that each causes is known
from the histogram alone; ``auto`` takes the least, tensor by tensor.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from t2s_calibration.int8.histogram import BINS, Histogram

__all__ = ["METHODS", "Method", "Range", "choose_range", "squared_error"]

Method = Literal["auto", "minmax", "percentile", "entropy"]
METHODS: tuple[Method, ...] = ("auto", "minmax", "percentile", "entropy")

_PERCENTILES = (0.99999, 0.9999, 0.999)
"""Shares of the values inside; a fixed method takes the second, as is usual."""
_STEPS = 255
_SYMMETRIC_STEPS = 254
_LEVELS = 128
"""Magnitudes that symmetric int8 tells apart."""


@dataclass(frozen=True)
class Range:
    """What an 8-bit tensor spans; 0 is inside, and exact in float32.

    Attributes:
        low: at most 0.
        high: at least 0.
        method: that gave it.
        error: mean squared error over the root of the mean square, from the histogram.
    """

    low: float
    high: float
    method: str
    error: float

    @property
    def size(self) -> float:
        """The larger magnitude, which a symmetric quantiser spans."""
        return max(-self.low, self.high)


def choose_range(histogram: Histogram, method: Method, symmetric: bool) -> Range:
    """The range of one tensor.

    Args:
        histogram: of its values; an empty one gives a range around 0.
        method: ``auto`` takes the way with the least squared error; the first of equals.
        symmetric: the quantiser spans the larger magnitude on both sides.
    """
    found: list[Range] = []
    for name, low, high in _candidates(histogram, method):
        exact = np.float32(low), np.float32(high)
        error = squared_error(histogram, float(exact[0]), float(exact[1]), symmetric)
        found.append(Range(float(exact[0]), float(exact[1]), name, error))
    return min(found, key=lambda one: one.error)


def squared_error(histogram: Histogram, low: float, high: float, symmetric: bool) -> float:
    """Squared error of clipping and rounding, relative to the values' own squares."""
    counts, centres = histogram.counts, histogram.centres()
    squares = float((counts * centres**2).sum())
    if squares == 0.0:
        return 0.0
    if symmetric:
        high = max(-low, high)
        low = -high
    step = (high - low) / (_SYMMETRIC_STEPS if symmetric else _STEPS)
    inside = (centres >= low - step / 2) & (centres <= high + step / 2)
    clipped = (centres - np.clip(centres, low, high)) ** 2
    return float((counts * np.where(inside, step**2 / 12, clipped)).sum() / squares)


def _candidates(histogram: Histogram, method: Method) -> Iterator[tuple[str, float, float]]:
    low, high = histogram.low, histogram.high
    if high - low <= 0.0:
        yield "nothing seen", -1.0, 1.0
        return
    if method in ("auto", "minmax"):
        yield "min-max", low, high
    if method in ("auto", "percentile"):
        for share in _PERCENTILES if method == "auto" else _PERCENTILES[1:2]:
            outside = (1 - share) / 2
            pair = (
                min(0.0, histogram.quantile(outside)),
                max(0.0, histogram.quantile(1 - outside)),
            )
            if pair[1] - pair[0] > 0.0:
                yield f"percentile {100 * share:g}", *pair
    if method in ("auto", "entropy"):
        size = _entropy_size(histogram)
        yield "entropy", max(low, -size), min(high, size)


def _entropy_size(histogram: Histogram) -> float:
    """The magnitude at which the Kullback-Leibler divergence is least."""
    half = BINS // 2
    sizes = histogram.counts[half:] + histogram.counts[:half][::-1]
    width = histogram.reach / half
    last = int(np.flatnonzero(sizes)[-1]) + 1
    step = max(1, last // 64)
    best, least = last, np.inf
    for count in range(min(last, _LEVELS), last + 1, step):
        divergence = _divergence(sizes, count)
        if divergence < least:
            best, least = count, divergence
    return float(max(best * width, np.finfo(np.float32).tiny))


def _divergence(sizes: NDArray[np.int64], count: int) -> float:
    """Of the first bins, with the rest clipped into the last, from their 128 levels."""
    true = sizes[:count].astype(np.float64)
    present = true > 0
    level = np.minimum(np.arange(count) * _LEVELS // count, _LEVELS - 1)
    mass = np.bincount(level, true, _LEVELS)
    members = np.bincount(level, present, _LEVELS)
    spread = np.where(present, (mass / np.maximum(members, 1))[level], 0.0)
    true[-1] += sizes[count:].sum()
    p, q = true / max(true.sum(), 1), spread / max(spread.sum(), 1)
    # what was clipped into a bin that had nothing is there in p and not in q
    both = (p > 0) & (q > 0)
    missing = p[(p > 0) & (q <= 0)].sum()
    return float((p[both] * np.log(p[both] / q[both])).sum() + missing * np.log(BINS))
