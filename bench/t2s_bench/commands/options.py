"""Options that commands of ``t2s-rt bench`` share, and what they do with a finished record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

__all__ = ["accuracy_opts", "publish", "record_opt"]

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
