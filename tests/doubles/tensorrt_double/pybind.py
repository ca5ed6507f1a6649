"""How pybind11 treats classes, enums and arguments, as the genuine bindings show it.

Templates are plain annotated classes. :func:`release_class` makes a release's class of one: it
keeps what that release has, and puts pybind11's argument check before each method. Overloads are
methods named ``name__1``, ``name__2``; annotations are read as text:

=====================  =========================================================================
``int``, ``UInt``      has ``__int__`` and is no ``float`` and no ``str``; ``UInt`` is not negative
``float``, ``bool``    a number; True or False (or None, a number: by truth)
``str``                ``str`` or ``bytes``; a C++ string: None is refused
``CStr``               ``str``, ``bytes``; None is a null pointer, which the library would read
``Buffer``             has the buffer protocol
``Dims``               a Dims or a sequence of whole numbers, 8 at most
``Name``               an instance of that class of the same release
=====================  =========================================================================
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
from tests.doubles.device import Device

__all__ = [
    "Buffer",
    "CStr",
    "CrashError",
    "Object",
    "Refused",
    "UInt",
    "converted",
    "make",
    "only",
    "release_class",
    "whole",
]

UInt = int
CStr = str
Buffer = Any


class CrashError(AssertionError):
    """A call that would take the genuine library, and with it the process, down."""


def only(since: str = "0", until: str = "99") -> Callable[[Any], Any]:
    """Mark a method, property function or class: in releases from ``since``, below ``until``."""

    def mark(target: Any) -> Any:
        target._only = (number(since), number(until))
        return target

    return mark


def number(release: str) -> tuple[int, ...]:
    """A release as comparable numbers."""
    return tuple(int(part) for part in release.split("."))


def has(target: Any, release: str) -> bool:
    """Whether a release has what :func:`only` marked."""
    since, until = getattr(target, "_only", ((0,), (99,)))
    return bool(since <= number(release) < until)


class Refused(Exception):
    """An argument that does not convert."""


class _Meta(type):
    """pybind11's metaclass: an overridden ``__init__`` must call the library's."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        made = super().__call__(*args, **kwargs)
        if not made.__dict__.get("_ready", False):
            base = next(c for c in cls.__mro__ if c.__dict__.get("_released"))
            raise TypeError(
                f"tensorrt.tensorrt.{base.__name__}.__init__() must be called when overriding "
                "__init__"
            )
        return made


class Object(metaclass=_Meta):
    """The base of all: no attributes of one's own, unless in a Python subclass."""

    _trt: ModuleType
    _device: Device
    _release: str
    _released = False

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and type(self).__dict__.get("_released"):
            found = inspect.getattr_static(type(self), name, None)
            if not isinstance(found, property):
                raise AttributeError(
                    f"'tensorrt.tensorrt.{type(self).__name__}' object has no attribute '{name}'"
                )
        object.__setattr__(self, name, value)

    def __enter__(self) -> Object:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def make(cls: type, **state: Any) -> Any:
    """An object as the library hands it out, past the constructor that Python does not have."""
    made: Any = object.__new__(cls)
    object.__setattr__(made, "_ready", True)
    for name, value in state.items():
        object.__setattr__(made, name, value)
    start = getattr(made, "_start", None)
    if start is not None:
        start()
    return made


def converted(value: Any, annotation: str, trt: ModuleType) -> Any:
    """An argument as C++ gets it.

    Raises:
        Refused: no conversion exists.
    """
    for part in annotation.split(" | "):
        try:
            return _convert_one(value, part.strip(), trt)
        except Refused:
            continue
    raise Refused


def whole(value: Any) -> int:
    if isinstance(value, (float, complex, str, bytes)) or not hasattr(value, "__int__"):
        raise Refused
    try:
        return int(value)
    except (TypeError, ValueError):
        raise Refused from None


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode()
    raise Refused


def _convert_one(value: Any, kind: str, trt: ModuleType) -> Any:
    if kind in ("int", "UInt"):
        found = whole(value)
        if kind == "UInt" and found < 0:
            raise Refused
        return found
    if kind == "str":
        return _text(value)
    if kind == "CStr":
        if value is None:
            raise CrashError("None where the library reads a C string: a null pointer")
        return _text(value)
    if kind == "float":
        if isinstance(value, str) or not hasattr(value, "__float__"):
            raise Refused
        return float(value)
    if kind == "bool":
        if value is None or isinstance(value, (bool, int, float, np.generic)):
            return bool(value)
        raise Refused
    if kind == "None":
        if value is not None:
            raise Refused
        return None
    return _convert_object(value, kind, trt)


_PYTHON: dict[str, type] = {
    **{"AnyTuple": tuple, "AnyList": list, "object": object},
    **{"slice": slice, "ndarray": np.ndarray},
}


def _convert_object(value: Any, kind: str, trt: ModuleType) -> Any:
    if kind == "Buffer":
        try:
            return memoryview(value)
        except TypeError:
            raise Refused from None
    if kind == "Dims":
        return _dims(value, trt)
    if kind in _PYTHON:
        if not isinstance(value, _PYTHON[kind]):
            raise Refused
        return value
    if match := re.fullmatch(r"list\[(.+)\]", kind):
        if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
            raise Refused
        return [converted(item, match[1], trt) for item in value]
    if kind == "Weights" and isinstance(value, np.ndarray):
        try:
            return trt.Weights(value)
        except ValueError:
            raise Refused from None
    wanted = getattr(trt, kind, None)
    if wanted is None:
        wanted = getattr(trt.ILogger, kind, None)
    if wanted is None or not isinstance(value, wanted):
        raise Refused
    return value


def _dims(value: Any, trt: ModuleType) -> Any:
    if isinstance(value, trt.Dims):
        return value
    if isinstance(value, (str, bytes)) or not hasattr(value, "__len__"):
        raise Refused
    try:
        return trt.Dims(value)
    except (TypeError, ValueError):
        raise Refused from None


def _overloads(functions: list[FunctionType]) -> list[inspect.Signature]:
    return [inspect.signature(function) for function in functions]


def _dispatch(name: str, functions: list[FunctionType], trt: ModuleType) -> Callable[..., Any]:
    """The method that Python sees: the first overload whose arguments convert."""
    signatures = _overloads(functions)

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        for function, signature in zip(functions, signatures, strict=True):
            try:
                bound = signature.bind(self, *args, **kwargs)
                values = {
                    key: converted(value, str(signature.parameters[key].annotation), trt)
                    for key, value in list(bound.arguments.items())[1:]
                }
            except (TypeError, Refused):
                continue
            if name == "__init__":
                object.__setattr__(self, "_ready", True)
            return function(self, **values)
        kind = "constructor" if name == "__init__" else "function"
        listed = "".join(f"\n    {i}. {name}{s}" for i, s in enumerate(signatures, 1))
        raise TypeError(
            f"{name}(): incompatible {kind} arguments. The following argument types are "
            f"supported:{listed}\n\nInvoked with: {args!r}, {kwargs!r}"
        )

    call.__name__ = name
    call._signatures = signatures  # type: ignore[attr-defined]
    return call


def _setter(function: FunctionType, trt: ModuleType) -> Callable[[Any, Any], None]:
    """A property's setter with its argument check."""
    annotation = str(list(inspect.signature(function).parameters.values())[1].annotation)

    def set_(self: Any, value: Any) -> None:
        try:
            checked = converted(value, annotation, trt)
        except Refused:
            raise TypeError(
                "(): incompatible function arguments. The following argument types are "
                f"supported:\n    1. (arg0, arg1: {annotation}) -> None\n\nInvoked with: {value!r}"
            ) from None
        function(self, checked)

    return set_


_PLAIN = frozenset({"__len__", "__iter__", "__hash__", "__repr__", "__str__", "__bool__"})


def release_class(template: type, release: str, trt: ModuleType, bases: tuple[type, ...]) -> type:
    """One release's class of a template.

    Args:
        template: annotated methods and properties; ``_abstract`` says that it has no constructor.
        release: e.g. ``"10.13.3.9"``.
        trt: the module it goes to.
        bases: released classes it derives from; none for the root.
    """
    content: dict[str, Any] = {"__doc__": template.__doc__, "_released": True, "_trt": trt}
    grouped: dict[str, list[FunctionType]] = {}
    for name, member in vars(template).items():
        if isinstance(member, property):
            if member.fget is None or not has(member.fget, release):
                continue
            setter = member.fset if has(member.fset, release) else None
            content[name] = property(
                None if getattr(member.fget, "_write_only", False) else member.fget,
                _setter(setter, trt) if isinstance(setter, FunctionType) else None,
            )
        elif isinstance(member, FunctionType):
            if not has(member, release):
                continue
            if (name.startswith("_") and not name.startswith("__")) or name in _PLAIN:
                content[name] = member
            else:
                public = re.sub(r"__\d$", "", name)
                if public != name and public in ("init", "eq", "getitem"):
                    public = f"__{public}__"  # a name of two underscores would be mangled
                grouped.setdefault(public, []).append(member)
        elif name in ("__hash__",) or not name.startswith("__"):
            content[name] = member
    for name, functions in grouped.items():
        content[name] = _dispatch(name, functions, trt)
    if "__init__" not in content and template.__dict__.get("_abstract", True):

        def no_constructor(self: Any, *_: Any, **__: Any) -> None:
            raise TypeError(f"tensorrt.tensorrt.{template.__name__}: No constructor defined!")

        content["__init__"] = no_constructor
    made: type = _Meta(template.__name__, bases or (Object,), content)
    made.__module__ = "tensorrt.tensorrt"
    return made
