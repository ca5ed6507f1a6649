"""From tile pixels to model pixels and back.

Pixel coordinates are continuous: (0, 0) is the outer top-left corner of the first pixel and a
pixel's centre lies at +0.5. In these coordinates resizing is a plain product, with no half-pixel
term: ``cv2.resize`` samples at ``(i + 0.5) * scale - 0.5`` in *index* coordinates, which is
``x * scale`` in continuous ones. Box corners, points and image contents therefore map alike.

A square tile fills a square frame. Any other tile keeps its aspect ratio: it fills the frame
along its longer side and lies at the top left, with padding below or to the right, as SAM does.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from t2s_rt.errors import InternalError

__all__ = ["FrameMap", "FramedImage", "check_image", "resize_image"]

_PAD_COLOUR = (124, 116, 104)
"""The mean colour that normalisation subtracts, in whole numbers: SAM and Grounding DINO pad with
zeros after it."""


@dataclass(frozen=True)
class FrameMap:
    """How one tile lies in one model frame.

    Attributes:
        tile: (height, width) of the tile in pixels.
        frame: (height, width) of the model frame in pixels.
        content: (height, width) of the tile's image inside the frame, at its top left.
    """

    tile: tuple[int, int]
    frame: tuple[int, int]
    content: tuple[int, int]

    @classmethod
    def fit(cls, tile: tuple[int, int], frame: tuple[int, int]) -> FrameMap:
        """The map of a tile that is scaled to fit a frame, aspect ratio kept."""
        scale = min(frame[0] / tile[0], frame[1] / tile[1])
        # halves go up, as in SAM's ResizeLongestSide
        height = min(frame[0], max(1, int(tile[0] * scale + 0.5)))
        width = min(frame[1], max(1, int(tile[1] * scale + 0.5)))
        return cls(tile, frame, (height, width))

    @property
    def scale(self) -> tuple[float, float]:
        """Frame pixels per tile pixel, along x and along y."""
        return self.content[1] / self.tile[1], self.content[0] / self.tile[0]

    def image_to_frame(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The frame's pixels uint8 [h, w, 3] of a tile's uint8 [H, W, 3]."""
        resized = resize_image(image, self.content)
        below = self.frame[0] - self.content[0]
        right = self.frame[1] - self.content[1]
        if below or right:
            padded = np.empty((*self.frame, 3), np.uint8)
            padded[:] = _PAD_COLOUR
            padded[: self.content[0], : self.content[1]] = resized
            return padded
        return resized

    def points_to_frame(self, points: NDArray[np.floating]) -> NDArray[np.float32]:
        """Points [..., 2] x y from tile pixels to frame pixels, float32."""
        return np.asarray(points * np.asarray(self.scale), dtype=np.float32)

    def points_to_tile(self, points: NDArray[np.floating]) -> NDArray[np.float32]:
        """Points [..., 2] x y from frame pixels to tile pixels, float32."""
        return np.asarray(points / np.asarray(self.scale), dtype=np.float32)

    def boxes_to_frame(self, boxes: NDArray[np.floating]) -> NDArray[np.float32]:
        """Boxes [..., 4] xyxy from tile pixels to frame pixels, float32."""
        return np.asarray(boxes * np.tile(self.scale, 2), dtype=np.float32)

    def boxes_to_tile(self, boxes: NDArray[np.floating]) -> NDArray[np.float32]:
        """Boxes [..., 4] xyxy from frame pixels to tile pixels, cut at the tile's edges."""
        height, width = self.tile
        scaled = boxes / np.tile(self.scale, 2)
        limits = np.array([width, height, width, height])
        return np.asarray(np.clip(scaled, 0, limits), dtype=np.float32)

    def map_to_tile(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """A map float32 [h', w'] over the whole frame, at any resolution, in tile pixels.

        Bilinear, half-pixel centres, as SAM enlarges its masks.

        Returns:
            float32 [H, W].
        """
        if self.content != self.frame:
            # as SAM: to frame pixels first, so that the padding can be cut off exactly
            values = _resize_map(values, self.frame)
            values = np.ascontiguousarray(values[: self.content[0], : self.content[1]])
        return _resize_map(values, self.tile)


@dataclass(frozen=True, eq=False)
class FramedImage:
    """A tile as one model wants it, ready to be stacked with others.

    Attributes:
        frame: how the tile lies in the model frame.
        pixels: uint8 [h, w, 3] RGB, of the frame's size.
    """

    frame: FrameMap
    pixels: NDArray[np.uint8]

    @classmethod
    def fit(cls, image: NDArray[np.uint8], size: tuple[int, int]) -> FramedImage:
        """Scale a tile uint8 [H, W, 3] to fit a frame of (height, width), and pad it."""
        check_image(image)
        frame = FrameMap.fit((image.shape[0], image.shape[1]), size)
        return cls(frame, frame.image_to_frame(image))


def _resize_map(values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    height, width = size
    resized = cv2.resize(values, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, dtype=np.float32)


def resize_image(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize uint8 [H, W, 3] to (height, width): area mean when shrinking, else bilinear."""
    height, width = size
    if image.shape[:2] == size:
        return image
    shrinks = height <= image.shape[0] and width <= image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), dtype=np.uint8)


def check_image(image: NDArray[np.uint8], what: str = "tile") -> None:
    """Refuse what is not uint8 [H, W, 3] with at least one pixel: a fault of the caller.

    Raises:
        InternalError: naming shape and dtype.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise InternalError(
            f"expected a {what} uint8 [H, W, 3], found {image.dtype} {list(image.shape)}"
        )
