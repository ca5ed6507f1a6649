"""Python, processor, memory."""

from __future__ import annotations

import re
from collections.abc import Iterator

from t2s_engines.doctor.jetson import Jetson
from t2s_engines.doctor.machine import Machine
from t2s_engines.doctor.verdicts import Verdict
from t2s_engines.doctor.versions import Version, show_version

__all__ = ["LEAST_PYTHON", "check_host", "int8_products", "memory_bytes", "processor_line"]

LEAST_PYTHON: Version = (3, 10)
_TELLING = {
    "x86_64": ("avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8"),
    "aarch64": ("asimd", "asimddp", "fphp", "i8mm", "bf16", "sve", "sve2"),
}
"""CPU flags that choose ONNX Runtime's kernels."""
_INT8 = ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")
_LITTLE = 2 << 30
_PEAK = "nano itself takes 1.1 GB"


def check_host(machine: Machine, jetson: Jetson | None) -> Iterator[Verdict]:
    """Is the machine itself fit?"""
    yield _python(machine)
    if jetson is not None and jetson.jetpack is not None:
        wanted = jetson.jetpack.python
        if machine.python[:2] != wanted:
            yield Verdict(
                "warning",
                "python",
                f"JetPack {jetson.jetpack.name} has its TensorRT package for Python "
                f"{show_version(wanted)}, this is {show_version(machine.python[:2])}",
                f"make the virtual environment with python{show_version(wanted)} "
                "--system-site-packages",
            )
    yield from _processor(machine)
    yield _memory(machine)


def _python(machine: Machine) -> Verdict:
    found = f"{show_version(machine.python)} on {machine.arch}"
    if machine.python < LEAST_PYTHON:
        return Verdict(
            "fails", "python", found, f"use Python {show_version(LEAST_PYTHON)} or later"
        )
    if machine.arch not in _TELLING:
        return Verdict(
            "warning", "python", found, "wheels exist for x86_64 and aarch64; build your own"
        )
    return Verdict("ok", "python", found)


def int8_products(machine: Machine) -> bool | None:
    """Whether the processor adds products of 8 bits without saturating; None where unknown."""
    flags = _flags(machine)
    return bool(flags & set(_INT8)) if flags else None


def _flags(machine: Machine) -> set[str]:
    text = machine.text("/proc/cpuinfo") or ""
    field = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.M)
    return set(field[1].split()) if field else set()


def processor_line(machine: Machine) -> str:
    """Cores, model and the flags that choose kernels, as one line."""
    model = re.search(r"^model name\s*:\s*(.+)$", machine.text("/proc/cpuinfo") or "", re.M)
    flags = _flags(machine)
    told = [flag for flag in _TELLING.get(machine.arch, ()) if flag in flags]
    cores = f"{machine.cores} core{'s' if machine.cores > 1 else ''}"
    return f"{cores}{f' of {model[1].strip()}' if model else ''} ({'+'.join(told) or 'no flags'})"


def _processor(machine: Machine) -> Iterator[Verdict]:
    flags, found = _flags(machine), processor_line(machine)
    if not flags:
        cores = f"{machine.cores} core{'s' if machine.cores > 1 else ''}"
        yield Verdict("note", "processor", f"{cores}; /proc/cpuinfo names no flags")
    elif machine.arch == "x86_64" and "avx2" not in flags:
        yield Verdict("warning", "processor", f"{found}: no AVX2", "expect several times the time")
    else:
        yield Verdict("ok", "processor", found)
    if int8_products(machine) is False:
        yield Verdict("note", "processor", "no int8 dot products: int8 graphs gain little here")


def memory_bytes(machine: Machine) -> tuple[int, int] | None:
    """(total, available) memory in bytes, a container's limit included; None where unknown."""
    text = machine.text("/proc/meminfo") or ""
    values = dict(re.findall(r"^(MemTotal|MemAvailable):\s+(\d+) kB", text, re.M))
    if len(values) < 2:
        return None
    total, free = int(values["MemTotal"]) * 1024, int(values["MemAvailable"]) * 1024
    limit = machine.text("/sys/fs/cgroup/memory.max") or ""
    if limit.isdigit():
        used = machine.text("/sys/fs/cgroup/memory.current") or "0"
        total = min(total, int(limit))
        free = min(free, max(0, int(limit) - (int(used) if used.isdigit() else 0)))
    return total, free


def _memory(machine: Machine) -> Verdict:
    found = memory_bytes(machine)
    if found is None:
        return Verdict("note", "memory", "/proc/meminfo cannot be read")
    total, free = found
    text = f"{free / 1e9:.1f} of {total / 1e9:.1f} GB free"
    if free < _LITTLE:
        return Verdict("warning", "memory", text, f"free some; {_PEAK}")
    return Verdict("ok", "memory", text)
