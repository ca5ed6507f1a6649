"""Machines as folders of files: what the doctor would find on them.

The files are written after those of real systems: /proc and /sys of an x86 server, and
nv_tegra_release, device tree and nvpmodel's files of Jetson Linux R36 to R39.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from t2s_engines.doctor.machine import Machine

X86_FLAGS = "fpu sse2 avx avx2 fma avx512f avx512_vnni"
ARM_FEATURES = "fp asimd aes crc32 fphp asimdhp asimddp"
LIBS = "/usr/lib/aarch64-linux-gnu"
NVPMODEL = """< POWER_MODEL ID=0 NAME=MAXN >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=1 NAME=15W >
< POWER_MODEL ID=2 NAME=30W >
< PM_CONFIG DEFAULT=2 >
"""
BASE = {"onnxruntime": "1.23.2", "opencv-python-headless": "4.12.0.88", "tokenizers": "0.22.0"}

LAPTOP = {
    "/proc/cpuinfo": "model name\t: Some Laptop CPU\nflags\t\t: fpu sse2 avx avx2 fma\n",
    "/proc/meminfo": "MemTotal:       16000000 kB\nMemFree: 1 kB\nMemAvailable:    9000000 kB\n",
}
SERVER = {
    "/proc/cpuinfo": f"model name\t: AMD EPYC\nflags\t\t: {X86_FLAGS}\n",
    "/proc/meminfo": "MemTotal:       131000000 kB\nMemAvailable:    120000000 kB\n",
    "/proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  "
    "580.95.05  Release Build  (root@host)  Tue Sep 23\nGCC version:  gcc version 12.2.0\n",
    "/proc/driver/nvidia/gpus/0000:07:00.0/information": "Model: \t\t NVIDIA H100 80GB HBM3\n"
    "IRQ:   \t\t 123\n",
    "/usr/lib/x86_64-linux-gnu/libcuda.so.1": "",
    "/usr/lib/x86_64-linux-gnu/libcuda.so.580.95.05": "",
    "/usr/local/cuda/lib64/libcudart.so.13": "",
    "/usr/local/cuda/lib64/libcudart.so.13.0.96": "",
    "/usr/local/cuda/version.json": '{"cuda": {"name": "CUDA SDK", "version": "13.0.2"}}',
}
_ORIN = {
    "/proc/cpuinfo": f"processor\t: 0\nFeatures\t: {ARM_FEATURES}\n",
    "/proc/meminfo": "MemTotal:       31000000 kB\nMemAvailable:    25000000 kB\n",
    "/proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\0",
    "/proc/device-tree/compatible": "nvidia,p3737-0000+p3701-0005\0nvidia,p3701-0005\0"
    "nvidia,tegra234\0",
    "/etc/nvpmodel.conf": NVPMODEL,
    "/var/lib/nvpmodel/status": "pmode:0002 fmode:quiet\n",
    f"{LIBS}/nvidia/libcuda.so.1.1": "",
    "/sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "/sys/class/thermal/thermal_zone0/temp": "48312\n",
    "/sys/class/thermal/thermal_zone1/type": "gpu-thermal\n",
    "/sys/class/thermal/thermal_zone1/temp": "44000\n",
    "/sys/devices/system/cpu/cpufreq/policy0/scaling_min_freq": "729600\n",
    "/sys/devices/system/cpu/cpufreq/policy0/scaling_max_freq": "2201600\n",
}
ORIN_6_2 = {
    **_ORIN,
    "/etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, "
    "EABI: aarch64, DATE: Wed Jan  8 01:49:37 UTC 2025\n",
    "/proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  "
    "540.4.0  Release Build  (buildbrain@host)  Tue Jan  7\n",
    f"{LIBS}/libnvinfer.so.10": "",
    f"{LIBS}/libnvinfer.so.10.3.0": "",
    f"{LIBS}/libnvonnxparser.so.10.3.0": "",
    "/usr/local/cuda/targets/aarch64-linux/lib/libcudart.so.12.6.68": "",
    "/etc/ld.so.conf.d/988_cuda-12.conf": "/usr/local/cuda/targets/aarch64-linux/lib\n",
    "/usr/local/cuda/version.json": '{"cuda": {"version": "12.6.68"}}',
}
ORIN_7_2 = {
    **_ORIN,
    "/etc/nv_tegra_release": "# R39 (release), REVISION: 2.0, GCID: 1, BOARD: generic\n",
    "/proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  "
    "590.10\n",
    f"{LIBS}/libnvinfer.so.10.16.2": "",
    f"{LIBS}/libnvonnxparser.so.10.16.2": "",
    f"{LIBS}/nvidia/libnvdla_compiler.so": "",
}
THOR_7_1 = {
    **_ORIN,
    "/proc/device-tree/model": "NVIDIA Jetson AGX Thor Developer Kit\0",
    "/proc/device-tree/compatible": "nvidia,p3971-0080+p3834-0008\0nvidia,tegra264\0",
    "/etc/nv_tegra_release": "# R38 (release), REVISION: 4.0, GCID: 43443517, BOARD: generic\n",
    "/proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  "
    "580.00  Release Build\n",
    "/var/lib/nvpmodel/status": "pmode:0000\n",
    f"{LIBS}/libnvinfer.so.10.13.3": "",
    f"{LIBS}/libnvonnxparser.so.10.13.3": "",
}


def tree(root: Path, *layers: Mapping[str, str | None]) -> Path:
    """Write files below ``root``; later layers replace earlier ones, None leaves a file out."""
    merged: dict[str, str | None] = {}
    for layer in layers:
        merged |= layer
    for name, text in merged.items():
        if text is not None:
            path = root / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return root


def laptop(root: Path, **changes: Any) -> Machine:
    """An x86 machine without anything of NVIDIA's."""
    return _machine(tree(root, LAPTOP), changes)


def server(root: Path, *layers: Mapping[str, str | None], **changes: Any) -> Machine:
    """An x86 server with an H100, a CUDA 13 driver and onnxruntime-gpu."""
    packages = {**BASE, "onnxruntime-gpu": "1.31.1"}
    del packages["onnxruntime"]
    providers = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")
    defaults = {"packages": packages, "providers": lambda: providers, "cores": 16}
    return _machine(tree(root, SERVER, *layers), {**defaults, **changes})


def orin(root: Path, *layers: Mapping[str, str | None], **changes: Any) -> Machine:
    """An AGX Orin under JetPack 6.2, its TensorRT seen from a virtual environment."""
    packages = {**BASE, "tensorrt": "10.3.0"}
    defaults = {"arch": "aarch64", "python": (3, 10, 12), "cores": 12, "packages": packages}
    return _machine(tree(root, *(layers or (ORIN_6_2,))), {**defaults, **changes})


def thor(root: Path, *layers: Mapping[str, str | None], **changes: Any) -> Machine:
    """An AGX Thor under JetPack 7.1."""
    packages = {**BASE, "tensorrt": "10.13.3.9"}
    defaults = {"arch": "aarch64", "python": (3, 12, 3), "cores": 14, "packages": packages}
    return _machine(tree(root, THOR_7_1, *layers), {**defaults, **changes})


def _machine(root: Path, changes: Mapping[str, Any]) -> Machine:
    defaults: dict[str, Any] = {
        "root": root,
        "python": (3, 11, 9),
        "cores": 8,
        "packages": BASE,
        "providers": lambda: ("CPUExecutionProvider",),
    }
    return Machine(**{**defaults, **changes})
