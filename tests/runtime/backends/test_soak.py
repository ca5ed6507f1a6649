"""Ten thousand decoder calls leave memory as it was."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping

import numpy as np
import psutil
import pytest

from t2s_rt.backends import Array, BackendOptions, BindingSession, OnnxRuntimeCpuSession, Session
from t2s_rt.bundle import GraphEntry, load_bundle

CALLS = 10_000
WARM_UP = 500
GROWTH = 0.02
OF_THE_WHOLE_IMAGE = 50
"""Every so many calls one goes to the decoder of the whole image, which takes four times as long
as the one of windows around small boxes."""

Build = Callable[[GraphEntry, BackendOptions], Session]


def resident() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)


@pytest.mark.slow
@pytest.mark.parametrize("build", [OnnxRuntimeCpuSession, BindingSession])
def test_memory_stays_flat(build: Build) -> None:
    bundle, options = load_bundle(), BackendOptions(threads=1)
    random = np.random.default_rng(0)
    with (
        build(bundle.graph("mask_encoder"), options) as encoder,
        build(bundle.graph("mask_decoder"), options) as whole,
        build(bundle.graph("mask_decoder_local"), options) as local,
    ):
        side = encoder.inputs[0].shape[1]
        assert isinstance(side, int)
        image = random.integers(0, 256, (1, side, side, 3), dtype=np.uint8)
        keep = ("image_embedding",)
        embedding = encoder.run({"image": image}, keep=keep)["image_embedding"]
        readings: list[int] = []
        for call in range(WARM_UP + CALLS):
            count = 1 + call % 2
            prompts: dict[str, Array] = {
                "image_embedding": embedding,
                "point_coords": random.random((count, 2, 2)).astype(np.float32) * side,
                "point_labels": np.tile(np.array([2, 3], np.float32), (count, 1)),
            }
            outputs: Mapping[str, Array]
            if call % OF_THE_WHOLE_IMAGE:
                window = random.integers(0, 8, (count, 2), dtype=np.int32)
                outputs = local.run({**prompts, "window": window}, keep=("iou",) * (call % 3 == 0))
            else:
                outputs = whole.run(prompts)
            assert outputs["mask_logits"].shape[0] == count
            if call >= WARM_UP - 1 and (call - WARM_UP + 1) % (CALLS // 5) == 0:
                readings.append(resident())
    assert len(readings) == 6
    assert max(readings) <= (1 + GROWTH) * readings[0], readings
