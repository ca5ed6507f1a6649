"""What ``t2s-rt build`` prints, and how it ends."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.doubles import Control, tensorrt_double
from tests.engines.build.conftest import Run

from t2s_rt.plans import EngineCache, SignOff

pytest.importorskip("onnx", reason="the doubles read graphs with onnx")

ROLES = ("--roles", "clip_image,mask_decoder")


@pytest.fixture
def double() -> Iterator[Control]:
    with tensorrt_double("10.13") as control:
        yield control


def test_a_table_in_a_pipe_and_what_to_do_next(
    double: Control, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("T2S_CACHE", str(tmp_path))
    done = run(*ROLES)
    assert done.exit_code == 0, done.stderr
    root = tmp_path / "engines"
    assert done.stdout.splitlines()[:3] == [
        "TensorRT: 10.13.3.9",
        "device: Double GPU (simulated) (sm_87)",
        f"cache: {root}",
    ]
    lines = [line.split("\t") for line in done.stdout.splitlines()[3:]]
    assert lines[0][1:] == [
        "role", "precision", "result", "seconds", "size", "verified", "folder"
    ]  # fmt: skip
    assert [line[1:4] for line in lines[1:3]] == [
        ["mask_decoder", "fp16", "built"],
        ["clip_image", "fp16", "built"],
    ]
    for line in lines[1:3]:
        assert (root / line[7] / "engine.plan").is_file()
        assert float(line[4]) >= 0 and line[5].endswith("MB") and line[6] == "no"
    last = "2 of 2 not verified, and infer refuses those; run: t2s-rt verify"
    assert lines[3] == [last + " --roles clip_image,mask_decoder"]
    assert "\x1b" not in done.output
    assert done.stderr.splitlines() == ["mask_decoder fp16: building", "clip_image fp16: building"]
    again = run(*ROLES)
    assert again.stderr == ""
    assert [line.split("\t")[3] for line in again.stdout.splitlines()[4:6]] == [
        "was there already"
    ] * 2


def test_the_next_command_verifies_these_very_engines(
    double: Control, run: Run, tmp_path: Path
) -> None:
    root = tmp_path / "my engines"
    done = run("--json", "--roles", "clip_image", "--precision", "fp32", "--cache", root)
    assert json.loads(done.stdout)["next"] == (
        f"t2s-rt verify --roles clip_image --cache '{root}' --precision fp32"
    )
    assert f"name the folder to infer too: --cache {root}" in done.stderr


def test_a_verdict_is_shown(double: Control, run: Run, tmp_path: Path) -> None:
    run("--roles", "clip_image", "--cache", tmp_path)
    (engine,) = EngineCache(tmp_path).engines()
    for verdict in ("failed", "passed"):
        report = SignOff(
            verdict,
            engine.sidecar.plan_sha256,
            "2026-11-25T00:00:00+00:00",
            "test",
            ({"name": "empty", "sha256": "0" * 64, "synthetic": True},),
            {},
            {},
        )
        (engine.folder / "verified.json").write_text(report.to_json())
        done = run("--roles", "clip_image", "--cache", tmp_path)
        assert done.stdout.splitlines()[4].split("\t")[6] == verdict
        assert ("not verified" in done.stdout) == (verdict == "failed")
    (engine.folder / "verified.json").write_text("{")
    assert "\tno\t" in run("--roles", "clip_image", "--cache", tmp_path).stdout
    forced = run("--roles", "clip_image", "--cache", tmp_path, "--force")
    assert "\tno\t" in forced.stdout and not (engine.folder / "verified.json").exists()


def test_exit_codes(
    double: Control, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.touch()
    for code, text, arguments in (
        (2, "--target goes with --dry-run", ["--target", "10.13"]),
        (2, "choose another with --cache", [*ROLES, "--cache", file]),
        (2, "found eyes", ["--roles", "eyes"]),
        (3, "int8 for tensorrt", ["--precision", "int8"]),
        (3, "bundle.json", ["--bundle", tmp_path]),
    ):
        done = run(*arguments)
        assert done.exit_code == code and text in done.stderr, done.stderr
        assert done.stdout == "" and "Traceback" not in done.stderr
    double.fails = "no kernel"
    done = run(*ROLES, "--cache", tmp_path / "engines")
    assert done.exit_code == 5 and "no kernel" in done.stderr.splitlines()[-1]
    double.fails, double.no_driver = "", True
    done = run(*ROLES, "--cache", tmp_path / "engines")
    assert done.exit_code == 5 and "returned nullptr" in done.stderr
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    done = run(*ROLES)
    assert done.exit_code == 5 and "t2s-rt[tensorrt]" in done.stderr


def test_all_there_in_a_cache_that_cannot_be_written(
    double: Control, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("--roles", "clip_image", "--cache", tmp_path).exit_code == 0

    def read_only(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(30, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "touch", read_only)
    done = run("--roles", "clip_image", "--cache", tmp_path)
    assert done.exit_code == 0 and "was there already" in done.stdout
    done = run(*ROLES, "--cache", tmp_path)
    assert done.exit_code == 2 and "Read-only file system" in done.stderr
