"""Prompt packs as files: safetensors, which runs no code, with JSON metadata.

Layout, version 1. Metadata holds one entry, ``t2s_prompt_pack``: a JSON object with
``schema_version``, ``bundle``, ``fingerprint``, ``classes``, ``caption``, ``special_ids``,
``templates``, ``logit_scale`` and ``other_words``. Tensors: ``token_ids`` i32 [T];
``text_features`` f32 [T, D]; ``clip`` f16 [M + O + 1, D], the phrases of all classes in order,
then the other words, then the empty text. Attention mask and position ids follow from token ids
and special ids, so they are not stored. CLIP's unit vectors lose nothing that matters as float16
(cosines move by less than 1e-4) and halve the file.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from t2s_rt.bundle import Bundle
from t2s_rt.bundle.fields import JsonObject, parse_json
from t2s_rt.errors import OutputError, PackError, UsageError
from t2s_rt.prompts.bank import KINDS, Kind
from t2s_rt.prompts.caption import caption_inputs
from t2s_rt.prompts.grammar import PromptClass, check_classes
from t2s_rt.prompts.pack import PackClass, PromptPack, unit_rows

__all__ = [
    "PACK_SCHEMA_VERSION",
    "decode_pack",
    "encode_pack",
    "load_pack",
    "load_pack_or_default",
    "save_pack",
]

PACK_SCHEMA_VERSION = 1
MAX_PACK_BYTES = 64 << 20

_KEY = "t2s_prompt_pack"
_DTYPES = {"I32": np.int32, "F32": np.float32, "F16": np.float16}
_TENSORS = {"token_ids": ("I32", 1), "text_features": ("F32", 2), "clip": ("F16", 2)}


def encode_pack(pack: PromptPack) -> bytes:
    """The bytes of a pack file."""
    from safetensors.numpy import save

    meta = {
        "schema_version": PACK_SCHEMA_VERSION,
        "bundle": pack.bundle_name,
        "fingerprint": pack.fingerprint,
        "caption": pack.caption,
        "special_ids": list(pack.special_ids),
        "templates": list(pack.templates),
        "logit_scale": pack.logit_scale,
        "other_words": list(pack.other_words),
        "classes": [
            {
                "name": item.name,
                "synonyms": list(item.synonyms),
                "asked": item.asked,
                "colour": list(item.colour),
                "kind": item.kind,
                "thresholds": dict(item.thresholds),
                "spans": [list(span) for span in pack.spans[index]] if pack.spans else [],
            }
            for index, item in enumerate(pack.classes)
        ],
    }
    clip = np.concatenate(
        (*pack.class_embeddings, pack.other_embeddings, pack.redundant_embedding[None])
    )
    tensors = {
        "token_ids": pack.token_ids,
        "text_features": pack.text_features[0],
        "clip": clip.astype(np.float16),
    }
    return save(tensors, {_KEY: json.dumps(meta, sort_keys=True, ensure_ascii=False)})


def decode_pack(data: bytes, where: str = "prompt pack") -> PromptPack:
    """A pack from the bytes of its file, whatever bytes they are.

    Raises:
        PackError: the bytes are no pack of this version, or contradict themselves.
    """
    meta, tensors = _open(data, where)
    meta.schema_version(PACK_SCHEMA_VERSION, "make the pack again with t2s-rt prompts")
    classes, spans = _classes(meta, where)
    other = meta.texts("other_words")
    ids = tensors["token_ids"]
    special = meta.items("special_ids", 16)
    if any(type(i) is not int or not 0 <= i < 2**31 for i in special):
        meta.fail("token ids", special, "special_ids")
    if ids.size > 4096:
        raise PackError(f"{where}: expected at most 4096 tokens, found {ids.size}")
    masks = caption_inputs(ids, special)
    counts = [len(item.phrases) for item in classes]
    rows = len(tensors["clip"])
    if rows != sum(counts) + len(other) + 1:
        raise PackError(
            f"{where}: expected {sum(counts) + len(other) + 1} CLIP embeddings, found {rows}"
        )
    if not np.isfinite(tensors["clip"]).all():
        raise PackError(f"{where}, clip: expected finite numbers, found NaN or infinity")
    clip = unit_rows(tensors["clip"])
    parts = np.split(clip[:-1], np.cumsum(counts))
    return PromptPack(
        classes=classes,
        bundle_name=meta.text("bundle"),
        fingerprint=meta.text("fingerprint", "[0-9a-f]{64}"),
        caption=meta.text("caption", limit=1 << 20),
        token_ids=ids,
        special_ids=tuple(special),
        spans=spans if ids.size else (),
        text_features=tensors["text_features"][None],
        text_token_mask=masks.text_token_mask,
        text_self_attention_mask=masks.self_attention_mask,
        position_ids=masks.position_ids,
        class_embeddings=tuple(parts[:-1]),
        other_words=other,
        other_embeddings=parts[-1],
        redundant_embedding=clip[-1],
        templates=meta.texts("templates"),
        logit_scale=meta.number("logit_scale", 1e-3, 1e4),
    )


def save_pack(pack: PromptPack, path: str | Path) -> int:
    """Write a pack whole or not at all; returns its size in bytes.

    Raises:
        OutputError: the file cannot be written.
    """
    data = encode_pack(pack)
    target = Path(path)
    try:
        handle, name = tempfile.mkstemp(prefix=".pack-", suffix=".part", dir=target.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
            os.chmod(name, 0o644)  # mkstemp makes files for their owner only
            os.replace(name, target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except (OSError, ValueError) as error:
        raise OutputError(f"{target}: the prompt pack cannot be written ({error})") from error
    return len(data)


def load_pack_or_default(path: str | Path | None, bundle: Bundle) -> PromptPack:
    """A pack for a bundle; its own where none is named.

    Raises:
        PackError: no readable pack, or one for other text encoders.
        UsageError: none is named, and the bundle has none.
    """
    chosen = path or bundle.default_pack
    if chosen is None:
        raise UsageError(
            f"bundle {bundle.name} has no default classes; name a prompt pack with --pack"
        )
    return load_pack(chosen, bundle)


def load_pack(path: str | Path, bundle: Bundle | None = None) -> PromptPack:
    """Read a pack; loads no text encoder and no tokenizer.

    Args:
        path: the file.
        bundle: refuse the pack unless it was made for this bundle's text encoders; None reads
            any pack, for showing it.

    Raises:
        PackError: no readable pack, or one for other text encoders.
    """
    try:
        with open(path, "rb") as stream:
            data = stream.read(MAX_PACK_BYTES + 1)
    except (OSError, ValueError) as error:
        raise PackError(
            f"{path}: expected a prompt pack, but it cannot be read ({error}); "
            "t2s-rt prompts makes one"
        ) from error
    if len(data) > MAX_PACK_BYTES:
        raise PackError(f"{path}: expected a prompt pack of at most {MAX_PACK_BYTES >> 20} MiB")
    pack = decode_pack(data, str(path))
    if bundle is not None:
        check_fingerprint(pack, bundle, str(path))
    return pack


def check_fingerprint(pack: PromptPack, bundle: Bundle, where: str = "prompt pack") -> None:
    """Refuse a pack that other text encoders made.

    Raises:
        PackError: naming both fingerprints.
    """
    if pack.fingerprint != bundle.text_fingerprint:
        raise PackError(
            f"{where}: made for the text encoders {pack.fingerprint} of bundle "
            f"{pack.bundle_name}, but bundle {bundle.name} has {bundle.text_fingerprint}; "
            "make it again with t2s-rt prompts --bundle"
        )


def _open(data: bytes, where: str) -> tuple[JsonObject, dict[str, NDArray[Any]]]:
    """Metadata and tensors of a safetensors file."""
    import safetensors

    parse: Any = safetensors.deserialize  # its stub declares no types
    try:
        entries = dict(parse(data))
    except Exception as error:  # SafetensorError and whatever hostile headers bring up
        raise PackError(
            f"{where}: expected a prompt pack (safetensors), but it cannot be read ({error})"
        ) from None
    length = int.from_bytes(data[:8], "little")
    header = parse_json(data[8 : 8 + length], f"{where}: header", PackError)
    if not header.has("__metadata__") or not header.child("__metadata__").has(_KEY):
        raise PackError(f"{where}: a safetensors file, but no prompt pack ({_KEY} is missing)")
    meta = header.child("__metadata__").text(_KEY, limit=MAX_PACK_BYTES)
    if set(entries) != set(_TENSORS):
        raise PackError(
            f"{where}: expected the tensors {', '.join(_TENSORS)}, "
            f"found {ascii(sorted(entries))[:80]}"
        )
    tensors = {}
    for name, (dtype, rank) in _TENSORS.items():
        entry = entries[name]
        if entry["dtype"] != dtype or len(entry["shape"]) != rank:
            raise PackError(
                f"{where}, {name}: expected {dtype} with {rank} dimensions, "
                f"found {entry['dtype']} {entry['shape']}"
            )
        # a copy: the bytes are read-only, and in the file they need not be aligned
        flat = np.frombuffer(bytes(entry["data"]), dtype=_DTYPES[dtype]).copy()
        try:
            tensors[name] = flat.reshape(entry["shape"])
        except (ValueError, OverflowError):  # an empty tensor with absurd dimensions
            raise PackError(f"{where}, {name}: the shape {entry['shape']} is none") from None
    return parse_json(meta, where, PackError), tensors


def _classes(
    meta: JsonObject, where: str
) -> tuple[tuple[PackClass, ...], tuple[tuple[tuple[int, int], ...], ...]]:
    classes, spans = [], []
    for item in meta.objects("classes", 254):
        red, green, blue = item.integers("colour", 3, 0, 255)
        synonyms = item.texts("synonyms", 1024)
        classes.append(
            PackClass(
                name=item.text("name", limit=100),
                synonyms=synonyms,
                colour=(red, green, blue),
                kind=cast(Kind, item.choice("kind", KINDS)),
                thresholds=item.child("thresholds").numbers(0.0, 1.0),
                asked=item.integer("asked", 0, len(synonyms)),
            )
        )
        group = []
        for span in item.items("spans", 1025):
            if not isinstance(span, list) or [type(i) for i in span] != [int, int]:
                item.fail("pairs of integers", span, "spans")
            group.append((span[0], span[1]))
        spans.append(tuple(group))
    try:
        check_classes(PromptClass(item.name, item.synonyms) for item in classes)
    except UsageError as error:
        raise PackError(f"{where}: {error}") from None
    return tuple(classes), tuple(spans)
