"""What a route says about one tile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["TileResult"]


@dataclass(frozen=True)
class TileResult:
    """Scores of every class at every pixel of a tile.

    Attributes:
        scores: float32 ``[K, H, W]``, absolute, 0..1, in tile pixels, classes in pack order;
            0 where a class was not found.
        candidates: per class, how many boxes, points or masks carried it (for stuff from dense
            CLIP: 1 where any pixel passed), so 0 says that the class abstained in this tile.
    """

    scores: NDArray[np.float32]
    candidates: tuple[int, ...]

    def __post_init__(self) -> None:
        """Check that shapes agree."""
        if self.scores.ndim != 3 or self.scores.dtype != np.float32:
            raise ValueError(
                f"scores must be float32 [K, H, W], found {self.scores.dtype} {self.scores.shape}"
            )
        if len(self.candidates) != self.scores.shape[0]:
            raise ValueError(
                f"one candidate count per class: expected {self.scores.shape[0]}, "
                f"found {len(self.candidates)}"
            )

    @property
    def abstained(self) -> tuple[bool, ...]:
        """Per class, whether nothing in the tile carried it."""
        return tuple(count == 0 for count in self.candidates)
