"""What a picture of the report shows of one tile, small enough to keep for all of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["Sketch"]

_MASKS = 8


@dataclass
class Sketch:
    """The reference's and the device's answers on one tile.

    Attributes:
        boxes: strong boxes float32 ``[n, 4]`` xyxy in tile pixels, the reference's first.
        masks: those that differ most: IoU, and both masks bool ``[h, w]`` over the model frame.
        labels: class maps uint8 ``[H, W]``, the reference's first.
    """

    boxes: list[NDArray[np.float32]] = field(default_factory=list)
    masks: list[tuple[float, NDArray[np.bool_], NDArray[np.bool_]]] = field(default_factory=list)
    labels: list[NDArray[np.uint8]] = field(default_factory=list)

    def add_mask(self, iou: float, one: NDArray[np.bool_], two: NDArray[np.bool_]) -> None:
        """Keep a pair of masks while it is among those that differ most."""
        self.masks.append((iou, one, two))
        self.masks.sort(key=lambda item: item[0])
        del self.masks[_MASKS:]
