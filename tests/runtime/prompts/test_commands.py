"""``t2s-rt prompts`` and ``t2s-rt info``, through click but without a process."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from t2s_rt.bundle import Bundle
from t2s_rt.cli import info, prompts
from t2s_rt.errors import BundleError, OutputError, PackError, UnknownWordError
from t2s_rt.prompts import load_pack


@pytest.fixture(scope="module")
def group() -> click.Group:
    made = click.Group("t2s-rt")
    prompts.register(made)
    info.register(made)
    return made


def run(group: click.Group, *words: str) -> Result:
    return CliRunner().invoke(group, list(words), catch_exceptions=True)


def test_words_in_pack_out(group: click.Group, tmp_path: Path, tiny: Bundle) -> None:
    path = tmp_path / "mission.safetensors"
    result = run(group, "prompts", "building, road", "-o", str(path), "--bundle", str(tiny.root))
    assert result.exit_code == 0, result.output
    assert load_pack(path, tiny).names == ("building", "road")
    lines = result.output.splitlines()
    assert "class\t1\tbuilding\thouse, roof\tthing\t#dc322f\t3" in lines
    assert "caption: building . house . roof . road . street ." in lines
    assert "12 of 24 tokens used" in lines
    assert lines[-1] == f"wrote {path}: {path.stat().st_size} bytes, 2 classes"


def test_prompts_as_json(group: click.Group, tmp_path: Path, tiny: Bundle) -> None:
    path = tmp_path / "x.safetensors"
    result = run(
        group,
        *("prompts", "building", "-o", str(path), "--bundle", str(tiny.root)),
        *("--no-synonyms", "--json"),
    )
    facts = json.loads(result.output)
    assert facts["bytes"] == path.stat().st_size
    assert facts["classes"][0]["name"] == "building"
    assert facts["classes"][0]["synonyms"] == []


def test_an_existing_pack_is_kept_unless_told(
    group: click.Group, tmp_path: Path, tiny: Bundle
) -> None:
    path = tmp_path / "x.safetensors"
    path.write_text("mine")
    words = ("prompts", "building", "-o", str(path), "--bundle", str(tiny.root))
    assert isinstance(run(group, *words).exception, OutputError)
    assert path.read_text() == "mine"
    assert run(group, *words, "--overwrite").exit_code == 0
    assert load_pack(path).names == ("building",)


def test_an_unknown_word_writes_nothing(group: click.Group, tmp_path: Path, tiny: Bundle) -> None:
    path = tmp_path / "x.safetensors"
    result = run(group, "prompts", "zeppelin", "-o", str(path), "--bundle", str(tiny.root))
    assert isinstance(result.exception, UnknownWordError)
    assert not path.exists()


def test_info_of_a_bundle(group: click.Group, tiny: Bundle) -> None:
    result = run(group, "info", str(tiny.root))
    lines = result.output.splitlines()
    assert "bundle: tiny" in lines
    assert "ground resolution: 0.3 m per pixel" in lines
    assert f"text encoders: {tiny.text_fingerprint}" in lines
    rows = [line.split("\t") for line in lines if line.startswith("graph\t")]
    assert [row[1] for row in rows[1:]] == [graph.role for graph in tiny.graphs]
    assert rows[1 + [g.role for g in tiny.graphs].index("detector")][4] == "32 x 32"


def test_info_of_a_bundle_as_json(group: click.Group, tiny: Bundle) -> None:
    facts = json.loads(run(group, "info", str(tiny.root), "--json").output)
    assert (facts["type"], facts["text_fingerprint"]) == ("bundle", tiny.text_fingerprint)
    assert facts["manifest"] == json.loads((tiny.root / "bundle.json").read_text())


def test_info_of_a_pack(group: click.Group, tmp_path: Path, tiny: Bundle) -> None:
    path = tmp_path / "x.safetensors"
    run(group, "prompts", "building, road", "-o", str(path), "--bundle", str(tiny.root))
    result = run(group, "info", str(path))
    assert result.output.startswith(f"prompt pack {path}: {path.stat().st_size} bytes, 2 classes")
    facts = json.loads(run(group, "info", str(path), "--json").output)
    assert (facts["type"], facts["bytes"]) == ("prompt pack", path.stat().st_size)
    assert facts["fingerprint"] == tiny.text_fingerprint


def test_info_of_what_is_neither(group: click.Group, tmp_path: Path) -> None:
    assert isinstance(run(group, "info", str(tmp_path)).exception, BundleError)
    path = tmp_path / "x.bin"
    path.write_bytes(b"\0" * 64)
    assert isinstance(run(group, "info", str(path)).exception, PackError)
    assert isinstance(run(group, "info", str(tmp_path / "none")).exception, PackError)
