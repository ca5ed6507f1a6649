"""One tile's features: every encoder runs at most once, when a route first asks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from t2s_rt.errors import BundleError
from t2s_rt.limits import PROMPTS_PER_CALL

if TYPE_CHECKING:
    from t2s_rt.models import DenseFeatures, Detections, ImageEmbedding, MaskSet, Models
    from t2s_rt.prompts import PromptPack

__all__ = ["TileFeatures"]

_T = TypeVar("_T")


class TileFeatures:
    """A tile's pixels and what the encoders say about them.

    Args:
        models: opened models; only those that a route asks for are used.
        image: uint8 ``[H, W, 3]`` RGB.
        valid: bool ``[H, W]``, false where the scene has no data.
        pack: the classes to look for.
        owned: rows and columns ``row0, row1, col0, col1`` of the tile in which an object's centre
            must lie for this tile to paint it; None takes the whole tile. Objects in the overlap
            of tiles are so decoded once.

    ``detections``, ``embedding`` and ``dense`` are computed at first use and kept, so each
    encoder meets the tile's pixels once, whatever the number of classes or routes. ``timings``
    sums the seconds of each stage.
    """

    def __init__(
        self,
        models: Models,
        image: NDArray[np.uint8],
        valid: NDArray[np.bool_],
        pack: PromptPack,
        owned: tuple[int, int, int, int] | None = None,
    ) -> None:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(
                f"a tile must be uint8 [H, W, 3], found {image.dtype} {list(image.shape)}"
            )
        if valid.shape != image.shape[:2]:
            raise ValueError(
                f"the valid mask must be {list(image.shape[:2])} like the tile, "
                f"found {list(valid.shape)}"
            )
        self.image = image
        self.valid = valid
        self.owned = owned or (0, image.shape[0], 0, image.shape[1])
        self.timings: dict[str, float] = {}
        self._models = models
        self._pack = pack
        # not functools.cached_property: before Python 3.12 its lock belongs to the class, and
        # tiles that are computed side by side would wait for each other
        self._detections: Detections | None = None
        self._embedding: ImageEmbedding | None = None
        self._dense: DenseFeatures | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the tile in pixels."""
        return self.image.shape[0], self.image.shape[1]

    @property
    def detections(self) -> Detections:
        """Boxes and absolute scores per class from the detector."""
        if self._detections is None:
            detector = _needed(self._models.detector, "detector")
            with self._timed("detector"):
                self._detections = detector.detect(self.image, self._pack)
        return self._detections

    @property
    def embedding(self) -> ImageEmbedding:
        """SAM's image embedding, shared by all prompts of all classes."""
        if self._embedding is None:
            segmenter = _needed(self._models.segmenter, "mask_encoder")
            with self._timed("mask_encoder"):
                self._embedding = segmenter.encode(self.image)
        return self._embedding

    @property
    def dense(self) -> DenseFeatures:
        """Dense CLIP embeddings, shared by all classes."""
        if self._dense is None:
            clip = _needed(self._models.clip, "clip_patches")
            with self._timed("clip"):
                self._dense = clip.dense(self.image)
        return self._dense

    def decode_boxes(self, boxes: NDArray[np.float32]) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Masks of boxes float32 ``[N, 4]`` xyxy in tile pixels.

        Yields:
            the index of a box and its mask's logits float32 ``[h4, w4]`` at low resolution, in
            order. The decoder sees chunks, so that memory stays flat whatever N.
        """
        segmenter, embedding = _needed(self._models.segmenter, "mask_decoder"), self.embedding
        for start in range(0, len(boxes), PROMPTS_PER_CALL):
            with self._timed("mask_decoder"):
                chunk = segmenter.decode_boxes(embedding, boxes[start : start + PROMPTS_PER_CALL])
                logits, _ = chunk.best(multimask=False)
            yield from enumerate(logits, start)

    def decode_points(
        self, coords: NDArray[np.float32], labels: NDArray[np.float32]
    ) -> Iterator[tuple[slice, MaskSet]]:
        """All four masks of point prompts.

        Args:
            coords: float32 ``[N, P, 2]`` x y in tile pixels.
            labels: float32 ``[N, P]``: 1 positive, 0 negative, -1 padding.

        Yields:
            which prompts a chunk holds, and their masks.
        """
        segmenter, embedding = _needed(self._models.segmenter, "mask_decoder"), self.embedding
        for start in range(0, len(coords), PROMPTS_PER_CALL):
            part = slice(start, min(start + PROMPTS_PER_CALL, len(coords)))
            with self._timed("mask_decoder"):
                masks = segmenter.decode(embedding, coords[part], labels[part])
            yield part, masks

    def embed(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """CLIP embeddings ``[n, D]``, unit length, of crops uint8 ``[h, w, 3]``."""
        clip = _needed(self._models.clip, "clip_image")
        with self._timed("clip"):
            return clip.embed(list(crops))

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            self.timings[stage] = self.timings.get(stage, 0.0) + spent


def _needed(model: _T | None, role: str) -> _T:
    if model is None:
        raise BundleError(
            f"this route needs the graph {role!r}, which was not opened; "
            "open the models with the roles that t2s_rt.routes.ROUTE_ROLES names"
        )
    return model
