"""Boxes and the one-to-one assignment of queries to objects (DETR, Grounding DINO)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

__all__ = ["BoxTargets", "corners", "generalised_iou", "match"]


@dataclass(frozen=True)
class BoxTargets:
    """What one image should yield for its caption.

    Attributes:
        boxes: float ``[n, 4]`` cx cy w h in 0..1 of the frame.
        tokens: float ``[n, T]``, 1 at the tokens of every phrase that means the object.
        ignored: bool ``[T, g, g]`` on a grid over the frame: where a token is no negative
            because a crowd or an object too small to box lies there; None for nowhere.
    """

    boxes: Tensor
    tokens: Tensor
    ignored: Tensor | None = None

    def to(self, device: torch.device) -> BoxTargets:
        """The same targets on another device."""
        ignored = None if self.ignored is None else self.ignored.to(device)
        return BoxTargets(self.boxes.to(device), self.tokens.to(device), ignored)


def corners(boxes: Tensor) -> Tensor:
    """cx cy w h → x0 y0 x1 y1, last axis."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], -1)


def generalised_iou(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """GIoU (Rezatofighi et al. 2019) and IoU of xyxy boxes, broadcast over leading axes."""
    inner = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
    overlap = inner.clamp(min=0).prod(-1)
    area_a = (a[..., 2:] - a[..., :2]).clamp(min=0).prod(-1)
    area_b = (b[..., 2:] - b[..., :2]).clamp(min=0).prod(-1)
    union = area_a + area_b - overlap + 1e-9
    hull = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    enclosing = hull.clamp(min=0).prod(-1) + 1e-9
    iou = overlap / union
    return iou - (enclosing - union) / enclosing, iou


@torch.no_grad()
def match(logits: Tensor, boxes: Tensor, targets: list[BoxTargets]) -> list[tuple[Tensor, Tensor]]:
    """Cheapest assignment of queries to objects: 2 · focal class + 5 · L1 + 2 · GIoU cost.

    Args:
        logits: ``[B, Q, T]`` query-token similarity; padded tokens may be −inf.
        boxes: ``[B, Q, 4]`` cx cy w h in 0..1.
        targets: one per image.

    Returns:
        per image the indices of matched queries and of their objects, int64 ``[min(Q, n)]``.
    """
    pairs = []
    for image_logits, image_boxes, target in zip(logits, boxes, targets, strict=True):
        if len(target.boxes) == 0:
            none = torch.zeros(0, dtype=torch.long, device=logits.device)
            pairs.append((none, none))
            continue
        p = image_logits.sigmoid()
        positive = 0.25 * (1 - p) ** 2 * -(p + 1e-8).log()
        negative = 0.75 * p**2 * -(1 - p + 1e-8).log()
        share = target.tokens / target.tokens.sum(-1, keepdim=True)
        classes = (positive - negative) @ share.T
        distance = torch.cdist(image_boxes, target.boxes, p=1)
        overlap, _ = generalised_iou(corners(image_boxes)[:, None], corners(target.boxes)[None])
        cost = (2 * classes + 5 * distance - 2 * overlap).float().cpu().numpy()
        rows, columns = linear_sum_assignment(np.nan_to_num(cost, nan=1e4, posinf=1e4))
        pairs.append(
            (
                torch.from_numpy(rows).to(logits.device),
                torch.from_numpy(columns).to(logits.device),
            )
        )
    return pairs
