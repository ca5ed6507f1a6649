"""Whether both sides computed the same: the reference's results against this runtime's.

The class of an image alone is compared, each in a caption of its own, for the reference knows
nothing else. What all classes in one caption change is told beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from t2s_bench.side_by_side import COUNT
from t2s_bench.side_by_side.ours import Ours
from t2s_rt.models import ClipEncoder, Segmenter
from t2s_rt.models.frames import resize_image
from t2s_rt.routes.painting import box_iou, mask_window
from t2s_rt.routes.proposals import grid_points

if TYPE_CHECKING:
    from t2s_bench.reference.race_models import RaceModels
    from t2s_bench.reference.text2seg import Found
    from t2s_rt.routes.features import TileFeatures

__all__ = ["agree", "mask_iou", "same_masks"]

_SAME_BOX = 0.9
_NEAR_BOX = 0.5
_HALF_PIXEL = 0.5
"""Text2Seg hands continuous coordinates to SAM, which takes pixel indices and adds half a pixel;
this runtime hands indices. The same numbers therefore mean places half a pixel apart."""


def mask_iou(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """IoU of two masks; 1 where both are empty."""
    union = int((first | second).sum())
    return int((first & second).sum()) / union if union else 1.0


def same_masks(first: Sequence[Found], second: Sequence[Found]) -> dict[str, float]:
    """How two opponents' binary masks agree, class by class."""
    return _spread([mask_iou(a.mask, b.mask) for a, b in zip(first, second, strict=True)])


def agree(race: RaceModels, route: str, found: Sequence[Found], ours: Ours) -> dict[str, Any]:
    """Compare the eager chain's results with this runtime's models.

    Args:
        race: both sides' models.
        route: which way.
        found: the reference's results, class by class.
        ours: after a run.

    Returns:
        JSON-ready. ``boxes``: how many of the reference's were found, each class alone, and their
        IoU. ``masks``: IoU of single masks from the reference's own prompts. ``shipped``: the same
        from our prompts, by the decoder that the route takes (a local one for nano's small
        boxes). ``together``: boxes near the reference's with all classes in one caption.
        ``kept``: generated masks of either side. ``clip_cosine``: of the same crops.
    """
    if route == "boxes":
        return _agree_boxes(race, found, ours)
    figures: dict[str, Any] = {}
    if route == "points":
        ious = []
        for one in found:
            (low,) = _decoded(ours.features, one.points[None] + _HALF_PIXEL, one.labels[None])
            ious.append(mask_iou(_whole(low, ours.features), one.masks[0]))
        figures["masks"] = _spread(ious)
        crops = ours.image[None]
    else:
        made = ours.proposals(ours.features).logits
        theirs = found[0].masks
        figures["masks"] = _spread(_best_ious(theirs, _generated(ours), ours))
        figures["shipped"] = _spread(_best_ious(theirs, made, ours))
        figures["kept"] = {"ours": len(made), "theirs": len(theirs)}
        crops = found[0].crops
    figures["clip_cosine"] = _clip_cosine(race, crops)
    return figures


def _agree_boxes(race: RaceModels, found: Sequence[Found], ours: Ours) -> dict[str, Any]:
    same, near = 0, 0
    overlaps: list[float] = []
    masks: list[float] = []
    shipped: list[float] = []
    together = ours.candidates(ours.features, ours.pack)
    segmenter = _whole_decoder(race)
    height, width = ours.features.shape
    inside = np.array([width, height, width, height], np.float32)
    for index, one in enumerate(found):
        embedding = ours.features.embedding  # the image is the same, so one will do
        lows = segmenter.decode_boxes(embedding, one.boxes + _HALF_PIXEL).logits[:, 0]
        masks += _ious(lows, one.masks, ours)
        candidates = ours.alone(index)
        theirs = np.clip(one.boxes, 0.0, inside)  # as ours are
        overlap = box_iou(theirs, candidates.boxes)
        good = overlap.max(1) >= _SAME_BOX
        same += int(good.sum())
        overlaps += overlap.max(1)[good].tolist()
        own = [low for _, low in ours.features.decode_boxes(candidates.boxes)]
        partners = overlap.argmax(1)[good]
        shipped += _ious([own[partner] for partner in partners], one.masks[good], ours)
        mine = together.boxes[together.classes == index]
        near += int((box_iou(theirs, mine).max(1, initial=0.0) >= _NEAR_BOX).sum())
    total = sum(len(one.boxes) for one in found)
    return {
        "boxes": {"same": same, "of": total, "iou": _spread(overlaps)},
        "masks": _spread(masks),
        "shipped": _spread(shipped),
        "together": {"near": near, "of": total, "ours": len(together.boxes)},
    }


def _whole_decoder(race: RaceModels) -> Segmenter:
    """SAM without the local decoder, which the reference has not."""
    return Segmenter(race.sessions["mask_encoder"], race.sessions["mask_decoder"])


def _ious(
    lows: Sequence[NDArray[np.float32]] | NDArray[np.float32],
    masks: NDArray[np.bool_],
    ours: Ours,
) -> list[float]:
    """IoU of each mask at low resolution with its partner in image pixels."""
    pairs = zip(lows, masks, strict=True)
    return [mask_iou(_whole(low, ours.features), mask) for low, mask in pairs]


def _decoded(
    features: TileFeatures, coords: NDArray[np.floating], labels: NDArray[np.float32]
) -> list[NDArray[np.float32]]:
    """Mask 0 of each prompt at low resolution."""
    parts = features.decode_points(coords.astype(np.float32), labels)
    return [low for _, masks in parts for low in masks.logits[:, 0]]


def _whole(low: NDArray[np.float32], features: TileFeatures) -> NDArray[np.bool_]:
    height, width = features.shape
    return mask_window(low, features.shape, (0, height, 0, width))


def _generated(ours: Ours) -> NDArray[np.float32]:
    """The best masks ``[N, h4, w4]`` of the reference's grid of points, by our models."""
    coords, labels = grid_points(ours.features.valid, ours.settings.grid)
    parts = [m for _, m in ours.features.decode_points(coords + np.float32(_HALF_PIXEL), labels)]
    logits = np.concatenate([masks.logits[:, 1:] for masks in parts])
    iou = np.concatenate([masks.iou[:, 1:] for masks in parts])
    best = np.argsort(-iou.ravel(), kind="stable")[:COUNT]
    return logits.reshape(-1, *logits.shape[2:])[best]


def _best_ious(theirs: NDArray[np.bool_], lows: NDArray[np.float32], ours: Ours) -> list[float]:
    """IoU of each of their masks with the one of ours that is most like it."""
    mine = [_whole(low, ours.features) for low in lows]
    return [max((mask_iou(mask, one) for one in mine), default=0.0) for mask in theirs]


def _clip_cosine(race: RaceModels, images: NDArray[np.uint8]) -> dict[str, float]:
    """Cosines between both sides' class embeddings of the same images."""
    side = race.crop_size
    crops = np.stack([resize_image(image, (side, side)) for image in images])
    mine = ClipEncoder(None, race.sessions["clip_image"]).embed(list(crops))
    return _spread((race.embed_crops(crops) * mine).sum(1).tolist())


def _spread(values: Sequence[float]) -> dict[str, float]:
    """Least and median of some figures, and how many."""
    if not values:
        return {"count": 0}
    found = np.asarray(values, np.float64)
    return {
        "count": len(values),
        "least": round(float(found.min()), 6),
        "median": round(float(np.median(found)), 6),
    }
