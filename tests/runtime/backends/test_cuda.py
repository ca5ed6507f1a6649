"""The CUDA and TensorRT providers: through a double here, for real where there is a GPU."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.runtime.backends.builders import example, formula, why_not, write_entry
from tests.runtime.backends.foreign import Foreign
from tests.runtime.backends.gpu_double import KNOWN, DriverDouble, GpuDouble

from t2s_rt.backends import (
    BackendOptions,
    DeviceArray,
    OnnxRuntimeCudaSession,
    OnnxRuntimeTensorrtSession,
    open_session,
)
from t2s_rt.backends.onnxruntime import binding, cuda, providers
from t2s_rt.bundle import NANO_ROOT, GraphEntry, load_bundle
from t2s_rt.errors import BackendError, UsageError


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> DriverDouble:
    double = DriverDouble()
    monkeypatch.setattr(binding, "_driver", lambda index: double)
    return double


def use(monkeypatch: pytest.MonkeyPatch, **how: Any) -> GpuDouble:
    double = GpuDouble(**how)
    monkeypatch.setitem(sys.modules, "onnxruntime", double)
    return double


@pytest.fixture
def entry(tmp_path: Path) -> GraphEntry:
    return write_entry(tmp_path / "graph.onnx")


def test_numbers_kept_arrays_and_foreign_arrays(
    entry: GraphEntry,
    driver: DriverDouble,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    double = use(monkeypatch)
    feeds = example(3, 4)
    with OnnxRuntimeCudaSession(entry) as session:
        kept = session.run(feeds, keep=("chosen",))
        chosen = kept["chosen"]
        assert isinstance(chosen, DeviceArray)
        assert (chosen.device, chosen.stream) == ("cuda", None)
        assert chosen.__cuda_array_interface__["data"] == (chosen.pointer, False)
        np.testing.assert_array_equal(chosen.numpy(), formula(feeds)["chosen"])
        words: Any = Foreign(feeds["words"], stream=7)
        outputs = session.run({**feeds, "words": words})
        np.testing.assert_allclose(outputs["total"], formula(feeds)["total"], rtol=1e-6)
        assert driver.waited == [7]
        session.run({**feeds, "words": chosen})
        assert driver.waited == [7]  # ours is ready
    np.testing.assert_array_equal(chosen.rows(0, 1).numpy(), formula(feeds)["chosen"])
    assert double.preloaded == 1
    assert capfd.readouterr() == ("", "")


def test_the_providers_options(
    entry: GraphEntry, driver: DriverDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    double = use(monkeypatch)
    OnnxRuntimeCudaSession(entry, BackendOptions(memory_limit=1 << 30)).close()
    (name, options), cpu = double.sessions[0]
    assert (name, cpu) == ("CUDAExecutionProvider", "CPUExecutionProvider")
    assert options == {
        "device_id": "0",
        "arena_extend_strategy": "kSameAsRequested",
        "use_tf32": "0",
        "gpu_mem_limit": "1073741824",
    }


@pytest.mark.parametrize("keep", [(), ("total",)])
def test_a_cuda_graph_with_static_sizes(
    tmp_path: Path, driver: DriverDouble, monkeypatch: pytest.MonkeyPatch, keep: tuple[str, ...]
) -> None:
    """Buffers keep their addresses, and yet results belong to the caller."""
    double = use(monkeypatch)
    static = write_entry(tmp_path / "static.onnx", B=3, T=4)
    first, second = example(3, 4), {**example(3, 4), "words": np.ones((1, 4), np.float32)}
    session = OnnxRuntimeCudaSession(static, BackendOptions(cuda_graph=True))
    with session:
        assert double.sessions[0][0][1]["enable_cuda_graph"] == "1"
        assert ", CUDA graph" in session.describe()
        buffers = {n: v for n, kept in session._buffers.items() for v in kept.values()}
        a = session.run(first, keep=keep)
        words: Any = Foreign(second["words"])
        b = session.run({**second, "words": words}, keep=keep)
        assert all(session._buffers[n][tuple(v.shape())] is v for n, v in buffers.items())
        for outputs, feeds in ((a, first), (b, second)):
            for name, expected in formula(feeds).items():
                got: Any = outputs[name]
                got = got.numpy() if isinstance(got, DeviceArray) else got
                np.testing.assert_allclose(got, expected, rtol=1e-6)
    assert driver.copied == 16 + 2 * 48 * len(keep)


def test_no_cuda_graph_with_sizes_that_change(
    entry: GraphEntry, driver: DriverDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    double = use(monkeypatch)
    with OnnxRuntimeCudaSession(entry, BackendOptions(cuda_graph=True)) as session:
        assert "no CUDA graph: B, T may change" in session.describe()
        assert "enable_cuda_graph" not in double.sessions[0][0][1]
        for size in ((1, 4), (3, 2)):
            feeds = example(*size)
            np.testing.assert_allclose(session.run(feeds)["total"], formula(feeds)["total"], 1e-6)
    with pytest.raises(UsageError, match="cuda_graph or shrink_arena"):
        BackendOptions(cuda_graph=True, shrink_arena=True)


def test_the_audit_names_what_fell_back(
    entry: GraphEntry, driver: DriverDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, fallen=("ReduceMean", "Cast"))
    with OnnxRuntimeCudaSession(entry) as session:
        assert session.describe().endswith("5 nodes on CUDA, 3 on CPU (ReduceMean x1, 2 of shapes)")
    with pytest.raises(BackendError, match=r"every operator on the GPU, found .*ReduceMean x1"):
        OnnxRuntimeCudaSession(entry, BackendOptions(allow_cpu_fallback=False))
    use(monkeypatch, fallen=("Cast",))  # integers about shapes are no fallback
    OnnxRuntimeCudaSession(entry, BackendOptions(allow_cpu_fallback=False)).close()


def test_an_older_library_can_only_refuse(
    entry: GraphEntry, driver: DriverDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    double = use(monkeypatch, version="1.20.1", tells=False)
    session = OnnxRuntimeCudaSession(entry, BackendOptions(allow_cpu_fallback=False))
    with session:
        assert session.placement is None
        assert "placement not told" in session.describe()
    assert double.settings["session.disable_cpu_ep_fallback"] == "1"


def test_a_provider_that_does_not_come_up_says_what_the_loader_said(
    entry: GraphEntry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use(monkeypatch, loads=())
    folder = tmp_path / "capi"
    folder.mkdir()
    for name in (providers._SHARED, providers._FILES[providers.CUDA]):
        (folder / name).write_bytes(b"no library")
    monkeypatch.setattr(providers, "_library_folder", lambda: folder)
    with pytest.raises(BackendError) as caught:
        OnnxRuntimeCudaSession(entry)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith("onnxruntime-cuda: ONNX Runtime 1.31.1 cannot use its CUDAExecution")
    assert "providers_shared.so: " in text  # the loader's own line
    assert "t2s-rt doctor" in text


def test_a_provider_that_breaks_the_session_says_it_too(
    entry: GraphEntry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As TensorRT's does without its libraries; but a graph at fault stays the graph's fault."""
    use(monkeypatch)
    missing = dataclasses.replace(entry, path=tmp_path / "none.onnx")
    monkeypatch.setattr(cuda, "why_not_loaded", lambda name, index: "libnvinfer.so.10: not here")
    with pytest.raises(BackendError, match=r"cannot use its CUDA.* \(libnvinfer.so.10: not here\)"):
        OnnxRuntimeCudaSession(missing)
    monkeypatch.setattr(cuda, "why_not_loaded", lambda name, index: None)
    with pytest.raises(BackendError, match=r"none\.onnx: ONNX Runtime 1\.31\.1 cannot load"):
        OnnxRuntimeCudaSession(missing)


def test_a_package_without_the_provider_says_what_to_install(entry: GraphEntry) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("the installed onnxruntime has the CUDA provider")
    with pytest.raises(BackendError) as caught:
        OnnxRuntimeCudaSession(entry)
    text = str(caught.value)
    assert f"found onnxruntime {onnxruntime.__version__} with" in text
    assert "pip uninstall onnxruntime onnxruntime-gpu" in text
    assert "'t2s-rt[cuda]'" in text


def test_tensorrt_gets_profiles_and_a_cache_for_each_content(
    driver: DriverDouble, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    double = use(monkeypatch)
    monkeypatch.setenv("T2S_CACHE", str(tmp_path))
    bundle = load_bundle(NANO_ROOT)
    decoder = bundle.graph("mask_decoder")
    changed = dataclasses.replace(decoder, sha256="f" * 64)
    for item in (decoder, changed):
        with OnnxRuntimeTensorrtSession(item, BackendOptions(memory_limit=1 << 30)) as session:
            assert " on Tensorrt" in session.describe()
    (name, options), (second, _), third = double.sessions[0]
    assert [name, second, third] == [
        "TensorrtExecutionProvider",
        "CUDAExecutionProvider",
        "CPUExecutionProvider",
    ]
    assert options["trt_profile_min_shapes"] == "point_coords:1x1x2,point_labels:1x1"
    assert options["trt_profile_opt_shapes"] == "point_coords:32x2x2,point_labels:32x2"
    assert options["trt_profile_max_shapes"] == "point_coords:32x16x2,point_labels:32x16"
    assert options["trt_max_workspace_size"] == str(1 << 30)
    assert not any("fp16" in key or "int8" in key for key in options)
    folders = [Path(given[0][1]["trt_engine_cache_path"]) for given in double.sessions]
    assert folders[0] != folders[1]
    for folder in folders:
        assert folder.is_dir()
        assert folder.is_relative_to(tmp_path)
    timings = {given[0][1]["trt_timing_cache_path"] for given in double.sessions}
    assert timings == {str(folders[0].parent)}


def test_tensorrt_and_static_sizes(
    tmp_path: Path, driver: DriverDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    double = use(monkeypatch)
    monkeypatch.setenv("T2S_CACHE", str(tmp_path / "cache"))
    static = write_entry(tmp_path / "static.onnx", B=3, T=4)
    options = BackendOptions(cuda_graph=True)
    with OnnxRuntimeTensorrtSession(static, options) as session:
        feeds = example(3, 4)
        np.testing.assert_allclose(session.run(feeds)["total"], formula(feeds)["total"], 1e-6)
    given = double.sessions[0][0][1]
    assert given["trt_cuda_graph_enable"] == "1"
    assert not any("profile" in key for key in given)


def test_every_option_is_one_that_the_library_knows() -> None:
    """The double refuses others; this shows that it would."""
    assert "enable_cuda_graph" in KNOWN["CUDAExecutionProvider"]
    double = GpuDouble()
    with pytest.raises(RuntimeError, match="unknown provider options {'enable_cuda_graphs'}"):
        double.InferenceSession(
            "x",
            double.SessionOptions(),
            providers=[("CUDAExecutionProvider", {"enable_cuda_graphs": "1"})],
            enable_fallback=0,
        )
    with pytest.raises(RuntimeError, match="unknown session entry"):
        double.SessionOptions().add_session_config_entry("session.no_such", "1")


@pytest.mark.gpu
def test_a_real_gpu_gives_the_cpus_numbers_with_and_without_a_graph(tmp_path: Path) -> None:
    if reason := why_not("onnxruntime-cuda"):
        pytest.skip(f"needs a GPU backend: {reason}")
    encoder = load_bundle(NANO_ROOT).graph("mask_encoder")
    image = np.random.default_rng(0).integers(
        0, 256, [1 if isinstance(n, str) else n for n in encoder.inputs[0].shape], dtype=np.uint8
    )
    with open_session(encoder, "onnxruntime-cpu") as session:
        expected = session.run({"image": image})["image_embedding"]
    for graph in (False, True):
        options = BackendOptions(cuda_graph=graph, allow_cpu_fallback=False)
        with open_session(encoder, "onnxruntime-cuda", options=options) as session:
            for _ in range(3):
                kept = session.run({"image": image}, keep=("image_embedding",))
                array = kept["image_embedding"]
                assert isinstance(array, DeviceArray)
                np.testing.assert_allclose(array.numpy(), expected, atol=1e-3)
