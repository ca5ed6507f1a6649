"""Lists of named columns: a table on a terminal, plain tab-separated lines in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

__all__ = ["megabytes", "show_facts", "show_table"]


def show_facts(facts: Sequence[tuple[str, str]]) -> None:
    """Print one ``name: value`` line each, values aligned on a terminal."""
    width = max((len(name) for name, _ in facts), default=0) if sys.stdout.isatty() else 0
    for name, value in facts:
        click.echo(f"{name + ':':<{width + 1}} {value}")


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows; in a pipe one line each, columns separated by tabs, nothing cut or wrapped."""
    if not rows:
        return
    if not sys.stdout.isatty():
        click.echo("\t".join((title, *columns)))
        for row in rows:
            click.echo("\t".join((title, *row)))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    Console().print(table)


def megabytes(count: int) -> str:
    """``1234567`` as ``1.23 MB`` (10^6 bytes), small counts in bytes."""
    return f"{count / 1e6:.2f} MB" if count >= 100_000 else f"{count} bytes"
