"""What an engine depends on. Two engines with the same key are the same engine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from t2s_rt.bundle import GraphEntry
from t2s_rt.plans.profiles import InputProfile, input_profiles

__all__ = ["BuildOptions", "DeviceIdentity", "EngineKey", "differences"]

HardwareCompatibility = Literal["none", "ampere_plus", "same_compute_capability"]
_DIGEST_LETTERS = 16


@dataclass(frozen=True)
class DeviceIdentity:
    """The attributes of a GPU that decide whether a plan fits it.

    Attributes:
        name: of the GPU, as CUDA says it.
        compute_capability: major and minor.
        multiprocessors: tactics are timed for this many.
        memory: bytes of device memory, rounded down to 64 MiB: what the driver takes for itself
            differs from boot to boot.
        integrated: whether it shares memory with the host, as on a Jetson.
    """

    name: str
    compute_capability: tuple[int, int]
    multiprocessors: int
    memory: int
    integrated: bool

    @property
    def architecture(self) -> str:
        """For people and folder names: ``sm_87``."""
        return "sm_{}{}".format(*self.compute_capability)


@dataclass(frozen=True)
class BuildOptions:
    """Options of ``t2s-rt build`` that change the plan.

    Attributes:
        workspace: bytes of device memory that tactics may use; None leaves it to TensorRT.
        optimization_level: 0..5, TensorRT's builder optimisation level.
        hardware_compatibility: one plan for more than this model of GPU.
        version_compatible: a plan that later releases load; it carries the lean runtime.
        strip_weights: a plan without weights, which are refitted from the graph at load.
        batch: most tiles in one call of an image encoder; None takes the runtime's limit.
    """

    workspace: int | None = None
    optimization_level: int = 3
    hardware_compatibility: HardwareCompatibility = "none"
    version_compatible: bool = False
    strip_weights: bool = False
    batch: int | None = None


@dataclass(frozen=True)
class EngineKey:
    """Everything that an engine depends on.

    Attributes:
        role: of the graph.
        precision: of the graph.
        graph: SHA-256 of the graph with its weights (``GraphEntry.content_sha256``).
        tensorrt: full version of TensorRT, e.g. ``10.3.0.30``.
        device: that it is built for.
        profiles: of the inputs.
        options: of the build.
    """

    role: str
    precision: str
    graph: str
    tensorrt: str
    device: DeviceIdentity
    profiles: tuple[InputProfile, ...]
    options: BuildOptions

    @classmethod
    def of(
        cls,
        entry: GraphEntry,
        tensorrt: str,
        device: DeviceIdentity,
        options: BuildOptions | None = None,
    ) -> EngineKey:
        """The key of a graph's engine on a device.

        Raises:
            BackendError: a graph that no engine is built for.
        """
        chosen = options or BuildOptions()
        return cls(
            role=entry.role,
            precision=entry.precision,
            graph=entry.content_sha256,
            tensorrt=tensorrt,
            device=device,
            profiles=input_profiles(entry, chosen.batch),
            options=chosen,
        )

    def as_record(self) -> dict[str, Any]:
        """As JSON values, as the sidecar holds them."""
        record: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return record

    @property
    def digest(self) -> str:
        """SHA-256 of the key, shortened to 16 letters: the engine's file name."""
        text = json.dumps(self.as_record(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_LETTERS]


def differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """What differs between two keys as records, one ``name: expected x, found y`` each."""
    wanted, given = _flat(expected), _flat(found)
    return [
        f"{name}: expected {_show(wanted, name)}, found {_show(given, name)}"
        for name in {**wanted, **given}
        if name not in wanted or name not in given or wanted[name] != given[name]
    ]


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {
            key: leaf
            for part, inner in value.items()
            for key, leaf in _flat(inner, f"{name}.{part}" if name else str(part)).items()
        }
    return {name: value}


def _show(values: Mapping[str, Any], name: str) -> str:
    return json.dumps(values[name]) if name in values else "nothing"
