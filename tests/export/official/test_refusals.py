"""What cannot be exported is refused in one line, and nothing is written."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import click
import pytest
from tests.export.official import small
from tests.export.official.small import run

pytestmark = pytest.mark.usefixtures("known_small")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--sam", "{}/clip.pt"), 3, "expected a checkpoint of sam, found one of clip"),
        (("--checkpoints", "{}/none"), 3, "expected a folder of checkpoints"),
        (("--clip-size", "100"), 2, "multiple of the patch size 16"),
        (("--detector-size", "130"), 2, "multiple of 32"),
        (("--gsd", "0"), 2, "ground resolution"),
        (("--gelu", "--name", "../up"), 2, "name"),
    ],
)
def test_what_cannot_be_exported(
    preset: click.Command,
    checkpoints: Path,
    tmp_path: Path,
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    words = [word.format(checkpoints) for word in arguments]
    target = tmp_path / "out"
    done = run("export", "small", "--checkpoints", checkpoints, "-o", target, *small.SIZES, *words)
    assert done.exit_code == code, done.output
    error = done.stderr.splitlines()[-1]
    assert error.startswith("error: ") and message in error
    assert list(tmp_path.iterdir()) == []


def test_of_two_detectors_one_must_be_named(
    preset: click.Command, checkpoints: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "both"
    shutil.copytree(checkpoints, folder)
    shutil.copy(folder / "dino.pth", folder / "dino_again.pth")
    words = ("--checkpoints", folder, "-o", tmp_path / "out", *small.SIZES)
    done = run("export", "small", *words)
    assert done.exit_code == 3
    (option,) = re.findall(r"name the one to use with (--\S+)", done.stderr)
    named = run("export", "small", *words, option, folder / "dino.pth", "--clip-size", "100")
    assert "expected a CLIP size" in named.stderr  # so it got past the clash
