"""What a labelled data set is: its classes, how its labels are coded, and one named item of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from t2s_rt.bundle import Bundle
from t2s_rt.errors import UsageError
from t2s_rt.prompts import PromptClass, PromptPack

__all__ = ["IGNORED", "Colour", "DatasetClass", "DatasetItem", "DatasetSpec", "Wording"]

IGNORED = 255
"""Label of pixels that no metric counts."""

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class DatasetClass:
    """One class of a data set.

    Attributes:
        name: as the set's publication has it.
        words: prompts that mean it, the set's own first; empty for what is looked for by no word
            (background, clutter): pixels where nothing was found.
        colour: RGB in pictures.
    """

    name: str
    words: tuple[str, ...]
    colour: Colour


@dataclass(frozen=True)
class DatasetSpec:
    """A data set's classes and the coding of its labels.

    Attributes:
        name: as on the command line.
        title: for people.
        classes: label ``i`` of a decoded label map is ``classes[i]``.
        sink: the class of pixels where nothing was found; None where the set has no such class,
            so that such pixels are right for no class.
        ids: stored label to class, or to ``IGNORED``; None where the set publishes colours only.
        colours: stored RGB to class, or to ``IGNORED``; None where it publishes ids only.
        gsd: metres per pixel of its images; None where it is not published or differs.
        layout: the published folders, for messages.
        note: a trap that a reader of the figures should know.
    """

    name: str
    title: str
    classes: tuple[DatasetClass, ...]
    sink: int | None
    ids: Mapping[int, int] | None
    colours: Mapping[Colour, int] | None
    gsd: float | None
    layout: str
    note: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Class names in label order."""
        return tuple(item.name for item in self.classes)


@dataclass(frozen=True)
class DatasetItem:
    """An image and its label map on disk.

    Attributes:
        name: unique within the set, e.g. ``Val/Urban/3514``.
        image: path of an 8-bit image.
        label: path of its label map, of the same size.
    """

    name: str
    image: Path
    label: Path


@dataclass(frozen=True)
class Wording:
    """How a set's classes are asked for.

    Attributes:
        prompts: classes of the pack, in its order.
        targets: class of the set that each of them means; None where it means none.
        without: names of classes that should have a word but the bundle or pack has none: they
            are never found, and count as missed where the truth has them.
    """

    prompts: tuple[PromptClass, ...]
    targets: tuple[int | None, ...]
    without: tuple[str, ...] = field(default=())

    @classmethod
    def of_bundle(cls, spec: DatasetSpec, bundle: Bundle) -> Wording:
        """The set's own prompts; of them only the words that a closed vocabulary knows.

        Raises:
            UsageError: the bundle knows no word of any class.
        """
        known = bundle.text.words
        prompts: list[PromptClass] = []
        targets: list[int | None] = []
        without: list[str] = []
        for index, item in enumerate(spec.classes):
            words = [word for word in item.words if known is None or word in known]
            if words:
                prompts.append(PromptClass(words[0], tuple(words[1:])))
                targets.append(index)
            elif item.words:
                without.append(item.name)
        if not prompts:
            raise UsageError(
                f"bundle {bundle.name} knows no word for a class of {spec.title} "
                f"({', '.join(spec.names)}); take another bundle or a --pack"
            )
        return cls(tuple(prompts), tuple(targets), tuple(without))

    @classmethod
    def of_pack(cls, spec: DatasetSpec, pack: PromptPack) -> Wording:
        """A ready pack: its classes mean the class of the set that has that name or word.

        Raises:
            UsageError: no class of the pack is one of the set.
        """
        owners = {
            word.casefold(): index
            for index, item in reversed(list(enumerate(spec.classes)))
            for word in (*item.words, item.name)
        }
        targets = tuple(
            _first(owners.get(word.casefold()) for word in (entry.name, *entry.synonyms))
            for entry in pack.classes
        )
        if all(target is None for target in targets):
            raise UsageError(
                f"expected a pack with classes of {spec.title} ({', '.join(spec.names)}), found "
                f"{', '.join(entry.name for entry in pack.classes)}; make one with those words"
            )
        without = tuple(
            item.name
            for index, item in enumerate(spec.classes)
            if item.words and index not in targets
        )
        prompts = tuple(PromptClass(entry.name, tuple(entry.synonyms)) for entry in pack.classes)
        return cls(prompts, targets, without)

    def classes_of_labels(self, spec: DatasetSpec) -> NDArray[np.uint8]:
        """Class of the set by label of a map, uint8 ``[1 + K]``; label 0 is "nothing found".

        That is the set's sink, or one past its last class where it has none; so are classes of
        the pack that mean none of the set's.
        """
        none = len(spec.classes) if spec.sink is None else spec.sink
        means = (none if target is None else target for target in self.targets)
        return np.array([none, *means], np.uint8)

    def words_by_class(self, spec: DatasetSpec) -> dict[str, list[str] | None]:
        """For each class of the set what it is asked for by; None for by nothing."""
        found: dict[str, list[str] | None] = dict.fromkeys(spec.names)
        for prompt, target in zip(self.prompts, self.targets, strict=True):
            if target is not None:
                name = spec.names[target]
                found[name] = [*(found[name] or []), *prompt.phrases]
        return found


def _first(values: Iterable[int | None]) -> int | None:
    return next((value for value in values if value is not None), None)
