"""From checkpoint files of the original packages to a map, through the command line."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
import pytest
import torch
from click.testing import Result
from safetensors.numpy import load_file
from tests.export.official import small
from tests.export.official.small import run

from t2s_engines.preflight import check
from t2s_export.bundle_builder import GraphJob
from t2s_export.official import export as export_module
from t2s_export.official.export import export_official
from t2s_export.official.jobs import ROLES_IN_ORDER, official_jobs
from t2s_export.official.parts import Kind
from t2s_export.official.presets import CLIP_TEMPLATES, ExportOptions
from t2s_rt.backends import open_session
from t2s_rt.bundle import load_bundle
from t2s_rt.contracts import TEXT_ROLES
from t2s_rt.errors import PackError, UnknownWordError, UsageError
from t2s_rt.prompts import build_pack, load_pack

pytestmark = pytest.mark.usefixtures("known_small")

SUFFIXES = ("labels.tif", "labels.tif.aux.xml", "confidence.tif", "geojson", "preview.png", "json")
WORDS = "building: house; photovoltaic panel; water"


@pytest.fixture(scope="module")
def written(
    preset: click.Command, checkpoints: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Result]:
    target = tmp_path_factory.mktemp("bundles") / "small"
    with small.known():
        result = run("export", "small", "--checkpoints", checkpoints, "-o", target, *small.SIZES)
    return target, result


@pytest.fixture
def bundle_folder(written: tuple[Path, Result]) -> Path:
    assert written[1].exit_code == 0, written[1].output
    return written[0]


def test_the_command_prints_a_row_for_each_graph(written: tuple[Path, Result]) -> None:
    target, result = written
    assert result.exit_code == 0, result.output
    shares = [line for line in result.stdout.splitlines() if "multiplications are float16" in line]
    assert len(shares) == len(set(ROLES_IN_ORDER) - set(TEXT_ROLES))
    rows = [line.split() for line in result.stdout.splitlines() if line not in shares]
    assert rows[0] == ["graph", "nodes", "bytes", "max", "abs", "cosine", "seconds"]
    assert list(dict.fromkeys(row[0] for row in rows[1:-2])) == list(ROLES_IN_ORDER)
    assert rows[-2][0] == "total" and result.stdout.endswith(f"wrote {target}\n")
    for word in ("loading dino.pth", "mask_encoder"):
        assert word in result.stderr
    assert "\x1b" not in result.output


def test_the_manifest_tells_what_it_was_made_of(bundle_folder: Path, checkpoints: Path) -> None:
    bundle = load_bundle(bundle_folder)
    assert (bundle.name, bundle.gsd, bundle.tile_size) == ("small", 0.3, 1024)
    assert set(bundle.roles) == set(ROLES_IN_ORDER)
    sizes = {entry.role: entry.image_size for entry in bundle.graphs}
    assert sizes["detector"] == (128, 128) and sizes["mask_encoder"] == (96, 96)
    assert sizes["clip_image"] == (64, 64)
    assert sizes["clip_dense"] == sizes["clip_patches"] == (256, 256)
    assert bundle.text.words is None and bundle.text.clip_templates == CLIP_TEMPLATES
    assert bundle.text.clip_logit_scale == pytest.approx(100, abs=0.1)
    assert (bundle.text.clip_context_length, bundle.text.max_detector_tokens) == (77, 256)
    sources = {entry.role: entry.source for entry in bundle.graphs}
    assert sources["detector"]["deformable"] == "gather"
    for source, name in (
        (sources["detector"], "dino.pth"),
        (sources["mask_encoder"], "sam.pth"),
    ):
        assert source["checkpoint"] == name
        assert source["sha256"] == hashlib.sha256((checkpoints / name).read_bytes()).hexdigest()
    assert sources["clip_text"]["format"] == "openai"


def test_captions_of_full_length_and_padded_ones_were_compared(bundle_folder: Path) -> None:
    graphs = {graph.role: graph for graph in load_bundle(bundle_folder).manifest.graphs}
    cases = graphs["detector"].parity["cases"]
    assert any("T=256" in case for case in cases) and "padding=5" in cases[-1]
    assert "T=256" in graphs["detector_text"].parity["cases"]
    assert "L=77" in graphs["clip_text"].parity["cases"][0]


def test_graphs_pass_the_checker_and_the_operator_rules(bundle_folder: Path) -> None:
    for entry in load_bundle(bundle_folder).graphs:
        model = onnx.load(entry.path)
        onnx.checker.check_model(model, full_check=True)
        check(entry.path)
        assert str(Path.home()).encode() not in entry.path.read_bytes()


def test_documents_name_sources_and_say_converted(bundle_folder: Path, checkpoints: Path) -> None:
    card = (bundle_folder / "MODEL_CARD.md").read_text()
    assert "$" not in card and "converted, not trained" in card
    for path in checkpoints.iterdir():
        assert hashlib.sha256(path.read_bytes()).hexdigest() in card
    assert "bpe_simple_vocab_16e6.txt.gz | MIT" in card
    assert "Apache License" in (bundle_folder / "LICENSE-APACHE").read_text()
    assert "OpenAI" in (bundle_folder / "LICENSE-MIT").read_text()


def test_clip_text_is_the_original_s(bundle_folder: Path, checkpoints: Path) -> None:
    """Words, tokenizer, checkpoint file, export and runtime, against open_clip from end to end."""
    from open_clip.tokenizer import SimpleTokenizer

    bundle = load_bundle(bundle_folder)
    pack = build_pack(bundle, "swimming pool; Baustelle; a!!b", use_bank=False)
    model, ids = small.open_clip_model(), SimpleTokenizer()
    for item, found in zip(pack.classes, pack.class_embeddings, strict=True):
        texts = [t.replace("{}", item.name) for t in CLIP_TEMPLATES]
        with torch.no_grad():
            theirs = model.encode_text(ids(texts), normalize=True).mean(0)
        expected = (theirs / theirs.norm()).numpy()
        np.testing.assert_allclose(found[0], expected, atol=1e-3)  # packs store float16
    assert pack.logit_scale == pytest.approx(min(100, float(model.logit_scale.exp())), rel=1e-4)


def test_info_and_prompts_know_the_bundle(bundle_folder: Path, tmp_path: Path) -> None:
    told = run("info", bundle_folder)
    assert told.exit_code == 0 and "open vocabulary" in told.stdout
    path = tmp_path / "mission.safetensors"
    done = run("prompts", WORDS, "--bundle", bundle_folder, "-o", path)
    assert done.exit_code == 0, done.output
    pack = load_pack(path, load_bundle(bundle_folder))
    assert [item.name for item in pack.classes] == ["building", "photovoltaic panel", "water"]
    assert pack.classes[0].thresholds["detector"] == 0.35
    assert {"background", "road"} <= set(pack.other_words)


@pytest.mark.parametrize(
    "scene", ["labelled/loveda/img_0.png", "labelled/dubai_mbrsc/image_part_001.jpg"]
)
def test_infer_maps_a_real_image(
    bundle_folder: Path, test_data: Path, tmp_path: Path, scene: str
) -> None:
    out = tmp_path / "map"
    done = run("infer", test_data / scene, "--bundle", bundle_folder, "--prompts", WORDS, "-o", out)
    assert done.exit_code == 0, done.output
    stem = Path(scene).stem
    assert sorted(p.name for p in out.iterdir()) == sorted(f"{stem}.{s}" for s in SUFFIXES)
    report = json.loads((out / f"{stem}.json").read_text())
    assert report["tiles"]["failed"] == 0 and report["bundle"] == "small"


def test_words_are_embedded_without_torch(bundle_folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['onnx'] = None\n"
        "from t2s_rt.cli.main import main; sys.argv[0] = 't2s-rt'\n"
        "try: main()\n"
        "finally: print(sorted(m for m in sys.modules if m.startswith('transformers')))"
    )
    path = tmp_path / "pack.safetensors"
    words = ["prompts", WORDS, "--bundle", str(bundle_folder), "-o", str(path)]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("[]\n") and path.is_file()


def test_exporting_again_gives_the_same_files(
    bundle_folder: Path, checkpoints: Path, tmp_path: Path
) -> None:
    options = ExportOptions(detector_size=128, clip_size=256)
    export_official(small.PRESET, checkpoints, tmp_path / "again", options)
    for path in sorted(bundle_folder.iterdir()):
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_files_of_transformers_and_open_clip_make_a_bundle_that_maps(
    preset: click.Command, checkpoints: Path, example_scene: Path, tmp_path: Path
) -> None:
    sam = small.save_transformers_sam(tmp_path / "sam").parent
    detector = small.save_transformers_detector(tmp_path / "detector")
    clip = small.save_open_clip(tmp_path / "epoch_1.pt")
    target = tmp_path / "bundle"
    files = ("--sam", sam, "--detector", detector, "--clip", clip, "--quick-gelu")
    done = run("export", "small", "--checkpoints", checkpoints, "-o", target, *files, *small.SIZES)
    assert done.exit_code == 0, done.output
    sources = {entry.role: entry.source for entry in load_bundle(target).graphs}
    assert sources["mask_encoder"]["format"] == sources["detector"]["format"] == "transformers"
    assert sources["clip_text"]["format"] == "open_clip" and sources["clip_text"]["quick_gelu"]
    words = ("--prompts", "building; car", "-o", tmp_path / "map")
    mapped = run("infer", example_scene, "--bundle", target, *words)
    assert mapped.exit_code == 0, mapped.output
    assert (tmp_path / "map" / "lakeside.labels.tif").is_file()


def _text_jobs(*arguments: Any) -> Iterator[GraphJob]:
    """The jobs of the text encoders alone: all that a fingerprint is made of, and quick."""
    return (job for job in official_jobs(*arguments) if job.role.endswith("_text"))


@pytest.fixture(scope="module")
def relatives(checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Bundles that differ from the first: two in a text encoder, one in everything but these."""
    root = tmp_path_factory.mktemp("relatives")
    chosen: dict[str, dict[Kind, Path]] = {
        "other detector": {"detector": small.save_detector(root / "a.pth", seed=12)},
        "other clip": {"clip": small.save_open_clip(root / "b.pt", seed=13)},
        "other eyes": {
            "sam": small.save_sam(root / "c.pth", seed=11),
            "detector": small.save_detector(root / "d.pth", image_seed=14),
        },
    }
    options = ExportOptions(detector_size=128, clip_size=64, deformable="grid_sample", name="kin")
    for name, files in chosen.items():
        with small.known(), pytest.MonkeyPatch.context() as patch:
            if name != "other eyes":
                patch.setattr(export_module, "official_jobs", _text_jobs)
            export_official(small.PRESET, checkpoints, root / name, options, chosen=files)
    return {name: root / name for name in chosen}


@pytest.mark.parametrize("name", ["other detector", "other clip"])
def test_packs_of_other_text_encoders_are_refused(
    relatives: dict[str, Path], bundle_folder: Path, test_data: Path, tmp_path: Path, name: str
) -> None:
    pack = bundle_folder / "default_pack.safetensors"
    with pytest.raises(PackError, match="text encoders"):
        load_pack(pack, load_bundle(relatives[name]))
    image = test_data / "labelled" / "loveda" / "img_0.png"
    done = run("infer", image, "--bundle", relatives[name], "--pack", pack, "-o", tmp_path / "map")
    assert done.exit_code == 3


def test_packs_hold_for_every_bundle_with_the_same_text_encoders(
    relatives: dict[str, Path], bundle_folder: Path
) -> None:
    """A pack is a function of words, tokenizers and text encoders; nothing else is in it.

    So a bundle that differs in image weights alone takes it, and its own pack has the same numbers.
    """
    mine, other = load_bundle(bundle_folder), load_bundle(relatives["other eyes"])
    for role in ("detector", "mask_encoder"):
        (one, two) = (next(g for g in b.graphs if g.role == role) for b in (mine, other))
        assert one.source["sha256"] != two.source["sha256"]
    pack = bundle_folder / "default_pack.safetensors"
    assert load_pack(pack, other).fingerprint == other.text_fingerprint
    numbers, theirs = load_file(pack), load_file(other.root / "default_pack.safetensors")
    assert numbers.keys() == theirs.keys()
    for key, value in numbers.items():
        np.testing.assert_array_equal(value, theirs[key], err_msg=key)


def test_padding_a_caption_changes_no_box(bundle_folder: Path) -> None:
    from t2s_export.parity_cases import scene_image
    from t2s_rt.models import Detector
    from t2s_rt.prompts import PromptPack

    bundle = load_bundle(bundle_folder)
    pack = load_pack(bundle_folder / "default_pack.safetensors", bundle)
    assert isinstance(pack, PromptPack)
    image = scene_image((256, 256))
    with open_session(bundle.graph("detector")) as session:
        plain = Detector(session).detect(image, pack)
        feeds = _padded(pack, 256, image)
        outputs = session.run(feeds)
        short = session.run(_padded(pack, pack.text_features.shape[1], image))
    assert plain.boxes.shape == (small.DINO.queries, 4)
    np.testing.assert_allclose(outputs["boxes"], short["boxes"], atol=2e-5)
    length = pack.text_features.shape[1]
    np.testing.assert_allclose(
        outputs["logits"][..., :length], short["logits"], atol=1e-3 * np.abs(short["logits"]).max()
    )
    assert (outputs["logits"][..., length:] < -100).all()


def _padded(pack: Any, total: int, image: Any) -> dict[str, Any]:
    length = pack.text_features.shape[1]
    pad = total - length
    attention = np.eye(total, dtype=bool)[None]
    attention[:, :length, :length] = pack.text_self_attention_mask
    from t2s_rt.models.frames import resize_image

    return {
        "image": resize_image(image, (128, 128))[None],
        "text_features": np.pad(pack.text_features, ((0, 0), (0, pad), (0, 0))),
        "text_token_mask": np.pad(pack.text_token_mask, ((0, 0), (0, pad))),
        "text_self_attention_mask": attention,
        "position_ids": np.pad(pack.position_ids, ((0, 0), (0, pad))),
    }


@pytest.mark.parametrize("words", ["<|endoftext|>", "a <|startoftext|> b", "建物", "\u2c71"])
def test_markers_and_letters_that_are_no_words_are_refused(bundle_folder: Path, words: str) -> None:
    with pytest.raises(UnknownWordError, match="does not know"):
        build_pack(load_bundle(bundle_folder), words)


@pytest.mark.parametrize("words", ["水", "café", "a_b c/d", "3d <building>", "[house]", "[SEP]"])
def test_any_other_words_are_embedded(bundle_folder: Path, words: str) -> None:
    pack = build_pack(load_bundle(bundle_folder), words)
    assert pack.classes[0].name == words and len(pack.spans[0]) == 1


def test_a_caption_that_is_too_long_is_refused(bundle_folder: Path) -> None:
    words = ";".join(f"word{i}" for i in range(120))
    with pytest.raises(UsageError, match="at most 256"):
        build_pack(load_bundle(bundle_folder), words)


def test_calibration_images_decide_the_precision_and_are_on_record(
    preset: click.Command, checkpoints: Path, tmp_path: Path, test_data: Path
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    shutil.copy(test_data / "labelled" / "loveda" / "img_0.png", images)
    arguments = ("export", "small", "--checkpoints", checkpoints, *small.SIZES)
    nowhere = run(*arguments, "-o", tmp_path / "b", "--calibration", tmp_path / "none")
    assert nowhere.exit_code == 4 and "calibrate" in nowhere.stderr
    result = run(*arguments, "-o", tmp_path / "b", "--calibration", images)
    assert result.exit_code == 0, result.output
    for graph in load_bundle(tmp_path / "b").manifest.graphs:
        if graph.precision == "fp16":
            names = {item["name"].partition(",")[0] for item in graph.islands["calibration"]}
            assert names == {"img_0.png"}, graph.role
