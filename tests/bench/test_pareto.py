"""``bench pareto`` and the table of ``bench int8``: planted numbers come out, real runs agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
from click.testing import CliRunner

from t2s_bench.cli import bench
from t2s_bench.models.int8 import int8_table
from t2s_bench.pareto.bundles import rounding_bundle
from t2s_bench.pareto.tables import draw_pareto, pareto_table
from t2s_calibration.command import calibrate
from t2s_engines.graphs.graph import Graph
from t2s_rt.bundle import load_bundle

MACHINE: dict[str, Any] = {
    "cpu": "test", "cores": 2, "cpu_flags": ["avx2"], "versions": {"t2s-rt": "0"},
    "date": "2026-01-01",
}  # fmt: skip


def _record() -> dict[str, Any]:
    def route(int8: float) -> dict[str, Any]:
        return {
            "precisions": {
                "fp32": {"miou": 0.5, "seconds": 1.0},
                "fp16": {"miou": 0.4995, "seconds": None},
                "int8": {"miou": int8, "seconds": 0.5},
            },
            "int8_time": {"ratio": 0.5, "low": 0.4, "high": 0.625},
        }

    return {
        "bundle": "nano", "scenes": 3, "size": 512, "generator_version": "1", "weight_bits": [8],
        "machine": MACHINE, "routes": {"dense": route(0.493), "fused": route(0.502)},
    }  # fmt: skip


def test_the_table_says_what_is_lost_and_gained() -> None:
    text = pareto_table(_record())
    assert "| dense | int8 | 0.4930 | +0.70 | 500 | 2.00 (1.60 to 2.50) |" in text
    assert "| dense | fp16 | 0.4995 | +0.05 | - | a GPU's to tell |" in text
    assert "| fused | int8 | 0.5020 | -0.20 |" in text


def test_the_chart_is_drawn(tmp_path: Path) -> None:
    draw_pareto(_record(), tmp_path / "new" / "pareto.png")
    assert (tmp_path / "new" / "pareto.png").read_bytes().startswith(b"\x89PNG")


def test_the_rounding_bundle_rounds(tmp_path: Path) -> None:
    bundle = load_bundle()
    rounded = rounding_bundle(bundle, tmp_path / "fp16")
    assert {graph.precision for graph in rounded.graphs} == {"fp32"}
    assert set(rounded.roles) == set(bundle.roles)
    graph = Graph.from_model(onnx.load(str(rounded.graph("mask_encoder").path)))
    assert graph.operator_counts()["Cast"] > 100
    text = rounded.graph("clip_text")
    assert text.sha256 == bundle.graph("clip_text").sha256


def test_nano_is_compared_in_three_precisions(tmp_path: Path) -> None:
    made, path = tmp_path / "int8", tmp_path / "pareto.json"
    few = ["--roles", "clip_patches", "--target", "cpu", "--images", "1", "--judged", "1"]
    for command, arguments in (
        (calibrate, ["int8", *few, "-o", str(made)]),
        (bench, ["pareto", "--bundle", str(made), "--routes", "dense", "--limit", "2"]),
    ):
        more = [] if command is calibrate else ["--size", "256", "-o", str(path)]
        found = CliRunner().invoke(command, [*arguments, *more], standalone_mode=False)
        assert found.exception is None, found.output
    record = json.loads(path.read_text())
    precisions = record["routes"]["dense"]["precisions"]
    base = precisions["fp32"]["miou"]
    assert 0.05 < base < 1.0
    for precision in ("fp16", "int8"):
        # other numbers, and no other map; classes of a few pixels move a mean of two small scenes
        assert precisions[precision]["miou"] != base
        assert abs(precisions[precision]["miou"] - base) < 0.1
    assert precisions["fp16"]["seconds"] is None and precisions["int8"]["seconds"] > 0
    assert record["weight_bits"] in ([7], [8])


def test_an_unknown_route_costs_nothing() -> None:
    found = CliRunner().invoke(bench, ["pareto", "--routes", "maps"], standalone_mode=False)
    assert "expected routes out of boxes" in str(found.exception)


def test_the_full_size_table_names_operators_by_time() -> None:
    record: dict[str, Any] = {
        "model": "sam_vit_b", "images": 32, "peak_rss_bytes": 3 << 30, "seconds": 600,
        "machine": MACHINE,
        "graph": {
            "milliseconds": {"fp32": 3000.0, "int8": 1500.0, "ratio": 2.0, "disturbed": False},
            "weight_bits": 8, "int8_share": 1.0, "figures": {"mask IoU mean": 0.98},
        },
        "operators": {"fp32": {"Gemm": 2.0, "Add": 0.1}, "int8": {"QGemm": 0.8, "Add": 0.1}},
    }  # fmt: skip
    text = int8_table(record)
    assert "**2.00 times faster**" in text and "10.0 min and 3.0 GiB" in text
    assert text.index("| Gemm | 2000 | 0 |") < text.index("| QGemm | 0 | 800 |")
