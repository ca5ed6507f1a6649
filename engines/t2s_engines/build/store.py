"""The cache of engines as ``build`` writes it; :mod:`t2s_rt.plans` reads it.

An engine appears whole, by one rename, out of a hidden folder beside it::

    engines/
      detector.fp16.<digest>/                   complete engines
      .building-detector.fp16.<digest>.lock     held by the process that builds this key
      .building-detector.fp16.<digest>.<random> what it has written so far

Whoever holds a key's lock knows that every other ``.building-`` folder of that key was left by a
build that died, and removes it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from t2s_engines.build.locks import locked, locked_if_free
from t2s_rt import __version__
from t2s_rt.errors import BackendError, OutputError
from t2s_rt.plans import EngineCache, EngineFiles, EngineKey, Sidecar, differences
from t2s_rt.plans.cache import PLAN_NAME, SIDECAR_NAME

__all__ = ["EngineStore", "NewEngine", "StoredEngine", "cannot_write", "sync_folder"]

_PREFIX = ".building-"
_LEFTOVER = re.compile(re.escape(_PREFIX) + r"(?P<name>.+\.[0-9a-f]{16})\.(lock|[0-9a-f]{32})")


@dataclass(frozen=True)
class NewEngine:
    """What a build made.

    Attributes:
        plan: TensorRT's bytes, anything with the buffer protocol.
        seconds: that it took.
        notes: for the sidecar, e.g. warnings of the builder.
    """

    plan: memoryview
    seconds: float
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class StoredEngine:
    """An engine that is in the cache now.

    Attributes:
        engine: its files.
        built: whether this call built it.
        note: what else there is to say of it, e.g. why it was built again; may be empty.
    """

    engine: EngineFiles
    built: bool
    note: str = ""


class EngineStore:
    """The write side of a cache of engines.

    Args:
        cache: where engines lie.
    """

    def __init__(self, cache: EngineCache) -> None:
        self.cache = cache

    def prepare(self) -> None:
        """Make the folder, see that it can be written, and remove what killed builds left.

        Raises:
            OutputError: it is a file, or cannot be made or written.
        """
        root = self.cache.root
        with _translated(root):
            root.mkdir(parents=True, exist_ok=True)
            probe = root / f".probe-{uuid.uuid4().hex}"
            probe.touch()
            probe.unlink()
            found = (_LEFTOVER.fullmatch(path.name) for path in root.iterdir())
            names = {match["name"] for match in found if match}
        for name in names:
            with locked_if_free(self._lock(name)) as free:
                if free:
                    self._clear(name)

    def present(self, key: EngineKey) -> tuple[EngineFiles | None, str]:
        """The complete engine of a key, or None and what is wrong with the one that lies there.

        Returns:
            The engine, or None; and for None why, empty where there is nothing at all.
        """
        folder = self.cache.folder(key)
        if not folder.exists():
            return None, ""
        try:
            engine = EngineFiles.read(folder)
            wrong = differences(key.as_record(), engine.sidecar.key)
            if wrong:
                return None, f"{folder.name}: its sidecar is of another engine ({'; '.join(wrong)})"
            engine.check_plan()
        except BackendError as error:
            return None, str(error)
        return engine, ""

    def obtain(
        self,
        key: EngineKey,
        make: Callable[[], NewEngine],
        *,
        force: bool = False,
        waiting: Callable[[], None] = lambda: None,
    ) -> StoredEngine:
        """Return the engine of a key, building it unless it is there.

        Of several processes that want the same key one builds, and the others take its result.

        Args:
            key: of the engine.
            make: builds it.
            force: build it even if it is there; a result that another process has finished
                while this one waited is taken nevertheless.
            waiting: called once if another process builds this key.

        Raises:
            OutputError: the cache cannot be written, or the disk is full.
        """
        folder = self.cache.folder(key)
        with _translated(self.cache.root), locked(self._lock(folder.name), waiting) as held:
            if held.exclusive:
                self._clear(folder.name)
            engine, wrong = self.present(key)
            if engine is not None and (held.waited or not force):
                note = "built by another process just now" if held.waited else "was there already"
                return StoredEngine(engine, False, note)
            self._write(folder, key, make)
            return StoredEngine(
                EngineFiles.read(folder), True, f"replaces: {wrong}" if wrong else ""
            )

    def _write(self, folder: Path, key: EngineKey, make: Callable[[], NewEngine]) -> None:
        work, old = (self._work(folder.name) for _ in range(2))
        work.mkdir()
        try:
            new = make()
            digest = hashlib.sha256(new.plan).hexdigest()
            sidecar = Sidecar(
                key=key.as_record(),
                digest=key.digest,
                plan_sha256=digest,
                plan_bytes=new.plan.nbytes,
                built=datetime.now(timezone.utc).isoformat(timespec="seconds"),
                seconds=round(new.seconds, 3),
                builder=f"t2s-rt {__version__}, TensorRT {key.tensorrt}",
                notes=tuple(new.notes),
            )
            _write_file(work / PLAN_NAME, new.plan)
            _write_file(work / SIDECAR_NAME, memoryview(sidecar.to_json().encode()))
            sync_folder(work)
            if folder.exists():
                os.rename(folder, old)
            os.rename(work, folder)
            sync_folder(folder.parent)
        finally:
            shutil.rmtree(work, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)

    def _lock(self, name: str) -> Path:
        return self.cache.root / f"{_PREFIX}{name}.lock"

    def _work(self, name: str) -> Path:
        return self.cache.root / f"{_PREFIX}{name}.{uuid.uuid4().hex}"

    def _clear(self, name: str) -> None:
        """Remove what killed builds of a key left; its lock is held."""
        for path in self.cache.root.glob(f"{_PREFIX}{name}.*"):
            if _LEFTOVER.fullmatch(path.name) and path != self._lock(name):
                shutil.rmtree(path, ignore_errors=True)


def cannot_write(root: Path, error: OSError) -> OutputError:
    """The error for a cache that cannot be written."""
    return OutputError(
        f"{root}: expected a folder for engines that can be written, but "
        f"{error.strerror or error}; make room or choose another with --cache"
    )


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk, where the file system can."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _translated(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise cannot_write(root, error) from error


def _write_file(path: Path, content: memoryview) -> None:
    with open(path, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
