"""From words to a pack, to a file and back; checked against the encoders' formulas."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load
from tests.runtime.bundle.tiny import (
    BERT,
    CLIP,
    CLIP_TABLE,
    PHRASES,
    TABLE,
    tiny_manifest,
    write_tiny_bundle,
)

from t2s_rt.bundle import Bundle, TextRecord, load_bundle, write_manifest
from t2s_rt.errors import (
    BundleError,
    OutputError,
    PackError,
    UnknownWordError,
    UsageError,
)
from t2s_rt.prompts import (
    PromptPack,
    build_pack,
    caption_inputs,
    decode_pack,
    encode_pack,
    load_pack,
    parse_prompts,
    save_pack,
)

PROMPTS = "building; Parking Lot; road: street"


@pytest.fixture(scope="module")
def pack(tiny: Bundle) -> PromptPack:
    return build_pack(tiny, PROMPTS)


def clip_vector(text: str) -> NDArray[np.float32]:
    """What the tiny CLIP text encoder says, by formula."""
    words = text.split()
    ids = [len(CLIP) - 2, *(CLIP.index(word) for word in words), len(CLIP) - 1]
    ids += [0] * (6 - len(ids))
    total = CLIP_TABLE[ids].sum(axis=0)
    return np.asarray(total / np.linalg.norm(total), dtype=np.float32)


def same(one: PromptPack, other: PromptPack) -> None:
    for field in dataclasses.fields(PromptPack):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, np.ndarray):
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype
        elif field.name == "class_embeddings":
            for left, right in zip(a, b, strict=True):
                np.testing.assert_array_equal(left, right)
        else:
            assert a == b, field.name


def test_classes_take_what_the_bank_knows(pack: PromptPack) -> None:
    building, parking, road = pack.classes
    assert (building.name, building.synonyms, building.asked) == ("building", ("house", "roof"), 0)
    assert building.kind == "thing"
    assert parking.name == "Parking Lot"
    # the bank's "car park" is no word of this bundle
    assert parking.synonyms == ()
    assert (road.synonyms, road.asked, road.kind) == (("street",), 1, "stuff")
    assert pack.names == ("building", "Parking Lot", "road")


def test_bank_synonyms_never_take_a_class_from_the_user(tiny: Bundle) -> None:
    pack = build_pack(tiny, "building; roof")
    assert [item.phrases for item in pack.classes] == [("building", "house"), ("roof",)]
    assert pack.classes[0].colour != pack.classes[1].colour


def test_a_synonym_as_class_takes_kind_but_no_further_synonyms(tiny: Bundle) -> None:
    (item,) = build_pack(tiny, "house").classes
    assert (item.kind, item.synonyms) == ("thing", ())


def test_without_the_bank_only_the_users_words(tiny: Bundle) -> None:
    pack = build_pack(tiny, "building, road", use_bank=False)
    assert [item.phrases for item in pack.classes] == [("building",), ("road",)]


def test_spans_cut_the_caption_into_phrases(pack: PromptPack) -> None:
    assert pack.caption == "building . house . roof . parking lot . road . street ."
    words = [[[BERT[pack.token_ids[i]] for i in range(*span)] for span in g] for g in pack.spans]
    assert words == [
        [["building"], ["house"], ["roof"]],
        [["parking", "lot"]],
        [["road"], ["street"]],
    ]


def test_detector_features_follow_the_formula(pack: PromptPack) -> None:
    ids = pack.token_ids
    special = [BERT.index(token) for token in ("[CLS]", "[SEP]", ".", "?")]
    masks = caption_inputs(ids, special)
    expected = masks.self_attention_mask[0].astype(np.float32) @ TABLE[ids]
    expected += masks.position_ids[0][:, None]
    np.testing.assert_allclose(pack.text_features[0], expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(pack.text_self_attention_mask, masks.self_attention_mask)
    np.testing.assert_array_equal(pack.position_ids, masks.position_ids)


def test_clip_embeddings_follow_the_formula(pack: PromptPack) -> None:
    # float16 storage: 2^-11 relative, three components
    np.testing.assert_allclose(pack.class_embeddings[0][1], clip_vector("house"), atol=1e-3)
    np.testing.assert_allclose(pack.class_embeddings[1][0], clip_vector("parking lot"), atol=1e-3)
    np.testing.assert_allclose(pack.redundant_embedding, clip_vector(""), atol=1e-3)
    for word, row in zip(pack.other_words, pack.other_embeddings, strict=True):
        np.testing.assert_allclose(row, clip_vector(word), atol=1e-3)
    assert pack.logit_scale == 20.0


def test_other_labels_compete_but_never_with_a_relative(tiny: Bundle, pack: PromptPack) -> None:
    assert pack.other_words == ("container", "tree", "water", "low vegetation")
    assert "low vegetation" not in build_pack(tiny, "grass").other_words
    assert "container" not in build_pack(tiny, "container, road").other_words
    assert "building" not in build_pack(tiny, "roof").other_words


def test_templates_are_averaged_per_phrase(tmp_path: Path) -> None:
    root = write_tiny_bundle(tmp_path, text=TextRecord(PHRASES, clip_templates=("{}", "water {}")))
    pack = build_pack(load_bundle(root), "road", use_bank=False)
    mean = clip_vector("road") + clip_vector("water road")
    np.testing.assert_allclose(pack.class_embeddings[0][0], mean / np.linalg.norm(mean), atol=1e-3)
    assert pack.templates == ("{}", "water {}")


def test_thresholds_come_from_the_manifest(tmp_path: Path) -> None:
    thresholds = {"default": {"dense": 0.3, "masks": 0.2}, "building": {"dense": 0.6}}
    bundle = load_bundle(write_tiny_bundle(tmp_path, thresholds=thresholds))
    building, road = build_pack(bundle, "building, road").classes
    assert building.thresholds == {"dense": 0.6, "masks": 0.2}
    assert road.thresholds == {"dense": 0.3, "masks": 0.2}


@pytest.mark.parametrize("words", ["zeppelin", "building: zeppelin", "road; zeppelin"])
def test_unknown_words_list_what_is_known(tiny: Bundle, words: str) -> None:
    with pytest.raises(UnknownWordError, match=r"'zeppelin'.*it knows: building, house.*boat"):
        build_pack(tiny, words)


def test_near_words_are_offered(tiny: Bundle) -> None:
    with pytest.raises(UnknownWordError, match=r"did you mean building\?"):
        build_pack(tiny, "bilding")


@pytest.mark.parametrize("words", ["zeppelin", "zeppelin hangar"])
def test_an_open_bundle_whose_tokenizer_gives_up(tmp_path: Path, words: str) -> None:
    bundle = load_bundle(write_tiny_bundle(tmp_path, text=TextRecord(clip_context_length=6)))
    with pytest.raises(UnknownWordError, match=f"tokenizer does not know '{words}'"):
        build_pack(bundle, words)


def test_too_many_tokens_name_count_and_limit(tiny: Bundle) -> None:
    words = "building, road, tree, water, low vegetation, parking lot, container, boat"
    with pytest.raises(UsageError, match=r"28 tokens.*at most 24"):
        build_pack(tiny, words)


def test_too_long_for_clip(tmp_path: Path) -> None:
    bundle = load_bundle(write_tiny_bundle(tmp_path, text=TextRecord(clip_context_length=6)))
    with pytest.raises(UsageError, match=r"makes 7 tokens.*at most 6"):
        build_pack(bundle, "road road road road road")


def test_a_bundle_without_text_encoders_says_so(tmp_path: Path) -> None:
    manifest = tiny_manifest(tmp_path)
    kept = tuple(graph for graph in manifest.graphs if graph.role != "clip_text")
    write_manifest(tmp_path, dataclasses.replace(manifest, graphs=kept))
    with pytest.raises(BundleError, match="found no clip_text.*--pack"):
        build_pack(load_bundle(tmp_path), "road")


@pytest.mark.parametrize("part", ["detector", "clip"])
def test_bundles_with_one_half_only(tmp_path: Path, part: str) -> None:
    manifest = tiny_manifest(tmp_path)
    kept = tuple(graph for graph in manifest.graphs if graph.role.startswith(part))
    write_manifest(tmp_path, dataclasses.replace(manifest, graphs=kept))
    pack = build_pack(load_bundle(tmp_path), "road, tree")
    assert (pack.has_detector, pack.has_clip) == (part == "detector", part == "clip")
    same(decode_pack(encode_pack(pack)), pack)


def test_a_broken_tokenizer_file(tmp_path: Path) -> None:
    manifest = tiny_manifest(tmp_path)
    path = tmp_path / "detector_tokenizer.json"
    path.write_text("{}")
    from t2s_rt.bundle import file_record

    tokenizers = {**manifest.tokenizers, "detector": file_record(tmp_path, path.name)}
    write_manifest(tmp_path, dataclasses.replace(manifest, tokenizers=tokenizers))
    with pytest.raises(BundleError, match="no tokenizer file"):
        build_pack(load_bundle(tmp_path), "road")


def test_a_static_text_length_is_padded(tmp_path: Path, pack: PromptPack) -> None:
    """A graph whose T is fixed gives the features of the dynamic one."""
    import onnx

    manifest = tiny_manifest(tmp_path)
    path = tmp_path / "detector_text.fp32.onnx"
    model = onnx.load(str(path))
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == "T":
                dim.dim_value = 20
    onnx.save(model, str(path))
    from t2s_rt.bundle import file_record

    def fixed(specs: Any) -> Any:
        return tuple(
            dataclasses.replace(s, shape=tuple(20 if v == "T" else v for v in s.shape))
            for s in specs
        )

    graphs = tuple(
        dataclasses.replace(
            graph,
            files=(file_record(tmp_path, path.name),),
            inputs=fixed(graph.inputs),
            outputs=fixed(graph.outputs),
        )
        if graph.role == "detector_text"
        else graph
        for graph in manifest.graphs
    )
    write_manifest(tmp_path, dataclasses.replace(manifest, graphs=graphs))
    bundle = load_bundle(tmp_path)
    found = build_pack(bundle, PROMPTS)
    np.testing.assert_allclose(found.text_features, pack.text_features, atol=1e-5)
    with pytest.raises(UsageError, match="at most 20"):
        build_pack(bundle, "building, road, tree, water, low vegetation, boat")


def test_a_saved_pack_is_the_same_pack(tmp_path: Path, tiny: Bundle, pack: PromptPack) -> None:
    path = tmp_path / "mission.safetensors"
    size = save_pack(pack, path)
    assert path.stat().st_size == size < 5000
    same(load_pack(path, tiny), pack)
    assert os.listdir(tmp_path) == ["mission.safetensors"]
    assert set(load(path.read_bytes())) == {"token_ids", "text_features", "clip"}


def test_a_pack_for_other_encoders_is_refused(
    tmp_path: Path, tiny: Bundle, pack: PromptPack
) -> None:
    path = tmp_path / "mission.safetensors"
    save_pack(dataclasses.replace(pack, fingerprint="ab" * 32), path)
    with pytest.raises(PackError, match=f"{'ab' * 32}.*{tiny.text_fingerprint}"):
        load_pack(path, tiny)
    assert load_pack(path).fingerprint == "ab" * 32


def test_loading_needs_neither_tokenizers_nor_onnxruntime(
    tmp_path: Path, tiny_root: Path, pack: PromptPack
) -> None:
    import subprocess
    import sys

    path = tmp_path / "mission.safetensors"
    save_pack(pack, path)
    code = (
        "import sys; from t2s_rt.prompts import load_pack; from t2s_rt.bundle import load_bundle\n"
        f"load_pack({str(path)!r}, load_bundle({str(tiny_root)!r}))\n"
        "print(sorted({'tokenizers', 'onnxruntime', 'torch', 'onnx'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("target", ["missing/x.safetensors", "nul\0byte", "."])
def test_unwritable_packs(tmp_path: Path, pack: PromptPack, target: str) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        save_pack(pack, f"{tmp_path}/{target}")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("path", ["missing.safetensors", "nul\0byte", "."])
def test_unreadable_packs(tmp_path: Path, path: str) -> None:
    with pytest.raises(PackError, match="cannot be read"):
        load_pack(f"{tmp_path}/{path}")


def test_build_takes_parsed_classes(tiny: Bundle, pack: PromptPack) -> None:
    same(build_pack(tiny, parse_prompts(PROMPTS)), pack)
