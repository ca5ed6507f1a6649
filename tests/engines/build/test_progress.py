"""How far a build is, and how that is said."""

from __future__ import annotations

import random
import signal
import threading
import time

import pytest

from t2s_engines.build.cancel import run_cancellable
from t2s_engines.build.phases import Phases
from t2s_engines.build.progress import BarProgress, LineProgress, clock, make_progress, remaining


def test_nested_phases_add_up() -> None:
    phases = Phases()
    assert phases.fraction() == 0.0
    phases.start("build", None, 4)
    phases.step("build", 0)
    assert phases.fraction() == 0.25
    phases.start("tactics", "build", 10)
    phases.step("tactics", 4)
    assert phases.fraction() == pytest.approx(0.25 + 0.25 * 0.5)
    assert phases.current == "tactics"
    phases.finish("tactics")
    phases.step("build", 1)
    assert phases.fraction() == 0.5
    phases.step("build", 3)
    phases.finish("build")
    assert phases.fraction() == 1.0


def test_it_never_goes_back_and_stays_in_range() -> None:
    """Phases in any order, unknown, repeated, without steps or their own parents."""
    chance = random.Random(0)
    names: list[str | None] = [None, "a", "b", "c", "d"]
    phases, last = Phases(), 0.0
    for _ in range(2000):
        name = chance.choice(names[1:])
        assert name is not None
        act = chance.randrange(3)
        if act == 0:
            phases.start(name, chance.choice(names), chance.randrange(-1, 5))
        elif act == 1:
            phases.step(name, chance.randrange(8))
        else:
            phases.finish(name)
        part = phases.fraction()
        assert last <= part <= 1.0
        last = part


def test_lines_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    told = make_progress()
    assert isinstance(told, LineProgress)
    phases = Phases()
    phases.start("Building engine", None, 4)
    told.begin("detector fp16", True)
    told.step(phases)
    now[0] += 30.0
    phases.step("Building engine", 0)
    told.step(phases)
    told.step(phases)
    told.note("a  b")
    told.end()
    told.begin("detector fp16", False)
    assert capsys.readouterr().err.splitlines() == [
        "detector fp16: building",
        "detector fp16: 25%, Building engine, 0:01:30 left",
        "note: a b",
        "detector fp16: building; this release reports no progress",
    ]


def test_the_bar_moves_from_any_thread(capsys: pytest.CaptureFixture[str]) -> None:
    bar, phases = BarProgress(), Phases()
    phases.start("[odd] phase", None, 2)
    bar.note("before [it]")
    bar.begin("detector [fp16]", True)
    phases.step("[odd] phase", 0)
    thread = threading.Thread(target=bar.step, args=(phases,))
    thread.start()
    thread.join()
    assert bar._bar is not None
    assert bar._bar.tasks[0].completed == 0.5
    bar.note("during [it]")
    bar.end()
    bar.end()
    text = capsys.readouterr().err
    assert "note: before [it]" in text and "note: during [it]" in text


def test_remaining_time() -> None:
    assert remaining(30.0, 0.25) == "0:01:30"
    assert remaining(30.0, 0.0) == ""
    assert clock(3725.4) == "1:02:05"


def test_work_in_a_thread_gives_its_value_or_its_error() -> None:
    cancel = threading.Event()
    assert run_cancellable(lambda: 3, cancel, True) == 3

    def fail() -> int:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        run_cancellable(fail, cancel, True)
    assert not cancel.is_set()


@pytest.mark.parametrize("heeded", [True, False])
def test_ctrl_c_stops_work_or_leaves_it(heeded: bool) -> None:
    cancel, left, stopped = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        signal.raise_signal(signal.SIGINT)  # runs its handler in the main thread
        (cancel if heeded else left).wait(60)
        stopped.set()

    with pytest.raises(KeyboardInterrupt):
        run_cancellable(work, cancel, heeded)
    assert cancel.is_set()
    assert stopped.is_set() == heeded
    left.set()
    deadline = time.monotonic() + 60
    while not stopped.is_set() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert stopped.is_set()
