"""``t2s-rt models``: the official checkpoints. Needs neither torch nor the extra "export"."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from t2s_rt.errors import UsageError

__all__ = ["register"]


def register(group: click.Group) -> None:
    """Add ``models`` to the command line."""
    group.add_command(models, "models")


@click.group()
def models() -> None:
    """List, fetch and check official checkpoints (SAM, Grounding DINO, CLIP)."""


def _checkpoints_opt(function: Any) -> Any:
    """``--checkpoints``: the folder of the files; None is the cache's."""
    return click.option(
        "--checkpoints",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        help="Folder of the files.  [default: checkpoints in T2S_CACHE or in the XDG cache]",
    )(function)


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_models(as_json: bool) -> None:
    """List the checkpoints that can be pulled.

    Where no hash is known, a pulled file can only be compared with itself later.
    """
    from t2s_export.checkpoints.registry import MODELS

    if as_json:
        click.echo(json.dumps([asdict(entry) for entry in MODELS], indent=2))
        return
    from t2s_rt.cli._tables import megabytes, show_table

    show_table(
        "checkpoint",
        ("id", "family", "architecture", "size", "licence", "hash known"),
        [
            (
                entry.id,
                entry.family,
                entry.architecture,
                "-" if entry.bytes is None else megabytes(entry.bytes),
                entry.licence,
                "no" if entry.sha256 is None else "yes",
            )
            for entry in MODELS
        ],
    )


@models.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@_checkpoints_opt
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Copy this file instead of downloading; for one ID.",
)
@click.option("--url", metavar="URL", help="Download from this mirror; for one ID.")
def pull(
    ids: tuple[str, ...], checkpoints: Path | None, source: Path | None, url: str | None
) -> None:
    """Fetch the checkpoints named ID; an interrupted download goes on.

    A file gets its name only when its SHA-256 is right. See: t2s-rt models list
    """
    from t2s_export.checkpoints.files import default_folder
    from t2s_export.checkpoints.pull import pull_copy, pull_url
    from t2s_export.checkpoints.registry import find_model

    if source is not None and url is not None:
        raise UsageError("expected one of --from and --url, found both; leave one out")
    if (source is not None or url is not None) and len(ids) != 1:
        raise UsageError(f"expected exactly one ID with --from or --url, found {len(ids)}")
    entries = [find_model(name) for name in dict.fromkeys(ids)]
    folder = default_folder() if checkpoints is None else checkpoints
    for entry in entries:
        if source is not None:
            pulled = pull_copy(entry, folder, source)
        else:
            pulled = pull_url(entry, folder, url)
        before = "" if pulled.fresh else "there already, "
        if entry.sha256 is None:
            fact = f"no official SHA-256 is known; this file's is {pulled.sha256}"
        else:
            fact = "SHA-256 right"
        click.echo(f"{entry.id}: {before}{fact}: {pulled.path}")


@models.command()
@click.argument("ids", nargs=-1, metavar="[ID...]")
@_checkpoints_opt
def verify(ids: tuple[str, ...], checkpoints: Path | None) -> None:
    """Check the files that are there, or those named ID, against their SHA-256.

    Exits with 3 if one is wrong, or named and missing.
    """
    from t2s_export.checkpoints.files import default_folder, verify_file
    from t2s_export.checkpoints.registry import MODELS, find_model
    from t2s_export.errors import CheckpointError
    from t2s_rt.cli._tables import show_table

    entries = [find_model(name) for name in dict.fromkeys(ids)] or list(MODELS)
    folder = default_folder() if checkpoints is None else checkpoints
    rows, bad = [], []
    for entry in entries:
        verdict = verify_file(folder, entry)
        if verdict.state == "missing" and not ids:
            continue
        rows.append((entry.id, verdict.state, verdict.note))
        if verdict.state in ("wrong", "missing"):
            bad.append(f"{entry.id} {verdict.state}")
    show_table("checkpoint", ("id", "state", "note"), rows)
    if not rows:
        click.echo(f"no checkpoint in {folder}")
    if bad:
        raise CheckpointError(
            f"{folder}: expected every checkpoint right, found {', '.join(bad)}; "
            "delete what is wrong, then: t2s-rt models pull ID"
        )
