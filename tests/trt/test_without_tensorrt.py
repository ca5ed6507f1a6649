"""What a user reads where the bindings import and the library or the driver behind them is missing.

The bindings are the genuine ones: their error is NVIDIA's own, and so is cuda-python's.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.trt.genuine import RELEASES, Genuine

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _no_driver(genuine: Genuine, tmp_path: Path) -> None:
    """These messages are those of a machine without a GPU."""
    table = tmp_path / "nothing.json"
    table.write_text("[]", encoding="utf-8")
    if genuine.cuda("calls", str(table)) is None:
        pytest.skip("a GPU is here: its driver is not missing")


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(
    ("cuda", "command", "expected"),
    [
        # a GPU answers, TensorRT gives null pointers: the builder's message
        ("double", "build", ("factory function returned nullptr", "t2s-rt doctor")),
        # no driver: CUDA is asked first, and says so
        ("genuine", "build", ("cudaErrorInsufficientDriver", "install the driver")),
        ("genuine", "infer", ("cudaErrorInsufficientDriver", "onnxruntime-cpu")),
    ],
)
def test_one_line_says_what_is_missing_and_what_to_do(
    genuine: Genuine,
    tmp_path: Path,
    example_scene: Path,
    release: str,
    cuda: str,
    command: str,
    expected: tuple[str, ...],
) -> None:
    arguments = {
        "build": ["build", "--cache", str(tmp_path / "engines")],
        "infer": [
            *("infer", str(example_scene), "--prompts", "building"),
            *("--backend", "tensorrt", "-o", str(tmp_path / "maps")),
        ],
    }[command]
    done = subprocess.run(
        [sys.executable, "-m", "tests.trt.genuine_cli"]
        + [str(genuine.folder), RELEASES[release], cuda, *arguments],
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1", "T2S_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 5, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    for words in expected:
        assert words in done.stderr
    assert not list(tmp_path.rglob("*.plan"))


@pytest.mark.parametrize("release", RELEASES)
def test_the_backends_runtime_says_the_same(genuine: Genuine, release: str) -> None:
    code = (
        "import sys; from tests.trt.probe import load_genuine; "
        "sys.modules['tensorrt'] = load_genuine(sys.argv[1], sys.argv[2]); "
        "from t2s_rt.backends.tensorrt.library import load_library; "
        "library = load_library(); print(library.version); library.create_runtime()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(genuine.folder), RELEASES[release]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == RELEASES[release]
    assert "BackendError" in done.stderr
    assert "there is no usable NVIDIA driver" in done.stderr
    assert "factory function returned nullptr" in done.stderr
