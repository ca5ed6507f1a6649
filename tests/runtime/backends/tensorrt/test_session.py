"""Sessions on engines: numbers, order on the device, and what stays where."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.doubles import Control
from tests.runtime.backends.tensorrt.conftest import Open
from tests.runtime.backends.tensorrt.graphs import decode, encode, image, prompts

from t2s_rt.backends import DeviceArray
from t2s_rt.backends.tensorrt import Cuda
from t2s_rt.errors import BackendError
from t2s_rt.limits import POINTS_PER_PROMPT, PROMPTS_PER_CALL


@pytest.mark.parametrize("cuda_graph", [False, True])
def test_numbers_of_every_release(every_release: Control, encoder: Open, cuda_graph: bool) -> None:
    with encoder(cuda_graph=cuda_graph) as session:
        assert f"TensorRT {every_release.release}" in session.describe()
        for seed, batch in enumerate([1, 4, 2, 2, 2, 2, 1]):
            pixels = image(seed, batch)
            found = session.run({"image": pixels})["image_embedding"]
            np.testing.assert_array_equal(found, encode(pixels))


@pytest.mark.parametrize("cuda_graph", [False, True])
def test_the_embedding_never_visits_the_host(
    every_release: Control, encoder: Open, decoder: Open, cuda_graph: bool
) -> None:
    copies = every_release.device.copies
    with encoder(cuda_graph=cuda_graph) as first, decoder(cuda_graph=cuda_graph) as second:
        for seed, count in enumerate([3, 3, 3, 1, 32]):
            pixels, points = image(seed), prompts(seed, count)
            before = copies.get("device-host", 0)
            kept = first.run({"image": pixels}, keep=["image_embedding"])["image_embedding"]
            assert isinstance(kept, DeviceArray)
            assert copies.get("device-host", 0) == before
            found = second.run({"image_embedding": kept, **points})
            # both outputs of the decoder and nothing else came back
            assert copies["device-host"] == before + 2
            np.testing.assert_allclose(
                found["mask_logits"], decode(encode(pixels), points), rtol=1e-5
            )
            kept.release()
    plain = 5 * 2  # the points of five calls; the embedding is bound where it lies
    assert copies.get("device-device", 0) == (10 if cuda_graph else 0)
    assert copies["host-device"] == 5 + plain


def test_kept_outputs_stay_whatever_runs_later(double: Control, encoder: Open) -> None:
    with encoder() as session:
        kept = [
            session.run({"image": image(seed)}, keep=["image_embedding"])["image_embedding"]
            for seed in range(6)
        ]
        session.run({"image": image(9, 4)})
        for seed in (3, 0, 5):
            np.testing.assert_array_equal(_host(kept[seed]), encode(image(seed)))
    # the session is closed: its stream and these blocks live until the arrays are released
    for seed in (1, 2, 4):
        np.testing.assert_array_equal(_host(kept[seed]), encode(image(seed)))
    assert double.device.streams
    for array in kept:
        assert isinstance(array, DeviceArray)
        array.release()
    assert not double.device.streams
    assert not double.device.leaks()


def test_collecting_a_kept_output_is_enough(double: Control, encoder: Open) -> None:
    with encoder() as session:
        session.run({"image": image(0)}, keep=["image_embedding"])
    gc.collect()
    assert not double.device.leaks()


def test_a_steady_run_allocates_nothing(double: Control, encoder: Open, decoder: Open) -> None:
    with encoder() as first, decoder() as second:

        def tile(seed: int) -> None:
            kept = first.run({"image": image(seed)}, keep=["image_embedding"])["image_embedding"]
            second.run({"image_embedding": kept, **prompts(seed, 1 + seed % 7)})
            assert isinstance(kept, DeviceArray)
            kept.release()

        tile(0)
        held = set(double.device.allocations)
        for seed in range(1, 20):
            tile(seed)
        assert set(double.device.allocations) == held


def test_blocks_beyond_a_steady_run_are_freed(double: Control, encoder: Open) -> None:
    with encoder() as session:
        kept = [session.run({"image": image(0)}, keep=["image_embedding"]) for _ in range(12)]
        many = len(double.device.allocations)
        for outputs in kept:
            array = outputs["image_embedding"]
            assert isinstance(array, DeviceArray)
            array.release()
        session.run({"image": image(0)})
        assert len(double.device.allocations) == many - 8


def test_a_run_is_over_when_it_returns(double: Control, encoder: Open) -> None:
    with encoder() as session:
        outputs = session.run({"image": image(1)}, keep=["image_embedding"])
        kept = outputs.pop("image_embedding")
        assert isinstance(kept, DeviceArray)
        assert kept.stream is None
        assert kept.__cuda_array_interface__["stream"] is None
        assert not any(stream.queue for stream in double.device.streams.values())
        np.testing.assert_array_equal(kept.numpy(), encode(image(1)))
        kept.release()


def test_a_session_has_read_what_it_was_fed_when_it_returns(
    double: Control, encoder: Open, decoder: Open
) -> None:
    """Even where all its outputs stay: the memory of the feed may be written the moment after."""
    points = prompts(1, 2)
    with encoder() as first, decoder() as second:
        kept = first.run({"image": image(1)}, keep=["image_embedding"])["image_embedding"]
        assert isinstance(kept, DeviceArray)
        masks = second.run({"image_embedding": kept, **points}, keep=["mask_logits", "iou"])
        place = kept.pointer
        kept.release()
        later = first.run({"image": image(2)}, keep=["image_embedding"])["image_embedding"]
        assert isinstance(later, DeviceArray)
        assert later.pointer == place
        np.testing.assert_array_equal(later.numpy(), encode(image(2)))
        expected = decode(encode(image(1)), points)
        np.testing.assert_allclose(_host(masks["mask_logits"]), expected, rtol=1e-5)
        later.release()
        masks.clear()


def test_a_view_that_is_not_aligned_is_copied_on_the_device(
    double: Control, encoder: Open, decoder: Open
) -> None:
    with encoder() as first, decoder() as second:
        pixels = image(5, 4)
        kept = first.run({"image": pixels}, keep=["image_embedding"])["image_embedding"]
        assert isinstance(kept, DeviceArray)
        shifted = DeviceArray(
            kept.pointer + 4, (1, 3, 8, 8), "float32", free=list, read=None, stream=kept.stream
        )
        found = second.run({"image_embedding": shifted, **prompts(1, 2)})["mask_logits"]
        moved = encode(pixels).ravel()[1 : 1 + 192].reshape(1, 3, 8, 8)
        np.testing.assert_allclose(found, decode(moved, prompts(1, 2)), rtol=1e-5)
        rows = kept.rows(2, 3)
        found = second.run({"image_embedding": rows, **prompts(1, 2)})["mask_logits"]
        np.testing.assert_allclose(found, decode(encode(pixels[2:3]), prompts(1, 2)), rtol=1e-5)
        kept.release()
        rows.release()


class Foreign:
    """An array of another library, written on a stream of its own that nobody waited for."""

    def __init__(self, array: NDArray[Any], **interface: Any) -> None:
        self.cuda = Cuda.load()
        self.stream = self.cuda.create_stream()
        self.pointer = self.cuda.allocate(array.nbytes, "a test")
        self.source = array  # page-locked, so that the copy really runs late
        self.pinned = self.cuda.allocate_pinned(array.nbytes, "a test")
        np.frombuffer(_memory(self.pinned, array.nbytes), array.dtype)[:] = array.ravel()
        self.cuda.copy(self.pointer, self.pinned, array.nbytes, "HostToDevice", self.stream)
        self.interface = {
            "shape": array.shape,
            "typestr": array.dtype.str,
            "data": (self.pointer, False),
            "strides": None,
            "stream": self.stream,
            "version": 3,
            **interface,
        }

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return self.interface

    def close(self) -> None:
        """Give everything back."""
        self.cuda.synchronize(self.stream)
        self.cuda.free(self.pointer)
        self.cuda.free_pinned(self.pinned)
        self.cuda.destroy_stream(self.stream)


def _memory(pointer: int, nbytes: int) -> Any:
    import ctypes

    return (ctypes.c_char * nbytes).from_address(pointer)


def test_arrays_of_other_libraries_are_waited_for(double: Control, decoder: Open) -> None:
    embedding = encode(image(3))
    foreign = Foreign(embedding)
    with decoder() as session:
        found = session.run({"image_embedding": foreign, **prompts(2, 4)})["mask_logits"]
    np.testing.assert_allclose(found, decode(embedding, prompts(2, 4)), rtol=1e-5)
    assert double.device.copies.get("device-device", 0) == 0
    foreign.close()


@pytest.mark.parametrize(
    ("interface", "message"),
    [
        ({"typestr": "<f8"}, "input image_embedding: expected a float32 array, found float64"),
        ({"shape": (1, 3, 8, 4)}, "expected 8 in"),
        ({"strides": (768, 4, 96, 12)}, "expected a C-contiguous device array"),
        ({"mask": 1}, "without a mask"),
        ({"shape": 7}, "expected a CUDA array interface with shape"),
    ],
)
def test_wrong_arrays_of_other_libraries(
    double: Control, decoder: Open, interface: dict[str, Any], message: str
) -> None:
    foreign = Foreign(encode(image(3)), **interface)
    with decoder() as session, pytest.raises(BackendError, match=message):
        session.run({"image_embedding": foreign, **prompts(2, 4)})
    foreign.close()


def test_host_memory_that_claims_to_be_the_devices(double: Control, decoder: Open) -> None:
    array = encode(image(3))
    foreign = Foreign(array, data=(array.ctypes.data, False))
    with decoder() as session:
        with pytest.raises(BackendError, match="image_embedding: expected .* found no device mem"):
            session.run({"image_embedding": foreign, **prompts(2, 4)})
        feeds = {"image_embedding": array, **prompts(2, 4)}
        found = session.run(feeds)["mask_logits"]  # and it goes on working
    np.testing.assert_allclose(found, decode(array, prompts(2, 4)), rtol=1e-5)
    foreign.close()


def test_memory_that_was_freed(double: Control, decoder: Open) -> None:
    foreign = Foreign(encode(image(3)))
    foreign.close()
    with decoder() as session, pytest.raises(BackendError, match="found no device memory"):
        session.run({"image_embedding": foreign, **prompts(2, 4)})


def test_memory_of_another_device(
    double: Control, decoder: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = Foreign(encode(image(3)))
    monkeypatch.setattr(Cuda, "home_of", lambda self, pointer: 1)
    with decoder() as session, pytest.raises(BackendError, match="found memory of the device 1"):
        session.run({"image_embedding": foreign, **prompts(2, 4)})
    foreign.close()


def test_a_released_array_is_refused(double: Control, encoder: Open, decoder: Open) -> None:
    with encoder() as first, decoder() as second:
        kept = first.run({"image": image(1)}, keep=["image_embedding"])["image_embedding"]
        assert isinstance(kept, DeviceArray)
        kept.release()
        with pytest.raises(BackendError, match="found one that was released"):
            second.run({"image_embedding": kept, **prompts(2, 4)})


@pytest.mark.parametrize(("batch", "found"), [(5, r"\[5, 8, 8, 3\]"), (0, r"\[0, 8, 8, 3\]")])
def test_shapes_outside_the_profile_name_it(
    every_release: Control, encoder: Open, batch: int, found: str
) -> None:
    message = rf"input image: expected \[1..4, 8, 8, 3\] as the profile .* found {found}"
    with encoder() as session:
        with pytest.raises(BackendError, match=message):
            session.run({"image": image(0, batch)})
        assert session.run({"image": image(0)})["image_embedding"].shape == (1, 3, 8, 8)


def test_the_profiles_bounds_can_be_asked(double: Control, decoder: Open) -> None:
    with decoder() as session:
        assert session.greatest == {
            "image_embedding": (1, 3, 8, 8),
            "point_coords": (PROMPTS_PER_CALL, POINTS_PER_PROMPT, 2),
            "point_labels": (PROMPTS_PER_CALL, POINTS_PER_PROMPT),
        }


def test_a_second_close_and_a_use_after_it(double: Control, encoder: Open) -> None:
    session = encoder()
    session.run({"image": image(0)})
    session.close()
    assert not double.device.leaks()
    session.close()
    with pytest.raises(BackendError, match="is closed"):
        session.run({"image": image(0)})


def _host(array: Any) -> NDArray[Any]:
    assert isinstance(array, DeviceArray)
    return array.numpy()
