"""``t2s-rt export`` as a user types it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from t2s_export.official.presets import PRESETS, clip_window

NAMES = ("nano", *PRESETS)
PRELUDE = "import sys; sys.argv[0] = 't2s-rt'; from t2s_rt.cli.main import main; "


def command(*words: str, before: str = "") -> subprocess.CompletedProcess[str]:
    code = f"{before}; {PRELUDE} main()" if before else f"{PRELUDE} main()"
    return subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("package", ["torch", "onnx"])
@pytest.mark.parametrize("name", ["nano", "base"])
def test_without_the_extra_one_line_names_it(name: str, package: str, tmp_path: Path) -> None:
    before = f"import sys; sys.modules[{package!r}] = None"
    done = command("export", name, "-o", str(tmp_path / "nano"), before=before)
    assert done.returncode == 5
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert f"needs the package {package!r}" in done.stderr
    assert "pip install 't2s-rt[export]'" in done.stderr
    assert not (tmp_path / "nano").exists()


def test_help_needs_no_extra() -> None:
    before = "import sys; sys.modules.update(torch=None, onnx=None, onnxruntime=None)"
    for words in (("export", "--help"), *(("export", name, "--help") for name in NAMES)):
        done = command(*words, before=before)
        assert done.returncode == 0
        assert words[-2] in done.stdout and "\x1b" not in done.stdout


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


def test_without_checkpoints_one_line_says_how_to_get_them(tmp_path: Path) -> None:
    done = command("export", "base", "--checkpoints", str(tmp_path), "-o", str(tmp_path / "base"))
    assert done.returncode == 3 and done.stderr.count("\n") == 1
    assert "t2s-rt models pull groundingdino_swint_ogc" in done.stderr
    assert not (tmp_path / "base").exists()


def test_presets_are_what_their_names_promise() -> None:
    models = {name: (p.sam, p.detector, p.clip) for name, p in PRESETS.items()}
    assert models == {
        "edge": ("tiny_vit", "swin_t", "ViT-B-32"),
        "base": ("vit_b", "swin_t", "ViT-B-16"),
        "large": ("vit_h", "swin_b", "ViT-L-14"),
    }


def test_two_windows_of_dense_clip_cover_a_tile() -> None:
    assert [clip_window(patch) for patch in (32, 16, 14)] == [512, 512, 518]
    for patch in (32, 16, 14):
        tile = round(1024 / patch) * patch  # as the runtime resizes a tile
        assert 2 * clip_window(patch) >= tile
