"""The look of a world: season, palettes, sun, road habits and the sensor, all drawn from the seed.

Colour ranges of the classes overlap on purpose: dark woods, dark water and dark fields; grey roofs
and roads; brown soil and brown roofs. Colour alone must not tell the classes apart.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from t2s_rt.synthetic.geometry import keyed_random

Colour = tuple[int, int, int]

SALT_STYLE = 2


class Material(NamedTuple):
    """A ground texture: a mix of two colours driven by fine, medium and coarse noise.

    `fine`, `medium`, `coarse` are amplitudes 0..80 of the mix, `grain` is added brightness noise.
    """

    dark: Colour
    light: Colour
    fine: int
    medium: int
    coarse: int
    grain: int = 0
    snow: bool = False
    pattern: int = 0
    mottle: int = 0


SMOOTH, ROWS, CANOPY, WAVES = range(4)
"""Values of Material.pattern."""

# (dark, light) colour pairs; jittered per world and per parcel
_GRASS: dict[str, list[tuple[Colour, Colour]]] = {
    "spring": [((72, 98, 48), (128, 150, 84)), ((86, 104, 62), (140, 146, 96))],
    "summer": [((70, 90, 50), (124, 132, 82)), ((92, 98, 60), (150, 146, 100))],
    "autumn": [((96, 96, 62), (150, 138, 96)), ((84, 92, 58), (136, 128, 84))],
    "winter": [((88, 86, 66), (138, 130, 104)), ((74, 80, 58), (120, 118, 92))],
    "dry": [((122, 110, 78), (176, 160, 122)), ((104, 100, 70), (156, 146, 108))],
}
_CROPS: dict[str, list[tuple[Colour, Colour]]] = {
    "spring": [
        ((58, 96, 42), (104, 142, 66)),
        ((44, 76, 40), (84, 116, 62)),
        ((150, 146, 50), (206, 196, 70)),
        ((104, 84, 64), (142, 118, 92)),
    ],
    "summer": [
        ((50, 82, 40), (96, 124, 62)),
        ((36, 60, 36), (66, 94, 52)),
        ((158, 140, 92), (204, 186, 134)),
        ((118, 116, 66), (162, 154, 98)),
        ((112, 92, 70), (150, 126, 98)),
    ],
    "autumn": [
        ((150, 132, 96), (192, 172, 132)),
        ((102, 82, 62), (138, 114, 88)),
        ((72, 58, 48), (104, 86, 70)),
        ((70, 86, 44), (116, 124, 72)),
    ],
    "winter": [
        ((92, 78, 64), (126, 108, 90)),
        ((62, 54, 48), (92, 80, 70)),
        ((72, 84, 52), (108, 114, 76)),
        ((128, 118, 98), (164, 150, 126)),
    ],
    "dry": [
        ((140, 114, 82), (180, 152, 116)),
        ((120, 96, 72), (156, 130, 100)),
        ((62, 86, 42), (104, 122, 66)),
        ((168, 150, 112), (206, 186, 146)),
    ],
}
_BARE: list[tuple[Colour, Colour]] = [
    ((138, 116, 88), (186, 162, 130)),
    ((112, 94, 76), (156, 136, 114)),
    ((166, 152, 130), (212, 200, 178)),
    ((128, 92, 66), (176, 134, 100)),
    ((104, 98, 90), (150, 144, 134)),
    ((182, 178, 168), (226, 222, 214)),
]
_ROOFS: list[Colour] = [
    (158, 84, 62),
    (176, 104, 76),
    (122, 68, 56),
    (138, 98, 82),
    (128, 128, 130),
    (94, 96, 100),
    (64, 66, 70),
    (188, 186, 180),
    (222, 220, 214),
    (166, 150, 128),
    (106, 124, 148),
    (70, 96, 138),
    (84, 106, 92),
    (98, 84, 72),
    (146, 140, 124),
    (52, 52, 56),
]
_TREES: dict[str, list[tuple[Colour, Colour]]] = {
    "spring": [((34, 50, 24), (112, 138, 70)), ((40, 56, 30), (130, 146, 92))],
    "summer": [
        ((22, 36, 18), (82, 104, 54)),
        ((30, 44, 22), (98, 116, 64)),
        ((36, 46, 26), (112, 120, 76)),
    ],
    "autumn": [
        ((58, 40, 18), (166, 120, 60)),
        ((66, 46, 22), (150, 96, 50)),
        ((36, 44, 22), (112, 112, 58)),
        ((80, 66, 26), (184, 156, 74)),
    ],
    "winter": [((58, 50, 44), (126, 114, 102)), ((46, 42, 36), (108, 100, 88))],
    "dry": [((38, 44, 28), (106, 108, 74)), ((52, 54, 36), (126, 122, 90))],
}
_CONIFERS: list[tuple[Colour, Colour]] = [
    ((14, 24, 18), (58, 76, 52)),
    ((18, 30, 24), (66, 84, 64)),
]
_WATER: list[tuple[Colour, Colour]] = [
    ((18, 28, 30), (34, 46, 46)),
    ((28, 42, 34), (48, 62, 48)),
    ((34, 54, 62), (58, 80, 84)),
    ((62, 76, 62), (90, 102, 82)),
    ((88, 92, 72), (120, 120, 94)),
    ((40, 76, 90), (72, 112, 120)),
    ((116, 104, 80), (146, 132, 104)),
    ((48, 52, 56), (76, 80, 84)),
]
_CARS: list[Colour] = [
    (236, 236, 236),
    (228, 228, 224),
    (240, 240, 238),
    (186, 190, 194),
    (168, 170, 174),
    (150, 152, 156),
    (120, 124, 128),
    (96, 100, 106),
    (76, 78, 84),
    (60, 62, 66),
    (44, 46, 50),
    (34, 36, 42),
    (26, 26, 30),
    (142, 44, 40),
    (104, 36, 36),
    (46, 60, 104),
    (84, 104, 140),
    (150, 140, 112),
    (60, 80, 66),
]
_LOUD_CARS: list[Colour] = [(176, 34, 32), (196, 170, 60), (40, 76, 150), (196, 96, 40)]

THEMES: dict[str, dict[str, float]] = {
    "city": {"dense": 5, "slabs": 2, "commercial": 1, "park": 1, "suburb": 1},
    "town": {"dense": 2, "suburb": 3, "slabs": 1, "industrial": 1, "commercial": 1, "park": 0.5},
    "suburbia": {"suburb": 6, "park": 1, "commercial": 1, "slabs": 1, "waterside": 0.7},
    "terraces": {"suburb": 5, "dense": 1, "slabs": 1, "village": 1},
    "estate": {"slabs": 4, "commercial": 2, "suburb": 1, "park": 1},
    "works": {"industrial": 6, "commercial": 2, "bare": 1, "waterside": 0.7},
    "country": {"farmland": 5, "village": 2.5, "forest": 1.5, "mixed": 1, "waterside": 1},
    "hamlet": {"village": 5, "farmland": 2, "orchard": 1, "forest": 1, "mixed": 1},
    "woods": {"forest": 5, "mixed": 2, "park": 1, "waterside": 1.5, "farmland": 1, "village": 1},
    "wetland": {"waterside": 5, "forest": 2, "farmland": 1.5, "mixed": 1, "village": 1.5},
    "lakeside": {"waterside": 4, "suburb": 2, "park": 1, "dense": 1, "industrial": 1},
    "groves": {"orchard": 3, "village": 2, "farmland": 4, "bare": 0.5},
    "barren": {"bare": 3, "village": 3, "mixed": 1, "industrial": 1.5, "suburb": 1},
}


class Sensor(NamedTuple):
    """How the camera spoils the picture; see sensor.py."""

    blur: float
    sharpen: int
    white_noise: int
    correlated_noise: int
    haze: float
    haze_colour: Colour
    gain: tuple[float, float, float]
    offset: float
    gamma: float
    saturation: int
    jpeg: int


@dataclass(frozen=True, slots=True)
class Style:
    """All that a world shares: see the fields' names; colours RGB, lengths in metres."""

    seed: int
    season: str
    theme: str
    side: float
    angle: float
    warp: tuple[tuple[float, float, float], ...]
    river: float
    shadow: tuple[float, float]
    sun: tuple[float, float]
    shadow_factor: tuple[int, int, int]
    relief: float
    grass: tuple[Material, ...]
    crops: tuple[tuple[Colour, Colour], ...]
    bare: tuple[Material, ...]
    water: tuple[Material, ...]
    shallow: Material
    asphalt: Material
    street: Material
    gravel: Material
    paving: Material
    parking: Material
    canopy: tuple[Material, ...]
    ramps: tuple[tuple[Colour, Colour], ...]
    roofs: tuple[Colour, ...]
    cars: tuple[Colour, ...]
    snow: int
    lawn: float
    leafless: bool
    sensor: Sensor


def shift(rnd: random.Random, colour: Colour, gain: float, hue: float) -> Colour:
    """Scale a colour by a random gain and move its channels apart a little."""
    f = 1.0 + rnd.uniform(-gain, gain)
    r, g, b = (min(250, max(6, round(c * f + rnd.uniform(-hue, hue)))) for c in colour)
    return r, g, b


def pair(
    rnd: random.Random, colours: tuple[Colour, Colour], gain: float, hue: float
) -> tuple[Colour, Colour]:
    """Jitter a (dark, light) pair together, keeping each channel's step below 120."""
    f = 1.0 + rnd.uniform(-gain, gain)
    h = [rnd.uniform(-hue, hue) for _ in range(3)]
    dark = [min(244, max(4, round(c * f + d))) for c, d in zip(colours[0], h, strict=True)]
    light = [min(250, max(6, round(c * f + d))) for c, d in zip(colours[1], h, strict=True)]
    light = [max(d - 110, min(d + 110, v)) for d, v in zip(dark, light, strict=True)]
    return (dark[0], dark[1], dark[2]), (light[0], light[1], light[2])


def grey(rnd: random.Random, low: float, high: float, contrast: int) -> tuple[Colour, Colour]:
    """A (dark, light) pair of nearly neutral grey."""
    g = rnd.uniform(low, high)
    w = rnd.uniform(-6, 8)
    dark = (round(g + w), round(g + w / 3), round(g - w))
    return dark, (dark[0] + contrast, dark[1] + contrast, dark[2] + contrast)


def _sensor(rnd: random.Random) -> Sensor:
    base = rnd.uniform(0.8, 1.22)
    cast = [base * rnd.uniform(0.92, 1.09) for _ in range(3)]
    hazy = rnd.random() < 0.3
    bright = rnd.choice((150, 185, 205, 220))
    return Sensor(
        blur=rnd.uniform(0.45, 0.8) if rnd.random() < 0.65 else rnd.uniform(0.8, 1.7),
        sharpen=rnd.choice((0, 0, 0, 6, 10, 16)),
        white_noise=rnd.choice((0, 2, 4, 6, 9)) if rnd.random() < 0.92 else 13,
        correlated_noise=rnd.choice((0, 0, 3, 6, 10)),
        haze=rnd.uniform(0.08, 0.38) if hazy else rnd.uniform(0.0, 0.08),
        haze_colour=(bright - rnd.randrange(0, 20), bright, bright + rnd.randrange(0, 24)),
        gain=(cast[0], cast[1], cast[2]),
        offset=rnd.uniform(-9, 12),
        gamma=rnd.uniform(0.75, 1.15),
        saturation=rnd.choice((256, 256, 256, 210, 160, 300)) if rnd.random() < 0.96 else 0,
        jpeg=0 if rnd.random() < 0.3 else rnd.randrange(45, 97),
    )


def _grass(rnd: random.Random, season: str) -> tuple[Material, ...]:
    out = []
    for _ in range(3):
        dark, light = pair(rnd, rnd.choice(_GRASS[season] * 2 + _CROPS[season]), 0.24, 7)
        fine, medium, coarse = rnd.randrange(10, 40), rnd.randrange(8, 40), rnd.randrange(20, 70)
        out.append(Material(dark, light, fine, medium, coarse, rnd.randrange(2, 9), True))
    return tuple(out)


def _bare(rnd: random.Random) -> tuple[Material, ...]:
    base = rnd.choice(_BARE)
    out = []
    for _ in range(3):
        dark, light = pair(rnd, base, 0.18, 7)
        fine, medium, coarse = rnd.randrange(8, 40), rnd.randrange(8, 46), rnd.randrange(20, 70)
        out.append(Material(dark, light, fine, medium, coarse, rnd.randrange(2, 9), True))
    return tuple(out)


def _paved(rnd: random.Random, low: float, high: float) -> Material:
    dark, light = grey(rnd, low, high, rnd.randrange(14, 40))
    return Material(
        dark, light, rnd.randrange(6, 26), rnd.randrange(6, 30), rnd.randrange(10, 50), 3
    )


def _water(rnd: random.Random, ramps: tuple[tuple[Colour, Colour], ...]) -> Material:
    """Water: often as dark as the woods beside it, sometimes glinting."""
    colours = rnd.choice(_WATER)
    if rnd.random() < 0.3:
        dark = ramps[0][0]
        colours = (dark, (dark[0] + 16, dark[1] + 16, dark[2] + 18))
    dark, light = pair(rnd, colours, 0.25, 6)
    roll = rnd.random()
    if roll < 0.08:  # glint
        light = (min(250, dark[0] + 100), min(250, dark[1] + 100), min(250, dark[2] + 104))
        return Material(dark, light, rnd.randrange(40, 76), 6, 20, 1, pattern=WAVES)
    fine, medium = rnd.randrange(0, 8), rnd.randrange(0, 10)
    return Material(dark, light, fine, medium, rnd.randrange(6, 60), 1, pattern=WAVES)


def _ramps(rnd: random.Random, season: str) -> tuple[tuple[Colour, Colour], ...]:
    ramps = []
    for k in range(8):
        evergreen = k < 2 or (season == "winter" and rnd.random() < 0.25)
        source = rnd.choice(_CONIFERS) if evergreen else rnd.choice(_TREES[season])
        ramps.append(pair(rnd, source, 0.25, 7))
    return tuple(ramps)


@lru_cache(maxsize=16)
def world_style(seed: int) -> Style:
    """Draw the style of a seed."""
    rnd = keyed_random(SALT_STYLE, seed)
    season = rnd.choice(("spring", "summer", "summer", "summer", "autumn", "winter", "dry"))
    elevation = math.radians(rnd.uniform(20, 68))
    azimuth = rnd.uniform(0, 2 * math.pi)
    cot = 1.0 / math.tan(elevation)
    overcast = rnd.random() < 0.15
    dim = rnd.uniform(0.72, 0.9) if overcast else rnd.uniform(0.32, 0.58)
    ramps = _ramps(rnd, season)
    canopy = tuple(
        Material(
            d, u, rnd.randrange(8, 26), rnd.randrange(4, 20), rnd.randrange(8, 34), 4, False, 2
        )
        for d, u in ramps
    )
    asphalt, street = _paved(rnd, 48, 140), _paved(rnd, 62, 168)
    bare = _bare(rnd)
    water = [_water(rnd, ramps) for _ in range(2)]
    dark, light = pair(rnd, rnd.choice(_WATER[2:7]), 0.2, 6)
    shallow = Material(dark, light, 8, 20, 40, 2)
    roofs = [shift(rnd, rnd.choice(_ROOFS), 0.18, 8) for _ in range(3)]
    roofs += [shift(rnd, c, 0.18, 8) for c in rnd.sample(_ROOFS, 4)]
    # roofs in the colours of the ground and the streets about them
    roofs += [shift(rnd, m.light, 0.15, 5) for m in (asphalt, street, bare[0])]
    side = rnd.uniform(120, 215)
    warps = []
    for _ in range(4):
        wavelength = rnd.uniform(280, 900)
        strain = rnd.uniform(0.02, 0.085) * (1.5 if rnd.random() < 0.25 else 1.0)
        warps.append((strain * wavelength / 6.2832, 6.2832 / wavelength, rnd.uniform(0, 6.2832)))
    gravel_dark, gravel_light = pair(rnd, rnd.choice(_BARE), 0.2, 6)
    return Style(
        seed=seed,
        season=season,
        theme=rnd.choice((*THEMES, "city", "suburbia", "country", "country", "hamlet", "groves")),
        side=side,
        angle=rnd.uniform(0, math.pi / 2),
        warp=tuple(warps),
        river=rnd.uniform(8, 38) if rnd.random() < 0.45 else 0.0,
        shadow=(-math.cos(azimuth) * cot, -math.sin(azimuth) * cot),
        sun=(math.cos(azimuth), math.sin(azimuth)),
        shadow_factor=(
            round(256 * dim),
            round(256 * min(1.0, dim * 1.05)),
            round(256 * min(1.0, dim * rnd.uniform(1.05, 1.25))),
        ),
        relief=(0.12 if overcast else rnd.uniform(0.25, 0.5)) * min(1.6, max(0.5, cot)),
        grass=_grass(rnd, season),
        crops=tuple(
            pair(rnd, rnd.choice(_CROPS[season] + _GRASS[season]), 0.24, 9) for _ in range(6)
        ),
        bare=bare,
        water=tuple(water),
        shallow=shallow,
        asphalt=asphalt,
        street=street,
        gravel=Material(gravel_dark, gravel_light, 20, 20, 30, 6, True),
        paving=_paved(rnd, 96, 186),
        parking=rnd.choice((asphalt, street, _paved(rnd, 56, 158))),
        canopy=canopy,
        ramps=ramps,
        roofs=tuple(roofs),
        cars=tuple(shift(rnd, c, 0.08, 5) for c in [*_CARS, rnd.choice(_LOUD_CARS)]),
        snow=rnd.randrange(-60, 50) if season == "winter" and rnd.random() < 0.5 else 999,
        lawn=rnd.uniform(0.3, 1.0),
        leafless=season == "winter" and rnd.random() < 0.7,
        sensor=_sensor(rnd),
    )
