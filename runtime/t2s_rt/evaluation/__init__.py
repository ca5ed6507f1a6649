"""Metrics of detection and segmentation, and the baselines that any model must beat."""

from __future__ import annotations

from t2s_rt.evaluation.baselines import (
    colour_kmeans,
    kmeans_labels,
    largest_class,
    match_clusters,
)
from t2s_rt.evaluation.detection import DetectionScores, DetectionTally, box_iou
from t2s_rt.evaluation.segmentation import ConfusionMatrix, mask_iou

__all__ = [
    "ConfusionMatrix",
    "DetectionScores",
    "DetectionTally",
    "box_iou",
    "colour_kmeans",
    "kmeans_labels",
    "largest_class",
    "mask_iou",
    "match_clusters",
]
