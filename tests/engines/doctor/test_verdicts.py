"""Verdicts on whole machines: a table of trees, and what the doctor must say of each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.engines.doctor.trees import (
    BASE,
    LIBS,
    ORIN_6_2,
    ORIN_7_2,
    laptop,
    orin,
    server,
    thor,
)

from t2s_engines.doctor.gpu import check_gpu, check_jetson
from t2s_engines.doctor.host import check_host
from t2s_engines.doctor.jetson import find_jetson
from t2s_engines.doctor.machine import Machine
from t2s_engines.doctor.nvidia import find_nvidia
from t2s_engines.doctor.packages import check_packages
from t2s_engines.doctor.tensorrt import check_tensorrt, find_tensorrt
from t2s_engines.doctor.verdicts import Verdict


def verdicts(machine: Machine) -> list[Verdict]:
    jetson = find_jetson(machine)
    nvidia = find_nvidia(machine, jetson)
    return [
        *check_host(machine, jetson),
        *check_packages(machine, nvidia, jetson is not None),
        *(check_jetson(jetson) if jetson else ()),
        *check_gpu(nvidia, jetson is not None),
        *check_tensorrt(find_tensorrt(machine), jetson),
    ]


def test_a_laptop_with_nothing_is_fine(tmp_path: Path) -> None:
    said = verdicts(laptop(tmp_path))
    found = {verdict.check: verdict for verdict in reversed(said)}
    assert {verdict.level for verdict in said} == {"ok", "note"}
    assert found["python"].found == "3.11.9 on x86_64"
    assert "8 cores of Some Laptop CPU (avx2+fma)" in found["processor"].found
    assert "9.2 of 16.4 GB free" in found["memory"].found
    assert found["nvidia driver"].level == found["tensorrt"].level == "note"
    assert "t2s-rt[tensorrt]" in found["tensorrt"].do


def test_a_server_with_a_driver(tmp_path: Path) -> None:
    found = {verdict.check: verdict for verdict in verdicts(server(tmp_path))}
    assert found["nvidia driver"] == Verdict("ok", "nvidia driver", "580.95.05")
    assert found["gpu"].found == "NVIDIA H100 80GB HBM3, compute capability 9.0"
    assert found["cuda"].found == "libcudart 13.0.96, toolkit 13.0.2"
    assert found["onnxruntime cuda"].level == "ok"
    assert found["onnxruntime tensorrt"].level == "note"
    assert "libnvinfer.so.10; found no libnvinfer" in found["onnxruntime tensorrt"].found


def test_an_orin_under_jetpack_6_2(tmp_path: Path) -> None:
    all_of_them = verdicts(orin(tmp_path))
    assert {verdict.level for verdict in all_of_them} == {"ok", "note"}
    found = {verdict.check: verdict for verdict in all_of_them}
    assert found["jetson"].found == "NVIDIA Jetson AGX Orin Developer Kit"
    assert "L4T 36.4.3: JetPack 6.1 to 6.2.x" in found["jetpack"].found
    assert found["power mode"] == Verdict(
        "note", "power mode", "2 30W: not the greatest", found["power mode"].do
    )
    assert "nvpmodel -m" in found["power mode"].do
    assert "sudo jetson_clocks" in found["clocks"].do
    assert found["temperature"].found == "48 degrees Celsius at most (cpu-thermal)"
    assert found["gpu"].found == "integrated in Orin module, compute capability 8.7"
    assert found["cuda"].found == "libcudart 12.6.68, toolkit 12.6.68"
    assert found["tensorrt"].found == "10.3.0, libnvinfer.so.10.3.0 beside it"
    assert "complete from 10.12 on" in found["tensorrt release"].found
    assert found["tensorrt on jetson"].level == "ok"


def test_a_thor_under_jetpack_7_1(tmp_path: Path) -> None:
    found = {verdict.check: verdict for verdict in verdicts(thor(tmp_path))}
    assert "JetPack 7.0 or 7.1, which ships CUDA 13.0, TensorRT 10.13.3" in found["jetpack"].found
    assert found["power mode"] == Verdict("ok", "power mode", "0 MAXN")
    assert found["gpu"].found.endswith("compute capability 11.0")
    assert found["tensorrt release"].level == found["tensorrt on jetson"].level == "ok"


def _with(**packages: str) -> dict[str, str]:
    return {**BASE, **{name.replace("_", "-"): version for name, version in packages.items()}}


def _without(*names: str, **packages: str) -> dict[str, str]:
    return {name: v for name, v in _with(**packages).items() if name not in names}


_OLD_DRIVER = {
    "/proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  "
    "Tue Mar  5",
    "/usr/lib/x86_64-linux-gnu/libcuda.so.580.95.05": None,
    "/usr/lib/x86_64-linux-gnu/libcuda.so.550.54.15": "",
}
_CUDA_12 = {
    "/usr/local/cuda/lib64/libcudart.so.13": None,
    "/usr/local/cuda/lib64/libcudart.so.13.0.96": None,
    "/usr/local/cuda/lib64/libcudart.so.12.9.79": "",
}
Make = Callable[[Path], Machine]
CASES: dict[str, tuple[Make, str, str, str, str]] = {
    # name: machine, check, level, a part of what is found, a part of what to do
    "old python": (
        lambda p: laptop(p, python=(3, 9, 2)),
        "python", "fails", "3.9.2", "3.10 or later",
    ),
    "no AVX2": (
        lambda p: _files(laptop(p), {"/proc/cpuinfo": "flags : fpu sse2 avx\n"}),
        "processor", "warning", "no AVX2", "times",
    ),
    "no int8 instructions": (
        laptop, "processor", "note", "int8 graphs gain little", "",
    ),
    "little memory": (
        lambda p: _files(
            laptop(p), {"/proc/meminfo": "MemTotal: 4000000 kB\nMemAvailable: 900000 kB\n"}
        ),
        "memory", "warning", "0.9 of 4.1 GB", "free some",
    ),
    "a container's limit": (
        lambda p: _files(
            laptop(p),
            {"/sys/fs/cgroup/memory.max": "1000000000\n", "/sys/fs/cgroup/memory.current": "1e"},
        ),
        "memory", "warning", "1.0 of 1.0 GB", "free some",
    ),
    "no onnxruntime": (
        lambda p: laptop(p, packages=_without("onnxruntime")),
        "onnxruntime", "fails", "not installed", "pip install 't2s-rt[cpu]'",
    ),
    "two onnxruntimes": (
        lambda p: laptop(p, packages=_with(onnxruntime_gpu="1.31.1")),
        "onnxruntime", "fails", "onnxruntime 1.23.2, onnxruntime-gpu 1.31.1",
        "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 't2s-rt[cpu]'",
    ),
    "two onnxruntimes on a server": (
        lambda p: server(p, packages=_with(onnxruntime_gpu="1.31.1")),
        "onnxruntime", "fails", "overwrite each other", "pip install 't2s-rt[cuda]'",
    ),
    "an old onnxruntime": (
        lambda p: laptop(p, packages=_with(onnxruntime="1.16.3")),
        "onnxruntime", "warning", "older than 1.20", "onnxruntime>=1.20",
    ),
    "an onnxruntime that does not import": (
        lambda p: laptop(p, providers=_broken),
        "onnxruntime", "fails", "libfoo.so: cannot open", "force-reinstall onnxruntime",
    ),
    "a GPU that onnxruntime cannot use": (
        lambda p: server(p, packages=BASE, providers=lambda: ("CPUExecutionProvider",)),
        "onnxruntime cuda", "note", "cannot use the GPU", "t2s-rt[cuda]",
    ),
    "a GPU package without a GPU": (
        lambda p: laptop(
            p, packages=_without("onnxruntime", onnxruntime_gpu="1.31.1"),
            providers=lambda: ("CUDAExecutionProvider", "CPUExecutionProvider"),
        ),
        "onnxruntime cuda", "warning", "no NVIDIA driver", "--gpus all",
    ),
    "CUDA 13 over a driver of CUDA 12": (
        lambda p: server(p, _OLD_DRIVER),
        "onnxruntime cuda", "fails", "needs CUDA 13 and so driver 580.65.06, found 550.54.15",
        "onnxruntime-gpu<1.27",
    ),
    "CUDA 12 over a driver of CUDA 12": (
        lambda p: server(
            p, _OLD_DRIVER, _CUDA_12,
            packages=_without("onnxruntime", onnxruntime_gpu="1.26.0"),
        ),
        "onnxruntime cuda", "ok", "CUDA 12 for 1.26.0", "",
    ),
    "CUDA 13 wanted, 12 installed": (
        lambda p: server(p, _CUDA_12),
        "onnxruntime cuda", "fails", "needs CUDA 13, found libcudart.so.12", "[cuda,cudnn]",
    ),
    "TensorRT 10 for the provider": (
        lambda p: server(p, {"/usr/lib/x86_64-linux-gnu/libnvinfer.so.10.13.3": ""}),
        "onnxruntime tensorrt", "ok", "libnvinfer.so.10", "",
    ),
    "TensorRT 11 is none for the provider": (
        lambda p: server(p, {"/usr/lib/x86_64-linux-gnu/libnvinfer.so.11.4.0": ""}),
        "onnxruntime tensorrt", "note", "found libnvinfer.so.11", "TensorRT 10",
    ),
    "two OpenCVs": (
        lambda p: laptop(p, packages=_with(opencv_python="4.12.0.88")),
        "opencv", "warning", "2 packages that overwrite each other",
        "pip uninstall -y opencv-python opencv-python-headless",
    ),
    "OpenCV with windows": (
        lambda p: laptop(
            p, packages=_without("opencv-python-headless", opencv_python="4.12.0.88")
        ),
        "opencv", "note", "needs libGL", "",
    ),
    "no tokenizers": (
        lambda p: laptop(p, packages=_without("tokenizers")),
        "tokenizers", "note", "--prompts", "t2s-rt prompts",
    ),
    "a driver updated under a running kernel": (
        lambda p: server(p, {"/proc/driver/nvidia/version": "Kernel Module  575.57.08"}),
        "nvidia driver", "fails", "575.57.08, library libcuda.so.580.95.05", "restart",
    ),
    "a container without the driver's libraries": (
        lambda p: server(p, {
            "/usr/lib/x86_64-linux-gnu/libcuda.so.1": None,
            "/usr/lib/x86_64-linux-gnu/libcuda.so.580.95.05": None,
        }),
        "nvidia driver", "fails", "no libcuda.so.1", "--gpus all",
    ),
    "a library without a kernel module": (
        lambda p: server(p, {"/proc/driver/nvidia/version": None}),
        "nvidia driver", "warning", "no trace of its kernel module", "modprobe",
    ),
    "an unknown GPU": (
        lambda p: server(
            p, {"/proc/driver/nvidia/gpus/0000:07:00.0/information": "Model: NVIDIA Z9000\n"}
        ),
        "gpu", "ok", "NVIDIA Z9000, unknown capability", "",
    ),
    "TensorRT of wheels": (
        lambda p: server(
            p, {"/site/tensorrt_libs/libnvinfer.so.11": "",
                "/site/tensorrt_libs/libnvonnxparser.so.11": ""},
            packages=_with(tensorrt="11.4.1.5"), site_folders=(p / "site",),
        ),
        "tensorrt", "ok", "11.4.1.5, libnvinfer.so.11 beside it", "",
    ),
    "a package without a record, as some system packages are": (
        lambda p: orin(
            p, ORIN_6_2, {"/site/tensorrt/__init__.py": '__version__ = "10.3.0"\n'},
            packages=BASE, site_folders=(p / "site",),
        ),
        "tensorrt", "ok", "10.3.0, libnvinfer.so.10.3.0 beside it", "",
    ),
    "bindings without their library": (
        lambda p: server(p, packages=_with(tensorrt_cu13_bindings="11.4.0.106")),
        "tensorrt", "fails", "tensorrt-cu13-bindings 11.4.0.106, but no libnvinfer.so.11",
        "LD_LIBRARY_PATH",
    ),
    "a library in LD_LIBRARY_PATH of another version": (
        lambda p: server(
            p, {"/opt/trt/libnvinfer.so.10.9.0": "", "/opt/trt/libnvonnxparser.so.10.9.0": ""},
            packages=_with(tensorrt="10.13.3.9"), environ={"LD_LIBRARY_PATH": "/opt/trt:"},
        ),
        "tensorrt", "fails", "10.13.3.9 over libnvinfer 10.9.0", "one version",
    ),
    "no parser": (
        lambda p: orin(p, ORIN_6_2, {f"{LIBS}/libnvonnxparser.so.10.3.0": None}),
        "tensorrt", "fails", "libnvonnxparser is missing", "parser",
    ),
    "a Jetson's virtual environment that hides TensorRT": (
        lambda p: orin(p, packages=BASE),
        "tensorrt", "warning", "libnvinfer 10.3.0, but no Python package", "--system-site-packages",
    ),
    "a Jetson without TensorRT": (
        lambda p: orin(
            p, ORIN_6_2, {f"{LIBS}/libnvinfer.so.10": None, f"{LIBS}/libnvinfer.so.10.3.0": None},
            packages=BASE,
        ),
        "tensorrt", "warning", "not found, though this is a Jetson", "nvidia-jetpack",
    ),
    "another Python than JetPack's": (
        lambda p: orin(p, python=(3, 12, 1)),
        "python", "warning", "for Python 3.10, this is 3.12", "python3.10 --system-site-packages",
    ),
    "TensorRT 8.6 of JetPack 6.0": (
        lambda p: orin(
            p, ORIN_6_2,
            {"/etc/nv_tegra_release": "# R36 (release), REVISION: 3.0, GCID: 1"},
            packages=_with(tensorrt="8.6.2"),
        ),
        "tensorrt release", "warning", "no strong typing", "--target 8.6",
    ),
    "TensorRT 8.5 of JetPack 5": (
        lambda p: orin(
            p, ORIN_6_2,
            {"/etc/nv_tegra_release": "# R35 (release), REVISION: 4.1, GCID: 1"},
            packages=_with(tensorrt="8.5.2"),
        ),
        "tensorrt release", "fails", "older than 8.6", "onnxruntime-cpu",
    ),
    "JetPack 5": (
        lambda p: orin(
            p, ORIN_6_2, {"/etc/nv_tegra_release": "# R35 (release), REVISION: 4.1, GCID: 1"}
        ),
        "jetpack", "fails", "JetPack 5.1.x", "JetPack 6.1",
    ),
    "a JetPack that nobody knows yet": (
        lambda p: orin(
            p, ORIN_6_2, {"/etc/nv_tegra_release": "# R40 (release), REVISION: 1.0, GCID: 1"}
        ),
        "jetpack", "note", "L4T 40.1.0 belongs to no JetPack", "docs/deploy.md",
    ),
    "a Jetson's container": (
        lambda p: orin(p, ORIN_6_2, {"/etc/nv_tegra_release": None}),
        "jetpack", "note", "/etc/nv_tegra_release is missing", "mount",
    ),
    "TensorRT 11 on JetPack 6": (
        lambda p: orin(p, packages=_with(tensorrt="11.4.1.5")),
        "tensorrt on jetson", "fails", "no JetPack before 7.2.2", "this JetPack ships",
    ),
    "TensorRT 11.2 on JetPack 7.2": (
        lambda p: orin(p, ORIN_7_2, packages=_with(tensorrt="11.2.1.2"), python=(3, 12, 3)),
        "tensorrt on jetson", "fails", "11.0 to 11.4.0 support no Jetson", "11.4.1",
    ),
    "10.13.3 SBSA on an Orin": (
        lambda p: orin(p, ORIN_7_2, packages=_with(tensorrt="10.13.3.9"), python=(3, 12, 3)),
        "tensorrt on jetson", "fails", "no code for Orin (sm_87)", "10.16",
    ),
    "JetPack 7.2 on an Orin": (
        lambda p: orin(p, ORIN_7_2, packages=_with(tensorrt="10.16.2.10"), python=(3, 12, 3)),
        "tensorrt on jetson", "ok", "JetPack 7.2", "",
    ),
    "not the TensorRT of this JetPack": (
        lambda p: orin(p, packages=_with(tensorrt="10.7.0")),
        "tensorrt on jetson", "warning", "JetPack 6.1 to 6.2.x ships 10.3.0", "JetPack's own",
    ),
    "R39 without DLA's compiler": (
        lambda p: orin(
            p, ORIN_7_2, {f"{LIBS}/nvidia/libnvdla_compiler.so": None},
            packages=_with(tensorrt="10.16.2.10"), python=(3, 12, 3),
        ),
        "tensorrt on jetson", "warning", "libnvdla_compiler.so is missing", "mount",
    ),
    "TensorRT 9": (
        lambda p: server(p, packages=_with(tensorrt="9.2.0.5")),
        "tensorrt release", "warning", "9.2.0.5: no such release was considered", "10.3",
    ),
    "a hot Jetson": (
        lambda p: orin(p, ORIN_6_2, {"/sys/class/thermal/thermal_zone1/temp": "91500\n"}),
        "temperature", "warning", "92 degrees Celsius at most (gpu-thermal)", "cool",
    ),
    "clocks held": (
        lambda p: orin(
            p, ORIN_6_2,
            {"/sys/devices/system/cpu/cpufreq/policy0/scaling_min_freq": "2201600\n"},
        ),
        "clocks", "ok", "held at their greatest rate", "",
    ),
    "no power mode": (
        lambda p: orin(p, ORIN_6_2, {"/var/lib/nvpmodel/status": None}),
        "power mode", "note", "tells none", "",
    ),
}  # fmt: skip


def _files(machine: Machine, files: dict[str, str]) -> Machine:
    for name, text in files.items():
        path = machine.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return machine


def _broken() -> Any:
    raise ImportError("libfoo.so: cannot open shared object file")


@pytest.mark.parametrize("name", CASES)
def test_what_is_said_of_a_machine(name: str, tmp_path: Path) -> None:
    make, check, level, found, do = CASES[name]
    said = [v for v in verdicts(make(tmp_path)) if v.check == check]
    fitting = [v for v in said if v.level == level and found in v.found and do in v.do]
    assert fitting, said
    assert do or not fitting[0].do or level != "ok"


def test_every_verdict_that_warns_says_what_to_do(tmp_path: Path) -> None:
    for number, (make, *_) in enumerate(CASES.values()):
        for verdict in verdicts(make(tmp_path / str(number))):
            assert verdict.do or verdict.level in ("ok", "note"), verdict
            assert verdict.found and "\n" not in verdict.found + verdict.do
