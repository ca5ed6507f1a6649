"""The names of Segment Anything's tensors in official and in transformers' files.

Our parameters carry the official names. Dropped, because no forward reads them:

* ``pixel_mean`` and ``pixel_std``, constants that some tools store along;
* ``image_encoder.norm_head`` and ``image_encoder.head`` of MobileSAM: the classifier that its
  TinyViT was first trained with;
* ``attention_bias_idxs`` and ``ab``: constants of TinyViT;
* ``num_batches_tracked``: a counter of training steps.
"""

from __future__ import annotations

import re

from t2s_export.architectures.naming import Place, Rules, rename

__all__ = ["official_place", "transformers_place"]

_DROPPED = re.compile(
    r"^pixel_(?:mean|std)$|^image_encoder\.(?:norm_head|head)\."
    r"|\.(?:attention_bias_idxs|ab|num_batches_tracked)$"
)
_MLP = r"(output_hypernetworks_mlps\.\d+|iou_prediction_head)"
_FROM_TRANSFORMERS: Rules = (
    # transformers stores the matrix once, or twice as its prompt encoder shares it
    (
        r"^(?:shared_image_embedding|prompt_encoder\.shared_embedding)\.positional_embedding$",
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
    ),
    (r"^vision_encoder\.patch_embed\.projection\.", "image_encoder.patch_embed.proj."),
    (r"^vision_encoder\.layers\.(\d+)\.layer_norm(\d)\.", r"image_encoder.blocks.\1.norm\2."),
    (r"^vision_encoder\.layers\.", "image_encoder.blocks."),
    (r"^vision_encoder\.neck\.conv1\.", "image_encoder.neck.0."),
    (r"^vision_encoder\.neck\.layer_norm1\.", "image_encoder.neck.1."),
    (r"^vision_encoder\.neck\.conv2\.", "image_encoder.neck.2."),
    (r"^vision_encoder\.neck\.layer_norm2\.", "image_encoder.neck.3."),
    (r"^vision_encoder\.", "image_encoder."),
    (r"^prompt_encoder\.mask_embed\.conv1\.", "prompt_encoder.mask_downscaling.0."),
    (r"^prompt_encoder\.mask_embed\.layer_norm1\.", "prompt_encoder.mask_downscaling.1."),
    (r"^prompt_encoder\.mask_embed\.conv2\.", "prompt_encoder.mask_downscaling.3."),
    (r"^prompt_encoder\.mask_embed\.layer_norm2\.", "prompt_encoder.mask_downscaling.4."),
    (r"^prompt_encoder\.mask_embed\.conv3\.", "prompt_encoder.mask_downscaling.6."),
    (r"^prompt_encoder\.point_embed\.", "prompt_encoder.point_embeddings."),
    (r"^(mask_decoder\.transformer\.layers\.\d+\.)layer_norm(\d)\.", r"\1norm\2."),
    (r"^(mask_decoder\.transformer\.)layer_norm_final_attn\.", r"\1norm_final_attn."),
    (r"^mask_decoder\.upscale_conv1\.", "mask_decoder.output_upscaling.0."),
    (r"^mask_decoder\.upscale_layer_norm\.", "mask_decoder.output_upscaling.1."),
    (r"^mask_decoder\.upscale_conv2\.", "mask_decoder.output_upscaling.3."),
    # three layers: theirs are called in, 0, out
    (rf"^mask_decoder\.{_MLP}\.layers\.0\.", r"mask_decoder.\1.layers.1."),
    (rf"^mask_decoder\.{_MLP}\.proj_in\.", r"mask_decoder.\1.layers.0."),
    (rf"^mask_decoder\.{_MLP}\.proj_out\.", r"mask_decoder.\1.layers.2."),
)


def official_place(stored: str) -> Place | None:
    """The place of a tensor of a ``.pth`` of segment_anything, or of MobileSAM's ``.pt``."""
    return None if _DROPPED.search(stored) else Place(stored)


def transformers_place(stored: str) -> Place | None:
    """The place of a tensor that transformers' ``SamModel`` saved."""
    return Place(rename(stored, _FROM_TRANSFORMERS))
