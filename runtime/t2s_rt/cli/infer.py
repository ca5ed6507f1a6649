"""``t2s-rt infer``: scenes and words in, maps out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from t2s_rt.cli._options import (
    allow_unverified_opt,
    backend_opt,
    batch_opt,
    bundle_opt,
    engine_cache_opt,
    output_opt,
    overwrite_opt,
    precision_opt,
    route_opt,
    threads_opt,
)

if TYPE_CHECKING:
    from t2s_rt.bundle import Bundle
    from t2s_rt.pipeline import SceneReport, SceneSource
    from t2s_rt.prompts import PromptClass, PromptPack
    from t2s_rt.scene import Scene

__all__ = ["infer", "register"]


def register(group: click.Group) -> None:
    """Add the command ``infer``."""
    group.add_command(infer)


@click.command(short_help="Turn scenes and words into georeferenced class maps.")
@click.argument(
    "scenes", nargs=-1, required=True, metavar="SCENE...", type=click.Path(path_type=Path)
)
@click.option(
    "--prompts",
    metavar="TEXT",
    help='Classes to find: "building, road, tree"; with synonyms '
    '"building: house, roof; road; tree"; or @FILE.  [default: the bundle\'s own classes]',
)
@click.option(
    "--pack",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Prompt pack made by t2s-rt prompts, instead of --prompts: needs no text encoder.",
)
@bundle_opt
@route_opt
@output_opt("map")
@click.option(
    "--gsd",
    type=float,
    metavar="METRES",
    help="Ground resolution to work at, metres per pixel.  [default: what the bundle likes]",
)
@click.option(
    "--scene-gsd",
    type=float,
    metavar="METRES",
    help="Ground resolution of the scene where its file does not say (photos, PNG, JPEG).",
)
@click.option(
    "--bands",
    metavar="R,G,B",
    help='Bands that are red, green and blue, counted from 1, e.g. "3,2,1".  '
    "[default: those that say so, else the first three]",
)
@click.option(
    "--tile",
    type=int,
    metavar="PIXELS",
    help="Side of a tile at working resolution.  [default: the bundle's]",
)
@precision_opt
@backend_opt
@engine_cache_opt
@allow_unverified_opt
@threads_opt
@batch_opt
@overwrite_opt
def infer(
    scenes: tuple[Path, ...],
    prompts: str | None,
    pack: Path | None,
    bundle: Path | None,
    output: Path,
    overwrite: bool,
    **options: Any,
) -> None:
    """Turn overhead images and words into georeferenced class maps.

    SCENE is a GeoTIFF, COG, PNG, JPEG, WebP or JPEG 2000 file, or a folder of them.

    \b
    t2s-rt infer scene.tif --prompts "building, road, tree" -o map
    t2s-rt infer scene.tif --prompts "car: vehicle; parking lot; road"
    t2s-rt infer flight/ --pack mission.safetensors -o maps
    t2s-rt infer photo.jpg --scene-gsd 0.05

    \b
    Routes from words to masks:
      boxes   Grounding DINO finds boxes, SAM cuts out each
      points  CLIP Surgery's heat maps tell SAM where to look
      masks   SAM segments everything, CLIP names each mask
      dense   CLIP names every patch
      fused   things (building, car) from boxes, stuff (road, water) from dense
              CLIP sharpened by SAM; a class the bank does not know goes both ways

    One class per pixel: a class takes part where its score reaches its threshold, and the highest
    score wins. In fused, a thing's mask goes over stuff. Where nothing passes the pixel is 0,
    "none": a class that is not there yields nothing, and the report says that it abstained.

    \b
    Outputs, named after the scene:
      .labels.tif       class map: 0 none, 1..N the classes in order, 255 no data
      .confidence.tif   254 = 1.0, 255 no data
      .gpkg             polygons (.geojson in pixels where the scene has no CRS)
      .preview.png      the map over the image
      .json             report: settings, classes found and abstained, timings
    """
    from t2s_rt.errors import UsageError
    from t2s_rt.prompts import parse_prompts

    if prompts is not None and pack is not None:
        raise UsageError("expected --prompts or --pack, found both; leave one out")
    classes = None if prompts is None else parse_prompts(prompts)
    command = {"prompts": prompts, "pack": pack, "bundle": bundle, **options}
    Inference(scenes, classes, pack, bundle, output, overwrite, command).run()


class Inference:
    """One run of the command, in the order in which things are checked.

    Usage, output folder, bundle and pack, scene; models last of all.
    """

    def __init__(
        self,
        scenes: Sequence[Path],
        classes: Sequence[PromptClass] | None,
        pack: Path | None,
        bundle: Path | None,
        output: Path,
        overwrite: bool,
        command: dict[str, Any],
    ) -> None:
        from t2s_rt.backends import BackendOptions
        from t2s_rt.pipeline import PipelineSettings

        self._classes, self._pack_path, self._bundle_path = classes, pack, bundle
        self._scenes, self._output, self._overwrite = scenes, output, overwrite
        self._command = command
        self._settings = PipelineSettings(
            route=command["route"],
            precision=command["precision"],
            backend=command["backend"],
            gsd=command["gsd"],
            tile=command["tile"],
            threads=command["threads"],
            options=BackendOptions(
                engines=command["cache"], allow_unverified=command["allow_unverified"]
            ),
            batch=None if command["batch"] == "auto" else int(command["batch"]),
        )
        self._reading = {"bands": command["bands"], "scene_gsd": command["scene_gsd"]}
        self._held: dict[Path, Scene] = {}

    def run(self) -> None:
        """Check everything, then map every scene."""
        from t2s_rt.bundle import load_bundle
        from t2s_rt.cli._progress import make_progress
        from t2s_rt.pipeline import Batch, Pipeline, find_scenes, prepare_output

        prepare_output(self._output)
        bundle = load_bundle(self._bundle_path)
        pack = self._ready_pack(bundle)
        sources = find_scenes(self._scenes)
        batch = Batch(sources, self._output, self._command, self._overwrite)
        outcomes = []
        try:
            self._open_first(sources)
            with Pipeline(bundle, self._settings) as pipeline:
                if pack is None:
                    pack = self._embed(bundle)
                pipeline.check_pack(pack)
                progress = make_progress()
                for outcome in batch.run(
                    pipeline, pack, lambda source: {**self._opened(source), "progress": progress}
                ):
                    outcomes.append(outcome)
                    _show(outcome, len(sources))
        finally:
            for scene in self._held.values():
                scene.close()
        batch.check(outcomes)

    def _ready_pack(self, bundle: Bundle) -> PromptPack | None:
        """The pack that needs no text encoder; None where words are still to be embedded."""
        from t2s_rt.errors import UsageError
        from t2s_rt.prompts import load_pack
        from t2s_rt.prompts.tokens import check_words

        if self._classes is not None:
            check_words(bundle, [phrase for item in self._classes for phrase in item.phrases])
            return None
        path = self._pack_path or bundle.default_pack
        if path is None:
            raise UsageError(
                f"bundle {bundle.name} has no default classes; say what to find with --prompts"
            )
        return load_pack(path, bundle)

    def _embed(self, bundle: Bundle) -> PromptPack:
        from t2s_rt.prompts import build_pack

        return build_pack(
            bundle,
            self._classes or (),
            backend=self._settings.backend,
            threads=self._settings.threads,
        )

    def _open_first(self, sources: Sequence[SceneSource]) -> None:
        """See that there is a scene to read before any model is loaded."""
        from t2s_rt.errors import SceneError
        from t2s_rt.scene import open_scene

        first: SceneError | None = None
        for source in sources:
            try:
                self._held[source.path] = open_scene(source.path, **self._reading)
                return
            except SceneError as error:
                first = first or error
        if first is not None:
            if len(sources) == 1:
                raise first
            raise SceneError(f"none of {len(sources)} scenes can be read; the first: {first}")

    def _opened(self, source: SceneSource) -> dict[str, Any]:
        """What the pipeline's call takes for a scene: it opened, or its path and how to read."""
        if source.path in self._held:
            return {"scene": self._held[source.path]}
        return {"scene": source.path, **self._reading}


def _show(outcome: Any, count: int) -> None:
    """Tell what became of a scene."""
    from t2s_rt.cli._progress import note

    if outcome.resumed:
        note(f"{outcome.source.path.name}: finished before the interruption")
    if outcome.error is not None and count > 1:
        note(f"failed: {outcome.error}")
    if outcome.report is not None:
        try:
            _show_report(outcome.report)
        except BrokenPipeError:
            # the map is written whoever reads the table
            note("the table's reader has gone away")


def _show_report(report: SceneReport) -> None:
    from t2s_rt.cli._tables import show_facts, show_table

    grounded = any(item.area_m2 is not None for item in report.classes)
    show_table(
        report.stem,
        ("class", "area km2" if grounded else "share %", "objects"),
        [
            (
                item.name if item.found else f"{item.name} (abstained)",
                _area(item.area_m2, item.share, grounded),
                str(item.objects),
            )
            for item in report.classes
        ],
    )
    tiles = report.tiles
    extra = [
        f"{number} {word}"
        for number, word in (
            (tiles.resumed, "resumed"),
            (tiles.skipped, "without data"),
            (tiles.failed, "failed"),
        )
        if number
    ]
    stages = ", ".join(f"{name} {spent:.2f}" for name, spent in report.seconds.items())
    overlap = report.timings.overlap
    if report.timings.tiles_per_call > 1:
        extra.append(f"up to {report.timings.tiles_per_call} in a call")
    show_facts(
        [
            ("tiles", ", ".join([str(tiles.total), *extra])),
            *(
                [("backend", f"{report.backend}, {report.precision} ({report.choice})")]
                if report.backend
                else []
            ),
            ("seconds", stages),
            *([] if overlap is None else [("reading", f"{overlap:.0%} behind other work")]),
            ("map", str(report.outputs["labels"])),
        ]
    )


def _area(area_m2: float | None, share: float, grounded: bool) -> str:
    if not grounded:
        return f"{100 * share:.2f}"
    return "-" if area_m2 is None else f"{area_m2 / 1e6:.6f}"
