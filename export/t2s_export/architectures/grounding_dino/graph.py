"""The exported form of Grounding DINO: exactly the tensors of the contracts, constants folded."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from t2s_export.architectures.grounding_dino.deformable import DeformableAttention
from t2s_export.architectures.grounding_dino.folding import fold
from t2s_export.architectures.grounding_dino.geometry import FrameGeometry
from t2s_export.architectures.grounding_dino.model import GroundingDino, encode_text
from t2s_export.choices import DeformableForm

__all__ = ["FLOAT32_SCOPES", "DetectorGraph", "DetectorTextGraph"]

FLOAT32_SCOPES = ("sampling_grid", "box_refinement")
"""Module names whose nodes stay float32 in every precision, as parts of ONNX node names: boxes,
reference points and sampling places, which georeferenced output depends on."""


def _frozen_copy(model: GroundingDino) -> GroundingDino:
    copied = copy.deepcopy(model).eval()
    for parameter in copied.parameters():
        parameter.requires_grad_(False)
    return copied


class DetectorGraph(nn.Module):
    """The detector role: image and text features in, logits and boxes out.

    Works on a copy; the model given may train on. Batch and text length stay dynamic.

    Args:
        model: the trained detector.
        size: side of the square frame in pixels, or (height, width); multiples of 4.
        deformable: form of the deformable attention. ``grid_sample`` is one GridSample per level
            (opset 16 form); ``gather`` avoids that operator, which some TensorRT releases compute
            wrongly.

    Raises:
        UsageError: the size is no multiple of 4 or too small for the number of queries.
    """

    def __init__(
        self,
        model: GroundingDino,
        size: int | tuple[int, int],
        deformable: DeformableForm = "grid_sample",
    ) -> None:
        super().__init__()
        height, width = (size, size) if isinstance(size, int) else size
        self.model = _frozen_copy(model)
        device = model.feat_map.weight.device
        self.geometry = FrameGeometry(model.config, height, width).to(device)
        for module in self.model.modules():
            if isinstance(module, DeformableAttention):
                module.form = deformable
        fold(self.model, self.geometry)

    def forward(
        self,
        image: Tensor,
        text_features: Tensor,
        text_token_mask: Tensor,
        text_self_attention_mask: Tensor,
        position_ids: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Detect.

        Args:
            image: uint8 ``[B, H, W, 3]`` RGB.
            text_features: float32 ``[1, T, D]``.
            text_token_mask: bool ``[1, T]``, True for a real token.
            text_self_attention_mask: bool ``[1, T, T]``, True where a token may attend.
            position_ids: int32 ``[1, T]``.

        Returns:
            logits float32 ``[B, Q, T]``, about -1e4 for padding, and boxes float32 ``[B, Q, 4]``,
            cx cy w h in 0..1 of the frame.
        """
        text = self.model.text_inputs(
            text_features, text_token_mask, text_self_attention_mask, position_ids
        )
        _, layers = self.model.run(image, text, self.geometry, dense=False)
        logits, boxes = layers[-1]
        return logits.float(), boxes


class DetectorTextGraph(nn.Module):
    """The detector's text role: token ids in, text features out."""

    def __init__(self, model: GroundingDino) -> None:
        super().__init__()
        copied = _frozen_copy(model)
        self.bert, self.feat_map = copied.bert, copied.feat_map

    def forward(
        self, input_ids: Tensor, position_ids: Tensor, text_self_attention_mask: Tensor
    ) -> Tensor:
        """Encode a caption.

        Args:
            input_ids: int32 ``[1, T]``.
            position_ids: int32 ``[1, T]``.
            text_self_attention_mask: bool ``[1, T, T]``.

        Returns:
            text features float32 ``[1, T, D]``.
        """
        return encode_text(
            self.bert, self.feat_map, input_ids, position_ids, text_self_attention_mask
        )
