"""A training aid: a linear class map on image tokens, thrown away with the run.

Boxes and prompted masks say little about most pixels, and what they say is drowned at first by
the score level that all proposals share. The class of every patch is a well-conditioned target
that makes the image encoders learn from the first steps on.
"""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2s_export.nano.vocabulary import TRUTH_CLASSES

__all__ = [
    "CLASSES",
    "OBJECT_WEIGHTS",
    "PREFIX",
    "FineMap",
    "class_map_loss",
    "class_shares",
    "heads",
]

CLASSES = len(TRUTH_CLASSES) + 1
"""Truth ids 0 to 10."""
PREFIX = "auxiliary."
"""Parameters of that name are no part of a checkpoint."""


def class_shares(classes: npt.NDArray[np.uint8], patch: int) -> npt.NDArray[np.float32]:
    """Share of each truth class in each patch, float32 ``[h * w, C]``, patches row-major."""
    height, width = classes.shape
    grid = (width // patch, height // patch)
    shares = [
        cv2.resize((classes == c).astype(np.float32), grid, interpolation=cv2.INTER_AREA)
        for c in range(CLASSES)
    ]
    return np.stack(shares, -1).reshape(-1, CLASSES)


class FineMap(nn.Module):
    """Image embeddings ``[B, width, h, w]`` to class logits ``[B, 16 hw, C]``, 16 a token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ConvTranspose2d(width, width // 2, 2, stride=2),
            nn.GELU(),
            nn.ConvTranspose2d(width // 2, CLASSES, 2, stride=2),
        )

    def forward(self, embeddings: Tensor) -> Tensor:
        """Rows in the order of :func:`class_shares` at a quarter of the patch."""
        return cast(Tensor, self.layers(embeddings)).flatten(2).transpose(1, 2)


def heads(widths: tuple[int, ...]) -> nn.ModuleList:
    """A linear class map for each kind of token."""
    return nn.ModuleList(nn.Linear(width, CLASSES) for width in widths)


OBJECT_WEIGHTS = torch.ones(CLASSES)
"""Buildings and trees, and cars, which cover little, weigh more where edges of objects count."""
OBJECT_WEIGHTS[[1, 3, 5]] = torch.tensor([1.5, 1.5, 4.0])


def class_map_loss(
    head: nn.Module, tokens: Tensor, shares: Tensor, weights: Tensor | None = None
) -> Tensor:
    """Soft cross-entropy of a head's logits ``[B, n, C]`` against shares ``[B, n, C]``, a mean.

    Patches beyond the scene have no class and count for nothing.
    """
    if weights is not None:
        shares = shares * weights
    cross = -(shares * F.log_softmax(head(tokens).float(), -1)).sum()
    return cross / shares.sum().clamp(min=1.0)
