from __future__ import annotations

import math

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS

from t2s_rt.scene.ground import ground_frame


def gsd(crs: str, transform: Affine, size: int = 100) -> tuple[float, float] | None:
    frame = ground_frame(CRS.from_user_input(crs), transform)
    assert frame is not None
    return frame.gsd(size, size)


@pytest.mark.parametrize(
    ("latitude", "east", "north"),
    # length of a degree on WGS 84 (NGA, "Length of a degree of latitude and longitude")
    [(0, 111319.5, 110574.3), (45, 78846.8, 111131.8), (60, 55800.0, 111412.2)],
)
def test_degrees_become_metres_by_latitude(latitude: float, east: float, north: float) -> None:
    step = 1e-5
    found = gsd("EPSG:4326", Affine(step, 0, 10, 0, -step, latitude + 50 * step))
    assert found == pytest.approx((east * step, north * step), rel=2e-5)


def test_projected_metres_are_taken_as_they_stand() -> None:
    assert gsd("EPSG:32633", Affine(0.3, 0, 5e5, 0, -0.3, 5.4e6)) == (0.3, 0.3)


def test_feet_become_metres() -> None:
    # NAD83 / New York Long Island, US survey feet
    found = gsd("EPSG:2263", Affine(0.5, 0, 984250, 0, -0.5, 200000))
    assert found == pytest.approx((0.5 * 1200 / 3937,) * 2, rel=1e-4)


@pytest.mark.parametrize("latitude", [0.0, 37.5, 60.0])
def test_web_mercator_shrinks_towards_the_poles(latitude: float) -> None:
    y = 6378137 * math.log(math.tan(math.pi / 4 + math.radians(latitude) / 2))
    found = gsd("EPSG:3857", Affine(1, 0, 0, 0, -1, y + 50))
    assert found is not None
    # spherical formula: the ellipsoid moves it by 0.7 % at most
    assert found == pytest.approx((math.cos(math.radians(latitude)),) * 2, rel=8e-3)


@pytest.mark.parametrize("turn", [0, 30, 90, 180, 251])
def test_rotation_and_mirroring_do_not_change_the_size(turn: float) -> None:
    cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    for mirror in (1, -1):
        across, down = (0.2 * cos, 0.2 * sin), (-0.4 * sin * mirror, 0.4 * cos * mirror)
        transform = Affine(across[0], down[0], 5e5, across[1], down[1], 5.4e6)
        assert gsd("EPSG:32633", transform) == pytest.approx((0.2, 0.4))


def test_mars_is_smaller_than_the_earth() -> None:
    mars = (
        'GEOGCS["Mars",DATUM["Mars",SPHEROID["Mars",3396190,0]],PRIMEM["Reference",0],'
        'UNIT["degree",0.0174532925199433]]'
    )
    found = gsd(mars, Affine(1e-4, 0, 0, 0, -1e-4, 0.005))
    assert found == pytest.approx((math.radians(1e-4) * 3396190,) * 2, rel=1e-6)


def test_area_of_the_earth() -> None:
    """Every pixel of a global grid, summed, is the surface of WGS 84: 510,065,621 km²."""
    frame = ground_frame(CRS.from_epsg(4326), Affine(0.5, 0, -180, 0, -0.5, 90))
    assert frame is not None
    rows = np.arange(360) + 0.5
    areas = frame.pixel_areas(np.full(360, 3.5), rows) * 720
    assert areas.sum() / 1e6 == pytest.approx(510_065_621, rel=1e-4)


def test_pixels_on_the_antimeridian_are_small() -> None:
    found = gsd("EPSG:4326", Affine(0.001, 0, 179.95, 0, -0.001, 0.05))
    assert found is not None and found[0] < 112


@pytest.mark.parametrize("size", [1e-9, 1e9])
def test_implausible_pixels_have_no_size(size: float) -> None:
    assert gsd("EPSG:32633", Affine(size, 0, 5e5, 0, -size, 5e6)) is None


def test_no_crs_no_ground() -> None:
    assert ground_frame(None, Affine.identity()) is None
