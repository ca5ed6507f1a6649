"""Seconds of stages that run in one thread, within each other, and side by side."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from t2s_rt.routes.clock import StageClock


class Time:
    """Passes only when told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_an_inner_stage_interrupts_the_outer_one() -> None:
    now = Time()
    clock = StageClock(now)
    now.seconds = 5.0  # nobody works
    with clock.running("route"):
        now.seconds += 1
        with clock.running("detector"):
            now.seconds += 2
        with clock.running(None):
            now.seconds += 4
        now.seconds += 8
    now.seconds += 16
    assert clock.shares() == {"route": 9.0, "detector": 2.0}
    assert clock.total("route") == 9.0 and clock.beside("route") == 0.0


def test_what_runs_side_by_side_is_divided_and_adds_up() -> None:
    now, step = Time(), threading.Barrier(2, timeout=10)
    clock = StageClock(now)

    def read() -> None:
        step.wait()
        with clock.running("read"):
            step.wait()  # 1 s beside compute
            step.wait()
            step.wait()  # 2 s alone
            step.wait()

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(read)
        with clock.running("compute"):
            now.seconds += 4
            step.wait()
            step.wait()
            now.seconds += 1
        step.wait()
        now.seconds += 2
        step.wait()
        step.wait()
        other.result()
    assert clock.shares() == {"compute": 4.5, "read": 2.5}
    assert clock.total("read") == 3.0 and clock.beside("read") == 1.0


def test_two_threads_in_one_stage_are_not_beside_each_other() -> None:
    now, step = Time(), threading.Barrier(2, timeout=10)
    clock = StageClock(now)

    def work() -> None:
        with clock.running("compute"):
            step.wait()
            step.wait()

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(work)
        with clock.running("compute"):
            step.wait()
            now.seconds += 3
            step.wait()
            other.result()
    assert clock.shares() == {"compute": 3.0} and clock.beside("compute") == 0.0


def test_a_stage_ends_with_its_error() -> None:
    now = Time()
    clock = StageClock(now)
    try:
        with clock.running("detector"):
            raise ValueError
    except ValueError:
        now.seconds += 1
    assert clock.total("detector") == 0.0
