"""The command: lines in a pipe, JSON, exit codes; in processes without the libraries."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.runtime.bundle.tiny import write_tiny_bundle

from t2s_engines.doctor.packages import LEAST_ONNXRUNTIME
from t2s_engines.doctor.versions import show_version
from t2s_rt.cli.main import cli

_REPORT = """
import json, sys
for name in {blocked!r}:
    sys.modules[name] = None
sys.argv = ["t2s-rt", *{arguments!r}]
from t2s_rt.cli.main import main
code = 0
try:
    main()
except SystemExit as stop:
    code = stop.code
roots = sorted({{name.partition(".")[0] for name, module in sys.modules.items() if module}})
print("\\n@@" + json.dumps([code or 0, roots]))
"""


def _run(arguments: Sequence[str], blocked: Sequence[str] = ()) -> tuple[int, set[str], str, str]:
    script = _REPORT.format(arguments=list(arguments), blocked=list(blocked))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False
    )
    assert "@@" in done.stdout, done.stderr
    out, _, report = done.stdout.rpartition("@@")
    code, roots = json.loads(report)
    return int(code), set(roots), out, done.stderr


def test_a_fresh_process_loads_neither_torch_nor_onnx_nor_tensorrt() -> None:
    code, loaded, out, error = _run(["doctor"])
    assert code == 0, error
    assert "onnxruntime" in loaded
    assert not loaded & {"torch", "onnx", "tensorrt", "tokenizers", "cuda", "scipy", "rasterio"}
    assert out.rstrip().endswith("the CPU path works")


def test_without_onnxruntime_it_says_which_extra_and_exits_with_5() -> None:
    code, loaded, out, error = _run(["doctor"], blocked=["onnxruntime", "onnx", "tokenizers"])
    assert code == 5
    assert "onnxruntime" not in loaded
    fails = [line for line in out.splitlines() if line.startswith("fails")]
    assert any("runs onnxruntime-cpu" in line and "t2s-rt[cpu]" in line for line in fails)
    # all other verdicts are there
    assert re.search(r"^ok +bundle +nano", out, re.M)
    (last,) = [line for line in error.splitlines() if line.startswith("error: ")]
    assert "the CPU path does not work" in last and "pip install 't2s-rt[cpu]'" in last


def test_lines_in_a_pipe_are_plain_and_aligned(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "bundle")
    result = CliRunner().invoke(cli, ["doctor", "--bundle", str(bundle)])
    assert result.exit_code == 0, result.output
    *lines, summary = result.stdout.splitlines()
    assert "\x1b" not in result.stdout
    # level, two blanks, check, two blanks, what was found: three columns
    column = max(len(re.split(r"  +", line)[1]) for line in lines)
    for line in lines:
        assert line[:7].rstrip() in ("ok", "note", "warning", "fails")
        assert line[7:9] == "  " and line[9 + column : 11 + column] == "  "
        assert not line[11 + column].isspace()
    assert re.fullmatch(r"\d+ ok, \d+ note, \d+ warning, \d+ fails; the CPU path works", summary)


def test_json_has_a_version_and_every_verdict(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "bundle")
    arguments = ["doctor", "--bundle", str(bundle), "--backend", "onnxruntime-cpu"]
    plain = CliRunner().invoke(cli, arguments)
    result = CliRunner().invoke(cli, [*arguments, "--json"])
    record = json.loads(result.stdout)
    assert record["schema_version"] == 1
    assert record["exit_code"] == result.exit_code == 0
    assert record["cpu"] == {"name": "onnxruntime-cpu", "works": True}
    assert record["backend"] == {"name": "onnxruntime-cpu", "works": True}
    assert sum(record["counts"].values()) == len(record["verdicts"])
    assert len(plain.stdout.splitlines()) == len(record["verdicts"]) + 1
    for verdict in record["verdicts"]:
        assert set(verdict) == {"level", "check", "found", "do"}


def test_an_unknown_backend_is_a_usage_error() -> None:
    result = CliRunner().invoke(cli, ["doctor", "--backend", "abacus"])
    assert result.exit_code == 2
    assert "onnxruntime-cpu" in result.stderr and "'abacus'" in result.stderr


def test_a_bundle_that_is_none_ends_with_3(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["doctor", "--bundle", str(tmp_path)])
    assert result.exit_code == 3
    assert "nothing was run: the bundle cannot be used" in result.stdout


def test_a_backend_that_was_asked_for_and_fails_ends_with_5(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from t2s_rt.backends import BACKENDS, BackendKind
    from t2s_rt.errors import BackendError

    def refuse(*_: object) -> None:
        raise BackendError("no engine of mask_decoder; run t2s-rt build")

    kind = BackendKind("sleepy", "json", "tensorrt", "gpu", refuse)  # type: ignore[arg-type]
    monkeypatch.setitem(BACKENDS, "sleepy", kind)
    result = CliRunner().invoke(cli, ["doctor", "--backend", "sleepy"])
    assert result.exit_code == 5
    assert "the CPU path works, backend sleepy does not work" in result.stdout
    assert "no engine of mask_decoder" in result.stderr


def test_bounds_are_those_that_the_project_declares() -> None:
    declared = metadata.requires("t2s-rt") or []
    assert any(
        re.match(rf"onnxruntime>={re.escape(show_version(LEAST_ONNXRUNTIME))}\b", line)
        for line in declared
    )
