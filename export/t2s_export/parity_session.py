"""A graph file on ONNX Runtime's CPU provider, for comparisons; it can tell what its TopK chose."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from t2s_export.parity_cases import Case

__all__ = ["ParitySession"]


class ParitySession:
    """An open session; a context manager.

    Args:
        path: the ONNX file.
        watch_choice: give the indices of the graph's TopK too, for a reference that follows
            them. The file itself stays as it is.

    Attributes:
        choice: int64 ``[B, Q]`` of the last run, None without a TopK or unless watched.
    """

    def __init__(self, path: Path, watch_choice: bool = False) -> None:
        self.choice: torch.Tensor | None = None
        self._copy: Path | None = None
        self._watched: str | None = None
        if watch_choice:
            self._copy, self._watched = _with_choice(path)
        try:
            self._session = _open(self._copy or path)
        except BaseException:
            self._remove_copy()
            raise

    def run(self, case: Case) -> dict[str, NDArray[np.generic]]:
        """The graph's outputs by name."""
        names = [output.name for output in self._session.get_outputs()]
        feeds = {name: tensor.numpy() for name, tensor in case.feeds.items()}
        found = dict(zip(names, self._session.run(None, feeds), strict=True))
        if self._watched is not None:
            self.choice = torch.from_numpy(found.pop(self._watched))
        return found

    def __enter__(self) -> ParitySession:
        """Return the session."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove what was written for it."""
        del self._session
        self._remove_copy()

    def _remove_copy(self) -> None:
        if self._copy is not None:
            self._copy.unlink(missing_ok=True)


def _with_choice(path: Path) -> tuple[Path | None, str | None]:
    """A copy beside the file, where its external data is found, with one output more."""
    model = onnx.load(path, load_external_data=False)
    indices = [node.output[1] for node in model.graph.node if node.op_type == "TopK"]
    if len(indices) != 1:
        return None, None
    (name,) = indices
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    handle, copy = tempfile.mkstemp(prefix=".parity-", suffix=".onnx", dir=path.parent)
    os.close(handle)
    onnx.save(model, copy)
    return Path(copy), name


def _open(path: Path) -> Any:
    """A CPU session that keeps to itself: few threads, no spinning beside torch."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.enable_mem_pattern = False  # it plans a second arena beside the first
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
