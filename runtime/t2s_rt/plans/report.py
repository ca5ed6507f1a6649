"""``verified.json``: the verdict of ``t2s-rt verify`` on an engine, which ``infer`` asks for.

Schema version 1::

    schema_version   1
    verdict          "passed" or "failed"
    plan_sha256      of the plan that was verified: a rebuilt engine is verified anew
    verified         ISO 8601 time in UTC
    verifier         program and version
    scenes           list of {"name", "sha256", "synthetic"}
    figures          {name: value} measured
    floors           {name: value} that the figures had to reach
    faults           list of texts: why it failed
    environment      versions and device, for the record
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, cast

from t2s_rt.bundle.fields import parse_json
from t2s_rt.errors import BackendError

__all__ = ["REPORT_VERSION", "SignOff"]

REPORT_VERSION = 1


@dataclass(frozen=True)
class SignOff:
    """A verdict; the fields are described at the top of this module."""

    verdict: Literal["passed", "failed"]
    plan_sha256: str
    verified: str
    verifier: str
    scenes: tuple[Mapping[str, Any], ...]
    figures: Mapping[str, float]
    floors: Mapping[str, float]
    faults: tuple[str, ...] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """The text of ``verified.json``: sorted keys, two spaces, a final line break."""
        record = {**asdict(self), "schema_version": REPORT_VERSION}
        return json.dumps(record, indent=2, sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, where: str) -> SignOff:
        """Read and check the text of a verdict.

        Raises:
            BackendError: naming the field, what was expected and what was found.
        """
        root = parse_json(text, where, BackendError)
        version = root.integer("schema_version", 0, 2**31)
        if version != REPORT_VERSION:
            raise BackendError(
                f"{where}: schema version {version}, but this t2s-rt reads version "
                f"{REPORT_VERSION}; run t2s-rt verify again"
            )
        verdict = root.choice("verdict", ("passed", "failed"))
        return cls(
            verdict=cast(Literal["passed", "failed"], verdict),
            plan_sha256=root.text("plan_sha256", "[0-9a-f]{64}"),
            verified=root.text("verified"),
            verifier=root.text("verifier"),
            scenes=tuple(
                {
                    "name": scene.text("name"),
                    "sha256": scene.text("sha256", "[0-9a-f]{64}"),
                    "synthetic": scene.flag("synthetic"),
                }
                for scene in root.objects("scenes")
            ),
            figures=root.child("figures").numbers(-1e30, 1e30),
            floors=root.child("floors").numbers(-1e30, 1e30),
            faults=root.texts("faults"),
            environment=root.free("environment"),
        )
