"""The names of Grounding DINO's tensors in official and in transformers' files.

Our parameters carry the official names. What the files hold beyond them:

* *dropped*: ``relative_position_index`` and ``position_ids`` (constants), ``label_enc`` (a training
  aid), ``bert.pooler``, ``class_embed`` and the last norm of transformers' Swin (never used);
* *aliases*: the decoder layers share one box head, which the official files hold once per layer
  and again under ``transformer.decoder.bbox_embed``. We keep ``bbox_embed.0``.

transformers stores query, key and value apart where the original has one matrix. The names of its
Swin changed with its release 5, which still writes and publishes the older ones: both are read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from t2s_export.architectures.naming import Place, Rules, rename
from t2s_rt.errors import UsageError

__all__ = ["from_official", "official_place", "transformers_place"]

_DROPPED = re.compile(
    r"relative_position_index$|^label_enc\.|^bert\.pooler\.|position_ids$|class_embed\."
)
_ALIAS = re.compile(r"^(?:transformer\.decoder\.)?bbox_embed\.\d+\.")

_SWIN = r"^model\.backbone\.conv_encoder\.model\.(?:swin\.)?"
_BLOCK = r"^(backbone\.0\.layers\.\d+\.blocks\.\d+\.)"
_LAYER = r"^model\.encoder\.layers\.(\d+)\."
_DEFORMABLE, _TEXT, _FUSION = (
    _LAYER + part for part in (r"deformable_layer\.", r"text_enhancer_layer\.", r"fusion_layer\.")
)
_DECODER = r"^model\.decoder\.layers\.(\d+)\."
_OURS = r"transformer.encoder."
_OUR_DECODER = r"transformer.decoder.layers.\1."
_FROM_TRANSFORMERS: Rules = (
    (_SWIN + r"embeddings\.patch_embeddings\.projection\.", "backbone.0.patch_embed.proj."),
    (_SWIN + r"embeddings\.norm\.", "backbone.0.patch_embed.norm."),
    # stage1 is the patch embedding's output, so its stage2 is our stage 1
    (_SWIN + r"hidden_states_norms\.stage2\.", "backbone.0.norm1."),
    (_SWIN + r"hidden_states_norms\.stage3\.", "backbone.0.norm2."),
    (_SWIN + r"hidden_states_norms\.stage4\.", "backbone.0.norm3."),
    (_SWIN + r"encoder\.layers\.", "backbone.0.layers."),
    (_BLOCK + r"layernorm_before\.", r"\1norm1."),
    (_BLOCK + r"layernorm_after\.", r"\1norm2."),
    (
        _BLOCK + r"attention\.(?:self|relative_position_bias)\.relative_position_bias_table$",
        r"\1attn.relative_position_bias_table",
    ),
    (_BLOCK + r"attention\.(?:output\.dense|o_proj)\.", r"\1attn.proj."),
    (_BLOCK + r"attention\.self\.(query|key|value)\.", r"\1attn.\2."),
    (_BLOCK + r"attention\.q_proj\.", r"\1attn.query."),
    (_BLOCK + r"attention\.k_proj\.", r"\1attn.key."),
    (_BLOCK + r"attention\.v_proj\.", r"\1attn.value."),
    (_BLOCK + r"intermediate\.dense\.", r"\1mlp.fc1."),
    (_BLOCK + r"output\.dense\.", r"\1mlp.fc2."),
    (r"^model\.input_proj_vision\.", "input_proj."),
    (r"^model\.text_projection\.", "feat_map."),
    (r"^model\.text_backbone\.", "bert."),
    (r"^model\.level_embed$", "transformer.level_embed"),
    (r"^model\.query_position_embeddings\.", "transformer.tgt_embed."),
    (r"^model\.(enc_output|enc_output_norm)\.", r"transformer.\1."),
    (r"^model\.encoder_output_bbox_embed\.", "transformer.enc_out_bbox_embed."),
    (r"^model\.decoder\.layer_norm\.", "transformer.decoder.norm."),
    (r"^model\.decoder\.reference_points_head\.", "transformer.decoder.ref_point_head."),
    (r"^model\.decoder\.bbox_embed\.", "transformer.decoder.bbox_embed."),
    (_DEFORMABLE + r"self_attn_layer_norm\.", _OURS + r"layers.\1.norm1."),
    (_DEFORMABLE + r"final_layer_norm\.", _OURS + r"layers.\1.norm2."),
    (_DEFORMABLE + r"fc(\d)\.", _OURS + r"layers.\1.linear\2."),
    (_DEFORMABLE + r"self_attn\.", _OURS + r"layers.\1.self_attn."),
    (_TEXT + r"layer_norm_before\.", _OURS + r"text_layers.\1.norm1."),
    (_TEXT + r"layer_norm_after\.", _OURS + r"text_layers.\1.norm2."),
    (_TEXT + r"fc(\d)\.", _OURS + r"text_layers.\1.linear\2."),
    (_TEXT + r"self_attn\.", _OURS + r"text_layers.\1.self_attn."),
    (_FUSION + r"vision_param$", _OURS + r"fusion_layers.\1.gamma_v"),
    (_FUSION + r"text_param$", _OURS + r"fusion_layers.\1.gamma_l"),
    (_FUSION + r"layer_norm_vision\.", _OURS + r"fusion_layers.\1.layer_norm_v."),
    (_FUSION + r"layer_norm_text\.", _OURS + r"fusion_layers.\1.layer_norm_l."),
    (
        _FUSION + r"attn\.(values_|out_|)vision_proj\.",
        _OURS + r"fusion_layers.\1.attn.\2v_proj.",
    ),
    (_FUSION + r"attn\.(values_|out_|)text_proj\.", _OURS + r"fusion_layers.\1.attn.\2l_proj."),
    # the official numbers follow the order of the paper's figure, not that of the computation
    (_DECODER + r"encoder_attn_layer_norm\.", _OUR_DECODER + "norm1."),
    (_DECODER + r"self_attn_layer_norm\.", _OUR_DECODER + "norm2."),
    (_DECODER + r"final_layer_norm\.", _OUR_DECODER + "norm3."),
    (_DECODER + r"encoder_attn_text_layer_norm\.", _OUR_DECODER + "catext_norm."),
    (_DECODER + r"encoder_attn_text\.", _OUR_DECODER + "ca_text."),
    (_DECODER + r"encoder_attn\.", _OUR_DECODER + "cross_attn."),
    (_DECODER + r"fc(\d)\.", _OUR_DECODER + r"linear\2."),
    (_DECODER + r"self_attn\.", _OUR_DECODER + "self_attn."),
)
_UNUSED_NORM = re.compile(_SWIN + r"layernorm\.")
_SPLIT = re.compile(
    r"^((?:backbone|transformer)\..*)\.(attn|self_attn|ca_text)\.(query|key|value)\.(weight|bias)$"
)
_PARTS = ("query", "key", "value")


def official_place(stored: str) -> Place | None:
    """The place of a tensor stored under "model" in the official files."""
    return None if _DROPPED.search(stored) else Place(_ALIAS.sub("bbox_embed.0.", stored))


def transformers_place(stored: str) -> Place | None:
    """The place of a tensor that transformers' ``GroundingDinoForObjectDetection`` saved."""
    if _UNUSED_NORM.search(stored):
        return None
    name = rename(stored, _FROM_TRANSFORMERS)
    if split := _SPLIT.match(name):
        owner, module, part, kind = split.groups()
        joined = f"attn.qkv.{kind}" if module == "attn" else f"{module}.in_proj_{kind}"
        return Place(f"{owner}.{joined}", _PARTS.index(part), len(_PARTS))
    return official_place(name)


def from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Translate an official state dict to ours.

    Args:
        state: as stored under "model" in the official files, with or without the prefix
            ``module.`` of distributed training.

    Returns:
        what `GroundingDino.load_state_dict` takes.

    Raises:
        UsageError: the box heads of the decoder layers differ, so that one cannot stand for all.
    """
    result: dict[str, Tensor] = {}
    for stored, value in state.items():
        place = official_place(stored.removeprefix("module."))
        if place is None:
            continue
        known = result.setdefault(place.name, value)
        if known is not value and not _same(known, value):
            raise UsageError(
                f"expected all decoder layers to share one box head, but {stored!r} differs from "
                "the first layer's; this is no released Grounding DINO checkpoint"
            )
    return result


def _same(first: Tensor, second: Tensor) -> bool:
    if first.shape != second.shape:
        return False
    return first.is_meta or second.is_meta or torch.equal(first, second)
