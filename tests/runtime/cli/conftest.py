"""Runs commands in this process over the plain-colour world."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from tests.runtime.cli.colours import install
from tests.runtime.routes.fakes import FakeModels, paint_scene

from t2s_rt.cli.main import cli

PATCHES = (("building", (16, 56, 24, 72)), ("water", (64, 120, 40, 120)))


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeModels:
    """The fakes that every command of the test uses."""
    fake = FakeModels()
    install(monkeypatch.setattr, tmp_path, fake)
    return fake


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    """Run ``t2s-rt`` with arguments, in an empty current folder."""
    here = tmp_path / "cwd"
    here.mkdir()
    monkeypatch.chdir(here)

    def call(*arguments: object) -> Result:
        return CliRunner().invoke(cli, [str(argument) for argument in arguments])

    return call


def save(path: Path, image: NDArray[np.uint8], gsd: float | None = 0.5) -> Path:
    """Write a GeoTIFF, or whatever the suffix says where there is no ground resolution."""
    path.parent.mkdir(parents=True, exist_ok=True)
    driver = {".png": "PNG", ".jpg": "JPEG"}.get(path.suffix, "GTiff")
    options = {}
    if gsd is not None:
        options = {
            "crs": "EPSG:32633",
            "transform": rasterio.Affine(gsd, 0, 500000, 0, -gsd, 5400000),
        }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        height, width = image.shape[:2]
        with rasterio.open(
            path, "w", driver=driver, height=height, width=width, count=3, dtype="uint8", **options
        ) as target:
            target.write(np.moveaxis(image, 2, 0))
    return path


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """A scene of nine tiles with buildings and water."""
    return save(tmp_path / "scene.tif", paint_scene(128, 128, *PATCHES))
