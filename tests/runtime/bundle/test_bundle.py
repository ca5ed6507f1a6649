"""Bundles: what is written is read back, and everything unfit is refused by name."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.bundle.tiny import tiny_manifest, write_tiny_bundle

from t2s_rt.bundle import (
    Bundle,
    FileRecord,
    TextRecord,
    file_record,
    load_bundle,
    manifest_json,
    parse_manifest,
    sha256_file,
    text_fingerprint,
    write_manifest,
)
from t2s_rt.contracts import ROLES
from t2s_rt.errors import BundleError, OutputError

Json = dict[str, Any]


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    """A bundle that the test may spoil."""
    root = tmp_path / "copy"
    root.mkdir()
    for file in tiny.iterdir():
        (root / file.name).write_bytes(file.read_bytes())
    return root


def spoil(root: Path, change: Callable[[Json], object]) -> Path:
    path = root / "bundle.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return root


def test_what_is_written_is_read_back(tiny: Path) -> None:
    bundle = load_bundle(tiny)
    assert bundle.name == "tiny"
    assert (bundle.gsd, bundle.tile_size) == (0.3, 32)
    assert bundle.roles == ROLES
    entry = bundle.graph("mask_decoder")
    assert entry.path == (tiny / "mask_decoder.fp32.onnx").resolve()
    assert entry.sha256 == hashlib.sha256(entry.path.read_bytes()).hexdigest()
    assert [tensor.shape for tensor in entry.outputs] == [("N", 4, 32, 32), ("N", 4)]
    assert bundle.graph("detector").image_size == (32, 32)
    assert bundle.tokenizers["clip"].name == "clip_tokenizer.json"
    assert bundle.text.words is not None and "parking lot" in bundle.text.words


def test_json_is_sorted_indented_and_stable(tiny: Path) -> None:
    text = (tiny / "bundle.json").read_text()
    assert text == json.dumps(json.loads(text), indent=2, sort_keys=True) + "\n"
    assert manifest_json(parse_manifest(text)) == text


def test_the_manifest_file_itself_may_be_named(tiny: Path) -> None:
    assert load_bundle(tiny / "bundle.json") == load_bundle(tiny)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(schema_version=2), "schema version 2.*reads version 1.*update"),
        (lambda m: m.update(schema_version=0), "schema version 0.*export the bundle anew"),
        (lambda m: m.pop("schema_version"), "schema_version: expected an integer"),
        (lambda m: m.update(schema_version=True), "schema_version: expected an integer"),
        (lambda m: m.update(gsd=-1), "gsd: expected a number"),
        (lambda m: m.update(tile_size=512.0), "tile_size: expected an integer"),
        (lambda m: m.update(name="../x"), "name: expected a text of the form"),
        (lambda m: m["graphs"][0].update(role="painter"), "role: expected one of"),
        (lambda m: m["graphs"][0].update(precision="fp8"), "precision: expected one of"),
        (lambda m: m["graphs"][0].update(precision="int8"), "target"),
        (lambda m: m["graphs"][0].update(precision="fp16"), "detector_text has no fp32 graph"),
        (lambda m: m["graphs"].append(m["graphs"][0]), "two graphs for detector_text"),
        (lambda m: m["graphs"][0].update(files=[]), "files: expected at least one file"),
        (lambda m: m["tokenizers"].update(t5=m["tokenizers"]["clip"]), "detector, clip"),
        (lambda m: m["text"].update(clip_templates=["a photo"]), "one {} each"),
        (lambda m: m["documents"].append(7), "expected an object, found 7"),
    ],
)
def test_fields_are_refused_by_name(
    copy: Path, change: Callable[[Json], object], message: str
) -> None:
    with pytest.raises(BundleError, match=message):
        load_bundle(spoil(copy, change))


@pytest.mark.parametrize(
    ("role", "side", "index", "change", "message"),
    [
        ("detector", "inputs", 0, {"name": "picture"}, "expected the inputs image, text_features"),
        ("detector", "inputs", 0, {"dtype": "float32"}, "expected dtype uint8, found float32"),
        ("detector", "inputs", 0, {"shape": [1, 3, 32, 32]}, r"H = 32 in \[B, H, W, 3\]"),
        ("detector", "inputs", 0, {"shape": [1, "H", "W", 3]}, r"expected \[B, H, W, 3\]"),
        ("detector", "inputs", 1, {"shape": [1, "tokens", 4]}, r"expected \[1, T, D\]"),
        ("detector", "outputs", 1, {"shape": [1, 6, 4]}, "expected Q = 5"),
        ("mask_decoder", "outputs", 0, {"shape": ["N", 4, 32, 31]}, "expected 4w = 32"),
        ("mask_decoder", "outputs", 0, {"shape": ["N", 3, 32, 32]}, r"expected 4 in \[N, 4, 4h"),
        ("mask_decoder", "inputs", 0, {"shape": [1, 5, 8, 8]}, "disagree on the image embedding"),
        ("detector_text", "outputs", 0, {"shape": [1, "T", 5]}, "disagree on the text features"),
        ("clip_text", "outputs", 0, {"shape": ["N", 5]}, "disagree on the CLIP embedding"),
    ],
)
def test_contract_breaches_are_refused_by_role(
    copy: Path, role: str, side: str, index: int, change: Json, message: str
) -> None:
    def apply(content: Json) -> None:
        graph = next(graph for graph in content["graphs"] if graph["role"] == role)
        graph[side][index].update(change)

    with pytest.raises(BundleError, match=f"{role}.*{message}"):
        load_bundle(spoil(copy, apply))


def test_an_image_graph_needs_its_size(copy: Path) -> None:
    def apply(content: Json) -> None:
        for graph in content["graphs"]:
            if graph["role"] == "mask_encoder":
                graph["image_size"] = None

    with pytest.raises(BundleError, match="mask_encoder.*expected an image_size"):
        load_bundle(spoil(copy, apply))


def test_a_missing_file_is_named(copy: Path) -> None:
    (copy / "clip_text.fp32.onnx").unlink()
    with pytest.raises(BundleError, match=r"clip_text\.fp32\.onnx: listed .* but missing"):
        load_bundle(copy)


@pytest.mark.parametrize("verify", [True, False])
def test_a_file_of_another_size_is_named(copy: Path, verify: bool) -> None:
    path = copy / "detector.fp32.onnx"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes() + b"x")
    message = f"detector.fp32.onnx: expected {size} bytes, found {size + 1}"
    with pytest.raises(BundleError, match=message):
        load_bundle(copy, verify=verify)


def test_an_altered_file_is_named_unless_not_verified(copy: Path) -> None:
    path = copy / "detector.fp32.onnx"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match=r"detector\.fp32\.onnx: expected SHA-256 .*, found"):
        load_bundle(copy)
    assert load_bundle(copy, verify=False).name == "tiny"


@pytest.mark.parametrize(
    "path", ["../outside.onnx", "/etc/hostname", "a/../../b", "c:\\x", "a\\b", "", "nul\u0000"]
)
def test_paths_that_leave_the_folder_are_refused(copy: Path, path: str) -> None:
    (copy.parent / "outside.onnx").write_bytes(b"x")
    with pytest.raises(BundleError, match="path: expected"):
        load_bundle(spoil(copy, lambda m: m["graphs"][0]["files"][0].update(path=path)))


def test_a_link_out_of_the_folder_is_refused(copy: Path) -> None:
    inside, outside = copy / "detector.fp32.onnx", copy.parent / "elsewhere.onnx"
    inside.rename(outside)
    inside.symlink_to(outside)
    with pytest.raises(BundleError, match="leads out of the bundle's folder"):
        load_bundle(copy)


def test_a_loop_of_links_is_refused(copy: Path) -> None:
    path = copy / "detector.fp32.onnx"
    path.unlink()
    path.symlink_to(path)
    with pytest.raises(BundleError, match="detector"):
        load_bundle(copy)


@pytest.mark.parametrize("path", ["nowhere", "nul\0byte"])
def test_no_bundle_at_all(tmp_path: Path, path: str) -> None:
    with pytest.raises(BundleError):
        load_bundle(f"{tmp_path}/{path}")


def test_an_absent_graph_names_what_is_there(tiny: Path) -> None:
    bundle = load_bundle(tiny)
    with pytest.raises(BundleError, match="expected detector in fp16, found fp32"):
        bundle.graph("detector", "fp16")


def _int8(manifest: Any, target: str) -> Any:
    first = manifest.graphs[0]
    return dataclasses.replace(first, precision="int8", target=target)


def test_bundles_written_before_islands_were_recorded_are_read(copy: Path) -> None:
    spoil(copy, lambda content: [graph.pop("islands") for graph in content["graphs"]])
    assert all(graph.islands == {} for graph in load_bundle(copy).manifest.graphs)


def test_islands_are_read_back(tmp_path: Path) -> None:
    manifest = tiny_manifest(write_tiny_bundle(tmp_path))
    first, *rest = manifest.graphs
    noted = dataclasses.replace(first, islands={"rules": {"softmax": 2}})
    again = parse_manifest(manifest_json(dataclasses.replace(manifest, graphs=(noted, *rest))))
    assert again.graphs[0].islands == {"rules": {"softmax": 2}}


def test_a_file_that_graphs_share_is_hashed_once(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (copy / "shared.weights").write_bytes(bytes(100))
    record = dataclasses.asdict(file_record(copy, "shared.weights"))
    spoil(copy, lambda content: [graph["files"].append(record) for graph in content["graphs"]])
    hashed: list[str] = []

    def counting(path: Path) -> str:
        hashed.append(path.name)
        return sha256_file(path)

    monkeypatch.setattr("t2s_rt.bundle.load.sha256_file", counting)
    load_bundle(copy)
    assert hashed.count("shared.weights") == 1
    assert len(hashed) == len(set(hashed))


def test_a_file_listed_with_two_sizes_is_refused(copy: Path) -> None:
    (copy / "shared.weights").write_bytes(bytes(100))
    record = dataclasses.asdict(file_record(copy, "shared.weights"))

    def twice(content: Json) -> None:
        content["graphs"][0]["files"].append(record)
        content["graphs"][1]["files"].append({**record, "bytes": 99})

    with pytest.raises(BundleError, match="shared.weights is listed with two different"):
        load_bundle(spoil(copy, twice))


def test_int8_graphs_are_told_apart_by_target(tmp_path: Path) -> None:
    manifest = tiny_manifest(tmp_path)
    extra = (_int8(manifest, "cpu"), _int8(manifest, "tensorrt"))
    changed = dataclasses.replace(manifest, graphs=(*manifest.graphs, *extra))
    write_manifest(tmp_path, changed)
    bundle = load_bundle(tmp_path)
    assert bundle.graph("detector_text", "int8", "tensorrt").target == "tensorrt"
    assert bundle.graph("detector_text", "int8").target == "cpu"
    assert bundle.precisions("detector_text") == ("fp32", "int8", "int8")


def test_the_fingerprint_follows_text_encoders_and_nothing_else(tmp_path: Path) -> None:
    def fingerprint(role: str | None, tokenizer: str | None) -> str:
        manifest = tiny_manifest(tmp_path)
        graphs = tuple(
            dataclasses.replace(graph, files=(_other(graph.files[0]),))
            if graph.role == role
            else graph
            for graph in manifest.graphs
        )
        tokenizers = {
            name: _other(file) if name == tokenizer else file
            for name, file in manifest.tokenizers.items()
        }
        return text_fingerprint(graphs, tokenizers)

    plain = fingerprint(None, None)
    assert fingerprint("detector", None) == plain
    changed = {fingerprint("detector_text", None), fingerprint("clip_text", None)}
    changed |= {fingerprint(None, "clip"), fingerprint(None, "detector")}
    assert len(changed | {plain}) == 5


def _other(file: FileRecord) -> FileRecord:
    return dataclasses.replace(file, sha256=hashlib.sha256(file.sha256.encode()).hexdigest())


def test_a_bundle_without_text_encoders_keeps_its_fingerprint(tmp_path: Path) -> None:
    whole = load_bundle(write_tiny_bundle(tmp_path))
    text = dataclasses.replace(whole.text, fingerprint=whole.text_fingerprint)
    lean = dataclasses.replace(
        whole.manifest,
        graphs=tuple(g for g in whole.manifest.graphs if not g.role.endswith("_text")),
        tokenizers={},
        text=text,
    )
    write_manifest(tmp_path, lean)
    assert load_bundle(tmp_path).text_fingerprint == whole.text_fingerprint


def test_a_wrong_recorded_fingerprint_is_refused(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path, text=TextRecord(fingerprint="0" * 64))
    with pytest.raises(BundleError, match="fingerprint 000000000000"):
        load_bundle(tmp_path)


def test_writing_refuses_what_reading_would(tmp_path: Path) -> None:
    manifest = tiny_manifest(tmp_path, gsd=0.0)
    with pytest.raises(BundleError, match="gsd"):
        write_manifest(tmp_path, manifest)
    assert not (tmp_path / "bundle.json").exists()


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    manifest = tiny_manifest(tmp_path)
    (tmp_path / "bundle.json").mkdir()
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(OutputError, match="cannot be written"):
        write_manifest(tmp_path, manifest)
    assert sorted(os.listdir(tmp_path)) == before


def test_sha256_of_known_bytes(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_file(path) == known
    assert file_record(tmp_path, "abc") == FileRecord("abc", known, 3)


def test_bundles_are_values(tiny: Path) -> None:
    bundle: Bundle = load_bundle(tiny)
    with pytest.raises(dataclasses.FrozenInstanceError):
        bundle.gsd = 1.0  # type: ignore[misc]
