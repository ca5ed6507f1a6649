"""The pipeline: scene, words and models in, map out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from t2s_rt.backends import BackendOptions
from t2s_rt.bundle import Bundle
from t2s_rt.contracts import Role
from t2s_rt.errors import PackError, PartialError
from t2s_rt.models import Models
from t2s_rt.pipeline.identity import run_identity
from t2s_rt.pipeline.image import ImageResult, score_array
from t2s_rt.pipeline.journal import Journal, run_key
from t2s_rt.pipeline.layout import Layout
from t2s_rt.pipeline.outputs import FinishedRun, write_outputs
from t2s_rt.pipeline.progress import Progress, SilentProgress
from t2s_rt.pipeline.report import SceneReport
from t2s_rt.pipeline.runner import SceneRunner
from t2s_rt.pipeline.settings import PipelineSettings
from t2s_rt.pipeline.source import SceneReader
from t2s_rt.pipeline.store import DiskStore
from t2s_rt.pipeline.tiles import TileScorer
from t2s_rt.pipeline.workplace import Workplace, prepare_output
from t2s_rt.prompts import PromptPack, check_fingerprint
from t2s_rt.routes import RouteName, RouteSettings, load_route, roles_for
from t2s_rt.routes.decision import map_rule
from t2s_rt.scene import MapWriter, Scene, TileGrid, open_scene, working_grid

__all__ = ["IncompleteSceneError", "Pipeline"]

_BLOCK_VALUES = 1 << 24
_BLOCK_SIDES = (1024, 512, 256)


class IncompleteSceneError(PartialError):
    """Some tiles failed; every output was written, with nodata where no tile was computed.

    Attributes:
        report: of the scene.
    """

    def __init__(self, report: SceneReport) -> None:
        tiles = report.tiles
        first = report.failures[0]["reason"]
        super().__init__(
            f"{report.scene}: {tiles.failed} of {tiles.total} tiles failed and are nodata in the "
            f"map, the rest is complete; {report.outputs['report'].name} lists them; "
            f"the first: {first}"
        )
        self.report = report


class Pipeline:
    """Turns scenes into maps. Use it as a context manager: models are opened once, when the
    first tile needs them, and closed at the end.

    Args:
        bundle: whose graphs.
        settings: route, resolution, tiles, precision, backend.
    """

    def __init__(self, bundle: Bundle, settings: PipelineSettings | None = None) -> None:
        self.bundle = bundle
        self.settings = settings or PipelineSettings()
        self.settings.tile_for(bundle.tile_size)
        size = sum(file.bytes for graph in bundle.manifest.graphs for file in graph.files)
        self._parallel = self.settings.parallel(size)
        self._models: Models | None = None
        self._roles: set[Role] = set()

    @classmethod
    def from_bundle(
        cls,
        bundle: Bundle,
        *,
        route: RouteName = "fused",
        precision: str = "auto",
        backend: str = "auto",
        gsd: float | None = None,
        tile: int | None = None,
        overlap: int | None = None,
        threads: int | None = None,
        workers: int | None = None,
        batch: int | None = None,
        side_by_side: bool | None = None,
        read_ahead: int | None = None,
        settings: RouteSettings | None = None,
        options: BackendOptions | None = None,
    ) -> Pipeline:
        """A pipeline for a bundle; see ``PipelineSettings`` for the arguments.

        Raises:
            UsageError: an argument that no run could use.
        """
        routes = settings or RouteSettings()
        return cls(
            bundle,
            PipelineSettings(
                route=route,
                precision=precision,
                backend=backend,
                gsd=gsd,
                tile=tile,
                overlap=overlap,
                threads=threads,
                workers=workers,
                batch=batch,
                side_by_side=side_by_side,
                read_ahead=read_ahead,
                routes=routes,
                options=options or BackendOptions(),
            ),
        )

    def __enter__(self) -> Pipeline:
        """Return the pipeline."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the models."""
        self.close()

    def close(self) -> None:
        """Close the models; a later call opens them again."""
        if self._models is not None:
            self._models.close()
            self._models = None
            self._roles = set()

    def check_pack(self, pack: PromptPack) -> None:
        """Refuse a pack that this bundle or route cannot use.

        Raises:
            PackError: made with other text encoders, or without the part that the route needs.
        """
        check_fingerprint(pack, self.bundle)
        roles = self._roles_for(pack)
        for role, has, part in (
            ("detector", pack.has_detector, "detector text"),
            ("clip_dense", pack.has_clip, "CLIP embeddings"),
            ("clip_patches", pack.has_clip, "CLIP embeddings"),
            ("clip_image", pack.has_clip, "CLIP embeddings"),
        ):
            if role in roles and not has:
                raise PackError(
                    f"route {self.settings.route} needs {part}, which the prompt pack lacks; "
                    "make it again with a bundle that has both text encoders"
                )

    def __call__(
        self,
        scene: str | os.PathLike[str] | Scene,
        pack: PromptPack,
        output_dir: str | os.PathLike[str],
        *,
        stem: str | None = None,
        bands: str | Sequence[int] | None = None,
        scene_gsd: float | None = None,
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> SceneReport:
        """Map one scene and write its outputs.

        Args:
            scene: path of a raster or image, or an open scene (which stays open).
            pack: classes to look for, made for this bundle.
            output_dir: folder of the outputs, made if missing.
            stem: what the outputs are named after; the file's own by default.
            bands: which bands are red, green and blue; see ``t2s_rt.scene.open_scene``.
            scene_gsd: metres per pixel where the file does not say.
            overwrite: replace finished outputs. An interrupted run's own leftovers need no
                leave: the same call goes on with them.
            progress: who watches.

        Returns:
            The report that also lies beside the map.

        Raises:
            OutputError: outputs are there already, or cannot be written.
            PackError: the pack does not fit.
            SceneError: the scene cannot be opened, or no tile of it can be read.
            BundleError, BackendError: the models cannot be opened or run.
            IncompleteSceneError: some tiles failed; the rest is written, its ``report`` says
                what.
        """
        directory = Path(output_dir)
        prepare_output(directory)
        self.check_pack(pack)
        with ExitStack() as stack:
            if not isinstance(scene, Scene):
                scene = stack.enter_context(open_scene(scene, bands=bands, scene_gsd=scene_gsd))
            reading = {"bands": list(scene.bands), "gsd": scene.gsd}
            identity = run_identity(scene.path, self.bundle, pack, self.settings, reading)
            name = scene.stem if stem is None else stem
            place = Workplace(directory, name, run_key(identity), overwrite)
            stack.callback(place.close)
            report = self._run(scene, pack, place, progress or SilentProgress())
        if report.tiles.failed:
            raise IncompleteSceneError(report)
        return report

    def score_image(
        self, image: NDArray[np.uint8], pack: PromptPack, gsd: float | None = None
    ) -> ImageResult:
        """Scores and class map of an image in memory, by the same tiles and rules as a scene.

        Args:
            image: uint8 ``[H, W, 3]`` RGB.
            pack: classes to look for, made for this bundle.
            gsd: metres per pixel; None takes the image for the working resolution.

        Raises:
            PackError: the pack does not fit.
            BundleError, BackendError: the models cannot be opened or run.
        """
        self.check_pack(pack)
        side, overlap = self.settings.tile_for(self.bundle.tile_size)
        with self.scorer(pack) as scorer:
            return score_array(
                image,
                scorer,
                map_rule(pack, self.settings.route, self.settings.routes),
                scale=1.0 if gsd is None else gsd / (self.settings.gsd or self.bundle.gsd),
                side=side,
                overlap=overlap,
                workers=self._parallel[0],
            )

    def scorer(self, pack: PromptPack) -> TileScorer:
        """The opened models and the route, ready for tiles; to be closed by the caller."""
        roles = self._roles_for(pack)
        if self._models is None or not roles <= self._roles:
            roles |= self._roles
            self.close()
            settings = self.settings
            self._models = Models.open(
                self.bundle,
                settings.precision,
                settings.backend,
                roles,
                threads=self._parallel[1],
                options=settings.options,
            )
            self._roles = roles
        side, _ = self.settings.tile_for(self.bundle.tile_size)
        return TileScorer(
            self._models,
            load_route(self.settings.route),
            pack,
            self.settings.routes,
            side,
            roles=self._roles_for(pack),
            batch=self.settings.batch,
            side_by_side=self.settings.side_by_side,
        )

    @property
    def models(self) -> Models | None:
        """The opened models, or None before the first tile."""
        return self._models

    def _roles_for(self, pack: PromptPack) -> set[Role]:
        kinds = {item.kind for item in pack.classes}
        return roles_for(self.settings.route, self.settings.routes, kinds)

    def _layout(self, scene: Scene, pack: PromptPack) -> tuple[Layout, SceneReader]:
        side, overlap = self.settings.tile_for(self.bundle.tile_size)
        working = working_grid(scene, self.settings.gsd or self.bundle.gsd)
        # the scores of one block should stay around 64 MiB however many classes there are
        fitting = (s for s in _BLOCK_SIDES if s * s * len(pack.classes) <= _BLOCK_VALUES)
        block = next(fitting, _BLOCK_SIDES[-1])
        tiles = TileGrid(working.height, working.width, side, overlap)
        layout = Layout((scene.height, scene.width), tiles, block)
        return layout, SceneReader(scene, working)

    def _opened(self, pack: PromptPack, progress: Progress) -> TileScorer:
        """The scorer, and a note of what the opened sessions warn about."""
        scorer = self.scorer(pack)
        for warning in () if self._models is None else self._models.warnings:
            progress.note(warning)
        return scorer

    def _run(
        self, scene: Scene, pack: PromptPack, place: Workplace, progress: Progress
    ) -> SceneReport:
        layout, reader = self._layout(scene, pack)
        journal = Journal(place.journal, place.key)
        try:
            with (
                journal,
                MapWriter(
                    scene,
                    place.results,
                    place.stem,
                    pack.classes,
                    part=place.path / "map",
                    resume=True,
                    overwrite=True,
                ) as writer,
            ):
                runner = SceneRunner(
                    layout,
                    journal,
                    DiskStore(place.path),
                    writer,
                    map_rule(pack, self.settings.route, self.settings.routes),
                    reader,
                    progress,
                    workers=self._parallel[0],
                    read_ahead=self.settings.read_ahead,
                )
                progress.begin(scene.path.name, len(layout.tiles), runner.resumed)
                if place.discarded:
                    progress.note(
                        "leftovers of an interrupted run with other settings were discarded"
                    )
                for warning in reader.warnings:
                    progress.note(warning)
                runner.run(lambda: self._opened(pack, progress))
                if runner.warning is not None:
                    progress.note(runner.warning)
                progress.stage("writing")
                report = write_outputs(
                    FinishedRun(
                        reader=reader,
                        pack=pack,
                        bundle=self.bundle,
                        settings=self.settings,
                        models=self._models,
                        layout=layout,
                        journal=journal,
                        resumed=runner.resumed,
                        seconds=runner.seconds,
                        timings=runner.timings,
                        warning=runner.warning,
                        stem=place.stem,
                        results=place.results,
                        directory=place.directory,
                    ),
                    writer,
                )
        except BaseException:
            if not any(record.status == "done" for record in journal.tiles.values()):
                place.remove()
            raise
        finally:
            progress.end()
        place.publish()
        return report
