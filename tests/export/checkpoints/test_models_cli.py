"""``t2s-rt models`` as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.export.checkpoints.conftest import CONTENT, Server

from t2s_export.checkpoints import registry
from t2s_export.checkpoints.models_cli import register
from t2s_export.checkpoints.registry import MODELS, ModelEntry
from t2s_rt.cli.main import CommandGroup


def models(*words: str) -> Result:
    group = CommandGroup("t2s-rt")
    register(group)
    return CliRunner().invoke(group, ["models", *words])


def use(monkeypatch: pytest.MonkeyPatch, *entries: ModelEntry) -> None:
    monkeypatch.setattr(registry, "MODELS", entries)


@pytest.fixture
def toy(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The registry's only row is what the local server has."""
    use(monkeypatch, server.entry())
    return server


def test_list_in_a_pipe_is_plain_and_whole() -> None:
    lines = models("list").stdout.splitlines()
    assert len(lines) == len(MODELS) + 1
    columns = lines[0].split("\t")
    assert columns[1:] == ["id", "family", "architecture", "size", "licence", "hash known"]
    for entry, line in zip(MODELS, lines[1:], strict=True):
        cells = line.split("\t")
        assert cells[1:4] == [entry.id, entry.family, entry.architecture]
        assert cells[5:] == [entry.licence, "yes" if entry.sha256 else "no"]
        assert "\x1b" not in line


def test_list_as_json_holds_every_fact() -> None:
    rows = json.loads(models("list", "--json").stdout)
    assert [ModelEntry(**row) for row in rows] == list(MODELS)


def test_list_loads_nothing_heavy() -> None:
    code = """
import sys, click
from t2s_export.checkpoints.models_cli import register
from t2s_rt.cli.main import CommandGroup
group = CommandGroup("t2s-rt")
register(group)
roots = lambda: {name.partition(".")[0] for name in sys.modules}
for words in (["models", "--help"], ["models", "list"], ["models", "verify"]):
    try:
        group.main(words)
    except SystemExit as stop:
        assert not stop.code, words
heavy = {"torch", "onnx", "onnxruntime", "numpy", "cv2", "rasterio", "safetensors", "tokenizers"}
assert not roots() & heavy, roots() & heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_pull_then_verify(toy: Server, tmp_path: Path) -> None:
    folder = ("--checkpoints", str(tmp_path / "new"))
    done = models("pull", "toy", *folder)
    assert done.exit_code == 0, done.stderr
    assert done.stdout == f"toy: SHA-256 right: {tmp_path / 'new' / 'toy.pth'}\n"
    assert "toy: 0.10 MB" in done.stderr and "\x1b" not in done.stderr
    assert "there already" in models("pull", "toy", "toy", *folder).stdout
    assert models("verify", *folder).stdout.splitlines()[1].split("\t")[1:3] == ["toy", "ok"]


def test_the_default_folder_is_the_cache(
    toy: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("T2S_CACHE", str(tmp_path))
    assert models("pull", "toy").exit_code == 0
    assert (tmp_path / "checkpoints" / "toy.pth").read_bytes() == CONTENT


def test_a_mirror_takes_the_place_of_the_address(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, ModelEntry(**{**vars(server.entry()), "url": "https://gone.invalid/x"}))
    done = models("pull", "toy", "--url", server.url, "--checkpoints", str(tmp_path))
    assert done.exit_code == 0, done.stderr


def test_an_unknown_hash_is_told_and_noted(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = server.entry(known=False)
    use(monkeypatch, entry)
    folder = ("--checkpoints", str(tmp_path))
    digest = str(server.entry().sha256)
    done = models("pull", "toy", *folder)
    assert f"no official SHA-256 is known; this file's is {digest}" in done.stdout
    assert (tmp_path / "toy.pth.sha256").read_text() == f"{digest}  toy.pth\n"
    seen = models("verify", "toy", *folder)
    assert seen.exit_code == 0 and "unknown hash\t" in seen.stdout and "as when" in seen.stdout
    (tmp_path / "toy.pth").write_bytes(CONTENT[:-1] + b"!")
    changed = models("verify", "toy", *folder)
    assert changed.exit_code == 3 and digest in changed.stdout and "toy wrong" in changed.stderr
    (tmp_path / "toy.pth.sha256").unlink()
    assert "nothing to compare" in models("verify", *folder).stdout
    assert "there already" in models("pull", "toy", *folder).stdout
    assert (tmp_path / "toy.pth.sha256").exists()


def test_wrong_and_missing_files_fail_verify(toy: Server, tmp_path: Path) -> None:
    folder = ("--checkpoints", str(tmp_path))
    assert models("verify", *folder).exit_code == 0
    assert "no checkpoint in" in models("verify", *folder).stdout
    missing = models("verify", "toy", *folder)
    assert missing.exit_code == 3 and "missing\trun: t2s-rt models pull toy" in missing.stdout
    for content in (b"short", b"z" * len(CONTENT)):
        (tmp_path / "toy.pth").write_bytes(content)
        wrong = models("verify", *folder)
        assert wrong.exit_code == 3 and "expected" in wrong.stdout and "found" in wrong.stdout
        again = models("pull", "toy", *folder)
        assert again.exit_code == 3 and "delete it" in again.stderr
        assert (tmp_path / "toy.pth").read_bytes() == content
    assert toy.requests == []


def test_from_copies_what_is_right(toy: Server, tmp_path: Path) -> None:
    stick = tmp_path / "stick.bin"
    stick.write_bytes(CONTENT)
    folder = tmp_path / "checkpoints"
    done = models("pull", "toy", "--from", str(stick), "--checkpoints", str(folder))
    assert done.exit_code == 0, done.stderr
    assert [path.name for path in folder.iterdir()] == ["toy.pth"]
    assert (folder / "toy.pth").read_bytes() == stick.read_bytes() == CONTENT
    assert toy.requests == []


@pytest.mark.parametrize("content", [b"short", b"z" * len(CONTENT)])
def test_from_leaves_what_is_wrong(toy: Server, tmp_path: Path, content: bytes) -> None:
    stick = tmp_path / "stick.bin"
    stick.write_bytes(content)
    folder = tmp_path / "checkpoints"
    done = models("pull", "toy", "--from", str(stick), "--checkpoints", str(folder))
    assert done.exit_code == 3 and done.stderr.count("\n") == 1
    assert "nothing was copied" in done.stderr and toy.url in done.stderr
    assert list(folder.iterdir()) == [] and stick.read_bytes() == content


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["toy", "sam", "--from", "x"], "exactly one ID"),
        (["toy", "toy", "--url", "https://x"], "exactly one ID"),
        (["toy", "--url", "https://x", "--from", "x"], "found both"),
        (["toy", "--from", "/nowhere/x"], "check --from"),
        (["toy", "--url", "x"], "starts with https://"),
        (["toi"], "did you mean toy"),
        ([], "Missing argument"),
    ],
)
def test_wrong_words_are_usage(toy: Server, tmp_path: Path, words: list[str], told: str) -> None:
    done = models("pull", *words, "--checkpoints", str(tmp_path))
    assert done.exit_code == 2 and told in done.stderr
    assert done.stderr.count("\n") == 1 and list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_usage(toy: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = models("pull", "toy", "--checkpoints", str(tmp_path / "file" / "folder"))
    assert done.exit_code == 2 and "--checkpoints" in done.stderr


def test_ctrl_c_exits_130(toy: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from t2s_export.checkpoints import progress

    def interrupt(self: object, done: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(progress._Lines, "advance", interrupt)
    done = models("pull", "toy", "--checkpoints", str(tmp_path))
    assert done.exit_code == 130
    assert (tmp_path / "toy.pth.part").stat().st_size > 0


def test_on_a_terminal_a_bar_moves(
    toy: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from t2s_export.checkpoints import progress

    toy.drops = [9]
    monkeypatch.setattr(progress, "make_progress", progress._Bar)
    monkeypatch.setattr("t2s_export.checkpoints.pull.make_progress", progress._Bar)
    monkeypatch.setenv("FORCE_COLOR", "1")
    done = models("pull", "toy", "--checkpoints", str(tmp_path))
    assert done.exit_code == 0, done.stderr
    assert "ETA" in done.stderr and "going on from byte 9" in done.stderr


def test_the_command_is_an_entry_point() -> None:
    text = (Path(__file__).parents[3] / "pyproject.toml").read_text()
    assert 'models = "t2s_export.checkpoints.models_cli:register"' in text
