"""Files of a bundle: safe paths, sizes and hashes."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath

from t2s_rt.errors import BundleError

__all__ = ["check_relative_path", "resolve_inside", "sha256_file"]

_BLOCK = 1 << 20


def sha256_file(path: str | Path) -> str:
    """SHA-256 of a file's content, lower-case hexadecimal, in constant memory.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.sha256()
    block = memoryview(bytearray(_BLOCK))
    with open(path, "rb", buffering=0) as stream:
        while count := stream.readinto(block):
            digest.update(block[:count])
    return digest.hexdigest()


def check_relative_path(path: str) -> str | None:
    """Why a manifest's path is not acceptable on any system, or None if it is."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts:
        return "leaves the bundle's folder"
    if any(character in path for character in '\\:*?"<>|') or not path.isprintable():
        return "holds characters that no portable file name has"
    return None


def resolve_inside(root: Path, path: str) -> Path:
    """The file under ``root``, links followed.

    Raises:
        BundleError: no such file, or it lies outside ``root`` (also through a link).
    """
    try:
        base = root.resolve()
        file = (base / path).resolve()
        inside = file.is_relative_to(base)
        exists = inside and file.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a loop of links
        raise BundleError(f"{root / path}: cannot be read ({error})") from error
    if not inside:
        raise BundleError(f"{root / path}: leads out of the bundle's folder, to {file}")
    if not exists:
        raise BundleError(
            f"{root / path}: listed in bundle.json but missing; fetch or export the bundle again"
        )
    return file
