"""Device arrays: one owner, the interface's words, and memory that is freed once and in time."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from tests.runtime.backends.foreign import Foreign

from t2s_rt.backends import DeviceArray, fake_device_array, is_device_array
from t2s_rt.errors import BackendError

VALUES = np.arange(12, dtype=np.float32).reshape(3, 4)


def counted() -> tuple[DeviceArray, list[str]]:
    """An array over a copy of VALUES, and a list that grows when its memory is freed."""
    inner, freed = fake_device_array(VALUES), []

    def free(keep: list[DeviceArray] = [inner]) -> None:  # noqa: B006
        freed.append("freed")
        keep.clear()

    array = DeviceArray(
        inner.pointer, inner.shape, inner.dtype, free=free, read=inner._read, stream=5
    )
    return array, freed


def test_the_interface_says_what_others_need() -> None:
    array, _ = counted()
    assert array.__cuda_array_interface__ == {
        "shape": (3, 4),
        "typestr": "<f4",
        "data": (array.pointer, False),
        "strides": None,
        "stream": 5,
        "version": 3,
    }
    assert array.nbytes == 48
    array.stream = 0  # which the interface forbids: it is one of two default streams
    assert array.__cuda_array_interface__["stream"] == 1
    assert is_device_array(array)
    assert not is_device_array(VALUES)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32", "bool"])
def test_every_type_comes_back(dtype: str) -> None:
    values = (VALUES % 2).astype(dtype)
    array = fake_device_array(values)
    np.testing.assert_array_equal(array.numpy(), values)
    assert array.numpy().dtype == dtype
    assert np.dtype(array.__cuda_array_interface__["typestr"]) == dtype


def test_an_empty_array_has_the_address_zero() -> None:
    array = fake_device_array(np.zeros((0, 4), np.float32))
    assert array.__cuda_array_interface__["data"] == (0, False)
    assert array.numpy().shape == (0, 4)


def test_memory_in_the_host_has_no_interface() -> None:
    array = DeviceArray(8, (1,), np.uint8, free=lambda: None, read=None, device="cpu")
    assert not hasattr(array, "__cuda_array_interface__")
    assert is_device_array(array)


def test_release_frees_once_and_ends_all_use() -> None:
    array, freed = counted()
    array.release()
    array.release()
    assert freed == ["freed"]
    assert array.released
    for use in (array.numpy, lambda: array.pointer, lambda: array.rows(0, 1)):
        with pytest.raises(BackendError, match="was released"):
            use()
    assert repr(array) == "<DeviceArray float32 [3, 4] released>"


def test_the_end_of_a_block_and_the_collector_free_too() -> None:
    array, freed = counted()
    with array:
        assert array.numpy()[0, 1] == 1
    assert freed == ["freed"]
    array, freed = counted()
    del array
    gc.collect()
    assert freed == ["freed"]


def test_a_reader_delays_the_release() -> None:
    array, freed = counted()
    with array.borrowed() as pointer:
        array.release()
        assert not freed
        assert pointer
    assert freed == ["freed"]


def test_rows_are_views_that_keep_the_whole_alive() -> None:
    array, freed = counted()
    rows = array.rows(1, 3)
    np.testing.assert_array_equal(rows.numpy(), VALUES[1:])
    np.testing.assert_array_equal(rows.rows(1, 2).numpy(), VALUES[2:])
    assert rows.stream == 5
    array.release()
    assert not freed
    np.testing.assert_array_equal(rows.numpy(), VALUES[1:])
    rows.release()
    assert freed == ["freed"]
    with pytest.raises(BackendError, match="expected rows of 2, found 1 to 3"):
        fake_device_array(VALUES[:2]).rows(1, 3)


def test_wrapping_keeps_the_other_librarys_memory_and_lets_it_go() -> None:
    foreign = Foreign(VALUES.copy(), stream=7)
    wrapped = DeviceArray.wrap(foreign)
    assert (wrapped.shape, wrapped.dtype.name, wrapped.stream) == ((3, 4), "float32", 7)
    assert wrapped.pointer == foreign.array.ctypes.data
    with pytest.raises(BackendError, match="copy it to the host with that library"):
        wrapped.numpy()
    assert DeviceArray.wrap(wrapped) is wrapped


def test_axes_of_one_may_have_any_stride() -> None:
    foreign = Foreign(VALUES.reshape(3, 1, 4))
    foreign.__cuda_array_interface__["strides"] = (16, 999, 4)
    assert DeviceArray.wrap(foreign).shape == (3, 1, 4)
    foreign.__cuda_array_interface__["strides"] = (4, 999, 16)
    with pytest.raises(BackendError, match="C-contiguous"):
        DeviceArray.wrap(foreign)
