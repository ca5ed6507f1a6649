"""The tensors of a TorchScript archive, without TorchScript.

An archive is a zip of code, of one pickle that describes the module, and of raw storages.
``torch.jit.load`` compiles the code and runs every ``__setstate__`` in it, which can write files.
Here the pickle is read by an unpickler that imports nothing: every name in it becomes an inert
record, but for the few that describe tensors. The storages are mapped from the file, not copied.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = ["is_torchscript", "read_torchscript"]

_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_LOCAL_HEADER, _NAME_LENGTH, _EXTRA_LENGTH = 30, 26, 28
"""Of a zip member, in bytes: the fixed part before its name, and where it holds two lengths."""
_MOST_TENSORS = 100_000
"""Far more than any model has; an archive could name one module in endlessly many ways."""


def is_torchscript(path: Path) -> bool:
    """Whether a zip file holds code and constants beside the pickle.

    Raises:
        zipfile.BadZipFile: it is no whole zip file.
    """
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """The tensors of an archive by attribute path, mapped from the file, in their stored types.

    Raises:
        pickle.UnpicklingError: the description of the module is not one of tensors and modules.
        RuntimeError, ValueError, zipfile.BadZipFile: the archive is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        described = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(described) != 1:
            raise ValueError(f"expected one data.pkl in the archive, found {len(described)}")
        storages = _Storages(path, archive, described[0].removesuffix("data.pkl"))
        module = _Unpickler(archive.read(described[0]), storages).load()
        tensors: dict[str, Tensor] = {}
        _collect(module, "", tensors, ())
    return tensors


class _Record:
    """What stands for every class and function that a pickle names: it keeps its state only."""

    def __new__(cls, *arguments: Any, **keywords: Any) -> _Record:
        return super().__new__(cls)

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Storages:
    """Storages of an archive, as views of one mapping of the file."""

    def __init__(self, path: Path, archive: zipfile.ZipFile, prefix: str) -> None:
        byteorder = prefix + "byteorder"
        if byteorder in archive.namelist() and archive.read(byteorder) != b"little":
            raise ValueError("the archive was written on a big-endian machine")
        self._path, self._archive, self._prefix = path, archive, prefix
        self._file = torch.UntypedStorage.from_file(str(path), False, path.stat().st_size)

    def find(self, kind: Any, key: Any) -> tuple[torch.UntypedStorage, torch.dtype]:
        """One storage and its element type."""
        dtype = kind if isinstance(kind, torch.dtype) else None
        if dtype is None:
            raise pickle.UnpicklingError("a tensor has an element type that is not known")
        try:
            record = self._archive.getinfo(f"{self._prefix}data/{key}")
        except KeyError as cause:
            raise ValueError(f"the data of a tensor are missing from the archive: {key}") from cause
        if record.compress_type != zipfile.ZIP_STORED:
            raise ValueError("the data of a tensor are compressed")
        with self._path.open("rb") as file:
            file.seek(record.header_offset)
            header = file.read(_LOCAL_HEADER)
        lengths = (
            int.from_bytes(header[start : start + 2], "little")
            for start in (_NAME_LENGTH, _EXTRA_LENGTH)
        )
        first = record.header_offset + _LOCAL_HEADER + sum(lengths)
        last = first + record.file_size
        if last > self._file.nbytes():
            raise ValueError("the data of a tensor reach beyond the end of the file")
        return self._file[first:last], dtype


class _Unpickler(pickle.Unpickler):
    """An unpickler that never imports what a pickle names."""

    def __init__(self, data: bytes, storages: _Storages) -> None:
        super().__init__(io.BytesIO(data))
        self._storages = storages

    def find_class(self, module: str, name: str) -> Any:
        """The few names that describe tensors; an inert record for all others."""
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        return _Record

    def persistent_load(self, pid: Any) -> Any:
        """A storage: ("storage", its type, its key, device, elements)."""
        if not (isinstance(pid, tuple) and len(pid) == 5 and pid[0] == "storage"):
            raise pickle.UnpicklingError("a reference to something that is no storage")
        return self._storages.find(pid[1], pid[2])


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *unused: Any) -> Tensor:
    """A tensor over a storage; torch checks that it lies within."""
    data, dtype = storage
    return torch.empty(0, dtype=dtype).set_(data, offset, size, stride)


def _collect(value: Any, path: str, found: dict[str, Tensor], within: tuple[int, ...]) -> None:
    """Gather the tensors below a record, but for those that contain themselves."""
    if isinstance(value, Tensor):
        found[path] = value
        if len(found) > _MOST_TENSORS:
            raise ValueError(f"the archive holds more than {_MOST_TENSORS} tensors")
    elif isinstance(value, _Record) and isinstance(value.state, dict) and id(value) not in within:
        for name, child in value.state.items():
            _collect(child, f"{path}.{name}" if path else str(name), found, (*within, id(value)))
