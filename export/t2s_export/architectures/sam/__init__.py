"""Segment Anything: trainable modules with the official names, and their export forms."""

from t2s_export.architectures.sam.config import (
    SAM_NANO,
    SAM_VIT_B,
    SAM_VIT_H,
    SAM_VIT_L,
    SamConfig,
)
from t2s_export.architectures.sam.graphs import MaskDecoderGraph, MaskEncoderGraph
from t2s_export.architectures.sam.local_decoder import LocalMaskDecoder, LocalMaskDecoderGraph
from t2s_export.architectures.sam.model import Sam

__all__ = [
    "SAM_NANO",
    "SAM_VIT_B",
    "SAM_VIT_H",
    "SAM_VIT_L",
    "LocalMaskDecoder",
    "LocalMaskDecoderGraph",
    "MaskDecoderGraph",
    "MaskEncoderGraph",
    "Sam",
    "SamConfig",
]
