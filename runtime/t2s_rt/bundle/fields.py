"""Reading untrusted JSON: every field is checked, every error names the field.

Manifests and prompt packs come from elsewhere, so no value is used before its type and range
are known. :class:`JsonObject` wraps one JSON object and hands out checked values only.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from t2s_rt.errors import T2SError

__all__ = ["JsonObject", "parse_json"]

_MISSING = object()


def parse_json(text: str | bytes, where: str, error: type[T2SError]) -> JsonObject:
    """Parse one JSON object.

    Args:
        text: UTF-8 bytes or text.
        where: what is read, for messages, e.g. ``"bundle.json"``.
        error: the class to raise.

    Raises:
        T2SError: of class ``error``; the text is no JSON object (also NaN, endless nesting).
    """
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as problem:
        raise error(f"{where}: expected a JSON object, but it cannot be read ({problem})") from None
    return JsonObject(value, where, error)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


class JsonObject:
    """One JSON object whose values are handed out checked.

    Args:
        value: what the JSON parser returned.
        where: its place, for messages.
        error: the class to raise when something is not as expected.
    """

    def __init__(self, value: object, where: str, error: type[T2SError]) -> None:
        self._where = where
        self._error = error
        if not isinstance(value, dict):
            self.fail("an object", value)
        self._value: dict[str, Any] = value

    def fail(self, expected: str, found: object, key: str | None = None) -> NoReturn:
        """Raise the error that says where, what was expected and what was found."""
        place = self._where if key is None else f"{self._where}: {key}"
        shown = "nothing" if found is _MISSING else _shorten(found)
        raise self._error(f"{place}: expected {expected}, found {shown}")

    def has(self, key: str) -> bool:
        """Whether the key is present with a value other than null."""
        return self._value.get(key) is not None

    def text(self, key: str, pattern: str | None = None, limit: int = 4096) -> str:
        """A string, matching the whole of ``pattern``, of at most ``limit`` characters."""
        value = self._value.get(key, _MISSING)
        if not isinstance(value, str) or len(value) > limit or not value.isprintable():
            self.fail(f"a printable text of at most {limit} characters", value, key)
        if pattern is not None and re.fullmatch(pattern, value) is None:
            self.fail(f"a text of the form {pattern}", value, key)
        return value

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        """One of the given strings."""
        value = self._value.get(key, _MISSING)
        if not isinstance(value, str) or value not in choices:
            self.fail(f"one of {', '.join(choices)}", value, key)
        return value

    def integer(self, key: str, low: int, high: int) -> int:
        """An integer in ``low..high``."""
        value = self._value.get(key, _MISSING)
        if type(value) is not int or not low <= value <= high:
            self.fail(f"an integer in {low}..{high}", value, key)
        return value

    def number(self, key: str, low: float, high: float) -> float:
        """A finite number in ``low..high``."""
        value = self._value.get(key, _MISSING)
        if type(value) not in (int, float) or not low <= value <= high or math.isinf(value):
            self.fail(f"a number in {low:g}..{high:g}", value, key)
        return float(value)

    def schema_version(self, known: int, remedy: str, newer: str | None = None) -> None:
        """Refuse a ``schema_version`` other than the known one.

        Args:
            known: the version that this program reads.
            remedy: what to do about another one.
            newer: what to do about a newer one, if that is something else.
        """
        found = self.integer("schema_version", 0, 2**31)
        if found != known:
            advice = newer if newer is not None and found > known else remedy
            raise self._error(
                f"{self._where}: schema version {found}, but this t2s-rt reads version {known}; "
                f"{advice}"
            )

    def flag(self, key: str) -> bool:
        """True or false."""
        value = self._value.get(key, _MISSING)
        if not isinstance(value, bool):
            self.fail("true or false", value, key)
        return value

    def items(self, key: str, limit: int = 4096) -> list[Any]:
        """A list of at most ``limit`` unchecked items."""
        value = self._value.get(key, _MISSING)
        if not isinstance(value, list) or len(value) > limit:
            self.fail(f"a list of at most {limit} items", value, key)
        return value

    def objects(self, key: str, limit: int = 4096) -> list[JsonObject]:
        """A list of objects."""
        return [
            JsonObject(item, f"{self._where}: {key}[{index}]", self._error)
            for index, item in enumerate(self.items(key, limit))
        ]

    def texts(self, key: str, limit: int = 4096) -> tuple[str, ...]:
        """A list of printable strings."""
        items = self.items(key, limit)
        for item in items:
            if not isinstance(item, str) or not item.isprintable():
                self.fail("a list of printable texts", item, key)
        return tuple(items)

    def integers(self, key: str, count: int, low: int, high: int) -> tuple[int, ...]:
        """A list of exactly ``count`` integers in ``low..high``."""
        items = self.items(key)
        if len(items) != count or any(type(i) is not int or not low <= i <= high for i in items):
            self.fail(f"{count} integers in {low}..{high}", items, key)
        return tuple(items)

    def child(self, key: str) -> JsonObject:
        """The object under ``key``."""
        value = self._value.get(key, _MISSING)
        if not isinstance(value, dict):
            self.fail("an object", value, key)
        return JsonObject(value, f"{self._where}: {key}", self._error)

    def children(self, key: str) -> dict[str, JsonObject]:
        """An object of objects, by name."""
        child = self.child(key)
        return {name: child.child(name) for name in child._value}

    def numbers(self, low: float, high: float) -> dict[str, float]:
        """All of this object's values, which must be numbers, by name."""
        return {name: self.number(name, low, high) for name in self._value}

    def free(self, key: str) -> Mapping[str, Any]:
        """The object under ``key`` as it is, or an empty one: for records nothing depends on."""
        return dict(self.child(key)._value) if self.has(key) else {}


def _shorten(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
