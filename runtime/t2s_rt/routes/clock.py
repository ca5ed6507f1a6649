"""Who works when: seconds by stage that add up, whatever runs beside what."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["StageClock"]


class StageClock:
    """Takes the time of stages that may run in several threads at once.

    A thread is in one stage at a time: a stage within another interrupts the outer one. A moment
    in which several threads work is divided among their stages, so that all seconds together
    are the time in which anybody worked, and nothing is counted twice.

    Args:
        now: seconds from any fixed moment.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._stages: dict[int, str] = {}
        self._since = now()
        self._spent: defaultdict[tuple[str, ...], float] = defaultdict(float)

    @contextmanager
    def running(self, stage: str | None) -> Iterator[None]:
        """The calling thread is in a stage; None: it waits for another one."""
        before = self._turn(stage)
        try:
            yield
        finally:
            self._turn(before)

    def _turn(self, stage: str | None) -> str | None:
        """Put the calling thread into a stage; returns the one that it was in."""
        me = threading.get_ident()
        with self._lock:
            self._settle()
            before = self._stages.pop(me, None)
            if stage is not None:
                self._stages[me] = stage
        return before

    def _settle(self) -> None:
        now = self._now()
        if self._stages:
            self._spent[tuple(sorted(self._stages.values()))] += now - self._since
        self._since = now

    def _periods(self) -> dict[tuple[str, ...], float]:
        with self._lock:
            self._settle()
            return dict(self._spent)

    def shares(self) -> dict[str, float]:
        """Seconds by stage; each moment is divided among the threads that worked in it."""
        total: defaultdict[str, float] = defaultdict(float)
        for stages, spent in self._periods().items():
            for stage, threads in Counter(stages).items():
                total[stage] += spent * threads / len(stages)
        return dict(total)

    def total(self, stage: str) -> float:
        """Seconds in which a stage ran, in one thread or several."""
        return sum(spent for stages, spent in self._periods().items() if stage in stages)

    def beside(self, stage: str) -> float:
        """Seconds in which a stage ran and any other one did, too."""
        return sum(
            spent
            for stages, spent in self._periods().items()
            if stage in stages and set(stages) != {stage}
        )
