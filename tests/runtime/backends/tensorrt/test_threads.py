"""Several sessions, and several threads in one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tests.doubles import Control
from tests.runtime.backends.builders import example, formula, write_entry
from tests.runtime.backends.tensorrt.conftest import Open
from tests.runtime.backends.tensorrt.engines import build_engine, open_engine
from tests.runtime.backends.tensorrt.graphs import decode, encode, image, prompts

from t2s_rt.backends import DeviceArray


@pytest.mark.parametrize("cuda_graph", [False, True])
def test_three_sessions_at_once(
    double: Control, encoder: Open, decoder: Open, tmp_path: Path, cuda_graph: bool
) -> None:
    """As for a tile: the detector beside the encoder, whose embedding goes to the decoder."""
    entry = write_entry(tmp_path / "graph.onnx")
    build_engine(entry, tmp_path / "engines")
    with (
        encoder(cuda_graph=cuda_graph) as first,
        decoder(cuda_graph=cuda_graph) as second,
        open_engine(entry, tmp_path / "engines", cuda_graph=cuda_graph) as third,
    ):
        assert len(double.device.streams) == 3

        def masks(seed: int) -> None:
            kept = first.run({"image": image(seed)}, keep=["image_embedding"])["image_embedding"]
            assert isinstance(kept, DeviceArray)
            with kept:
                points = prompts(seed, 1 + seed // 4 % 3)
                found = second.run({"image_embedding": kept, **points})["mask_logits"]
            np.testing.assert_allclose(found, decode(encode(image(seed)), points), rtol=1e-5)

        def boxes(seed: int) -> None:
            feeds = example(1 + seed // 4 % 3, 4)
            for name, value in formula(feeds).items():
                np.testing.assert_allclose(third.run(feeds)[name], value, rtol=1e-6, atol=1e-4)

        work: list[tuple[Callable[[int], None], int]] = [
            (job, seed) for seed in range(24) for job in (masks, boxes)
        ]
        with ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(job, seed) for job, seed in work]:
                done.result()


def test_closing_from_another_thread_while_a_kept_array_is_read(
    double: Control, encoder: Open
) -> None:
    session = encoder()
    kept = [
        session.run({"image": image(seed)}, keep=["image_embedding"])["image_embedding"]
        for seed in range(8)
    ]

    def read(seed: int) -> None:
        array = kept[seed]
        assert isinstance(array, DeviceArray)
        np.testing.assert_array_equal(array.numpy(), encode(image(seed)))
        array.release()

    with ThreadPoolExecutor(3) as pool:
        reading = [pool.submit(read, seed) for seed in range(8)]
        session.close()
        for done in reading:
            done.result()
    assert not double.device.leaks()
