"""The prompt bank: what the package knows about common overhead classes.

It is a data file, ``bank.json``, with for each class: ``kind`` (``thing``: countable, found as
objects; ``stuff``: found as regions), ``colour`` in class maps, ``synonyms`` that are searched
for where the user names none, ``common`` (a usual part of overhead images, so it stands among
the labels that CLIP's scores compete with), ``covers`` (classes it overlaps in meaning, which
therefore never compete with it) and, where the routes' defaults do not fit, ``thresholds``.
"""

from __future__ import annotations

import colorsys
import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Literal, cast

from t2s_rt.bundle.fields import JsonObject, parse_json
from t2s_rt.errors import InternalError

__all__ = ["KINDS", "BankClass", "Colour", "Kind", "choose_colour", "find", "load_bank", "related"]

Kind = Literal["thing", "stuff", "both"]
Colour = tuple[int, int, int]
KINDS: tuple[Kind, ...] = ("thing", "stuff", "both")

_CANDIDATES = 64
_DISTINCT = 60.0
"""Distance in RGB that two classes on one map should keep."""
_RESERVED: tuple[Colour, ...] = ((0, 0, 0), (255, 255, 255))
"""Black is "none" on maps, white is paper."""


@dataclass(frozen=True)
class BankClass:
    """One class of the bank; the fields are described at the top of this module."""

    name: str
    kind: Kind
    colour: Colour
    synonyms: tuple[str, ...]
    common: bool = False
    covers: tuple[str, ...] = ()
    thresholds: Mapping[str, float] = field(default_factory=dict)

    @property
    def phrases(self) -> tuple[str, ...]:
        """The name, then the synonyms."""
        return (self.name, *self.synonyms)


@cache
def load_bank() -> Mapping[str, BankClass]:
    """The whole bank, by class name, in the order of the file."""
    text = (files("t2s_rt.prompts") / "bank.json").read_bytes()
    root = parse_json(text, "bank.json", InternalError)
    entries = [_entry(item) for item in root.objects("classes")]
    return MappingProxyType({entry.name: entry for entry in entries})


def _entry(item: JsonObject) -> BankClass:
    red, green, blue = item.integers("colour", 3, 0, 255)
    return BankClass(
        name=item.text("name"),
        kind=cast(Kind, item.choice("kind", KINDS)),
        colour=(red, green, blue),
        synonyms=item.texts("synonyms"),
        common=item.has("common"),
        covers=item.texts("covers") if item.has("covers") else (),
        thresholds=item.child("thresholds").numbers(0.0, 1.0) if item.has("thresholds") else {},
    )


def find(phrase: str) -> BankClass | None:
    """The bank's class that a phrase names, as its name or a synonym, also in the plural."""
    key = phrase.lower()
    for form in (key, key.removesuffix("s")):
        if form in load_bank():
            return load_bank()[form]
        for entry in load_bank().values():
            if form in entry.synonyms:
                return entry
    return None


def related(one: str, other: str) -> bool:
    """Whether two phrases overlap in meaning, so that they must not compete as labels."""
    first, second = find(one), find(other)
    if first is None or second is None:
        return one.lower() == other.lower()
    return first is second or first.name in second.covers or second.name in first.covers


def choose_colour(name: str, taken: Iterable[Colour]) -> Colour:
    """A colour for a class, the same in every run.

    The bank's colour if it knows the class and the colour is free; else one derived from the
    name's hash, taking the candidate that lies farthest from the colours in use unless an
    earlier one is far enough.

    Args:
        name: the class.
        taken: colours in use on the same map.

    Returns:
        Red, green, blue in 0..255.
    """
    used = (*taken, *_RESERVED)
    entry = find(name)
    if entry is not None and entry.colour not in used:
        return entry.colour
    seed = int.from_bytes(hashlib.sha256(name.lower().encode()).digest()[:4], "big") / 2**32
    best, best_distance = _RESERVED[0], -1.0
    for index in range(_CANDIDATES):
        # the golden ratio spreads hues evenly however many are drawn
        hue = (seed + index * 0.618033988749895) % 1.0
        channels = colorsys.hsv_to_rgb(hue, 0.85 - 0.2 * (index % 3), 0.95 - 0.2 * (index % 4))
        red, green, blue = (round(255 * channel) for channel in channels)
        distance = min(_distance((red, green, blue), other) for other in used)
        if distance > best_distance:
            best, best_distance = (red, green, blue), distance
        if best_distance >= _DISTINCT:
            break
    return best


def _distance(one: Colour, other: Colour) -> float:
    return math.dist(one, other)
