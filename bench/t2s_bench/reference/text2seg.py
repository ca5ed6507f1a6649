"""Text2Seg's three ways from one phrase to one binary mask, on original packages.

Source of the steps: Zhang et al., Text2Seg, arXiv 2304.10597, and the authors' published code
(Douglas2Code/Text2Seg, MIT), retold. What repeats there repeats here, for every class anew: the
text encoder, the detector, SAM's image encoder (twice for points, where the code sets the image
twice), SAM's decoder, SAM's automatic mask generator, CLIP on every masked crop.

Left out, because it takes no time worth measuring and would make the sides' pixels or scores
differ for reasons that are no model's: the second normalisation of CLIP's input and the norm over
the wrong axis; PIL's way to resize (both sides use ``resize_image``); special tokens as a word's
score; drawing the boxes. The best ``count`` boxes take the place of those above a threshold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from t2s_bench.side_by_side.phrases import Phrase
from t2s_rt.models.frames import resize_image
from t2s_rt.routes.clock import StageClock

__all__ = ["ClipPart", "DetectorPart", "Found", "Parts", "Text2Seg", "heat_points"]

_HOT = 0.8
"""Share of a heat map's range from which a cell becomes a point."""
_SOFTMAX_SCALE = 100.0
_MASK_SCORE = 0.05
"""Least share of a phrase's softmax over all masks for a mask to be the phrase's."""


class DetectorPart(Protocol):
    """A text-conditioned detector in torch."""

    frame: int

    def encode_text(self, phrase: Phrase) -> Tensor:
        """Features ``[1, T, D]`` of a caption."""

    def detect(self, image: Tensor, features: Tensor, phrase: Phrase) -> tuple[Tensor, Tensor]:
        """Logits ``[Q, T]`` and boxes ``[Q, 4]``, cx cy w h in 0..1, of uint8 ``[1, s, s, 3]``."""


class ClipPart(Protocol):
    """CLIP in torch.

    Attributes:
        image_size: side of the image whose tokens give points, pixels.
        crop_size: side of a masked crop, pixels.
    """

    image_size: int
    crop_size: int

    def encode_text(self, ids: Tensor) -> Tensor:
        """Embeddings ``[N, D]`` of token ids ``[N, L]``."""

    def tokens(self, image: Tensor) -> Tensor:
        """Projected tokens ``[1, 1 + n, D]``, class token first, of uint8 ``[1, s, s, 3]``."""

    def embed(self, crops: Tensor) -> Tensor:
        """Class embeddings ``[N, D]`` of crops uint8 ``[N, s, s, 3]``."""


@dataclass(frozen=True)
class Parts:
    """What a chain runs on; a part that a route does not need is None.

    Attributes:
        detector: Grounding DINO.
        predictor: segment_anything's SamPredictor, or what has its methods.
        generator: segment_anything's SamAutomaticMaskGenerator class.
        clip: CLIP.
    """

    detector: DetectorPart | None
    predictor: Any
    generator: Any
    clip: ClipPart | None


@dataclass(frozen=True, eq=False)
class Found:
    """What one phrase found in one image.

    Attributes:
        mask: bool ``[H, W]``, the phrase's binary mask.
        masks: bool ``[N, H, W]``, the masks that it is the union of, or was chosen from.
        boxes: float32 ``[N, 4]`` xyxy in image pixels of the boxes route, else ``[0, 4]``.
        points: float32 ``[P, 2]`` x y in image pixels of the points route, else ``[0, 2]``.
        labels: float32 ``[P]``: 1 positive, 0 negative.
        crops: uint8 ``[N, s, s, 3]`` that CLIP saw.
        embeddings: float32 ``[N, D]``, unit length, of them.
    """

    mask: NDArray[np.bool_]
    masks: NDArray[np.bool_]
    boxes: NDArray[np.float32]
    points: NDArray[np.float32]
    labels: NDArray[np.float32]
    crops: NDArray[np.uint8]
    embeddings: NDArray[np.float32]


def _found(mask: NDArray[np.bool_], masks: NDArray[np.bool_], **more: Any) -> Found:
    nothing: dict[str, Any] = {
        "boxes": np.zeros((0, 4), np.float32),
        "points": np.zeros((0, 2), np.float32),
        "labels": np.zeros(0, np.float32),
        "crops": np.zeros((0, 1, 1, 3), np.uint8),
        "embeddings": np.zeros((0, 0), np.float32),
    }
    return Found(mask, masks, **{**nothing, **more})


class Text2Seg:
    """The reference chain. Every call starts from the pixels, as there.

    Args:
        parts: the models.
        count: boxes that go on to SAM.
        grid: points along a side of the mask generator's grid.
        mask_iou: predicted IoU that a generated mask must exceed.

    Attributes:
        clock: seconds by stage.
        calls: runs by stage, of the networks alone.
    """

    def __init__(self, parts: Parts, *, count: int, grid: int, mask_iou: float = 0.0) -> None:
        self.parts, self.count, self.grid, self.mask_iou = parts, count, grid, mask_iou
        self.restart()

    def restart(self) -> None:
        """Forget times and calls."""
        self.clock: StageClock = StageClock()
        self.calls: Counter[str] = Counter()
        self.predictor: Any = _WatchedPredictor(self.parts.predictor, self)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """A network runs."""
        self.calls[name] += 1
        with self.clock.running(name), torch.no_grad():
            yield

    def boxes(self, image: NDArray[np.uint8], phrase: Phrase) -> Found:
        """Grounding DINO, then SAM on its boxes in one batch (``predict_dino`` there).

        Args:
            image: uint8 ``[H, W, 3]`` RGB.
            phrase: what to look for.
        """
        detector = self.parts.detector
        assert detector is not None  # opened for this route
        framed = resize_image(image, (detector.frame, detector.frame))
        with self.stage("text"):
            features = detector.encode_text(phrase)
        with self.stage("detector"):
            logits, boxes = detector.detect(torch.from_numpy(framed)[None], features, phrase)
        scores = logits[:, slice(*phrase.span)].sigmoid().amax(1)
        best = boxes[scores.topk(min(self.count, len(scores))).indices]
        height, width = image.shape[:2]
        centre, half = best[:, :2], best[:, 2:] / 2
        corners = torch.cat([centre - half, centre + half], 1)
        corners = corners * torch.tensor([width, height, width, height])
        self.predictor.set_image(image)
        prompts = self.predictor.transform.apply_boxes_torch(corners, (height, width))
        masks, _, _ = self.predictor.predict_torch(
            point_coords=None, point_labels=None, boxes=prompts, multimask_output=False
        )
        whole = masks[:, 0].numpy()
        return _found(whole.any(0), whole, boxes=corners.numpy())

    def points(self, image: NDArray[np.uint8], phrase: Phrase) -> Found:
        """CLIP's heat map, then SAM on its hottest and coldest cells (``predict_CLIPS`` there).

        Args:
            image: uint8 ``[H, W, 3]`` RGB.
            phrase: what to look for.
        """
        clip = self.parts.clip
        assert clip is not None  # opened for this route
        texts = [self._ensemble(clip, ids) for ids in (phrase.sentences, phrase.empty)]
        framed = resize_image(image, (clip.image_size, clip.image_size))
        with self.stage("clip"):
            tokens = F.normalize(clip.tokens(torch.from_numpy(framed)[None])[0], dim=-1)
        heat = tokens[1:] @ (texts[0] - texts[1])
        coords, labels = heat_points(heat.numpy(), image.shape[:2])
        for _ in range(2):  # the code sets the image at two places
            self.predictor.set_image(image)
        placed = self.predictor.transform.apply_coords(coords, image.shape[:2])
        masks, _, _ = self.predictor.predict_torch(
            torch.as_tensor(placed, dtype=torch.float32)[None],
            torch.as_tensor(labels, dtype=torch.int32)[None],
            multimask_output=False,
        )
        whole = masks[:, 0].numpy()
        return _found(whole[0], whole, points=coords, labels=labels)

    def _ensemble(self, clip: ClipPart, ids: NDArray[np.int64]) -> Tensor:
        """Mean of the templates' embeddings, unit length, ``[D]``."""
        with self.stage("text"):
            each = F.normalize(clip.encode_text(torch.from_numpy(ids)), dim=-1)
        return F.normalize(each.mean(0), dim=-1)

    def masks(self, image: NDArray[np.uint8], phrase: Phrase) -> Found:
        """SAM everything, then CLIP on each masked crop (``predict_CLIP`` there).

        Args:
            image: uint8 ``[H, W, 3]`` RGB.
            phrase: what to look for.
        """
        clip = self.parts.clip
        assert clip is not None  # opened for this route
        generator = self.parts.generator(
            self.parts.predictor.model,
            points_per_side=self.grid,
            pred_iou_thresh=self.mask_iou,
            stability_score_thresh=0.0,
            box_nms_thresh=1.0,
        )
        generator.predictor = self.predictor
        made = generator.generate(image)
        whole = np.array([one["segmentation"] for one in made], bool)
        whole = whole.reshape(-1, *image.shape[:2])
        if not len(whole):
            return _found(np.zeros(image.shape[:2], bool), whole)
        crops = np.stack([_masked_crop(image, one, clip.crop_size) for one in made])
        with self.stage("clip"):
            embedded = F.normalize(clip.embed(torch.from_numpy(crops)), dim=-1)
        with self.stage("text"):
            text = F.normalize(clip.encode_text(torch.from_numpy(phrase.word)), dim=-1)
        score = (_SOFTMAX_SCALE * embedded @ text[0]).softmax(0)
        kept = whole[(score > _MASK_SCORE).numpy()]
        return _found(kept.any(0), whole, crops=crops, embeddings=embedded.numpy())


class _WatchedPredictor:
    """A predictor whose two networks are stages of a chain."""

    def __init__(self, predictor: Any, chain: Text2Seg) -> None:
        self._predictor, self._chain = predictor, chain

    def __getattr__(self, name: str) -> Any:
        return getattr(self._predictor, name)

    def set_image(self, image: NDArray[np.uint8]) -> None:
        with self._chain.stage("mask_encoder"):
            self._predictor.set_image(image)

    def predict_torch(self, *arguments: Any, **keywords: Any) -> Any:
        with self._chain.stage("mask_decoder"):
            return self._predictor.predict_torch(*arguments, **keywords)


def _masked_crop(image: NDArray[np.uint8], made: dict[str, Any], size: int) -> NDArray[np.uint8]:
    """The box around a mask, black beside it, squashed to a square."""
    x, y, width, height = (int(value) for value in made["bbox"])
    part = slice(y, y + max(height, 1)), slice(x, x + max(width, 1))
    crop = image[part] * made["segmentation"][part][..., None]
    return resize_image(np.ascontiguousarray(crop, np.uint8), (size, size))


def heat_points(
    heat: NDArray[np.float32], shape: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Points of a heat map: its hottest cells and as many of its coldest ones.

    The map is halved first; cells from 0.8 of its range up are hot, at most half of all.

    Args:
        heat: float32 ``[g * g]``, row by row.
        shape: height and width of the image.

    Returns:
        float32 ``[P, 2]`` x y in whole image pixels, hot ones first, and their labels ``[P]``.
    """
    side = round(len(heat) ** 0.5)
    half = max(side // 2, 1)
    small = cv2.resize(heat.reshape(side, side), (half, half), interpolation=cv2.INTER_LINEAR)
    flat = small.ravel() - small.min()
    flat = flat / max(float(flat.max()), 1e-12)
    order = np.argsort(flat, kind="stable")
    count = min(int((flat >= _HOT).sum()), len(flat) // 2)
    cells = np.concatenate([order[len(order) - count :], order[:count]])
    height, width = shape
    x = np.minimum((cells % half + 0.5) * width / half, width - 1).astype(int)
    y = np.minimum((cells // half + 0.5) * height / half, height - 1).astype(int)
    labels = np.repeat(np.array([1.0, 0.0], np.float32), count)
    return np.stack([x, y], 1).astype(np.float32), labels
