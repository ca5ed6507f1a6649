"""CLIP over its sessions: dense embeddings of a tile, and embeddings of crops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from t2s_rt.backends import Session
from t2s_rt.errors import BundleError, InternalError
from t2s_rt.limits import CLIP_PIXELS_PER_CALL
from t2s_rt.models.frames import check_image, resize_image

__all__ = ["ClipEncoder", "DenseFeatures"]

_GRIDS = ("patch_embeddings", "surgery_embeddings")


@dataclass(frozen=True, eq=False)
class DenseFeatures:
    """CLIP embeddings on a regular grid that covers the tile from edge to edge.

    Attributes:
        patch: float32 [gh, gw, D], unit length: last block with q-q + k-k + v-v attention.
        surgery: float32 [gh, gw, D], unit length: v-v dual path of CLIP Surgery; None where
            only ``clip_patches`` was opened.
        image: float32 [D], unit length: class token (mean over windows); None likewise.
    """

    patch: NDArray[np.float32]
    surgery: NDArray[np.float32] | None = None
    image: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        """Check shapes.

        Raises:
            InternalError: the grids do not fit each other.
        """
        surgery = self.patch if self.surgery is None else self.surgery
        if self.patch.ndim != 3 or surgery.shape != self.patch.shape:
            raise InternalError(
                "expected patch and surgery embeddings [gh, gw, D], found "
                f"{list(self.patch.shape)} and {list(surgery.shape)}"
            )

    def dual_path(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The surgery embeddings [gh, gw, D] and the class token [D].

        Raises:
            InternalError: the graph that ran has no such outputs.
        """
        if self.surgery is None or self.image is None:
            raise InternalError(
                "expected surgery embeddings, found those of clip_patches; "
                "name clip_dense in Models.open(roles=...)"
            )
        return self.surgery, self.image


class ClipEncoder:
    """Embeds tiles densely and crops as a whole.

    Args:
        dense: session of a graph with the role ``clip_dense`` or ``clip_patches``, or None.
        image: session of a graph with the role ``clip_image``, or None.
        overlap: least share of a window's side that neighbouring windows have in common, below
            1. Any overlap softens seams between windows, and costs: a tile of twice the frame
            takes 4 windows without and 9 with it.
        batch: images in one call; bounds its memory. None takes as many as keep one call
            within 2^17 pixels.
    """

    def __init__(
        self,
        dense: Session | None,
        image: Session | None,
        *,
        overlap: float = 0.0,
        batch: int | None = None,
    ) -> None:
        if not 0.0 <= overlap < 1.0 or (batch is not None and batch < 1):
            raise InternalError(
                f"expected an overlap in 0..1 and a batch of at least 1, found {overlap}, {batch}"
            )
        self._dense, self._image = dense, image
        self._overlap = overlap
        self._batch = batch
        if dense is not None:
            self._grid = _grid(dense)

    @property
    def sessions(self) -> tuple[Session, ...]:
        """The sessions it runs on."""
        return tuple(session for session in (self._dense, self._image) if session is not None)

    def dense(self, image: NDArray[np.uint8]) -> DenseFeatures:
        """Embed every patch of a tile.

        Along each side, a tile that is no larger than the model frame is resized to it; a larger
        one keeps its resolution and is covered by windows of the frame's size, on one common
        patch grid. Where windows overlap their embeddings are averaged, each weighted by its
        distance to its window's edge, and scaled to unit length again.

        Args:
            image: uint8 [H, W, 3] RGB. A side that is no multiple of the patch is resized to
                the nearest one (by less than a patch), so that the grid covers the tile exactly.
        """
        check_image(image)
        session, frame = _needed(self._dense, "clip_dense")
        patch = frame[0] // self._grid[0]
        size = (
            _working_side(image.shape[0], frame[0], patch),
            _working_side(image.shape[1], frame[1], patch),
        )
        image = resize_image(image, size)
        windows = [
            (row, col)
            for row in _starts(size[0], frame[0], patch, self._overlap)
            for col in _starts(size[1], frame[1], patch, self._overlap)
        ]
        merged = _Merge(size[0] // patch, size[1] // patch, self._grid)
        for start in range(0, len(windows), self._step(session)):
            part = windows[start : start + self._step(session)]
            pixels = np.stack([image[r : r + frame[0], c : c + frame[1]] for r, c in part])
            outputs = session.run({"image": _fill(session, pixels)})
            for index, (row, col) in enumerate(part):
                merged.add(
                    row // patch,
                    col // patch,
                    [outputs[name][index] for name in _GRIDS if name in outputs],
                    outputs["image_embedding"][index] if "image_embedding" in outputs else None,
                )
        return merged.result()

    def embed(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Embed crops.

        A crop that is not square is made so by mirroring its shorter sides: black bars or a
        squeezed image would move the embedding more than repeated surroundings do.

        Args:
            crops: uint8 [h, w, 3] RGB each, of any sizes.

        Returns:
            float32 [n, D], unit length, in order.
        """
        session, frame = _needed(self._image, "clip_image")
        width = session.outputs[0].shape[-1]
        rows = [np.zeros((0, width if isinstance(width, int) else 0), np.float32)]
        step = self._step(session)
        for start in range(0, len(crops), step):
            part = [_square(crop, frame) for crop in crops[start : start + step]]
            outputs = session.run({"image": _fill(session, np.stack(part))})
            rows.append(outputs["embeddings"][: len(part)])
        return np.concatenate(rows[1:] or rows)

    def _step(self, session: Session) -> int:
        """Images in one call: the graph's static batch, else this encoder's."""
        size = session.inputs[0].shape[0]
        if isinstance(size, int):
            return size
        frame = session.entry.image_size or (1, 1)
        return self._batch or max(1, CLIP_PIXELS_PER_CALL // math.prod(frame))


class _Merge:
    """Weighted mean of overlapping windows on the tile's patch grid."""

    def __init__(self, rows: int, cols: int, grid: tuple[int, int]) -> None:
        self._shape = (rows, cols)
        self._grid = grid
        self._taper = np.outer(_taper(grid[0]), _taper(grid[1])).astype(np.float32)[..., None]
        self._sums: NDArray[np.float32] | None = None
        self._image: NDArray[np.float32] | None = None

    def add(
        self,
        row: int,
        col: int,
        grids: Sequence[NDArray[np.float32]],
        image: NDArray[np.float32] | None,
    ) -> None:
        """Add one window whose first patch lies at (row, col)."""
        rows, cols = self._grid
        window = np.stack(grids).reshape(len(grids), rows, cols, -1) * self._taper
        if self._sums is None:
            self._sums = np.zeros((len(grids), *self._shape, window.shape[-1]), np.float32)
        self._sums[:, row : row + rows, col : col + cols] += window
        if image is not None:
            self._image = image + (0.0 if self._image is None else self._image)

    def result(self) -> DenseFeatures:
        """The embeddings of the whole tile."""
        if self._sums is None:
            raise InternalError("expected at least one window, found none")
        grids = _unit(self._sums)
        if len(grids) == 1 or self._image is None:
            return DenseFeatures(grids[0])
        return DenseFeatures(grids[0], grids[1], _unit(self._image))


def _grid(session: Session) -> tuple[int, int]:
    """Rows and columns of patches in one window."""
    frame = session.entry.image_size
    spec = next(spec for spec in session.outputs if spec.name == "patch_embeddings")
    count = spec.shape[1]
    if frame is None or not isinstance(count, int):
        raise BundleError(f"clip_dense: expected a static number of patches, found {count}")
    patch = math.isqrt(frame[0] * frame[1] // count)
    if (
        patch < 1
        or any(side % patch for side in frame)
        or patch * patch * count != math.prod(frame)
    ):
        raise BundleError(f"clip_dense: {count} patches do not tile a frame of {list(frame)}")
    return frame[0] // patch, frame[1] // patch


def _needed(session: Session | None, role: str) -> tuple[Session, tuple[int, int]]:
    if session is None or session.entry.image_size is None:
        raise InternalError(f"the graph {role} was not opened; name it in Models.open(roles=...)")
    return session, session.entry.image_size


def _working_side(side: int, frame: int, patch: int) -> int:
    return frame if side <= frame else max(frame, round(side / patch) * patch)


def _starts(size: int, frame: int, patch: int, overlap: float) -> list[int]:
    """First pixels of windows along one side: on the patch grid, evenly spaced, edge to edge."""
    stride = max(patch, frame - math.ceil(overlap * frame / patch) * patch)
    count = 1 + math.ceil((size - frame) / stride)
    if count == 1:
        return [0]
    return [round(i * (size - frame) / (count - 1) / patch) * patch for i in range(count)]


def _taper(count: int) -> NDArray[np.float64]:
    """Weights that fall from the middle to the edges and never reach zero."""
    place = np.arange(count) + 0.5
    return np.asarray(np.minimum(place, count - place) / (count / 2), dtype=np.float64)


def _fill(session: Session, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Repeat the last image up to the graph's static batch."""
    size = session.inputs[0].shape[0]
    missing = size - len(images) if isinstance(size, int) else 0
    return np.concatenate([images, np.repeat(images[-1:], missing, axis=0)])


def _square(crop: NDArray[np.uint8], frame: tuple[int, int]) -> NDArray[np.uint8]:
    check_image(crop, "crop")
    height, width = crop.shape[:2]
    side = max(height, width)
    above, left = (side - height) // 2, (side - width) // 2
    below, right = side - height - above, side - width - left
    square = cv2.copyMakeBorder(crop, above, below, left, right, cv2.BORDER_REFLECT)
    return resize_image(np.asarray(square, dtype=np.uint8), frame)


def _unit(array: NDArray[np.float32]) -> NDArray[np.float32]:
    length = np.linalg.norm(array, axis=-1, keepdims=True)
    return np.asarray(array / np.maximum(length, 1e-12), dtype=np.float32)
