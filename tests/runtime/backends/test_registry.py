"""Choosing a backend, and ONNX Runtime's own failures."""

from __future__ import annotations

import builtins
import dataclasses
import gc
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.runtime.bundle.tiny import write_tiny_bundle

from t2s_rt.backends import (
    BACKENDS,
    AutoBackend,
    BackendOptions,
    choose_backend,
    open_session,
    registry,
)
from t2s_rt.bundle import GraphEntry, load_bundle
from t2s_rt.errors import BackendError, BundleError, MissingExtraError, UsageError


@pytest.fixture(scope="module")
def entry(tmp_path_factory: pytest.TempPathFactory) -> GraphEntry:
    return load_bundle(write_tiny_bundle(tmp_path_factory.mktemp("tiny"))).graph("clip_text")


IDS = {"input_ids": np.zeros((2, 6), np.int32)}


def test_auto_says_why(entry: GraphEntry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "provider_missing", lambda name: "no provider")
    choice = choose_backend("auto")
    assert choice.kind.name == "onnxruntime-cpu"
    assert choice.reason.startswith("auto: no tensorrt, ")
    assert choice.reason.endswith("; no onnxruntime-cuda, no provider")
    with open_session(entry) as session:
        assert session.backend == "onnxruntime-cpu"
        assert "no onnxruntime-cuda" in session.describe()
    with open_session(entry, "onnxruntime-cpu") as session:
        assert "asked for" in session.describe()


def test_auto_takes_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "provider_missing", lambda name: None)
    monkeypatch.setattr(registry, "device_missing", lambda: None)
    choice = choose_backend()
    assert (choice.kind.name, choice.kind.device) == ("onnxruntime-cuda", "gpu")
    monkeypatch.setattr(registry, "device_missing", lambda: "there is no NVIDIA device")
    choice = choose_backend()
    assert choice.kind.name == "onnxruntime-cpu"
    assert choice.reason.endswith("; no onnxruntime-cuda, there is no NVIDIA device")
    assert choose_backend("onnxruntime-cuda").kind.device == "gpu"  # asked for: it will say more
    assert choose_backend("onnxruntime-tensorrt").reason == "asked for"


def test_a_backend_may_wait_for_its_engines(
    entry: GraphEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def unready(graphs: registry.Graphs | None, engines: Path | None) -> str | None:
        if graphs is None:
            return "nobody says which graphs"
        asked.extend(graph.role for graph in graphs("gpu"))
        return None

    cpu = registry.BACKENDS["onnxruntime-cpu"]
    eager = dataclasses.replace(cpu, name="eager", unready=unready)
    monkeypatch.setattr(registry, "BACKENDS", {"eager": eager, cpu.name: cpu})
    assert choose_backend().reason == "auto: no eager, nobody says which graphs"
    choice = choose_backend("auto", lambda device: [entry])
    assert (choice.kind.name, asked) == ("eager", ["clip_text"])
    with open_session(entry, choice) as session:
        assert "(auto: the first choice)" in session.describe()


def test_text_encoders_go_to_the_cpu_where_a_backend_has_none(entry: GraphEntry) -> None:
    choice = AutoBackend(BACKENDS["onnxruntime-tensorrt"], "asked for")
    with open_session(entry, choice) as session:
        assert session.backend == "onnxruntime-cpu"
        assert "onnxruntime-tensorrt runs no text encoders" in session.describe()


def test_an_installed_package_without_the_provider_is_said(
    entry: GraphEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "provider_missing", lambda name: "there is no provider")
    with pytest.raises(BackendError, match=r"no provider; .*overwrite each other.*t2s-rt\[cuda\]"):
        open_session(entry, "onnxruntime-cuda")


def test_choosing_loads_no_library() -> None:
    code = (
        "import sys; from t2s_rt.backends import choose_backend; choose_backend(); "
        "sys.exit(bool({'onnxruntime', 'tensorrt', 'cuda'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "wrong", [{"threads": 0}, {"memory_limit": 0}, {"device_index": -1}, {"threads": -3}]
)
def test_options_out_of_range(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=f"expected {next(iter(wrong))} of at least"):
        BackendOptions(**wrong)  # type: ignore[arg-type]


def test_unknown_names_list_the_known_ones(entry: GraphEntry) -> None:
    with pytest.raises(UsageError, match="auto, .*onnxruntime-cpu, found 'abacus'"):
        open_session(entry, "abacus")


def test_a_backend_that_is_not_installed_names_its_extra(
    entry: GraphEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 't2s-rt\[cpu\]'"):
        open_session(entry, "onnxruntime-cpu")
    with pytest.raises(BackendError, match=r"no backend is installed; run: .*t2s-rt\[cpu\]"):
        open_session(entry)


def test_an_import_that_fails_names_the_extra(
    entry: GraphEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "onnxruntime":
            raise ImportError("libgomp.so.1: cannot open shared object file")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingExtraError) as caught:
        open_session(entry, "onnxruntime-cpu")
    assert caught.value.extra == "cpu"
    assert "libgomp" in str(caught.value.__cause__)


@pytest.mark.parametrize("threads", [0, -2])
def test_threads_below_one(entry: GraphEntry, threads: int) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        open_session(entry, threads=threads)


def test_threads_change_no_number(entry: GraphEntry) -> None:
    results = []
    for threads in (1, 2, None):
        with open_session(entry, threads=threads) as session:
            results.append(session.run(IDS)["embeddings"])
    np.testing.assert_allclose(results[0], results[1], atol=1e-6)
    np.testing.assert_allclose(results[0], results[2], atol=1e-6)


@pytest.mark.parametrize("content", [b"", b"no graph", b"\x08\x08\x12" * 50])
def test_broken_files_are_backend_errors(
    entry: GraphEntry, tmp_path: Path, content: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(BackendError, match=r"broken\.onnx: ONNX Runtime .* cannot load") as caught:
        open_session(dataclasses.replace(entry, path=path))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_missing_file_is_a_backend_error(entry: GraphEntry, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="cannot load"):
        open_session(dataclasses.replace(entry, path=tmp_path / "none.onnx"))


def test_a_failing_run_is_a_backend_error(
    entry: GraphEntry, capfd: pytest.CaptureFixture[str]
) -> None:
    feeds = {"input_ids": np.full((1, 6), 10_000, np.int32)}  # beyond the table: Gather fails
    with open_session(entry) as session:
        with pytest.raises(BackendError, match="clip_text: ONNX Runtime failed") as caught:
            session.run(feeds)
        assert "\n" not in str(caught.value)
        assert session.run(IDS)["embeddings"].shape == (2, 3)  # and goes on working
    assert capfd.readouterr() == ("", "")


def test_a_file_that_is_not_what_the_manifest_says(entry: GraphEntry) -> None:
    renamed = dataclasses.replace(entry.outputs[0], name="vectors")
    with pytest.raises(BundleError, match=r"promises the outputs vectors .* has embeddings"):
        open_session(dataclasses.replace(entry, outputs=(renamed,)))


def test_the_library_session_is_freed(entry: GraphEntry) -> None:
    session = open_session(entry, "onnxruntime-cpu")
    inner = weakref.ref(vars(session)["_session"])
    session.close()
    gc.collect()
    assert inner() is None


def test_shrinking_the_arena_changes_no_number(entry: GraphEntry) -> None:
    with open_session(entry, "onnxruntime-cpu") as session:
        expected = session.run(IDS)["embeddings"]
    options = BackendOptions(shrink_arena=True)
    with open_session(entry, "onnxruntime-cpu", options=options) as session:
        np.testing.assert_array_equal(session.run(IDS)["embeddings"], expected)
