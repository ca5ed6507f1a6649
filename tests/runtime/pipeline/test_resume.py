"""Runs that are broken off: what is kept, what is computed again, and that all ends alike."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from tests.runtime.pipeline.conftest import NAMES, OUTPUTS, Stop, labels_of, names
from tests.runtime.routes.fakes import FakeModels, pack_of, paint_scene

from t2s_rt.bundle import Bundle
from t2s_rt.pipeline import Pipeline, SilentProgress

WriteTif = Callable[..., Path]


@pytest.mark.parametrize("after", [1, 5, 9, 12])
def test_interrupted_run_goes_on_and_ends_alike(
    after: int, bundle: Bundle, models: FakeModels, write_tif: WriteTif, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, image: NDArray[np.uint8],
) -> None:  # fmt: skip
    monkeypatch.setattr("t2s_rt.pipeline.core._BLOCK_SIDES", (64,))
    path, pack, out = write_tif(image), pack_of(*NAMES), tmp_path / "out"
    with Pipeline.from_bundle(bundle) as pipeline:
        pipeline(path, pack, tmp_path / "whole")
        with pytest.raises(KeyboardInterrupt):
            pipeline(path, pack, out, progress=Stop(after))
        assert names(out) == [".scene.t2s-work"]
        models.calls.clear()
        again = Stop(0)
        report = pipeline(path, pack, out, progress=again)
    assert again.resumed == after and again.count == 12 - after
    assert models.calls["detector"] == 12 - after
    assert report.tiles.done == 12 and report.tiles.resumed == after
    for name in ("scene.labels.tif", "scene.confidence.tif"):
        with rasterio.open(out / name) as one, rasterio.open(tmp_path / "whole" / name) as other:
            np.testing.assert_array_equal(one.read(), other.read())
    assert threading.active_count() < 10


def test_damaged_leftovers_are_computed_again(
    bundle: Bundle, models: FakeModels, image: NDArray[np.uint8], write_tif: WriteTif,
    tmp_path: Path,
) -> None:  # fmt: skip
    path, pack, out = write_tif(image), pack_of(*NAMES), tmp_path / "out"
    with Pipeline.from_bundle(bundle) as pipeline:
        pipeline(path, pack, tmp_path / "whole")
        with pytest.raises(KeyboardInterrupt):
            pipeline(path, pack, out, progress=Stop(6))
        spool = sorted((out / ".scene.t2s-work").glob("tile-*.npz"))
        spool[0].write_bytes(spool[0].read_bytes()[:-9])
        spool[1].unlink()
        again = Stop(0)
        pipeline(path, pack, out, progress=again)
    assert again.resumed == 4
    np.testing.assert_array_equal(labels_of(out), labels_of(tmp_path / "whole"))


def test_leftovers_of_other_settings_are_discarded_with_a_note(
    bundle: Bundle, models: FakeModels, image: NDArray[np.uint8], write_tif: WriteTif,
    tmp_path: Path,
) -> None:  # fmt: skip
    path, out = write_tif(image), tmp_path / "out"
    with Pipeline.from_bundle(bundle) as pipeline:
        with pytest.raises(KeyboardInterrupt):
            pipeline(path, pack_of(*NAMES), out, progress=Stop(6))
        again = Stop(0)
        pipeline(path, pack_of("water"), out, progress=again)
    assert again.resumed == 0 and any("discarded" in note for note in again.notes)
    assert len(names(out)) == len(OUTPUTS)


def test_scores_in_store_stay_few(
    bundle: Bundle, models: FakeModels, write_tif: WriteTif, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("t2s_rt.pipeline.core._BLOCK_SIDES", (64,))
    tall = paint_scene(900, 64, ("water", (0, 900, 0, 30)))
    most = 0

    class Watch(SilentProgress):
        def tile(self, status: str) -> None:
            nonlocal most
            most = max(most, len(list((tmp_path / "out").glob(".*/tile-*.npz"))))

    with Pipeline.from_bundle(bundle, route="dense") as pipeline:
        report = pipeline(write_tif(tall), pack_of("water"), tmp_path / "out", progress=Watch())
    assert report.tiles.total == 16
    assert most <= 4
