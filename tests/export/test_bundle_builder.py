"""A bundle from toy modules: what the runtime then reads, and that folders appear whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
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
    kinds = [(graph.record.role, graph.record.precision) for graph in built]
    assert kinds == [(graph.record.role, graph.record.precision) for graph in told]
    assert kinds[:2] == [("clip_dense", "fp32"), ("clip_dense", "fp16")]
    bundle = load_bundle(target)
    assert (bundle.name, bundle.gsd, bundle.tile_size) == ("toy", 0.5, 64)
    assert bundle.roles == ("clip_image", "clip_dense")  # the order of the contracts
    names = {path.name for path in target.iterdir()}
    assert names == {
        "bundle.json",
        "clip.weights",
        "clip_dense.fp16.onnx",
        "clip_dense.fp32.onnx",
        "clip_image.fp16.onnx",
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
    with open_session(bundle.graph("clip_image", "fp16")) as session:
        found = session.run({"image": image.numpy()})["embeddings"]
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_graphs_of_one_model_share_their_weights(tmp_path: Path) -> None:
    built = build_bundle(PLAN, jobs(), tmp_path / "toy")
    weights = (tmp_path / "toy" / "clip.weights").stat().st_size
    # both graphs hold the same linear layer: once in float32, once in float16 (below 1 KiB: inside)
    assert weights == 48 * 6 * 4
    graphs = load_bundle(tmp_path / "toy").manifest.graphs
    listed = [[file.path for file in graph.files] for graph in graphs if graph.precision == "fp32"]
    assert listed == [
        ["clip_image.fp32.onnx", "clip.weights"],
        ["clip_dense.fp32.onnx", "clip.weights"],
    ]
    disk = sum(path.stat().st_size for path in (tmp_path / "toy").glob("*.onnx")) + weights
    assert sum(graph.bytes for graph in built) == disk


def test_other_weights_give_another_graph_file(tmp_path: Path) -> None:
    """Engines and caches know a graph by its own file: it names the bytes beside it."""
    build_bundle(PLAN, jobs(), tmp_path / "one")
    other = ToyClipImage()
    with torch.no_grad():
        other.dense.embed.weight[0, 0] += 0.5
    build_bundle(PLAN, [GraphJob("clip_image", other, CASES, image_size=(8, 8))], tmp_path / "two")
    one, two = (load_bundle(tmp_path / name).graph("clip_image").sha256 for name in ("one", "two"))
    assert one != two


def test_precisions_can_be_left_out(tmp_path: Path) -> None:
    built = build_bundle(replace(PLAN, precisions=("fp32",)), jobs(), tmp_path / "toy")
    assert [graph.record.precision for graph in built] == ["fp32", "fp32"]
    assert all(graph.decision is None for graph in built)


def test_a_float16_graph_tells_what_stayed_float32(tmp_path: Path) -> None:
    build_bundle(PLAN, jobs(), tmp_path / "toy")
    graphs = load_bundle(tmp_path / "toy").manifest.graphs
    record = next(g for g in graphs if (g.role, g.precision) == ("clip_dense", "fp16"))
    assert record.islands["rules"] == {"softmax": 1, "normalisation": 1, "vector length": 4}
    assert record.islands["calibration"][0]["name"] == "synthetic scene, B=1"
    assert record.islands["after"]["cosine image_embedding"] >= 0.9995
    assert 0 < record.islands["float16_nodes"] < 1
    assert "rounding graph" in record.parity["against"]
    assert all(g.islands == {} for g in graphs if g.precision == "fp32")


def test_parity_and_source_are_in_the_manifest(tmp_path: Path) -> None:
    build_bundle(PLAN, jobs(), tmp_path / "toy")
    record = next(
        graph
        for graph in load_bundle(tmp_path / "toy").manifest.graphs
        if (graph.role, graph.precision) == ("clip_dense", "fp32")
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
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("t2s_export.graph_store.save_model", full)
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
