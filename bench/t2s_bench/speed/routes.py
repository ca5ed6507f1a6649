"""Routes on one tile, from pixels in memory to class scores, by number of classes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from t2s_bench.speed.samples import latency
from t2s_engines.verify.tiles import VerifyTile
from t2s_rt.bundle import Bundle
from t2s_rt.errors import UsageError
from t2s_rt.models import Models
from t2s_rt.prompts import PromptPack, build_pack
from t2s_rt.prompts.bank import load_bank
from t2s_rt.routes import RouteName, RouteSettings, load_route
from t2s_rt.routes.features import TileFeatures
from t2s_rt.routes.result import TileResult

__all__ = ["CLASS_COUNTS", "class_packs", "measure_routes", "run_route"]

CLASS_COUNTS = (1, 7, 30)


def class_packs(bundle: Bundle, counts: Sequence[int] = CLASS_COUNTS) -> dict[int, PromptPack]:
    """Packs of so many classes, by their real number.

    Fewer where a closed vocabulary knows fewer, or where no more fit into the detector's caption.
    """
    known = bundle.text.words
    names = [name for name in load_bank() if known is None or name in known]
    packs = (_largest_pack(bundle, names[:count]) for count in counts)
    return {len(pack.classes): pack for pack in packs}


def _largest_pack(bundle: Bundle, names: Sequence[str]) -> PromptPack:
    """A pack of the first of ``names``, as many as the bundle takes."""
    try:
        return build_pack(bundle, ", ".join(names))
    except UsageError:  # too many tokens
        if len(names) == 1:
            raise
        return _largest_pack(bundle, names[:-1])


def run_route(models: Models, pack: PromptPack, route: RouteName, tile: VerifyTile) -> TileResult:
    """A route on one tile with its default numbers, encoders included."""
    settings = RouteSettings()
    return load_route(route)(TileFeatures(models, tile.image, tile.valid, pack), pack, settings)


def measure_routes(
    models: Models,
    packs: dict[int, PromptPack],
    routes: Sequence[RouteName],
    tile: VerifyTile,
    repeat: int,
) -> dict[str, dict[str, Any]]:
    """Latency of a tile by route and number of classes; encoders are part of it."""
    return {
        route: {
            str(count): latency(partial(run_route, models, pack, route, tile), repeat)
            for count, pack in packs.items()
        }
        for route in routes
    }
