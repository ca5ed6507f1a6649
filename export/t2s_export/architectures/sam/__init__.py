"""Segment Anything: trainable modules with the official names, and their export forms."""

from t2s_export.architectures.sam.config import (
    MOBILE_SAM,
    SAM_NANO,
    SAM_VIT_B,
    SAM_VIT_H,
    SAM_VIT_L,
    AnySamConfig,
    MobileSamConfig,
    SamConfig,
)
from t2s_export.architectures.sam.graphs import MaskDecoderGraph, MaskEncoderGraph
from t2s_export.architectures.sam.local_decoder import LocalMaskDecoder, LocalMaskDecoderGraph
from t2s_export.architectures.sam.model import Sam

__all__ = [
    "MOBILE_SAM",
    "SAM_NANO",
    "SAM_VIT_B",
    "SAM_VIT_H",
    "SAM_VIT_L",
    "AnySamConfig",
    "LocalMaskDecoder",
    "LocalMaskDecoderGraph",
    "MaskDecoderGraph",
    "MaskEncoderGraph",
    "MobileSamConfig",
    "Sam",
    "SamConfig",
]
