"""From words to a prompt pack: the text encoders run here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from t2s_rt.backends import open_session
from t2s_rt.bundle import Bundle
from t2s_rt.errors import BundleError
from t2s_rt.prompts.bank import Colour, choose_colour, find, load_bank, related
from t2s_rt.prompts.caption import caption_inputs
from t2s_rt.prompts.grammar import PromptClass, check_classes, parse_prompts
from t2s_rt.prompts.pack import PackClass, PromptPack, unit_rows
from t2s_rt.prompts.tokens import check_words, tokenize_caption, tokenize_texts

__all__ = ["build_pack", "pack_classes"]

_TEXTS_PER_CALL = 64


def build_pack(
    bundle: Bundle,
    prompts: str | Sequence[PromptClass],
    *,
    backend: str = "auto",
    threads: int | None = None,
    use_bank: bool = True,
) -> PromptPack:
    """Embed words with a bundle's text encoders.

    Args:
        bundle: whose text encoders and tokenizers.
        prompts: a prompt text (grammar of :mod:`t2s_rt.prompts.grammar`) or parsed classes.
        backend: where the text encoders run.
        threads: as for :func:`t2s_rt.backends.open_session`.
        use_bank: search also for the prompt bank's synonyms where the user names none.

    Returns:
        The same values that a saved and loaded pack has.

    Raises:
        UsageError: bad grammar, too many tokens.
        UnknownWordError: a word that the bundle does not know.
        BundleError: the bundle has no text encoders.
        BackendError: a text encoder fails, or no backend is installed.
    """
    parsed = parse_prompts(prompts) if isinstance(prompts, str) else check_classes(prompts)
    _check_text_parts(bundle)
    check_words(bundle, [phrase for item in parsed for phrase in item.phrases])
    classes = pack_classes(bundle, parsed, use_bank)
    detector = _detector_text(bundle, classes, backend, threads)
    clip = _clip_text(bundle, classes, backend, threads)
    return PromptPack(
        classes=classes,
        bundle_name=bundle.name,
        fingerprint=bundle.text_fingerprint,
        logit_scale=bundle.text.clip_logit_scale,
        **detector,
        **clip,
    )


def pack_classes(
    bundle: Bundle, parsed: Sequence[PromptClass], use_bank: bool = True
) -> tuple[PackClass, ...]:
    """Complete what the user asked for with kind, colour, synonyms and thresholds.

    Synonyms of the prompt bank join a class that was given none, if the bundle knows them and
    nobody asked for them as a class of their own.
    """
    asked = {phrase.lower() for item in parsed for phrase in item.phrases}
    known = bundle.text.words
    overrides = bundle.manifest.thresholds
    colours: list[Colour] = []
    classes = []
    for item in parsed:
        entry = find(item.name)
        synonyms = item.synonyms
        # "buildings" is the class "building", but "house" is not every building
        names_it = entry is not None and item.name.lower().removesuffix("s") == entry.name
        if entry is not None and names_it and use_bank and not synonyms:
            synonyms = tuple(
                word
                for word in entry.synonyms
                if word not in asked and (known is None or word in known)
            )
        name = item.name.lower()
        thresholds = {
            **overrides.get("default", {}),
            **({} if entry is None else {**entry.thresholds, **overrides.get(entry.name, {})}),
            **overrides.get(name, {}),
        }
        colours.append(choose_colour(item.name, colours))
        classes.append(
            PackClass(
                name=item.name,
                synonyms=synonyms,
                colour=colours[-1],
                kind="both" if entry is None else entry.kind,
                thresholds=thresholds,
                asked=len(item.synonyms),
            )
        )
    return tuple(classes)


def other_labels(bundle: Bundle, classes: Sequence[PackClass]) -> tuple[str, ...]:
    """Words that compete with the classes, so that CLIP's softmax is an absolute score.

    The manifest's words for what is no class, and common classes that nobody asked for; without
    any that overlap an asked phrase in meaning ("grass" never competes with "vegetation").
    """
    known = bundle.text.words
    candidates = list(bundle.text.clip_other_words)
    candidates += [
        entry.name
        for entry in load_bank().values()
        if entry.common and (known is None or entry.name in known)
    ]
    asked = [phrase for item in classes for phrase in item.phrases]
    return tuple(
        word
        for word in dict.fromkeys(candidates)
        if not any(related(word, phrase) for phrase in asked)
    )


def _check_text_parts(bundle: Bundle) -> None:
    """Both text encoders that the bundle's image graphs call for must be there."""
    wanted = {
        "detector": "detector_text",
        "clip_image": "clip_text",
        "clip_dense": "clip_text",
        "clip_patches": "clip_text",
    }
    missing = {text for role, text in wanted.items() if role in bundle.roles} - set(bundle.roles)
    if missing or not set(bundle.roles) & set(wanted.values()):
        raise BundleError(
            f"bundle {bundle.name}: expected text encoders to embed words, "
            f"found no {' and no '.join(sorted(missing or set(wanted.values())))}; make the "
            "prompt pack with the whole bundle and use --pack"
        )


def _detector_text(
    bundle: Bundle, classes: Sequence[PackClass], backend: str, threads: int | None
) -> Mapping[str, Any]:
    if "detector_text" not in bundle.roles:
        empty = caption_inputs([], [])
        return {
            "caption": "",
            "token_ids": np.zeros(0, np.int32),
            "special_ids": (),
            "spans": (),
            "text_features": np.zeros((1, 0, 0), np.float32),
            "text_token_mask": empty.text_token_mask,
            "text_self_attention_mask": empty.self_attention_mask,
            "position_ids": empty.position_ids,
        }
    tokens = tokenize_caption(bundle, [phrase for item in classes for phrase in item.phrases])
    masks = caption_inputs(tokens.ids, tokens.special_ids)
    spans = iter(tokens.spans)
    return {
        "caption": tokens.caption,
        "token_ids": tokens.ids,
        "special_ids": tokens.special_ids,
        "spans": tuple(tuple(next(spans) for _ in item.phrases) for item in classes),
        "text_features": _encode_caption(bundle, tokens.ids, masks, backend, threads),
        "text_token_mask": masks.text_token_mask,
        "text_self_attention_mask": masks.self_attention_mask,
        "position_ids": masks.position_ids,
    }


def _encode_caption(
    bundle: Bundle,
    ids: NDArray[np.int32],
    masks: Any,
    backend: str,
    threads: int | None,
) -> NDArray[np.float32]:
    """Run the detector's text encoder, padded where its T is static."""
    entry = bundle.graph("detector_text")
    size = entry.inputs[0].shape[1]
    pad = (size if isinstance(size, int) else len(ids)) - len(ids)
    attention = np.pad(masks.self_attention_mask, ((0, 0), (0, pad), (0, pad)))
    # a padding token attends to itself: a row without any key has no softmax
    attention[0, len(ids) :, len(ids) :] |= np.eye(pad, dtype=np.bool_)
    with open_session(entry, backend, threads=threads) as session:
        features = session.run(
            {
                "input_ids": np.pad(ids[None], ((0, 0), (0, pad))),
                "position_ids": np.pad(masks.position_ids, ((0, 0), (0, pad))),
                "text_self_attention_mask": attention,
            }
        )["text_features"]
    return np.ascontiguousarray(features[:, : len(ids)])


def _clip_text(
    bundle: Bundle, classes: Sequence[PackClass], backend: str, threads: int | None
) -> Mapping[str, Any]:
    if "clip_text" not in bundle.roles:
        return {
            "class_embeddings": tuple(
                np.zeros((len(item.phrases), 0), np.float32) for item in classes
            ),
            "other_words": (),
            "other_embeddings": np.zeros((0, 0), np.float32),
            "redundant_embedding": np.zeros(0, np.float32),
            "templates": (),
        }
    others = other_labels(bundle, classes)
    phrases = [phrase for item in classes for phrase in item.phrases]
    embeddings = _embed_texts(bundle, [*phrases, *others, ""], backend, threads)
    parts = np.split(embeddings[:-1], np.cumsum([len(item.phrases) for item in classes]))
    return {
        "class_embeddings": tuple(parts[:-1]),
        "other_words": others,
        "other_embeddings": parts[-1],
        "redundant_embedding": embeddings[-1],
        "templates": bundle.text.clip_templates,
    }


def _embed_texts(
    bundle: Bundle, words: Sequence[str], backend: str, threads: int | None
) -> NDArray[np.float32]:
    """Mean over the templates of each word's embeddings, unit length, float16 precision.

    The empty word goes through the same templates: it is what the sentences have in common
    (CLIP Surgery, arXiv 2304.05653, section 3.3).
    """
    templates = bundle.text.clip_templates
    texts = [template.replace("{}", word).strip() for word in words for template in templates]
    ids = tokenize_texts(bundle, texts)
    entry = bundle.graph("clip_text")
    if not isinstance(entry.inputs[0].shape[1], int):
        # what follows the end of the longest text is seen by no token before it
        ids = ids[:, : int(np.flatnonzero(ids.any(axis=0))[-1]) + 1]
    size = entry.inputs[0].shape[0]
    step = size if isinstance(size, int) else _TEXTS_PER_CALL
    rows = []
    with open_session(entry, backend, threads=threads) as session:
        for start in range(0, len(ids), step):
            chunk = ids[start : start + step]
            missing = step - len(chunk) if isinstance(size, int) else 0
            padded = np.concatenate([chunk, np.repeat(chunk[-1:], missing, axis=0)])
            rows.append(session.run({"input_ids": padded})["embeddings"][: len(chunk)])
    means = unit_rows(np.concatenate(rows)).reshape(len(words), len(templates), -1).mean(axis=1)
    # what a pack file stores, so that a fresh pack and a loaded one give the same map
    return unit_rows(unit_rows(means).astype(np.float16))
