"""What the detector would gain from a smaller frame and a shorter caption, and what it would cost.

A frame is the square that a tile is scaled to. Nano's trained weights are exported for several, and
judged on scenes that neither training nor any published figure uses. Captions only take time: their
length follows from the words asked for, and the runtime never pads them.
"""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from t2s_bench.card import checkpoints_of
from t2s_bench.inputs import default_pack, largest_calls
from t2s_bench.machine import describe_machine, one_line
from t2s_bench.markdown import table
from t2s_bench.nano.boxes import BoxFigures
from t2s_bench.nano.choices import TUNING_SEEDS
from t2s_bench.nano.truth import DETECTED, HeldOut
from t2s_bench.speed.samples import latency
from t2s_engines.verify.tiles import synthetic_tiles
from t2s_rt.backends import Session, open_session
from t2s_rt.bundle import Bundle, load_bundle
from t2s_rt.models import Models
from t2s_rt.synthetic import GENERATOR_VERSION

__all__ = ["FRAMES", "detector_sizes_tables", "measure_detector_sizes"]

FRAMES = (576, 640, 512, 448, 384)
"""Sides in pixels; the first is nano's own, and that of its tiles."""
_TOKENS = (16, 32, 64)
"""Tokens of nano's captions; it takes 64 at most."""
_FULL_TOKENS = (16, 38, 128, 256)
"""The same of the official model, whose captions end at 256."""
_FULL = ("swin_t", "detector, grid_sample")
_SIZE = 512

Feeds = Mapping[str, NDArray[Any]]


def measure_detector_sizes(
    frames: Sequence[int] = FRAMES,
    *,
    scenes: int = len(TUNING_SEEDS),
    full_size: bool = True,
    threads: int = 1,
    repeat: int = 9,
) -> dict[str, Any]:
    """Time and judge the detector at several frames, and time it with several captions.

    Args:
        frames: sides of nano's frame, pixels.
        scenes: number of scenes that judge it.
        full_size: time captions of Swin-T at full size, with random weights, as well.
        threads: within an operator.
        repeat: timed runs of each.

    Returns:
        A JSON-ready record.

    Raises:
        BundleError: outside a source checkout, which has nano's checkpoints.
        MissingOriginalError: the original package, which full-size weights go through, is missing.
    """
    bundle = load_bundle()
    calls = largest_calls(
        bundle, default_pack(bundle), synthetic_tiles(bundle, 1)[0], ["detector"], threads
    )
    feeds = calls["detector"][0].feeds
    found = []
    captions: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="t2s-detector-") as folder:
        for side in track(frames, "frames", transient=True):
            with _nano(side, feeds, Path(folder) / str(side), threads) as session:
                own = {**feeds, "image": np.resize(feeds["image"], (1, side, side, 3))}
                seconds = latency(partial(session.run, own), repeat)
                found.append({"side": side, **seconds, **_judged(bundle, session, scenes)})
                if side == frames[0]:
                    captions["nano"] = _by_tokens(session, own, _TOKENS, repeat)
        if full_size:
            captions[_FULL[0]] = _full_size(Path(folder), threads, min(repeat, 3))
    return {
        "what": "the detector at smaller frames and with longer captions",
        "generator_version": GENERATOR_VERSION,
        "scenes": scenes,
        "checkpoints": checkpoints_of(bundle),
        "threads": threads,
        "frames": found,
        "captions": captions,
        "machine": describe_machine(),
    }


def detector_sizes_tables(record: Mapping[str, Any]) -> str:
    """A record of :func:`measure_detector_sizes` as Markdown."""
    frames = table(
        ("frame of nano's detector", "ms a tile", *(f"AP50 {name}" for name in DETECTED)),
        (
            (
                f"{one['side']} x {one['side']}",
                f"{one['p50_s'] * 1e3:.1f}",
                *(f"{one['ap50'][name]:.3f}" for name in DETECTED),
            )
            for one in record["frames"]
        ),
    )
    captions = table(
        ("detector", "tokens of the caption", "ms a tile"),
        (
            (model, str(one["tokens"]), f"{one['p50_s'] * 1e3:.1f}")
            for model, rows in record["captions"].items()
            for one in rows
        ),
    )
    return (
        f"{frames}\n\n{captions}\n\nAP50 on {record['scenes']} scenes of {_SIZE} x {_SIZE} pixels, "
        f"generator {record['generator_version']}; {record['threads']} thread(s); "
        f"`t2s-rt bench detector`; {one_line(record['machine'])}."
    )


def _nano(side: int, feeds: Feeds, folder: Path, threads: int) -> Session:
    """A session of nano's detector with another frame."""
    import torch

    from t2s_bench.reference.written import write_graph
    from t2s_export.architectures.grounding_dino import DetectorGraph, GroundingDino
    from t2s_export.graphs.to_onnx import export_graph
    from t2s_export.nano.checkpoints import load

    model = cast(GroundingDino, load("detector"))
    example = {name: torch.from_numpy(np.array(value)) for name, value in feeds.items()}
    example["image"] = torch.zeros(2, side, side, 3, dtype=torch.uint8)
    folder.mkdir()
    entry = write_graph(
        export_graph("detector", DetectorGraph(model, side), example), folder, (side, side)
    )
    return open_session(entry, "onnxruntime-cpu", threads=threads)


def _judged(bundle: Bundle, session: Session, scenes: int) -> dict[str, dict[str, float]]:
    """AP50 by class on the first of the tuning scenes."""
    figures, models = BoxFigures(default_pack(bundle)), Models.over({"detector": session})
    for seed in TUNING_SEEDS[:scenes]:
        figures.add(models, HeldOut.of(seed, _SIZE, bundle))
    classes = figures.record()["classes"]
    return {"ap50": {name: classes[name]["ap50"] for name in DETECTED}}


def _by_tokens(
    session: Session, feeds: Feeds, counts: Sequence[int], repeat: int
) -> list[dict[str, Any]]:
    """Times with as many tokens, those of the caption over and over."""
    return [
        {"tokens": count, **latency(partial(session.run, _with_tokens(feeds, count)), repeat)}
        for count in counts
    ]


def _with_tokens(feeds: Feeds, count: int) -> dict[str, NDArray[Any]]:
    features = feeds["text_features"]
    repeats = -(-count // features.shape[1])
    return {
        "image": feeds["image"],
        "text_features": np.tile(features, (1, repeats, 1))[:, :count],
        "text_token_mask": np.ones((1, count), bool),
        "text_self_attention_mask": np.ones((1, count, count), bool),
        "position_ids": np.arange(count, dtype=np.int32)[None],
    }


def _full_size(folder: Path, threads: int, repeat: int) -> list[dict[str, Any]]:
    """The official Swin-T by tokens."""
    from t2s_bench.models.measure import cases
    from t2s_bench.reference.written import write_graph

    model, graph = _FULL
    for case in cases(model, folder):
        if case.graph == graph:
            feeds = dict(case.feeds)
            side = feeds["image"].shape[1:3]
            entry = write_graph(case.export(), folder, (side[0], side[1]))
            del case
            gc.collect()
            with open_session(entry, "onnxruntime-cpu", threads=threads) as session:
                return _by_tokens(session, feeds, _FULL_TOKENS, repeat)
    raise LookupError(f"{model} has no graph {graph}")
