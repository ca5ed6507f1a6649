"""Metrics of detection and segmentation, and the baseline that any model must beat."""

from __future__ import annotations

from t2s_rt.evaluation.baselines import colour_kmeans, match_clusters
from t2s_rt.evaluation.detection import DetectionScores, DetectionTally, box_iou
from t2s_rt.evaluation.segmentation import ConfusionMatrix, mask_iou

__all__ = [
    "ConfusionMatrix",
    "DetectionScores",
    "DetectionTally",
    "box_iou",
    "colour_kmeans",
    "mask_iou",
    "match_clusters",
]
