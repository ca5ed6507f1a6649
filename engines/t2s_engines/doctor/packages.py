"""Python packages that run graphs and read images: present, of use, and not in each other's way."""

from __future__ import annotations

from collections.abc import Iterator

from t2s_engines.doctor.machine import Machine
from t2s_engines.doctor.nvidia import LEAST_DRIVER, Nvidia
from t2s_engines.doctor.verdicts import Verdict
from t2s_engines.doctor.versions import Version, parse_version, show_version

__all__ = ["LEAST_ONNXRUNTIME", "check_packages", "cuda_of_onnxruntime"]

LEAST_ONNXRUNTIME: Version = (1, 20)
"""Bound of the extras ``cpu`` and ``cuda``."""
_FIRST_CUDA_13: Version = (1, 27)
_TENSORRT_OF_PROVIDER = 10
"""Major version of libnvinfer that onnxruntime-gpu 1.31.1's TensorRT provider is linked with."""
_OPENCVS = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)


def cuda_of_onnxruntime(version: Version) -> int:
    """Major version of CUDA that an onnxruntime-gpu wheel of PyPI needs."""
    return 12 if version < _FIRST_CUDA_13 else 13


def check_packages(machine: Machine, nvidia: Nvidia, on_jetson: bool) -> Iterator[Verdict]:
    """What is installed, and whether it fits together."""
    runtimes = sorted(name for name in machine.packages if _is_onnxruntime(name))
    if len(runtimes) == 1:
        yield from _one_onnxruntime(runtimes[0], machine, nvidia, on_jetson)
    elif runtimes:
        shown = ", ".join(f"{name} {machine.packages[name]}" for name in runtimes)
        extra = "cuda" if nvidia.present and not on_jetson else "cpu"
        yield Verdict(
            "fails",
            "onnxruntime",
            f"{len(runtimes)} packages that overwrite each other: {shown}",
            f"pip uninstall -y {' '.join(runtimes)} && pip install 't2s-rt[{extra}]'",
        )
    else:
        yield Verdict(
            "fails",
            "onnxruntime",
            "not installed: the CPU path, prompts and verify need it",
            "pip install 't2s-rt[cpu]'",
        )
    yield _opencv(machine)
    yield _tokenizers(machine)


def _is_onnxruntime(name: str) -> bool:
    return name.startswith(("onnxruntime", "ort-nightly")) and name not in (
        "onnxruntime-extensions",
        "onnxruntime-genai",
        "onnxruntime-tools",
    )


def _one_onnxruntime(
    name: str, machine: Machine, nvidia: Nvidia, on_jetson: bool
) -> Iterator[Verdict]:
    version = machine.version_of(name)
    shown = f"{name} {machine.packages[name]}"
    try:
        providers = list(machine.providers())
    except Exception as error:  # a broken wheel fails in ways of its own
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        yield Verdict(
            "fails",
            "onnxruntime",
            f"{shown} cannot be imported ({reason})",
            f"pip install --force-reinstall {name}",
        )
        return
    if version and version < LEAST_ONNXRUNTIME:
        least = show_version(LEAST_ONNXRUNTIME)
        yield Verdict(
            "warning",
            "onnxruntime",
            f"{shown} is older than {least}",
            f"pip install '{name}>={least}'",
        )
    else:
        compiled = ", ".join(provider.removesuffix("ExecutionProvider") for provider in providers)
        yield Verdict("ok", "onnxruntime", f"{shown}, compiled with {compiled}")
    if "CUDAExecutionProvider" in providers:
        yield _cuda_provider(name, version, nvidia, on_jetson)
        if "TensorrtExecutionProvider" in providers:
            yield _tensorrt_provider(machine)
    elif nvidia.present and not on_jetson:
        yield Verdict(
            "note",
            "onnxruntime cuda",
            "this package cannot use the GPU",
            f"pip uninstall -y {name} && pip install 't2s-rt[cuda]'",
        )


def _cuda_provider(name: str, version: Version, nvidia: Nvidia, on_jetson: bool) -> Verdict:
    check = "onnxruntime cuda"
    if not nvidia.present:
        return Verdict(
            "warning",
            check,
            "compiled in, but there is no NVIDIA driver",
            "install the driver (in a container: start it with --gpus all), or use 't2s-rt[cpu]'",
        )
    if on_jetson:
        # such a package was built for one JetPack; which CUDA it needs only its builder knows
        return Verdict("note", check, "compiled in; built for this JetPack?", "run t2s-rt verify")
    major = cuda_of_onnxruntime(version)
    least = LEAST_DRIVER[major]
    if nvidia.driver and nvidia.driver < parse_version(least):
        return Verdict(
            "fails",
            check,
            f"{show_version(version)} needs CUDA {major} and so driver {least}, "
            f"found {nvidia.driver_text}",
            _other_wheel(nvidia),
        )
    majors = sorted(item.soname_major for item in nvidia.runtimes)
    if major not in majors:
        found = ", ".join(f"libcudart.so.{item}" for item in majors) or "no libcudart"
        return Verdict(
            "fails",
            check,
            f"{show_version(version)} needs CUDA {major}, found {found}",
            f"pip install '{name}[cuda,cudnn]' brings CUDA {major}'s libraries, or install them",
        )
    return Verdict("ok", check, f"CUDA {major} for {show_version(version)} is there")


def _other_wheel(nvidia: Nvidia) -> str:
    if nvidia.driver >= parse_version(LEAST_DRIVER[12]):
        bound = show_version(_FIRST_CUDA_13)
        return f"update the driver, or: pip install 'onnxruntime-gpu<{bound}' (CUDA 12)"
    return "update the driver"


def _tensorrt_provider(machine: Machine) -> Verdict:
    majors = [item.soname_major for item in machine.libraries("libnvinfer")]
    if _TENSORRT_OF_PROVIDER in majors:
        return Verdict("ok", "onnxruntime tensorrt", f"libnvinfer.so.{_TENSORRT_OF_PROVIDER}")
    found = ", ".join(f"libnvinfer.so.{item}" for item in majors) or "no libnvinfer"
    return Verdict(
        "note",
        "onnxruntime tensorrt",
        f"compiled in, but needs libnvinfer.so.{_TENSORRT_OF_PROVIDER}; found {found}",
        "use the backend tensorrt, or install TensorRT 10",
    )


def _opencv(machine: Machine) -> Verdict:
    found = [name for name in _OPENCVS if name in machine.packages]
    shown = ", ".join(f"{name} {machine.packages[name]}" for name in found)
    if len(found) > 1:
        return Verdict(
            "warning",
            "opencv",
            f"{len(found)} packages that overwrite each other: {shown}",
            f"pip uninstall -y {' '.join(found)} && pip install opencv-python-headless",
        )
    if not found:
        # a system package or an own build leaves no such record
        return Verdict("note", "opencv", "no wheel of it; t2s-rt declares opencv-python-headless")
    if not found[0].endswith("headless"):
        return Verdict("note", "opencv", f"{shown} needs libGL; the headless package does not")
    return Verdict("ok", "opencv", shown)


def _tokenizers(machine: Machine) -> Verdict:
    if "tokenizers" in machine.packages:
        return Verdict("ok", "tokenizers", machine.packages["tokenizers"])
    return Verdict(
        "note",
        "tokenizers",
        "not installed: --prompts cannot be read here, prompt packs can",
        "pip install tokenizers, or make packs on the ground: t2s-rt prompts",
    )
