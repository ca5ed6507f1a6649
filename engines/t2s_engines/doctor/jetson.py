"""Jetson modules: which board, which JetPack, in which power mode.

The map of JetPack releases stands here and nowhere else. Evidence: NVIDIA's JetPack pages and
archives; docs.pytorch.org/TensorRT's JetPack page; NVIDIA/TensorRT#4246; pytorch/TensorRT#3453;
OE4T/meta-tegra#2224; isaac-ros-cli#22; roboflow/inference#1935 and #2478.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from t2s_engines.doctor.machine import Machine
from t2s_engines.doctor.versions import Version, within

__all__ = ["JETPACKS", "JetPack", "Jetson", "PowerMode", "find_jetson", "jetpack_of"]


@dataclass(frozen=True)
class JetPack:
    """One release of JetPack.

    Attributes:
        name: as NVIDIA writes it.
        l4t: first and last release of Jetson Linux that belong to it.
        cuda: version of CUDA that it ships.
        tensorrt: version of TensorRT that it ships, as far as all evidence agrees.
        python: of its Ubuntu; its TensorRT bindings are for this one.
        modules: families that it runs on.
    """

    name: str
    l4t: tuple[Version, Version]
    cuda: str
    tensorrt: Version
    python: Version
    modules: tuple[str, ...]


JETPACKS: tuple[JetPack, ...] = (
    JetPack("5.0.2", ((35, 1), (35, 1)), "11.4", (8, 4, 1), (3, 8), ("Xavier", "Orin")),
    JetPack("5.1.x", ((35, 2), (35, 6)), "11.4", (8, 5, 2), (3, 8), ("Xavier", "Orin")),
    JetPack("6.0", ((36, 3), (36, 3)), "12.2", (8, 6, 2), (3, 10), ("Orin",)),
    JetPack("6.1 to 6.2.x", ((36, 4), (36, 5)), "12.6", (10, 3, 0), (3, 10), ("Orin",)),
    JetPack("7.0 or 7.1", ((38, 2), (38, 4)), "13.0", (10, 13, 3), (3, 12), ("Thor",)),
    JetPack("7.2", ((39, 2), (39, 2)), "13.2", (10, 16), (3, 12), ("Orin", "Thor")),
)
"""Every release whose contents are known, oldest first."""

_CHIPS = {"tegra194": ("Xavier", "7.2"), "tegra234": ("Orin", "8.7"), "tegra264": ("Thor", "11.0")}
"""Chip in the device tree to family and compute capability."""


@dataclass(frozen=True)
class PowerMode:
    """What nvpmodel was set to.

    Attributes:
        number: of the mode.
        name: in ``/etc/nvpmodel.conf``, or empty.
    """

    number: int
    name: str


@dataclass(frozen=True)
class Jetson:
    """A Jetson module and its system.

    Attributes:
        model: in the words of its device tree.
        family: ``Xavier``, ``Orin``, ``Thor`` or empty.
        capability: compute capability, e.g. ``8.7``, or empty.
        l4t: release of Jetson Linux; empty where no file tells.
        jetpack: the release that it belongs to; None where the map does not know it.
        power: its power mode; None where no file tells.
        clocks_locked: whether the processors' clocks are held at one rate; None if unknown.
        hottest: thermal zone and degrees Celsius, or None.
    """

    model: str
    family: str
    capability: str
    l4t: Version
    jetpack: JetPack | None
    power: PowerMode | None
    clocks_locked: bool | None
    hottest: tuple[str, float] | None


def jetpack_of(l4t: Version) -> JetPack | None:
    """The JetPack release that a release of Jetson Linux belongs to."""
    return next((row for row in JETPACKS if within(l4t, *row.l4t)), None)


def find_jetson(machine: Machine) -> Jetson | None:
    """The Jetson that this machine is, or None."""
    release = machine.text("/etc/nv_tegra_release") or ""
    compatible = machine.text("/proc/device-tree/compatible") or ""
    chip = next((name for name in _CHIPS if f"nvidia,{name}" in compatible), "")
    if not release and not chip:
        return None
    family, capability = _CHIPS.get(chip, ("", ""))
    l4t = _l4t(release)
    return Jetson(
        model=machine.text("/proc/device-tree/model") or "of unknown model",
        family=family,
        capability=capability,
        l4t=l4t,
        jetpack=jetpack_of(l4t),
        power=_power_mode(machine),
        clocks_locked=_clocks_locked(machine),
        hottest=_hottest(machine),
    )


def _l4t(release: str) -> Version:
    """``# R36 (release), REVISION: 4.3, GCID: ...`` as (36, 4, 3)."""
    found = re.search(r"R(\d+)\s*\(release\),\s*REVISION:\s*(\d+(?:\.\d+)*)", release)
    if not found:
        return ()
    return (int(found[1]), *(int(part) for part in found[2].split(".")))


def _power_mode(machine: Machine) -> PowerMode | None:
    status = re.search(r"pmode:(\d+)", machine.text("/var/lib/nvpmodel/status") or "")
    if not status:
        return None
    number = int(status[1])
    models = re.findall(
        r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+?)\s*>", machine.text("/etc/nvpmodel.conf") or ""
    )
    names = {int(identity): name for identity, name in models}
    return PowerMode(number, names.get(number, ""))


def _clocks_locked(machine: Machine) -> bool | None:
    """jetson_clocks raises each clock's least rate to its greatest."""
    locked: list[bool] = []
    for policy in machine.glob("/sys/devices/system/cpu/cpufreq/policy*"):
        base = f"/sys/devices/system/cpu/cpufreq/{policy.name}"
        least, most = (machine.text(f"{base}/scaling_{end}_freq") for end in ("min", "max"))
        if least and most:
            locked.append(least == most)
    return all(locked) if locked else None


def _hottest(machine: Machine) -> tuple[str, float] | None:
    zones: list[tuple[float, str]] = []
    for zone in machine.glob("/sys/class/thermal/thermal_zone*"):
        base = f"/sys/class/thermal/{zone.name}"
        reading = machine.text(f"{base}/temp") or ""
        if re.fullmatch(r"-?\d+", reading):
            zones.append((int(reading) / 1000, machine.text(f"{base}/type") or zone.name))
    return (max(zones)[1], max(zones)[0]) if zones else None
