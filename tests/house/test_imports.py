"""What start-up may load: checked in fresh processes, where nothing is imported yet."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"torch", "onnx", "tensorrt", "matplotlib", "scipy"}
NOT_FOR_HELP = HEAVY | {"numpy", "cv2", "rasterio", "onnxruntime", "tokenizers", "shapely"}

_REPORT = """
import json, sys
sys.argv = ["t2s-rt", *{arguments!r}]
from t2s_rt.cli.main import main
code = 0
try:
    main()
except SystemExit as stop:
    code = stop.code
roots = sorted({{name.partition(".")[0] for name in sys.modules}})
print("\\n@@" + json.dumps([code or 0, roots]))
"""


def _run(arguments: list[str]) -> tuple[int, set[str]]:
    script = _REPORT.format(arguments=arguments)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False
    )
    assert "@@" in done.stdout, done.stderr
    code, roots = json.loads(done.stdout.rpartition("@@")[2])
    return int(code), set(roots)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["infer", "--help"], ["build", "--help"], ["--version"]]
)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code, loaded = _run(arguments)
    assert code == 0
    assert not loaded & NOT_FOR_HELP


def test_infer_loads_neither_torch_nor_onnx(tmp_path: Path, example_scene: Path) -> None:
    code, loaded = _run(
        ["infer", str(example_scene), "--prompts", "building, road", "-o", str(tmp_path / "map")]
    )
    assert code == 0
    assert "onnxruntime" in loaded
    assert not loaded & HEAVY
