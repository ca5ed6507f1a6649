"""``t2s-rt calibrate int8``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from t2s_rt.cli._needs import need_packages
from t2s_rt.cli._options import DATASET_NAMES, bundle_opt, threads_opt

if TYPE_CHECKING:
    from t2s_calibration.int8.run import Calibration, Plan
    from t2s_rt.contracts import Role

__all__ = ["int8"]

_TARGETS = ("cpu", "tensorrt")
_METHODS = ("auto", "minmax", "percentile", "entropy")


@click.command(short_help="int8 graphs, with what they cost and gain.")
@click.argument("scenes", nargs=-1, type=click.Path(path_type=Path))
@bundle_opt
@click.option(
    "--pack",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Prompt pack of the classes that agreement is judged by.  [default: the bundle's]",
)
@click.option(
    "--target",
    "targets",
    type=click.Choice(_TARGETS),
    multiple=True,
    help="Device that the graphs are for; may be repeated.  [default: both]",
)
@click.option(
    "--roles",
    metavar="A,B",
    help="Quantise these graphs only, e.g. mask_encoder,detector.  [default: all image encoders]",
)
@click.option(
    "--images",
    type=click.IntRange(1, 10_000),
    default=32,
    show_default=True,
    metavar="N",
    help="Tiles that ranges come from, chosen for variety.",
)
@click.option(
    "--judged",
    type=click.IntRange(1, 1000),
    default=4,
    show_default=True,
    metavar="N",
    help="Further tiles that decide, and that figures are of.",
)
@click.option(
    "--ranges",
    "method",
    type=click.Choice(_METHODS),
    default="auto",
    show_default=True,
    help="How a tensor's range is taken; auto takes the way with the least error, each time.",
)
@click.option(
    "--weight-bits",
    type=click.Choice(("auto", "7", "8")),
    default="auto",
    show_default=True,
    help="Of graphs for processors: 7 without VNNI, where products of 8 bits saturate; auto goes "
    "by this processor.",
)
@click.option(
    "--budget",
    type=click.FloatRange(0.5, 0.9999),
    default=0.97,
    show_default=True,
    help="Least agreement with fp32: mask IoU, box IoU and scores, classes of patches.",
)
@click.option(
    "--labelled",
    nargs=2,
    metavar="DATASET ROOT",
    help="Labelled tiles that have the last word, as t2s-rt eval takes them (split val).",
)
@click.option(
    "--loss",
    type=click.FloatRange(0.0, 1.0),
    default=0.01,
    show_default=True,
    help="Of mIoU on the labelled tiles that int8 may cost.",
)
@click.option(
    "--limit", type=click.IntRange(1), default=50, show_default=True, help="Labelled tiles."
)
@click.option("--no-smoothing", is_flag=True, help="Leave outliers in the activations.")
@click.option(
    "--sensitivity", is_flag=True, help="Measure every layer alone, even if all keep the budget."
)
@click.option(
    "--rebuild",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Take the ranges that this int8 bundle keeps instead of looking at scenes: the same "
    "graphs, bit by bit.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("bundle-int8"),
    show_default=True,
    metavar="DIR",
    help="Folder of the new bundle, with a report in calibration/.",
)
@click.option("--overwrite", is_flag=True, help="Replace a bundle that is there.")
@threads_opt
def int8(
    scenes: tuple[Path, ...],
    bundle: Path | None,
    pack: Path | None,
    output: Path,
    rebuild: Path | None,
    **options: Any,
) -> None:
    """Make int8 graphs from tiles of your SCENES; without any, from synthetic ones.

    \b
    t2s-rt calibrate int8 flight/ --bundle bundle/ -o bundle-int8
    t2s-rt infer scene.tif --bundle bundle-int8 --precision int8
    t2s-rt calibrate int8 flight/ --labelled loveda LoveDA --target cpu

    Layers become int8 as explicit Q/DQ; those that cost too much accuracy stay float. Graphs for
    processors and for TensorRT differ. The report says what each graph costs and gains, how all of
    them agree with fp32 together, and shows the worst tiles. Calibrate on scenes of the sensor
    and season that will fly: ranges from others clip.
    """
    need_packages("calibrate int8", "onnx", "onnxruntime")
    from t2s_calibration.int8.inputs import QUANTISABLE
    from t2s_calibration.int8.run import calibrate_int8, rebuild_int8
    from t2s_engines.verify.targets import parse_roles
    from t2s_rt.bundle import load_bundle
    from t2s_rt.cli._progress import make_progress, note
    from t2s_rt.prompts import load_pack_or_default

    loaded = load_bundle(bundle)
    roles = tuple(parse_roles(options["roles"], loaded, QUANTISABLE))
    targets = options["targets"] or _TARGETS
    if rebuild is not None:
        made, recipes = rebuild_int8(
            loaded, load_bundle(rebuild), roles, targets, output, options["overwrite"]
        )
        note(f"{output}: {len(recipes)} int8 graph(s) of {made.name} made again")
        return
    found = calibrate_int8(
        loaded,
        load_pack_or_default(pack, loaded),
        scenes,
        output,
        _plan(roles, targets, options),
        make_progress(),
        options["overwrite"],
    )
    _show(found, output)


def _plan(roles: tuple[Role, ...], targets: Sequence[str], options: dict[str, Any]) -> Plan:
    from t2s_calibration.int8.accuracy import Labelled
    from t2s_calibration.int8.role import Demands, schemes_for
    from t2s_calibration.int8.run import Plan
    from t2s_rt.errors import UsageError

    labelled = None
    if options["labelled"] is not None:
        name, root = options["labelled"]
        if name not in DATASET_NAMES:
            raise UsageError(
                f"--labelled: expected one of {', '.join(DATASET_NAMES)}, found {name!r}"
            )
        labelled = Labelled(name, Path(root), limit=options["limit"])
    demands = Demands(
        schemes_for(targets, options["weight_bits"]),
        options["method"],
        not options["no_smoothing"],
        options["budget"],
        options["sensitivity"],
    )
    return Plan(
        roles,
        demands,
        images=options["images"],
        judged=options["judged"],
        labelled=labelled,
        loss=options["loss"],
        threads=options["threads"],
    )


def _show(found: Calibration, output: Path) -> None:
    from t2s_calibration.int8.report import labelled_line
    from t2s_rt.cli._tables import show_facts, show_table

    def times(graph: dict[str, Any]) -> str:
        told = graph["milliseconds"]
        return "on the device" if told is None else f"{told['ratio']:.2f} x"

    show_table(
        "int8",
        ("graph", "target", "in int8", "speed", "against fp32"),
        [
            (
                graph["role"],
                graph["target"],
                f"{100 * graph['int8_share']:.1f} %",
                times(graph),
                ", ".join(
                    f"{name} {value:.4f}"
                    for name, value in graph["figures"].items()
                    if name.endswith("mean")
                ),
            )
            for graph in found.record["graphs"]
        ],
    )
    facts = [
        (f"all for {target}", ", ".join(f"{k} {v:.4f}" for k, v in whole["figures"].items()))
        for target, whole in found.record["together"].items()
    ]
    if found.labelled is not None:
        facts.append(("labelled", labelled_line(found.labelled)))
    facts.append(("report", str(output / "calibration" / "report.md")))
    show_facts(facts)
    for target, whole in found.record["together"].items():
        for fault in whole["faults"]:
            click.echo(f"{target}: {fault}")
