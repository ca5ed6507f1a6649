"""NVIDIA's driver, GPUs and CUDA libraries, from files alone: nothing of NVIDIA's is started."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from t2s_engines.doctor.jetson import Jetson
from t2s_engines.doctor.machine import Library, Machine
from t2s_engines.doctor.versions import Version, parse_version

__all__ = ["LEAST_DRIVER", "Gpu", "Nvidia", "find_nvidia"]

LEAST_DRIVER: dict[int, str] = {12: "525.60.13", 13: "580.65.06"}
"""Oldest Linux driver for each major version of CUDA (NVIDIA's CUDA release notes)."""

_CAPABILITIES = (
    (r"\bB300\b|\bGB300\b", "10.3"),
    (r"\bB[12]00\b|\bGB200\b", "10.0"),
    (r"\bGB10\b", "12.1"),
    (r"\bRTX 50[5-9]0|RTX PRO \d+ Blackwell", "12.0"),
    (r"\bH[12]00\b|\bH800\b|\bH20\b|\bGH200\b", "9.0"),
    (r"\bL4\b|\bL40S?\b|\bL20\b|RTX 40[5-9]0|RTX \d+ (?:SFF )?Ada", "8.9"),
    (r"\bA(?:2|10G?|16|40)\b|RTX 30[5-9]0|RTX A\d000", "8.6"),
    (r"\bA100\b|\bA800\b|\bA30\b", "8.0"),
    (r"\bT4G?\b|RTX 20[6-8]0|GTX 16[356]0|TITAN RTX|Quadro RTX", "7.5"),
    (r"\bV100\b|TITAN V\b", "7.0"),
)
"""Compute capability by what stands in a GPU's name (NVIDIA's list of CUDA GPUs)."""


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    Attributes:
        name: in the driver's words.
        capability: compute capability such as ``9.0``; empty where the name does not tell.
    """

    name: str
    capability: str


@dataclass(frozen=True)
class Nvidia:
    """What of NVIDIA's is on this machine.

    Attributes:
        driver_text: version of the kernel module as NVIDIA writes it; empty without one.
        libcuda: the driver's library, or None.
        gpus: those that the driver lists.
        runtimes: CUDA runtime libraries.
        toolkit: version of the CUDA toolkit in ``/usr/local/cuda``; empty without one.
    """

    driver_text: str
    libcuda: Library | None
    gpus: tuple[Gpu, ...]
    runtimes: tuple[Library, ...]
    toolkit: Version

    @property
    def driver(self) -> Version:
        """Version of the kernel module, to compare; empty without one."""
        return parse_version(self.driver_text)

    @property
    def present(self) -> bool:
        """Whether there is a driver to run on."""
        return bool(self.driver_text) or self.libcuda is not None

    @property
    def capabilities(self) -> frozenset[str]:
        """Compute capabilities of its GPUs, as far as known."""
        return frozenset(gpu.capability for gpu in self.gpus if gpu.capability)


def find_nvidia(machine: Machine, jetson: Jetson | None) -> Nvidia:
    """Look for the driver, its GPUs and CUDA."""
    return Nvidia(
        driver_text=_driver(machine),
        # libcuda.so.1 is a link to the file whose name has the driver's version
        libcuda=max(machine.libraries("libcuda"), key=lambda item: len(item.version), default=None),
        gpus=_gpus(machine, jetson),
        runtimes=tuple(machine.libraries("libcudart")),
        toolkit=_toolkit(machine),
    )


def _driver(machine: Machine) -> str:
    found = re.search(
        r"Kernel Module(?: for \w+)?\s+(\d+(?:\.\d+)+)",
        machine.text("/proc/driver/nvidia/version") or "",
    )
    if found:
        return found[1]
    return machine.text("/sys/module/nvidia/version") or ""


def _gpus(machine: Machine, jetson: Jetson | None) -> tuple[Gpu, ...]:
    if jetson is not None:
        name = f"integrated in {jetson.family or 'this'} module".strip()
        return (Gpu(name, jetson.capability),)
    found = []
    for folder in machine.glob("/proc/driver/nvidia/gpus/*"):
        text = machine.text(f"/proc/driver/nvidia/gpus/{folder.name}/information") or ""
        model = re.search(r"^Model:\s*(.+?)\s*$", text, re.M)
        name = model[1] if model else "of unknown model"
        found.append(Gpu(name, _capability(name)))
    return tuple(found)


def _capability(name: str) -> str:
    return next((value for pattern, value in _CAPABILITIES if re.search(pattern, name)), "")


def _toolkit(machine: Machine) -> Version:
    try:
        versions = json.loads(machine.text("/usr/local/cuda/version.json") or "{}")
        return parse_version(str(versions["cuda"]["version"]))
    except (ValueError, KeyError, TypeError):
        old = re.search(
            r"CUDA Version\s+([\d.]+)", machine.text("/usr/local/cuda/version.txt") or ""
        )
        return parse_version(old[1]) if old else ()
