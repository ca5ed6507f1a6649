"""SAM's stage: prompts from the truth in; entropy, dice and IoU losses out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast
from weakref import WeakKeyDictionary

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2s_export.architectures.clip import Clip
from t2s_export.architectures.sam import SAM_NANO, LocalMaskDecoder, Sam
from t2s_export.nano.augment import augment, centre_frame, objects_of
from t2s_export.nano.auxiliary import OBJECT_WEIGHTS, FineMap, class_map_loss, class_shares
from t2s_export.nano.data import Sample, ShardSet
from t2s_export.nano.detector_stage import wanted_objects
from t2s_export.nano.loop import Hyper
from t2s_export.nano.models import LOCAL_CELLS, build_model
from t2s_export.nano.sam_geometry import rectangles
from t2s_export.nano.sam_positions import place_positions
from t2s_export.nano.sam_prompts import PromptGroup, localised, sample_prompts
from t2s_export.nano.sam_start import is_taught, start_from_clip
from t2s_export.nano.windowed_sam import WindowedSam
from t2s_rt.evaluation.segmentation import mask_iou
from t2s_rt.models.local import LocalWindows

__all__ = ["SamBatch", "SamStage", "mask_losses"]

_GEOMETRY_UNTIL = 0.03
"""Share of the budget that goes to boxes without images."""
_SEEING_UNTIL = 0.4
"""Until then images have no prompts: the encoder learns what is where. One that masks alone teach
stays blind, for the decoder fills boxes with ellipses long before it has learnt to look."""
_GEOMETRY_SIDES, _GEOMETRY_STEP = (64, 64, 128), 64
_SEEING_BATCH = 2
"""Factor on the images of a lane's share that have no prompts."""
_RECTANGLES, _NOISE = 24, (0.3, 1.0)
_WINDOWS = ((0.7, 192), (0.92, 384), (2.0, SAM_NANO.image_size))
"""Side of the training windows until a share of the budget is spent; whole frames at the end,
briefly, for at two images a second nothing is learnt from them."""
_AIDED = SAM_NANO.patch_size // 4
"""Pixels a side of what the class map names: four to a token, so that edges matter."""
LOCAL_WINDOWS = LocalWindows((SAM_NANO.grid,) * 2, LOCAL_CELLS, SAM_NANO.patch_size)
_AUXILIARY = 1.0
_TAUGHT_RATE = 0.4
_PLACE_RATE, _SIDES_RATE = 0.03, 0.3
"""Of the attention that compares places, and of what it writes: at the full rate both are lost
within a minute."""
_FAR = 0.15
"""Weight of the mean entropy away from the object against that around it."""
_PROMPTS, _PROMPTS_WHOLE = (8, 3), (24, 3)
"""Boxes and points in a window, and in a whole frame, where boxes cost little and points much."""
_VALIDATED_SCENES, _VALIDATED_OBJECTS = 24, 24


@dataclass(frozen=True)
class SamBatch:
    """Prompts on images, or on noise in the place of image embeddings.

    Attributes:
        images: uint8 ``[B, S, S, 3]``, or noise float ``[B, C, S / 8, S / 8]``.
        prompts: groups of prompts per image.
        side: S, pixels.
        corner: of the window in the frame, None for whole frames.
        shares: class shares ``[B, 16 hw, C]`` of sixteenths of patches, row-major; None for noise.
    """

    images: Tensor
    prompts: list[list[PromptGroup]]
    side: int
    corner: tuple[int, int] | None
    shares: Tensor | None


def _surroundings(target: Tensor) -> Tensor:
    """The target's bounding box with half its size more on each side, float ``[N, h, w]``."""
    inside = []
    for axis in (2, 1):
        shown = target.amax(axis) > 0
        size = shown.shape[1]
        place = torch.arange(size, device=target.device)
        low = torch.where(shown, place, size).amin(1, keepdim=True)
        high = torch.where(shown, place, -1).amax(1, keepdim=True)
        reach = 2 + (high - low + 1) // 2
        inside.append((place >= low - reach) & (place <= high + reach))
    rows, columns = inside
    return (rows[:, :, None] & columns[:, None]).to(target.dtype)


def mask_losses(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy and dice loss of every mask against its prompt's target.

    The entropy is a mean over the object's surroundings plus a mean over the rest of the frame:
    SAM's own focal loss over the whole frame (20 : 1) lets a car of 20 pixels weigh nothing, and
    from random weights it stays long with empty masks.

    Args:
        logits: ``[N, M, h, w]``.
        target: ``[N, h, w]`` in 0..1.

    Returns:
        two tensors ``[N, M]``.
    """
    wanted = target[:, None].expand_as(logits)
    entropy = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    near = _surroundings(target)
    near_weight = near / near.sum((1, 2), keepdim=True).clamp(min=1.0)
    far_weight = (1 - near) / (1 - near).sum((1, 2), keepdim=True).clamp(min=1.0)
    cross = (entropy * (near_weight + _FAR * far_weight)[:, None]).sum((2, 3))
    p = logits.sigmoid()
    overlap = (p * wanted).sum((2, 3))
    area = target.sum((1, 2))[:, None]
    dice = 1 - (2 * overlap + 1) / (p.sum((2, 3)) + area + 1)
    return cross, dice


def _actual_iou(logits: Tensor, target: Tensor) -> Tensor:
    """IoU of each thresholded mask with its target, ``[N, M]``."""
    found, wanted = logits.detach() > 0, (target >= 0.5)[:, None]
    union = (found | wanted).sum((2, 3)).clamp(min=1)
    return (found & wanted).sum((2, 3)) / union


def _group_loss(logits: Tensor, iou: Tensor, group: PromptGroup) -> tuple[Tensor, dict[str, float]]:
    """Loss of one group of prompts, mean over its prompts."""
    target = group.masks.to(logits.device)
    cross, dice = mask_losses(logits, target)
    each = 2.0 * cross + dice
    best = each[:, 1:].amin(1)
    several = (group.labels >= 0).sum(1).to(each.device) > 1
    # with one point token 0 would have to guess which of several objects is meant
    single, among = (1.0, 1.0) if group.boxes else (0.5 * several, 1.0)
    mask = single * each[:, 0] + among * best
    actual = _actual_iou(logits, target)
    error = F.mse_loss(iou, actual)
    kind = "box" if group.boxes else "point"
    picked = actual[:, 0] if group.boxes else actual[:, 1:].amax(1)
    parts = {
        f"{kind}_mask": float(mask.detach().mean()),
        f"{kind}_iou_error": float(error.detach()),
        f"{kind}_iou": float(picked.mean()),
    }
    return mask.mean() + error, parts


def _corner(size: int, step: int, rng: np.random.Generator) -> tuple[int, int]:
    """A place for a window of ``size`` pixels in the frame, at multiples of ``step``."""
    places = (SAM_NANO.image_size - size) // step + 1
    return int(rng.integers(places)) * step, int(rng.integers(places)) * step


def _noise_batch(rng: np.random.Generator) -> SamBatch:
    """Rectangles on noise of the amplitude of image embeddings."""
    side = int(rng.choice(_GEOMETRY_SIDES))
    cells = side // SAM_NANO.patch_size
    noise = rng.standard_normal((1, SAM_NANO.out_channels, cells, cells), np.float32)
    noise *= np.float32(rng.uniform(*_NOISE))
    group = rectangles(_RECTANGLES, side, rng)
    return SamBatch(
        torch.from_numpy(noise), [[group]], side, _corner(side, _GEOMETRY_STEP, rng), None
    )


def _stacked(
    samples: list[Sample],
    prompts: list[list[PromptGroup]],
    size: int,
    corner: tuple[int, int] | None,
) -> tuple[Tensor, list[list[PromptGroup]], int, tuple[int, int] | None, Tensor]:
    """The first fields of a batch of images."""
    images = torch.from_numpy(np.stack([s.image for s in samples]))
    shares = torch.from_numpy(np.stack([class_shares(s.classes, _AIDED) for s in samples]))
    return images, prompts, size, corner, shares


class SamStage:
    """Trains :class:`Sam` at nano size, on windows first and on whole frames at the end.

    Args:
        shards: the rendered scenes.
        hyper: optimisation.
        trunk: a trained CLIP that the image encoder starts from; None starts at random.
    """

    name = "sam"

    def __init__(
        self, shards: ShardSet, hyper: Hyper | None = None, trunk: Clip | None = None
    ) -> None:
        self.fresh = True
        self.shards = shards
        self.trunk = trunk
        self.hyper = hyper or Hyper(
            lr=1.5e-3, muon_rate=1.0, batch=1, warm_up=100, flat=0.6, ema=0.998
        )
        self._windowed: WeakKeyDictionary[nn.Module, dict[int, WindowedSam]] = WeakKeyDictionary()

    def build(self) -> nn.Module:
        """A freshly initialised SAM with a class map as a training aid."""
        model = cast(Sam, build_model("sam"))
        place_positions(model)
        if self.trunk is not None:
            start_from_clip(model, self.trunk)
        model.add_module("auxiliary", nn.ModuleList([FineMap(SAM_NANO.out_channels)]))
        return model

    def rate(self, name: str) -> float:
        """What CLIP taught the encoder, and what geometry wrote, change slower than what is new."""
        if "cross_attn_image_to_token" in name:
            return _PLACE_RATE if "q_proj" in name or "k_proj" in name else _SIDES_RATE
        return _TAUGHT_RATE if self.trunk is not None and is_taught(name) else 1.0

    def batch(self, rng: np.random.Generator, spent: float) -> SamBatch:
        """One window (or whole frame near the end) per lane share, with its prompts."""
        if self.fresh and spent < _GEOMETRY_UNTIL:
            return _noise_batch(rng)
        frame = SAM_NANO.image_size
        size = next(side for until, side in _WINDOWS if spent < until)
        corner = _corner(size, SAM_NANO.window_size * SAM_NANO.patch_size, rng)
        count = self.hyper.batch if size == _WINDOWS[0][1] else 1
        if self.fresh and spent < _SEEING_UNTIL:
            drawn = [self._draw(size, rng) for _ in range(_SEEING_BATCH * count)]
            return SamBatch(*_stacked(drawn, [[]] * len(drawn), size, corner))
        asked = _PROMPTS_WHOLE if size == frame else _PROMPTS
        samples: list[Sample] = []
        prompts: list[list[PromptGroup]] = []
        while len(samples) < count:
            sample = self._draw(size, rng)
            if groups := sample_prompts(sample, *asked, rng):
                samples.append(sample)
                prompts.append(groups)
        if size == frame:
            prompts = [localised(groups, LOCAL_WINDOWS) for groups in prompts]
        return SamBatch(*_stacked(samples, prompts, size, None if size == frame else corner))

    def _draw(self, size: int, rng: np.random.Generator) -> Sample:
        """A random augmented frame of ``size`` pixels."""
        return augment(self.shards.sample(int(rng.integers(self.shards.training_count))), size, rng)

    def count(self, batch: SamBatch) -> int:
        """Number of frames in a batch."""
        return len(batch.images)

    def losses(self, model: nn.Module, batch: SamBatch) -> tuple[Tensor, dict[str, float]]:
        """Mean loss over the groups of all images, and that of the class map."""
        sam = cast(Sam, model)
        total, parts, embeddings = self._prompted(sam, batch)
        if batch.shares is None:
            return total, parts
        (head,) = cast(nn.ModuleList, model.auxiliary)
        aid = class_map_loss(head, embeddings, batch.shares.to(embeddings.device), OBJECT_WEIGHTS)
        return total + _AUXILIARY * aid, {**parts, "class_map": float(aid.detach())}

    def _prompted(self, sam: Sam, batch: SamBatch) -> tuple[Tensor, dict[str, float], Tensor]:
        """Mean loss of a batch's groups and its parts, and the image embeddings."""
        runners = self._windowed.setdefault(sam, {})
        if batch.side not in runners:
            runners[batch.side] = WindowedSam(sam, batch.side)
        device = next(sam.parameters()).device
        inputs = [
            [
                (
                    g.coords.to(device),
                    g.labels.to(device),
                    None if g.window is None else g.window.to(device),
                )
                for g in groups
            ]
            for groups in batch.prompts
        ]
        outputs, embeddings = runners[batch.side](
            batch.images.to(device), inputs, batch.corner, encoded=batch.shares is None
        )
        total = torch.zeros((), device=device)
        count = 0
        parts: dict[str, list[float]] = {}
        for groups, results in zip(batch.prompts, outputs, strict=True):
            for group, (logits, iou) in zip(groups, results, strict=True):
                loss, own = _group_loss(logits.float(), iou.float(), group)
                total, count = total + loss, count + 1
                for name, value in own.items():
                    parts.setdefault(name, []).append(value)
        names = ("box_mask", "box_iou_error", "box_iou", "point_mask", "point_iou_error")
        means = {n: float(np.mean(parts.get(n, [0.0]))) for n in (*names, "point_iou")}
        return total / max(count, 1), means, embeddings

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Mean mask IoU of true boxes (token 0) and of one point (best predicted of three).

        Objects: building, tree, car, water and parking lot of at least 8 px, a seeded choice of
        24 in each of 24 scenes; masks are compared at full resolution.
        """
        rng = np.random.default_rng(11)
        names = {1: "building", 3: "tree", 4: "water", 5: "car", 9: "parking lot"}
        boxes: dict[int, list[float]] = {}
        points: list[float] = []
        for stored in self.shards.validation_samples()[:_VALIDATED_SCENES]:
            sample = centre_frame(stored, SAM_NANO.image_size)
            objects = objects_of(sample)
            wanted = wanted_objects(objects) & (objects.sides.max(1, initial=0) >= 8)
            chosen = rng.permutation(np.flatnonzero(wanted))[:_VALIDATED_OBJECTS]
            if not len(chosen):
                continue
            masks = [sample.instances == objects.ids[i] for i in chosen]
            sam, device = cast(Sam, model), next(model.parameters()).device
            embedding = sam.encode(torch.from_numpy(sample.image[None]).to(device))
            found = _masks_of_boxes(sam, embedding, objects.boxes[chosen])
            for i, truth, own in zip(chosen, masks, found, strict=True):
                boxes.setdefault(int(objects.class_ids[i]), []).append(mask_iou(own, truth))
            inner = np.stack([_deepest(m) for m in masks])
            answers = _masks_of_points(sam, embedding, inner)
            points += [mask_iou(m, truth) for m, truth in zip(answers, masks, strict=True)]
        every = [v for values in boxes.values() for v in values]
        figures = {f"box IoU {names[c]}": float(np.mean(v)) for c, v in sorted(boxes.items())}
        figures["box IoU mean"] = float(np.mean(every or [0.0]))
        figures["point IoU mean"] = float(np.mean(points or [0.0]))
        return figures


BoolMask = np.ndarray[tuple[int, int], np.dtype[np.bool_]]


def _deepest(mask: BoolMask) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """The point of a mask farthest from its edge, x y in pixels."""
    depth = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), mask.shape)
    return np.array([column + 0.5, row + 0.5], np.float32)


def _enlarged(maps: Tensor) -> list[BoolMask]:
    """Full-size masks of logits ``[N, h4, w4]`` over the frame."""
    size = (SAM_NANO.image_size,) * 2
    large = F.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)
    return list((large[:, 0] > 0).cpu().numpy())


def _masks_of_boxes(
    model: Sam, embedding: Tensor, boxes: np.ndarray[tuple[int, int], np.dtype[np.float32]]
) -> list[BoolMask]:
    """Mask 0 of boxes ``[N, 4]``; small ones from windows, as the runtime decodes them."""
    coords = torch.from_numpy(boxes.reshape(-1, 2, 2) - np.float32(0.5)).to(embedding.device)
    labels = torch.tensor([[2.0, 3.0]], device=embedding.device).expand(len(boxes), 2)
    small, first = LOCAL_WINDOWS.fit(boxes), LOCAL_WINDOWS.place(boxes)
    side = 4 * SAM_NANO.grid
    maps = torch.zeros(len(boxes), side, side)
    if not small.all():
        maps[~small] = model.decode(embedding, coords[~small], labels[~small])[0][:, 0].cpu()
    if small.any():
        window = torch.from_numpy(first[small]).to(embedding.device)
        local = LocalMaskDecoder(model, LOCAL_CELLS)
        near = local(embedding, coords[small], labels[small], window)[0][:, 0].cpu().numpy()
        maps[small] = torch.from_numpy(LOCAL_WINDOWS.whole(near, first[small]))
    return _enlarged(maps)


def _masks_of_points(
    model: Sam, embedding: Tensor, points: np.ndarray[tuple[int, int], np.dtype[np.float32]]
) -> list[BoolMask]:
    """For each point ``[N, 2]`` the best of masks 1 to 3 by predicted IoU."""
    coords = torch.from_numpy(points[:, None] - np.float32(0.5)).to(embedding.device)
    coords = torch.cat([coords, torch.zeros_like(coords)], 1)
    labels = torch.tensor([[1.0, -1.0]], device=embedding.device).expand(len(points), 2)
    logits, iou = model.decode(embedding, coords, labels)
    return _enlarged(logits[torch.arange(len(iou)), iou[:, 1:].argmax(1) + 1])
