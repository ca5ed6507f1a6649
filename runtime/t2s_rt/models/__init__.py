"""Models: numpy in, value objects out, each over its sessions."""

from __future__ import annotations

from t2s_rt.models.clip import ClipEncoder, DenseFeatures, TileWindows
from t2s_rt.models.detector import Detections, Detector
from t2s_rt.models.frames import FramedImage, FrameMap
from t2s_rt.models.models import IMAGE_ROLES, Models, choose_graph
from t2s_rt.models.segmenter import ImageEmbedding, MaskSet, Segmenter

__all__ = [
    "IMAGE_ROLES",
    "ClipEncoder",
    "DenseFeatures",
    "Detections",
    "Detector",
    "FrameMap",
    "FramedImage",
    "ImageEmbedding",
    "MaskSet",
    "Models",
    "Segmenter",
    "TileWindows",
    "choose_graph",
]
