"""SAM's training prompts: boxes and points drawn from the truth, and the masks they mean."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from t2s_export.nano.augment import objects_of
from t2s_export.nano.data import Sample
from t2s_export.nano.vocabulary import TRUTH_CLASSES
from t2s_rt.models.local import LocalWindows

__all__ = ["PromptGroup", "Region", "localised", "regions_of", "sample_prompts"]

_STUFF = (2, 6, 8, 10)
"""Road, low vegetation, bare ground, pavement: classes without instances, whose connected
components are regions."""
_BOXED = tuple(c.id for c in TRUTH_CLASSES if c.boxes)
_SMALLEST_STUFF = 64
_SMALLEST_OBJECT = 12


@dataclass(frozen=True)
class Region:
    """Something that a prompt may mean.

    Attributes:
        class_id: its truth class.
        box: (x0, y0, x1, y1) in frame pixels, tight.
        key: ("instance", id), or ("component", label) in a class's component map.
    """

    class_id: int
    box: tuple[float, float, float, float]
    key: tuple[str, int]


@dataclass(frozen=True)
class PromptGroup:
    """Prompts of one kind on one image.

    Attributes:
        coords: float ``[N, P, 2]`` x y, what the decoder takes: pixel indices, the continuous
            frame coordinates less 0.5 (the decoder adds it again, as the original does).
        labels: float ``[N, P]``: -1 padding, 0 negative, 1 positive, 2 and 3 box corners.
        masks: float ``[N, S/2, S/2]``, share of each 2 × 2 block that belongs to the target.
        boxes: whether these are boxes (token 0 is trained) or points (the best of three is).
        window: int32 ``[N, 2]``, first image token of the window that each prompt is decoded in,
            whose size the masks then have; None for the whole frame.
    """

    coords: Tensor
    labels: Tensor
    masks: Tensor
    boxes: bool
    window: Tensor | None = None


class RegionSet:
    """The regions of a frame, with their masks on demand."""

    def __init__(self, sample: Sample) -> None:
        self.sample = sample
        self.regions: list[Region] = []
        objects = objects_of(sample)
        for i in np.flatnonzero(objects.pixels >= _SMALLEST_OBJECT):
            x0, y0, x1, y1 = (float(v) for v in objects.boxes[i])
            key = ("instance", int(objects.ids[i]))
            self.regions.append(Region(int(objects.class_ids[i]), (x0, y0, x1, y1), key))
        self._components: dict[int, npt.NDArray[np.int32]] = {}
        for class_id in _STUFF:
            binary = (sample.classes == class_id).astype(np.uint8)
            count, labels, stats, _ = cv2.connectedComponentsWithStats(binary, connectivity=4)
            self._components[class_id] = np.asarray(labels, np.int32)
            for label in range(1, count):
                x, y, w, h, area = (int(v) for v in stats[label])
                if area >= _SMALLEST_STUFF:
                    box = (float(x), float(y), float(x + w), float(y + h))
                    self.regions.append(Region(class_id, box, ("component", label)))

    def mask(self, region: Region) -> npt.NDArray[np.bool_]:
        """Pixels of a region."""
        kind, number = region.key
        if kind == "instance":
            return np.asarray(self.sample.instances == number)
        return np.asarray(self._components[region.class_id] == number)

    def draw(
        self, count: int, rng: np.random.Generator, among: tuple[int, ...] | None = None
    ) -> list[Region]:
        """Draw regions: the class first, so that few large regions weigh as many small ones.

        ``among`` limits the classes where the frame has any of them.
        """
        wanted = [r for r in self.regions if among is None or r.class_id in among]
        by_class: dict[int, list[Region]] = {}
        for region in wanted or self.regions:
            by_class.setdefault(region.class_id, []).append(region)
        classes = sorted(by_class)
        chosen = []
        for class_id in rng.choice(classes, count) if classes else []:
            group = by_class[int(class_id)]
            chosen.append(group[int(rng.integers(len(group)))])
        return chosen


def regions_of(sample: Sample) -> RegionSet:
    """The regions of a frame that prompts may mean."""
    return RegionSet(sample)


def _inside(mask: npt.NDArray[np.bool_], rng: np.random.Generator) -> tuple[float, float]:
    """A point (x, y) of the mask: half of the time well inside, else anywhere."""
    if rng.random() < 0.5:
        depth = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
        mask = depth >= 0.6 * depth.max()
    rows, columns = np.nonzero(mask)
    pick = int(rng.integers(len(rows)))
    return float(columns[pick]) + 0.5, float(rows[pick]) + 0.5


def _outside(
    mask: npt.NDArray[np.bool_], region: Region, rng: np.random.Generator
) -> tuple[float, float] | None:
    """A point off the mask, in or near the region's box; None if there is hardly any."""
    height, width = mask.shape
    x0, y0, x1, y1 = region.box
    margin = 4 + 0.5 * max(x1 - x0, y1 - y0)
    for _ in range(6):
        x = int(rng.uniform(max(0, x0 - margin), min(width, x1 + margin)))
        y = int(rng.uniform(max(0, y0 - margin), min(height, y1 + margin)))
        if not mask[min(y, height - 1), min(x, width - 1)]:
            return x + 0.5, y + 0.5
    return None


def _half(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Share of each 2 × 2 block, float32 ``[S/2, S/2]``."""
    height, width = mask.shape
    blocks = mask.reshape(height // 2, 2, width // 2, 2)
    return np.asarray(blocks.mean((1, 3), dtype=np.float32))


def _box_group(regions: RegionSet, chosen: list[Region], rng: np.random.Generator) -> PromptGroup:
    """Box prompts, corners jittered by up to 10 % of the side.

    A third have a point inside too, which teaches what corners mean; some have padding.
    """
    draw = rng.random()
    extra = [] if draw < 0.5 else [1] if draw < 0.85 else [-1]
    coords = np.zeros((len(chosen), 2 + len(extra), 2), np.float32)
    labels = np.tile(np.array([2, 3, *extra], np.float32), (len(chosen), 1))
    for row, region in enumerate(chosen):
        x0, y0, x1, y1 = region.box
        reach = 0.1 * np.array([x1 - x0, y1 - y0] * 2) * (rng.random() < 0.7)
        corners = np.array(region.box) + rng.uniform(-1, 1, 4) * reach
        coords[row, :2] = corners.reshape(2, 2)
        if extra == [1]:
            coords[row, 2] = _inside(regions.mask(region), rng)
    masks = np.stack([_half(regions.mask(r)) for r in chosen])
    return PromptGroup(
        torch.from_numpy(coords - 0.5), torch.from_numpy(labels), torch.from_numpy(masks), True
    )


def _point_group(regions: RegionSet, chosen: list[Region], rng: np.random.Generator) -> PromptGroup:
    """Point prompts: one positive alone, or one to three with up to two negatives; padded."""
    single = bool(rng.random() < 0.5)
    positives = 1 if single else int(rng.integers(1, 4))
    negatives = 0 if single else int(rng.integers(0, 3))
    size = positives + negatives + 1
    coords = np.zeros((len(chosen), size, 2), np.float32)
    labels = np.full((len(chosen), size), -1, np.float32)
    masks = []
    for row, region in enumerate(chosen):
        mask = regions.mask(region)
        masks.append(_half(mask))
        for column in range(positives):
            coords[row, column], labels[row, column] = _inside(mask, rng), 1
        for column in range(positives, positives + negatives):
            if (point := _outside(mask, region, rng)) is not None:
                coords[row, column], labels[row, column] = point, 0
    return PromptGroup(
        torch.from_numpy(coords - 0.5),
        torch.from_numpy(labels),
        torch.from_numpy(np.stack(masks)),
        False,
    )


def sample_prompts(
    sample: Sample, boxes: int, points: int, rng: np.random.Generator
) -> list[PromptGroup]:
    """Draw a group of box prompts and one of point prompts; empty where nothing is to be meant."""
    regions = regions_of(sample)
    groups = []
    # boxes come from a detector, which finds these; and with boxes around meadows and fields,
    # which fill the frame and say nothing, what a corner means is not learnt at all
    if chosen := regions.draw(boxes, rng, _BOXED):
        groups.append(_box_group(regions, chosen, rng))
    if chosen := regions.draw(points, rng, _BOXED if rng.random() < 0.5 else None):
        groups.append(_point_group(regions, chosen, rng))
    return groups


def localised(groups: list[PromptGroup], windows: LocalWindows) -> list[PromptGroup]:
    """Groups of a whole frame with small boxes moved to windows around them, as the runtime does.

    Groups of points stay as they are; an empty group is left out.
    """
    parts = []
    for group in groups:
        if not group.boxes:
            parts.append(group)
            continue
        corners = group.coords[:, :2].reshape(-1, 4).numpy() + np.float32(0.5)
        small = torch.from_numpy(windows.fit(corners))
        if not small.all():
            parts.append(_taken(group, ~small))
        if small.any():
            first = windows.place(corners)[small.numpy()]
            per_token = group.masks.shape[1] // windows.grid[0]
            side = per_token * windows.cells
            near = _taken(group, small)
            cut = [
                mask[row : row + side, column : column + side]
                for mask, (row, column) in zip(near.masks, first * per_token, strict=True)
            ]
            parts.append(replace(near, masks=torch.stack(cut), window=torch.from_numpy(first)))
    return parts


def _taken(group: PromptGroup, which: Tensor) -> PromptGroup:
    """Some of a group's prompts."""
    return replace(
        group, coords=group.coords[which], labels=group.labels[which], masks=group.masks[which]
    )
