"""CLIP: trainable modules with the official names, and their export forms."""

from t2s_export.architectures.clip.config import (
    CLIP_NANO,
    VIT_B_16,
    VIT_B_32,
    VIT_L_14,
    VIT_L_14_336,
    ClipConfig,
)
from t2s_export.architectures.clip.graphs import (
    ClipDenseGraph,
    ClipImageGraph,
    ClipPatchesGraph,
    ClipTextGraph,
)
from t2s_export.architectures.clip.model import Clip

__all__ = [
    "CLIP_NANO",
    "VIT_B_16",
    "VIT_B_32",
    "VIT_L_14",
    "VIT_L_14_336",
    "Clip",
    "ClipConfig",
    "ClipDenseGraph",
    "ClipImageGraph",
    "ClipPatchesGraph",
    "ClipTextGraph",
]
