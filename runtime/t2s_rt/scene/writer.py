"""The class map and its confidence, written window by window and finished as COGs.

While a run goes on, both maps are plain files of one byte per pixel in a part folder: a window
that was written is in the hands of the operating system, so a killed process loses nothing that
it reported, and no half-updated file structure can be left behind. `MapWriter.finish` turns them
into Cloud Optimized GeoTIFFs beside the part folder and renames each into place.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from t2s_rt.errors import OutputError, UsageError
from t2s_rt.scene.geotiff import MapProfile, write_cog
from t2s_rt.scene.window import Window

__all__ = [
    "CONFIDENCE_NODATA",
    "CONFIDENCE_SCALE",
    "LABEL_NODATA",
    "MAX_CLASSES",
    "MapClass",
    "MapWriter",
    "NamedClass",
]

LABEL_NODATA = 255
"""Label of pixels without data; 0 is "no class", 1 to N the classes in pack order."""

CONFIDENCE_NODATA = 255
"""Confidence of pixels without data."""

CONFIDENCE_SCALE = 254
"""Stored confidence that means 1.0."""

MAX_CLASSES = 254
"""Labels that one byte leaves for classes."""

_LABELS, _CONFIDENCE, _STATE = "labels.raw", "confidence.raw", "state.json"

Plane = npt.NDArray[np.uint8]


class NamedClass(Protocol):
    """What a map needs of a class; a prompt pack's classes fit."""

    @property
    def name(self) -> str:
        """The word."""

    @property
    def colour(self) -> tuple[int, int, int]:
        """Red, green, blue in 0..255."""


@dataclass(frozen=True)
class MapClass:
    """A class of a map, where no prompt pack is at hand.

    Attributes:
        name: the word.
        colour: red, green, blue in 0..255.
    """

    name: str
    colour: tuple[int, int, int]


class MappedScene(Protocol):
    """What a map takes over from its scene."""

    width: int
    height: int
    crs: Any
    transform: Any


class MapWriter:
    """Writes ``STEM.labels.tif`` and ``STEM.confidence.tif``; use it as a context manager.

    Leaving the context without `finish` keeps the part folder, so that a run can resume.

    Args:
        scene: gives size, CRS and transform.
        directory: existing folder of the outputs.
        stem: what the files are named after.
        classes: in pack order; label 1 is the first.
        part: folder for unfinished maps; default ``.STEM.t2s-part`` in ``directory``.
        resume: go on with what an earlier writer of the same size and classes left in ``part``;
            `resumed` tells whether there was something.
        overwrite: whether finished files may be replaced.

    Attributes:
        labels_path: where the class map will be.
        confidence_path: where the confidence will be.
        resumed: whether windows of an earlier run are kept.

    Raises:
        OutputError: finished files exist, or the folder cannot be written.
        UsageError: more than `MAX_CLASSES` classes.
    """

    def __init__(
        self,
        scene: MappedScene,
        directory: str | os.PathLike[str],
        stem: str,
        classes: Sequence[NamedClass],
        *,
        part: str | os.PathLike[str] | None = None,
        resume: bool = False,
        overwrite: bool = False,
    ) -> None:
        if len(classes) > MAX_CLASSES:
            raise UsageError(
                f"expected at most {MAX_CLASSES} classes in one map, found {len(classes)}; "
                "split the prompts over several runs"
            )
        folder = Path(directory)
        self.labels_path = folder / f"{stem}.labels.tif"
        self.confidence_path = folder / f"{stem}.confidence.tif"
        self._classes = tuple(MapClass(c.name, c.colour) for c in classes)
        self._width, self._height = scene.width, scene.height
        self._profile = MapProfile(scene.width, scene.height, scene.crs, scene.transform)
        self._part = Path(part) if part is not None else folder / f".{stem}.t2s-part"
        self._files: tuple[int, int] | None = None
        if not overwrite:
            for path in (self.labels_path, self.confidence_path):
                if path.exists():
                    raise OutputError(
                        f"expected no earlier output, found {path}; "
                        "pass --overwrite, or choose another folder with -o"
                    )
        with _translated(folder):
            self.resumed = self._open(resume)

    def __enter__(self) -> MapWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the part files without finishing; they stay for a later run."""
        if self._files is not None:
            for file in self._files:
                os.close(file)
            self._files = None

    def discard(self) -> None:
        """Close and remove the part folder."""
        self.close()
        shutil.rmtree(self._part, ignore_errors=True)

    def write(self, window: Window, labels: Plane, confidence: Plane) -> None:
        """Write a window of both maps.

        Args:
            window: whole scene pixels, inside the scene.
            labels: uint8 [height, width]: 0 none, 1..N, 255 nodata.
            confidence: uint8 [height, width]: 0..254, 255 nodata.

        Raises:
            UsageError: a window or array that does not fit.
            OutputError: the disk is full or the file cannot be written.
        """
        row, col, shape = self._inside(window)
        for name, plane in (("labels", labels), ("confidence", confidence)):
            if plane.shape != shape or plane.dtype != np.uint8:
                raise UsageError(
                    f"expected {name} as uint8 {shape}, found {plane.dtype} {plane.shape}"
                )
        with _translated(self._part):
            for file, plane in zip(self._opened(), (labels, confidence), strict=True):
                self._write_plane(file, row, col, plane)

    def read(self, window: Window) -> tuple[Plane, Plane]:
        """Read back a window of both maps; 255 where nothing was written yet."""
        row, col, shape = self._inside(window)
        with _translated(self._part):
            labels, confidence = (
                self._read_plane(file, row, col, shape) for file in self._opened()
            )
        return labels, confidence

    def flush(self) -> None:
        """Force everything written so far onto the disk, against power loss."""
        with _translated(self._part):
            for file in self._opened():
                os.fsync(file)

    def finish(self) -> tuple[Path, Path]:
        """Write the COGs, rename them into place and remove the part folder.

        Returns:
            Paths of the class map and of the confidence.

        Raises:
            OutputError: the disk is full or the folder cannot be written; the part folder stays.
        """
        labels, confidence = self._opened()
        with _translated(self._part):
            write_cog(
                self._part / "labels.tif",
                self._profile,
                self._strips(labels),
                nodata=LABEL_NODATA,
                classes=[(item.name, item.colour) for item in self._classes],
            )
            write_cog(
                self._part / "confidence.tif",
                self._profile,
                self._strips(confidence),
                nodata=CONFIDENCE_NODATA,
                tags={"SCALE": f"{CONFIDENCE_SCALE} = 1.0"},
            )
            names = self._part / "labels.tif.aux.xml"
            # names first: a class map that is in place is complete
            os.replace(names, self.labels_path.with_name(self.labels_path.name + ".aux.xml"))
            os.replace(self._part / "confidence.tif", self.confidence_path)
            os.replace(self._part / "labels.tif", self.labels_path)
        self.discard()
        return self.labels_path, self.confidence_path

    def _open(self, resume: bool) -> bool:
        state = {
            "width": self._width,
            "height": self._height,
            "classes": [item.name for item in self._classes],
        }
        known = resume and self._matches(state)
        if not known:
            shutil.rmtree(self._part, ignore_errors=True)
            self._part.mkdir(parents=True)
        paths = self._part / _LABELS, self._part / _CONFIDENCE
        opened: list[int] = []
        try:
            for path in paths:
                opened.append(os.open(path, os.O_RDWR | os.O_CREAT, 0o666))
            if not known:
                for file in opened:
                    # holes read as zero, which stands for 255: see _write_plane
                    os.ftruncate(file, self._width * self._height)
                (self._part / _STATE).write_text(json.dumps(state), encoding="utf-8")
        except BaseException:
            for file in opened:
                os.close(file)
            raise
        self._files = opened[0], opened[1]
        return known

    def _matches(self, state: dict[str, Any]) -> bool:
        size = self._width * self._height
        try:
            found = json.loads((self._part / _STATE).read_text(encoding="utf-8"))
            sizes = [(self._part / name).stat().st_size for name in (_LABELS, _CONFIDENCE)]
        except (OSError, ValueError):
            return False
        return bool(found == state) and sizes == [size, size]

    def _opened(self) -> tuple[int, int]:
        if self._files is None:
            raise UsageError("expected an open map writer, found a closed one; make a new one")
        return self._files

    def _inside(self, window: Window) -> tuple[int, int, tuple[int, int]]:
        row, col = int(window.row), int(window.col)
        height, width = int(window.height), int(window.width)
        whole = (row, col, height, width) == (window.row, window.col, window.height, window.width)
        fits = row >= 0 and col >= 0 and height > 0 and width > 0
        if not (whole and fits and row + height <= self._height and col + width <= self._width):
            raise UsageError(
                f"expected a window of whole pixels inside {self._height} x {self._width}, "
                f"found {window}"
            )
        return row, col, (height, width)

    def _write_plane(self, file: int, row: int, col: int, plane: Plane) -> None:
        # stored inverted, so that the holes of a sparse file read as 255, nodata
        stored = np.bitwise_xor(plane, np.uint8(255))
        if plane.shape[1] == self._width:
            _write_at(file, stored.tobytes(), row * self._width)
            return
        for k in range(plane.shape[0]):
            _write_at(file, stored[k].tobytes(), (row + k) * self._width + col)

    def _read_plane(self, file: int, row: int, col: int, shape: tuple[int, int]) -> Plane:
        height, width = shape
        if width == self._width:
            data = _read_at(file, height * width, row * width)
        else:
            data = b"".join(
                _read_at(file, width, (row + k) * self._width + col) for k in range(height)
            )
        stored = np.frombuffer(data, np.uint8).reshape(shape)
        return np.asarray(np.bitwise_xor(stored, np.uint8(255)))

    def _strips(self, file: int) -> Iterator[tuple[int, Plane]]:
        """The plane from top to bottom, as (first row, rows), a block of tiles high at a time."""
        step = 512
        for row in range(0, self._height, step):
            shape = (min(step, self._height - row), self._width)
            yield row, self._read_plane(file, row, 0, shape)


@contextmanager
def _translated(folder: Path) -> Iterator[None]:
    """Turn what the operating system says about writing into `OutputError`."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"expected to write into {folder}, found: {error.strerror or error}; "
            "free some space or choose another folder with -o"
        ) from error


def _write_at(file: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(file, view, offset)
        view, offset = view[done:], offset + done


def _read_at(file: int, size: int, offset: int) -> bytes:
    parts = []
    while size > 0:
        part = os.pread(file, size, offset)
        if not part:
            raise OSError(f"the part file ends at {offset} bytes")
        parts.append(part)
        size, offset = size - len(part), offset + len(part)
    return b"".join(parts)
