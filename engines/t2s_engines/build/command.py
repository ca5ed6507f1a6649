"""``t2s-rt build``: engines for this device from a bundle's graphs."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from t2s_rt.cli._options import bundle_opt, engine_cache_opt
from t2s_rt.contracts import PRECISIONS
from t2s_rt.limits import TILES_PER_CALL

if TYPE_CHECKING:
    from t2s_engines.build.dry_run import Here
    from t2s_engines.build.work import Result
    from t2s_rt.plans import BuildOptions

__all__ = ["build", "register"]


def register(group: click.Group) -> None:
    """Add the command ``build``."""
    group.add_command(build)


@click.command(short_help="Build TensorRT engines of a bundle for this device.")
@bundle_opt
@click.option(
    "--precision",
    type=click.Choice(("auto", *PRECISIONS)),
    default="auto",
    show_default=True,
    help="Of the graphs; auto takes fp16 where the bundle has it, else fp32.",
)
@click.option(
    "--roles",
    metavar="A,B",
    help="Build these graphs only, e.g. mask_encoder,mask_decoder.  [default: all that see pixels]",
)
@click.option(
    "--target",
    metavar="RELEASE",
    help="With --dry-run: plan for this TensorRT, e.g. 10.3, 11.4 or 8.6.  "
    "[default: the one installed, else 10.3 and later]",
)
@click.option(
    "--workspace",
    type=click.IntRange(1, 1 << 20),
    metavar="MIB",
    help="Most device memory that TensorRT may try kernels with.  [default: all that is free]",
)
@click.option(
    "--optimization-level",
    type=click.IntRange(0, 5),
    default=3,
    show_default=True,
    help="How long TensorRT searches for faster kernels.",
)
@click.option(
    "--hardware-compatible",
    type=click.Choice(("none", "ampere_plus", "same_compute_capability")),
    default="none",
    show_default=True,
    help="Let engines run on other GPUs too, with slower kernels.",
)
@click.option(
    "--version-compatible",
    is_flag=True,
    help="Let later releases of TensorRT load the engines; larger, may be slower.",
)
@click.option(
    "--strip-weights",
    is_flag=True,
    help="Leave the weights out; they are refitted from the bundle when an engine is loaded.",
)
@click.option(
    "--batch",
    type=click.IntRange(1, TILES_PER_CALL),
    metavar="N",
    help="Most tiles in one call of detector and mask encoder; fewer need less device memory.  "
    f"[default: {TILES_PER_CALL}]",
)
@engine_cache_opt
@click.option("--force", is_flag=True, help="Build engines anew that are there already.")
@click.option("--dry-run", is_flag=True, help="Print what would be built, and how; build nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def build(
    bundle: Path | None,
    precision: str,
    roles: str | None,
    target: str | None,
    cache: Path | None,
    force: bool,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Build TensorRT engines for this device from a bundle's graphs.

    \b
    t2s-rt build                      the nano bundle, on this GPU
    t2s-rt build --bundle bundle/ --workspace 4096
    t2s-rt build --dry-run            what would be built: needs no GPU and no TensorRT
    t2s-rt build --dry-run --target 8.6

    Networks are strongly typed: a graph's precision is its own. Each engine lands in the cache
    under a key of everything it depends on (graph, TensorRT, GPU, shapes, options); those that are
    there already are kept. Then run t2s-rt verify: infer takes no engine without its sign-off.

    Ctrl-C stops at TensorRT's next step and leaves no half-made engine behind.
    """
    from t2s_engines.build.plan import make_plan
    from t2s_engines.build.release import OLDEST, Release
    from t2s_rt.bundle import load_bundle
    from t2s_rt.errors import UsageError
    from t2s_rt.plans import EngineCache

    if target is not None and not dry_run:
        raise UsageError(
            "--target goes with --dry-run only: engines are built by the TensorRT that is "
            "installed, on the device they are for"
        )
    asked = None if target is None else Release.parse(target)
    chosen = None if roles is None else [role.strip() for role in roles.split(",") if role.strip()]
    engines = EngineCache(cache)
    wishes = _options(**options)
    loaded = load_bundle(bundle)
    if dry_run:
        here = _look_around(asked)
        release = asked or (Release.parse(here.tensorrt) if here.tensorrt else OLDEST)
        plan = make_plan(loaded, release, wishes, precision, chosen)
        _show(plan, engines, here, as_json)
        return
    from t2s_engines.build.progress import make_progress
    from t2s_engines.build.work import Workshop
    from t2s_rt.cli._progress import note

    shop = Workshop.open(engines, make_progress())
    plan = make_plan(loaded, shop.release, wishes, precision, chosen)
    results = shop.build(plan, force)
    same = {"--bundle": bundle, "--roles": roles, "--cache": cache}
    same["--precision"] = None if precision == "auto" else precision
    _tell(results, shop, _verify_command(same), as_json)
    if cache is not None and cache.absolute() != EngineCache().root.absolute():
        note(f"note: name the folder to infer too: --cache {cache}")


def _options(
    workspace: int | None,
    optimization_level: int,
    hardware_compatible: Any,
    version_compatible: bool,
    strip_weights: bool,
    batch: int | None,
) -> BuildOptions:
    from t2s_rt.plans import BuildOptions

    return BuildOptions(
        workspace=None if workspace is None else workspace << 20,
        optimization_level=optimization_level,
        hardware_compatibility=hardware_compatible,
        version_compatible=version_compatible,
        strip_weights=strip_weights,
        batch=batch,
    )


def _look_around(asked: Any) -> Here:
    """What this machine says of itself, for a dry run; nothing of it is needed.

    Args:
        asked: the release of ``--target``; None where the installed one counts.
    """
    from t2s_engines.build.dry_run import Here
    from t2s_engines.build.release import Release
    from t2s_rt.backends.tensorrt.cuda import Cuda
    from t2s_rt.backends.tensorrt.device import device_identity
    from t2s_rt.backends.tensorrt.library import load_library
    from t2s_rt.errors import T2SError

    try:
        version = load_library().version
        release = Release.parse(version)
    except T2SError as error:
        return Here(reason=str(error))
    if asked is not None and asked.number != release.number:
        return Here(reason=f"TensorRT {version} is installed, and {asked.name} was asked for")
    try:
        return Here(version, device_identity(Cuda.load()))
    except T2SError as error:
        return Here(version, reason=str(error))


def _show(plan: Any, engines: Any, here: Here, as_json: bool) -> None:
    from t2s_engines.build.dry_run import plan_record, show_plan

    if as_json:
        click.echo(json.dumps(plan_record(plan, engines, here), indent=2))
    else:
        show_plan(plan, engines, here)


def _verify_command(options: Mapping[str, object]) -> str:
    """The command that verifies just these engines."""
    words = ["t2s-rt", "verify"]
    for name, value in options.items():
        words += [] if value is None else [name, str(value)]
    return shlex.join(words)


def _tell(results: Any, shop: Any, verify: str, as_json: bool) -> None:
    if as_json:
        facts = {
            "tensorrt": shop.library.version,
            "device": shop.device.name,
            "cache": str(shop.cache.root),
            "engines": [_record(result) for result in results],
            "next": verify,
        }
        click.echo(json.dumps(facts, indent=2))
        return
    from t2s_rt.cli._tables import show_facts, show_table

    show_facts(
        [
            ("TensorRT", shop.library.version),
            ("device", f"{shop.device.name} ({shop.device.architecture})"),
            ("cache", str(shop.cache.root)),
        ]
    )
    show_table(
        "engine",
        ("role", "precision", "result", "seconds", "size", "verified", "folder"),
        [_row(result) for result in results],
    )
    left = sum(_verdict(result) != "passed" for result in results)
    if left:
        click.echo(f"{left} of {len(results)} not verified, and infer refuses those; run: {verify}")


def _record(result: Result) -> dict[str, Any]:
    sidecar = result.stored.engine.sidecar
    return {
        "role": result.engine.entry.role,
        "precision": result.engine.entry.precision,
        "built": result.stored.built,
        "note": result.stored.note,
        "verified": _verdict(result),
        "seconds": sidecar.seconds,
        "bytes": sidecar.plan_bytes,
        "folder": str(result.stored.engine.folder),
        "warnings": list(sidecar.notes),
    }


def _row(result: Result) -> tuple[str, ...]:
    from t2s_rt.cli._tables import megabytes

    facts = _record(result)
    return (
        facts["role"],
        facts["precision"],
        "built" if facts["built"] else facts["note"],
        f"{facts['seconds']:.1f}",
        megabytes(facts["bytes"]),
        facts["verified"],
        result.stored.engine.folder.name,
    )


def _verdict(result: Result) -> str:
    """``passed``, ``failed``, or ``no`` where nobody has verified this very plan."""
    from t2s_rt.errors import BackendError

    try:
        found = result.stored.engine.sign_off()
    except BackendError:  # verify writes it anew
        return "no"
    return "no" if found is None else found.verdict
