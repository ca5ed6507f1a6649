"""Another library's device array, as far as a session can see; its memory is the host's."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray


class Foreign:
    """Speaks the CUDA array interface and nothing else.

    Args:
        array: the contents.
        spoilt: ``"mask"`` adds one, another word leaves that field out.
        stream: on which the contents are written.
    """

    def __init__(self, array: NDArray[Any], spoilt: str = "", stream: int | None = None) -> None:
        self.array = array
        self.__cuda_array_interface__: dict[str, Any] = {
            "shape": array.shape,
            "typestr": array.dtype.str,
            "data": (array.ctypes.data, False),
            "strides": None if array.flags.c_contiguous else array.strides,
            "stream": stream,
            "version": 3,
        }
        if spoilt == "mask":
            self.__cuda_array_interface__["mask"] = self
        else:
            self.__cuda_array_interface__.pop(spoilt, None)
