"""Every route of an image from one pass of the encoders: a bench asks for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from t2s_rt.bundle import Bundle
from t2s_rt.contracts import Role
from t2s_rt.models import Models
from t2s_rt.pipeline import PipelineSettings
from t2s_rt.pipeline.image import score_array
from t2s_rt.pipeline.tiles import TileScorer
from t2s_rt.prompts import PromptPack
from t2s_rt.prompts.bank import KINDS
from t2s_rt.routes import ROUTES, RouteName, RouteSettings, load_route, roles_for
from t2s_rt.routes.decision import MapRule, decide, map_rule
from t2s_rt.routes.features import TileFeatures
from t2s_rt.routes.result import TileResult

__all__ = ["EveryRoute", "roles_of"]


def roles_of(routes: Sequence[RouteName], settings: RouteSettings) -> set[Role]:
    """Every graph that some of the routes may ask, whatever the classes."""
    return set().union(*(roles_for(route, settings, KINDS) for route in routes))


class EveryRoute:
    """Class maps of several routes, each as ``Pipeline.score_image`` makes it.

    Args:
        bundle: whose graphs.
        routes: which ones.
        settings: the routes' own numbers.
        tile: side of a tile in working pixels; None takes the bundle's.
        clip_overlap: of dense CLIP's windows; None as ``infer`` has it.
    """

    def __init__(
        self,
        bundle: Bundle,
        routes: Sequence[RouteName] = ROUTES,
        settings: RouteSettings | None = None,
        tile: int | None = None,
        clip_overlap: float | None = None,
    ) -> None:
        self.bundle, self.routes = bundle, tuple(routes)
        self.settings = settings or RouteSettings()
        pipeline = PipelineSettings(tile=tile)
        self._side, self._overlap = pipeline.tile_for(bundle.tile_size)
        size = sum(file.bytes for graph in bundle.manifest.graphs for file in graph.files)
        self._workers, threads = pipeline.parallel(size)
        roles = roles_of(self.routes, self.settings)
        self.models = Models.open(bundle, roles=roles, threads=threads, clip_overlap=clip_overlap)

    def __enter__(self) -> EveryRoute:
        """Return it; leaving the block closes the models."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the models."""
        self.models.close()

    def label(
        self,
        image: NDArray[np.uint8],
        pack: PromptPack,
        gsd: float | None,
        routes: Sequence[RouteName] | None = None,
    ) -> dict[RouteName, NDArray[np.uint8]]:
        """Labels uint8 ``[H, W]`` of every route: 0 none, 1..K classes in pack order.

        Args:
            image: uint8 ``[H, W, 3]`` RGB.
            pack: classes to look for.
            gsd: metres per pixel; None takes the image for the working resolution.
            routes: only these of its own.
        """
        wanted = self.routes if routes is None else tuple(routes)
        rules = [map_rule(pack, route, self.settings) for route in wanted]
        stacked = MapRule(
            np.concatenate([rule.thresholds for rule in rules]),
            tuple(value for rule in rules for value in rule.objects),
            tuple(value for rule in rules for value in rule.over),
        )
        run = partial(_run, wanted)
        with TileScorer(self.models, run, pack, self.settings, self._side) as scorer:
            result = score_array(
                image,
                scorer,
                stacked,
                scale=1.0 if gsd is None else gsd / self.bundle.gsd,
                side=self._side,
                overlap=self._overlap,
                workers=self._workers,
            )
        planes = np.split(result.scores, len(wanted))
        return {
            route: decide(scores, rule)[0]
            for route, scores, rule in zip(wanted, planes, rules, strict=True)
        }


def _run(
    routes: Sequence[RouteName], features: TileFeatures, pack: PromptPack, settings: RouteSettings
) -> TileResult:
    """All routes on one tile's features, their scores stacked."""
    results = [load_route(route)(features, pack, settings) for route in routes]
    candidates = tuple(count for result in results for count in result.candidates)
    return TileResult(np.concatenate([result.scores for result in results]), candidates)
