"""The genuine bindings on a machine without TensorRT: wheels, a stub to link to, a child process.

Not in this process: both releases import as ``tensorrt_bindings``, and calls that they accept end
in a null pointer.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["RELEASES", "Genuine", "UnavailableError", "obtain"]

RELEASES = {"10.13": "10.13.3.9", "11.4": "11.4.0.106"}

_STUB = """
#define NOTHING(name) void *name(void) { return 0; }
NOTHING(createInferBuilder_INTERNAL)
NOTHING(createInferRuntime_INTERNAL)
NOTHING(createInferRefitter_INTERNAL)
NOTHING(getPluginRegistry)
NOTHING(getBuilderPluginRegistry)
NOTHING(initLibNvInferPlugins)
NOTHING(createNvOnnxParser_INTERNAL)
NOTHING(createNvOnnxParserRefitter_INTERNAL)
NOTHING(getNvOnnxParserVersion)
"""
"""The symbols that the bindings link to; every factory answers with a null pointer."""

_LIBRARIES = ("libnvinfer", "libnvinfer_plugin", "libnvonnxparser")


class UnavailableError(Exception):
    """The genuine bindings cannot be had here; the message says why."""


@dataclass(frozen=True)
class Genuine:
    """What was obtained.

    Attributes:
        folder: holds ``tensorrt-RELEASE/``, ``stub-MAJOR/``, ``cuda/`` and ``tools/``.
    """

    folder: Path

    def run(self, release: str, *arguments: str) -> Any:
        """Run ``probe.py`` on a release in a process of its own.

        Returns:
            The JSON that it printed.
        """
        return _json(["probe.py", str(self.folder), RELEASES[release], *arguments])

    def cuda(self, *arguments: str) -> Any:
        """Run ``probe_cuda.py`` on the genuine package cuda."""
        return _json(["probe_cuda.py", str(self.folder / "cuda"), *arguments])


def _json(arguments: list[str]) -> Any:
    script = Path(__file__).with_name(arguments[0])
    # fresh memory is filled with garbage: what reads an object that was never made must crash
    environment = {**os.environ, "MALLOC_PERTURB_": "165", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, str(script), *arguments[1:]],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"{script.name} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return json.loads(done.stdout)


def obtain() -> Genuine:
    """Download, unpack and link, once for this machine and Python.

    Raises:
        UnavailableError: no compiler, no network, or no wheel for this Python.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise UnavailableError("the genuine bindings are wheels for Linux on x86-64 here")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise UnavailableError("no C compiler: the stub of libnvinfer cannot be built")
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "t2s-rt-tests"
    listed = Path(__file__).with_name("requirements.txt").read_text(encoding="utf-8")
    digest = hashlib.sha256((listed + _STUB).encode()).hexdigest()[:8]
    name = f"cp{sys.version_info.major}{sys.version_info.minor}-{digest}"
    final = root / f"genuine-{name}"
    with _locked(root / f"{name}.lock"):
        if not final.is_dir():
            with tempfile.TemporaryDirectory(dir=root) as work:
                made = Path(work) / "made"
                _download(made)
                _link(made, compiler)
                made.rename(final)
    return Genuine(final)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _download(made: Path) -> None:
    """Fetch the wheels and unpack each where it belongs."""
    wheels = made / "wheels"
    listed = str(Path(__file__).with_name("requirements.txt"))
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest"]
    done = subprocess.run(
        [*command, str(wheels), "--only-binary", ":all:", "-r", listed],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["pip said nothing"]
        raise UnavailableError(f"pip cannot download the genuine bindings: {lines[-1]}")
    for wheel in wheels.glob("*.whl"):
        kind, version = wheel.name.split("-")[:2]
        places = {"tensorrt": f"tensorrt-{version}", "cuda": "cuda"}
        target = made / places.get(kind.partition("_")[0], "tools")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(target)
    shutil.rmtree(wheels)


def _link(made: Path, compiler: str) -> None:
    """Build the stub under the names that the bindings ask for."""
    source = made / "stub.c"
    source.write_text(_STUB, encoding="utf-8")
    for release in RELEASES.values():
        major = release.split(".")[0]
        folder = made / f"stub-{major}"
        folder.mkdir()
        for library in _LIBRARIES:
            name = f"{library}.so.{major}"
            command = [compiler, "-shared", "-fPIC", f"-Wl,-soname,{name}", str(source)]
            subprocess.run([*command, "-o", str(folder / name)], check=True)
