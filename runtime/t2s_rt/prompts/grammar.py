"""The one grammar for prompts.

Classes are separated by ``;``, synonyms follow ``:`` and are separated by ``,``::

    building: house, roof; road; tree

With neither ``;`` nor ``:`` in the text, commas separate classes: ``building, road, tree``.
``@file`` reads the text from a file, in which a line break separates classes like ``;`` and
lines that start with ``#`` are comments.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from t2s_rt.errors import UsageError

__all__ = ["MAX_CLASSES", "PromptClass", "check_classes", "format_prompts", "parse_prompts"]

MAX_CLASSES = 254
"""Class maps are uint8 with 0 for none and 255 for nodata."""

_MAX_PHRASE = 100
_MAX_FILE_BYTES = 1 << 20
_EXAMPLE = "write e.g. 'building: house, roof; road; tree' or 'building, road, tree'"
# the full stop and the question mark end a phrase inside the detector's caption
_RESERVED = ";:,.?"


@dataclass(frozen=True)
class PromptClass:
    """What a user wants found.

    Attributes:
        name: the class, as typed with white space tidied; it is itself the first prompt.
        synonyms: further prompts for the same class.
    """

    name: str
    synonyms: tuple[str, ...] = ()

    @property
    def phrases(self) -> tuple[str, ...]:
        """Everything that is searched for: the name, then the synonyms."""
        return (self.name, *self.synonyms)


def parse_prompts(text: str) -> tuple[PromptClass, ...]:
    """Parse a prompt text, or the file that ``@file`` names.

    Raises:
        UsageError: an empty class or synonym, a phrase given twice, a character that the
            grammar reserves, more than 254 classes, a file that cannot be read.
    """
    if text.startswith("@"):
        text = _read(text[1:])
    text = text.strip()
    if not text:
        raise UsageError(f"expected prompts, found an empty text; {_EXAMPLE}")
    if ";" in text or ":" in text:
        classes = tuple(_parse_class(part, text) for part in text.split(";"))
    else:
        classes = tuple(PromptClass(_phrase(part, "class", text)) for part in text.split(","))
    return check_classes(classes)


def check_classes(classes: Iterable[PromptClass]) -> tuple[PromptClass, ...]:
    """Check classes that did not come from text: the rules are those of the grammar.

    Raises:
        UsageError: as :func:`parse_prompts`.
    """
    tidy = tuple(
        PromptClass(
            _phrase(item.name, "class", item.name),
            tuple(_phrase(word, "synonym", item.name) for word in item.synonyms),
        )
        for item in classes
    )
    if not tidy:
        raise UsageError(f"expected at least one class, found none; {_EXAMPLE}")
    if len(tidy) > MAX_CLASSES:
        raise UsageError(f"expected at most {MAX_CLASSES} classes, found {len(tidy)}")
    owners: dict[str, str] = {}
    for item in tidy:
        for phrase in item.phrases:
            key = phrase.casefold()
            if key in owners:
                raise UsageError(
                    f"expected every phrase once, found {phrase!r} twice "
                    f"(in {owners[key]!r} and {item.name!r}); remove one"
                )
            owners[key] = item.name
    return tidy


def format_prompts(classes: Sequence[PromptClass]) -> str:
    """The text that :func:`parse_prompts` reads back into the same classes."""
    parts = [
        f"{item.name}: {', '.join(item.synonyms)}" if item.synonyms else item.name
        for item in classes
    ]
    return "; ".join(parts)


def _parse_class(part: str, text: str) -> PromptClass:
    name, colon, rest = part.partition(":")
    if not colon and "," in name:
        raise UsageError(
            f"{part.strip()!r} holds a comma but no colon: in a text with ';' or ':' commas "
            "separate synonyms only; write 'name: synonym, synonym', or ';' between classes"
        )
    words = rest.split(",") if colon else []
    return PromptClass(
        _phrase(name, "class", text), tuple(_phrase(word, "synonym", text) for word in words)
    )


def _phrase(text: str, kind: str, whole: str) -> str:
    phrase = " ".join(unicodedata.normalize("NFC", text).split())
    if not phrase:
        raise UsageError(
            f"expected a {kind}, found nothing between separators in {_shorten(whole)}; {_EXAMPLE}"
        )
    if len(phrase) > _MAX_PHRASE:
        raise UsageError(
            f"expected a {kind} of at most {_MAX_PHRASE} characters, found {len(phrase)}: "
            f"{_shorten(phrase)}"
        )
    for character in phrase:
        if character in _RESERVED or not character.isprintable():
            raise UsageError(
                f"{kind} {phrase!a} holds {character!a}, which no phrase may hold; {_EXAMPLE}"
            )
    if not any(character.isalnum() for character in phrase):
        raise UsageError(f"expected a {kind} with a letter or digit, found {phrase!a}; {_EXAMPLE}")
    return phrase


def _read(name: str) -> str:
    try:
        with open(Path(name), "rb") as stream:
            data = stream.read(_MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        raise UsageError(f"@{name}: the prompt file cannot be read ({error})") from error
    if len(data) > _MAX_FILE_BYTES:
        raise UsageError(f"@{name}: expected a prompt file of at most 1 MiB, found a larger one")
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UsageError(f"@{name}: expected UTF-8 text, found other bytes ({error})") from error
    kept = (line.strip() for line in lines)
    # a line may end in ';' as well: the line break alone would separate too
    return "; ".join(line.rstrip("; ") for line in kept if line and not line.startswith("#"))


def _shorten(text: str) -> str:
    shown = ascii(text)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
