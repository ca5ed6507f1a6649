"""Ways from words to masks: one module per route, pure functions of a tile's features.

==========  ==================================================================================
boxes       Grounding DINO boxes, each turned into a mask by SAM
points      CLIP Surgery heat maps, one set of SAM points per heat-map component
masks       SAM everything, each mask named by CLIP
dense       dense CLIP, pixel by pixel
fused       things from boxes, stuff from dense CLIP sharpened by SAM masks
==========  ==================================================================================

Every route gives absolute scores in 0..1 per class and pixel, and 0 where a class is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, cast, get_args

from t2s_rt.routes.settings import RouteSettings

if TYPE_CHECKING:
    from t2s_rt.contracts import Role
    from t2s_rt.prompts import PromptPack
    from t2s_rt.routes.features import TileFeatures
    from t2s_rt.routes.result import TileResult

    Route = Callable[[TileFeatures, PromptPack, RouteSettings], TileResult]

__all__ = [
    "DEFAULT_ROUTE",
    "ROUTES",
    "ROUTE_ROLES",
    "RouteName",
    "RouteSettings",
    "load_route",
    "roles_for",
]

RouteName = Literal["boxes", "points", "masks", "dense", "fused"]
ROUTES: tuple[RouteName, ...] = get_args(RouteName)
DEFAULT_ROUTE: RouteName = "fused"

_SAM: tuple[Role, ...] = ("mask_encoder", "mask_decoder")
ROUTE_ROLES: MappingProxyType[RouteName, tuple[Role, ...]] = MappingProxyType(
    {
        "boxes": ("detector", *_SAM),
        "points": ("clip_dense", *_SAM),
        "masks": ("clip_patches", *_SAM),
        "dense": ("clip_patches",),
        "fused": ("detector", "clip_patches", *_SAM),
    }
)
"""The graphs that each route needs; the others stay closed."""


def roles_for(route: RouteName, settings: RouteSettings, kinds: Collection[str]) -> set[Role]:
    """The graphs that a route opens for classes of these kinds.

    Args:
        route: its name.
        settings: naming masks by crops takes ``clip_image`` instead of ``clip_patches``.
        kinds: of the pack's classes; ``fused`` opens no detector without things and no CLIP
            without stuff.
    """
    roles = set(ROUTE_ROLES[route])
    if route == "masks" and settings.mask_names == "crops":
        return roles - {"clip_patches"} | {"clip_image"}
    if route == "fused" and set(kinds) == {"stuff"}:
        roles -= {"detector"} | (set() if settings.sharpen_grid else set(_SAM))
    if route == "fused" and set(kinds) == {"thing"}:
        roles -= {"clip_patches"}
    return roles


def load_route(name: RouteName) -> Route:
    """The route's function ``run(features, pack, settings) -> TileResult``.

    Imported at first use, so that a command line that only shows its help pays for no numpy.
    """
    return cast("Route", import_module(f"t2s_rt.routes.{name}").run)
