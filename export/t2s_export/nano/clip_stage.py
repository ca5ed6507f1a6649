"""CLIP's stage: dense and whole-crop contrastive learning against the words of the classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from t2s_export.architectures.clip import CLIP_NANO, Clip
from t2s_export.nano.augment import augment, centre_frame
from t2s_export.nano.auxiliary import CLASSES, class_shares
from t2s_export.nano.clip_start import start_from_own_patches
from t2s_export.nano.data import Sample, ShardSet
from t2s_export.nano.labels import LabelSet, full_labels, sample_labels
from t2s_export.nano.loop import Hyper
from t2s_export.nano.models import CLIP_WINDOW, build_model
from t2s_export.nano.sam_prompts import Region, regions_of
from t2s_export.nano.vocabulary import TRUTH_CLASSES
from t2s_export.nano.whitening import whiten_patch_embedding
from t2s_rt.evaluation.segmentation import ConfusionMatrix

__all__ = ["ClipBatch", "ClipStage", "group_log_probabilities"]

CROP_SIZE = 64
"""Side of the crops of single objects, pixels."""
_CROPS = 3
_SMALL_FRAME, _SMALL_BATCH = 128, 3
_WHOLE_FRAMES_FROM = 0.75
"""Share of the budget after which frames are whole; attention over small ones costs a quarter."""
_PATCH_SCALE = 0.5
_TILE = 3 * CLIP_WINDOW
_PRESENT = 0.02
_VALIDATED_SCENES = 32
# square roots of inverse shares of the classes, so that cars and parking lots are not drowned
_CLASS_WEIGHTS = (1.0, 1.1, 1.1, 0.9, 1.4, 2.5, 0.7, 1.1, 0.9, 1.8, 0.9)


@dataclass(frozen=True)
class ClipBatch:
    """Frames, crops of single objects, and the words they are compared with.

    Attributes:
        images: uint8 ``[B, S, S, 3]``.
        shares: float ``[B, hw, C]``, share of each truth class in each patch.
        corner: patch (row, column) of the positional grid that a window begins at.
        crops: uint8 ``[M, 64, 64, 3]``.
        crop_classes: int64 ``[M]``.
        labels: the label set.
    """

    images: Tensor
    shares: Tensor
    corner: tuple[int, int]
    crops: Tensor
    crop_classes: Tensor
    labels: LabelSet


def group_log_probabilities(logits: Tensor, means: Tensor) -> Tensor:
    """Log probability of each truth class: the words that mean it share their mass.

    Args:
        logits: ``[..., K]`` scaled cosines.
        means: bool ``[C, K]``; a class without a word gets about −1e4.

    Returns:
        ``[..., C]``.
    """
    log_p = logits.float().log_softmax(-1)
    masked = log_p[..., None, :].masked_fill(~means, -1e4)
    return masked.logsumexp(-1)


def _crop(sample: Sample, region: Region, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """A square around a region with some context, as a 64 px crop; edges are repeated."""
    x0, y0, x1, y1 = region.box
    size = sample.image.shape[0]
    side = min(float(size), max(8.0, max(x1 - x0, y1 - y0) * rng.uniform(1.0, 1.8)))
    left, top = (x0 + x1 - side) / 2, (y0 + y1 - side) / 2
    scale = CROP_SIZE / side
    matrix = np.array([[scale, 0, -left * scale], [0, scale, -top * scale]])
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    x, y = (int(np.clip(round(v), 0, size - 8)) for v in (left, top))
    if way == cv2.INTER_AREA:
        edge = min(round(side), size - x, size - y)
        window = sample.image[y : y + edge, x : x + edge]
        return np.asarray(cv2.resize(window, (CROP_SIZE, CROP_SIZE), interpolation=way), np.uint8)
    return np.asarray(
        cv2.warpAffine(
            sample.image,
            matrix,
            (CROP_SIZE, CROP_SIZE),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        ),
        np.uint8,
    )


class _Dense(nn.Module):
    """``Clip.dense`` behind a ``forward``, which ``functional_call`` needs."""

    def __init__(self, clip: Clip) -> None:
        super().__init__()
        self.clip = clip

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.clip.dense(images)


def _dense_of_window(
    clip: Clip, images: Tensor, corner: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Dense embeddings of windows ``[B, S, S, 3]`` that keep their place in the frame.

    Resized to a smaller grid, the positions of neighbours would lie farther apart than in whole
    frames; a cut of the table leaves them as they are.
    """
    grid, cells = clip.config.grid, images.shape[1] // clip.config.patch_size
    table = clip.visual.positional_embedding
    row, column = corner
    cut = table[1:].view(grid, grid, -1)[row : row + cells, column : column + cells]
    positions = torch.cat([table[:1], cut.reshape(cells * cells, -1)])
    weights = {"clip.visual.positional_embedding": positions}
    return cast(tuple[Tensor, Tensor, Tensor], functional_call(_Dense(clip), weights, (images,)))


class ClipStage:
    """Trains :class:`Clip` at nano size.

    Args:
        shards: the rendered scenes.
        hyper: optimisation.
    """

    name = "clip"

    def __init__(self, shards: ShardSet, hyper: Hyper | None = None) -> None:
        self.fresh = True
        self.shards = shards
        self.hyper = hyper or Hyper(
            lr=1e-3, muon_rate=2.0, batch=2, warm_up=100, flat=0.3, ema=0.998
        )
        self._weights = torch.tensor(_CLASS_WEIGHTS)

    def build(self) -> nn.Module:
        """A fresh CLIP whose patch embedding sees texture and whose dense paths see their patch."""
        clip = cast(Clip, build_model("clip"))
        start_from_own_patches(clip)
        std = cast(tuple[float, float, float], tuple(clip.visual.std.tolist()))
        whiten_patch_embedding(clip.visual.conv1, self.shards, std, _PATCH_SCALE)
        return clip

    def rate(self, name: str) -> float:
        """All parameters learn at the same rate."""
        return 1.0

    def batch(self, rng: np.random.Generator, spent: float) -> ClipBatch:
        """Augmented frames, crops of regions of any class, and one label set."""
        samples, crops, crop_classes = [], [], []
        whole = spent >= _WHOLE_FRAMES_FROM
        count = self.hyper.batch if whole else _SMALL_BATCH
        size = CLIP_NANO.image_size if whole else _SMALL_FRAME
        places = (CLIP_NANO.image_size - size) // CLIP_NANO.patch_size + 1
        row, column = (int(v) for v in rng.integers(0, places, 2))
        for _ in range(count):
            index = int(rng.integers(self.shards.training_count))
            sample = augment(self.shards.sample(index), size, rng)
            samples.append(sample)
            for region in regions_of(sample).draw(-(-_CROPS // count), rng):
                crops.append(_crop(sample, region, rng))
                crop_classes.append(region.class_id)
        if not crops:  # frames of water or snow alone have no regions
            cut = samples[0].classes[:CROP_SIZE, :CROP_SIZE].ravel()
            crops.append(np.ascontiguousarray(samples[0].image[:CROP_SIZE, :CROP_SIZE]))
            crop_classes.append(int(np.bincount(cut[cut < CLASSES], minlength=1).argmax()))
        shares = np.stack([class_shares(s.classes, CLIP_NANO.patch_size) for s in samples])
        return ClipBatch(
            torch.from_numpy(np.stack([s.image for s in samples])),
            torch.from_numpy(shares),
            (row, column),
            torch.from_numpy(np.stack(crops)),
            torch.tensor(crop_classes),
            sample_labels(rng),
        )

    def _dense_loss(
        self, features: Tensor, texts: Tensor, empty: Tensor, batch: ClipBatch, scale: Tensor
    ) -> Tensor:
        """Soft cross-entropy over the label set, and each word against the empty text.

        The second part makes the empty text the border between present and absent, which
        CLIP Surgery subtracts as redundant.
        """
        device = features.device
        shares, means = batch.shares.to(device), batch.labels.means.to(device)
        asked, weights = batch.labels.asked.to(device), self._weights.to(device)
        log_p = group_log_probabilities(scale * features @ texts.T, means)
        wanted = shares * weights * asked
        cross = -(wanted * log_p.clamp(min=-30.0)).sum() / wanted.sum().clamp(min=1.0)
        margin = scale * (features @ (texts - empty).T).float()
        # a word of class 0 is one of several names for it: only the classes' own words take part
        named = means[1:].any(0)
        target = shares @ means.float()
        binary = F.binary_cross_entropy_with_logits(
            margin[..., named], target[..., named], reduction="mean"
        )
        return cross + binary

    def count(self, batch: ClipBatch) -> int:
        """Number of frames in a batch."""
        return len(batch.images)

    def losses(self, model: nn.Module, batch: ClipBatch) -> tuple[Tensor, dict[str, float]]:
        """Dense losses of both paths, presence in the image, and classes of crops."""
        clip = cast(Clip, model)
        device = next(model.parameters()).device
        texts = clip.encode_text(batch.labels.ids.to(device)).float()
        empty, words = texts[0], texts[1:]
        scale = clip.logit_scale.exp().clamp(max=100.0)
        found = _dense_of_window(clip, batch.images.to(device), batch.corner)
        patch, surgery, image = (f.float() for f in found)
        dense = self._dense_loss(patch, words, empty, batch, scale)
        second = self._dense_loss(surgery, words, empty, batch, scale)
        means = batch.labels.means.to(device)
        named = means[1:].any(0)
        present = ((batch.shares.mean(1).to(device) > _PRESENT).float() @ means.float())[:, named]
        margin = scale * (image @ (words - empty).T)[:, named].float()
        whole = F.binary_cross_entropy_with_logits(margin, present)
        embedded = clip.encode_image(batch.crops.to(device)).float()
        log_p = group_log_probabilities(scale * embedded @ words.T, means).clamp(min=-30.0)
        known = batch.labels.asked.to(device)[batch.crop_classes.to(device)].float()
        picked = log_p.gather(1, batch.crop_classes.to(device)[:, None])[:, 0]
        crops = -(picked * known).sum() / known.sum().clamp(min=1.0)
        total = dense + 0.5 * second + 0.3 * whole + 0.5 * crops
        parts = {"dense": dense, "surgery": second, "image": whole, "crops": crops, "scale": scale}
        return total, {name: float(value.detach()) for name, value in parts.items()}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """mIoU of dense class maps over tiles of nine windows, and accuracy of crops.

        A pixel's class is the best over the label set after bilinear enlargement; class 0 (the
        other words) is predicted too but not averaged.
        """
        clip = cast(Clip, model)
        device = next(model.parameters()).device
        labels = full_labels()
        words = clip.encode_text(labels.ids.to(device))[1:]
        scale = clip.logit_scale.exp().clamp(max=100.0)
        means = labels.means.to(device)
        names = ["other", *(c.name for c in TRUTH_CLASSES)]
        tallies = {"dense": ConfusionMatrix(names), "surgery": ConfusionMatrix(names)}
        right: list[bool] = []
        rng = np.random.default_rng(12)
        for stored in self.shards.validation_samples()[:_VALIDATED_SCENES]:
            sample = centre_frame(stored, _TILE)
            windows = _windows(sample.image, CLIP_WINDOW)
            patch, surgery, _ = clip.dense(torch.from_numpy(windows).to(device))
            for name, features in (("dense", patch), ("surgery", surgery)):
                log_p = group_log_probabilities(scale * features @ words.T, means)
                found = _class_map(log_p.exp(), _TILE // CLIP_WINDOW, _TILE)
                tallies[name].add(sample.classes, found)
            drawn = regions_of(sample).draw(8, rng)
            if drawn:
                crops = torch.from_numpy(np.stack([_crop(sample, r, rng) for r in drawn]))
                cosines = scale * clip.encode_image(crops.to(device)) @ words.T
                best = group_log_probabilities(cosines, means).argmax(1).cpu().tolist()
                right += [b == r.class_id for b, r in zip(best, drawn, strict=True)]
        figures: dict[str, float] = {}
        for name, tally in tallies.items():
            every = tally.iou()
            figures[f"{name} mIoU"] = tally.miou(range(1, CLASSES))
            if name == "dense":
                figures.update(
                    {f"IoU {n}": float(v) for n, v in zip(names, every, strict=True) if v == v}
                )
        figures["crop accuracy"] = float(np.mean(right or [False]))
        return figures


def _windows(image: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    """A tile's windows, row by row, ``[n * n, size, size, 3]``."""
    count = image.shape[0] // size
    blocks = image.reshape(count, size, count, size, 3).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(blocks.reshape(-1, size, size, 3))


def _class_map(probabilities: Tensor, count: int, tile: int) -> npt.NDArray[np.uint8]:
    """Windows' patch probabilities ``[n * n, hw, C]`` as a class map ``[tile, tile]``."""
    side = round(probabilities.shape[1] ** 0.5)
    grid = probabilities.reshape(count, count, side, side, -1).permute(0, 2, 1, 3, 4)
    planes = grid.reshape(1, count * side, count * side, -1).permute(0, 3, 1, 2)
    large = F.interpolate(planes, (tile, tile), mode="bilinear", align_corners=False)
    return large[0].argmax(0).to(torch.uint8).cpu().numpy()
