"""Options that commands of ``t2s-rt bench`` share, and what they do with a finished record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from t2s_rt.cli._options import bundle_opt

__all__ = ["accuracy_opts", "graphs_opts", "publish", "record_opt"]

_F = TypeVar("_F", bound=Callable[..., Any])


def record_opt(function: _F) -> _F:
    """``-o``: the JSON record."""
    return click.option(
        "-o", "--output", type=click.Path(path_type=Path), help="Write the JSON record here."
    )(function)


def accuracy_opts(function: _F) -> _F:
    """``-o --card``: where figures of accuracy go."""
    card = click.option(
        "--card",
        type=click.Path(path_type=Path),
        help="Write the model card's figures here (export/checkpoints/nano/figures.json).",
    )
    return record_opt(card(function))


def graphs_opts(function: _F) -> _F:
    """``--bundle --graphs --threads -o``: which graphs are timed, and how."""
    threads = click.option(
        "--threads",
        type=click.IntRange(1),
        default=1,
        show_default=True,
        help="Within an operator.",
    )
    graphs = click.option(
        "--graphs",
        "roles",
        metavar="ROLES",
        callback=lambda _context, _option, text: _roles(text),
        help="Only these graphs, separated by commas; default all.",
    )
    return bundle_opt(graphs(threads(record_opt(function))))


def _roles(text: str | None) -> list[str] | None:
    """Names separated by commas; None where nothing was asked for."""
    return None if text is None else [role.strip() for role in text.split(",")]


def publish(
    record: Mapping[str, Any],
    section: tuple[str, str],
    tables: str,
    caption: str,
    output: Path | None,
    card: Path | None,
) -> None:
    """Print figures of accuracy, and write their record and their section of the model card.

    Args:
        record: with its ``checkpoints``.
        section: key and title in the card.
        tables: Markdown.
        caption: what the figures belong to.
        output: of the record, or None.
        card: of the sections, or None.
    """
    from t2s_bench.card import write_section
    from t2s_bench.machine import write_record

    click.echo(f"{tables}\n\nOn {caption}")
    if output is not None:
        write_record(dict(record), output)
    if card is not None:
        write_section(card, *section, f"{tables}\n\nOn {caption}", record["checkpoints"])
