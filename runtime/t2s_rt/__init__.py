"""t2s-rt: words in, georeferenced class map out, on the edge.

What the command ``t2s-rt infer`` does, in five lines::

    from t2s_rt import Pipeline, build_pack, load_bundle

    bundle = load_bundle()                                  # the embedded nano bundle
    pack = build_pack(bundle, "building; road; tree")
    with Pipeline.from_bundle(bundle) as pipeline:
        report = pipeline("scene.tif", pack, "map")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from t2s_rt.bundle import Bundle, load_bundle
    from t2s_rt.errors import T2SError
    from t2s_rt.pipeline import Pipeline
    from t2s_rt.prompts import PromptPack, build_pack, load_pack, save_pack
    from t2s_rt.scene import Scene, open_scene

__all__ = [
    "Bundle",
    "Pipeline",
    "PromptPack",
    "Scene",
    "T2SError",
    "__version__",
    "build_pack",
    "load_bundle",
    "load_pack",
    "open_scene",
    "save_pack",
]

# Resolved at first use, so that `t2s-rt --help` pays for none of them.
_HOMES = {
    "Bundle": "t2s_rt.bundle",
    "Pipeline": "t2s_rt.pipeline",
    "PromptPack": "t2s_rt.prompts",
    "Scene": "t2s_rt.scene",
    "T2SError": "t2s_rt.errors",
    "build_pack": "t2s_rt.prompts",
    "load_bundle": "t2s_rt.bundle",
    "load_pack": "t2s_rt.prompts",
    "open_scene": "t2s_rt.scene",
    "save_pack": "t2s_rt.prompts",
}


def __getattr__(name: str) -> object:
    """Import a public name from its module at first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 't2s_rt' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
