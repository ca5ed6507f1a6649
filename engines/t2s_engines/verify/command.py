"""``t2s-rt verify``: what runs here against the float32 reference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from t2s_rt.cli._options import bundle_opt, engine_cache_opt, precision_opt, threads_opt

if TYPE_CHECKING:
    from t2s_engines.verify.judging import Target
    from t2s_engines.verify.tiles import VerifyTile
    from t2s_engines.verify.verification import Outcome
    from t2s_rt.bundle import Bundle
    from t2s_rt.prompts import PromptPack

__all__ = ["register", "verify"]

_DEFAULT_TILES = 4


def register(group: click.Group) -> None:
    """Add the command ``verify``."""
    group.add_command(verify)


@click.command(short_help="Prove engines, or a backend, right on this device.")
@bundle_opt
@click.option(
    "--backend",
    metavar="NAME",
    help="Verify the graphs on this backend instead, e.g. onnxruntime-cuda.  "
    "[default: tensorrt, with the engines that t2s-rt build made]",
)
@precision_opt
@click.option(
    "--roles",
    metavar="A,B",
    help="Verify these graphs only, e.g. mask_encoder,clip_dense.  [default: all that see pixels]",
)
@click.option(
    "--scenes",
    "scenes",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Scene or folder of scenes to show; may be given several times.  [default: synthetic "
    "scenes, and the report says so]",
)
@click.option(
    "--pack",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Prompt pack of the classes to look for.  [default: the bundle's]",
)
@click.option(
    "--limit",
    type=click.IntRange(1, 1000),
    default=_DEFAULT_TILES,
    show_default=True,
    metavar="N",
    help="Most tiles to show, spread over the scenes; two empty ones are always added.",
)
@engine_cache_opt
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder for report.json, report.md and a picture of each worst tile; made if missing.",
)
@threads_opt
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def verify(
    bundle: Path | None,
    scenes: tuple[Path, ...],
    pack: Path | None,
    limit: int,
    output: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Compare what runs on this device with the float32 graphs on ONNX Runtime's CPU provider.

    \b
    t2s-rt verify                              engines of the nano bundle
    t2s-rt verify --bundle bundle/ --scenes flight/ -o verified
    t2s-rt verify --backend onnxruntime-cuda --precision fp16

    An engine that builds and runs may still be wrong. Each graph is asked what infer asks it, one
    tile at a time and in batches, and its answers must stay within limits: boxes found and their
    IoU, mask IoU, cosine of every tensor, nothing found where nothing is, the class map of the
    route fused. Engines get their verdict in a file beside them, and infer refuses those that did
    not pass. Show it scenes like those that will fly: without --scenes it draws synthetic ones.

    Exit code 0 where every graph passes, 5 where one fails.
    """
    from t2s_rt.bundle import load_bundle
    from t2s_rt.pipeline import prepare_output
    from t2s_rt.prompts import load_pack_or_default

    if output is not None:
        prepare_output(output)
    loaded = load_bundle(bundle)
    words = load_pack_or_default(pack, loaded)
    targets = _targets(loaded, **options)
    tiles = _tiles(loaded, scenes, limit)
    outcome = _run(loaded, words, targets, tiles, options["threads"])
    _keep(outcome, options["backend"] or "tensorrt", options["precision"], output, as_json)


def _targets(
    bundle: Bundle,
    backend: str | None,
    precision: str,
    roles: str | None,
    cache: Path | None,
    threads: int | None,
) -> list[Target]:
    from t2s_engines.verify.targets import (
        ENGINES_BACKEND,
        engine_targets,
        graph_targets,
        parse_roles,
    )
    from t2s_rt.cli._progress import note
    from t2s_rt.plans import EngineCache

    chosen = parse_roles(roles, bundle)
    if backend in (None, ENGINES_BACKEND):
        targets = engine_targets(bundle, EngineCache(cache), cache, precision, chosen)
    else:
        targets = graph_targets(bundle, str(backend), precision, chosen, threads)
    left = [role for role in chosen if role not in {target.role for target in targets}]
    if left:
        note(f"note: nothing to verify of {', '.join(left)}: the reference stands in for them")
    return targets


def _tiles(bundle: Bundle, scenes: tuple[Path, ...], limit: int) -> list[VerifyTile]:
    from t2s_engines.verify.tiles import empty_tiles, scene_tiles, synthetic_tiles

    shown = scene_tiles(scenes, bundle, limit) if scenes else synthetic_tiles(bundle, limit)
    return [*shown, *empty_tiles(bundle)]


def _run(
    bundle: Bundle,
    pack: PromptPack,
    targets: list[Target],
    tiles: list[VerifyTile],
    threads: int | None,
) -> Outcome:
    from t2s_engines.verify.verification import verify_targets
    from t2s_rt.cli._progress import make_progress

    return verify_targets(bundle, pack, targets, tiles, threads=threads, progress=make_progress())


def _keep(
    outcome: Outcome, backend: str, precision: str, output: Path | None, as_json: bool
) -> None:
    """Sign engines, write the report, tell the user; a failure is an error."""
    from t2s_engines.verify.pictures import write_pictures
    from t2s_engines.verify.report import (
        environment_of,
        markdown,
        record_of,
        sign_engines,
        write_text,
    )
    from t2s_rt.errors import BackendError

    environment = environment_of(backend, precision)
    signed = sign_engines(outcome, environment)
    record = record_of(outcome, environment)
    text = json.dumps(record, indent=2, allow_nan=False)
    if output is not None:
        pictures = write_pictures(outcome, output)
        write_text(output / "report.json", text + "\n")
        write_text(output / "report.md", markdown(outcome, environment, pictures))
    if as_json:
        click.echo(text)
    else:
        _show(outcome, signed, output)
    if not outcome.passed:
        failed = [verdict.role for verdict in outcome.verdicts if not verdict.passed]
        faults = dict.fromkeys(fault for verdict in outcome.verdicts for fault in verdict.faults)
        raise BackendError(
            f"{len(failed)} of {len(outcome.verdicts)} verdicts failed on {backend} "
            f"({', '.join(failed)}); the first: {next(iter(faults))}"
        )


def _show(outcome: Outcome, signed: list[Path], output: Path | None) -> None:
    from t2s_engines.verify.report import key_figures
    from t2s_rt.cli._tables import show_facts, show_table

    show_table(
        "verify",
        ("graph", "precision", "verdict", "figures"),
        [
            (v.role, v.precision, "passed" if v.passed else "failed", key_figures(v))
            for v in outcome.verdicts
        ],
    )
    for fault in dict.fromkeys(fault for v in outcome.verdicts for fault in v.faults):
        click.echo(f"failed: {fault}")
    shown = sum(not tile.empty for tile in outcome.tiles)
    kind = "synthetic, drawn by t2s-rt: no image of the world" if outcome.synthetic else "of scenes"
    facts = [("tiles", f"{shown} ({kind}), {len(outcome.tiles) - shown} empty")]
    for note in dict.fromkeys(f"{v.role}: {note}" for v in outcome.verdicts for note in v.notes):
        facts.append(("note", note))
    if signed:
        facts.append(("verdicts", f"{len(signed)} written beside the engines"))
    if output is not None:
        facts.append(("report", str(output / "report.md")))
    show_facts(facts)
