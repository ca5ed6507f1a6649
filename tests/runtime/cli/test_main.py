"""The command ``t2s-rt`` itself: commands found lazily, errors translated in one place."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

import t2s_rt
import t2s_rt.cli.main as main_module
from t2s_rt.cli.main import CommandGroup, cli
from t2s_rt.errors import (
    BackendError,
    BundleError,
    InternalError,
    OutputError,
    PackError,
    PartialError,
    SceneError,
    T2SError,
    UnknownWordError,
    UsageError,
)

Run = Callable[..., Result]


def _group(callback: Callable[[], None]) -> CommandGroup:
    group = CommandGroup("t2s-rt")
    group.add_command(click.Command("go", callback=callback))
    return group


def _raise(error: BaseException) -> Callable[[], None]:
    def callback() -> None:
        raise error

    return callback


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("a"), 2),
        (UnknownWordError("a"), 2),
        (OutputError("a"), 2),
        (BundleError("a"), 3),
        (PackError("a"), 3),
        (SceneError("a"), 4),
        (BackendError("a"), 5),
        (PartialError("a"), 6),
        (KeyboardInterrupt(), 130),
    ],
)
def test_each_branch_has_its_code_and_one_line(error: BaseException, code: int) -> None:
    result = CliRunner().invoke(_group(_raise(error)), ["go"])
    assert result.exit_code == code
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if line]
    assert len(lines) == 1 and lines[0].startswith("error: ")


def test_message_with_line_breaks_stays_one_line() -> None:
    result = CliRunner().invoke(_group(_raise(SceneError("one\ntwo\n  three"))), ["go"])
    assert result.stderr == "error: one two three\n"


@pytest.mark.parametrize("error", [ValueError("planted"), InternalError("planted"), MemoryError()])
def test_unexpected_exception_is_70_with_a_report(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(_group(_raise(error)), ["go"])
    assert result.exit_code == 70
    (report,) = tmp_path.glob("t2s-rt-fault-*.txt")
    assert result.stderr.count("\n") == 1 and report.name in result.stderr
    text = report.read_text()
    assert "Traceback" in text and type(error).__name__ in text and t2s_rt.__version__ in text
    assert "command: t2s-rt go" in text


def test_report_goes_to_the_cache_where_the_folder_is_read_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import t2s_rt.cli._faults as faults

    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setattr(faults, "_folders", lambda: iter([blocked, tmp_path / "cache"]))
    result = CliRunner().invoke(_group(_raise(ValueError("x"))), ["go"])
    assert result.exit_code == 70 and str(tmp_path / "cache") in result.stderr
    monkeypatch.setattr(faults, "_folders", lambda: iter([blocked]))
    result = CliRunner().invoke(_group(_raise(ValueError("x"))), ["go"])
    assert result.exit_code == 70 and "no report" in result.stderr


def test_report_folders_follow_the_cache_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    from t2s_rt.cli._faults import _folders

    monkeypatch.setenv("T2S_CACHE", "/x")
    assert Path("/x") in list(_folders())
    monkeypatch.delenv("T2S_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/y")
    assert Path("/y/t2s-rt") in list(_folders())
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/z")
    assert Path("/z/.cache/t2s-rt") in list(_folders())


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["infer"], ["infer", "--route", "x", "a.tif"], ["--nonsense"], ["infer", "--x"]],
)
def test_wrong_words_are_usage(arguments: list[str]) -> None:
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    assert "--help" in result.stderr


def test_version() -> None:
    result = CliRunner().invoke(cli, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"t2s-rt {t2s_rt.__version__}\n")


def test_nothing_asked_shows_the_help() -> None:
    result = CliRunner().invoke(cli, [])
    assert result.exit_code == 2 and "Usage:" in result.output


def test_help_in_a_pipe_is_neither_wrapped_nor_cut() -> None:
    text = CliRunner().invoke(cli, ["--help"]).stdout
    assert "..." not in text.partition("Commands:")[2]
    assert re.search(r"Exit codes: 0 done;.*130 interrupted", text)
    assert "infer" in text.partition("Commands:")[2].split("\n")[1]


def test_command_that_cannot_be_imported_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)  # a fault leaves its report in the current folder
    entries = {
        "broken": EntryPoint("broken", "t2s_no_such_module:register", "t2s_rt.commands"),
        "odd": EntryPoint("odd", "json:no_such_name", "t2s_rt.commands"),
    }
    monkeypatch.setattr(main_module, "_entry_points", lambda: entries)
    group = CommandGroup("t2s-rt")
    shown = CliRunner().invoke(group, ["--help"])
    assert shown.exit_code == 0 and "t2s_no_such_module" in shown.stdout
    used = CliRunner().invoke(group, ["broken", "--some", "words"])
    assert used.exit_code == 5 and "t2s_no_such_module" in used.stderr
    assert CliRunner().invoke(group, ["odd"]).exit_code == 70
    assert CliRunner().invoke(group, ["absent"]).exit_code == 2


def test_command_is_loaded_only_when_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []

    class Entry:
        def __init__(self, name: str) -> None:
            self.name = name

        def load(self) -> Callable[[click.Group], None]:
            loaded.append(self.name)
            return lambda group: group.add_command(click.Command(self.name, callback=lambda: None))

    entries = {name: Entry(name) for name in ("one", "two")}
    monkeypatch.setattr(main_module, "_entry_points", lambda: entries)
    assert CliRunner().invoke(CommandGroup("t2s-rt"), ["two"]).exit_code == 0
    assert loaded == ["two"]


def test_reader_that_goes_away_is_no_error() -> None:
    body = """
import click, sys
from t2s_rt.cli.main import CommandGroup
def go():
    for _ in range(20000): click.echo("a line of some length that fills the pipe in the end")
group = CommandGroup("t2s-rt"); group.add_command(click.Command("go", callback=go))
group.main(["go"])
"""
    process = subprocess.Popen(
        [sys.executable, "-c", body], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert (process.wait(timeout=60), errors) == (0, b"")


def test_libraries_that_log_or_warn_are_not_heard() -> None:
    body = """
import logging, warnings, click
import t2s_rt.cli.main as m
def go():
    logging.getLogger("rasterio._env").error("CPLE_AppDefined"); warnings.warn("careful")
m.cli.add_command(click.Command("go", callback=go)); m.sys.argv[1:] = ["go"]; m.main()
"""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONWARNINGS"}
    done = subprocess.run(
        [sys.executable, "-c", body], capture_output=True, text=True, env=environment, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("arguments", [["--help"], ["infer", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "t2s_rt", *arguments],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    loaded = set(re.findall(r"\| +([a-z0-9_]+)$", done.stderr, re.M))
    assert not loaded & {"numpy", "rasterio", "cv2", "onnxruntime", "tokenizers", "shapely", "rich"}


def test_every_error_of_the_tree_has_a_code() -> None:
    def all_of(base: type[T2SError]) -> set[type[T2SError]]:
        return {base}.union(*(all_of(sub) for sub in base.__subclasses__()))

    assert {error.exit_code for error in all_of(T2SError)} <= {2, 3, 4, 5, 6, 70}
