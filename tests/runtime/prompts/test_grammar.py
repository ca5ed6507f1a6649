"""The prompt grammar: examples from the design, every refusal, and round trips."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t2s_rt.errors import UsageError
from t2s_rt.prompts import PromptClass, check_classes, format_prompts, parse_prompts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("building", [("building", ())]),
        ("building, road, tree", [("building", ()), ("road", ()), ("tree", ())]),
        (
            "building: house, roof; road; tree",
            [("building", ("house", "roof")), ("road", ()), ("tree", ())],
        ),
        ("car:vehicle", [("car", ("vehicle",))]),
        ("  parking \t lot ;tree", [("parking lot", ()), ("tree", ())]),
        ("Bâtiment; T-junction", [("Bâtiment", ()), ("T-junction", ())]),
        # decomposed and composed accents are one letter
        ("Ba\u0302timent", [("B\u00e2timent", ())]),
    ],
)
def test_examples(text: str, expected: list[tuple[str, tuple[str, ...]]]) -> None:
    assert [(item.name, item.synonyms) for item in parse_prompts(text)] == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty text"),
        ("  \n", "empty text"),
        ("building;", "expected a class, found nothing"),
        ("building,,road", "expected a class, found nothing"),
        (";", "expected a class, found nothing"),
        ("building:", "expected a synonym, found nothing"),
        ("building: house,", "expected a synonym, found nothing"),
        (": house", "expected a class, found nothing"),
        ("building; Building", "'Building' twice"),
        ("building: house, house", "'house' twice"),
        ("building: house; house", r"'house' twice \(in 'building' and 'house'\)"),
        ("building: building", "'building' twice"),
        ("building, house; road", "holds a comma but no colon"),
        ("a: b: c", "holds ':'"),
        ("a. b", "holds '.'"),
        ("what?", "holds '[?]'"),
        ("a\x00b", "holds"),
        ("a\udc80", "holds"),
        ("- -", "a letter or digit"),
        ("x" * 101, "at most 100 characters, found 101"),
        (",".join(f"c{i}" for i in range(255)), "at most 254 classes, found 255"),
    ],
)
def test_refusals_say_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_prompts(text)


def test_254_classes_are_allowed() -> None:
    assert len(parse_prompts(",".join(f"c{i}" for i in range(254)))) == 254


def test_classes_from_code_follow_the_same_rules() -> None:
    with pytest.raises(UsageError, match="twice"):
        check_classes([PromptClass("a"), PromptClass("A")])
    with pytest.raises(UsageError, match="at least one class"):
        check_classes([])


PHRASES = st.lists(
    st.text(st.characters(categories=("L", "Nd"), max_codepoint=0x2FF), min_size=1, max_size=8),
    min_size=1,
    max_size=3,
).map(" ".join)


@given(
    st.lists(PHRASES, min_size=1, max_size=12, unique_by=str.casefold),
    st.lists(st.integers(0, 4), min_size=12, max_size=12),
)
def test_what_is_formatted_parses_back(phrases: list[str], counts: list[int]) -> None:
    classes, rest = [], phrases
    for count in counts:
        if rest:
            classes.append(PromptClass(rest[0], tuple(rest[1 : 1 + count])))
            rest = rest[1 + count :]
    tidy = check_classes(classes)
    assert parse_prompts(format_prompts(tidy)) == tidy


@given(st.text(max_size=60))
def test_any_text_parses_or_is_refused(text: str) -> None:
    if text.startswith("@"):
        text = text.lstrip("@")
    try:
        classes = parse_prompts(text)
    except UsageError as error:
        assert str(error).isprintable()
    else:
        assert parse_prompts(format_prompts(classes)) == classes


def test_a_file_holds_one_class_per_line(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("\ufeff# mission 7\nbuilding: house\n\nroad;\n  tree\n", encoding="utf-8")
    assert parse_prompts(f"@{path}") == parse_prompts("building: house; road; tree")


def test_a_file_of_one_line_is_like_the_text(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("building, road\n", encoding="utf-8")
    assert parse_prompts(f"@{path}") == parse_prompts("building, road")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        (b"\xff\xfe\x00", "expected UTF-8 text"),
        (b"# nothing\n", "empty text"),
        (b"a" * ((1 << 20) + 1), "at most 1 MiB"),
    ],
)
def test_bad_files(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "words.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        parse_prompts(f"@{path}")
