"""The words that nano knows: one list for tokenizers, captions, labels and error messages.

A word list of its own keeps the text encoders small. Every word below is one token in both
tokenizers, and every phrase below occurs in training, either as the name of something that the
synthetic scenes show or as a name of something that they never show under that word.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "ABSENT_PHRASES",
    "OTHER_PHRASES",
    "TEMPLATE",
    "TRUTH_CLASSES",
    "TruthClass",
    "known_phrases",
    "known_words",
]


@dataclass(frozen=True)
class TruthClass:
    """One class of the synthetic truth and the phrases that mean it.

    Attributes:
        id: value in the synthetic class map.
        phrases: the class name first, then its synonyms.
        plurals: plural forms, rarer in training.
        boxes: whether the detector finds it as boxes; otherwise its phrases are negatives.
    """

    id: int
    phrases: tuple[str, ...]
    plurals: tuple[str, ...] = ()
    boxes: bool = False

    @property
    def name(self) -> str:
        """The class name."""
        return self.phrases[0]


TRUTH_CLASSES: tuple[TruthClass, ...] = (
    TruthClass(
        1,
        ("building", "house", "roof"),
        ("buildings", "houses", "roofs"),
        boxes=True,
    ),
    TruthClass(2, ("road", "street"), ("roads", "streets")),
    TruthClass(3, ("tree", "forest"), ("trees", "forests"), boxes=True),
    TruthClass(
        4,
        ("water", "river", "lake"),
        ("rivers", "lakes"),
        boxes=True,
    ),
    TruthClass(5, ("car", "vehicle"), ("cars", "vehicles"), boxes=True),
    TruthClass(6, ("low vegetation", "grass")),
    TruthClass(7, ("field",), ("fields",)),
    TruthClass(8, ("bare ground",)),
    TruthClass(9, ("parking lot",), ("parking lots",), boxes=True),
    TruthClass(10, ("pavement", "sidewalk"), ("sidewalks",)),
)
"""Ids 1 to 10 of ``t2s_rt.synthetic.CLASSES``; id 0 is :data:`OTHER_PHRASES`."""

OTHER_PHRASES: tuple[str, ...] = (
    "background",
    "container",
    "greenhouse",
    "solar panel",
    "pool",
    "rubble",
    "snow",
    "tennis court",
)
"""Names of what the scenes show as class 0: things that are none of the truth classes."""

ABSENT_PHRASES: tuple[str, ...] = ("boat", "airplane", "bridge", "ship")
"""Names of what no synthetic scene shows: always negatives."""

TEMPLATE: tuple[str, ...] = ("an", "aerial", "photo", "of")
"""Words of "an aerial photo of {}", which a quarter of the CLIP training texts use."""


def known_phrases() -> tuple[str, ...]:
    """Every phrase that training uses, class names first."""
    names = [c.name for c in TRUTH_CLASSES]
    synonyms = [p for c in TRUTH_CLASSES for p in (*c.phrases[1:], *c.plurals)]
    return (*names, *synonyms, *OTHER_PHRASES, *ABSENT_PHRASES)


def known_words() -> tuple[str, ...]:
    """Every single word of the known phrases and the template, sorted: the tokens."""
    words = {word for phrase in known_phrases() for word in phrase.split()}
    return tuple(sorted(words | set(TEMPLATE)))
