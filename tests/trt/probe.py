"""Looks at the genuine tensorrt and prints JSON. Runs in a process of its own.

``probe.py FOLDER RELEASE dump|factories|calls|answers|stub``; ``calls`` and ``answers`` read their
table as JSON from the file named next, ``stub`` writes a raw ``.pyi`` file into the folder named
next.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import re
import resource
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

_LINE = re.compile(r"^(?:\d+\. )?(\w+)\((.*)\) -> (.+)$")


def load_genuine(folder: str, release: str) -> ModuleType:
    """Import the genuine bindings over the stub."""
    major = release.split(".")[0]
    for library in sorted(Path(folder, f"stub-{major}").iterdir()):
        ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
    sys.path.insert(0, str(Path(folder, f"tensorrt-{release}")))
    return importlib.import_module("tensorrt_bindings")


def signatures(name: str, text: str | None) -> list[str]:
    """Argument lists of a pybind11 docstring, one per overload."""
    lines = [_LINE.match(line.strip()) for line in (text or "").splitlines()]
    return [m[2] for m in lines if m and m[1] == name]


def dump(trt: ModuleType) -> dict[str, Any]:
    """Classes, members, signatures and enum values."""
    classes: dict[str, Any] = {}

    def walk(kind: type, path: str) -> None:
        enum = getattr(kind, "__members__", None)
        entry: dict[str, Any] = {"members": {}, "enum": None}
        if enum is not None:
            entry["enum"] = {name: int(value) for name, value in enum.items()}
        classes[path] = entry
        for base in reversed(kind.__mro__[:-1]):
            for name, member in vars(base).items():
                entry["members"][name] = describe(name, member)
        for name, member in vars(kind).items():
            if isinstance(member, type) and not name.startswith("_"):
                walk(member, f"{path}.{name}")

    for name in dir(trt):
        member = getattr(trt, name)
        if isinstance(member, type) and not name.startswith("_"):
            walk(member, name)
    values = {n: repr(getattr(trt, n)) for n in dir(trt) if n in ("float32", "int8", "bool")}
    return {"version": trt.__version__, "classes": classes, "names": dir(trt), "values": values}


def describe(name: str, member: Any) -> dict[str, Any]:
    """One member of a class."""
    if isinstance(member, property):
        return {"kind": "property", "get": member.fget is not None, "set": member.fset is not None}
    listed = getattr(member, "_signatures", None)
    if listed is not None:
        texts = [str(s).removeprefix("(").rpartition(") ->")[0] for s in listed]
        return {"kind": "method", "overloads": texts}
    found = signatures(name, getattr(member, "__doc__", None))
    return {"kind": "method" if found else "other", "overloads": found}


def outcome(code: str, scope: dict[str, Any]) -> str:
    """Run one call in a forked child: "accepted", or the name of the exception.

    The genuine object behind it was never made, so a call whose arguments convert reads garbage and
    crashes. That is the answer "accepted".
    """
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        text = "accepted"
        try:
            exec(compile(code, "<call>", "exec"), scope)
        except BaseException as error:
            text = type(error).__name__
        os.write(writable, text.encode())
        os._exit(0)
    os.close(writable)
    text = os.read(readable, 200).decode()
    os.close(readable)
    os.waitpid(child, 0)
    return text or "accepted"


def main() -> None:
    """See the module's docstring."""
    folder, release, what, *rest = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    trt = load_genuine(folder, release)
    if what == "dump":
        print(json.dumps(dump(trt)))
        return
    if what == "factories":
        print(json.dumps({name: factory(trt, name) for name in ("Builder", "Runtime")}))
        return
    if what == "stub":
        sys.path.insert(0, str(Path(folder, "tools")))
        stubgen = importlib.import_module("pybind11_stubgen")
        options = ["--print-invalid-expressions-as-is", "-o", rest[0]]
        sys.argv = ["pybind11-stubgen", "tensorrt_bindings.tensorrt", *options]
        with open(os.devnull, "w", encoding="utf-8") as silent, redirect_stderr(silent):
            stubgen.main()
        print("null")
        return
    table = json.loads(Path(rest[0]).read_text(encoding="utf-8"))
    if what == "answers":
        with open(os.devnull, "w", encoding="utf-8") as silent:
            os.dup2(silent.fileno(), 2)  # the bindings print what they catch
        scope = callbacks_of(trt)
        print(json.dumps({code: evaluated(code, scope) for code in table}))
        return
    found = {code: outcome(code, scope_of(trt, partial(bare, trt))) for code in table}
    print(json.dumps(found))


def factory(trt: ModuleType, name: str) -> str:
    """What a factory says where the library gives it nothing."""
    try:
        getattr(trt, name)(trt.Logger())
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "made"


def bare(trt: ModuleType, name: str) -> Any:
    """An object that no constructor made: enough to see whether arguments convert."""
    kind = getattr(trt, name)
    return kind.__new__(kind)


def scope_of(trt: ModuleType, new: Callable[[str], Any]) -> dict[str, Any]:
    """The names that a call of the table uses."""
    import numpy as np

    interface: Any = trt.ILogger

    class HasInt:
        def __int__(self) -> int:
            return 0

    class NoInit(interface):  # type: ignore[misc]
        def __init__(self) -> None:
            pass

    class Silent(interface):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()

    return {
        **{"trt": trt, "np": np, "new": new},
        **{"HasInt": HasInt, "NoInit": NoInit, "Silent": Silent},
    }


def evaluated(code: str, scope: dict[str, Any]) -> str:
    """The value of an expression, or the name of the exception."""
    try:
        return repr(eval(code, scope))
    except BaseException as error:
        return type(error).__name__


def callbacks_of(trt: ModuleType) -> dict[str, Any]:
    """Ways to call a user's override from C++, and overrides that behave in some way."""
    monitor: Any = trt.IProgressMonitor
    logger: Any = trt.ILogger

    class Monitor(monitor):  # type: ignore[misc]
        def __init__(self, act: Callable[..., Any]) -> None:
            super().__init__()
            self.act = act

        def phase_start(self, *args: Any) -> Any:
            return self.act(self, *args)

        step_complete = phase_finish = phase_start

    class Asking(monitor):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()

        def step_complete(self, phase: str, step: int) -> Any:
            return super().step_complete(phase, step)

    class Silent(monitor):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()

    class Logger(logger):  # type: ignore[misc]
        def __init__(self, act: Callable[..., Any]) -> None:
            super().__init__()
            self.act = act

        def log(self, severity: Any, msg: str) -> Any:
            return self.act(self, severity, msg)

    def raising(error: BaseException) -> Callable[..., Any]:
        def act(*args: Any) -> Any:
            raise error

        return act

    return {
        "start": lambda act: monitor.phase_start(Monitor(act), "phase", None, 3),
        "step": lambda act: monitor.step_complete(Monitor(act), "phase", 1),
        "finish": lambda act: monitor.phase_finish(Monitor(act), "phase"),
        "log": lambda act: logger.log(Logger(act), logger.ERROR, "text"),
        "raising": raising,
        "giving": lambda value: lambda *args: value,
        "step_of_base": lambda: monitor.step_complete(Asking(), "phase", 1),
        "step_of_none": lambda: monitor.step_complete(Silent(), "phase", 1),
    }


if __name__ == "__main__":
    main()
