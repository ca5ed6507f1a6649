"""Single graphs, as ``infer`` calls them: engine-only figures."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from t2s_bench.inputs import largest_calls
from t2s_bench.speed.samples import latency
from t2s_engines.verify.tiles import VerifyTile
from t2s_rt.backends import choose_backend, open_session
from t2s_rt.bundle import Bundle
from t2s_rt.models import Models, choose_graph
from t2s_rt.prompts import PromptPack

__all__ = ["BOXES", "measure_decoder", "measure_graphs"]

BOXES = (1, 20, 200)
_SEED = 5


def measure_graphs(
    bundle: Bundle,
    pack: PromptPack,
    tile: VerifyTile,
    *,
    precision: str,
    backend: str,
    threads: int | None,
    repeat: int,
) -> dict[str, Any]:
    """Latency of every graph with what ``infer`` feeds it for one tile.

    Of several calls (the decoder's chunks of prompts) the one with the most rows is timed.

    Returns:
        By role: ``open_s`` and the figures of :func:`latency`, rows, precision, backend.
    """
    calls = largest_calls(bundle, pack, tile, threads=threads)
    device = choose_backend(backend).kind.device
    found: dict[str, Any] = {}
    for role, (call, count) in sorted(calls.items()):
        entry = choose_graph(bundle, role, precision, device)[0]
        start = time.perf_counter()
        with open_session(entry, backend, threads=threads) as session:
            opened = time.perf_counter() - start
            found[role] = {
                "open_s": opened,
                **latency(partial(session.run, dict(call.feeds)), repeat),
                "rows": len(call),
                "calls_per_tile": count,
                "precision": entry.precision,
                "backend": session.backend,
            }
    return found


def measure_decoder(
    models: Models, tile: VerifyTile, repeat: int, boxes: Sequence[int] = BOXES
) -> dict[str, Any]:
    """Latency of masks for 1, 20 and 200 boxes of one tile, all calls of the decoder together."""
    segmenter = models.segmenter
    assert segmenter is not None  # opened for it
    embedding = segmenter.encode(tile.image)
    rng = np.random.default_rng(_SEED)
    side = tile.image.shape[0]
    found = {}
    for count in boxes:
        low = rng.uniform(0, side * 0.8, (count, 2))
        size = rng.uniform(side * 0.01, side * 0.2, (count, 2))
        corners = np.concatenate([low, low + size], 1).astype(np.float32)
        found[str(count)] = latency(partial(segmenter.decode_boxes, embedding, corners), repeat)
    return found
