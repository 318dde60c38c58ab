"""Geometries that users give: brought to the cube's CRS, their index and columns kept."""

import os
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely
import xarray as xr
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError

from xr_anysat.errors import OptionError, warn
from xr_anysat.findings import Call, SetOption
from xr_anysat.formatting import crs_name

__all__ = ["Geometries", "as_geometries"]

Array = npt.NDArray[Any]

TAKEN = ("geometry", "feature", "part", "spatial_ref", "embedding", "first_date", "last_date")
"""Names that a result uses already, so that columns need another one."""

NUMBERS = ("integer", "floating", "mixed-integer-float")
"""Kinds of object columns, by pandas' names, that hold numbers only."""

LONGEST_EDGE = 1000.0
"""Metres. Longer edges get more points before they are brought to another CRS. A parallel of this
length L bends by L^2 / 8 R * tan(latitude): 3 cm from a straight line at 60 degrees north."""

EARTH_RADIUS = 6_371_000.0
"""Metres, mean (IUGG)."""

MAX_LISTED = 10
"""Maximum number of geometries that a message lists."""


@dataclass(frozen=True, kw_only=True)
class Geometries:
    """Shapes in the cube's CRS, with the coordinates of the result's `geometry` dimension."""

    shapes: tuple[shapely.Geometry, ...]
    coords: dict[Hashable, Any]


def as_geometries(
    geometry: Any, geobox: GeoBox, crs: Any = None, outside: str = "raise"
) -> Geometries:
    """Understand shapely geometries, alone or in a list, an array, or an object of geopandas.

    Parameters
    ----------
    geometry
        A shapely geometry, several of them, a GeoSeries or a GeoDataFrame.
    geobox
        The cube's grid.
    crs
        CRS of geometries that have none of their own. Default: the cube's.
    outside
        What to do with geometries that do not touch the cube: "raise", or "nan" to accept them.

    Raises
    ------
    OptionError
        For anything else, for `crs` that is not a CRS or contradicts that of the geometries, for
        invalid geometries, and for geometries that do not touch the cube.
    """
    if isinstance(geometry, str | os.PathLike):
        raise OptionError(
            "geometry.text",
            Call("geopandas.read_file(path)"),
            Call("shapely.from_wkt(text)"),
            given=SetOption("geometry", str(geometry)),
        )
    shapes, own, coords = _unpack(geometry)
    wrong = [type(shape).__name__ for shape in shapes if not isinstance(shape, shapely.Geometry)]
    if wrong or not shapes:
        types = wrong[:MAX_LISTED] or "nothing"
        raise OptionError("geometry.type", Call("frame[frame.geometry.notna()]"), types=types)
    target = CRS.from_user_input(str(geobox.crs))
    array = np.empty(len(shapes), dtype=object)
    array[:] = shapes
    array = _reproject(array, _source_crs(own, crs), target)
    invalid = np.flatnonzero(~shapely.is_valid(array)).tolist()
    if invalid:
        raise OptionError(
            "geometry.invalid",
            Call("make_valid()"),
            positions=invalid[:MAX_LISTED],
            reason=shapely.is_valid_reason(array[invalid[0]]),
        )
    _check_place(array, shapely.box(*geobox.extent.boundingbox), target, outside)
    return Geometries(shapes=tuple(array), coords={"geometry": ("geometry", array), **coords})


def _unpack(geometry: Any) -> tuple[list[Any], CRS | None, dict[Hashable, Any]]:
    """Separate shapes, the CRS that they come with, and their index and columns."""
    if isinstance(geometry, xr.DataArray):  # the coordinate `geometry` of an earlier result
        geometry = geometry.values
    series = getattr(geometry, "geometry", None)
    if series is not None and hasattr(series, "to_crs"):
        return list(series.values), series.crs, dict(_attributes(geometry, series))
    if isinstance(geometry, shapely.Geometry) or not isinstance(geometry, Iterable):
        return [geometry], None, {}
    return list(geometry), getattr(geometry, "crs", None), {}


def _source_crs(own: CRS | None, crs: Any) -> CRS | None:
    """CRS of the geometries; None means the cube's."""
    if crs is None:
        return own
    try:
        given = CRS.from_user_input(crs)
    except CRSError as error:
        raise OptionError(
            "geometry.crs",
            SetOption("geometry_crs", "EPSG:4326"),
            given=SetOption("geometry_crs", crs),
            reason=str(error),
        ) from None
    if own is not None and not own.equals(given, ignore_axis_order=True):
        raise OptionError(
            "geometry.crs-conflict",
            Call("set_crs(..., allow_override=True)"),
            given=SetOption("geometry_crs", crs_name(given)),
            own=crs_name(own),
        )
    return given


def _reproject(shapes: Array, source: CRS | None, target: CRS) -> Array:
    """Bring shapes to another CRS. Edges are straight lines in the CRS that they come from."""
    if source is None or source.equals(target, ignore_axis_order=True):
        return shapes
    factor = source.axis_info[0].unit_conversion_factor  # to metres, or to radians
    longest = LONGEST_EDGE / (factor * (EARTH_RADIUS if source.is_geographic else 1))
    transformer = Transformer.from_crs(source, target, always_xy=True)

    def move(points: Array) -> Array:
        return np.stack(transformer.transform(*points.T), axis=1)

    moved = shapely.transform(shapely.segmentize(shapes, longest), move)
    beyond = [n for n, s in enumerate(moved) if not np.isfinite(shapely.get_coordinates(s)).all()]
    if beyond:
        raise OptionError(
            "geometry.crs-range",
            Call("shapely.clip_by_rect(...)"),
            positions=beyond[:MAX_LISTED],
            source=crs_name(source),
            target=crs_name(target),
        )
    return moved


def _check_place(shapes: Array, footprint: shapely.Geometry, crs: CRS, outside: str) -> None:
    away = np.flatnonzero(~shapely.intersects(shapes, footprint)).tolist()
    bounds, name = [round(value, 2) for value in footprint.bounds], crs_name(crs)
    if away and outside == "raise":
        raise OptionError(
            "geometry.outside",
            SetOption("geometry_crs", "EPSG:4326"),
            SetOption("outside", "nan"),
            positions=away[:MAX_LISTED],
            empty=" (empty)" if shapes[away[0]].is_empty else "",
            bounds=bounds,
            crs=name,
        )
    if len(away) == len(shapes):
        warn("geometry.all-outside", bounds=bounds, crs=name)


def _attributes(frame: Any, series: Any) -> Iterator[tuple[Hashable, Any]]:
    """Index and columns, as coordinates along `geometry`."""
    index, taken = frame.index, set(TAKEN)
    unnamed = "index" if index.nlevels == 1 else "index_{}"
    parts = [
        ("index", unnamed.format(level) if name is None else name, index.get_level_values(level))
        for level, name in enumerate(index.names)
    ]
    for name in getattr(frame, "columns", ()):
        if name != series.name:
            parts.append(("column", name, frame[name]))
    for kind, label, values in parts:
        name = free = str(label)
        if hasattr(values, "to_crs"):
            warn("geometry.other-column", name=name)
            continue
        while free in taken:
            free = f"{free}_{kind}"
        if free != name:
            warn("geometry.renamed-column", kind=kind, name=name, free=free)
        taken.add(free)
        column = pd.Series(values).reset_index(drop=True)
        yield free, ("geometry", _as_numpy(column, kind, name))


def _as_numpy(values: "pd.Series[Any]", kind: str, name: str) -> Array:
    """Values of a type that xarray and file formats know, missing ones as NaN or NaT."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(object)
    if values.dtype == object:
        values = _infer_type(values, kind, name)
    dtype: Any = values.dtype
    missing = values.isna()
    if isinstance(dtype, pd.DatetimeTZDtype):
        return values.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy()
    if pd.api.types.is_string_dtype(dtype) or isinstance(dtype, pd.PeriodDtype | pd.IntervalDtype):
        text = values.astype(str).to_numpy(dtype=object)
        return np.where(missing, np.nan, text)
    if isinstance(dtype, pd.api.extensions.ExtensionDtype):  # nullable numbers, Arrow's
        if missing.any() and (pd.api.types.is_numeric_dtype(dtype)):
            return values.to_numpy(dtype="float64", na_value=np.nan)
        return np.array(values.to_numpy().tolist())
    return values.to_numpy()


def _infer_type(values: "pd.Series[Any]", kind: str, name: str) -> "pd.Series[Any]":
    """Give Python objects the type that they have in common."""
    content = pd.api.types.infer_dtype(values, skipna=True)
    if content == "boolean":
        return values.astype("boolean")
    if content == "date":
        return values.astype("datetime64[s]")
    if content in ("decimal", "empty") or (content in NUMBERS and values.isna().any()):
        return values.astype("float64")
    typed = values.infer_objects()
    if typed.dtype == object and content != "string":
        warn("geometry.mixed-column", kind=kind, name=name)
    return typed
