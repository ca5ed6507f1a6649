"""Points route: CLIP Surgery's heat maps tell SAM where to look.

Feature surgery on the dual-path embeddings, then probabilities over the label set, so that an
absent class has no cell above its ``points`` threshold and abstains (a min-max of its own map
would always find some). Each connected component of a class's heat map gets its own prompt:
positive points at the component's peaks, negative ones at the coldest cells around it. Of SAM's
three masks the one with the best predicted IoU is taken that agrees with the heat map.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from t2s_rt.routes.features import TileFeatures
from t2s_rt.routes.labels import LabelSet
from t2s_rt.routes.painting import mask_window, paint
from t2s_rt.routes.result import TileResult
from t2s_rt.routes.settings import RouteSettings

if TYPE_CHECKING:
    from t2s_rt.prompts import PromptPack

__all__ = ["Prompt", "heat_maps", "prompts_of", "run", "spread"]

_CELLS_PER_POINT = 12
"""One more positive point for every so many cells of a component."""
_RING = 3
"""Cells around a component in which its negative points are looked for."""
_SPACING = 2
"""Least distance of two points of one kind, in cells."""


@dataclass(frozen=True)
class Prompt:
    """Points for one component of one class's heat map.

    Attributes:
        cls: index into the pack's classes.
        positive: int ``[P, 2]`` row and column of heat-map cells on the object.
        negative: int ``[M, 2]`` cells beside it.
        component: bool ``[h, w]``, the component.
    """

    cls: int
    positive: NDArray[np.intp]
    negative: NDArray[np.intp]
    component: NDArray[np.bool_]


def heat_maps(
    features: TileFeatures, pack: PromptPack, settings: RouteSettings
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Class probabilities ``[K, h, w]`` on the patch grid, and where each class passes.

    A class passes in a cell where it reaches its threshold and no label scores higher.
    """
    labels = LabelSet.from_pack(pack, settings.label_scale)
    surgery, image = features.dense.dual_path()
    rows, cols, width = surgery.shape
    scores = labels.surgery_scores(surgery.reshape(-1, width), image)
    planes, other = labels.class_planes(scores, (rows, cols))
    thresholds = np.array([settings.threshold(c, "points") for c in pack.classes], dtype=np.float32)
    best = np.maximum(planes.max(axis=0), other)
    # a cell counts where at least half of it has data
    seen = cv2.resize(features.valid.astype(np.float32), (cols, rows), interpolation=cv2.INTER_AREA)
    passing = (planes >= thresholds[:, None, None]) & (planes >= best) & (seen >= 0.5)
    return planes, passing


def spread(
    cells: NDArray[np.intp], values: NDArray[np.float32], count: int, spacing: int = _SPACING
) -> NDArray[np.intp]:
    """Up to ``count`` cells with the highest values that keep a distance from one another.

    Args:
        cells: int ``[n, 2]``.
        values: float32 ``[n]``.
        count: how many to choose; at least one is chosen where there are cells.
        spacing: least Chebyshev distance between two chosen cells.
    """
    order = np.argsort(-values, kind="stable")
    chosen: list[NDArray[np.intp]] = []
    for cell in cells[order]:
        if all(int(np.abs(cell - other).max()) >= spacing for other in chosen):
            chosen.append(cell)
            if len(chosen) == count:
                break
    return np.array(chosen, dtype=np.intp).reshape(-1, 2)


def prompts_of(
    cls: int,
    plane: NDArray[np.float32],
    passing: NDArray[np.bool_],
    settings: RouteSettings,
) -> list[Prompt]:
    """One prompt for each connected component where a class passes, largest components first.

    Args:
        cls: index of the class.
        plane: its probabilities ``[h, w]``.
        passing: bool ``[h, w]``, where it passes.
        settings: limits on points and components.
    """
    count, marks, stats, _ = cv2.connectedComponentsWithStats(
        passing.astype(np.uint8), connectivity=8
    )
    by_size = sorted(range(1, count), key=lambda mark: -int(stats[mark, cv2.CC_STAT_AREA]))
    prompts = []
    for mark in by_size[: settings.max_components]:
        component = np.asarray(marks == mark)
        size = int(stats[mark, cv2.CC_STAT_AREA])
        points = min(1 + size // _CELLS_PER_POINT, settings.max_positive_points)
        inside = np.argwhere(component)
        ring = cv2.dilate(
            component.astype(np.uint8), np.ones((2 * _RING + 1, 2 * _RING + 1), np.uint8)
        ).astype(bool)
        beside = np.argwhere(ring & ~passing)
        prompts.append(
            Prompt(
                cls,
                spread(inside, plane[tuple(inside.T)], points),
                spread(beside, -plane[tuple(beside.T)], points),
                component,
            )
        )
    return prompts


def _coordinates(
    prompts: list[Prompt], grid: tuple[int, int], shape: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Points in tile pixels ``[N, P, 2]`` (x y) and labels ``[N, P]``, padded with -1."""
    longest = max(len(p.positive) + len(p.negative) for p in prompts)
    coords = np.zeros((len(prompts), longest, 2), dtype=np.float32)
    labels = np.full((len(prompts), longest), -1.0, dtype=np.float32)
    cell = np.array([shape[0] / grid[0], shape[1] / grid[1]])
    for row, prompt in enumerate(prompts):
        cells = np.concatenate([prompt.positive, prompt.negative])
        coords[row, : len(cells)] = ((cells + 0.5) * cell)[:, ::-1]
        labels[row, : len(prompt.positive)] = 1.0
        labels[row, len(prompt.positive) : len(cells)] = 0.0
    return coords, labels


def _agreeing_mask(
    logits: NDArray[np.float32],
    iou: NDArray[np.float32],
    prompt: Prompt,
    plane: NDArray[np.float32],
    threshold: float,
    cover: float,
) -> tuple[NDArray[np.float32], float] | None:
    """The best mask by predicted IoU that agrees with the heat map, and its score.

    A mask agrees where the mean probability under it reaches the class's threshold and it
    covers enough of its component. Masks 1 to 3 are SAM's answers to an ambiguous prompt.
    """
    rows, cols = plane.shape
    for index in sorted(range(1, len(logits)), key=lambda i: -float(iou[i])):
        share = cv2.resize(
            (logits[index] > 0.0).astype(np.float32), (cols, rows), interpolation=cv2.INTER_AREA
        )
        total = float(share.sum())
        if total <= 0.0 or float(share[prompt.component].mean()) < cover:
            continue
        score = float((share * plane).sum()) / total
        if score >= threshold:
            return logits[index], score
    return None


def run(features: TileFeatures, pack: PromptPack, settings: RouteSettings) -> TileResult:
    """Scores of every class from CLIP Surgery heat maps and SAM point prompts."""
    height, width = features.shape
    planes, passing = heat_maps(features, pack, settings)
    grid = (planes.shape[1], planes.shape[2])
    prompts = [
        prompt
        for cls in range(len(planes))
        for prompt in prompts_of(cls, planes[cls], passing[cls], settings)
    ]
    scores = np.zeros((len(planes), height, width), dtype=np.float32)
    counts = [0] * len(planes)
    if prompts:
        coords, labels = _coordinates(prompts, grid, features.shape)
        for part, masks in features.decode_points(coords, labels):
            for prompt, logits, iou in zip(prompts[part], masks.logits, masks.iou, strict=True):
                threshold = settings.threshold(pack.classes[prompt.cls], "points")
                found = _agreeing_mask(
                    logits, iou, prompt, planes[prompt.cls], threshold, settings.component_cover
                )
                if found is not None:
                    mask = mask_window(found[0], features.shape, (0, height, 0, width))
                    mask &= features.valid
                    counts[prompt.cls] += paint(
                        scores[prompt.cls], mask, (0, height, 0, width), found[1]
                    )
    return TileResult(scores, tuple(counts))
