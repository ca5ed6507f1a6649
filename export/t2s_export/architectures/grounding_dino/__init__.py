"""Grounding DINO as lean modules: trainable, exportable, with the official parameter names."""

from __future__ import annotations

from t2s_export.architectures.grounding_dino.checkpoint import from_official
from t2s_export.architectures.grounding_dino.config import (
    GDINO_NANO,
    SWIN_B,
    SWIN_T,
    GroundingDinoConfig,
)
from t2s_export.architectures.grounding_dino.graph import (
    FLOAT32_SCOPES,
    DetectorGraph,
    DetectorTextGraph,
)
from t2s_export.architectures.grounding_dino.model import DetectorOutput, GroundingDino

__all__ = [
    "FLOAT32_SCOPES",
    "GDINO_NANO",
    "SWIN_B",
    "SWIN_T",
    "DetectorGraph",
    "DetectorOutput",
    "DetectorTextGraph",
    "GroundingDino",
    "GroundingDinoConfig",
    "from_official",
]
