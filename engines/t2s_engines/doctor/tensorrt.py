"""TensorRT on this machine: its Python package, its libraries, and what may not be combined."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from t2s_engines.doctor.jetson import Jetson
from t2s_engines.doctor.machine import Library, Machine
from t2s_engines.doctor.verdicts import Verdict
from t2s_engines.doctor.versions import Version, parse_version, show_version, within

__all__ = ["OLDEST", "TensorRT", "check_tensorrt", "find_tensorrt"]

OLDEST: Version = (8, 6)
"""The oldest release that t2s-rt builds for."""
_STRONG: Version = (10, 12)
"""NVIDIA calls strong typing complete from this release on; the flag is older."""
_PACKAGES = (
    "tensorrt",
    "tensorrt-cu13",
    "tensorrt-cu12",
    "tensorrt-cu13-bindings",
    "tensorrt-cu12-bindings",
    "tensorrt-bindings",
)


@dataclass(frozen=True)
class TensorRT:
    """What was found of TensorRT.

    Attributes:
        package: name of its Python distribution, or empty.
        bindings: version of it; empty without one.
        libraries: ``libnvinfer.so.*``, one for each major version.
        parser: whether ``libnvonnxparser`` lies there for the same major version.
        dla_compiler: whether ``libnvdla_compiler.so`` lies there.
    """

    package: str
    bindings: Version
    libraries: tuple[Library, ...]
    parser: bool
    dla_compiler: bool = False

    @property
    def present(self) -> bool:
        """Whether there is anything of it."""
        return bool(self.bindings or self.libraries)

    @property
    def release(self) -> Version:
        """The version that counts: of the bindings, else of the library; empty without either.

        The bindings' version has the build number, and they load the library of their own major.
        """
        if self.bindings:
            return self.bindings
        return self.libraries[0].version if self.libraries else ()

    @property
    def own_library(self) -> Library | None:
        """The library that the bindings load."""
        if not self.bindings:
            return self.libraries[0] if self.libraries else None
        major = self.bindings[0]
        return next((found for found in self.libraries if found.soname_major == major), None)


def find_tensorrt(machine: Machine) -> TensorRT:
    """Look for TensorRT; neither package nor library is loaded."""
    package = next((name for name in _PACKAGES if name in machine.packages), "")
    bindings = parse_version(machine.packages.get(package, "")) or _unrecorded(machine)
    libraries = machine.libraries("libnvinfer")
    majors = {found.soname_major for found in machine.libraries("libnvonnxparser")}
    wanted = bindings[0] if bindings else libraries[0].soname_major if libraries else 0
    return TensorRT(
        package,
        bindings,
        tuple(libraries),
        wanted in majors,
        machine.holds_library("libnvdla_compiler.so"),
    )


def _unrecorded(machine: Machine) -> Version:
    """Version that a package without an installation record has in its source."""
    for folder in machine.site_folders:
        try:
            text = (folder / "tensorrt" / "__init__.py").read_text("utf-8", "replace")
        except OSError:
            continue
        found = re.search(r"^__version__\s*=\s*[\"']([\d.]+)", text, re.M)
        return parse_version(found[1]) if found else ()
    return ()


def check_tensorrt(found: TensorRT, jetson: Jetson | None) -> Iterator[Verdict]:
    """What TensorRT can do here."""
    if not found.present:
        yield _absent(jetson)
        return
    yield from _check_parts(found)
    if found.release:
        yield _check_release(found.release)
        if jetson is not None:
            yield from _check_jetson(found.release, jetson)
            yield from _check_dla(found, jetson)


def _absent(jetson: Jetson | None) -> Verdict:
    if jetson is not None:
        return Verdict(
            "warning",
            "tensorrt",
            "not found, though this is a Jetson",
            "install JetPack's own (apt: nvidia-jetpack, python3-libnvinfer) and make the virtual "
            "environment with --system-site-packages",
        )
    return Verdict(
        "note",
        "tensorrt",
        "not installed; engines cannot be built here",
        "on an x86 machine with an NVIDIA GPU: pip install 't2s-rt[tensorrt]'",
    )


def _check_parts(found: TensorRT) -> Iterator[Verdict]:
    library = found.own_library
    listed = ", ".join(f"libnvinfer {show_version(item.version)}" for item in found.libraries)
    if not found.bindings:
        yield Verdict(
            "warning",
            "tensorrt",
            f"{listed}, but no Python package",
            "on a Jetson: apt install python3-libnvinfer, and a virtual environment made with "
            "--system-site-packages; elsewhere: pip install the tensorrt of the same version",
        )
    elif library is None:
        yield Verdict(
            "fails",
            "tensorrt",
            f"package {found.package or 'tensorrt'} {show_version(found.bindings)}, but no "
            f"libnvinfer.so.{found.bindings[0]} ({listed or 'no libnvinfer at all'})",
            f"install the libraries of TensorRT {show_version(found.bindings[:3])}, or put their "
            "folder into LD_LIBRARY_PATH",
        )
    elif len(library.version) >= 3 and library.version[:3] != found.bindings[:3]:
        yield Verdict(
            "fails",
            "tensorrt",
            f"package {show_version(found.bindings)} over libnvinfer "
            f"{show_version(library.version)} ({library.path})",
            "install both of one version; leave only one in LD_LIBRARY_PATH",
        )
    else:
        yield Verdict(
            "ok", "tensorrt", f"{show_version(found.bindings)}, {library.path.name} beside it"
        )
    if found.libraries and not found.parser:
        yield Verdict(
            "fails",
            "tensorrt",
            "libnvonnxparser is missing: no graph can be read",
            "install TensorRT's ONNX parser (apt: libnvonnxparsers10 or -dev)",
        )


def _check_release(release: Version) -> Verdict:
    shown = show_version(release)
    if release < OLDEST:
        return Verdict(
            "fails",
            "tensorrt release",
            f"{shown} is older than {show_version(OLDEST)}: it has no LayerNormalization",
            "use onnxruntime-cpu, or a JetPack of 6.0 or later",
        )
    if within(release, (8, 6), (8, 6)):
        return Verdict(
            "warning",
            "tensorrt release",
            f"{shown} has no strong typing: precision is a hint to the builder here",
            "see what is built with t2s-rt build --dry-run --target 8.6; verify every engine",
        )
    if release < (10,):
        return Verdict(
            "warning", "tensorrt release", f"{shown}: no such release was considered", "use 10.3"
        )
    if release < _STRONG:
        return Verdict(
            "note",
            "tensorrt release",
            f"{shown} knows strong typing, which NVIDIA calls complete from "
            f"{show_version(_STRONG)} on",
            "run t2s-rt verify on every engine",
        )
    return Verdict("ok", "tensorrt release", f"{shown} builds strongly typed engines")


def _check_dla(found: TensorRT, jetson: Jetson) -> Iterator[Verdict]:
    """The Python package of L4T R39 is linked with it (blakeblackshear/frigate#23582)."""
    if found.bindings and jetson.l4t >= (39,) and not found.dla_compiler:
        yield Verdict(
            "warning",
            "tensorrt on jetson",
            "libnvdla_compiler.so is missing, without which import tensorrt fails",
            "in a container: mount the host's file; else install nvidia-l4t-dla-compiler",
        )


def _check_jetson(release: Version, jetson: Jetson) -> Iterator[Verdict]:
    shown = show_version(release)
    if release >= (11,) and jetson.l4t and jetson.l4t < (39, 2):
        yield Verdict(
            "fails",
            "tensorrt on jetson",
            f"TensorRT {shown}, which runs on no JetPack before 7.2.2",
            "use the TensorRT that this JetPack ships",
        )
        return
    if within(release, (11, 0), (11, 4, 0)):
        yield Verdict(
            "fails",
            "tensorrt on jetson",
            f"TensorRT {shown}: 11.0 to 11.4.0 support no Jetson",
            "use the TensorRT of JetPack, or 11.4.1 or later on JetPack 7.2.2 or later",
        )
        return
    if jetson.family == "Orin" and within(release, (10, 13), (10, 13)):
        yield Verdict(
            "fails",
            "tensorrt on jetson",
            f"TensorRT {shown} has no code for Orin (sm_87)",
            "use JetPack 7.2's own TensorRT 10.16",
        )
        return
    pack = jetson.jetpack
    if pack is None:
        return
    if within(release, pack.tensorrt, pack.tensorrt):
        yield Verdict("ok", "tensorrt on jetson", f"the TensorRT of JetPack {pack.name}")
    else:
        yield Verdict(
            "warning",
            "tensorrt on jetson",
            f"TensorRT {shown}, but JetPack {pack.name} ships {show_version(pack.tensorrt)}",
            "engines fit only the TensorRT that built them; prefer JetPack's own",
        )
