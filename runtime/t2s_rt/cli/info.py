"""``t2s-rt info``: what is in a bundle or a prompt pack."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from t2s_rt.bundle import Bundle, GraphRecord

__all__ = ["register"]


def register(group: click.Group) -> None:
    """Add the command ``info``."""
    group.add_command(info)


@click.command()
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(path: Path | None, as_json: bool) -> None:
    """Show the bundle or prompt pack at PATH; without PATH the nano bundle.

    A bundle is checked wholly: schema, contracts, and the SHA-256 of every file.
    """
    if path is None or path.is_dir() or path.name == "bundle.json":
        _bundle_info(path, as_json)
    else:
        _pack_info(path, as_json)


def _pack_info(path: Path, as_json: bool) -> None:
    from t2s_rt.cli._tables import megabytes
    from t2s_rt.cli.prompts import pack_facts, show_pack
    from t2s_rt.prompts import load_pack

    pack = load_pack(path)
    size = path.stat().st_size
    if as_json:
        facts = {"type": "prompt pack", "path": str(path), "bytes": size, **pack_facts(pack)}
        click.echo(json.dumps(facts, indent=2))
        return
    click.echo(f"prompt pack {path}: {megabytes(size)}, {len(pack.classes)} classes")
    show_pack(pack)


def _bundle_info(path: Path | None, as_json: bool) -> None:
    from t2s_rt.bundle import load_bundle, manifest_json

    bundle = load_bundle(path)
    if as_json:
        facts = {
            "type": "bundle",
            "path": str(bundle.root),
            "text_fingerprint": bundle.text_fingerprint,
            "manifest": json.loads(manifest_json(bundle.manifest)),
        }
        click.echo(json.dumps(facts, indent=2))
        return
    _show_bundle(bundle)


def _show_bundle(bundle: Bundle) -> None:
    from t2s_rt.cli._tables import megabytes, show_facts, show_table

    manifest = bundle.manifest
    total = sum({file.path: file.bytes for file in manifest.files()}.values())
    words = "any (open vocabulary)" if bundle.text.words is None else ", ".join(bundle.text.words)
    show_facts(
        [
            ("bundle", bundle.name),
            ("folder", str(bundle.root)),
            ("schema version", str(manifest.schema_version)),
            ("written by", manifest.exporter),
            ("size", f"{megabytes(total)}, every SHA-256 right"),
            ("ground resolution", f"{bundle.gsd:g} m per pixel"),
            ("tile", f"{bundle.tile_size} x {bundle.tile_size} pixels"),
            ("words", words),
            ("templates", "; ".join(bundle.text.clip_templates)),
            ("text encoders", bundle.text_fingerprint),
            ("tokenizers", ", ".join(bundle.tokenizers) or "-"),
            ("default pack", manifest.default_pack.path if manifest.default_pack else "-"),
            ("documents", ", ".join(file.path for file in manifest.documents) or "-"),
        ]
    )
    show_table(
        "graph",
        ("role", "precision", "size", "frame", "opset", "licence"),
        [_graph_row(graph) for graph in manifest.graphs],
    )


def _graph_row(graph: GraphRecord) -> tuple[str, ...]:
    from t2s_rt.cli._tables import megabytes

    frame = "-" if graph.image_size is None else "{1} x {0}".format(*graph.image_size)
    precision = graph.precision if graph.target is None else f"{graph.precision} ({graph.target})"
    size = megabytes(sum(file.bytes for file in graph.files))
    licence = str(graph.source.get("licence", "-"))
    return graph.role, precision, size, frame, str(graph.opset), licence
