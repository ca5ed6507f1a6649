"""What a device tells about itself: clocks, power mode, energy, memory of a GPU.

Everything here is told by some devices only; what is not told is left out, never guessed.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["EnergyMeter", "device_state", "gpu_memory_bytes"]

_SYSTEM = Path("/sys")
_WAIT = 10.0
_STEP = 0.1
"""Seconds between two readings of a power sensor."""


def device_state(system: Path = _SYSTEM) -> dict[str, Any]:
    """Clocks and governor of the first core, power mode of a Jetson, state of an NVIDIA GPU."""
    clocks = system / "devices/system/cpu/cpu0/cpufreq"
    found: dict[str, Any] = {
        "governor": _text(clocks / "scaling_governor"),
        "cpu_mhz": _scaled(clocks / "scaling_cur_freq", 1e-3),
        "cpu_max_mhz": _scaled(clocks / "cpuinfo_max_freq", 1e-3),
        "power_mode": _power_mode(),
        "gpu": _ask("name,pstate,clocks.sm,clocks.mem,power.limit"),
    }
    return {name: value for name, value in found.items() if value is not None}


def gpu_memory_bytes() -> int | None:
    """Memory in use on the first NVIDIA GPU, of all processes; None where none tells."""
    answer = _ask("memory.used")
    try:
        return None if answer is None else int(float(answer.split()[0]) * 2**20)
    except ValueError:
        return None


class EnergyMeter:
    """Joules between two moments, from the first source that the device has.

    Sources: the energy counters of the processor's packages (RAPL), the power sensors of a Jetson
    (INA3221, read ten times a second), the power draw of an NVIDIA GPU (likewise).

    Args:
        system: root of sysfs, for tests.

    Attributes:
        source: what is read, or None: then nothing is measured.
        joules: of the last measurement, or None.
    """

    def __init__(self, system: Path = _SYSTEM) -> None:
        self.joules: float | None = None
        self._counters = [
            path
            for path in sorted((system / "class/powercap").glob("*/energy_uj"))
            if path.parent.name.count(":") == 1 and _scaled(path, 1e-6) is not None
        ]
        watts: Callable[[], float | None] | None = None
        self.source: str | None = None
        if self._counters:
            self.source = "RAPL, processor packages"
        elif (rails := list(_rails(system))) and _sensors(rails) is not None:
            self.source, watts = "INA3221, all rails", lambda: _sensors(rails)
        elif _gpu_watts() is not None:
            self.source, watts = "nvidia-smi, the GPU alone", _gpu_watts
        self._watts = watts

    @contextmanager
    def running(self) -> Iterator[None]:
        """Measure while the block runs; the result is in ``joules``."""
        self.joules = None
        if self._counters:
            before = self._counted()
            yield
            spent = [after - start for start, after in zip(before, self._counted(), strict=True)]
            # a counter that began anew would give a negative sum
            self.joules = sum(spent) if min(spent) >= 0 else None
        elif self._watts is not None:
            with _integrated(self._watts) as total:
                yield
            self.joules = total[0]
        else:
            yield

    def _counted(self) -> list[float]:
        return [_scaled(path, 1e-6) or 0.0 for path in self._counters]


@contextmanager
def _integrated(watts: Callable[[], float | None]) -> Iterator[list[float]]:
    """Sum a power sensor over the block's time; the list's one number is right at the end."""
    total, done = [0.0], threading.Event()

    def read() -> None:
        last = time.perf_counter()
        while True:
            ended = done.wait(_STEP)
            now, power = time.perf_counter(), watts()
            total[0] += (power or 0.0) * (now - last)
            last = now
            if ended:
                return

    reader = threading.Thread(target=read, name="t2s-power", daemon=True)
    reader.start()
    try:
        yield total
    finally:
        done.set()
        reader.join()


def _rails(system: Path) -> Iterator[tuple[Path, Path]]:
    """Voltage (mV) and current (mA) files of every rail of a Jetson's INA3221."""
    for folder in sorted(system.glob("bus/i2c/drivers/ina3221/*/hwmon/hwmon*")):
        for number in range(1, 4):
            pair = folder / f"in{number}_input", folder / f"curr{number}_input"
            if all(path.is_file() for path in pair):
                yield pair


def _sensors(rails: list[tuple[Path, Path]]) -> float | None:
    values = [(_scaled(volt, 1e-3), _scaled(ampere, 1e-3)) for volt, ampere in rails]
    powers = [v * a for v, a in values if v is not None and a is not None]
    return sum(powers) if powers else None


def _gpu_watts() -> float | None:
    answer = _ask("power.draw")
    try:
        return None if answer is None else float(answer.split()[0])
    except ValueError:
        return None


def _power_mode() -> str | None:
    answer = _output(["nvpmodel", "-q"])
    return None if answer is None else " ".join(answer.split())


def _ask(fields: str) -> str | None:
    answer = _output(["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader", "--id=0"])
    return None if answer is None else answer.strip() or None


def _output(command: list[str]) -> str | None:
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_WAIT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None


def _scaled(path: Path, factor: float) -> float | None:
    text = _text(path)
    try:
        return None if text is None else float(text) * factor
    except ValueError:
        return None
