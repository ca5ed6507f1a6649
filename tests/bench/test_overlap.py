"""``t2s-rt bench overlap``: a record of five ways, and a comparison that sees a single pixel."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from numpy.typing import NDArray

from t2s_bench.cli import bench
from t2s_bench.overlap import differing, measure_overlap, overlap_table
from t2s_bench.readme import render_readme
from t2s_rt.errors import UsageError
from t2s_rt.synthetic import scene_spec, write_scene

SMALL = ["--route", "dense", "--size", "200", "--gsd", "0.3", "--rounds", "1", "--batch", "3"]


def _write(folder: Path, labels: NDArray[np.uint8], confidence: NDArray[np.uint8]) -> Path:
    folder.mkdir()
    for name, pixels in (("labels", labels), ("confidence", confidence)):
        with rasterio.open(
            folder / f"a.{name}.tif", "w", driver="GTiff", height=8, width=8, count=1,
            dtype="uint8", crs="EPSG:32633", transform=rasterio.Affine(1, 0, 5, 0, -1, 5),
        ) as target:  # fmt: skip
            target.write(pixels, 1)
    return folder


def test_one_pixel_and_one_byte_are_seen(tmp_path: Path) -> None:
    plain = np.zeros((8, 8), np.uint8)
    other = plain.copy()
    other[3, 4:6] = 1
    first = _write(tmp_path / "first", plain, plain)
    assert differing(first, _write(tmp_path / "same", plain, plain), "a") == (0, 0)
    assert differing(first, _write(tmp_path / "labels", other, plain), "a") == (2, 0)
    assert differing(first, _write(tmp_path / "confidence", plain, other), "a") == (0, 2)
    with rasterio.open(tmp_path / "same" / "a.labels.tif", "r+") as target:
        target.update_tags(note="no pixel of it")
    assert differing(first, tmp_path / "same", "a") == (1, 0)


def test_five_ways_become_a_record_and_a_table(tmp_path: Path) -> None:
    path, scene = tmp_path / "overlap.json", tmp_path / "small.tif"
    write_scene(scene_spec(850_039, 100, 0.3), scene)
    result = CliRunner().invoke(
        bench, ["overlap", str(scene), *SMALL, "-o", str(path)], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    record = json.loads(path.read_text())
    assert [made["kind"] for made in record["scenes"]] == ["file", "synthetic"]
    for made in record["scenes"]:
        ways = made["ways"]
        assert list(made["identical"].values()) == [True] * 3
        assert set(ways) == set(made["pixels_unlike_sequential"])
        assert ways["sequential"]["overlap"] == ways["in turn"]["overlap"] == 0.0
        assert all(0.0 <= way["overlap"] <= 1.0 for way in ways.values())
        # a scene of few tiles gets smaller batches, so that every worker has one
        share = -(-made["tiles"] // ways["batched"]["tiles_at_once"])
        assert ways["batched"]["tiles_per_call"] == min(3, share)
        assert ways["overlapped"]["tiles_per_call"] == 1
        assert ways["sequential"]["ratio_to_sequential"] == {"min": 1.0, "median": 1.0}
        for way in ways.values():
            assert len(way["wall_s"]) == 1 and way["read_hidden_s"] <= way["read_s"]
            ratio = way["wall_s"][0] / median(ways["sequential"]["wall_s"])
            assert way["ratio_to_sequential"]["median"] == pytest.approx(ratio)
    table = overlap_table(record)
    assert table.splitlines()[:7] == result.output.splitlines()[:7]
    page = "<!-- figures: overlap -->\nstale\n<!-- end of figures -->"
    assert table in render_readme(page, tmp_path)
    record["scenes"][0]["identical"]["batched"] = False
    assert "DIFFERS from in turn" in overlap_table(record)


def test_the_page_shows_the_record() -> None:
    root = Path(__file__).parents[2]
    page = (root / "docs" / "speed.md").read_text(encoding="utf-8")
    assert render_readme(page, root / "bench" / "records") == page
    assert "DIFFERS" not in page


def test_nothing_to_measure_is_refused(tmp_path: Path) -> None:
    for scenes, size, rounds in (([], 0, 1), ([tmp_path], 0, 0)):
        with pytest.raises(UsageError, match="at least one"):
            measure_overlap(None, scenes, route="dense", size=size, gsd=0.3, batch=2, rounds=rounds)
