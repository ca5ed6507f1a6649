"""``engine.json``: the sidecar beside every plan, checked before the plan is touched.

Schema version 1::

    schema_version   1
    key              everything the engine depends on, see EngineKey
    digest           of the key
    plan             {"sha256", "bytes"} of engine.plan
    built            ISO 8601 time in UTC
    seconds          that the build took
    builder          program and version that built it
    notes            list of texts, e.g. warnings of the builder
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from t2s_rt.bundle.fields import parse_json
from t2s_rt.errors import BackendError

__all__ = ["SIDECAR_VERSION", "Sidecar"]

SIDECAR_VERSION = 1
_SHA256 = "[0-9a-f]{64}"
_MAX_PLAN = 1 << 40


@dataclass(frozen=True)
class Sidecar:
    """What a plan says of itself; the fields are described at the top of this module."""

    key: Mapping[str, Any]
    digest: str
    plan_sha256: str
    plan_bytes: int
    built: str
    seconds: float
    builder: str
    notes: tuple[str, ...] = ()

    def to_json(self) -> str:
        """The text of ``engine.json``: sorted keys, two spaces, a final line break."""
        record = asdict(self)
        plan = {"sha256": record.pop("plan_sha256"), "bytes": record.pop("plan_bytes")}
        record |= {"plan": plan, "schema_version": SIDECAR_VERSION}
        return json.dumps(record, indent=2, sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, where: str) -> Sidecar:
        """Read and check the text of a sidecar.

        Raises:
            BackendError: naming the field, what was expected and what was found.
        """
        root = parse_json(text, where, BackendError)
        root.schema_version(SIDECAR_VERSION, "run t2s-rt build again")
        plan = root.child("plan")
        root.child("key")
        return cls(
            key=root.free("key"),
            digest=root.text("digest", "[0-9a-f]{16}"),
            plan_sha256=plan.text("sha256", _SHA256),
            plan_bytes=plan.integer("bytes", 1, _MAX_PLAN),
            built=root.text("built"),
            seconds=root.number("seconds", 0.0, 1e9),
            builder=root.text("builder"),
            notes=root.texts("notes"),
        )
