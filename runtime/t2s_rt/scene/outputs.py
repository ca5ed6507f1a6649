"""Names of the files that a run leaves behind."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from t2s_rt.errors import SceneError
from t2s_rt.scene.formats import is_scene_name

__all__ = ["list_scenes", "output_stems"]


def list_scenes(folder: str | os.PathLike[str]) -> tuple[Path, ...]:
    """The scenes directly inside a folder, by name; sidecars (``.ovr``, ``.msk``) are none.

    Raises:
        SceneError: the folder cannot be listed or holds no scene.
    """
    place = Path(folder)
    try:
        found = sorted(path for path in place.iterdir() if path.is_file() and is_scene_name(path))
    except OSError as error:
        raise SceneError(f"expected a folder of scenes, cannot list {place}: {error}") from error
    if not found:
        raise SceneError(
            f"expected a folder with GeoTIFF, PNG, JPEG, WebP, JPEG 2000, BMP or GIF files, found "
            f"none in {place}; name another folder or a file"
        )
    return tuple(found)


def output_stems(paths: Sequence[str | os.PathLike[str]]) -> tuple[str, ...]:
    """What the outputs of each scene are named after, all different on any file system.

    A scene's outputs bear its stem. Scenes that share a stem keep their extension
    (``a.tif`` and ``a.png`` give ``a_tif`` and ``a_png``); those that still clash, for they
    come from different folders, are numbered in the order given.
    """
    files = [Path(path) for path in paths]
    # compared without case: some file systems do not tell a.tif from A.tif
    shared = Counter(file.stem.casefold() for file in files)
    taken: set[str] = set()
    stems = []
    for file in files:
        stem = file.stem
        if shared[stem.casefold()] > 1:
            stem = f"{stem}_{file.suffix.lstrip('.')}" if file.suffix else stem
        candidate, number = stem, 2
        while candidate.casefold() in taken or (
            candidate != file.stem and shared[candidate.casefold()]
        ):
            candidate, number = f"{stem}_{number}", number + 1
        taken.add(candidate.casefold())
        stems.append(candidate)
    return tuple(stems)
