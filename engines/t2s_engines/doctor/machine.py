"""The machine as the probes see it: files under a root, an environment, installed packages."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from t2s_engines.doctor.versions import Version, parse_version

__all__ = ["Library", "Machine"]

_MAX_BYTES = 1 << 20
_LIBRARY_FOLDERS = (
    "/lib/{triple}",
    "/usr/lib/{triple}",
    "/usr/lib/{triple}/tegra",
    "/usr/lib/{triple}/nvidia",
    "/usr/lib64",
    "/usr/lib",
    "/lib64",
    "/usr/local/lib",
    "/usr/local/cuda/lib64",
    "/usr/local/cuda/targets/{triple}/lib",
    "/usr/local/tensorrt/lib",
    "/usr/lib/wsl/lib",
)
_WHEEL_FOLDERS = ("tensorrt_libs", "nvidia/cuda_runtime/lib", "nvidia/cu13/lib", "nvidia/cu12/lib")
"""Where NVIDIA's wheels keep their libraries, inside site-packages."""


@dataclass(frozen=True)
class Library:
    """A shared library by its file.

    Attributes:
        path: of the file.
        soname_major: the number right after ``.so.``.
        version: all numbers of the file's name; longest name wins where links stand beside it.
    """

    path: Path
    soname_major: int
    version: Version


@dataclass(frozen=True)
class Machine:
    """Everything that a probe may look at.

    Attributes:
        root: folder that stands for ``/``.
        environ: environment variables.
        arch: ``x86_64``, ``aarch64``.
        python: version of the interpreter.
        cores: processors that this process may use.
        packages: installed distributions, normalised name to version.
        site_folders: folders that Python imports from; real paths, not below ``root``.
        providers: loads onnxruntime and gives the providers that it was compiled with.
    """

    root: Path = Path("/")
    environ: Mapping[str, str] = field(default_factory=dict)
    arch: str = "x86_64"
    python: Version = (3, 11, 0)
    cores: int = 1
    packages: Mapping[str, str] = field(default_factory=dict)
    site_folders: tuple[Path, ...] = ()
    providers: Callable[[], Sequence[str]] = tuple

    @classmethod
    def here(cls) -> Machine:
        """The machine that this runs on."""
        affinity = getattr(os, "sched_getaffinity", None)
        return cls(
            environ=dict(os.environ),
            arch=platform.machine(),
            python=tuple(sys.version_info[:3]),
            cores=len(affinity(0)) if affinity else os.cpu_count() or 1,
            packages=_installed(),
            site_folders=tuple(Path(entry) for entry in sys.path if entry),
            providers=_onnxruntime_providers,
        )

    def path(self, absolute: str) -> Path:
        """A path of the machine, below ``root``."""
        return self.root / absolute.lstrip("/")

    def text(self, absolute: str) -> str | None:
        """A small text file without its NUL bytes and outer white space, or None."""
        try:
            with open(self.path(absolute), "rb") as stream:
                data = stream.read(_MAX_BYTES)
        except OSError:
            return None
        return data.decode("utf-8", "replace").replace("\0", "\n").strip()

    def glob(self, pattern: str) -> list[Path]:
        """Files by an absolute pattern, sorted; folders that cannot be read hold none."""
        try:
            return sorted(self.root.glob(pattern.lstrip("/")))
        except OSError:
            return []

    def version_of(self, package: str) -> Version:
        """Version of an installed package; empty where it is not installed."""
        return parse_version(self.packages.get(package, ""))

    def library_folders(self) -> list[Path]:
        """Where the loader looks, by ``LD_LIBRARY_PATH``, ``ld.so.conf`` and custom."""
        triple = f"{self.arch}-linux-gnu"
        listed = self.environ.get("LD_LIBRARY_PATH", "").split(":")
        configured = [
            line.strip()
            for file in (self.path("/etc/ld.so.conf"), *self.glob("/etc/ld.so.conf.d/*.conf"))
            for line in _lines(file)
            if line.strip().startswith("/")
        ]
        usual = [folder.format(triple=triple) for folder in _LIBRARY_FOLDERS]
        folders = [self.path(entry) for entry in (*listed, *configured, *usual) if entry]
        wheels = [site / part for site in self.site_folders for part in _WHEEL_FOLDERS]
        return list(dict.fromkeys([*folders, *wheels]))

    def holds_library(self, file: str) -> bool:
        """Whether a file of this very name lies in one of the loader's folders."""
        return any((folder / file).exists() for folder in self.library_folders())

    def libraries(self, name: str) -> list[Library]:
        """Files ``NAME.so.*``, one for each major version, in the loader's order.

        Nothing is loaded: a library that lies there may still lack what it needs.
        """
        found: dict[int, Library] = {}
        for folder in self.library_folders():
            for file in _files(folder, f"{name}.so."):
                numbers = parse_version(file.name.removeprefix(f"{name}.so."))
                if not numbers:
                    continue
                known = found.get(numbers[0])
                # links (.so.10) stand beside the file (.so.10.3.0): the longer name says more
                if known is None or (
                    known.path.parent == folder and len(numbers) > len(known.version)
                ):
                    found[numbers[0]] = Library(file, numbers[0], numbers)
        return list(found.values())


def _files(folder: Path, prefix: str) -> list[Path]:
    try:
        return sorted(file for file in folder.iterdir() if file.name.startswith(prefix))
    except OSError:
        return []


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []


def _installed() -> dict[str, str]:
    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        # a broken record has no name; the first on the path is the one that is imported
        name = distribution.metadata["Name"]
        if name:
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), distribution.version)
    return found


def _onnxruntime_providers() -> Sequence[str]:
    import onnxruntime

    return tuple(onnxruntime.get_available_providers())
