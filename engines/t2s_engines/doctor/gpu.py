"""Driver, GPU, CUDA; and of a Jetson: board, JetPack, power mode, clocks, heat."""

from __future__ import annotations

from collections.abc import Iterator

from t2s_engines.doctor.jetson import JETPACKS, Jetson
from t2s_engines.doctor.nvidia import Nvidia
from t2s_engines.doctor.verdicts import Verdict
from t2s_engines.doctor.versions import show_version

__all__ = ["check_gpu", "check_jetson"]

_HOT = 85.0
"""Degrees Celsius from which a Jetson is near the point where it slows down."""


def check_gpu(nvidia: Nvidia, on_jetson: bool) -> Iterator[Verdict]:
    """Is there a GPU that can be used?"""
    if not nvidia.present:
        yield Verdict("note", "nvidia driver", "none: everything runs on the processor")
        return
    yield _driver(nvidia, on_jetson)
    for gpu in nvidia.gpus:
        known = f"compute capability {gpu.capability}" if gpu.capability else "unknown capability"
        yield Verdict("ok", "gpu", f"{gpu.name}, {known}")
    if not nvidia.gpus:
        yield Verdict("note", "gpu", "the driver lists none in /proc/driver/nvidia/gpus")
    runtimes = ", ".join(f"libcudart {show_version(item.version)}" for item in nvidia.runtimes)
    toolkit = f"toolkit {show_version(nvidia.toolkit)}" if nvidia.toolkit else ""
    found = ", ".join(part for part in (runtimes, toolkit) if part)
    yield Verdict(
        "ok" if found else "note",
        "cuda",
        found or "no CUDA runtime in the loader's folders",
        "" if found else "the backend's extra or JetPack brings it",
    )


def _driver(nvidia: Nvidia, on_jetson: bool) -> Verdict:
    library = nvidia.libcuda
    if library is None:
        return Verdict(
            "fails",
            "nvidia driver",
            f"kernel module {nvidia.driver_text}, but no libcuda.so.1",
            "in a container: start it with NVIDIA's runtime (--gpus all; --runtime nvidia on a "
            "Jetson); else install the driver's libraries",
        )
    if not nvidia.driver:
        return Verdict(
            "warning",
            "nvidia driver",
            f"{library.path.name}, but no trace of its kernel module in /proc or /sys",
            "load it (modprobe nvidia) or restart; a container or WSL may hide it: then this is "
            "harmless",
        )
    # libcuda.so.1 alone has no version of its own; Jetson's libcuda.so.1.1 has another numbering
    same = len(library.version) < 2 or library.version[:2] == nvidia.driver[:2]
    if not on_jetson and not same:
        return Verdict(
            "fails",
            "nvidia driver",
            f"kernel module {nvidia.driver_text}, library {library.path.name}",
            "restart: the driver was updated under a running kernel",
        )
    return Verdict("ok", "nvidia driver", nvidia.driver_text)


def check_jetson(jetson: Jetson) -> Iterator[Verdict]:
    """Board, system and how fast it is allowed to be."""
    yield Verdict("ok", "jetson", jetson.model)
    yield _jetpack(jetson)
    yield _power(jetson)
    if jetson.clocks_locked is not None:
        held = "held at their greatest rate" if jetson.clocks_locked else "free to fall"
        yield Verdict(
            "ok" if jetson.clocks_locked else "note",
            "clocks",
            f"processor clocks {held}",
            "" if jetson.clocks_locked else "before measuring: sudo jetson_clocks",
        )
    if jetson.hottest is not None:
        zone, degrees = jetson.hottest
        hot = degrees >= _HOT
        yield Verdict(
            "warning" if hot else "ok",
            "temperature",
            f"{degrees:.0f} degrees Celsius at most ({zone})",
            "cool it: it slows down when hotter" if hot else "",
        )


def _jetpack(jetson: Jetson) -> Verdict:
    if not jetson.l4t:
        return Verdict(
            "note",
            "jetpack",
            "/etc/nv_tegra_release is missing; its release is unknown",
            "in a container: mount that file",
        )
    release, pack = show_version(jetson.l4t), jetson.jetpack
    if pack is None:
        return Verdict(
            "note",
            "jetpack",
            f"L4T {release} belongs to no JetPack that this t2s-rt knows "
            f"({JETPACKS[0].name} to {JETPACKS[-1].name})",
            "compare its TensorRT with docs/deploy.md",
        )
    ships = f"CUDA {pack.cuda}, TensorRT {show_version(pack.tensorrt)}"
    text = f"L4T {release}: JetPack {pack.name}, which ships {ships}"
    if pack.tensorrt < (8, 6):
        return Verdict("fails", "jetpack", text, "flash JetPack 6.1 or later; its TensorRT is old")
    return Verdict("ok", "jetpack", text)


def _power(jetson: Jetson) -> Verdict:
    mode = jetson.power
    if mode is None:
        return Verdict("note", "power mode", "/var/lib/nvpmodel/status tells none")
    text = f"{mode.number} {mode.name}".rstrip()
    if mode.name.startswith("MAXN"):
        return Verdict("ok", "power mode", text)
    return Verdict(
        "note",
        "power mode",
        f"{text}: not the greatest",
        "figures belong to their mode; list modes in /etc/nvpmodel.conf, set: sudo nvpmodel -m ID",
    )
