"""``t2s-rt build --dry-run``: what it prints, with and without TensorRT, a GPU and onnx."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.doubles import tensorrt_double
from tests.engines.build.conftest import Run

from t2s_engines.build.dry_run import UNKNOWN_DEVICE, UNKNOWN_VERSION
from t2s_rt.bundle import Bundle
from t2s_rt.models import IMAGE_ROLES

_ALONE = """
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorrt", "cuda", "onnx", "torch", "onnxruntime"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Nothing())
sys.argv = ["t2s-rt", "build", "--dry-run", *sys.argv[1:]]
from t2s_rt.cli.main import main
main()
"""


def alone(folder: Path, *arguments: str) -> str:
    """The command where none of the big packages can be imported."""
    done = subprocess.run(
        [sys.executable, "-c", _ALONE, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def rows(text: str, title: str) -> list[list[str]]:
    lines = [line.split("\t") for line in text.splitlines()]
    return [line[1:] for line in lines if line[0] == title][1:]


def test_with_nothing_installed(tmp_path: Path) -> None:
    text = alone(tmp_path)
    assert "\x1b" not in text
    assert "strongly typed" in text
    assert "'tensorrt', which is not installed" in text
    assert [row[:2] for row in rows(text, "engine")] == [[role, "fp16"] for role in IMAGE_ROLES]
    profiles = {(row[0], row[1]): row[2:] for row in rows(text, "profile")}
    assert profiles["detector fp16", "position_ids"] == ["1x1", "1x32", "1x256"]
    assert profiles["mask_decoder fp16", "image_embedding"][0] == "static"
    keys = rows(text, "cache key")
    assert len(keys) == len(IMAGE_ROLES)
    for name, folder, digest, tensorrt, device in keys:
        assert folder == f"{name}.<digest>" and len(digest) == 64
        assert (tensorrt, device) == (UNKNOWN_VERSION, UNKNOWN_DEVICE)
    assert all("onnx is not installed" in row[1] for row in rows(text, "preflight"))
    commands = [line for line in text.splitlines() if line.startswith("trtexec ")]
    assert len(commands) == len(IMAGE_ROLES)
    for command in commands:
        assert "--stronglyTyped" in command and "--fp16" not in command
        assert Path(shlex.split(command)[1].partition("=")[2]).is_file()


def test_for_8_6_with_nothing_installed(tmp_path: Path) -> None:
    text = alone(tmp_path, "--target", "8.6", "--roles", "mask_encoder,clip_image")
    assert "weakly typed" in text and "OBEY_PRECISION_CONSTRAINTS" in text
    lines = text.splitlines()
    commands = [index for index, line in enumerate(lines) if line.startswith("trtexec ")]
    assert len(commands) == 2
    for index in commands:
        assert "--fp16" in lines[index] and "stronglyTyped" not in lines[index]
        assert "--layerPrecisions" in lines[index - 1] and lines[index - 1].startswith("# ")


def test_for_8_6_the_islands_are_listed_where_onnx_is_installed(run: Run, nano: Bundle) -> None:
    pytest.importorskip("onnx")
    text = run("--dry-run", "--target", "8.6", "--roles", "clip_image").stdout
    (command,) = (line for line in text.splitlines() if line.startswith("trtexec "))
    (spec,) = (word for word in shlex.split(command) if word.startswith("--layerPrecisions="))
    layers = spec.partition("=")[2].split(",")
    assert all(layer.endswith(":fp32") for layer in layers)
    islands = next(
        graph.islands["rules"]
        for graph in nano.manifest.graphs
        if (graph.role, graph.precision) == ("clip_image", "fp16")
    )
    assert sum("Softmax" in layer for layer in layers) == islands["softmax"]
    assert sum("LayerNormalization" in layer for layer in layers) == islands["normalisation"]
    assert not any("MatMul" in layer for layer in layers)


def test_8_6_is_told_of_float16_weights_in_a_float32_graph(run: Run) -> None:
    pytest.importorskip("onnx")
    arguments = ("--dry-run", "--roles", "clip_image", "--precision", "fp32", "--target")
    assert "--fp16 --precisionConstraints=obey" in run(*arguments, "8.6").stdout
    assert "--fp16" not in run(*arguments, "10.3").stdout


def test_the_preflight_speaks_where_onnx_is_installed(run: Run) -> None:
    pytest.importorskip("onnx")
    for target, table in (("8.6", "8.6"), ("10.3", "10.1"), ("10.16", "10.16"), ("11.4", "11.1")):
        text = run("--dry-run", "--target", target, "--roles", "clip_image").stdout
        assert rows(text, "preflight") == [
            ["clip_image fp16", f"passes by the table of TensorRT {table}"]
        ]


def test_the_real_key_where_tensorrt_and_a_gpu_are_present(run: Run) -> None:
    with tensorrt_double("10.13"):
        plan = json.loads(run("--dry-run", "--json", "--roles", "clip_image").stdout)
        built = json.loads(run("--json", "--roles", "clip_image").stdout)
    assert plan["tensorrt"]["version"] == "10.13.3.9"
    assert plan["engines"][0]["folder"] == built["engines"][0]["folder"]
    assert plan["engines"][0]["key"]["device"]["compute_capability"] == [8, 7]


def test_json_says_what_the_text_says(run: Run) -> None:
    done = run("--dry-run", "--json", "--target", "11.4", "--workspace", 512, "--strip-weights")
    plan: dict[str, Any] = json.loads(done.stdout)
    assert plan["tensorrt"] == {"release": "11.4", "version": None, "strongly_typed": True}
    assert plan["options"]["workspace"] == 512 << 20
    engine = plan["engines"][0]
    assert engine["key"]["options"]["strip_weights"] is True
    assert engine["key"]["device"] == UNKNOWN_DEVICE
    assert "--stripWeights" in engine["trtexec"]
    assert engine["key"]["graph"] in run("--dry-run", "--target", "11.4").stdout


def test_another_release_than_the_installed_one_gets_placeholders(run: Run) -> None:
    with tensorrt_double("10.13"):
        plan = json.loads(run("--dry-run", "--json", "--target", "8.6").stdout)
    assert plan["tensorrt"]["version"] is None
    assert plan["unknown"] == "TensorRT 10.13.3.9 is installed, and 8.6 was asked for"


def test_without_a_usable_gpu_the_plan_is_still_told(run: Run) -> None:
    with tensorrt_double("10.13") as double:
        double.device.fail["cudaSetDevice"] = 100
        plan = json.loads(run("--dry-run", "--json", "--roles", "clip_image").stdout)
    assert plan["device"] is None and "cudaErrorNoDevice" in plan["unknown"]
    assert plan["engines"][0]["key"]["tensorrt"] == "10.13.3.9"
    assert plan["engines"][0]["digest"] == "<digest>"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--target", "10.3"], "--target goes with --dry-run only"),
        (["--dry-run", "--target", "7.2"], "expected a TensorRT release"),
        (["--dry-run", "--roles", "eyes"], "found eyes"),
        (["--dry-run", "--precision", "int8"], None),
    ],
)
def test_usage(run: Run, arguments: list[str], text: str | None) -> None:
    done = run(*arguments)
    assert done.exit_code == (2 if text else 3)
    assert done.stderr.startswith("error: ") and (text or "int8 for tensorrt") in done.stderr
    assert len(done.stderr.splitlines()) == 1
