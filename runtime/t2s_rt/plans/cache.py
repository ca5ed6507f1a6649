"""The folder of engines, as the runtime reads it; ``t2s_engines.build`` writes it.

::

    engines/
      detector.fp16.<digest>/     one engine; appears whole, by one rename
        engine.plan               what TensorRT made
        engine.json               its sidecar
        verified.json             the verdict of t2s-rt verify, where it was asked
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t2s_rt.bundle import GraphEntry, sha256_file
from t2s_rt.caches import cache_folder
from t2s_rt.errors import BackendError
from t2s_rt.plans.key import DeviceIdentity, EngineKey, differences
from t2s_rt.plans.report import SignOff
from t2s_rt.plans.sidecar import Sidecar

__all__ = ["PLAN_NAME", "REPORT_NAME", "SIDECAR_NAME", "EngineCache", "EngineFiles"]

PLAN_NAME = "engine.plan"
SIDECAR_NAME = "engine.json"
REPORT_NAME = "verified.json"
_MAX_JSON_BYTES = 4 << 20


@dataclass(frozen=True)
class EngineFiles:
    """One engine in the cache.

    Attributes:
        folder: that holds its files.
        sidecar: read and checked; the plan itself is not, see :meth:`plan_bytes`.
    """

    folder: Path
    sidecar: Sidecar

    @property
    def plan(self) -> Path:
        """Path of the plan."""
        return self.folder / PLAN_NAME

    @classmethod
    def read(cls, folder: Path) -> EngineFiles:
        """Read the sidecar of an engine's folder.

        Raises:
            BackendError: there is none, or it is damaged.
        """
        path = folder / SIDECAR_NAME
        return cls(folder, Sidecar.from_json(_read(path, "t2s-rt build"), str(path)))

    def check_plan(self) -> None:
        """Compare the plan with its sidecar; done before TensorRT sees it.

        Raises:
            BackendError: the plan is missing, cut short or altered.
        """
        try:
            size = self.plan.stat().st_size
            found = sha256_file(self.plan) if size == self.sidecar.plan_bytes else "another size"
        except OSError as error:
            raise BackendError(
                f"{self.plan}: cannot be read ({error.strerror or error}); run t2s-rt build"
            ) from error
        if found != self.sidecar.plan_sha256:
            raise BackendError(
                f"{self.plan}: expected SHA-256 {self.sidecar.plan_sha256[:16]}... and "
                f"{self.sidecar.plan_bytes} bytes as its sidecar says, found {found[:16]} "
                f"({size} bytes); run t2s-rt build again"
            )

    def sign_off(self) -> SignOff | None:
        """The verdict on this very plan, or None where nobody verified it.

        Raises:
            BackendError: the verdict cannot be read.
        """
        path = self.folder / REPORT_NAME
        if not path.exists():
            return None
        found = SignOff.from_json(_read(path, "t2s-rt verify"), str(path))
        return found if found.plan_sha256 == self.sidecar.plan_sha256 else None


class EngineCache:
    """Engines in a folder.

    Args:
        root: the folder; None takes ``engines`` in the cache. It need not exist.

    Raises:
        UsageError: no folder was named and there is no cache folder.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = cache_folder("engines") if root is None else root

    def folder(self, key: EngineKey) -> Path:
        """Where the engine of a key lies, or would."""
        return self.root / f"{key.role}.{key.precision}.{key.digest}"

    def engines(self) -> list[EngineFiles]:
        """Every readable engine, newest first; damaged ones are left out."""
        found = []
        for path in self.root.glob(f"*/{SIDECAR_NAME}"):
            if path.parent.name.startswith("."):
                continue
            try:
                found.append(EngineFiles.read(path.parent))
            except BackendError:
                continue
        return sorted(found, key=lambda engine: engine.sidecar.built, reverse=True)

    def find(self, entry: GraphEntry, tensorrt: str, device: DeviceIdentity) -> EngineFiles:
        """The newest engine of a graph that this TensorRT may load on this device.

        Raises:
            BackendError: there is none; what differs in the nearest one is named.
        """
        wanted = EngineKey.of(entry, tensorrt, device).as_record()
        candidates = [
            (differences(*_comparable(wanted, engine.sidecar.key)), engine)
            for engine in self.engines()
            if (engine.sidecar.key.get("role"), engine.sidecar.key.get("precision"))
            == (entry.role, entry.precision)
        ]
        for wrong, engine in candidates:
            if not wrong:
                return engine
        text = (
            f"expected an engine of {entry.role} {entry.precision} for TensorRT {tensorrt} on "
            f"{device.name} in {self.root}, found "
        )
        if candidates:
            wrong, engine = min(candidates, key=lambda candidate: len(candidate[0]))
            text += f"one that does not fit ({engine.folder.name}: {'; '.join(wrong)})"
        else:
            text += "none"
        raise BackendError(f"{text}; run t2s-rt build with this bundle, on this device")


def _comparable(
    wanted: Mapping[str, Any], found: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of two keys, the parts that must be equal for the found engine to run.

    Options are the builder's business. Profiles must cover what the runtime asks for, which is
    read from the profiles alone, so that an engine with a smaller batch still serves.
    """
    options = _mapping(found.get("options"))
    sides = [
        {name: side.get(name) for name in ("role", "precision", "graph", "tensorrt", "device")}
        for side in (wanted, found)
    ]
    compatibility = options.get("hardware_compatibility")
    if compatibility in ("same_compute_capability", "ampere_plus"):
        for side in sides:
            capability = _mapping(side["device"]).get("compute_capability")
            side["device"] = {"compute_capability": capability}
            if compatibility == "ampere_plus" and isinstance(capability, list) and capability:
                side["device"] = {"ampere or newer": capability[0] >= 8}
    if options.get("version_compatible") and _not_older(wanted, found):
        for side in sides:
            side.pop("tensorrt")
    return sides[0], sides[1]


def _mapping(value: object) -> Mapping[str, Any]:
    """A sidecar's key is checked by comparison, so its parts may be anything."""
    return value if isinstance(value, Mapping) else {}


def _not_older(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    """Whether the TensorRT at hand is the one that built the engine, or newer."""
    try:
        here, built = (
            tuple(int(part) for part in str(side["tensorrt"]).split(".")[:3])
            for side in (wanted, found)
        )
    except (KeyError, ValueError):
        return False
    return here >= built


def _read(path: Path, remedy: str) -> bytes:
    try:
        with open(path, "rb") as stream:
            data = stream.read(_MAX_JSON_BYTES + 1)
    except OSError as error:
        raise BackendError(
            f"{path}: cannot be read ({error.strerror or error}); run {remedy}"
        ) from error
    if len(data) > _MAX_JSON_BYTES:
        raise BackendError(f"{path}: larger than {_MAX_JSON_BYTES >> 20} MiB; run {remedy} again")
    return data
