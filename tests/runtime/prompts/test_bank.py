"""The prompt bank: consistent with itself and with the synthetic scenes; distinct colours."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys

import pytest

from t2s_rt.prompts.bank import choose_colour, find, load_bank, related


def test_every_phrase_belongs_to_one_class() -> None:
    phrases = [phrase for entry in load_bank().values() for phrase in entry.phrases]
    assert len(set(phrases)) == len(phrases)
    assert all(phrase == phrase.lower().strip() for phrase in phrases)


def test_covered_classes_exist() -> None:
    for entry in load_bank().values():
        assert set(entry.covers) <= set(load_bank()), entry.name


def test_colours_of_the_bank_are_distinct() -> None:
    entries = load_bank().values()
    for one, other in itertools.combinations(entries, 2):
        assert math.dist(one.colour, other.colour) >= 20, (one.name, other.name)
    assert all(entry.colour not in ((0, 0, 0), (255, 255, 255)) for entry in entries)


def test_truth_classes_agree_with_the_synthetic_scenes() -> None:
    synthetic = pytest.importorskip("t2s_rt.synthetic")
    for truth in synthetic.CLASSES:
        if truth.kind != "other":
            entry = load_bank()[truth.name]
            # closed canopy is a region without single objects: a tree is thing and stuff
            kind = "both" if truth.name == "tree" else truth.kind
            assert (entry.kind, entry.colour) == (kind, tuple(truth.colour))
            assert entry.common


@pytest.mark.parametrize(
    ("phrase", "name"),
    [
        ("building", "building"),
        ("Buildings", "building"),
        ("roofs", "building"),
        ("grass", "low vegetation"),
        ("parking lots", "parking lot"),
    ],
)
def test_found_by_name_synonym_and_plural(phrase: str, name: str) -> None:
    entry = find(phrase)
    assert entry is not None and entry.name == name


def test_unknown_phrases_are_not_found() -> None:
    assert find("zeppelin") is None


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("house", "roof", True),
        ("vegetation", "grass", True),
        ("grass", "vegetation", True),
        ("impervious surface", "road", True),
        ("road", "water", False),
        ("zeppelin", "Zeppelin", True),
        ("zeppelin", "water", False),
    ],
)
def test_related(one: str, other: str, expected: bool) -> None:
    assert related(one, other) is expected


def test_colours_stay_distinct_for_a_full_map() -> None:
    taken: list[tuple[int, int, int]] = []
    for index in range(254):
        taken.append(choose_colour(f"class {index}", taken))
    assert len(set(taken)) == 254
    first = list(itertools.combinations(taken[:12], 2))
    assert min(math.dist(one, other) for one, other in first) >= 40


def test_a_taken_bank_colour_is_replaced() -> None:
    red = load_bank()["building"].colour
    assert choose_colour("house", []) == red
    assert choose_colour("house", [red]) != red


def test_colours_are_the_same_in_every_process() -> None:
    """Python's own hash is salted per process; ours must not be."""
    code = "from t2s_rt.prompts.bank import choose_colour; print(choose_colour('zeppelin', []))"
    runs = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        for _ in range(2)
    }
    assert runs == {str(choose_colour("zeppelin", []))}
