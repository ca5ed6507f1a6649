"""Which images and labels lie under a root, in a set's published folders or in a plain pair."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from t2s_rt.errors import SceneError
from t2s_rt.evaluation.datasets.catalogue import SPLITS
from t2s_rt.evaluation.datasets.spec import DatasetItem, DatasetSpec

__all__ = ["find_items"]

_ENDINGS = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".webp", ".bmp")
_TAILS = (
    "_label_noBoundary", "_noBoundary", "_labels", "_label", "_masks", "_mask",
    "_RGBIR", "_IRRG", "_RGB",
)  # fmt: skip

# the split of the benchmarks' own test images, as mmsegmentation has it; both sets publish
# labels for all of them today, and "test" is the same images as "val"
_POTSDAM_TRAIN = frozenset(
    f"{row}_{column}"
    for row, columns in {
        2: (10, 11, 12),
        3: (10, 11, 12),
        4: (10, 11, 12),
        5: (10, 11, 12),
        6: (7, 8, 9, 10, 11, 12),
        7: (7, 8, 9, 10, 11, 12),
    }.items()
    for column in columns
)
_VAIHINGEN_TRAIN = frozenset(
    f"area{number}" for number in (1, 3, 5, 7, 11, 13, 15, 17, 21, 23, 26, 28, 30, 32, 34, 37)
)

_Finder = Callable[[Path, str], "_Found"]


class _Found:
    """Pairs so far, and images whose label is missing."""

    def __init__(self) -> None:
        self.items: list[DatasetItem] = []
        self.alone: list[Path] = []

    def pair(self, images: Mapping[str, Path], labels: Mapping[str, Path], prefix: str) -> None:
        for key, image in images.items():
            if key in labels:
                self.items.append(DatasetItem(f"{prefix}{key}", image, labels[key]))
            else:
                self.alone.append(image)


def find_items(
    spec: DatasetSpec, root: Path, split: str = "val"
) -> tuple[tuple[DatasetItem, ...], tuple[Path, ...]]:
    """The labelled images of a split, in a stable order.

    The published folders come first. A plain pair of folders serves for every set: ``images`` and
    ``labels`` in the root or in a folder of the split's name, or ``img_dir/SPLIT`` and
    ``ann_dir/SPLIT``; files belong together by stem, and without a folder for the split all of
    them are evaluated. Labels are coded as the set publishes them.

    Args:
        spec: the data set.
        root: folder that holds it.
        split: ``train``, ``val`` or ``test``.

    Returns:
        The items, and the images that have no label.

    Raises:
        SceneError: there is nothing, or images without any label; says what was expected.
    """
    if not root.is_dir():
        raise SceneError(f"{root}: expected the folder of {spec.title}, found no folder there")
    found = _Found()
    try:
        for finder in (_PUBLISHED.get(spec.name, _nothing), _plain):
            found = finder(root, split)
            if found.items or found.alone:
                break
    except OSError as error:
        raise SceneError(f"{root}: cannot be read ({error.strerror or error})") from error
    if not found.items:
        what = (
            f"{len(found.alone)} images without labels (the first: {found.alone[0]}); "
            f"labels of a test split may be unpublished"
            if found.alone
            else _listing(root)
        )
        raise SceneError(
            f"{root}: expected split {split} of {spec.title} as {spec.layout}; or a plain pair of "
            f"folders images/ and labels/ with files of the same stem; found {what}"
        )
    return (
        tuple(sorted(found.items, key=lambda item: _natural(item.name))),
        tuple(sorted(found.alone)),
    )


def _nothing(root: Path, split: str) -> _Found:
    return _Found()


def _loveda(root: Path, split: str) -> _Found:
    found = _Found()
    for base in (_child(root, split), None if _names_split(root, split) is False else root):
        if base is None:
            continue
        for area in ("Urban", "Rural"):
            place = _child(base, area)
            if place is not None:
                images = _files(_child(place, "images_png"))
                labels = _files(_child(place, "masks_png"))
                found.pair(images, labels, f"{split.capitalize()}/{area}/")
        if found.items or found.alone:
            break
    return found


def _names_split(root: Path, split: str) -> bool | None:
    """Whether a folder's name is that of the split; None where it names no split."""
    name = root.name.lower()
    return name == split if name in SPLITS else None


def _uavid(root: Path, split: str) -> _Found:
    found = _Found()
    for base in (_child(root, f"uavid_{split}"), _child(root, split), root):
        if base is None:
            continue
        for sequence in _folders(base):
            if not sequence.name.lower().startswith("seq"):
                continue
            images, labels = _child(sequence, "Images"), _child(sequence, "Labels")
            found.pair(_files(images), _files(labels), f"{sequence.name}/")
        if found.items or found.alone:
            break
    return found


def _dubai(root: Path, split: str) -> _Found:
    found = _Found()
    inside = _child(root, "Semantic segmentation dataset") or root
    for tile in _folders(inside):
        if tile.name.lower().startswith("tile"):
            found.pair(
                _files(_child(tile, "images")), _files(_child(tile, "masks")), f"{tile.name}/"
            )
    return found


def _potsdam(root: Path, split: str) -> _Found:
    images = _merged(
        [_child(root, name) for name in ("2_Ortho_RGB", "4_Ortho_RGBIR", "3_Ortho_IRRG")],
        "top_potsdam_",
    )
    labels = _merged(
        [
            _child(root, "5_Labels_all_noBoundary"),
            _child(root, "5_Labels_for_participants_no_Boundary"),
            _child(root, "5_Labels_all"),
            _child(root, "5_Labels_for_participants"),
            root,
        ],
        "top_potsdam_",
    )
    return _isprs(images, labels, _POTSDAM_TRAIN, split)


def _vaihingen(root: Path, split: str) -> _Found:
    top = _child(root, "top")
    images = _merged([top], "top_mosaic_09cm_")
    # zipped apart, labels have the images' names: whatever other folder they lie in
    others = [folder for folder in _folders(root) if folder != top]
    eroded = [f for f in others if "eroded" in f.name.lower() or "noboundary" in f.name.lower()]
    labels = _merged(
        [*eroded, *(folder for folder in others if folder not in eroded), root],
        "top_mosaic_09cm_",
    )
    return _isprs(images, labels, _VAIHINGEN_TRAIN, split)


def _isprs(
    images: Mapping[str, Path], labels: Mapping[str, Path], train: frozenset[str], split: str
) -> _Found:
    found = _Found()
    wanted = {key: image for key, image in images.items() if (key in train) == (split == "train")}
    found.pair(wanted, labels, "")
    return found


def _merged(folders: Sequence[Path | None], prefix: str) -> dict[str, Path]:
    """Files by what follows the prefix; an earlier folder wins over a later one."""
    merged: dict[str, Path] = {}
    for folder in folders:
        for key, path in _files(folder).items():
            if key.startswith(prefix):
                merged.setdefault(key.removeprefix(prefix), path)
    return merged


def _plain(root: Path, split: str) -> _Found:
    found = _Found()
    inside = _child(root, split)
    for base, below, names in (
        (inside, "", ("images", "labels")),
        (inside, "", ("images", "masks")),
        (root, split, ("images", "labels")),
        (root, split, ("img_dir", "ann_dir")),
        (root, "", ("images", "labels")),
        (root, "", ("images", "masks")),
    ):
        sides = [None if base is None else _child(base, name) for name in names]
        if below:
            sides = [None if side is None else _child(side, below) for side in sides]
        if all(side is not None for side in sides):
            found.pair(_files(sides[0]), _files(sides[1]), "")
        if found.items:
            break
    return found


def _child(folder: Path, name: str) -> Path | None:
    """A folder inside, whatever the case of its name."""
    exact = folder / name
    if exact.is_dir():
        return exact
    return next((f for f in _folders(folder) if f.name.lower() == name.lower()), None)


def _folders(folder: Path) -> list[Path]:
    return sorted((f for f in folder.iterdir() if f.is_dir()), key=lambda f: _natural(f.name))


def _files(folder: Path | None) -> dict[str, Path]:
    """Images of a folder by stem, without the tails that tell an image from its label.

    Of two files that differ only in their tail the eroded label wins.
    """
    if folder is None:
        return {}
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in _ENDINGS or path.name.startswith(".") or not path.is_file():
            continue
        key = path.stem
        for tail in _TAILS:
            key = key.removesuffix(tail)
        if key not in files or path.stem.endswith("_noBoundary"):
            files[key] = path
    return files


def _natural(name: str) -> tuple[tuple[int, str], ...]:
    """Sorts ``area2`` before ``area10``."""
    parts: list[str] = []
    for letter in name:
        if parts and parts[-1][-1].isdecimal() == letter.isdecimal():
            parts[-1] += letter
        else:
            parts.append(letter)
    return tuple((int(p), "") if p.isdecimal() else (-1, p) for p in parts)


def _listing(root: Path) -> str:
    names = sorted(path.name for path in root.iterdir())
    if not names:
        return "an empty folder"
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


_PUBLISHED: Mapping[str, _Finder] = {
    "loveda": _loveda,
    "potsdam": _potsdam,
    "vaihingen": _vaihingen,
    "uavid": _uavid,
    "dubai": _dubai,
}
