"""Locks between processes that leave no file behind.

A lock is an advisory ``flock`` on a file that the holder removes before letting go. The kernel
drops it when the holder dies, however it dies: so a file that nobody holds is a leftover.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Held", "locked", "locked_if_free"]

_POLL_SECONDS = 0.1
_BUSY = (errno.EAGAIN, errno.EACCES)


@dataclass(frozen=True)
class Held:
    """How a lock was got.

    Attributes:
        waited: another process held it before.
        exclusive: whether it keeps others out: some network file systems know no locks.
    """

    waited: bool
    exclusive: bool


@contextmanager
def locked(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[Held]:
    """Hold a lock, waiting for it as long as it takes.

    Args:
        path: the lock's file; its folder exists.
        waiting: called once if another process holds it.

    Raises:
        OSError: the file cannot be made.
    """
    waited = False
    while True:
        handle, exclusive = _try(path)
        if handle is not None:
            break
        if not waited:
            waiting()
        waited = True
        time.sleep(_POLL_SECONDS)
    try:
        yield Held(waited, exclusive)
    finally:
        _release(path, handle)


@contextmanager
def locked_if_free(path: Path) -> Iterator[bool]:
    """Hold a lock if nobody does; yields whether it was free (and could be locked at all)."""
    try:
        handle, exclusive = _try(path)
    except OSError:
        handle, exclusive = None, False
    if handle is None:
        yield False
        return
    try:
        yield exclusive
    finally:
        _release(path, handle)


def _try(path: Path) -> tuple[int | None, bool]:
    """A handle of the locked file and whether the lock is real, or None while another has it."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _BUSY:
                os.close(handle)
                return None, True
            return handle, False
        except BaseException:
            os.close(handle)
            raise
        if _is_current(path, handle):
            return handle, True
        os.close(handle)  # its last holder removed this file after we had opened it


def _is_current(path: Path, handle: int) -> bool:
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    mine = os.fstat(handle)
    return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)


def _release(path: Path, handle: int) -> None:
    with suppress(OSError):
        path.unlink()
    os.close(handle)
