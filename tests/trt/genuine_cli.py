"""Runs ``t2s-rt`` with the genuine bindings as ``tensorrt``; for a process of its own.

``genuine_cli.py FOLDER RELEASE genuine|double ARGUMENTS``: the third word says which package
``cuda`` it meets. No driver and no TensorRT is behind the genuine ones; behind the double of cuda
is a simulated GPU, so that TensorRT's factories are reached.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.doubles import Control, install
from tests.trt.probe import load_genuine

__all__: list[str] = []


def main() -> None:
    """See the module's docstring."""
    folder, release, cuda, *arguments = sys.argv[1:]
    if cuda == "double":
        install(Control(release))
    else:
        sys.path.insert(0, str(Path(folder, "cuda")))
    sys.modules["tensorrt"] = load_genuine(folder, release)
    sys.argv = ["t2s-rt", *arguments]
    from t2s_rt.cli.main import main as cli

    cli()


if __name__ == "__main__":
    main()
