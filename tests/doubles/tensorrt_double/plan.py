"""The plan file of the double: a header that says for what, and the model."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import asdict, dataclass, field
from typing import Any

import onnx
from tests.doubles.tensorrt_double.model import Model

__all__ = ["MAGIC", "Plan", "PlanError"]

MAGIC = b"TRTDOUBLE\x01"
_HEAD = struct.Struct("<QI32s")


class PlanError(Exception):
    """Bytes that are no plan; the message is what the logger is told."""


@dataclass
class Plan:
    """An engine as bytes.

    Attributes:
        release: full number of the TensorRT that built it.
        compute_capability: of the GPU that built it.
        device_name: of that GPU.
        hardware: name of the HardwareCompatibilityLevel.
        version_compatible: another release of the same major number may load it.
        lean_runtime: the plan carries a runtime for that.
        strongly_typed: whether precisions were the graph's own.
        profiles: for each profile, name to (min, opt, max).
        refit: "" (not refittable), "any" or "identical".
        stripped: digests of the weights that are not in it.
        digests: digests of the weights it was built with, where they must stay identical.
        level: builder optimisation level.
        verbosity: name of the ProfilingVerbosity.
        narrow: int64 became int32.
        model: what it computes.
    """

    release: str
    compute_capability: tuple[int, int]
    device_name: str
    hardware: str
    version_compatible: bool
    lean_runtime: bool
    strongly_typed: bool
    profiles: list[dict[str, tuple[tuple[int, ...], ...]]]
    refit: str
    stripped: dict[str, str]
    digests: dict[str, str]
    level: int
    verbosity: str
    narrow: bool
    name: str = ""
    flags: list[str] = field(default_factory=list)
    model: Model | None = None

    def to_bytes(self) -> bytes:
        """The file's content."""
        assert self.model is not None
        header: dict[str, Any] = asdict(Plan(**{**self.__dict__, "model": None}))
        head = json.dumps(header).encode()
        body = head + self.model.proto.SerializeToString(deterministic=True)
        digest = hashlib.sha256(body).digest()
        content: bytes = MAGIC + _HEAD.pack(len(body), len(head), digest) + body
        return content

    @classmethod
    def from_bytes(cls, content: bytes) -> Plan:
        """Read a file's content.

        Raises:
            PlanError: it is foreign, cut off or changed.
        """
        start = len(MAGIC) + _HEAD.size
        if len(content) < start or not content.startswith(MAGIC):
            raise PlanError(
                "Serialization assertion plan->header.magicTag == rt::kPLAN_MAGIC_TAG failed."
                "Trying to load an engine created with incompatible serialization version. "
                "Check that the engine was not created using safety runtime, same OS was used and "
                "version compatibility parameters were set accordingly."
            )
        size, head, digest = _HEAD.unpack(content[len(MAGIC) : start])
        body = content[start : start + size]
        if len(body) != size or hashlib.sha256(body).digest() != digest:
            raise PlanError(
                "Serialization assertion plan->header.size == blobSize failed.Plan is damaged."
            )
        fields = json.loads(body[:head])
        fields["compute_capability"] = tuple(fields["compute_capability"])
        fields["profiles"] = [
            {name: tuple(tuple(s) for s in shapes) for name, shapes in profile.items()}
            for profile in fields["profiles"]
        ]
        plan = cls(**fields)
        plan.model = Model(onnx.load_model_from_string(body[head:]), plan.narrow)
        return plan
