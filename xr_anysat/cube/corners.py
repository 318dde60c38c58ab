"""Whether a cube's coordinates are the corners of its pixels; nearly all cubes have centres."""

import math

import numpy as np
import xarray as xr
from affine import Affine

from xr_anysat.findings import Call, Finding

__all__ = ["CORNERS", "at_corners"]

CORNERS = Finding("grid.corners", Call('xy_coords="center"'))
"""What the user is told."""

TOLERANCE = 0.01
"""Share of a pixel by which a corner may be off its place."""

Line = tuple[float, float]


def at_corners(cube: xr.DataArray, y: Line, x: Line) -> bool:
    """Whether coordinates are upper left corners, as stackstac and cubo write them.

    All other cubes are taken to have centres. Those of stackstac have a coordinate `epsg`; their
    transform says where the corners are. Without one (cubo removes it) their grids begin at
    multiples of the pixel. Cubo's cubes of Earth Engine hold distances between centres.

    Parameters
    ----------
    cube
        With its coordinates.
    y, x
        First coordinate and step along each axis.
    """
    if _measured_at_corners(cube, y, x):
        return True
    if "epsg" not in cube.coords or cube["epsg"].ndim:
        return False
    try:
        declared = Affine(*map(float, tuple(cube.attrs["transform"])[:6]))
    except (KeyError, TypeError, ValueError):
        declared = Affine(x[1], 0, 0, 0, y[1], 0)
    places = (
        _same(declared.a, x[1]) and (x[0] - declared.c) / declared.a,
        _same(declared.e, y[1]) and (y[0] - declared.f) / declared.e,
    )
    return all(place is not False and abs(place - round(place)) < TOLERANCE for place in places)


def _same(step: float, other: float) -> bool:
    """Whether pixels have one size, whichever way their coordinates run."""
    return math.isclose(abs(step), abs(other), rel_tol=TOLERANCE)


def _measured_at_corners(cube: xr.DataArray, y: Line, x: Line) -> bool:
    """Whether cubo's distances from the middle are those of centres half a pixel on.

    Versions before 2026.10 measured from the coordinates, be they corners or centres.
    """
    distances = cube.coords.get("cubo:distance_from_center")
    if distances is None or set(distances.dims) != {"y", "x"}:
        return False
    try:
        middle = float(cube.attrs["central_y"]), float(cube.attrs["central_x"])
    except (KeyError, TypeError, ValueError):
        return False
    measured = distances.transpose("y", "x").isel(y=[0, -1], x=[0, -1])
    rows, columns = (np.array([0, size - 1]) for size in distances.transpose("y", "x").shape)
    north = y[0] + y[1] * rows - abs(y[1]) / 2 - middle[0]
    east = x[0] + x[1] * columns + abs(x[1]) / 2 - middle[1]
    expected = np.hypot(north[:, None], east[None, :])
    return bool(np.allclose(measured, expected, rtol=0, atol=TOLERANCE * abs(x[1])))
