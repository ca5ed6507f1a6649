"""What a watcher of an export sees, on a terminal and elsewhere."""

from __future__ import annotations

import io
import sys
import time
from dataclasses import replace

import pytest

from t2s_export.bundle_builder import BuiltGraph
from t2s_export.graphs.storage import StorageReport
from t2s_export.parity import GraphParity, OutputParity
from t2s_export.precision import Decision
from t2s_export.progress import ExportProgress
from t2s_rt.bundle import GraphRecord
from t2s_rt.contracts import Role


def decided() -> Decision:
    return Decision(
        role="detector",
        islands={},
        calibration=(),
        largest=1.0,
        before={"box IoU mean": 0.98, "cosine logits": 0.9999},
        after={"box IoU mean": 1.0},
        trials=24,
        node_share=0.1,
        flop_share=0.03,
        moved=("products (3): a to c", "sums (2): b to d"),
    )


def built(role: Role, nodes: int, size: int) -> BuiltGraph:
    record = GraphRecord(role, "fp32", (), (), (), None, 17)
    parity = GraphParity(role, ("B=1",), {"x": OutputParity(2e-5, 0.9999999, 1.0)}, 0.0)
    return BuiltGraph(record, nodes, size, StorageReport((), (), 0, 0), parity)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time stands still unless a test moves it."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def show(progress: ExportProgress, clock: list[float]) -> None:
    progress.starting("loading [a].pth")
    for graph in (built("mask_encoder", 10, 1_000_000), built("mask_decoder", 5, 1_000_000)):
        clock[0] += 2.5
        progress.built(graph)
    progress.end()


def test_rows_and_totals_go_to_stdout(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    show(ExportProgress({"mask_encoder": 1.0}), clock)
    out, err = capsys.readouterr()
    rows = [line.split() for line in out.splitlines()]
    assert rows[1] == ["mask_encoder", "fp32", "10", "1,000,000", "2.0e-05", "0.99999990", "2.5"]
    assert rows[3] == ["total", "15", "2,000,000", "5.0"]
    assert err == "loading [a].pth ...\n"


def test_a_terminal_gets_a_bar_and_stdout_the_same_rows(
    clock: list[float], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal)
    progress = ExportProgress({"mask_encoder": 3.0, "mask_decoder": 1.0})
    show(progress, clock)
    progress.close()
    assert "loading [a].pth" in terminal.getvalue() and "ETA" in terminal.getvalue()
    out = capsys.readouterr().out
    assert "\x1b" not in out and out.splitlines()[-1].startswith("total")


def test_nothing_built_prints_no_totals(capsys: pytest.CaptureFixture[str]) -> None:
    ExportProgress().end()
    assert capsys.readouterr().out == ""


def test_a_float16_graph_says_how_much_of_it_is_float16(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    progress = ExportProgress()
    progress.built(replace(built("detector", 10, 1_000_000), decision=decided()))
    progress.end()
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == (
        "  3.0 % of the multiplications are float16: 2 groups of operators went back to float32 "
        "(box IoU mean would be 0.9800, below 0.9933); most of a float16 file's gain is lost, so "
        "compare it with the fp32 file, and decide on images of your own (--calibration)"
    )
    assert lines[3].startswith("total")
