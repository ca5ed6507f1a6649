"""Which engine the runtime takes, and why it refuses the others."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from t2s_rt.backends import fake_entry
from t2s_rt.bundle import FileRecord, GraphEntry, load_bundle
from t2s_rt.contracts import TEXT_ROLES
from t2s_rt.errors import BackendError
from t2s_rt.limits import PROMPTS_PER_CALL
from t2s_rt.plans import (
    BuildOptions,
    DeviceIdentity,
    EngineCache,
    EngineKey,
    Sidecar,
    SignOff,
    differences,
    input_profiles,
)

ORIN = DeviceIdentity("Orin", (8, 7), 16, 32 << 30, True)
NANO_ORIN = DeviceIdentity("Orin Nano", (8, 7), 8, 8 << 30, True)
H100 = DeviceIdentity("NVIDIA H100", (9, 0), 132, 80 << 30, False)
VERSION = "10.3.0.30"


@pytest.fixture
def entry() -> GraphEntry:
    return fake_entry("mask_decoder", C=4, h=8, w=8)


def store(
    cache: EngineCache, key: EngineKey, built: str = "2026-11-25T00:00:00+00:00", plan: bytes = b"p"
) -> Path:
    folder = cache.folder(key)
    folder.mkdir(parents=True)
    (folder / "engine.plan").write_bytes(plan)
    sidecar = Sidecar(
        key.as_record(), key.digest, hashlib.sha256(plan).hexdigest(), len(plan), built, 1.0, "test"
    )
    (folder / "engine.json").write_text(sidecar.to_json())
    return folder


def test_every_image_graph_of_nano_has_profiles_and_no_text_graph_has() -> None:
    for graph in load_bundle(verify=False).graphs:
        if graph.role in TEXT_ROLES:
            with pytest.raises(BackendError, match="on the ground"):
                input_profiles(graph)
            continue
        profiles = input_profiles(graph)
        assert [profile.name for profile in profiles] == [spec.name for spec in graph.inputs]
        for profile, spec in zip(profiles, graph.inputs, strict=True):
            assert profile.dynamic == any(isinstance(size, str) for size in spec.shape)
            for sizes in zip(profile.least, profile.usual, profile.greatest, strict=True):
                assert 1 <= sizes[0] <= sizes[1] <= sizes[2]


def test_the_decoder_is_built_for_the_calls_that_are_made(entry: GraphEntry) -> None:
    labels = next(p for p in input_profiles(entry) if p.name == "point_labels")
    assert labels.greatest[0] == PROMPTS_PER_CALL


def test_a_batch_bounds_the_encoders_alone(entry: GraphEntry) -> None:
    encoder = fake_entry("mask_encoder", H=64, W=64, C=4, h=8, w=8)
    assert input_profiles(encoder, batch=2)[0].greatest == (2, 64, 64, 3)
    assert input_profiles(entry, batch=2) == input_profiles(entry)


def test_the_content_hash_covers_the_weights(entry: GraphEntry) -> None:
    files = [FileRecord("g.onnx", "1" * 64, 1), FileRecord("w", "2" * 64, 1)]
    with_weights = dataclasses.replace(entry, files=tuple(files))
    other = dataclasses.replace(entry, files=(files[0], FileRecord("w", "3" * 64, 1)))
    hashes = {e.content_sha256 for e in (entry, with_weights, other)}
    assert len(hashes) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"tensorrt": "10.13.3.9"},
        {"device": H100},
        {"options": BuildOptions(optimization_level=5)},
        {"options": BuildOptions(workspace=1 << 30)},
        {"graph": "f" * 64},
        {"precision": "fp16"},
    ],
)
def test_whatever_matters_changes_the_key(entry: GraphEntry, change: dict[str, Any]) -> None:
    key = EngineKey.of(entry, VERSION, ORIN)
    assert dataclasses.replace(key, **change).digest != key.digest


def test_the_engine_is_found_and_its_plan_checked(entry: GraphEntry, tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    folder = store(cache, EngineKey.of(entry, VERSION, ORIN))
    found = cache.find(entry, VERSION, ORIN)
    assert found.folder == folder
    found.check_plan()
    (folder / "engine.plan").write_bytes(b"q")
    with pytest.raises(BackendError, match="expected SHA-256"):
        found.check_plan()
    (folder / "engine.plan").unlink()
    with pytest.raises(BackendError, match="cannot be read"):
        found.check_plan()


def test_the_newest_of_two_that_fit_is_taken(entry: GraphEntry, tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    store(cache, EngineKey.of(entry, VERSION, ORIN))
    options = BuildOptions(optimization_level=5)
    later = store(cache, EngineKey.of(entry, VERSION, ORIN, options), "2026-11-26T00:00:00+00:00")
    assert cache.find(entry, VERSION, ORIN).folder == later


def test_a_refusal_names_what_differs(entry: GraphEntry, tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    with pytest.raises(BackendError, match="found none; run t2s-rt build"):
        cache.find(entry, VERSION, ORIN)
    store(cache, EngineKey.of(entry, VERSION, ORIN))
    with pytest.raises(BackendError) as refused:
        cache.find(entry, "10.13.3.9", NANO_ORIN)
    for part in ('tensorrt: expected "10.13.3.9", found "10.3.0.30"', '"Orin Nano"'):
        assert part in str(refused.value)


def test_compatible_engines_serve_more_devices(entry: GraphEntry, tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    options = BuildOptions(hardware_compatibility="same_compute_capability")
    folder = store(cache, EngineKey.of(entry, VERSION, ORIN, options))
    assert cache.find(entry, VERSION, NANO_ORIN).folder == folder
    with pytest.raises(BackendError, match="compute_capability"):
        cache.find(entry, VERSION, H100)
    options = BuildOptions(hardware_compatibility="ampere_plus")
    folder = store(cache, EngineKey.of(entry, VERSION, ORIN, options))
    assert cache.find(entry, VERSION, H100).folder == folder


def test_a_version_compatible_engine_serves_later_releases_only(
    entry: GraphEntry, tmp_path: Path
) -> None:
    cache = EngineCache(tmp_path)
    options = BuildOptions(version_compatible=True)
    folder = store(cache, EngineKey.of(entry, "10.13.3.9", ORIN, options))
    assert cache.find(entry, "11.4.0.106", ORIN).folder == folder
    with pytest.raises(BackendError, match="tensorrt"):
        cache.find(entry, VERSION, ORIN)


@pytest.mark.parametrize(
    ("field", "value"),
    [("options", 3), ("device", []), ("device", {"compute_capability": []}), ("tensorrt", None)],
)
def test_a_strange_key_is_refused_and_breaks_nothing(
    entry: GraphEntry, tmp_path: Path, field: str, value: object
) -> None:
    cache = EngineCache(tmp_path)
    options = BuildOptions(hardware_compatibility="ampere_plus", version_compatible=True)
    path = store(cache, EngineKey.of(entry, VERSION, ORIN, options)) / "engine.json"
    record = json.loads(path.read_text())
    record["key"][field] = value
    path.write_text(json.dumps(record))
    with pytest.raises(BackendError):
        cache.find(entry, VERSION, H100)


@pytest.mark.parametrize("text", ["", "{}", '{"schema_version": 2}', "[1]", "{" * 9999])
def test_a_damaged_sidecar_hides_its_engine(entry: GraphEntry, tmp_path: Path, text: str) -> None:
    cache = EngineCache(tmp_path)
    folder = store(cache, EngineKey.of(entry, VERSION, ORIN))
    (folder / "engine.json").write_text(text)
    assert cache.engines() == []
    with pytest.raises(BackendError, match="found none"):
        cache.find(entry, VERSION, ORIN)


def test_a_verdict_belongs_to_one_plan(entry: GraphEntry, tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    folder = store(cache, EngineKey.of(entry, VERSION, ORIN))
    found = cache.find(entry, VERSION, ORIN)
    assert found.sign_off() is None
    verdict = SignOff(
        "passed",
        found.sidecar.plan_sha256,
        "2026-11-25T00:00:00+00:00",
        "test",
        ({"name": "empty", "sha256": "0" * 64, "synthetic": True},),
        {"mask IoU mean": 0.999},
        {"mask IoU mean": 0.99},
    )
    (folder / "verified.json").write_text(verdict.to_json())
    assert found.sign_off() == verdict
    other = dataclasses.replace(verdict, plan_sha256="0" * 64)
    (folder / "verified.json").write_text(other.to_json())
    assert found.sign_off() is None
    (folder / "verified.json").write_text("{}")
    with pytest.raises(BackendError, match="schema_version"):
        found.sign_off()


def test_differences_name_both_sides() -> None:
    assert differences({"a": {"b": 1}, "c": 2}, {"a": {"b": 3}}) == [
        "a.b: expected 1, found 3",
        "c: expected 2, found nothing",
    ]
