"""What a figure belongs to: processor, instruction sets, versions, date."""

from __future__ import annotations

import json
import os
import platform
import resource
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["describe_machine", "one_line", "peak_memory_bytes", "write_record"]

# Those that change what onnxruntime's kernels do; machines differ in them from day to day.
_TELLING_FLAGS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8")
_PACKAGES = ("t2s-rt", "onnxruntime", "onnxruntime-gpu", "numpy", "opencv-python-headless")


def _cpuinfo(field: str) -> str:
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == field:
                return value.strip()
    return ""


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def describe_machine(*packages: str) -> dict[str, Any]:
    """Processor, usable cores, telling CPU flags, operating system, versions and UTC date.

    Args:
        packages: that the versions of are told beside the runtime's own.
    """
    flags = set(_cpuinfo("flags").split())
    return {
        "cpu": _cpuinfo("model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "cpu_flags": [flag for flag in _TELLING_FLAGS if flag in flags],
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "versions": {name: found for name in (*_PACKAGES, *packages) if (found := _version(name))},
        "date": datetime.now(timezone.utc).date().isoformat(),
    }


def one_line(machine: dict[str, Any]) -> str:
    """The description as one line for a table's caption."""
    flags = "+".join(machine["cpu_flags"]) or "no telling flags"
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return f"{machine['cores']} cores of {machine['cpu']} ({flags}), {versions}, {machine['date']}"


def write_record(record: dict[str, Any], path: Path) -> None:
    """Write a record as JSON, with its folder where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def peak_memory_bytes() -> int:
    """Largest resident set of this process so far, in bytes (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
