"""The report about a fault of our own: everything that its finder needs, in one text file."""

from __future__ import annotations

import os
import platform
import shlex
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from t2s_rt import __version__

__all__ = ["write_fault_report"]

_PACKAGES = (
    "numpy",
    "opencv-python-headless",
    "rasterio",
    "onnxruntime",
    "onnxruntime-gpu",
    "click",
)


def write_fault_report(error: BaseException, args: Sequence[str]) -> Path | None:
    """Write traceback, versions and command line; into the current folder if it can be written.

    Returns:
        The report's path, or None where no folder takes it.
    """
    text = "\n".join((*_facts(args), "", "".join(traceback.format_exception(error))))
    name = time.strftime("t2s-rt-fault-%Y%m%d-%H%M%S-") + f"{os.getpid()}.txt"
    for folder in _folders():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / name
            path.write_text(text, encoding="utf-8", errors="backslashreplace")
        except OSError:
            continue
        return path
    return None


def _facts(args: Sequence[str]) -> Iterator[str]:
    from importlib.metadata import PackageNotFoundError, version

    yield f"t2s-rt {__version__}"
    yield f"command: t2s-rt {shlex.join(args)}"
    yield f"python {platform.python_version()} ({sys.executable})"
    yield f"system {platform.platform()}"
    for package in _PACKAGES:
        try:
            yield f"{package} {version(package)}"
        except PackageNotFoundError:
            continue


def _folders() -> Iterator[Path]:
    yield Path()
    cache = os.environ.get("T2S_CACHE") or os.environ.get("XDG_CACHE_HOME")
    if os.environ.get("T2S_CACHE"):
        yield Path(str(cache))
    elif cache:
        yield Path(cache) / "t2s-rt"
    elif "HOME" in os.environ:
        yield Path(os.environ["HOME"]) / ".cache" / "t2s-rt"
    yield Path(tempfile.gettempdir())
