"""The embedded nano bundle is what ``t2s-rt export nano`` writes from the committed checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from safetensors.numpy import load_file

from t2s_engines.preflight import check
from t2s_export.bundle_builder import exporter_name
from t2s_export.nano.checkpoints import STAGES, checkpoint_path
from t2s_export.nano.vocabulary import TRUTH_CLASSES
from t2s_export.nano_bundle import DEFAULT_PROMPTS, export_nano
from t2s_rt.bundle import NANO_ROOT, load_bundle, sha256_file
from t2s_rt.contracts import ROLES
from t2s_rt.prompts import load_pack, parse_prompts

MAX_BYTES = 30_000_000


def test_it_holds_every_role_and_stays_small() -> None:
    bundle = load_bundle()
    assert set(bundle.roles) == set(ROLES)
    assert sum(path.stat().st_size for path in NANO_ROOT.iterdir()) <= MAX_BYTES


def test_it_holds_float16_of_every_role_that_sees_pixels() -> None:
    bundle = load_bundle()
    for role in bundle.roles:
        # words are embedded on the ground, and packs must not depend on the device
        text = role in ("detector_text", "clip_text")
        assert bundle.precisions(role) == (("fp32",) if text else ("fp32", "fp16")), role


def test_the_graphs_of_a_model_share_one_file_of_weights() -> None:
    files = {graph.role: graph.files for graph in load_bundle().manifest.graphs}
    assert {role: record[-1].path for role, record in files.items() if len(record) > 1} == {
        "detector": "detector.weights",
        **dict.fromkeys(("mask_encoder", "mask_decoder", "mask_decoder_local"), "sam.weights"),
        **dict.fromkeys(("clip_image", "clip_dense", "clip_patches"), "clip.weights"),
    }


def test_its_weights_are_the_committed_checkpoints() -> None:
    recorded = {
        graph.source["checkpoint"]: graph.source["sha256"] for graph in load_bundle().graphs
    }
    committed = {checkpoint_path(s).name: sha256_file(checkpoint_path(s)) for s in STAGES}
    assert recorded == committed, "run: t2s-rt export nano --embedded"


def test_its_graphs_pass_the_checker_and_the_operator_rules() -> None:
    for entry in load_bundle().graphs:
        onnx.checker.check_model(str(entry.path), full_check=True)
        check(entry.path)


def test_its_files_tell_nothing_of_the_machine() -> None:
    root = str(Path(__file__).resolve().parents[2]).encode()
    for path in NANO_ROOT.iterdir():
        data = path.read_bytes()
        assert root not in data and str(Path.home()).encode() + b"/" not in data, path.name


def test_parity_is_recorded_and_tight() -> None:
    for graph in load_bundle().manifest.graphs:
        for name, figures in graph.parity["outputs"].items():
            if graph.precision == "fp16":
                assert figures["cosine"] >= 0.9995, (graph.role, name)
                continue
            assert figures["cosine"] >= 0.99999, (graph.role, name)
            assert figures["max_abs"] <= 1e-3, (graph.role, name)


def test_the_default_pack_asks_for_the_truth_classes() -> None:
    bundle = load_bundle()
    assert bundle.default_pack is not None
    pack = load_pack(bundle.default_pack, bundle)
    assert [item.name for item in pack.classes] == [item.name for item in TRUTH_CLASSES]
    assert [item.name for item in parse_prompts(DEFAULT_PROMPTS)] == [
        item.name for item in TRUTH_CLASSES
    ]


def test_the_model_card_has_no_gaps() -> None:
    card = (NANO_ROOT / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "$" not in card
    for statement in ("synthetic", "held out", "parking lot", "Apache-2.0", "no match"):
        assert statement in card


@pytest.mark.slow
def test_exporting_again_gives_the_embedded_bundle(tmp_path: Path) -> None:
    target = tmp_path / "nano"
    export_nano(target)
    fresh = json.loads((target / "bundle.json").read_text())
    shipped = json.loads((NANO_ROOT / "bundle.json").read_text())
    assert {p.name for p in target.iterdir()} == {
        p.name for p in NANO_ROOT.iterdir() if p.name != "__pycache__"
    }
    same_tools = shipped["exporter"] == exporter_name()
    for path in sorted(NANO_ROOT.glob("*.onnx")):
        other = target / path.name
        if same_tools and sha256_file(path) == sha256_file(other):
            continue
        # another CPU may fold the last digit of a constant differently; nothing else may differ
        _same_graph(onnx.load(path), onnx.load(other))
    mine, theirs = (load_file(f / "default_pack.safetensors") for f in (target, NANO_ROOT))
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        np.testing.assert_allclose(value, theirs[name], atol=2e-3, err_msg=name)
    for record in (fresh, shipped):
        for key in ("exporter", "default_pack", "documents"):
            record.pop(key)
        for graph in record["graphs"]:
            graph.pop("parity")
            graph.pop("files")
            graph.pop("islands")
        record["text"].pop("fingerprint", None)
    assert fresh == shipped


def _same_graph(one: onnx.ModelProto, two: onnx.ModelProto) -> None:
    first, second = (
        [node.SerializeToString(deterministic=True) for node in model.graph.node]
        for model in (one, two)
    )
    if first != second:  # the bytes themselves would fill pages
        pytest.fail(f"{one.graph.name} has other nodes; run: t2s-rt export nano --embedded")
    left, right = (
        {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        for model in (one, two)
    )
    assert left.keys() == right.keys()
    for name, value in left.items():
        assert value.dtype == right[name].dtype
        np.testing.assert_allclose(value, right[name], rtol=2e-3, atol=1e-6, err_msg=name)
