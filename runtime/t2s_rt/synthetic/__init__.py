"""Procedural overhead scenes with exact ground truth.

`scene_spec` turns a seed into a description, `render` any window of it into pixels, class map and
instances, `write_scene` the whole into GeoTIFFs in flat memory.
"""

from t2s_rt.synthetic.render import render
from t2s_rt.synthetic.scenes import scene_spec
from t2s_rt.synthetic.spec import (
    CLASSES,
    GENERATOR_VERSION,
    HELD_OUT_SEEDS,
    TRAINING_SEEDS,
    RenderedScene,
    SceneClass,
    SceneObject,
    SceneSpec,
)
from t2s_rt.synthetic.writer import write_scene

__all__ = [
    "CLASSES",
    "GENERATOR_VERSION",
    "HELD_OUT_SEEDS",
    "TRAINING_SEEDS",
    "RenderedScene",
    "SceneClass",
    "SceneObject",
    "SceneSpec",
    "render",
    "scene_spec",
    "write_scene",
]
