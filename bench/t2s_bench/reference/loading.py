"""Our models from checkpoint files in the official formats."""

from __future__ import annotations

from pathlib import Path

import torch

from t2s_export.architectures.clip import Clip, ClipConfig
from t2s_export.architectures.grounding_dino import (
    GroundingDino,
    GroundingDinoConfig,
    from_official,
)
from t2s_export.architectures.sam import Sam, SamConfig

__all__ = ["load_clip", "load_detector", "load_sam"]


def load_sam(path: Path, config: SamConfig) -> Sam:
    """Segment Anything from an official ``.pth``: the state dict."""
    model = Sam(config).eval().requires_grad_(False)
    model.load_state_dict(torch.load(path, weights_only=True))
    return model


def load_detector(path: Path, config: GroundingDinoConfig) -> GroundingDino:
    """Grounding DINO from an official ``.pth``: the state dict under ``model``."""
    model = GroundingDino(config).eval().requires_grad_(False)
    model.load_state_dict(from_official(torch.load(path, weights_only=True)["model"]))
    return model


def load_clip(path: Path, config: ClipConfig) -> Clip:
    """CLIP from an open_clip checkpoint: the state dict, alone or under ``state_dict``."""
    model = Clip(config).eval().requires_grad_(False)
    model.load_state_dict(torch.load(path, weights_only=True))
    return model
