"""The folder of one scene's outputs while they are made, and the moment they appear.

Everything is written into a hidden work folder beside the outputs. When all files are
complete they are renamed into place, the report last: so a report says that the rest is there.
A lock keeps two runs from writing the same outputs at once.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from pathlib import Path

from t2s_rt.errors import OutputError
from t2s_rt.pipeline.journal import Journal

__all__ = ["OUTPUT_SUFFIXES", "Workplace", "finished_outputs", "prepare_output", "work_folder"]

OUTPUT_SUFFIXES = (
    ".labels.tif",
    ".labels.tif.aux.xml",
    ".confidence.tif",
    ".gpkg",
    ".geojson",
    ".preview.png",
    ".json",
)
"""Everything that a scene's outputs may be called after its stem; the report comes last."""

_WORK_SUFFIX = ".t2s-work"


def prepare_output(directory: Path) -> None:
    """Make the output folder and see that files can be made in it.

    Raises:
        OutputError: it is a file, or cannot be made or written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        probe = directory / f".t2s-probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(
            f"{directory}: expected a folder that can be written, but {reason}; "
            "choose another with -o"
        ) from error


def work_folder(directory: Path, stem: str) -> Path:
    """Where a scene's outputs are made before they appear."""
    return directory / f".{stem}{_WORK_SUFFIX}"


class Workplace:
    """A scene's work folder: taken over from an interrupted run of the same command, or new.

    Args:
        directory: the output folder; it exists.
        stem: what the scene's files are named after.
        key: of the run; leftovers of another run are discarded.
        overwrite: whether finished outputs may be replaced.

    Attributes:
        directory: the output folder.
        stem: what the scene's files are named after.
        key: of the run.
        path: the work folder.
        results: the folder in it that finished outputs wait in.
        discarded: whether leftovers of a run with other settings were thrown away.

    Raises:
        OutputError: finished outputs are there and may not be replaced, another run is at work
            on them, or the folder cannot be written.
    """

    def __init__(self, directory: Path, stem: str, key: str, overwrite: bool) -> None:
        self.directory = directory
        self.stem = stem
        self.key = key
        self.path = work_folder(directory, stem)
        self.results = self.path / "results"
        mine = Journal.key_of(self.journal) == key
        finished = finished_outputs(directory, stem)
        if finished and not overwrite and not mine:
            raise OutputError(
                f"{finished[0]} exists already; add --overwrite to replace it, "
                "or choose another folder with -o"
            )
        try:
            self.path.mkdir(exist_ok=True)
            self._lock = self._take_lock()
            self.discarded = not mine and self.journal.exists()
            if not mine:
                self._empty()
            # half-written outputs of the interrupted run are made anew from its blocks
            shutil.rmtree(self.results, ignore_errors=True)
            self.results.mkdir()
        except OSError as error:
            raise OutputError(
                f"{self.path}: cannot be written ({error.strerror or error})"
            ) from error

    @property
    def journal(self) -> Path:
        """Path of the run's journal."""
        return self.path / "journal.jsonl"

    def publish(self) -> None:
        """Rename the finished outputs into place, the report last, and remove the work folder.

        Raises:
            OutputError: a file cannot be moved; what is missing stays in the work folder.
        """
        report = self.stem + OUTPUT_SUFFIXES[-1]
        made = {file.name for file in self.results.iterdir()}
        # polygons change their format with the scene's CRS: an earlier run's must not stay behind
        earlier = _reported(self.directory / report, self.stem)
        try:
            for name in (*sorted(made - {report}), *(made & {report})):
                os.replace(self.results / name, self.directory / name)
            for name in earlier - made:
                (self.directory / name).unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(
                f"{self.directory}: outputs cannot be moved there ({error.strerror or error}); "
                f"they wait in {self.results}"
            ) from error
        self.remove()

    def remove(self) -> None:
        """Remove the work folder with all that is in it."""
        self.close()
        shutil.rmtree(self.path, ignore_errors=True)

    def close(self) -> None:
        """Let go of the folder, leaving it for the same command to go on."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _take_lock(self) -> int:
        handle = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                os.close(handle)
                raise OutputError(
                    f"{self.path}: another run is at work on these outputs; "
                    "wait for it, or choose another folder with -o"
                ) from error
            # some network file systems know no locks: two runs at once are then the user's care
        return handle

    def _empty(self) -> None:
        for child in self.path.iterdir():
            if child.name == "lock":
                continue
            if child.is_dir():
                shutil.rmtree(child)
            else:
                child.unlink()


def finished_outputs(directory: Path, stem: str) -> list[Path]:
    """Outputs of a scene that are in place already."""
    paths = (directory / (stem + suffix) for suffix in OUTPUT_SUFFIXES)
    return [path for path in paths if path.exists()]


def _reported(report: Path, stem: str) -> set[str]:
    """Names of the outputs that an earlier report of ours lists; nobody else's files."""
    try:
        outputs = json.loads(report.read_text(encoding="utf-8"))["outputs"]
        known = {stem + suffix for suffix in OUTPUT_SUFFIXES}
        return {name for name in outputs.values() if name in known}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return set()
