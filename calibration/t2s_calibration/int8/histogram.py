"""A histogram that grows with what it is shown, so that one pass over the images is enough."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from t2s_engines.graphs.graph import Array

__all__ = ["BINS", "Histogram"]

BINS = 4096
_PIECE = 1 << 23
"""Values counted at once: OpenCV counts in float32, which is exact up to 2^24."""


class Histogram:
    """Counts of values in bins of equal width over ``[-reach, reach]``.

    The reach is a power of two. Where a value lies outside, it doubles, and pairs of bins become
    one: the counts are the same as if it had been so from the start, whatever the order of the
    images.

    Attributes:
        reach: half of the range that the bins cover; 0 before the first value.
        counts: int64 ``[BINS]``.
        low: least value seen, at most 0.
        high: greatest value seen, at least 0.
    """

    def __init__(self) -> None:
        self.reach = 0.0
        self.counts: NDArray[np.int64] = np.zeros(BINS, np.int64)
        self.low = self.high = 0.0

    def add(self, values: Array) -> None:
        """Count the values of an array; what is not finite is left out."""
        flat = np.ascontiguousarray(values, np.float32).reshape(-1)
        if not np.isfinite(flat.sum(dtype=np.float64)):
            flat = flat[np.isfinite(flat)]
        if not flat.size:
            return
        low, high = float(flat.min()), float(flat.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        self._reach_for(max(-low, high))
        if self.reach == 0.0:  # nothing but zeros so far: any bin may hold them
            self._reach_for(1e-6)
        for start in range(0, flat.size, _PIECE):
            piece = flat[start : start + _PIECE]
            found = cv2.calcHist(
                [piece.reshape(1, -1)], [0], None, [BINS], [-self.reach, self.reach]
            )
            self.counts += found.reshape(-1).astype(np.int64)

    def centres(self) -> NDArray[np.float64]:
        """Middle of every bin."""
        middles: NDArray[np.float64] = np.arange(BINS, dtype=np.float64) + 0.5
        return middles * (2 * self.reach / BINS) - self.reach

    def quantile(self, share: float) -> float:
        """Value below which a share of the counts lies, to the width of a bin."""
        target = share * int(self.counts.sum())
        place = int(np.searchsorted(np.cumsum(self.counts), target, side="left"))
        edge = min(place + 1, BINS) * (2 * self.reach / BINS) - self.reach
        return float(np.clip(edge, self.low, self.high))

    def _reach_for(self, size: float) -> None:
        """Double until a magnitude lies inside; the last bin does not hold its upper edge."""
        if size < self.reach or size == 0.0:
            return
        wanted = 2.0 ** (np.floor(np.log2(size)) + 1)
        while 0.0 < self.reach < wanted:
            quarter = BINS // 4
            pairs = self.counts.reshape(-1, 2).sum(1)
            self.counts = np.zeros(BINS, np.int64)
            self.counts[quarter : 3 * quarter] = pairs
            self.reach *= 2
        self.reach = max(self.reach, float(wanted))
