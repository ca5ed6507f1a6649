"""A bundle without graphs, and the plain-colour world's models in place of real ones."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning
from tests.runtime.routes.fakes import FINGERPRINT, WORDS, FakeModels, paint_scene

from t2s_rt.bundle import Bundle, BundleManifest, TextRecord
from t2s_rt.models import Models
from t2s_rt.pipeline import SilentProgress

TILE = 64
PATCHES = (
    ("building", (16, 56, 24, 72)),
    ("water", (80, 160, 96, 200)),
    ("road", (64, 72, 0, 200)),
    ("car", (96, 108, 16, 28)),
    ("building", (120, 152, 40, 90)),
)
NAMES = ("building", "water", "road", "car")
OUTPUTS = ("labels.tif", "confidence.tif", "gpkg", "preview.png", "json", "labels.tif.aux.xml")


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path)


def make_bundle(root: Path) -> Bundle:
    text = TextRecord(words=WORDS, clip_logit_scale=20.0)
    manifest = BundleManifest("colours", "tests", 0.5, TILE, (), {}, text)
    return Bundle("colours", root, 0.5, TILE, (), {}, None, FINGERPRINT, text, manifest)


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeModels]:
    """Fake models that every pipeline of the test opens; ``opened`` counts how often."""
    fake = FakeModels()

    def open_fake(*_: Any, **__: Any) -> FakeModels:
        fake.calls.add("opened")
        fake.closed = False
        return fake

    monkeypatch.setattr(Models, "open", open_fake)
    yield fake


@pytest.fixture
def write_tif(tmp_path: Path) -> Callable[..., Path]:
    def write(
        image: NDArray[np.uint8],
        name: str = "scene.tif",
        *,
        gsd: float = 0.5,
        crs: str | None = "EPSG:32633",
        nodata: int | None = None,
        **profile: Any,
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        options: dict[str, Any] = (
            {}
            if crs is None
            else {"crs": crs, "transform": rasterio.Affine(gsd, 0, 500000, 0, -gsd, 5400000)}
        )
        height, width = image.shape[:2]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(
                path, "w", driver="GTiff", height=height, width=width, count=3, dtype="uint8",
                nodata=nodata, photometric="RGB", **options, **profile,
            ) as target:  # fmt: skip
                target.write(np.moveaxis(image, 2, 0))
        return path

    return write


@pytest.fixture
def image() -> NDArray[np.uint8]:
    return paint_scene(160, 200, *PATCHES)


def labels_of(folder: Path, stem: str = "scene") -> NDArray[np.uint8]:
    with rasterio.open(folder / f"{stem}.labels.tif") as source:
        return np.asarray(source.read(1))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class Stop(SilentProgress):
    """Breaks a run off after some tiles."""

    def __init__(self, after: int) -> None:
        self.after, self.count, self.resumed = after, 0, -1
        self.notes: list[str] = []

    def begin(self, scene: str, tiles: int, resumed: int) -> None:
        self.resumed = resumed

    def tile(self, status: str) -> None:
        self.count += 1
        if self.count == self.after:
            raise KeyboardInterrupt

    def note(self, text: str) -> None:
        self.notes.append(text)
