"""What a watcher of a run sees, on a terminal and elsewhere."""

from __future__ import annotations

import io
import sys
import time

import pytest

from t2s_rt.cli._progress import BarProgress, LineProgress, make_progress, note


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time stands still unless a test moves it."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_lines_are_few_and_tell_rate_and_rest(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    progress = LineProgress()
    progress.begin("a.tif", 100, 20)
    for _ in range(40):
        clock[0] += 1.0
        progress.tile("done")
    progress.end()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "a.tif: 100 tiles, 20 of them done before"
    assert lines[1] == "a.tif: 35/100 tiles, 1.00 tiles/s, 0:01:05 left"
    assert len(lines) == 3


def test_broken_scene_leaves_its_error_as_the_only_line(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    progress = LineProgress()
    progress.begin("a.tif", 2, 0)
    progress.note("its bands are odd")
    progress.tile("failed")
    progress.tile("failed")
    progress.end()
    assert capsys.readouterr().err == ""
    progress.begin("b.tif", 1, 0)
    progress.note("its bands are odd")
    progress.tile("skipped")
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["b.tif: 1 tile", "note: b.tif: its bands are odd"]


def test_bar_shows_tiles_and_notes_and_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal)
    progress = make_progress()
    assert isinstance(progress, BarProgress)
    progress.tile("done")  # before a scene has begun there is nothing to show
    progress.begin("[odd] name.tif", 3, 1)
    progress.note("a [warning]")
    progress.tile("done")
    progress.stage("writing")
    progress.end()
    progress.end()
    assert "note: a [warning]" in terminal.getvalue()
    assert "[odd] name.tif: writing" in terminal.getvalue()


def test_lines_where_stderr_is_no_terminal() -> None:
    assert isinstance(make_progress(), LineProgress)


def test_listener_that_went_away_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Gone())
    note("anything")
