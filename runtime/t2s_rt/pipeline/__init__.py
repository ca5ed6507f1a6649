"""From a scene to its map: tiles, features once per tile, routes, blending, files."""

from __future__ import annotations

from t2s_rt.pipeline.batch import Batch, SceneOutcome
from t2s_rt.pipeline.core import IncompleteSceneError, Pipeline
from t2s_rt.pipeline.image import ImageResult
from t2s_rt.pipeline.progress import Progress, SilentProgress
from t2s_rt.pipeline.report import ClassReport, SceneReport, TileCounts
from t2s_rt.pipeline.scenes import SceneSource, find_scenes
from t2s_rt.pipeline.settings import PipelineSettings
from t2s_rt.pipeline.workplace import prepare_output

__all__ = [
    "Batch",
    "ClassReport",
    "ImageResult",
    "IncompleteSceneError",
    "Pipeline",
    "PipelineSettings",
    "Progress",
    "SceneOutcome",
    "SceneReport",
    "SceneSource",
    "SilentProgress",
    "TileCounts",
    "find_scenes",
    "prepare_output",
]
