"""Scenes in, maps out: windowed reading, tiles, and the files that a run leaves behind."""

from __future__ import annotations

from t2s_rt.scene.outputs import list_scenes, output_stems
from t2s_rt.scene.preview import write_preview
from t2s_rt.scene.reader import Scene, SceneReadError, open_scene
from t2s_rt.scene.resample import resample
from t2s_rt.scene.tiles import TileGrid, TileWindow, WorkingGrid, tile_grid, working_grid
from t2s_rt.scene.vectors import MIN_PIXELS, VectorReport, write_vectors
from t2s_rt.scene.window import Window
from t2s_rt.scene.writer import (
    CONFIDENCE_NODATA,
    CONFIDENCE_SCALE,
    LABEL_NODATA,
    MAX_CLASSES,
    MapClass,
    MapWriter,
)

__all__ = [
    "CONFIDENCE_NODATA",
    "CONFIDENCE_SCALE",
    "LABEL_NODATA",
    "MAX_CLASSES",
    "MIN_PIXELS",
    "MapClass",
    "MapWriter",
    "Scene",
    "SceneReadError",
    "TileGrid",
    "TileWindow",
    "VectorReport",
    "Window",
    "WorkingGrid",
    "list_scenes",
    "open_scene",
    "output_stems",
    "resample",
    "tile_grid",
    "working_grid",
    "write_preview",
    "write_vectors",
]
