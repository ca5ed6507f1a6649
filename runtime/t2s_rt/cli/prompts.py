"""``t2s-rt prompts``: words in, a prompt pack out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from t2s_rt.bundle import Bundle
    from t2s_rt.prompts import PromptPack

__all__ = ["register"]


def register(group: click.Group) -> None:
    """Add the command ``prompts``."""
    group.add_command(prompts)


@click.command()
@click.argument("words")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="Prompt pack to write, e.g. mission.safetensors.",
)
@click.option("--bundle", "bundle_path", help="Bundle folder; default: the nano bundle.")
@click.option(
    "--synonyms/--no-synonyms",
    default=True,
    show_default=True,
    help="Search also for the prompt bank's synonyms of classes that name none.",
)
@click.option("--backend", default="auto", show_default=True, help="Where text encoders run.")
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def prompts(
    words: str,
    output: Path,
    bundle_path: str | None,
    synonyms: bool,
    backend: str,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Embed WORDS once, so that scenes can be searched without any text encoder.

    WORDS are classes, e.g. "building, road, tree"; or with synonyms
    "building: house, roof; road; tree"; or @FILE.
    """
    from t2s_rt.bundle import load_bundle
    from t2s_rt.errors import OutputError
    from t2s_rt.prompts import build_pack, parse_prompts, save_pack

    classes = parse_prompts(words)
    if output.exists() and not overwrite:
        raise OutputError(f"{output} exists; use --overwrite or another name")
    bundle = load_bundle(bundle_path)
    pack = build_pack(bundle, classes, backend=backend, use_bank=synonyms)
    size = save_pack(pack, output)
    if as_json:
        click.echo(json.dumps({**pack_facts(pack), "path": str(output), "bytes": size}, indent=2))
        return
    show_pack(pack)
    _show_limit(pack, bundle)
    click.echo(f"wrote {output}: {size} bytes, {len(pack.classes)} classes")


def pack_facts(pack: PromptPack) -> dict[str, object]:
    """What a pack says, ready for JSON."""
    return {
        "bundle": pack.bundle_name,
        "fingerprint": pack.fingerprint,
        "caption": pack.caption,
        "tokens": int(pack.token_ids.size),
        "templates": list(pack.templates),
        "other_words": list(pack.other_words),
        "classes": [
            {
                "name": item.name,
                "synonyms": list(item.synonyms),
                "kind": item.kind,
                "colour": _hex(item.colour),
                "thresholds": dict(item.thresholds),
                "tokens": _tokens(pack, index),
            }
            for index, item in enumerate(pack.classes)
        ],
    }


def show_pack(pack: PromptPack) -> None:
    """Print a pack's classes, caption and labels."""
    from t2s_rt.cli._tables import show_facts, show_table

    show_table(
        "class",
        ("value", "name", "synonyms", "kind", "colour", "tokens"),
        [
            (
                str(index + 1),
                item.name,
                ", ".join(item.synonyms) or "-",
                item.kind,
                _hex(item.colour),
                str(_tokens(pack, index)),
            )
            for index, item in enumerate(pack.classes)
        ],
    )
    show_facts(
        [
            ("bundle", pack.bundle_name),
            ("text encoders", pack.fingerprint),
            ("caption", pack.caption or "-"),
            ("tokens", str(pack.token_ids.size)),
            ("templates", "; ".join(pack.templates) or "-"),
            ("labels beside the classes", ", ".join(pack.other_words) or "-"),
        ]
    )


def _show_limit(pack: PromptPack, bundle: Bundle) -> None:
    if pack.has_detector:
        from t2s_rt.prompts.tokens import detector_token_limit

        click.echo(f"{pack.token_ids.size} of {detector_token_limit(bundle)} tokens used")


def _tokens(pack: PromptPack, index: int) -> int:
    return sum(end - start for start, end in pack.spans[index]) if pack.spans else 0


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
