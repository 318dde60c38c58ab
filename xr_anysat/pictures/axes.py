"""Pictures of maps: which cells are shown, where and in what range, and the names of axes."""

from typing import Any

import numpy as np
import numpy.typing as npt
import rioxarray  # noqa: F401  registers `.rio`
import xarray as xr
from pyproj import CRS

from xr_anysat.formatting import crs_name

__all__ = ["axis_labels", "crs_of", "map_extent", "rgba", "thinned", "title_of", "value_range"]

Array = npt.NDArray[Any]


def thinned(picture: xr.DataArray, pixels: int) -> xr.DataArray:
    """Take every n-th cell of a map that has more cells than `pixels` along an axis."""
    longest = max(picture.sizes.get("y", 1), picture.sizes.get("x", 1))
    step = -(-longest // pixels)
    shown = slice((step - 1) // 2, None, step)
    return picture.isel(y=shown, x=shown, missing_dims="ignore")


def rgba(values: Array) -> Array:
    """(k, ...) to (..., 4), transparent where NaN; fewer than three components are repeated."""
    values = values[np.arange(3) % len(values)]
    opaque = np.isfinite(values).all(axis=0)
    return np.stack([*np.nan_to_num(values), opaque.astype(values.dtype)], axis=-1)


def value_range(values: Array) -> tuple[float, float]:
    """Second percentile and highest value: colours between them make the highest stand out."""
    known = values[np.isfinite(values)]
    low, high = (float(np.percentile(known, 2)), float(known.max())) if known.size else (0.0, 1.0)
    return low, high if high > low else low + 1


def map_extent(picture: xr.DataArray) -> tuple[float, float, float, float]:
    """Outer edges (left, right, bottom, top) as the array runs."""

    def edges(centres: Array) -> tuple[float, float]:
        half = (centres[-1] - centres[0]) / max(len(centres) - 1, 1) / 2 or 0.5
        return float(centres[0] - half), float(centres[-1] + half)

    (left, right), (top, bottom) = (edges(picture[dim].values) for dim in ("x", "y"))
    return left, right, bottom, top


def axis_labels(picture: xr.DataArray) -> tuple[str, str]:
    """Names of x and y with their unit, as the CRS has them, and the name of the CRS."""
    crs = crs_of(picture)
    if crs is None:
        return "x", "y"
    units = {axis.unit_name for axis in crs.axis_info}
    unit = {"metre": "m"}.get(*units, *units) if len(units) == 1 else "?"
    ways = ("east", "north")  # at the poles both axes have one
    names = {axis.direction: axis.name.lower() for axis in crs.axis_info if axis.direction in ways}
    x, y = (names[way] for way in ways) if len(names) == 2 else ("x", "y")
    return f"{x} ({unit}), {crs_name(crs)}", f"{y} ({unit})"


def title_of(data: xr.DataArray) -> str:
    """Which model and weights made an embedding, if its attributes say so."""
    model, weights = data.attrs.get("model"), data.attrs.get("weights")
    return "" if model is None else f"{model}, weights {weights}"


def crs_of(picture: xr.DataArray) -> CRS | None:
    """CRS of a map, if it has one."""
    crs = picture.rio.crs
    return None if crs is None else CRS.from_user_input(crs)
