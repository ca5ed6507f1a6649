"""Every number that a route decides by: the one place for defaults.

A class in a prompt pack may carry its own thresholds under the same names as
``RouteSettings.thresholds`` uses (``detector``, ``points``, ``masks``, ``dense``); these win.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from t2s_rt.errors import UsageError

if TYPE_CHECKING:
    from t2s_rt.prompts import PackClass

__all__ = ["RouteSettings", "ThresholdName"]

ThresholdName = Literal["detector", "points", "masks", "dense"]


@dataclass(frozen=True)
class RouteSettings:
    """Thresholds and limits of the routes. All scores are absolute, in 0..1.

    Attributes:
        detector: least sigmoid score of a detection.
        points: least class probability of a heat-map cell, and of a mask's mean over the heat map.
        masks: least class probability of a SAM mask.
        dense: least class probability of a pixel.
        label_scale: factor from cosine to logit in the softmax over the label set; None takes
            the pack's own, which is the scale that its CLIP was trained with.
        box_nms_iou: boxes of one class that overlap more than this are one object.
        cross_class_iou: boxes of different classes that overlap more than this are one object,
            which goes to the class with the higher score.
        max_box_share: boxes over more of the tile than this are no object (image-wide boxes).
        min_box_side: boxes with a shorter side than this many tile pixels are noise.
        box_margin: a box's mask may leave the box by this share of its sides, plus two pixels.
        max_positive_points: most positive points, and most negative ones, of one prompt.
        max_components: most heat-map components of one class in one tile, largest first.
        component_cover: least share of its heat-map component that a point mask must cover.
        grid: points per side of the regular grid of the masks route.
        mask_iou: least predicted IoU of a SAM mask.
        mask_stability: least stability score of a SAM mask: the IoU of the mask with itself
            when the logit threshold moves by ``stability_offset`` up and down.
        stability_offset: see ``mask_stability``.
        mask_nms_iou: masks whose boxes overlap more than this are one mask.
        min_mask_pixels: smaller masks, in low-resolution pixels, are noise.
        mask_names: how a mask gets its class: ``patches`` averages dense CLIP inside the mask
            (one CLIP pass for all masks); ``crops`` embeds a crop with context for each mask.
        crop_context: context around a crop, as a share of its longer side.
        sharpen_grid: points per side of the SAM grid that sharpens stuff in the fused route;
            0 leaves dense CLIP as it is.
        sharpen_weight: how far a pixel's stuff scores move to the mean of its SAM mask.
        sharpen_purity: only masks whose mean score of one class reaches this sharpen.
    """

    detector: float = 0.3
    points: float = 0.4
    masks: float = 0.4
    dense: float = 0.3
    label_scale: float | None = None
    box_nms_iou: float = 0.5
    cross_class_iou: float = 0.8
    max_box_share: float = 0.8
    min_box_side: float = 2.0
    box_margin: float = 0.1
    max_positive_points: int = 4
    max_components: int = 48
    component_cover: float = 0.25
    grid: int = 16
    mask_iou: float = 0.7
    mask_stability: float = 0.8
    stability_offset: float = 1.0
    mask_nms_iou: float = 0.7
    min_mask_pixels: int = 8
    mask_names: Literal["patches", "crops"] = "patches"
    crop_context: float = 0.2
    sharpen_grid: int = 4
    sharpen_weight: float = 0.7
    sharpen_purity: float = 0.5

    def __post_init__(self) -> None:
        """Refuse numbers that no route could work with."""
        shares = (
            "detector", "points", "masks", "dense", "box_nms_iou", "cross_class_iou",
            "max_box_share", "component_cover", "mask_iou", "mask_stability", "mask_nms_iou",
            "sharpen_weight", "sharpen_purity",
        )  # fmt: skip
        for name in shares:
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise UsageError(
                    f"route setting {name} must lie in 0..1, found {getattr(self, name)}"
                )
        if self.grid < 1 or self.sharpen_grid < 0:
            raise UsageError(
                "route settings grid and sharpen_grid count points per side (grid at least 1, "
                f"sharpen_grid at least 0), found {self.grid} and {self.sharpen_grid}"
            )

    def threshold(self, pack_class: PackClass, name: ThresholdName) -> float:
        """The class's own threshold if its pack carries one, else the default of this name."""
        own = pack_class.thresholds.get(name)
        return float(getattr(self, name) if own is None else own)
