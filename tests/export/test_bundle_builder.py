"""A bundle from toy modules: what the runtime then reads, and that folders appear whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.export.toy_modules import ToyClipDense, ToyClipImage, toy_images

from t2s_export.bundle_builder import BuiltGraph, BundlePlan, GraphJob, build_bundle
from t2s_export.errors import ExportError, ParityToleranceError
from t2s_export.parity_cases import Case
from t2s_rt.backends import open_session
from t2s_rt.bundle import TextRecord, load_bundle
from t2s_rt.errors import BundleError, OutputError

PLAN = BundlePlan(
    name="toy",
    gsd=0.5,
    tile_size=64,
    tokenizers={"clip": "{}\n"},
    text=TextRecord(clip_context_length=8),
    documents={"MODEL_CARD.md": "# Toy\n", "LICENSE": "as you like\n"},
)
CASES = (Case("B=2", toy_images(2)), Case("B=1", toy_images(1)))


def jobs(reference: torch.nn.Module | None = None) -> Iterator[GraphJob]:
    yield GraphJob(
        "clip_dense",
        ToyClipDense(),
        CASES,
        reference,
        image_size=(8, 8),
        normalisation={"mean": [0, 0, 0]},
        source={"checkpoint": "none", "licence": "as you like"},
    )
    yield GraphJob("clip_image", ToyClipImage(), CASES, image_size=(8, 8))


def test_the_runtime_reads_and_runs_what_was_built(tmp_path: Path) -> None:
    target = tmp_path / "bundles" / "toy"
    told: list[BuiltGraph] = []
    built = build_bundle(PLAN, jobs(), target, progress=told.append)
    assert list(built) == told
    bundle = load_bundle(target)
    assert (bundle.name, bundle.gsd, bundle.tile_size) == ("toy", 0.5, 64)
    assert bundle.roles == ("clip_image", "clip_dense")  # the order of the contracts
    names = {path.name for path in target.iterdir()}
    assert names == {
        "bundle.json",
        "clip_dense.fp32.onnx",
        "clip_image.fp32.onnx",
        "clip_tokenizer.json",
        "MODEL_CARD.md",
        "LICENSE",
    }
    image = CASES[0].feeds["image"]
    with open_session(bundle.graph("clip_image")) as session:
        found = session.run({"image": image.numpy()})["embeddings"]
    with torch.no_grad():
        expected = ToyClipImage()(image).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_parity_and_source_are_in_the_manifest(tmp_path: Path) -> None:
    build_bundle(PLAN, jobs(), tmp_path / "toy")
    record = next(
        graph
        for graph in load_bundle(tmp_path / "toy").manifest.graphs
        if graph.role == "clip_dense"
    )
    assert record.source["licence"] == "as you like"
    assert record.normalisation == {"mean": [0, 0, 0]}
    assert record.parity["cases"] == ["B=2", "B=1"]
    assert record.parity["outputs"]["image_embedding"]["cosine"] >= 0.99999
    assert record.inputs[0].shape == ("B", 8, 8, 3)


def test_building_twice_gives_the_same_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        build_bundle(PLAN, jobs(), tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


def test_the_file_is_compared_with_the_reference(tmp_path: Path) -> None:
    other = ToyClipDense()
    with torch.no_grad():
        other.token.add_(0.1)
    with pytest.raises(ParityToleranceError):
        build_bundle(PLAN, jobs(reference=other), tmp_path / "toy")
    assert list(tmp_path.iterdir()) == []  # nothing half written


def test_a_bundle_is_replaced_only_when_told(tmp_path: Path) -> None:
    target = tmp_path / "toy"
    build_bundle(PLAN, jobs(), target)
    (target / "leftover").write_text("of the first")
    with pytest.raises(OutputError, match="--force"):
        build_bundle(PLAN, jobs(), target)
    assert (target / "leftover").exists()
    build_bundle(PLAN, jobs(), target, replace_existing=True)
    assert not (target / "leftover").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]


def test_the_old_bundle_survives_a_failure(tmp_path: Path) -> None:
    target = tmp_path / "toy"
    build_bundle(PLAN, jobs(), target)
    other = ToyClipDense()
    with torch.no_grad():
        other.norm.bias.add_(0.5)
    with pytest.raises(ParityToleranceError):
        build_bundle(PLAN, jobs(reference=other), target, replace_existing=True)
    assert load_bundle(target).name == "toy"


def test_other_folders_and_files_are_never_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter1.txt").write_text("years of work")
    file = tmp_path / "file"
    file.write_text("x")
    for target in (folder, file):
        with pytest.raises(OutputError):
            build_bundle(PLAN, jobs(), target, replace_existing=True)
    assert (folder / "chapter1.txt").read_text() == "years of work"


def test_a_target_that_cannot_be_made_is_an_output_error(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(OutputError, match="cannot be written"):
        build_bundle(PLAN, jobs(), file / "below" / "toy")


def test_a_full_disk_is_an_output_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("t2s_export.bundle_builder.save_model", full)
    with pytest.raises(OutputError, match="No space left on device"):
        build_bundle(PLAN, jobs(), tmp_path / "toy")
    assert list(tmp_path.iterdir()) == []


def test_what_the_runtime_would_refuse_is_not_written(tmp_path: Path) -> None:
    wrong = GraphJob("clip_image", ToyClipImage(), CASES, image_size=(16, 16))
    with pytest.raises(BundleError, match="image"):
        build_bundle(PLAN, [wrong], tmp_path / "toy")
    assert list(tmp_path.iterdir()) == []


def test_a_job_without_inputs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="expected inputs to trace clip_image"):
        build_bundle(PLAN, [GraphJob("clip_image", ToyClipImage(), ())], tmp_path / "toy")
