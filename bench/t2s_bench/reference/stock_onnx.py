"""Stock exports: original modules through ``torch.onnx.export`` as they are, on ONNX Runtime.

SAM's decoder goes through segment_anything's own ``SamOnnxModel``, which takes one prompt in a
call. It is exported with all four masks, because the single one that it would choose for a bare
box is another than the reference's mask 0.
"""

from __future__ import annotations

import copy
import importlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from t2s_bench.models.graphs import open_graph
from t2s_bench.reference.race_parts import OriginalClip
from t2s_rt.contracts import OPSET

__all__ = ["StockClip", "stock_predictor"]


def stock_predictor(package: Any, sam: Any, folder: Path, threads: int) -> Any:
    """A SamPredictor whose encoder and decoder are stock exports.

    Args:
        package: segment_anything.
        sam: its model.
        folder: where the files go.
        threads: of the sessions.
    """
    size = sam.image_encoder.img_size
    encoder = folder / "stock_encoder.onnx"
    _export(sam.image_encoder, (torch.randn(1, 3, size, size),), encoder, ["image"], ["embedding"])
    decoder = _export_decoder(sam, folder / "stock_decoder.onnx")
    model = copy.copy(sam)
    model._modules = {**sam._modules, "image_encoder": _Encoder(encoder, size, threads)}
    session = open_graph(decoder, threads)

    class StockPredictor(package.SamPredictor):  # type: ignore[misc]  # the package has no types
        """Decodes prompt by prompt, as the official export does."""

        def predict_torch(
            self,
            point_coords: Tensor | None,
            point_labels: Tensor | None,
            boxes: Tensor | None = None,
            mask_input: None = None,
            multimask_output: bool = True,
            return_logits: bool = False,
        ) -> tuple[Tensor, Tensor, Tensor]:
            coords, labels = _prompts(point_coords, point_labels, boxes)
            chosen = slice(1, None) if multimask_output else slice(0, 1)
            found = [
                self._decode(coords[i : i + 1], labels[i : i + 1], chosen)
                for i in range(len(coords))
            ]
            masks, iou, low = (
                torch.from_numpy(np.concatenate(part)) for part in zip(*found, strict=True)
            )
            return (masks if return_logits else masks > model.mask_threshold), iou, low

        def _decode(
            self, coords: NDArray[np.float32], labels: NDArray[np.float32], chosen: slice
        ) -> tuple[NDArray[np.float32], ...]:
            low = 4 * self.features.shape[-1]
            outputs = session.run(
                None,
                {
                    "image_embeddings": self.features.numpy(),
                    "point_coords": coords,
                    "point_labels": labels,
                    "mask_input": np.zeros((1, 1, low, low), np.float32),
                    "has_mask_input": np.zeros(1, np.float32),
                    "orig_im_size": np.array(self.original_size, np.float32),
                },
            )
            return tuple(output[:, chosen] for output in outputs)

    return StockPredictor(model)


def _prompts(
    coords: Tensor | None, labels: Tensor | None, boxes: Tensor | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Prompts as the official export takes them: a box as two points, points with a pad point."""
    if boxes is not None:
        corners = boxes.reshape(-1, 2, 2).numpy().astype(np.float32)
        return corners, np.tile(np.array([2.0, 3.0], np.float32), (len(corners), 1))
    assert coords is not None and labels is not None  # a prompt is boxes or points
    given = coords.numpy().astype(np.float32), labels.numpy().astype(np.float32)
    return (
        np.pad(given[0], ((0, 0), (0, 1), (0, 0))),
        np.pad(given[1], ((0, 0), (0, 1)), constant_values=-1.0),
    )


class _Encoder(nn.Module):
    """An image encoder's file where the module was."""

    def __init__(self, path: Path, img_size: int, threads: int) -> None:
        super().__init__()
        self.img_size, self._session = img_size, open_graph(path, threads)

    def forward(self, image: Tensor) -> Tensor:
        return torch.from_numpy(self._session.run(None, {"image": image.numpy()})[0])


def _export_decoder(sam: Any, path: Path) -> Path:
    """SAM's decoder by the package's own module, with the official script's inputs and axes."""
    module: Any = importlib.import_module("segment_anything.utils.onnx")
    grid, channels = sam.prompt_encoder.image_embedding_size, sam.prompt_encoder.embed_dim
    low = 4 * grid[0]
    example = (
        torch.randn(1, channels, *grid),
        torch.randint(0, 1024, (1, 5, 2)).float(),
        torch.randint(0, 4, (1, 5)).float(),
        torch.randn(1, 1, low, low),
        torch.tensor([1.0]),
        torch.tensor([float(sam.image_encoder.img_size)] * 2),  # tracing makes it a constant
    )
    names = [
        "image_embeddings", "point_coords", "point_labels", "mask_input", "has_mask_input",
        "orig_im_size",
    ]  # fmt: skip
    axes = {"point_coords": {1: "num_points"}, "point_labels": {1: "num_points"}}
    outputs = ["masks", "iou_predictions", "low_res_masks"]
    _export(module.SamOnnxModel(sam, return_single_mask=False), example, path, names, outputs, axes)
    return path


class StockClip:
    """CLIP's towers as stock exports.

    Args:
        part: open_clip's model, whose methods are exported.
        folder: where the files go.
        threads: of the sessions.
    """

    def __init__(self, part: OriginalClip, folder: Path, threads: int) -> None:
        self.image_size, self.crop_size = part.image_size, part.crop_size
        side, length = part.image_size, part.model.context_length
        examples = {
            "tokens": torch.zeros(1, side, side, 3, dtype=torch.uint8),
            "embed": torch.zeros(2, side, side, 3, dtype=torch.uint8),
            "encode_text": torch.ones(2, length, dtype=torch.int64),
        }
        self._sessions = {}
        for name, example in examples.items():
            path = folder / f"stock_{name}.onnx"
            axes = {} if name == "tokens" else {"x": {0: "n"}, "y": {0: "n"}}
            _export(_Method(part.model, getattr(part, name)), (example,), path, ["x"], ["y"], axes)
            self._sessions[name] = open_graph(path, threads)

    def _run(self, name: str, x: Tensor) -> Tensor:
        return torch.from_numpy(self._sessions[name].run(None, {"x": x.numpy()})[0])

    def encode_text(self, ids: Tensor) -> Tensor:
        """Embeddings ``[N, D]``."""
        return self._run("encode_text", ids)

    def tokens(self, image: Tensor) -> Tensor:
        """Projected tokens ``[1, 1 + n, D]``."""
        return self._run("tokens", image)

    def embed(self, crops: Tensor) -> Tensor:
        """Class embeddings ``[N, D]``."""
        return self._run("embed", crops)


class _Method(nn.Module):
    """A method of a module as a module, for the exporter."""

    def __init__(self, owner: nn.Module, method: Any) -> None:
        super().__init__()
        self.owner, self._method = owner, method

    def forward(self, x: Tensor) -> Any:
        return self._method(x)


def _export(
    module: nn.Module,
    example: tuple[Tensor, ...],
    path: Path,
    inputs: list[str],
    outputs: list[str],
    axes: dict[str, dict[int, str]] | None = None,
) -> None:
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # it has no ONNX form
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module.eval(),
                example,
                str(path),
                dynamo=False,
                opset_version=OPSET,
                input_names=inputs,
                output_names=outputs,
                dynamic_axes=axes or {},
            )
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
