"""The folder of a bundle that is being written: it appears whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from t2s_rt.bundle.manifest import MANIFEST_NAME
from t2s_rt.errors import OutputError

__all__ = ["check_target", "whole_folder"]


@contextmanager
def whole_folder(target: Path, replace_existing: bool, option: str = "--force") -> Iterator[Path]:
    """A temporary folder beside ``target`` that takes its place if all goes well.

    Args:
        target: of the bundle.
        replace_existing: a bundle that is there may go; what it holds stays until then.
        option: by which the user allows that.

    Raises:
        OutputError: something else is there, or it cannot be written.
    """
    check_target(target, replace_existing, option)
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        new = temporary / "new"  # made here because mkdtemp's folder is for its owner only
        new.mkdir()
        yield new
        check_target(target, replace_existing, option)
        _swap(new, target, temporary / "old")
    except OSError as cause:
        raise OutputError(
            f"{target}: cannot be written ({cause.strerror or cause}); make room or choose "
            "another folder"
        ) from cause
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _swap(new: Path, target: Path, old: Path) -> None:
    """Put ``new`` in the place of ``target``, or leave ``target`` as it was."""
    if target.exists():
        os.replace(target, old)
    try:
        os.replace(new, target)
    except OSError:
        if old.exists():
            os.replace(old, target)
        raise


def check_target(target: Path, replace_existing: bool, option: str = "--force") -> None:
    """Refuse to replace what is there, unless it is a bundle and may be replaced.

    Raises:
        OutputError: saying what is there and what to do.
    """
    if not target.exists() and not target.is_symlink():
        return
    if not target.is_dir() or target.is_symlink():
        raise OutputError(f"{target}: expected a folder, found something else; choose another name")
    if not any(target.iterdir()):
        return
    if not (target / MANIFEST_NAME).is_file():
        raise OutputError(
            f"{target}: expected a new folder or a bundle, found a folder with other files; "
            "choose another folder"
        )
    if not replace_existing:
        raise OutputError(f"{target}: holds a bundle already; add {option} to replace it")
