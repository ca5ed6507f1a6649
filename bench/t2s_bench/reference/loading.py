"""Our models from checkpoint files, by the loader that ``t2s-rt export`` uses."""

from __future__ import annotations

from pathlib import Path

from t2s_export.architectures.clip import Clip
from t2s_export.architectures.grounding_dino import GroundingDino
from t2s_export.architectures.sam import Sam
from t2s_export.checkpoints.loading import load_model

__all__ = ["load_clip", "load_detector", "load_sam"]


def load_sam(path: Path, architecture: str) -> Sam:
    """Segment Anything from an official file."""
    module = load_model(path, "sam", architecture).module
    assert isinstance(module, Sam)  # the family was asked for
    return module


def load_detector(path: Path, architecture: str) -> GroundingDino:
    """Grounding DINO from an official file."""
    module = load_model(path, "grounding_dino", architecture).module
    assert isinstance(module, GroundingDino)  # the family was asked for
    return module


def load_clip(path: Path, architecture: str, *, quick_gelu: bool) -> Clip:
    """CLIP from an open_clip checkpoint."""
    module = load_model(path, "clip", architecture, quick_gelu=quick_gelu).module
    assert isinstance(module, Clip)  # the family was asked for
    return module
