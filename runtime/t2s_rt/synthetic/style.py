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
from t2s_rt.synthetic.palettes import (
    BARE,
    CARS,
    CONIFERS,
    CROPS,
    GRASS,
    LOUD_CARS,
    ROOFS,
    SAND,
    TREES,
    WATER,
    Colour,
)

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
    "desert": {"suburb": 4, "bare": 3, "dense": 1.5, "commercial": 1, "industrial": 1},
    "barren": {"bare": 3, "village": 3, "mixed": 1, "industrial": 1.5, "suburb": 1},
}

ARID = ("desert", "barren")
"""Themes of dry countries: sand, hardly a lawn, never snow."""


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
    """All that a world shares: see the fields' names; colours RGB, lengths in metres.

    ``infrared`` is how much leaves shine in a picture of near infrared, red and green; 0 for RGB.
    """

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
    infrared: float
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
    # many pictures were stretched before anyone got them: deep blacks, burnt-out sand and roofs
    stretched = rnd.random() < 0.3
    base = rnd.uniform(1.05, 1.5) if stretched else rnd.uniform(0.72, 1.2)
    cast = [base * rnd.uniform(0.9, 1.1) for _ in range(3)]
    hazy = rnd.random() < 0.22
    bright = rnd.choice((150, 185, 205, 220))
    return Sensor(
        blur=rnd.uniform(0.45, 0.8) if rnd.random() < 0.65 else rnd.uniform(0.8, 1.7),
        sharpen=rnd.choice((0, 0, 0, 6, 10, 16)),
        white_noise=rnd.choice((0, 2, 4, 6, 9)) if rnd.random() < 0.92 else 13,
        correlated_noise=rnd.choice((0, 0, 3, 6, 10)),
        haze=rnd.uniform(0.08, 0.34) if hazy else rnd.uniform(0.0, 0.06),
        haze_colour=(bright - rnd.randrange(0, 20), bright, bright + rnd.randrange(0, 24)),
        gain=(cast[0], cast[1], cast[2]),
        offset=rnd.uniform(-50, -8) if stretched else rnd.uniform(-12, 12),
        gamma=rnd.uniform(0.8, 1.4),
        saturation=rnd.choice((256, 256, 256, 210, 160, 300)) if rnd.random() < 0.96 else 0,
        jpeg=0 if rnd.random() < 0.3 else rnd.randrange(45, 97),
    )


def _grass(rnd: random.Random, season: str) -> tuple[Material, ...]:
    out = []
    for _ in range(3):
        dark, light = pair(rnd, rnd.choice(GRASS[season] * 2 + CROPS[season]), 0.24, 7)
        fine, medium, coarse = rnd.randrange(10, 40), rnd.randrange(8, 40), rnd.randrange(20, 70)
        out.append(Material(dark, light, fine, medium, coarse, rnd.randrange(2, 9), True))
    return tuple(out)


def _bare(rnd: random.Random, arid: bool) -> tuple[Material, ...]:
    base = rnd.choice(SAND if arid and rnd.random() < 0.7 else BARE)
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
    colours = rnd.choice(WATER)
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
        source = rnd.choice(CONIFERS) if evergreen else rnd.choice(TREES[season])
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
    dim = rnd.uniform(0.72, 0.9) if overcast else rnd.uniform(0.2, 0.58)
    ramps = _ramps(rnd, season)
    canopy = tuple(
        Material(
            d, u, rnd.randrange(8, 26), rnd.randrange(4, 20), rnd.randrange(8, 34), 4, False, 2
        )
        for d, u in ramps
    )
    asphalt, street = _paved(rnd, 48, 140), _paved(rnd, 62, 168)
    theme = rnd.choice((*THEMES, "city", "suburbia", "country", "country", "hamlet", "groves"))
    arid = theme in ARID
    bare = _bare(rnd, arid)
    water = [_water(rnd, ramps) for _ in range(2)]
    dark, light = pair(rnd, rnd.choice(WATER[2:7]), 0.2, 6)
    shallow = Material(dark, light, 8, 20, 40, 2)
    roofs = [shift(rnd, rnd.choice(ROOFS), 0.18, 8) for _ in range(3)]
    roofs += [shift(rnd, c, 0.18, 8) for c in rnd.sample(ROOFS, 4)]
    # roofs in the colours of the ground and the streets about them
    roofs += [shift(rnd, m.light, 0.15, 5) for m in (asphalt, street, bare[0])]
    side = rnd.uniform(120, 215)
    snowy = season == "winter" and not arid and rnd.random() < 0.5
    warps = []
    for _ in range(4):
        wavelength = rnd.uniform(280, 900)
        strain = rnd.uniform(0.02, 0.085) * (1.5 if rnd.random() < 0.25 else 1.0)
        warps.append((strain * wavelength / 6.2832, 6.2832 / wavelength, rnd.uniform(0, 6.2832)))
    dusty = arid or (season == "dry" and rnd.random() < 0.6)
    gravel_dark, gravel_light = pair(rnd, rnd.choice(BARE), 0.2, 6)
    return Style(
        seed=seed,
        season=season,
        theme=theme,
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
            pair(rnd, rnd.choice(CROPS[season] + GRASS[season]), 0.24, 9) for _ in range(6)
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
        cars=tuple(shift(rnd, c, 0.08, 5) for c in [*CARS, rnd.choice(LOUD_CARS)]),
        snow=rnd.randrange(-60, 50) if snowy else 999,
        lawn=rnd.uniform(0.0, 0.4) if dusty else rnd.uniform(0.3, 1.0),
        leafless=season == "winter" and rnd.random() < 0.7,
        infrared=rnd.uniform(1.0, 2.2) if rnd.random() < 0.1 else 0.0,
        sensor=_sensor(rnd),
    )
