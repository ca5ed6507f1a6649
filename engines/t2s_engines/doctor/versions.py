"""Version numbers as tuples, compared only as far as both are given."""

from __future__ import annotations

import re

__all__ = ["Version", "parse_version", "show_version", "within"]

Version = tuple[int, ...]


def parse_version(text: str) -> Version:
    """The leading dotted numbers of a version: ``"10.3.0.26-1+cuda12.5"`` gives (10, 3, 0, 26).

    A text without a leading number gives the empty tuple, which compares as unknown.
    """
    found = re.match(r"\d+(?:\.\d+)*", text.strip().lstrip("v"))
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def show_version(version: Version) -> str:
    """``(10, 3, 0)`` as ``10.3.0``."""
    return ".".join(str(part) for part in version) or "of unknown version"


def within(version: Version, first: Version, last: Version = ()) -> bool:
    """Whether a version lies in a range, both ends included.

    Each end counts to its own length: 10.3.0 is within the range from 10.3 to 10.3. An empty
    ``last`` leaves the range open; an unknown version lies in no range.
    """
    if not version:
        return False
    return version[: len(first)] >= first and (not last or version[: len(last)] <= last)
