"""What a bundle asks of a machine, and what is said of the engines that were built for it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from tests.engines.doctor.trees import LAPTOP, laptop, orin, server, thor, tree
from tests.runtime.bundle.tiny import write_tiny_bundle

from t2s_engines.doctor.bundle_needs import Target, check_bundle
from t2s_engines.doctor.engines import check_cache
from t2s_engines.doctor.examine import Examination, examine
from t2s_engines.doctor.exercise import candidates, exercise
from t2s_engines.doctor.machine import Machine
from t2s_engines.doctor.verdicts import Verdict
from t2s_rt.backends import FakeSession
from t2s_rt.bundle import Bundle, GraphEntry, load_bundle
from t2s_rt.errors import BackendError, BundleError
from t2s_rt.plans import DeviceIdentity, EngineCache, EngineKey, Sidecar, SignOff

NO_GPU = Target(False, (), frozenset())
ORIN = Target(True, (10, 3, 0), frozenset({"8.7"}))
THOR = Target(True, (10, 13, 3, 9), frozenset({"11.0"}))
DEVICE = DeviceIdentity("Orin", (8, 7), 16, 32 << 30, True)


@pytest.fixture(scope="module")
def nano() -> Bundle:
    return load_bundle(verify=False)


def _said(bundle: Bundle, machine: Machine, target: Target, check: str) -> list[Verdict]:
    return [v for v in check_bundle(bundle, machine, target) if v.check == check]


def test_a_laptop_flies_fp32(nano: Bundle, tmp_path: Path) -> None:
    found = list(check_bundle(nano, laptop(tmp_path), NO_GPU))
    assert [v.check for v in found if v.level != "ok"] == ["bundle precision"]
    contents = next(v for v in found if v.check == "bundle").found
    assert "nano: detector fp32+fp16, mask_encoder fp32+fp16" in contents
    assert contents.endswith("opset 17")
    (advice,) = _said(nano, laptop(tmp_path), NO_GPU, "bundle precision")
    assert "float32" in advice.found and "fp32" in advice.do


def test_an_orin_under_jetpack_6_meets_its_own_faults(nano: Bundle, tmp_path: Path) -> None:
    said = "\n".join(v.found for v in _said(nano, orin(tmp_path), ORIN, "known fault"))
    assert "TensorRT#4723" in said and "mask_encoder fp16" in said
    assert "TensorRT#4813" not in said and "TensorRT#3413" not in said


def test_a_thor_is_told_of_grid_sample(nano: Bundle, tmp_path: Path) -> None:
    (fault,) = [
        v for v in _said(nano, thor(tmp_path), THOR, "known fault") if "TensorRT#4813" in v.found
    ]
    assert fault.level == "warning"
    assert fault.found.startswith("detector fp32+fp16: deformable attention through GridSample")
    assert "--deformable gather" in fault.do and "t2s-rt verify" in fault.do


def test_an_unknown_gpu_makes_a_fault_conditional(nano: Bundle, tmp_path: Path) -> None:
    target = Target(True, (10, 16, 1), frozenset())
    said = "\n".join(v.found for v in _said(nano, server(tmp_path), target, "known fault"))
    assert "(if this GPU is sm_120)" in said


def test_no_fault_is_no_proof(tmp_path: Path) -> None:
    bundle = load_bundle(write_tiny_bundle(tmp_path / "bundle"))
    target = Target(True, (10, 16, 1), frozenset({"7.5"}))
    (verdict,) = _said(bundle, server(tmp_path), target, "known faults")
    assert verdict.level == "ok" and "only t2s-rt verify" in verdict.found


def test_int8_of_opset_19_needs_tensorrt_10(nano: Bundle, tmp_path: Path) -> None:
    detector, *others = nano.manifest.graphs
    records = (replace(detector, precision="int8", target="tensorrt", opset=19), *others)
    entries = (
        replace(nano.graphs[0], precision="int8", target="tensorrt", opset=19),
        *nano.graphs[1:],
    )
    bundle = replace(nano, graphs=entries, manifest=replace(nano.manifest, graphs=records))
    old = Target(True, (8, 6, 2), frozenset({"8.7"}))
    (verdict,) = _said(bundle, orin(tmp_path), old, "bundle opset")
    assert verdict.level == "fails" and "detector int8 of opset 19" in verdict.found
    assert not _said(bundle, orin(tmp_path), ORIN, "bundle opset")
    (unfit,) = _said(bundle, laptop(tmp_path), NO_GPU, "bundle int8")
    assert "TensorRT only" in unfit.found


def _quantised(nano: Bundle, bits: int) -> Bundle:
    detector, *others = nano.manifest.graphs
    record = replace(detector, precision="int8", target="cpu", islands={"weight_bits": bits})
    entry = replace(nano.graphs[0], precision="int8", target="cpu")
    return replace(
        nano,
        graphs=(entry, *nano.graphs[1:]),
        manifest=replace(nano.manifest, graphs=(record, *others)),
    )


def test_weights_of_8_bits_saturate_without_vnni(nano: Bundle, tmp_path: Path) -> None:
    def machine(name: str, flags: str) -> Machine:
        return Machine(root=tree(tmp_path / name, LAPTOP, {"/proc/cpuinfo": f"flags : {flags}\n"}))

    old, new = machine("old", "avx2 fma"), machine("new", "avx2 fma avx_vnni")
    (verdict,) = _said(_quantised(nano, 8), old, NO_GPU, "bundle int8")
    assert verdict.level == "warning" and "saturate" in verdict.found
    assert "--weight-bits 7" in verdict.do
    assert not _said(_quantised(nano, 7), old, NO_GPU, "bundle int8")
    assert not _said(_quantised(nano, 8), new, NO_GPU, "bundle int8")


def test_a_bundle_larger_than_the_memory(nano: Bundle, tmp_path: Path) -> None:
    small = {"/proc/meminfo": "MemTotal: 4000 kB\nMemAvailable: 3000 kB\n"}
    machine = Machine(root=tree(tmp_path, LAPTOP, small))
    (verdict,) = _said(nano, machine, NO_GPU, "bundle memory")
    assert verdict.level == "warning" and "0.0 GB of memory are free" in verdict.found


def _store(bundle: Bundle, tensorrt: str = "10.3.0.30", plan: bytes = b"plan") -> Path:
    key = EngineKey.of(bundle.graph("mask_decoder"), tensorrt, DEVICE)
    folder = EngineCache().folder(key)
    folder.mkdir(parents=True)
    (folder / "engine.plan").write_bytes(plan)
    sidecar = Sidecar(
        key.as_record(), key.digest, hashlib.sha256(plan).hexdigest(), len(plan),
        "2026-11-25T00:00:00+00:00", 1.0, "test",
    )  # fmt: skip
    (folder / "engine.json").write_text(sidecar.to_json())
    return folder


def _sign(
    folder: Path, verdict: Literal["passed", "failed"], *faults: str, plan: str | None = None
) -> None:
    found = hashlib.sha256((folder / "engine.plan").read_bytes()).hexdigest()
    sign = SignOff(
        verdict=verdict, plan_sha256=plan or found, verified="2026-11-25T00:00:00+00:00",
        verifier="test", scenes=(), figures={}, floors={}, faults=faults,
    )  # fmt: skip
    (folder / "verified.json").write_text(sign.to_json())


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("T2S_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "engines"


def _engine(release: tuple[int, ...] = (10, 3, 0)) -> Verdict:
    return list(check_cache(release))[-1]


def test_an_engine_is_as_good_as_its_verdict(nano: Bundle, cache: Path) -> None:
    assert _engine().found == "none built yet" and "t2s-rt build" in _engine().do
    (cache / "timing").mkdir(parents=True)
    assert _engine().found == "none built yet"
    folder = _store(nano)
    assert _engine().level == "warning" and "infer refuses it" in _engine().found
    _sign(folder, "passed")
    assert _engine().level == "ok" and "verified 2026-11-25" in _engine().found
    _sign(folder, "failed", "box IoU 0.3 below 0.9")
    assert _engine().level == "fails" and "box IoU 0.3" in _engine().found
    assert _engine((11, 4, 1)).level == "note"
    (folder / "engine.plan").write_bytes(b"p")
    assert _engine().level == "warning" and "cut short" in _engine().found
    (folder / "engine.json").write_text("{")
    assert _engine().level == "warning" and "cannot be read" in _engine().found


def test_a_rebuilt_engine_is_not_vouched_for(nano: Bundle, cache: Path) -> None:
    folder = _store(nano)
    _sign(folder, "passed", plan="0" * 64)
    assert _engine().level == "warning" and "not verified" in _engine().found
    (folder / "verified.json").write_text("{")
    assert _engine().level == "warning" and _engine().do == "t2s-rt verify again"
    (folder / "engine.plan").unlink()
    assert _engine().level == "warning" and "no plan" in _engine().found


def test_a_cache_below_a_file_cannot_be_written(cache: Path) -> None:
    cache.parent.write_text("a file")
    verdict = next(check_cache(()))
    assert verdict.level == "warning" and "cannot be written" in verdict.found


def test_no_cache_folder_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("T2S_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", _homeless)
    (verdict,) = check_cache(())
    assert verdict.level == "warning" and "T2S_CACHE" in verdict.found


def _homeless() -> Path:
    raise RuntimeError("no home")


def test_the_smallest_graph_really_runs(nano: Bundle) -> None:
    entry = candidates(nano)[0]
    flying = {
        graph.role: sum(file.bytes for file in graph.files)
        for graph in nano.graphs
        if graph.precision == "fp32" and not graph.role.endswith("_text")
    }
    assert flying[entry.role] == min(flying.values())
    assert f"{entry.role} fp32 on onnxruntime-cpu" in exercise(nano, "onnxruntime-cpu")


def test_numbers_that_are_none_are_a_failure(nano: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    import t2s_engines.doctor.exercise as module

    entry = candidates(nano)[0]

    def spoiled(*_: object, **__: object) -> FakeSession:
        shape = [1 if isinstance(size, str) else size for size in entry.outputs[0].shape]
        return FakeSession(
            entry, lambda _: {entry.outputs[0].name: np.full(shape, np.nan, np.float32)}
        )

    monkeypatch.setattr(module, "open_session", spoiled)
    with pytest.raises(BackendError, match="not finite"):
        exercise(nano, "onnxruntime-cpu")


def test_a_gpu_backend_is_tried_with_whatever_engine_there_is(
    nano: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    from t2s_rt.backends import BACKENDS, BackendKind

    tried: list[str] = []

    def only_fp16(entry: GraphEntry, *_: object) -> FakeSession:
        tried.append(f"{entry.role} {entry.precision}")
        if entry.precision != "fp16":
            raise BackendError(f"no engine of {entry.role} {entry.precision}")
        shapes = [[1 if isinstance(s, str) else s for s in out.shape] for out in entry.outputs]
        names = [out.name for out in entry.outputs]
        arrays = {n: np.zeros(s, np.float32) for n, s in zip(names, shapes, strict=True)}
        return FakeSession(entry, lambda _: arrays)

    kind = BackendKind("engines", "json", "tensorrt", "gpu", only_fp16)
    monkeypatch.setitem(BACKENDS, "engines", kind)
    assert "fp16 on fake" in exercise(nano, "engines")
    assert {name.split()[1] for name in tried[:-1]} == {"fp32"}

    def none(entry: GraphEntry, *_: object) -> FakeSession:
        raise BackendError(f"no engine of {entry.role} {entry.precision}")

    monkeypatch.setitem(BACKENDS, "engines", BackendKind("engines", "json", "x", "gpu", none))
    first = candidates(nano)[0]
    with pytest.raises(BackendError, match=f"no engine of {first.role} fp32"):
        exercise(nano, "engines")


def test_a_bundle_without_a_graph_that_flies(nano: Bundle) -> None:
    with pytest.raises(BundleError, match="that flies"):
        candidates(replace(nano, graphs=()))


def test_a_broken_bundle_ends_with_3_after_all_other_verdicts(tmp_path: Path) -> None:
    found: Examination = examine(laptop(tmp_path), tmp_path / "nowhere")
    assert found.exit_code == 3
    assert found.verdicts[-1].level == "fails" and "nowhere" in found.verdicts[-1].found
    assert any(v.check == "processor" for v in found.verdicts)
    record = found.as_record()
    assert record["cpu"] == {"name": "onnxruntime-cpu", "works": False}
    assert record["exit_code"] == 3
