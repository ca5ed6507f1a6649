"""``bench roofline --models``: graphs of the original packages' models, here a small one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.bench.test_models import small_case

from t2s_bench.cli import bench
from t2s_bench.reference.case import Case
from t2s_bench.roofline import full_size
from t2s_rt.errors import UsageError


@pytest.fixture
def folders(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """A small decoder, by boxes and by points, in the place of SAM's graphs."""
    seen: list[Path] = []

    def cases(model: str, folder: Path) -> Iterator[Case]:
        seen.append(folder)
        for boxes in (True, False):
            yield small_case(boxes=boxes)

    monkeypatch.setattr(full_size, "cases", cases)
    return seen


def test_each_role_is_accounted_for_once(folders: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    words = ["roofline", "--models", "sam_vit_b, mobile_sam", "--repeat", "1", "-o", str(path)]
    result = CliRunner().invoke(bench, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    record = json.loads(path.read_text())
    names = {"sam_vit_b mask_decoder, boxes", "mobile_sam mask_decoder, boxes"}
    assert set(record["graphs"]) == names
    for graph in record["graphs"].values():
        assert graph["target"] == 0.55 and graph["flops"] > 1e5 and graph["rows"] > 1
    assert {gain["graph"] for gain in record["gains"]} <= names
    assert "`t2s-rt bench roofline --models sam_vit_b,mobile_sam`" in result.output
    assert "55%: not reached" in result.output or "55%: reached" in result.output
    assert not any(folder.exists() for folder in folders)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("mobile_sam mask_encoder", 0.65),
        ("sam_vit_b mask_encoder", 0.80),
        ("ViT-B-16 clip_dense", 0.90),
        ("swin_t detector", 0.60),
        ("swin_t other", None),
    ],
)
def test_the_longest_key_names_the_target(name: str, wanted: float | None) -> None:
    assert full_size.target_of(name) == wanted


@pytest.mark.parametrize("names", ["resnet,sam_vit_b", ","])
def test_models_that_there_are_not_are_refused(names: str) -> None:
    result = CliRunner().invoke(bench, ["roofline", "--models", names])
    assert isinstance(result.exception, UsageError)
    assert "expected models out of sam_vit_b" in str(result.exception)


def test_a_bundle_and_models_together_are_refused() -> None:
    words = ["roofline", "--models", "sam_vit_b", "--graphs", "detector"]
    result = CliRunner().invoke(bench, words)
    assert "leave out one" in str(result.exception)
