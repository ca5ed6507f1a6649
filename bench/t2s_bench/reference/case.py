"""One graph to prove: our module, its inputs, and what the original makes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from t2s_bench.reference.stages import Figures
from t2s_export.graphs.to_onnx import ExportedGraph, export_graph
from t2s_rt.contracts import Role

__all__ = ["Case", "Limit", "as_arrays", "seeded_image"]

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Limit:
    """How far an output may be off.

    Attributes:
        cosine: smallest cosine.
        max_abs: largest difference, or None where the cosine alone is demanded.
        half_cosine: smallest cosine of the fp16 graph with every fp16 value rounded.
    """

    cosine: float = 0.99999
    max_abs: float | None = None
    half_cosine: float = 0.999


@dataclass
class Case:
    """One graph of one model at full size.

    Attributes:
        graph: name in the record; the role unless a role is proven in two ways.
        role: the contract.
        module: our graph module; None once it was exported, so that its weights can go.
        example: what it is traced with.
        feeds: the inputs to compare on, by name.
        expected: the original's outputs for them, by name, cut to the contract's form.
        opponent: runs the original on the same inputs, in eager torch.
        what: the inputs in words.
        limits: by output.
        stages: figures of the torch modules, stage by stage.
        selected: the detector's proposals that the original kept, int64 ``[B, Q]``.
        scores: what the original ranked, ``[B, S]``.
    """

    graph: str
    role: Role
    module: nn.Module | None
    example: Mapping[str, Tensor]
    feeds: Arrays
    expected: Arrays
    opponent: Callable[[], object]
    what: str
    limits: Mapping[str, Limit]
    stages: Mapping[str, Figures] = field(default_factory=dict)
    selected: NDArray[Any] | None = None
    scores: NDArray[Any] | None = None

    def export(self) -> ExportedGraph:
        """Export the module and let go of it."""
        if self.module is None:
            raise RuntimeError(f"{self.graph} was exported before; its module is gone")
        exported = export_graph(self.role, self.module, self.example)
        self.module = None
        return exported


def as_arrays(tensors: Mapping[str, Tensor]) -> Arrays:
    """Tensors as numpy arrays, by name."""
    return {name: tensor.detach().numpy() for name, tensor in tensors.items()}


def seeded_image(size: int, batch: int, seed: int) -> Tensor:
    """Synthetic overhead scenes, uint8 ``[B, size, size, 3]`` RGB."""
    from t2s_export.parity_cases import scene_image

    images = [torch.from_numpy(scene_image((size, size), seed + row)) for row in range(batch)]
    return torch.stack(images)


def official_file(folder: Path, name: str, content: object) -> Path:
    """Write a checkpoint as its publisher stores it: a pickle of torch.save."""
    path = folder / name
    torch.save(content, path)
    return path
