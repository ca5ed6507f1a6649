"""``t2s-rt export`` as a user types it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PRELUDE = "import sys; sys.argv[0] = 't2s-rt'; from t2s_rt.cli.main import main; "


def command(*words: str, before: str = "") -> subprocess.CompletedProcess[str]:
    code = f"{before}; {PRELUDE} main()" if before else f"{PRELUDE} main()"
    return subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("package", ["torch", "onnx"])
def test_without_the_extra_one_line_names_it(package: str, tmp_path: Path) -> None:
    before = f"import sys; sys.modules[{package!r}] = None"
    done = command("export", "nano", "-o", str(tmp_path / "nano"), before=before)
    assert done.returncode == 5
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert f"needs the package {package!r}" in done.stderr
    assert "pip install 't2s-rt[export]'" in done.stderr
    assert not (tmp_path / "nano").exists()


def test_help_needs_no_extra() -> None:
    before = "import sys; sys.modules.update(torch=None, onnx=None, onnxruntime=None)"
    for words in (("export", "--help"), ("export", "nano", "--help")):
        done = command(*words, before=before)
        assert done.returncode == 0
        assert "nano" in done.stdout


@pytest.mark.parametrize("places", [(), ("--embedded", "-o", "somewhere")])
def test_one_place_must_be_named(places: tuple[str, ...]) -> None:
    done = command("export", "nano", *places)
    assert done.returncode == 2
    assert "expected either --output DIR or --embedded" in done.stderr


def test_a_folder_that_is_no_bundle_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    done = command("export", "nano", "-o", str(tmp_path), "--force")
    assert done.returncode == 2
    assert "choose another folder" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
