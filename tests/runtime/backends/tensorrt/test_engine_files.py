"""Which engines are loaded, and which are refused before TensorRT sees them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
from tests.doubles import Control, DeviceInfo, tensorrt_double
from tests.runtime.backends.tensorrt.engines import build_engine, open_engine, sign
from tests.runtime.backends.tensorrt.graphs import encode, image, write_decoder, write_encoder
from tests.runtime.backends.tensorrt.installation import installed

from t2s_rt.backends import BackendOptions, Session, choose_backend, open_session
from t2s_rt.bundle import GraphEntry
from t2s_rt.contracts import TensorSpec
from t2s_rt.errors import BackendError
from t2s_rt.plans import BuildOptions, EngineFiles


def _numbers(session: Session) -> None:
    found = session.run({"image": image(1)})["image_embedding"]
    np.testing.assert_array_equal(found, encode(image(1)))


def _loads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts what TensorRT is given to load."""
    kind: Any = sys.modules["tensorrt"].Runtime
    real, seen = kind.deserialize_cuda_engine, []

    def load(self: Any, plan: Any) -> Any:
        seen.append(len(bytes(plan)))
        return real(self, plan)

    monkeypatch.setattr(kind, "deserialize_cuda_engine", load)
    return seen


def _cut(files: EngineFiles) -> None:
    files.plan.write_bytes(files.plan.read_bytes()[:-9])


def _flip(files: EngineFiles) -> None:
    content = bytearray(files.plan.read_bytes())
    content[len(content) // 2] ^= 1
    files.plan.write_bytes(content)


def _remove(files: EngineFiles) -> None:
    files.plan.unlink()


def _spoil_sidecar(files: EngineFiles) -> None:
    (files.folder / "engine.json").write_text("{")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_cut, "expected SHA-256 .* found another size"),
        (_flip, "expected SHA-256 .*; run t2s-rt build again"),
        (_remove, "engine.plan: cannot be read"),
        (_spoil_sidecar, "expected an engine of mask_encoder fp32 .* found none"),
    ],
)
def test_damaged_engines_never_meet_tensorrt(
    double: Control,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[EngineFiles], None],
    message: str,
) -> None:
    entry = write_encoder(tmp_path)
    damage(build_engine(entry, tmp_path / "engines"))
    loaded = _loads(monkeypatch)
    with pytest.raises(BackendError, match=message):
        open_engine(entry, tmp_path / "engines", allow_unverified=True)
    assert not loaded


def test_an_engine_without_a_verdict(double: Control, tmp_path: Path) -> None:
    entry = write_encoder(tmp_path)
    files = build_engine(entry, tmp_path / "engines", verdict=None)
    with pytest.raises(BackendError, match=r"found none; run t2s-rt verify .*--allow-unverified"):
        open_engine(entry, tmp_path / "engines")
    with open_engine(entry, tmp_path / "engines", allow_unverified=True) as session:
        _numbers(session)
        assert "was not verified, used all the same" in session.describe()
        assert session.warnings == (
            "an engine was not verified, used all the same; run t2s-rt verify on this device",
        )
    sign(files.folder, files.sidecar.plan_sha256, "passed")
    with open_engine(entry, tmp_path / "engines") as session:
        assert session.warnings == ()
        assert "verified 2026-01-02" in session.describe()


def test_an_engine_that_failed_its_verification(double: Control, tmp_path: Path) -> None:
    entry = write_encoder(tmp_path)
    build_engine(entry, tmp_path / "engines", verdict="failed")
    with pytest.raises(BackendError, match=r"a failed one \(mask IoU 0.1 below 0.9\); run t2s-rt"):
        open_engine(entry, tmp_path / "engines")
    with open_engine(entry, tmp_path / "engines", allow_unverified=True) as session:
        assert "failed its verification" in session.warnings[0]


def test_the_verdict_on_another_plan_counts_for_nothing(double: Control, tmp_path: Path) -> None:
    entry = write_encoder(tmp_path)
    files = build_engine(entry, tmp_path / "engines", verdict=None)
    sign(files.folder, "f" * 64, "passed")
    with pytest.raises(BackendError, match="found none; run t2s-rt verify"):
        open_engine(entry, tmp_path / "engines")


def test_a_sidecar_that_lies_about_the_plan(double: Control, tmp_path: Path) -> None:
    """A plan of another graph under this graph's key is found out by its tensors."""
    entry = write_encoder(tmp_path)
    wrong = {
        "expected the outputs image_embedding, found other": _variant(tmp_path, "other"),
        "expected image_embedding as float32, found TensorRT's INT32": _variant(
            tmp_path, "image_embedding", onnx.TensorProto.INT32
        ),
    }
    for number, (message, graph) in enumerate(wrong.items()):
        root = tmp_path / f"engines{number}"
        build_engine(entry, root, graph=graph)
        with pytest.raises(BackendError, match=f"is not of the graph encoder.onnx: {message}"):
            open_engine(entry, root)


def _variant(folder: Path, output: str, kind: int = onnx.TensorProto.FLOAT) -> Path:
    """The encoder with another name or type of its output."""
    model = onnx.load(folder / "encoder.onnx")
    last = model.graph.node[-1]
    last.output[0] = "scaled"
    model.graph.node.append(onnx.helper.make_node("Cast", ["scaled"], [output], to=kind))
    model.graph.output[0].name = output
    model.graph.output[0].type.tensor_type.elem_type = kind
    path = folder / f"{output}.{kind}.onnx"
    onnx.save(model, str(path))
    return path


def test_a_graph_of_another_size(double: Control, tmp_path: Path) -> None:
    entry = write_encoder(tmp_path)
    output = TensorSpec("image_embedding", "float32", ("B", 3, 8, 9), "")
    other = replace(entry, outputs=(output,))
    build_engine(other, tmp_path / "engines", graph=entry.path)
    with pytest.raises(BackendError, match=r"expected image_embedding as \[B, 3, 8, 9\], found \["):
        open_engine(other, tmp_path / "engines")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"multiprocessors": 8}, "device.multiprocessors: expected 16, found 8"),
        ({"compute_capability": [8, 6]}, r"compute_capability: expected \[8, 7\], found \[8, 6\]"),
        ({"name": "Another GPU"}, 'device.name: expected "Double GPU .* found "Another GPU"'),
    ],
)
def test_an_engine_of_another_device(
    double: Control, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    entry = write_encoder(tmp_path)
    files = build_engine(entry, tmp_path / "engines")
    path = files.folder / "engine.json"
    record = json.loads(path.read_text())
    record["key"]["device"] |= change
    path.write_text(json.dumps(record))
    with pytest.raises(BackendError, match=f"{message}.*run t2s-rt build with this bundle"):
        open_engine(entry, tmp_path / "engines")


def test_an_engine_of_another_graph(double: Control, tmp_path: Path) -> None:
    entry = write_encoder(tmp_path)
    build_engine(entry, tmp_path / "engines")
    with pytest.raises(BackendError, match="graph: expected .* found .*; run t2s-rt build"):
        open_engine(replace(entry, sha256="1" * 64), tmp_path / "engines")
    with pytest.raises(BackendError, match="an engine of mask_decoder fp32 .* found none"):
        open_engine(write_decoder(tmp_path), tmp_path / "engines")


def test_an_engine_of_another_release(tmp_path: Path) -> None:
    entry = write_encoder(tmp_path)
    with installed("10.3"):
        build_engine(entry, tmp_path / "engines")
    message = 'tensorrt: expected "10.13.3.9", found "10.3.0"'
    with installed("10.13"), pytest.raises(BackendError, match=message):
        open_engine(entry, tmp_path / "engines")


def test_a_version_compatible_engine_in_a_later_release(tmp_path: Path) -> None:
    entry = write_encoder(tmp_path)
    with installed("10.3"):
        build_engine(entry, tmp_path / "engines", options=BuildOptions(version_compatible=True))
    with installed("10.13"), open_engine(entry, tmp_path / "engines") as session:
        _numbers(session)


def test_host_code_is_allowed_for_such_engines_alone(
    double: Control, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind: Any = sys.modules["tensorrt"].Runtime
    real, allowed = kind.deserialize_cuda_engine, []

    def load(self: Any, plan: Any) -> Any:
        allowed.append(self.engine_host_code_allowed)
        return real(self, plan)

    monkeypatch.setattr(kind, "deserialize_cuda_engine", load)
    entry = write_encoder(tmp_path)
    for number, compatible in enumerate((False, True)):
        root = tmp_path / f"engines{number}"
        build_engine(entry, root, options=BuildOptions(version_compatible=compatible))
        open_engine(entry, root).close()
    assert allowed == [False, True]


@pytest.mark.parametrize("release", ["10.3", "10.13", "11.4"])
def test_a_plan_without_weights_gets_the_graphs(tmp_path: Path, release: str) -> None:
    entry = write_encoder(tmp_path)
    with installed(release):
        stripped = build_engine(
            entry, tmp_path / "engines", options=BuildOptions(strip_weights=True)
        )
        assert stripped.sidecar.key["options"]["strip_weights"]
        with open_engine(entry, tmp_path / "engines") as session:
            _numbers(session)


def test_a_graph_that_lacks_weights_of_the_plan(double: Control, tmp_path: Path) -> None:
    entry = write_encoder(tmp_path)
    build_engine(entry, tmp_path / "engines", options=BuildOptions(strip_weights=True))
    model = onnx.load(entry.path)
    model.graph.initializer[0].name = "elsewhere"
    model.graph.node[-1].input[1] = "elsewhere"
    onnx.save(model, str(entry.path))
    message = r"cannot be given the weights of .*encoder.onnx \(.*\); run t2s-rt build again"
    with pytest.raises(BackendError, match=message) as caught:
        open_engine(entry, tmp_path / "engines")
    assert caught.tb is not None  # which keeps frames alive, but no engine
    assert not double.device.leaks()
    entry.path.unlink()
    with pytest.raises(BackendError, match="cannot be given the weights"):
        open_engine(entry, tmp_path / "engines")


def test_a_plan_without_weights_on_a_release_that_cannot_refit_it(tmp_path: Path) -> None:
    entry = write_encoder(tmp_path)
    with installed("8.6"):
        files = build_engine(entry, tmp_path / "engines")
        path = files.folder / "engine.json"
        record = json.loads(path.read_text())
        record["key"]["options"]["strip_weights"] = True
        path.write_text(json.dumps(record))
        with pytest.raises(BackendError, match="needs TensorRT 10 or newer, found 8.6.1; build"):
            open_engine(entry, tmp_path / "engines")


def test_an_engine_for_more_than_one_gpu(tmp_path: Path) -> None:
    entry = write_encoder(tmp_path)
    with tensorrt_double("10.13"):
        files = build_engine(entry, tmp_path / "engines")
        path = files.folder / "engine.json"
        record = json.loads(path.read_text())
        record["key"]["options"]["hardware_compatibility"] = "same_compute_capability"
        path.write_text(json.dumps(record))
    smaller = DeviceInfo(sm_count=8, name="Smaller")
    with (
        tensorrt_double("10.13", info=smaller),
        open_engine(entry, tmp_path / "engines") as session,
    ):
        _numbers(session)


def _graphs(entry: GraphEntry) -> Callable[[str], list[GraphEntry]]:
    return lambda device: [entry] if device == "gpu" else []


def test_auto_takes_tensorrt_where_verified_engines_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("T2S_CACHE", str(tmp_path))
    entry = write_encoder(tmp_path)
    graphs = _graphs(entry)
    with installed("10.13"):
        asked = choose_backend("auto")
        assert asked.kind.name == "onnxruntime-cpu"
        assert "no tensorrt, it runs engines of t2s-rt build, so it must be" in asked.reason
        assert "no engine of mask_encoder fp32 is built" in choose_backend("auto", graphs).reason
        files = build_engine(entry, tmp_path / "engines", verdict=None)
        assert "mask_encoder fp32 is verified" in choose_backend("auto", graphs).reason
        sign(files.folder, files.sidecar.plan_sha256, "passed")
        choice = choose_backend("auto", graphs)
        assert choice.kind.name == "tensorrt"
        with open_session(entry, choice, options=BackendOptions()) as session:
            assert session.backend == "tensorrt"
            assert "auto: the first choice" in session.describe()
    assert "tensorrt is not installed" in choose_backend("auto", graphs).reason
