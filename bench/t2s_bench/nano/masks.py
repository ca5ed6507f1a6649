"""SAM on held-out scenes: IoU of the mask of each object's true box, beside an ellipse in it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from t2s_bench.nano.truth import DETECTED, HeldOut
from t2s_rt.evaluation import mask_iou
from t2s_rt.models import Models

__all__ = ["MaskFigures", "ellipse"]


def ellipse(box: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The ellipse inscribed in a box xyxy, as a mask ``[H, W]``, without a look at the image."""
    x0, y0, x1, y1 = (float(v) for v in box)
    rows = (np.arange(shape[0]) + 0.5 - (y0 + y1) / 2) / max((y1 - y0) / 2, 1e-6)
    columns = (np.arange(shape[1]) + 0.5 - (x0 + x1) / 2) / max((x1 - x0) / 2, 1e-6)
    return np.asarray(rows[:, None] ** 2 + columns[None] ** 2 <= 1.0)


class MaskFigures:
    """IoU of masks by class."""

    def __init__(self) -> None:
        self._found: dict[str, list[float]] = {name: [] for name in DETECTED}
        self._ellipses: dict[str, list[float]] = {name: [] for name in DETECTED}

    def add(self, models: Models, scene: HeldOut) -> None:
        """Count one scene."""
        assert models.segmenter is not None  # opened for it
        items = [(name, item) for name in DETECTED for item in scene.objects(name)[0]]
        if not items:
            return
        working = scene.working
        owner = working.owners(np.stack([item.box for _, item in items]))
        for tile, image in working.tiles():
            mine = [items[index] for index in np.flatnonzero(owner == tile.index)]
            if not mine:
                continue
            embedding = models.segmenter.encode(image)
            boxes = working.to_tile(np.stack([item.box for _, item in mine]), tile)
            masks = models.segmenter.decode_boxes(embedding, boxes)
            logits, _ = masks.best(multimask=False)
            for (name, item), low in zip(mine, logits, strict=True):
                shape = scene.truth.classes.shape
                found = working.mask_in_scene(masks.to_tile(low), tile, shape)
                truth = scene.truth.instances == item.id
                self._found[name].append(mask_iou(found, truth))
                self._ellipses[name].append(mask_iou(ellipse(item.box, truth.shape), truth))

    def record(self) -> dict[str, dict[str, float | None]]:
        """Mean IoU by class, and ``all`` over all objects, of the masks and of ellipses."""
        return {
            "mask_iou_from_true_boxes": _means(self._found),
            "mask_iou_of_ellipses": _means(self._ellipses),
        }


def _means(by_class: dict[str, list[float]]) -> dict[str, float | None]:
    every = [iou for found in by_class.values() for iou in found]
    return {**{name: _mean(found) for name, found in by_class.items()}, "all": _mean(every)}


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
