"""Rasters made up for a test, written by rasterio and nothing of ours."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning

Raster = Callable[..., Path]


@pytest.fixture
def raster(tmp_path: Path) -> Raster:
    """Write ``pixels [bands, h, w]`` as a GeoTIFF; keyword arguments go to rasterio.open."""

    def write(
        pixels: npt.NDArray[np.generic],
        name: str = "scene.tif",
        *,
        colours: list[Any] | None = None,
        mask: npt.NDArray[np.bool_] | None = None,
        palette: dict[int, tuple[int, int, int, int]] | None = None,
        **profile: Any,
    ) -> Path:
        path = tmp_path / name
        count, height, width = pixels.shape
        settings: dict[str, Any] = {
            "driver": "GTiff",
            "count": count,
            "height": height,
            "width": width,
            "dtype": pixels.dtype,
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with (
                rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
                rasterio.open(path, "w", **{**settings, **profile}) as target,
            ):
                if colours is not None:
                    target.colorinterp = colours
                target.write(pixels)
                if mask is not None:
                    target.write_mask(mask)
                if palette is not None:
                    target.write_colormap(1, palette)
        return path

    return write


@pytest.fixture
def noise() -> npt.NDArray[np.uint8]:
    """Random RGB, uint8 [3, 60, 80]."""
    return np.random.default_rng(7).integers(1, 255, (3, 60, 80), dtype=np.uint8)
