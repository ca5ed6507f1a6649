"""The command ``t2s-rt``: finds its sub-commands, and turns errors into one line and a code.

Sub-commands come from the entry-point group ``t2s_rt.commands``. An entry point is a function
``register(group)`` in a module that is light to import; heavy imports belong into the command's
body. A command whose module cannot be imported stays in the list and says why.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from t2s_rt import __version__
from t2s_rt.errors import EXIT_INTERRUPTED, BackendError, InternalError, T2SError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["CommandGroup", "cli", "main"]

_GROUP = "t2s_rt.commands"
_FIRST = "infer"
_UNWRAPPED = 10_000
"""Columns of help text in a pipe, where nothing is wrapped or cut."""


class CommandGroup(click.Group):
    """A group that loads its commands at first use and translates every error, here only."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands, the main one first."""
        names = {*self.commands, *_entry_points()}
        return sorted(names, key=lambda name: (name != _FIRST, name))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command; one that cannot be loaded gives a stand-in that says why."""
        if cmd_name not in self.commands:
            entry = _entry_points().get(cmd_name)
            if entry is None:
                return None
            try:
                entry.load()(self)
            except Exception as error:
                self.add_command(_stand_in(cmd_name, error), cmd_name)
        return self.commands.get(cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; a reader of its output that has seen enough is no error."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            _silence()
            ctx.exit(0)

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> None:
        """Run the command line and leave with its exit code."""
        extra["standalone_mode"] = False
        if not sys.stdout.isatty():
            extra.setdefault("terminal_width", _UNWRAPPED)
        code = 0
        try:
            result = super().main(args, prog_name or "t2s-rt", **extra)
            code = result if isinstance(result, int) else 0
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            code = error.exit_code
        except click.ClickException as error:
            code = _say(_usage_text(error), error.exit_code)
        except (click.Abort, KeyboardInterrupt):
            code = _say("interrupted", EXIT_INTERRUPTED)
        except InternalError as error:
            code = _fault(error, args)
        except T2SError as error:
            code = _say(str(error), error.exit_code)
        except Exception as error:
            code = _fault(error, args)
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            _silence()
        sys.exit(code)


@click.group(
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="t2s-rt", message="%(prog)s %(version)s")
def cli() -> None:
    """Words in, map out: georeferenced class maps of overhead images.

    Start with:  t2s-rt infer scene.tif --prompts "building, road, tree" -o map

    Exit codes: 0 done; 2 usage, unknown word or unwritable output; 3 bundle or prompt pack;
    4 scene; 5 backend; 6 some tiles or scenes failed and the rest is complete; 70 a fault of
    t2s-rt itself; 130 interrupted (the same command goes on).
    """


def main() -> None:
    """Entry point of the installed command."""
    # libraries log and warn where nobody looks; what matters reaches the user as error or note
    logging.getLogger().addHandler(logging.NullHandler())
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    cli.main()


def _entry_points() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points

    return {entry.name: entry for entry in entry_points(group=_GROUP)}


def _stand_in(name: str, error: Exception) -> click.Command:
    reason = " ".join(str(error).split()) or type(error).__name__

    def tell(**_: object) -> None:
        if isinstance(error, T2SError):
            raise error
        if isinstance(error, ImportError):
            raise BackendError(
                f"the command {name} cannot be loaded ({reason}); install what it needs"
            ) from error
        raise InternalError(f"the command {name} cannot be loaded ({reason})") from error

    return click.Command(
        name,
        callback=tell,
        params=[click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)],
        context_settings={"ignore_unknown_options": True},
        help=f"Not available: {reason}",
        short_help=f"(not available: {reason})",
    )


def _say(text: str, code: int) -> int:
    with suppress(OSError):  # nobody may be listening; the exit code still tells
        click.echo(f"error: {' '.join(text.split())}", err=True)
    return code


def _silence() -> None:
    """Send what is still buffered nowhere, so that it does not meet a closed pipe at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _usage_text(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    path = "t2s-rt" if context is None else context.command_path
    return f"{error.format_message()} (see: {path} --help)"


def _fault(error: Exception, args: Sequence[str] | None) -> int:
    """Write a report file about an unexpected exception and name it in one line."""
    from t2s_rt.cli._faults import write_fault_report

    path = write_fault_report(error, sys.argv[1:] if args is None else args)
    place = "no report could be written" if path is None else f"the report is in {path}"
    return _say(
        f"a fault of t2s-rt itself ({type(error).__name__}: {error}); {place}; "
        "please report it with that file",
        InternalError.exit_code,
    )
