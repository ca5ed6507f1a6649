"""mypy --strict of everything of ours that imports tensorrt, against the genuine signatures."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.needs import unmet
from tests.trt.genuine import RELEASES, Genuine
from tests.trt.stubs import generate

ROOT = Path(__file__).parents[2]
SOURCES = ("runtime", "export", "engines", "calibration", "bench")

OURS = tuple(
    sorted(
        path.relative_to(ROOT).as_posix()
        for root in SOURCES
        for path in (ROOT / root).rglob("*.py")
        if re.search(r"\bimport tensorrt\b", path.read_text(encoding="utf-8"))
    )
)
"""Found, not listed: a new file cannot be forgotten."""

ONLY_10 = frozenset({"engines/t2s_engines/build/legacy.py"})
"""Written for TensorRT 8.6, of which no bindings are at hand; 11 lost its names, 10 has them."""

RIGHT = """
import numpy as np
import tensorrt as trt


class Progress(trt.IProgressMonitor):
    def __init__(self) -> None:
        super().__init__()

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        pass

    def step_complete(self, phase_name: str, step: int) -> bool:
        return True

    def phase_finish(self, phase_name: str) -> None:
        pass


def build(content: bytes, folder: str) -> bytes:
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(content, folder):
        raise ValueError([parser.get_error(i).desc() for i in range(parser.num_errors)])
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, 1 << 30)
    config.builder_optimization_level = 3
    config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.NONE
    config.progress_monitor = Progress()
    profile = builder.create_optimization_profile()
    profile.set_shape("x", (1, 3), (2, 3), [4, 3])
    config.add_optimization_profile(profile)
    cache = config.create_timing_cache(b"")
    if cache is not None:
        config.set_timing_cache(cache, ignore_mismatch=False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ValueError("no plan")
    return bytes(plan)


def run(content: bytes, stream: int) -> tuple[int, ...]:
    with trt.Runtime(trt.Logger()) as runtime:
        engine = runtime.deserialize_cuda_engine(content)
    if engine is None:
        raise ValueError("no engine")
    context = engine.create_execution_context()
    if context is None:
        raise ValueError("no context")
    context.set_input_shape("x", (2, 3))
    context.set_tensor_address("x", 0)
    if not context.execute_async_v3(stream):
        raise ValueError("not enqueued")
    kind: type = trt.nptype(engine.get_tensor_dtype("x"))
    refitter = trt.Refitter(engine, trt.Logger())
    refitter.set_named_weights("w", np.zeros(3, np.float32))
    return (*context.get_tensor_shape("y"), np.dtype(kind).itemsize)
"""

WRONG = """
import tensorrt as trt


def mistakes(builder: trt.Builder, engine: trt.ICudaEngine, runtime: trt.Runtime) -> None:
    config = builder.create_builder_config()
    builder.create_network(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)  # unshifted
    builder.create_network(1 << trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)  # no int
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, 1e9)  # float
    config.set_memory_pool_limit(0, 1 << 30)  # no enum
    config.max_workspace_size = 1 << 30  # gone since 10
    config.set_flags(trt.BuilderFlag.REFIT)  # never existed
    config.progress_monitor = object()  # no monitor
    config.builder_optimization_level = "3"  # text
    config.hardware_compatibility_level = 1  # no enum
    bytes(builder.build_serialized_network(builder.create_network(0), config))  # may be None
    runtime.deserialize_cuda_engine("file.plan")  # text
    engine.get_binding_index("x")  # gone since 10
    engine.get_tensor_name("x")  # text
    len(engine)  # has no length
    context = runtime.deserialize_cuda_engine(b"").create_execution_context()  # may be None
    if context is None:
        return
    context.execute_async_v3(None)  # no stream
    context.execute_async_v3(stream=0)  # another parameter
    context.set_tensor_address("x", 5.0)  # float
    context.set_input_shape("x", 5)  # no shape
    trt.ISerialisationConfig  # misspelt
"""


def lines_of(code: str) -> set[int]:
    """Numbers of the lines that say what is wrong with them."""
    return {n for n, line in enumerate(code.splitlines(), 1) if "  # " in line}


Found = dict[str, dict[int, str]]
REPORTS: dict[str, Found] = {}


@pytest.fixture(scope="module", params=RELEASES)
def found(
    request: pytest.FixtureRequest, genuine: Genuine, tmp_path_factory: pytest.TempPathFactory
) -> Found:
    """What mypy says about our files, two samples and the stub itself, by file and line."""
    if find_spec("mypy") is None:
        unmet("mypy is not installed; run: pip install '.[dev]'")
    release = str(request.param)
    folder = tmp_path_factory.mktemp(f"types-{release}")
    stub = generate(genuine, release, folder)
    shutil.rmtree(folder / "raw")
    for name, code in (("right.py", RIGHT), ("wrong.py", WRONG)):
        (folder / name).write_text(code, encoding="utf-8")
    ours = [name for name in OURS if release.startswith("10") or name not in ONLY_10]
    roots = [str(ROOT / source) for source in SOURCES]
    lines = [
        "[mypy]",
        "strict = true",
        "python_version = 3.10",
        "explicit_package_bases = true",
        "namespace_packages = true",
        "follow_imports = silent",
        # our normal run knows nothing about tensorrt: what it needs may be superfluous here
        "warn_unused_ignores = false",
        "warn_redundant_casts = false",
        f"mypy_path = {':'.join([str(folder), *roots])}",
        "[mypy-cuda.*,onnxruntime.*,rasterio.*,pyogrio.*,shapely.*,scipy.*,psutil.*,affine.*]",
        "ignore_missing_imports = true",
    ]
    (folder / "mypy.ini").write_text("\n".join(lines), encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--config-file", str(folder / "mypy.ini")]
    cache = str(folder.parent / "mypy-cache")
    done = subprocess.run(
        [*command, "--output", "json", "--cache-dir", cache]
        + [str(stub), str(folder / "right.py"), str(folder / "wrong.py"), *ours],
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1) and not done.stderr, done.stdout + done.stderr
    report: Found = defaultdict(dict)
    for line in done.stdout.splitlines():
        entry = json.loads(line)
        if entry["severity"] == "error":
            path = Path(entry["file"])
            key = path.name if path.is_relative_to(folder) else path.as_posix()
            report[key].setdefault(entry["line"], entry["message"])
    return report


def test_the_stub_itself_is_sound(found: Found) -> None:
    assert not found.get("__init__.pyi")


def test_a_correct_backend_passes(found: Found) -> None:
    assert not found.get("right.py")


def test_every_planted_mistake_is_reported(found: Found) -> None:
    assert found.get("wrong.py", {}).keys() == lines_of(WRONG)


def test_our_own_files_pass(found: Found) -> None:
    # the backend and the builder say what they call by its type; otherwise nothing is checked
    parts = {Path(name).parent.as_posix() for name in OURS}
    assert {"runtime/t2s_rt/backends/tensorrt", "engines/t2s_engines/build"} <= parts
    ours = {name: lines for name, lines in found.items() if name in OURS}
    assert not ours
