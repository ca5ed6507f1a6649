"""Losses of the detector: dense supervision of the encoder, set prediction of each decoder layer.

The encoder stage is supervised densely (penalty-reduced focal loss as in CenterNet, Zhou et al.
2019, on all proposals × tokens) rather than one to one: at this size it learns several times
faster. Decoder layers use the Hungarian assignment with a varifocal token loss (Zhang et al.
2021) whose target is the IoU.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from t2s_export.nano.matching import BoxTargets, corners, generalised_iou, match

__all__ = ["encoder_loss", "layer_loss", "total_loss"]

_LEVEL_SIZES = (20.0, 45.0)
"""√area in pixels at which objects move to the next coarser level."""
_POSITIVE_HEAT = 0.3


def _normaliser(targets: list[BoxTargets]) -> int:
    """What losses are divided by: the objects, and 20 more per image.

    Dividing by the objects alone would let frames with one object, whose thousands of negatives
    weigh as much as anyone's, outweigh a hundred times the frames with a hundred.
    """
    return sum(len(t.boxes) + 20 for t in targets)


def _centres(shapes: Sequence[tuple[int, int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Centres x and y in 0..1 of the cells of all levels, ``[S]``."""
    xs, ys = [], []
    for h, w in shapes:
        y, x = torch.meshgrid(
            (torch.arange(h, device=device) + 0.5) / h,
            (torch.arange(w, device=device) + 0.5) / w,
            indexing="ij",
        )
        xs.append(x.flatten())
        ys.append(y.flatten())
    return torch.cat(xs), torch.cat(ys)


def _heat(
    target: BoxTargets, shapes: Sequence[tuple[int, int]], frame: int
) -> tuple[Tensor, Tensor]:
    """Gaussian of each object on its level ``[n, S]``, and the proposal at its centre ``[n]``."""
    boxes, device = target.boxes, target.boxes.device
    side = (boxes[:, 2] * boxes[:, 3]).sqrt() * frame
    level = torch.bucketize(side, torch.tensor(_LEVEL_SIZES[: len(shapes) - 1], device=device))
    heat = torch.zeros(len(boxes), sum(h * w for h, w in shapes), device=device)
    centre = torch.zeros(len(boxes), dtype=torch.long, device=device)
    start = 0
    for index, (h, w) in enumerate(shapes):
        own = (level == index).nonzero()[:, 0]
        x, y, width, height = (boxes[own] * boxes.new_tensor([w, h, w, h])).unbind(1)
        # σ in cells, never below 0.45: the smallest object still lights its own cell
        across = _bell(x, (0.18 * width).clamp(min=0.45), w)
        down = _bell(y, (0.18 * height).clamp(min=0.45), h)
        heat[own, start : start + h * w] = (down[:, :, None] * across[:, None]).flatten(1)
        cell = y.long().clamp(0, h - 1) * w + x.long().clamp(0, w - 1)
        centre[own] = start + cell
        start += h * w
    heat[torch.arange(len(boxes), device=device), centre] = 1.0
    return heat, centre


def _bell(centre: Tensor, sigma: Tensor, cells: int) -> Tensor:
    """Gaussian around each centre at the middles of ``cells`` cells, ``[n, cells]``."""
    middles = torch.arange(cells, device=centre.device) + 0.5
    return torch.exp(-(((middles[None] - centre[:, None]) / sigma[:, None]) ** 2) / 2)


def _ignored_at(target: BoxTargets, x: Tensor, y: Tensor) -> Tensor | None:
    """Whether points (0..1) lie where a token is ignored: bool ``[len(x), T]``."""
    if target.ignored is None:
        return None
    side = target.ignored.shape[-1]
    column = (x * side).long().clamp(0, side - 1)
    row = (y * side).long().clamp(0, side - 1)
    return target.ignored[:, row, column].T


def encoder_loss(
    logits: Tensor,
    boxes: Tensor,
    shapes: Sequence[tuple[int, int]],
    valid: Tensor,
    targets: list[BoxTargets],
    token_mask: Tensor,
    frame: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Dense loss of the encoder's proposals.

    Args:
        logits: ``[B, S, T]`` proposal-token similarity.
        boxes: ``[B, S, 4]`` cx cy w h in 0..1.
        shapes: (rows, columns) of each level.
        valid: bool ``[S]``, proposals away from the frame's edge.
        targets: one per image.
        token_mask: bool ``[B, T]``.
        frame: side of the frame in pixels.

    Returns:
        focal, L1 and GIoU loss; the first per object, the others weighted by heat.
    """
    cells = _centres(shapes, logits.device)
    count = _normaliser(targets)
    focal = logits.new_zeros(())
    near: list[tuple[Tensor, Tensor, Tensor]] = []
    for i, target in enumerate(targets):
        weight = token_mask[i][None].float() * valid[:, None].float()
        heat, positive = torch.zeros_like(logits[i]), torch.zeros_like(logits[i])
        if len(target.boxes):
            gauss, centre = _heat(target, shapes, frame)
            for span in torch.unique(target.tokens, dim=0):
                own = (target.tokens == span).all(1)
                tokens = span.nonzero()[:, 0]
                peak = gauss[own].amax(0)[:, None]
                heat[:, tokens] = torch.maximum(heat[:, tokens], peak)
            positive[centre] = torch.maximum(positive[centre], target.tokens)
            best, owner = gauss.max(0)
            lit = ((best > _POSITIVE_HEAT) & valid).nonzero()[:, 0]
            near.append((boxes[i, lit], target.boxes[owner[lit]], best[lit]))
        ignored = _ignored_at(target, *cells)
        spare = weight if ignored is None else weight * ~ignored
        own_logits = logits[i].masked_fill(~token_mask[i][None], 0.0)
        p = own_logits.sigmoid()
        gain = positive * (1 - p) ** 2 * F.logsigmoid(own_logits) * weight
        cost = (1 - positive) * (1 - heat) ** 4 * p**2 * F.logsigmoid(-own_logits) * spare
        focal = focal - (gain + cost).sum()
    if not near:
        return focal / count, focal * 0, focal * 0
    found, wanted, share = (torch.cat(part) for part in zip(*near, strict=True))
    giou, _ = generalised_iou(corners(found), corners(wanted))
    # no cell is lit where the only objects lie on proposals at the frame's very edge
    total = share.sum().clamp(min=1e-9)
    distance = ((found - wanted).abs().sum(1) * share).sum() / total
    return focal / count, distance, ((1 - giou) * share).sum() / total


def layer_loss(
    logits: Tensor, boxes: Tensor, targets: list[BoxTargets], token_mask: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Set loss of one decoder layer: varifocal, L1 and GIoU, each per object.

    Args:
        logits: ``[B, Q, T]``.
        boxes: ``[B, Q, 4]`` cx cy w h in 0..1.
        targets: one per image.
        token_mask: bool ``[B, T]``.
    """
    count = _normaliser(targets)
    logits = logits.masked_fill(~token_mask[:, None], 0.0)
    pairs = match(logits.detach(), boxes.detach(), targets)
    wanted = torch.zeros_like(logits)
    weight = token_mask[:, None].float().expand_as(logits).clone()
    distance, overlap = logits.new_zeros(()), logits.new_zeros(())
    for i, (target, (queries, objects)) in enumerate(zip(targets, pairs, strict=True)):
        centre = boxes[i].detach()
        ignored = _ignored_at(target, centre[:, 0], centre[:, 1])
        if ignored is not None:
            weight[i] *= ~ignored
        if len(queries) == 0:
            continue
        found, box = boxes[i, queries], target.boxes[objects]
        giou, iou = generalised_iou(corners(found), corners(box))
        tokens = target.tokens[objects]
        wanted[i, queries] = tokens * iou.detach().clamp(min=0.05)[:, None]
        weight[i, queries] = token_mask[i].float()
        distance = distance + (found - box).abs().sum()
        overlap = overlap + (1 - giou).sum()
    p = logits.detach().sigmoid()
    focus = torch.where(wanted > 0, wanted, 0.75 * p**2) * weight
    classes = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none") * focus
    return classes.sum() / count, distance / count, overlap / count


def total_loss(
    layers: Sequence[tuple[Tensor, Tensor]],
    encoder: tuple[Tensor, Tensor, Tensor],
    targets: list[BoxTargets],
    token_mask: Tensor,
) -> tuple[Tensor, dict[str, float]]:
    """Sum of all losses and the parts of the last decoder layer and of the encoder."""
    focal, distance, overlap = encoder
    total = focal + 5 * distance + 2 * overlap
    parts = {
        "encoder_class": float(focal.detach()),
        "encoder_l1": float(distance.detach()),
        "encoder_giou": float(overlap.detach()),
    }
    for logits, boxes in layers:
        classes, distance, overlap = layer_loss(logits.float(), boxes.float(), targets, token_mask)
        total = total + 2 * classes + 5 * distance + 2 * overlap
        parts.update(
            {
                "class": float(classes.detach()),
                "l1": float(distance.detach()),
                "giou": float(overlap.detach()),
            }
        )
    return total, parts
