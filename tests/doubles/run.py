"""Run a command with the doubles in place: ``python -m tests.doubles.run RELEASE t2s-rt ARGS``.

Settings come from the environment, see :mod:`tests.doubles.control`. ``-c CODE ARGS`` instead of
``t2s-rt`` runs a piece of Python.
"""

from __future__ import annotations

import os
import sys

from tests.doubles import RELEASES, Control, install

__all__: list[str] = []


def main(arguments: list[str]) -> None:
    """Install the doubles and run the command."""
    release, command, *rest = arguments
    control = Control.from_environment(RELEASES.get(release, release))
    install(control, os.environ.get("T2S_DOUBLE_LAYOUT", "bindings"))
    if command == "-c":
        sys.argv = ["-c", *rest[1:]]
        exec(compile(rest[0], "<command>", "exec"), {"__name__": "__main__"})
        return
    sys.argv = [command, *rest]
    from t2s_rt.cli.main import main as cli

    cli()


if __name__ == "__main__":
    main(sys.argv[1:])
