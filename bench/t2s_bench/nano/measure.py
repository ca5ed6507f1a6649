"""All figures of a bundle on held-out scenes, as one record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.progress import track

from t2s_bench.card import checkpoints_of
from t2s_bench.every_route import EveryRoute
from t2s_bench.inputs import default_pack
from t2s_bench.machine import describe_machine
from t2s_bench.nano.boxes import BoxFigures
from t2s_bench.nano.maps import MapFigures
from t2s_bench.nano.masks import MaskFigures
from t2s_bench.nano.sheets import SheetMaker
from t2s_bench.nano.text import TextFigures
from t2s_bench.nano.truth import HeldOut
from t2s_rt.bundle import load_bundle
from t2s_rt.errors import UsageError
from t2s_rt.synthetic import GENERATOR_VERSION, HELD_OUT_SEEDS

__all__ = ["measure_accuracy"]

_SOME = 4
"""Every fourth scene also goes through the costly routes and has its words swapped."""


def measure_accuracy(
    bundle_path: Path | None = None,
    *,
    limit: int = 200,
    size: int = 512,
    sheets: Path | None = None,
) -> dict[str, Any]:
    """Judge a bundle on the first ``limit`` held-out scenes of ``size`` x ``size`` pixels.

    Args:
        bundle_path: of the bundle; the embedded one by default.
        limit: number of scenes.
        size: side of each in pixels.
        sheets: folder that takes contact sheets of the first and of the worst maps.

    Returns:
        A JSON-ready record with the machine, the generator's version and every figure.

    Raises:
        UsageError: the bundle has no default pack, or more scenes are wanted than there are.
        UnknownWordError: the bundle does not know the classes' names and synonyms.
    """
    bundle = load_bundle(bundle_path)
    pack = default_pack(bundle)
    if not 1 <= limit <= len(HELD_OUT_SEEDS):
        raise UsageError(
            f"expected 1 to {len(HELD_OUT_SEEDS)} held-out scenes, found {limit}; change --limit"
        )
    boxes, masks, maps, text = BoxFigures(pack), MaskFigures(), MapFigures(), TextFigures(bundle)
    maker = SheetMaker(pack)
    with EveryRoute(bundle) as routes:
        for index, seed in enumerate(
            track(HELD_OUT_SEEDS[:limit], "held-out scenes", transient=True)
        ):
            scene = HeldOut.of(seed, size, bundle)
            boxes.add(routes.models, scene)
            masks.add(routes.models, scene)
            some = index % _SOME == 0
            maker.add(seed, scene, maps.add(routes, pack, scene, every=some))
            if some:
                text.add(routes, scene)
    if sheets is not None:
        maker.write(sheets)
    return {
        "what": "accuracy on held-out synthetic scenes",
        "generator_version": GENERATOR_VERSION,
        "scenes": limit,
        "some_scenes": -(-limit // _SOME),
        "size": size,
        "bundle": bundle.name,
        "checkpoints": checkpoints_of(bundle),
        "machine": describe_machine(),
        "detector": boxes.record(),
        **masks.record(),
        **maps.record(),
        "text": text.record(),
    }
