"""What holds for every row, whatever is added."""

from __future__ import annotations

import importlib.util
import re
from collections import Counter
from pathlib import Path

import pytest

from t2s_export.checkpoints import registry
from t2s_export.checkpoints.files import default_folder, file_path, verify_file
from t2s_export.checkpoints.registry import FAMILIES, FORMATS, MODELS, ModelEntry, find_model
from t2s_rt.errors import InternalError, UsageError

CLIPS = {"clip", "laion_clip", "remote_clip", "georsclip"}
SUFFIXES = {
    "torch": {".pt", ".pth", ".bin"},
    "torchscript": {".pt"},
    "safetensors": {".safetensors"},
    "text": {".txt", ".gz"},
    "json": {".json"},
}


def test_names_are_unique_even_where_case_is_lost() -> None:
    for names in ([e.id.lower() for e in MODELS], [e.file.lower() for e in MODELS]):
        assert max(Counter(names).values()) == 1
    assert len({entry.url for entry in MODELS}) == len(MODELS)
    assert {entry.family for entry in MODELS} == set(FAMILIES)
    hashes = [entry.sha256 for entry in MODELS if entry.sha256]
    assert len(set(hashes)) == len(hashes)


@pytest.mark.parametrize("entry", MODELS, ids=lambda entry: entry.id)
def test_every_row_is_well_formed(entry: ModelEntry, tmp_path: Path) -> None:
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", entry.id)
    assert entry.url.startswith("https://") and " " not in entry.url
    assert entry.family in FAMILIES and entry.format in FORMATS
    assert entry.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", entry.sha256)
    assert entry.bytes is None or entry.bytes > 0
    assert entry.licence and entry.architecture
    assert (entry.quick_gelu is not None) == (entry.family in CLIPS)
    path = file_path(tmp_path, entry)
    assert path.parent == tmp_path and path.suffix in SUFFIXES[entry.format]
    # neither may be taken for what a download or a sidecar leaves
    assert not entry.file.endswith((".part", ".sha256", ".part.json"))


def test_openai_rows_are_open_clips_own() -> None:
    spec = importlib.util.find_spec("open_clip")
    if spec is None or spec.origin is None:
        pytest.skip("open_clip is not installed (tests/oracles/requirements.txt)")
    theirs = Path(spec.origin).with_name("pretrained.py").read_text()
    for entry in MODELS:
        if entry.family == "clip":
            assert f"/{entry.sha256}/" in entry.url
            after = theirs.partition(f'"{entry.url}"')[2]
            assert "quick_gelu=True" in after.partition("),")[0]


def test_vocabularies_at_hand_are_the_rows(test_data: Path, tmp_path: Path) -> None:
    for name, model_id in (
        ("bert/vocab.txt", "bert-base-uncased-vocab"),
        ("clip/bpe_simple_vocab_16e6.txt.gz", "bpe_simple_vocab_16e6"),
    ):
        entry = find_model(model_id)
        (tmp_path / entry.file).write_bytes((test_data / "tokenizers" / name).read_bytes())
        assert verify_file(tmp_path, entry).state == "ok"


def test_an_unknown_id_names_its_neighbours() -> None:
    with pytest.raises(UsageError, match="did you mean sam_vit_b_01ec64"):
        find_model("sam_vit_b")
    with pytest.raises(UsageError, match="found '!'; all ids: t2s-rt models list"):
        find_model("!")


@pytest.mark.parametrize("name", ["../x.pt", "a/b.pt", "", ".hidden", "a\nb", "c:x"])
def test_no_name_leads_out_of_the_folder(name: str, tmp_path: Path) -> None:
    entry = registry.ModelEntry("x", "sam", "vit_b", "torch", name, "https://x", "MIT")
    with pytest.raises(InternalError, match="plain file name"):
        file_path(tmp_path, entry)


def test_the_folder_follows_the_cache_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T2S_CACHE", "/x")
    assert default_folder() == Path("/x/checkpoints")
    monkeypatch.delenv("T2S_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/y")
    assert default_folder() == Path("/y/t2s-rt/checkpoints")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/z")
    assert default_folder() == Path("/z/.cache/t2s-rt/checkpoints")
