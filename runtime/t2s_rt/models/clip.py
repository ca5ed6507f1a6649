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
from t2s_rt.limits import CLIP_PIXELS_PER_CALL, CLIP_PIXELS_PER_CPU_CALL, SMALL_MODEL_BYTES
from t2s_rt.models.calls import images_per_call, stack_images
from t2s_rt.models.frames import check_image, resize_image

__all__ = ["ClipEncoder", "DenseFeatures", "TileWindows"]

_SMALL_OVERLAP = 1 / 3
"""Chosen by ``python -m t2s_bench.nano.choices``; docs/nano.md has its figures."""
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


@dataclass(frozen=True, eq=False)
class TileWindows:
    """A tile as dense CLIP wants it: windows of the model frame's size.

    Attributes:
        pixels: uint8 [n, h, w, 3] RGB.
        places: first (row, column) of each window on the tile's patch grid.
        grid: rows and columns of patches in the tile.
    """

    pixels: NDArray[np.uint8]
    places: tuple[tuple[int, int], ...]
    grid: tuple[int, int]


class ClipEncoder:
    """Embeds tiles densely and crops as a whole.

    Args:
        dense: session of a graph with the role ``clip_dense`` or ``clip_patches``, or None.
        image: session of a graph with the role ``clip_image``, or None.
        overlap: least share of a window's side that neighbouring windows have in common, below
            1. Any overlap softens seams between windows, and costs: a tile of twice the frame
            takes 4 windows without and 9 with it. None takes a third of a side where the graph is
            small (within ``limits.SMALL_MODEL_BYTES``), none where it is large.
        batch: images in one call; bounds its memory. None takes as many as keep one call
            within 2^17 pixels, on a CPU within 2^15.
    """

    def __init__(
        self,
        dense: Session | None,
        image: Session | None,
        *,
        overlap: float | None = None,
        batch: int | None = None,
    ) -> None:
        overlap = _overlap(dense) if overlap is None else overlap
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
        """Embed every patch of a tile uint8 [H, W, 3] RGB; see :meth:`windows`."""
        return self.dense_windows([self.windows(image)])[0]

    def windows(self, image: NDArray[np.uint8]) -> TileWindows:
        """Cut a tile into what the graph sees.

        Along each side, a tile that is no larger than the model frame is resized to it; a larger
        one keeps its resolution and is covered by windows of the frame's size, on one common
        patch grid.

        Args:
            image: uint8 [H, W, 3] RGB. A side that is no multiple of the patch is resized to
                the nearest one (by less than a patch), so that the grid covers the tile exactly.
        """
        check_image(image)
        _, frame = _needed(self._dense, "clip_dense")
        patch = frame[0] // self._grid[0]
        height, width = (
            _working_side(side, length, patch)
            for side, length in zip(image.shape[:2], frame, strict=True)
        )
        image = resize_image(image, (height, width))
        corners = [
            (row, col)
            for row in _starts(height, frame[0], patch, self._overlap)
            for col in _starts(width, frame[1], patch, self._overlap)
        ]
        return TileWindows(
            np.stack([image[r : r + frame[0], c : c + frame[1]] for r, c in corners]),
            tuple((row // patch, col // patch) for row, col in corners),
            (height // patch, width // patch),
        )

    def dense_windows(self, tiles: Sequence[TileWindows]) -> list[DenseFeatures]:
        """Embed every patch of several tiles; windows of all of them share calls.

        Where windows overlap their embeddings are averaged, each weighted by its distance to its
        window's edge, and scaled to unit length again.

        Args:
            tiles: from :meth:`windows`.

        Returns:
            The features of each tile, in order.

        Raises:
            BackendError: the session failed.
        """
        session, _ = _needed(self._dense, "clip_dense")
        merged = [_Merge(tile.grid, self._grid) for tile in tiles]
        queue = [
            (tile, index) for tile in range(len(tiles)) for index in range(len(tiles[tile].places))
        ]
        step = self._step(session)
        for start in range(0, len(queue), step):
            part = queue[start : start + step]
            pixels = stack_images(session, [tiles[tile].pixels[index] for tile, index in part])
            outputs = session.run({"image": pixels})
            for out, (tile, index) in enumerate(part):
                merged[tile].add(
                    *tiles[tile].places[index],
                    [outputs[name][out] for name in _GRIDS if name in outputs],
                    outputs["image_embedding"][out] if "image_embedding" in outputs else None,
                )
        return [merge.result() for merge in merged]

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
            outputs = session.run({"image": stack_images(session, part)})
            rows.append(outputs["embeddings"][: len(part)])
        return np.concatenate(rows[1:] or rows)

    def _step(self, session: Session) -> int:
        """Images in one call: the graph's static batch, else this encoder's."""
        frame = session.entry.image_size or (1, 1)
        pixels = CLIP_PIXELS_PER_CPU_CALL if session.device == "cpu" else CLIP_PIXELS_PER_CALL
        most = self._batch or max(1, pixels // math.prod(frame))
        return images_per_call(session, most)


class _Merge:
    """Weighted mean of overlapping windows on the tile's patch grid."""

    def __init__(self, shape: tuple[int, int], grid: tuple[int, int]) -> None:
        self._shape = shape
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


def _overlap(session: Session | None) -> float:
    """Share of a window's side that neighbours have in common, by the size of the graph."""
    size = 0 if session is None else sum(file.bytes for file in session.entry.files)
    return _SMALL_OVERLAP if size <= SMALL_MODEL_BYTES else 0.0


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
