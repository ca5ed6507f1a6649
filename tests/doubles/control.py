"""What a test sets and reads: the simulated machine, and how a build behaves.

Every setting has an environment variable, so that a child process (which a test may kill) behaves
as told: ``T2S_DOUBLE_`` and the field's name in capitals.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.doubles.device import Device, DeviceInfo

__all__ = ["Control", "child_environment"]


@dataclass
class Control:
    """One simulated installation.

    Attributes:
        release: full number of TensorRT, e.g. ``"10.13.3.9"``.
        device: the GPU.
        step_seconds: how long one step of a build sleeps.
        kill_at_step: the build's step (counted from 1 over all phases) before which the process
            kills itself with SIGKILL; 0 never.
        build_log: a file that gets one line when a build starts, and one when it ends.
        fails: why a build fails, e.g. ``"Could not find any implementation for node"``; empty: no.
        no_driver: every factory answers with a null pointer, as without a driver.
        on_step: called before each step with phase and step.
        builds: what was built, newest last.
        messages: what the loggers were told, as (severity, text).
    """

    release: str
    device: Device = field(default_factory=Device)
    step_seconds: float = 0.0
    kill_at_step: int = 0
    build_log: str = ""
    fails: str = ""
    no_driver: bool = False
    on_step: Callable[[str, int], None] | None = None
    builds: list[dict[str, Any]] = field(default_factory=list)
    messages: list[tuple[str, str]] = field(default_factory=list)
    interrupted: bool = False
    steps: int = 0

    @classmethod
    def from_environment(cls, release: str) -> Control:
        """Settings of a child process."""
        told = {
            key[len("T2S_DOUBLE_") :].lower(): value
            for key, value in os.environ.items()
            if key.startswith("T2S_DOUBLE_")
        }
        info = json.loads(told.get("device", "{}"))
        if "compute_capability" in info:
            info["compute_capability"] = tuple(info["compute_capability"])
        if "uuid" in info:
            info["uuid"] = bytes.fromhex(info["uuid"])
        return cls(
            release,
            Device(DeviceInfo(**info)),
            float(told.get("step_seconds", 0)),
            int(told.get("kill_at_step", 0)),
            told.get("build_log", ""),
            told.get("fails", ""),
            told.get("no_driver", "") == "1",
        )

    def log_build(self, line: str) -> None:
        """Write a line to the build log; whole lines, also from several processes."""
        if self.build_log:
            with open(self.build_log, "a", encoding="utf-8") as stream:
                stream.write(f"{os.getpid()} {line}\n")

    def step(self, phase: str, step: int, sleep: bool = True) -> None:
        """One step of native work. Ctrl-C waits until Python code runs again, as in C++."""
        self.steps += 1
        if self.kill_at_step and self.steps >= self.kill_at_step:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.on_step is not None:
            self.on_step(phase, step)
        end = time.monotonic() + (self.step_seconds if sleep else 0.0)
        while (left := end - time.monotonic()) > 0:
            try:
                time.sleep(left)
            except KeyboardInterrupt:
                self.interrupted = True


def child_environment(control: Control) -> dict[str, str]:
    """The variables that make a child process behave like this control."""
    info = asdict(control.device.info)
    info["uuid"] = control.device.info.uuid.hex()
    return {
        "T2S_DOUBLE_DEVICE": json.dumps(info),
        "T2S_DOUBLE_STEP_SECONDS": str(control.step_seconds),
        "T2S_DOUBLE_KILL_AT_STEP": str(control.kill_at_step),
        "T2S_DOUBLE_BUILD_LOG": control.build_log,
        "T2S_DOUBLE_FAILS": control.fails,
        "T2S_DOUBLE_NO_DRIVER": "1" if control.no_driver else "0",
    }
