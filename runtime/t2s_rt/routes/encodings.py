"""What the encoders say about tiles that meet them together: once each, when first asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from t2s_rt.errors import BackendError, BundleError
from t2s_rt.routes.clock import StageClock

if TYPE_CHECKING:
    from t2s_rt.contracts import Role
    from t2s_rt.models import (
        DenseFeatures,
        Detections,
        FramedImage,
        ImageEmbedding,
        Models,
        TileWindows,
    )
    from t2s_rt.prompts import PromptPack

__all__ = ["TileEncodings", "TileInputs", "needed"]

_T = TypeVar("_T")


class TileInputs:
    """A tile's image as each encoder wants it, made at first use or ahead of it.

    Args:
        models: opened models.
        image: uint8 ``[H, W, 3]`` RGB.
    """

    def __init__(self, models: Models, image: NDArray[np.uint8]) -> None:
        self.image = image
        self._models = models
        self._detector: FramedImage | None = None
        self._mask_encoder: FramedImage | None = None
        self._clip: TileWindows | None = None

    @property
    def detector(self) -> FramedImage:
        """For the detector."""
        if self._detector is None:
            self._detector = needed(self._models.detector, "detector").frame(self.image)
        return self._detector

    @property
    def mask_encoder(self) -> FramedImage:
        """For SAM's image encoder."""
        if self._mask_encoder is None:
            self._mask_encoder = needed(self._models.segmenter, "mask_encoder").frame(self.image)
        return self._mask_encoder

    @property
    def clip(self) -> TileWindows:
        """For dense CLIP."""
        if self._clip is None:
            self._clip = needed(self._models.clip, "clip_patches").windows(self.image)
        return self._clip

    def prepare(self, roles: Collection[Role]) -> None:
        """Make now what the encoders of these roles will want."""
        if "detector" in roles:
            _ = self.detector
        if "mask_encoder" in roles:
            _ = self.mask_encoder
        if "clip_patches" in roles or "clip_dense" in roles:
            _ = self.clip


class TileEncodings:
    """Detections, image embeddings and dense CLIP features of one tile or several.

    An encoder runs when the first tile asks for what it says, for all tiles at once, and never
    again. Where such a call fails, each tile is tried by itself, so that none fails for its
    neighbours. May be asked from several threads.

    Args:
        models: opened models; only those that are asked are used.
        inputs: of the tiles.
        pack: the classes to look for.
        clock: takes the stages' time; by default one of its own.

    Attributes:
        clock: see above.
    """

    def __init__(
        self,
        models: Models,
        inputs: Sequence[TileInputs],
        pack: PromptPack,
        clock: StageClock | None = None,
    ) -> None:
        self.clock = clock or StageClock()

        def detect(indices: Sequence[int]) -> list[Detections]:
            detector = needed(models.detector, "detector")
            return detector.detect_frames([inputs[i].detector for i in indices], pack)

        def encode(indices: Sequence[int]) -> list[ImageEmbedding]:
            segmenter = needed(models.segmenter, "mask_encoder")
            return segmenter.encode_frames([inputs[i].mask_encoder for i in indices])

        def dense(indices: Sequence[int]) -> list[DenseFeatures]:
            clip = needed(models.clip, "clip_patches")
            return clip.dense_windows([inputs[i].clip for i in indices])

        count = len(inputs)
        self._detections = _Once("detector", detect, count, self.clock)
        self._embeddings = _Once("mask_encoder", encode, count, self.clock)
        self._dense = _Once("clip", dense, count, self.clock)

    def detections(self, index: int) -> Detections:
        """Of one tile: boxes and absolute scores per class.

        Raises:
            BackendError: the detector failed on this tile, as for the others.
            BundleError: it was not opened.
        """
        return self._detections.get(index)

    def embedding(self, index: int) -> ImageEmbedding:
        """Of one tile: SAM's image embedding."""
        return self._embeddings.get(index)

    def dense(self, index: int) -> DenseFeatures:
        """Of one tile: dense CLIP embeddings."""
        return self._dense.get(index)

    def prefetch(self, roles: Collection[Role], pool: Executor) -> list[Future[None]]:
        """Run the encoders of these roles now, side by side.

        A backend's failure waits for the tile that asks; anything else is in the futures.
        """
        wanted: list[Callable[[], None]] = []
        if "detector" in roles:
            wanted.append(self._detections.fill)
        if "mask_encoder" in roles:
            wanted.append(self._embeddings.fill)
        if "clip_patches" in roles or "clip_dense" in roles:
            wanted.append(self._dense.fill)
        return [pool.submit(fill) for fill in wanted]

    @property
    def too_large(self) -> BackendError | None:
        """Why a call for all tiles failed although each tile alone went through; else None."""
        encoders = (self._detections, self._embeddings, self._dense)
        return next((e.too_large for e in encoders if e.too_large is not None), None)


class _Once(Generic[_T]):
    """One encoder's results, computed when first asked for."""

    def __init__(
        self,
        stage: str,
        compute: Callable[[Sequence[int]], list[_T]],
        count: int,
        clock: StageClock,
    ) -> None:
        self._stage, self._compute, self._count, self._clock = stage, compute, count, clock
        self._lock = threading.Lock()
        self._results: list[_T | BackendError] | None = None
        self.too_large: BackendError | None = None

    def get(self, index: int) -> _T:
        """The result of one tile."""
        found = self._filled()[index]
        if isinstance(found, BackendError):
            raise found
        return found

    def fill(self) -> None:
        """Compute the results if no other thread has or does."""
        self._filled()

    def _filled(self) -> list[_T | BackendError]:
        if self._results is not None:
            return self._results
        # waiting for another thread's call is no work
        with self._clock.running(None):
            self._lock.acquire()
        try:
            if self._results is None:
                with self._clock.running(self._stage):
                    self._results = self._all()
            return self._results
        finally:
            self._lock.release()

    def _all(self) -> list[_T | BackendError]:
        try:
            return list(self._compute(range(self._count)))
        except BackendError as error:
            if self._count == 1:
                return [error]
            together = error
        results = [self._alone(index) for index in range(self._count)]
        if not any(isinstance(result, BackendError) for result in results):
            self.too_large = together
        return results

    def _alone(self, index: int) -> _T | BackendError:
        try:
            return self._compute([index])[0]
        except BackendError as error:
            return error


def needed(model: _T | None, role: str) -> _T:
    """The model of a role.

    Raises:
        BundleError: it was not opened.
    """
    if model is None:
        raise BundleError(
            f"this route needs the graph {role!r}, which was not opened; "
            "open the models with the roles that t2s_rt.routes.ROUTE_ROLES names"
        )
    return model
