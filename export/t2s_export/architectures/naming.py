"""How a stored tensor's name says where in our modules it belongs.

A format is one function from stored names to places. It sees names only, so that a file of
gigabytes can be recognised by its header.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["Place", "Rules", "Translation", "rename"]


@dataclass(frozen=True)
class Place:
    """Where a stored tensor belongs.

    Attributes:
        name: of our parameter or buffer.
        part: which part of it, counted along the first axis; one parameter may be stored in
            several, e.g. query, key and value.
        parts: how many parts there are.
    """

    name: str
    part: int = 0
    parts: int = 1


Translation = Callable[[str], Place | None]
"""A stored name's place, or None for what no forward of ours reads. A name that a format does not
know keeps its name: that no parameter is called so is found later."""

Rules = Sequence[tuple[str, str]]
"""Regular expressions and their replacements, applied in order."""


def rename(name: str, rules: Rules) -> str:
    """Apply every rule in turn."""
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name
