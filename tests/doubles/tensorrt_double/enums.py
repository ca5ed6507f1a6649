"""pybind11's enums."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tests.doubles.tensorrt_double.pybind import Refused, whole

__all__ = ["make_enum"]


class _EnumBase:
    """pybind11's ``enum_``: neither an int nor an ``enum.Enum``."""

    __slots__ = ("_value",)
    if TYPE_CHECKING:
        _value: int
    _names: Mapping[int, str]
    _ordered = False
    __members__: Mapping[str, _EnumBase]

    def __init__(self, value: Any) -> None:
        try:
            object.__setattr__(self, "_value", whole(value))
        except Refused:
            raise TypeError(
                "__init__(): incompatible constructor arguments. The following argument types "
                f"are supported:\n    1. {type(self).__name__}(value: int)"
            ) from None

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    @property
    def name(self) -> str:
        return self._label()

    def _label(self) -> str:
        return self._names.get(self._value, "???")

    @property
    def value(self) -> int:
        return int(self._value)

    def __int__(self) -> int:
        return int(self._value)

    __index__ = __int__

    def __hash__(self) -> int:
        return hash(self._value)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._value == self._value

    def _compare(self, other: Any, test: Callable[[int, int], bool]) -> Any:
        if type(other) is type(self) and self._ordered:
            return test(self._value, other._value)
        if self._ordered:
            raise TypeError("Expected an enumeration of matching type!")
        return NotImplemented

    def __lt__(self, other: Any) -> Any:
        return self._compare(other, lambda a, b: a < b)

    def __le__(self, other: Any) -> Any:
        return self._compare(other, lambda a, b: a <= b)

    def __gt__(self, other: Any) -> Any:
        return self._compare(other, lambda a, b: a > b)

    def __ge__(self, other: Any) -> Any:
        return self._compare(other, lambda a, b: a >= b)

    def __str__(self) -> str:
        return f"{type(self).__name__}.{self._label()}"

    def __repr__(self) -> str:
        return f"<{self}: {self._value}>"


def make_enum(
    name: str, members: Mapping[str, int] | Iterable[tuple[str, int]], ordered: bool = False
) -> type:
    """An enum class.

    Args:
        name: of the class.
        members: names and values; of two names for one value the first is what is shown.
        ordered: members compare with each other (``py::arithmetic`` in the bindings).
    """
    pairs = dict(members)
    names: dict[int, str] = {}
    for key, value in pairs.items():
        names.setdefault(value, key)
    made: Any = type(name, (_EnumBase,), {"__slots__": (), "_names": names, "_ordered": ordered})
    made.__module__ = "tensorrt.tensorrt"
    made.__members__ = {key: made(value) for key, value in pairs.items()}
    for key, member in made.__members__.items():
        setattr(made, key, member)
    result: type = made
    return result
