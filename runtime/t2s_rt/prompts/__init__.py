"""Prompts: words in, prompt packs out."""

from __future__ import annotations

from t2s_rt.prompts.build import build_pack, pack_classes
from t2s_rt.prompts.caption import CaptionInputs, caption_inputs, join_caption
from t2s_rt.prompts.grammar import (
    MAX_CLASSES,
    PromptClass,
    check_classes,
    format_prompts,
    parse_prompts,
)
from t2s_rt.prompts.pack import PackClass, PromptPack
from t2s_rt.prompts.storage import (
    PACK_SCHEMA_VERSION,
    check_fingerprint,
    decode_pack,
    encode_pack,
    load_pack,
    load_pack_or_default,
    save_pack,
)

__all__ = [
    "MAX_CLASSES",
    "PACK_SCHEMA_VERSION",
    "CaptionInputs",
    "PackClass",
    "PromptClass",
    "PromptPack",
    "build_pack",
    "caption_inputs",
    "check_classes",
    "check_fingerprint",
    "decode_pack",
    "encode_pack",
    "format_prompts",
    "join_caption",
    "load_pack",
    "load_pack_or_default",
    "pack_classes",
    "parse_prompts",
    "save_pack",
]
