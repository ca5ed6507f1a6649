"""All checks in order, and what they amount to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t2s_engines.doctor.bundle_needs import Target, check_bundle
from t2s_engines.doctor.engines import check_cache
from t2s_engines.doctor.exercise import CPU_BACKEND, exercise
from t2s_engines.doctor.gpu import check_gpu, check_jetson
from t2s_engines.doctor.host import check_host
from t2s_engines.doctor.jetson import find_jetson
from t2s_engines.doctor.machine import Machine
from t2s_engines.doctor.nvidia import find_nvidia
from t2s_engines.doctor.packages import check_packages
from t2s_engines.doctor.tensorrt import check_tensorrt, find_tensorrt
from t2s_engines.doctor.verdicts import LEVELS, Verdict
from t2s_rt import __version__
from t2s_rt.bundle import Bundle, load_bundle
from t2s_rt.errors import BackendError, BundleError, T2SError

__all__ = ["REPORT_VERSION", "Examination", "examine"]

REPORT_VERSION = 1
"""Of the JSON that :meth:`Examination.as_record` gives."""


@dataclass(frozen=True)
class Examination:
    """Every verdict, and whether what was asked for works.

    Attributes:
        verdicts: in the order of the checks.
        backend: that was asked for, or None.
        bundle_error: why the bundle cannot be used, or None.
        cpu_error: why the CPU path does not work, or None.
        backend_error: why the backend that was asked for does not work, or None.
    """

    verdicts: tuple[Verdict, ...]
    backend: str | None = None
    bundle_error: BundleError | None = None
    cpu_error: T2SError | None = None
    backend_error: T2SError | None = None

    @property
    def error(self) -> T2SError | None:
        """What the command ends with; None is exit code 0."""
        if self.bundle_error is not None:
            return self.bundle_error
        if self.cpu_error is not None:
            return BackendError(f"the CPU path does not work: {self.cpu_error}")
        if self.backend_error is not None:
            return BackendError(f"backend {self.backend} does not work: {self.backend_error}")
        return None

    @property
    def exit_code(self) -> int:
        """Of the command: 0, 3 for a bundle that cannot be used, 5 for a backend."""
        return 0 if self.error is None else self.error.exit_code

    def count(self, level: str) -> int:
        """How many verdicts have a level."""
        return sum(verdict.level == level for verdict in self.verdicts)

    def as_record(self) -> dict[str, Any]:
        """As JSON values, schema version 1.

        ``schema_version``, ``version`` of t2s-rt, ``exit_code``, ``cpu`` and ``backend`` (name,
        works), ``counts`` by level, ``verdicts`` (level, check, found, do).
        """
        asked = (
            None
            if self.backend is None
            else {
                "name": self.backend,
                "works": self.bundle_error is None and self.backend_error is None,
            }
        )
        return {
            "schema_version": REPORT_VERSION,
            "version": __version__,
            "exit_code": self.exit_code,
            "cpu": {
                "name": CPU_BACKEND,
                "works": self.bundle_error is None and self.cpu_error is None,
            },
            "backend": asked,
            "counts": {level: self.count(level) for level in LEVELS},
            "verdicts": [
                {"level": v.level, "check": v.check, "found": v.found, "do": v.do}
                for v in self.verdicts
            ],
        }


def examine(
    machine: Machine, bundle_path: Path | None = None, backend: str | None = None
) -> Examination:
    """Examine a machine.

    Args:
        machine: whose files and packages are looked at; backends run on this one.
        bundle_path: the bundle to fly; None is nano.
        backend: that must work as well; None asks for the CPU alone.
    """
    jetson = find_jetson(machine)
    nvidia = find_nvidia(machine, jetson)
    tensorrt = find_tensorrt(machine)
    verdicts = [
        *check_host(machine, jetson),
        *check_packages(machine, nvidia, jetson is not None),
        *(check_jetson(jetson) if jetson is not None else ()),
        *check_gpu(nvidia, jetson is not None),
        *check_tensorrt(tensorrt, jetson),
        *check_cache(tensorrt.release),
    ]
    try:
        bundle = load_bundle(bundle_path)
    except BundleError as error:
        verdicts.append(Verdict("fails", "bundle", str(error)))
        return Examination(tuple(verdicts), backend, bundle_error=error)
    target = Target(nvidia.present, tensorrt.release, nvidia.capabilities)
    verdicts += check_bundle(bundle, machine, target)
    errors: dict[str, T2SError | None] = {}
    for name in dict.fromkeys((CPU_BACKEND, backend or CPU_BACKEND)):
        errors[name] = _works(bundle, name, verdicts)
    return Examination(
        tuple(verdicts),
        backend,
        cpu_error=errors[CPU_BACKEND],
        backend_error=None if backend is None else errors[backend],
    )


def _works(bundle: Bundle, backend: str, verdicts: list[Verdict]) -> T2SError | None:
    """Run a graph on a backend, add the verdict, and give the error where it failed."""
    check = f"runs {backend}"
    try:
        verdicts.append(Verdict("ok", check, exercise(bundle, backend)))
    except T2SError as error:
        verdicts.append(Verdict("fails", check, " ".join(str(error).split())))
        return error
    return None
