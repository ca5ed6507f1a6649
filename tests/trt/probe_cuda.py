"""Looks at the genuine package cuda and prints JSON. Runs in a process of its own.

``probe_cuda.py FOLDER dump|calls``; ``calls`` reads the table of calls as JSON from the file named
next. The package imports without a driver; its calls then answer with an error code.
"""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["answer", "dump"]


def dump(runtime: ModuleType) -> dict[str, Any]:
    """Functions with their parameters; enums and constants with their values."""
    functions, enums, constants = {}, {}, {}
    for name in dir(runtime):
        member = getattr(runtime, name)
        if name.startswith("_"):
            continue
        if isinstance(member, type):
            members = getattr(member, "__members__", None)
            if members:
                enums[name] = {key: int(value) for key, value in members.items()}
        elif isinstance(member, int):
            constants[name] = int(member)
        elif callable(member):
            functions[name] = list(inspect.signature(member).parameters)
    return {"functions": functions, "enums": enums, "constants": constants, "names": dir(runtime)}


def answer(code: str, runtime: ModuleType) -> Any:
    """The name of the exception, or how many items came back."""
    import numpy as np

    scope: dict[str, Any] = {"rt": runtime, "np": np, "K": runtime.cudaMemcpyKind}
    try:
        found = eval(code, scope)
    except Exception as error:
        return type(error).__name__
    return len(found) if isinstance(found, tuple) else repr(found)


def main() -> None:
    """See the module's docstring."""
    folder, what, *rest = sys.argv[1:]
    sys.path.insert(0, folder)
    from cuda.bindings import runtime

    if what == "dump":
        print(json.dumps(dump(runtime)))
        return
    count = runtime.cudaGetDeviceCount()
    table = json.loads(Path(rest[0]).read_text(encoding="utf-8"))
    found = {code: answer(code, runtime) for code in table} if count[0] else None
    print(json.dumps(found))


if __name__ == "__main__":
    main()
