"""The data sets that ``t2s-rt eval`` knows, with their label codes as published.

Sources: LoveDA (Wang et al., NeurIPS 2021 datasets track), ISPRS 2D semantic labelling Potsdam
and Vaihingen, UAVid (Lyu et al., ISPRS J. 2020), the MBRSC data set of Dubai (Humans in the
Loop), and this package's own synthetic scenes.
"""

from __future__ import annotations

from collections.abc import Mapping

from t2s_rt.errors import UsageError
from t2s_rt.evaluation.datasets.spec import IGNORED, Colour, DatasetClass, DatasetSpec
from t2s_rt.synthetic import CLASSES

__all__ = ["DATASETS", "SPLITS", "dataset_spec"]

SPLITS = ("train", "val", "test")

_BUILDING = ("building", "house", "roof")
_LOW = ("low vegetation", "grass")

_LOVEDA = DatasetSpec(
    name="loveda",
    title="LoveDA",
    classes=(
        DatasetClass("background", (), (90, 90, 90)),
        DatasetClass("building", _BUILDING, (220, 50, 47)),
        DatasetClass("road", ("road", "street"), (200, 200, 120)),
        DatasetClass("water", ("water",), (38, 110, 210)),
        DatasetClass("barren", ("barren", "bare ground"), (160, 110, 70)),
        DatasetClass("forest", ("forest", "tree"), (20, 110, 40)),
        DatasetClass("agricultural", ("agricultural", "farmland", "field"), (222, 184, 110)),
    ),
    sink=0,
    # stored one up, so that 0 can be "no data"
    ids={0: IGNORED, IGNORED: IGNORED, **{index + 1: index for index in range(7)}},
    colours=None,
    gsd=0.3,
    layout="Val/Urban/images_png/*.png with Val/Urban/masks_png/*.png, and the same for Rural",
    note="labels are stored one up, 0 is no data and not counted; background is a class",
)

_ISPRS_CLASSES = (
    DatasetClass(
        "impervious surface",
        ("impervious surface", "road", "parking lot", "pavement"),
        (200, 200, 200),
    ),
    DatasetClass("building", _BUILDING, (0, 0, 255)),
    DatasetClass("low vegetation", _LOW, (0, 220, 220)),
    DatasetClass("tree", ("tree",), (0, 160, 0)),
    DatasetClass("car", ("car", "vehicle"), (255, 220, 0)),
    DatasetClass("clutter", (), (220, 0, 0)),
)
_ISPRS_COLOURS: Mapping[Colour, int] = {
    (255, 255, 255): 0,
    (0, 0, 255): 1,
    (0, 255, 255): 2,
    (0, 255, 0): 3,
    (255, 255, 0): 4,
    (255, 0, 0): 5,
    # class boundaries in the eroded labels
    (0, 0, 0): IGNORED,
}
_ISPRS_IDS = {0: IGNORED, IGNORED: IGNORED, **{index + 1: index for index in range(6)}}
_ISPRS_NOTE = "clutter is a class; boundaries are not counted where the eroded labels are there"

_POTSDAM = DatasetSpec(
    name="potsdam",
    title="ISPRS Potsdam",
    classes=_ISPRS_CLASSES,
    sink=5,
    ids=_ISPRS_IDS,
    colours=_ISPRS_COLOURS,
    gsd=0.05,
    layout="2_Ortho_RGB/top_potsdam_2_13_RGB.tif (or 4_Ortho_RGBIR, 3_Ortho_IRRG) with "
    "5_Labels_all_noBoundary/top_potsdam_2_13_label_noBoundary.tif (or 5_Labels_all)",
    note=_ISPRS_NOTE,
)

_VAIHINGEN = DatasetSpec(
    name="vaihingen",
    title="ISPRS Vaihingen",
    classes=_ISPRS_CLASSES,
    sink=5,
    ids=_ISPRS_IDS,
    colours=_ISPRS_COLOURS,
    gsd=0.09,
    layout="top/top_mosaic_09cm_area2.tif with top_mosaic_09cm_area2_noBoundary.tif or "
    "top_mosaic_09cm_area2.tif in another folder",
    note=_ISPRS_NOTE + "; images are near infrared, red, green shown as red, green, blue",
)

_UAVID = DatasetSpec(
    name="uavid",
    title="UAVid",
    classes=(
        DatasetClass("background", (), (90, 90, 90)),
        DatasetClass("building", _BUILDING, (128, 0, 0)),
        DatasetClass("road", ("road", "street"), (128, 64, 128)),
        DatasetClass("car", ("car", "vehicle"), (192, 0, 192)),
        DatasetClass("tree", ("tree",), (0, 128, 0)),
        DatasetClass("vegetation", ("vegetation", "low vegetation", "grass"), (128, 128, 0)),
        DatasetClass("human", ("human", "person"), (64, 200, 220)),
    ),
    sink=0,
    # eight published ids; moving cars (7) join static ones (3)
    ids={**{index: index for index in range(7)}, 7: 3, IGNORED: IGNORED},
    colours={
        (0, 0, 0): 0,
        (128, 0, 0): 1,
        (128, 64, 128): 2,
        (192, 0, 192): 3,
        (64, 0, 128): 3,
        (0, 128, 0): 4,
        (128, 128, 0): 5,
        (64, 64, 0): 6,
    },
    gsd=None,
    layout="uavid_val/seq16/Images/*.png with uavid_val/seq16/Labels/*.png",
    note="static and moving cars are one class, clutter is background: 7 classes of 8; frames "
    "are oblique and have no one ground resolution",
)

_DUBAI = DatasetSpec(
    name="dubai",
    title="MBRSC Dubai",
    classes=(
        DatasetClass("building", _BUILDING, (60, 16, 152)),
        DatasetClass("land", ("unpaved land", "bare ground"), (132, 41, 246)),
        DatasetClass("road", ("road", "street"), (110, 193, 228)),
        DatasetClass(
            "vegetation", ("vegetation", "tree", "low vegetation", "grass"), (254, 221, 58)
        ),
        DatasetClass("water", ("water",), (226, 169, 41)),
    ),
    sink=None,
    # indices of its paletted labels differ from file to file: only colours say the class
    ids=None,
    colours={
        (60, 16, 152): 0,
        (132, 41, 246): 1,
        (110, 193, 228): 2,
        (254, 221, 58): 3,
        (226, 169, 41): 4,
        (155, 155, 155): IGNORED,
    },
    gsd=None,
    layout="Tile 1/images/image_part_001.jpg with Tile 1/masks/image_part_001.png",
    note="unlabelled pixels are not counted; the set has no splits, so every split is all of it; "
    "its ground resolution is not published, so images are taken for the working resolution",
)

_SYNTHETIC = DatasetSpec(
    name="synthetic",
    title="synthetic scenes",
    classes=tuple(
        DatasetClass(item.name, () if item.kind == "other" else (item.name,), item.colour)
        for item in CLASSES
    ),
    sink=0,
    ids={**{item.id: item.id for item in CLASSES}, IGNORED: IGNORED},
    colours={item.colour: item.id for item in CLASSES},
    gsd=None,
    layout="images/*.tif with labels/*.tif, as python -m t2s_rt.synthetic --scenes DIR writes",
)

DATASETS: Mapping[str, DatasetSpec] = {
    spec.name: spec for spec in (_LOVEDA, _POTSDAM, _VAIHINGEN, _UAVID, _DUBAI, _SYNTHETIC)
}


def dataset_spec(name: str) -> DatasetSpec:
    """The data set of a name.

    Raises:
        UsageError: none has it.
    """
    if name not in DATASETS:
        raise UsageError(f"expected a data set out of {', '.join(DATASETS)}, found {name!r}")
    return DATASETS[name]
