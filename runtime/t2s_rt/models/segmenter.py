"""SAM over two sessions: one embedding per tile, then masks for any number of prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from t2s_rt.backends import Array, DeviceArray, Session
from t2s_rt.errors import InternalError
from t2s_rt.limits import (
    LOCAL_PROMPTS_PER_CALL,
    PROMPTS_PER_CALL,
    PROMPTS_PER_CPU_CALL,
    TILES_PER_CALL,
)
from t2s_rt.models.calls import images_per_call, stack_images
from t2s_rt.models.frames import FramedImage, FrameMap
from t2s_rt.models.local import LocalWindows
from t2s_rt.models.prompt_decoder import BOX_LABELS, PromptDecoder

__all__ = ["ImageEmbedding", "MaskSet", "Segmenter"]

_PIXEL_SHIFT = 0.5
_LOW_PER_TOKEN = 4
"""Low-resolution mask pixels per image token."""


@dataclass(frozen=True, eq=False)
class ImageEmbedding:
    """What the mask encoder says about one tile.

    Attributes:
        array: float32 [1, C, h, w]; in the device's memory where the encoder's backend has one,
            so that the decoder reads it there.
        frame: how the tile lies in the model frame.
    """

    array: Array
    frame: FrameMap

    @property
    def tile_size(self) -> tuple[int, int]:
        """Height and width of the tile in pixels."""
        return self.frame.tile


@dataclass(frozen=True, eq=False)
class MaskSet:
    """Four masks per prompt, or one for each box, at low resolution.

    Attributes:
        logits: float32 [N, M, h4, w4] over the whole model frame; a pixel is inside above 0.
        iou: float32 [N, M], the model's own estimate of each mask's quality.
        frame: how the tile lies in the model frame; :meth:`to_tile` applies it.
    """

    logits: NDArray[np.float32]
    iou: NDArray[np.float32]
    frame: FrameMap

    def __post_init__(self) -> None:
        """Check shapes.

        Raises:
            InternalError: logits and IoU do not fit each other.
        """
        if self.logits.ndim != 4 or self.iou.shape != self.logits.shape[:2]:
            raise InternalError(
                "expected mask logits [N, M, h, w] and iou [N, M], found "
                f"{list(self.logits.shape)} and {list(self.iou.shape)}"
            )

    def __len__(self) -> int:
        """Number of prompts."""
        return len(self.logits)

    def best(self, multimask: bool) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """One mask per prompt.

        Mask 0 answers prompts that say enough by themselves, such as a box; masks 1 to 3 are the
        alternatives (part, object, whole) for prompts that do not, such as one point. Official
        SAM chooses so when called with ``multimask_output`` false or true; its ONNX export
        takes the alternatives for a bare box too, which PAPER calls out: the caller decides.

        Args:
            multimask: take the alternative with the highest predicted IoU instead of mask 0.

        Returns:
            logits float32 [N, h4, w4] and iou float32 [N].

        Raises:
            InternalError: there are no alternatives, as for boxes.
        """
        if multimask and self.iou.shape[1] < 2:
            raise InternalError("expected four masks per prompt to choose from, found mask 0 alone")
        rows = np.arange(len(self))
        if multimask:
            column = 1 + np.argmax(self.iou[:, 1:], axis=1)
        else:
            column = np.zeros(len(self), dtype=np.intp)
        return self.logits[rows, column], self.iou[rows, column]

    def to_tile(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """One low-resolution map float32 [h4, w4] in tile pixels, float32 [H, W]."""
        return self.frame.map_to_tile(logits)


class Segmenter:
    """Masks from boxes and points.

    Args:
        encoder: session of a graph with the role ``mask_encoder``.
        decoder: session of a graph with the role ``mask_decoder``.
        local: session of a graph with the role ``mask_decoder_local``, which small boxes go to;
            None sends all to ``decoder``.
        chunk: prompts in one decoder call, which bounds its memory; None is what
            :mod:`t2s_rt.limits` says for the decoder's device.
    """

    def __init__(
        self,
        encoder: Session,
        decoder: Session,
        local: Session | None = None,
        chunk: int | None = None,
    ) -> None:
        size = encoder.entry.image_size
        if size is None:
            raise InternalError("expected a mask encoder with an image size, found none")
        self._encoder, self._frame = encoder, size
        usual = PROMPTS_PER_CPU_CALL if decoder.device == "cpu" else PROMPTS_PER_CALL
        self._decoder = PromptDecoder(decoder, usual if chunk is None else chunk)
        self._local = (
            None
            if local is None
            else (PromptDecoder(local, LOCAL_PROMPTS_PER_CALL), _windows_of(encoder, local))
        )

    @property
    def sessions(self) -> tuple[Session, ...]:
        """Encoder, decoder and, where there is one, the local decoder."""
        both = (self._encoder, self._decoder.session)
        return both if self._local is None else (*both, self._local[0].session)

    def frame(self, image: NDArray[np.uint8]) -> FramedImage:
        """A tile uint8 [H, W, 3] RGB, of any size, in the encoder's frame."""
        return FramedImage.fit(image, self._frame)

    def encode(self, image: NDArray[np.uint8]) -> ImageEmbedding:
        """Embed a tile uint8 [H, W, 3] RGB."""
        return self.encode_frames([self.frame(image)])[0]

    def encode_frames(self, frames: Sequence[FramedImage]) -> list[ImageEmbedding]:
        """Embed several tiles, as many of them in a call as fit.

        Args:
            frames: of the tiles, from :meth:`frame`.

        Returns:
            The embedding of each tile, in order. Those of one call share its memory, which is
            free again when none of them is in use.

        Raises:
            BackendError: the session failed.
        """
        step = images_per_call(self._encoder, TILES_PER_CALL)
        found = []
        for start in range(0, len(frames), step):
            part = frames[start : start + step]
            pixels = stack_images(self._encoder, [framed.pixels for framed in part])
            outputs = self._encoder.run({"image": pixels}, keep=("image_embedding",))
            found += [
                ImageEmbedding(_row(outputs["image_embedding"], index), framed.frame)
                for index, framed in enumerate(part)
            ]
        return found

    def decode(
        self,
        embedding: ImageEmbedding,
        point_coords: NDArray[np.floating],
        point_labels: NDArray[np.floating],
    ) -> MaskSet:
        """Masks for prompts; all of them in memory at once.

        Args:
            embedding: of the tile.
            point_coords: [N, P, 2] x y in tile pixels, continuous.
            point_labels: [N, P]: -1 padding, 0 negative, 1 positive, 2 and 3 box corners.

        Returns:
            Masks in the order of the prompts; N = 0 gives an empty set.
        """
        parts = list(self.decode_chunks(embedding, point_coords, point_labels))
        if not parts:
            spec = next(
                spec for spec in self._decoder.session.outputs if spec.name == "mask_logits"
            )
            sizes = [size if isinstance(size, int) else 0 for size in spec.shape[1:]]
            return MaskSet(
                np.zeros((0, *sizes), np.float32),
                np.zeros((0, sizes[0]), np.float32),
                embedding.frame,
            )
        if len(parts) == 1:
            return parts[0]
        return MaskSet(
            np.concatenate([part.logits for part in parts]),
            np.concatenate([part.iou for part in parts]),
            embedding.frame,
        )

    def decode_boxes(self, embedding: ImageEmbedding, boxes: NDArray[np.floating]) -> MaskSet:
        """Mask 0 of boxes [N, 4] xyxy in tile pixels, all in memory at once: M is 1.

        Small boxes are decoded in windows around them where the bundle has a local decoder.
        """
        boxes = np.asarray(boxes, dtype=np.float32).reshape(-1, 4)
        placed = embedding.frame.boxes_to_frame(boxes)
        small = np.zeros(len(boxes), bool) if self._local is None else self._local[1].fit(placed)
        corners = boxes[~small].reshape(-1, 2, 2)
        rest = self.decode(embedding, corners, _box_labels(len(corners)))
        if self._local is None or not small.any():
            return MaskSet(rest.logits[:, :1], rest.iou[:, :1], embedding.frame)
        decoder, windows = self._local
        first = windows.place(placed[small])
        corners = placed[small].reshape(-1, 2, 2) - np.float32(_PIXEL_SHIFT)
        labels = _box_labels(len(corners))
        maps, scores = [], []
        for part, outputs in decoder.run(embedding.array, corners, labels, window=first):
            maps.append(windows.whole(outputs["mask_logits"][:, 0], first[part]))
            scores.append(outputs["iou"][:, 0])
        logits = np.empty((len(boxes), 1, *maps[0].shape[1:]), np.float32)
        iou = np.empty((len(boxes), 1), np.float32)
        logits[small, 0], iou[small, 0] = np.concatenate(maps), np.concatenate(scores)
        logits[~small], iou[~small] = rest.logits[:, :1], rest.iou[:, :1]
        return MaskSet(logits, iou, embedding.frame)

    def decode_chunks(
        self,
        embedding: ImageEmbedding,
        point_coords: NDArray[np.floating],
        point_labels: NDArray[np.floating],
    ) -> Iterator[MaskSet]:
        """As :meth:`decode`, but a bounded number of prompts at a time: for large grids."""
        labels = np.asarray(point_labels, dtype=np.float32)
        if point_coords.shape != (*labels.shape, 2) or labels.ndim != 2:
            raise InternalError(
                "expected point_coords [N, P, 2] and point_labels [N, P], found "
                f"{list(point_coords.shape)} and {list(labels.shape)}"
            )
        # the graph, as SAM, moves points by half a pixel: it wants pixel indices
        coords = embedding.frame.points_to_frame(point_coords) - np.float32(_PIXEL_SHIFT)
        for _, outputs in self._decoder.run(embedding.array, coords, labels):
            yield MaskSet(outputs["mask_logits"], outputs["iou"], embedding.frame)


def _row(batch: Array, index: int) -> Array:
    """One image's part of an encoder's output, where it lies."""
    if batch.shape[0] == 1:
        return batch
    if isinstance(batch, DeviceArray):
        return batch.rows(index, index + 1)
    return batch[index : index + 1]


def _box_labels(count: int) -> NDArray[np.float32]:
    return np.tile(np.array(BOX_LABELS, dtype=np.float32), (count, 1))


def _windows_of(encoder: Session, local: Session) -> LocalWindows:
    """The windows that a local decoder works on, from the shapes of both graphs."""
    grid = next(spec for spec in encoder.outputs if spec.name == "image_embedding").shape[2:]
    side = next(spec for spec in local.outputs if spec.name == "mask_logits").shape[2]
    size = encoder.entry.image_size
    rows, columns = (int(n) for n in grid if not isinstance(n, str))
    if size is None or isinstance(side, str):
        raise InternalError(f"expected static sizes of a local decoder, found {side} and {size}")
    return LocalWindows((rows, columns), side // _LOW_PER_TOKEN, size[0] / rows)
