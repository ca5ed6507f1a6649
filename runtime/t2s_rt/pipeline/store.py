"""Where a tile's scores wait until the pixels around them are known.

Scores are quantised to 256 steps on the way in, in memory and on disk alike, so that a run
that was interrupted and resumed gives the very pixels of one that was not.
"""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from t2s_rt.errors import OutputError

__all__ = [
    "DiskStore",
    "MemoryStore",
    "ScoreStore",
    "dequantise",
    "load_arrays",
    "quantise",
    "save_arrays",
]

_STEPS = 255.0
_CACHE_BYTES = 64 << 20


def quantise(scores: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Scores 0..1 as uint8, rounded to the nearest of 256 steps."""
    return np.asarray(np.rint(np.clip(scores, 0.0, 1.0) * _STEPS), dtype=np.uint8)


def dequantise(scores: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The way back, float32 0..1."""
    return np.asarray(scores / np.float32(_STEPS), dtype=np.float32)


class ScoreStore(Protocol):
    """Quantised scores uint8 ``[K, H, W]`` by tile index."""

    def put(self, index: int, scores: NDArray[np.uint8]) -> None:
        """Keep the scores of a tile."""

    def get(self, index: int) -> NDArray[np.uint8] | None:
        """The scores of a tile, or None where it has none."""

    def drop(self, index: int) -> None:
        """Forget a tile that is needed no more."""


class MemoryStore:
    """Scores in memory, for images that are."""

    def __init__(self) -> None:
        self._tiles: dict[int, NDArray[np.uint8]] = {}

    def put(self, index: int, scores: NDArray[np.uint8]) -> None:
        """Keep the scores of a tile."""
        self._tiles[index] = scores

    def get(self, index: int) -> NDArray[np.uint8] | None:
        """The scores of a tile, or None where it has none."""
        return self._tiles.get(index)

    def drop(self, index: int) -> None:
        """Forget a tile that is needed no more."""
        self._tiles.pop(index, None)


class DiskStore:
    """Scores in one small file per tile; the last few stay in memory as well."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._recent: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()
        self._bytes = 0

    def _path(self, index: int) -> Path:
        return self._folder / f"tile-{index:08d}.npz"

    def put(self, index: int, scores: NDArray[np.uint8]) -> None:
        """Write the planes that hold anything, then remember the whole.

        Raises:
            OutputError: the disk is full or the folder is gone.
        """
        filled = np.flatnonzero(scores.any(axis=(1, 2)))
        save_arrays(
            self._path(index),
            {
                "shape": np.array(scores.shape, dtype=np.int64),
                "planes": filled.astype(np.int64),
                "scores": scores[filled],
            },
        )
        self._remember(index, scores)

    def get(self, index: int) -> NDArray[np.uint8] | None:
        """The scores of a tile; None where the file is missing or damaged."""
        if index in self._recent:
            self._recent.move_to_end(index)
            return self._recent[index]
        found = load_arrays(self._path(index))
        if found is None or set(found) != {"shape", "planes", "scores"}:
            return None
        scores = np.zeros(tuple(int(size) for size in found["shape"]), dtype=np.uint8)
        scores[found["planes"]] = found["scores"]
        self._remember(index, scores)
        return scores

    def drop(self, index: int) -> None:
        """Delete a tile that is needed no more."""
        self._path(index).unlink(missing_ok=True)
        gone = self._recent.pop(index, None)
        self._bytes -= 0 if gone is None else gone.nbytes

    def _remember(self, index: int, scores: NDArray[np.uint8]) -> None:
        previous = self._recent.pop(index, None)
        self._bytes += scores.nbytes - (0 if previous is None else previous.nbytes)
        self._recent[index] = scores
        while self._bytes > _CACHE_BYTES and len(self._recent) > 1:
            _, oldest = self._recent.popitem(last=False)
            self._bytes -= oldest.nbytes


def save_arrays(path: Path, arrays: dict[str, NDArray[np.generic]]) -> None:
    """Write an ``.npz`` whole or not at all, compressed for speed rather than size.

    Raises:
        OutputError: it cannot be written.
    """
    partial = path.with_name(path.name + ".part")
    try:
        # np.savez_compressed cannot choose the level, and level 6 costs four times the time
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, array in arrays.items():
                buffer = io.BytesIO()
                np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
                archive.writestr(f"{name}.npy", buffer.getbuffer())
        os.replace(partial, path)
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror or error}); the run's intermediate "
            "results need room beside its outputs; free some and run the same command again"
        ) from error


def load_arrays(path: Path) -> dict[str, NDArray[np.generic]] | None:
    """Read an ``.npz``; None where it is missing, cut off or altered (its checksums tell)."""
    try:
        # opened here, because np.load leaves the file open where it finds no archive
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error):
        return None
