"""Work that Ctrl-C can stop although it runs in a library."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["run_cancellable"]

_T = TypeVar("_T")
_POLL_SECONDS = 0.05


class _Outcome(Generic[_T]):
    """What a thread's work came to."""

    def __init__(self) -> None:
        self.value: list[_T] = []
        self.error: BaseException | None = None


def run_cancellable(work: Callable[[], _T], cancel: threading.Event, heeded: bool) -> _T:
    """Run something in a thread, and wait for it here, where Ctrl-C arrives.

    Python delivers signals to the main thread only, and not while that is inside a library. The
    bindings of TensorRT also swallow what a callback raises, a KeyboardInterrupt too.

    Args:
        work: to run.
        cancel: set on the first Ctrl-C.
        heeded: whether the work stops soon after; if so it is waited for, until a second Ctrl-C.

    Returns:
        What the work returns.

    Raises:
        KeyboardInterrupt: Ctrl-C.
        BaseException: what the work raises.
    """
    outcome: _Outcome[_T] = _Outcome()
    begun, done = threading.Event(), threading.Event()

    def run() -> None:
        begun.set()
        try:
            if cancel.is_set():
                raise KeyboardInterrupt
            outcome.value.append(work())
        except BaseException as error:  # handed on below
            outcome.error = error
        finally:
            done.set()

    # a daemon: work that does not stop must not keep the process from leaving
    thread = threading.Thread(target=run, name="build", daemon=True)
    try:
        thread.start()
        # not Thread.join: interrupted, it may take a thread that runs for one that has ended
        while not done.wait(_POLL_SECONDS):
            pass
    except KeyboardInterrupt:
        cancel.set()
        # a thread that has not begun yet will see that it need not
        if heeded and begun.is_set():
            done.wait()
        raise
    if outcome.error is not None:
        raise outcome.error
    return outcome.value[0]
