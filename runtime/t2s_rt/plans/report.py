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
    ceilings         {name: value} that the figures had to stay within
    faults           list of texts: why it failed
    environment      versions and device, for the record
    checksum         SHA-256 of all of the above, as canonical JSON

The checksum has no key: it shows that a verdict was cut short or edited by hand, not who wrote it.
Whoever can write into the folder of an engine can replace the plan as well; what protects both is
the folder's permissions.
"""

from __future__ import annotations

import hashlib
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
    ceilings: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> str:
        """The text of ``verified.json``: sorted keys, two spaces, a final line break."""
        record = {**asdict(self), "schema_version": REPORT_VERSION}
        record["checksum"] = _checksum(record)
        return json.dumps(record, indent=2, sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, where: str) -> SignOff:
        """Read and check the text of a verdict.

        Raises:
            BackendError: naming the field, what was expected and what was found.
        """
        root = parse_json(text, where, BackendError)
        root.schema_version(REPORT_VERSION, "run t2s-rt verify again")
        verdict = root.choice("verdict", ("passed", "failed"))
        stated = root.text("checksum", "[0-9a-f]{64}")
        found = _checksum({k: v for k, v in json.loads(text).items() if k != "checksum"})
        if found != stated:
            raise BackendError(
                f"{where}: expected the checksum {stated[:16]}... that it states, found "
                f"{found[:16]}...: it was changed after t2s-rt verify wrote it; "
                "run t2s-rt verify again"
            )
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
            ceilings=root.child("ceilings").numbers(-1e30, 1e30),
        )


def _checksum(record: Mapping[str, Any]) -> str:
    """SHA-256 of a verdict's fields, the checksum itself left out."""
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
