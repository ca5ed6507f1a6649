"""Which scenes a command names, and what their outputs are called."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from t2s_rt.errors import SceneError
from t2s_rt.scene import list_scenes, output_stems

__all__ = ["SceneSource", "find_scenes"]

_OUTPUTS = (".labels.tif", ".confidence.tif", ".preview.png")


@dataclass(frozen=True)
class SceneSource:
    """A scene to be read.

    Attributes:
        path: of its file.
        stem: what its outputs are named after; unique within a run.
    """

    path: Path
    stem: str


def find_scenes(paths: Iterable[Path]) -> tuple[SceneSource, ...]:
    """The scenes that files and folders name, in a stable order, each once.

    A folder gives the images directly inside it, by name, without this program's own outputs.
    Stems that clash are resolved by the extension, see ``t2s_rt.scene.output_stems``.

    Raises:
        SceneError: a folder that cannot be read or holds no scene.
    """
    files: dict[str, Path] = {}
    for path in paths:
        for file in _scenes_in(path) if path.is_dir() else [path]:
            # two spellings of one file are one scene
            files.setdefault(_identity(file), file)
    found = list(files.values())
    return tuple(
        SceneSource(file, stem) for file, stem in zip(found, output_stems(found), strict=True)
    )


def _scenes_in(folder: Path) -> list[Path]:
    scenes = [file for file in list_scenes(folder) if not _is_output(file)]
    if not scenes:
        raise SceneError(
            f"{folder}: expected a folder of scenes, found only maps that t2s-rt wrote; "
            "name another folder"
        )
    return scenes


def _is_output(path: Path) -> bool:
    """Whether a file is a map of ours: such a suffix, with our report beside it."""
    for suffix in _OUTPUTS:
        if path.name.endswith(suffix):
            return path.with_name(path.name.removesuffix(suffix) + ".json").is_file()
    return False


def _identity(path: Path) -> str:
    try:
        return str(path.resolve())
    except (OSError, RuntimeError):  # a loop of links
        return str(path)
