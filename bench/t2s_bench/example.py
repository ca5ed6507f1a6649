"""Draws the example scene again: ``python -m t2s_bench.example docs/example/lakeside.tif``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import rasterio
from rasterio.shutil import copy as copy_raster

from t2s_rt.synthetic import HELD_OUT_SEEDS, TRAINING_SEEDS, scene_spec, write_scene

__all__ = ["write_example"]

_SEED, _SIZE, _GSD = 850_039, 768, 0.3


def write_example(path: Path) -> None:
    """Write the scene as a JPEG-compressed COG: small enough for the repository.

    Its seed is neither a training nor a held-out one; of fifty neighbouring seeds its map by nano
    shows all five classes of the README best.
    """
    if _SEED in TRAINING_SEEDS or _SEED in HELD_OUT_SEEDS:
        raise ValueError(f"seed {_SEED} belongs to training or to the held-out scenes")
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.tif"
        write_scene(scene_spec(_SEED, _SIZE, _GSD), plain)
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
            copy_raster(plain, path, driver="COG", COMPRESS="JPEG", QUALITY="92", OVERVIEWS="NONE")


if __name__ == "__main__":
    write_example(Path(sys.argv[1]))
