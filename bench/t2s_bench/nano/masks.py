"""SAM on held-out scenes: IoU of the mask of each object's true box."""

from __future__ import annotations

import numpy as np

from t2s_bench.nano.truth import DETECTED, HeldOut
from t2s_rt.evaluation import mask_iou
from t2s_rt.models import Models

__all__ = ["MaskFigures"]


class MaskFigures:
    """IoU of masks by class."""

    def __init__(self) -> None:
        self._found: dict[str, list[float]] = {name: [] for name in DETECTED}

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
                self._found[name].append(mask_iou(found, scene.truth.instances == item.id))

    def record(self) -> dict[str, float | None]:
        """Mean IoU by class, and ``all``: over all objects."""
        every = [iou for found in self._found.values() for iou in found]
        return {**{name: _mean(found) for name, found in self._found.items()}, "all": _mean(every)}


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
