"""Geometries as users have them: brought to the cube's CRS, with what they bring along."""

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

from xr_anysat.cube.grid import crs_name
from xr_anysat.errors import OptionError, warn

__all__ = ["Geometries", "as_geometries"]

Array = npt.NDArray[Any]

TAKEN = ("geometry", "feature", "part", "spatial_ref", "embedding", "first_date", "last_date")
"""Names in a result that columns cannot have."""

NUMBERS = ("integer", "floating", "mixed-integer-float")
"""What pandas calls objects that are all numbers."""

LONGEST_EDGE = 1000.0
"""Metres: longer edges get more points before they are brought to another CRS. A parallel as long
bends by L^2 / 8 R * tan(latitude): 3 cm from a straight line at a latitude of 60 degrees."""

EARTH_RADIUS = 6_371_000.0
"""Metres, mean (IUGG)."""


@dataclass(frozen=True, kw_only=True)
class Geometries:
    """Shapes in the cube's CRS, with the coordinates of the result's `geometry` dimension."""

    shapes: tuple[shapely.Geometry, ...]
    coords: dict[Hashable, Any]


def as_geometries(
    geometry: Any, geobox: GeoBox, crs: Any = None, outside: str = "raise"
) -> Geometries:
    """Understand shapely geometries, or what geopandas holds them in.

    Parameters
    ----------
    geometry
        A shapely geometry, some of them, a GeoSeries or a GeoDataFrame.
    geobox
        The cube's grid.
    crs
        CRS of geometries that bring none: the cube's by default.
    outside
        "raise", or "nan" to let pass those that do not touch the cube.

    Raises
    ------
    OptionError
        For anything else, for a CRS that is none or another than the geometries', for invalid
        geometries, and for those that do not touch the cube.
    """
    if isinstance(geometry, str | os.PathLike):
        raise OptionError(
            f"geometry={str(geometry)!r} is a text; read a file of geometries with "
            "geopandas.read_file(path), well-known text with shapely.from_wkt(text)."
        )
    shapes, own, coords = _unpacked(geometry)
    wrong = [type(shape).__name__ for shape in shapes if not isinstance(shape, shapely.Geometry)]
    if wrong or not shapes:
        raise OptionError(
            f"geometry= holds {wrong[:3] or 'nothing'}; give shapely geometries, a GeoSeries or a "
            "GeoDataFrame (without missing ones: frame[frame.geometry.notna()])."
        )
    target = CRS.from_user_input(str(geobox.crs))
    points = np.empty(len(shapes), dtype=object)
    points[:] = shapes
    points = _brought(points, _source(own, crs), target)
    crossed = np.flatnonzero(~shapely.is_valid(points)).tolist()
    if crossed:
        raise OptionError(
            f"geometries at positions {crossed[:10]} are not valid "
            f"({shapely.is_valid_reason(points[crossed[0]])}); repair them with make_valid(), of "
            "shapely as of geopandas."
        )
    _check_place(points, shapely.box(*geobox.extent.boundingbox), target, outside)
    return Geometries(shapes=tuple(points), coords={"geometry": ("geometry", points), **coords})


def _unpacked(geometry: Any) -> tuple[list[Any], CRS | None, dict[Hashable, Any]]:
    """Shapes, the CRS that they bring, and the coordinates."""
    if isinstance(geometry, xr.DataArray):  # the coordinate of an earlier result
        geometry = geometry.values
    series = getattr(geometry, "geometry", None)
    if series is not None and hasattr(series, "to_crs"):
        return list(series.values), series.crs, dict(_attributes(geometry, series))
    if isinstance(geometry, shapely.Geometry) or not isinstance(geometry, Iterable):
        return [geometry], None, {}
    return list(geometry), getattr(geometry, "crs", None), {}


def _source(own: CRS | None, crs: Any) -> CRS | None:
    """CRS of the geometries, None where it is the cube's."""
    if crs is None:
        return own
    try:
        given = CRS.from_user_input(crs)
    except CRSError as error:
        raise OptionError(
            f"geometry_crs={crs!r} is not a CRS ({error}); give one as pyproj knows it: "
            'geometry_crs="EPSG:4326".'
        ) from None
    if own is not None and not own.equals(given, ignore_axis_order=True):
        raise OptionError(
            f"geometry_crs={crs_name(given)}, but the geometries say that they are in "
            f"{crs_name(own)}; leave out geometry_crs= where they are right, and correct them with "
            "set_crs(..., allow_override=True) where they are not."
        )
    return given


def _brought(shapes: Array, source: CRS | None, target: CRS) -> Array:
    """Bring shapes to another CRS, their edges straight in the one that they come in."""
    if source is None or source.equals(target, ignore_axis_order=True):
        return shapes
    factor = source.axis_info[0].unit_conversion_factor  # metres, or radians
    longest = LONGEST_EDGE / (factor * (EARTH_RADIUS if source.is_geographic else 1))
    transformer = Transformer.from_crs(source, target, always_xy=True)

    def move(points: Array) -> Array:
        return np.stack(transformer.transform(*points.T), axis=1)

    moved = shapely.transform(shapely.segmentize(shapes, longest), move)
    far = [n for n, s in enumerate(moved) if not np.isfinite(shapely.get_coordinates(s)).all()]
    if far:
        raise OptionError(
            f"geometries at positions {far[:10]} in {crs_name(source)} have points that "
            f"{crs_name(target)} cannot hold; is that their CRS? If so, cut them to the cube's "
            "surroundings with shapely.clip_by_rect first."
        )
    return moved


def _check_place(shapes: Array, footprint: shapely.Geometry, crs: CRS, outside: str) -> None:
    found = np.flatnonzero(~shapely.intersects(shapes, footprint)).tolist()
    place = f"{[round(value, 2) for value in footprint.bounds]} in {crs_name(crs)}"
    if found and outside == "raise":
        empty = " (empty)" if shapes[found[0]].is_empty else ""
        raise OptionError(
            f"geometries at positions {found[:10]}{empty} do not touch the cube, which covers "
            f"{place}; give geometries in that CRS, a GeoSeries with a CRS, or theirs as in "
            'geometry_crs="EPSG:4326"; leave out those outside, or let them be NaN with '
            'outside="nan".'
        )
    if len(found) == len(shapes):
        warn(f"none of the geometries touches the cube, which covers {place}: all vectors are NaN.")


def _attributes(frame: Any, series: Any) -> Iterator[tuple[Hashable, Any]]:
    """Index and columns, as coordinates along `geometry`."""
    index, taken = frame.index, set(TAKEN)
    plain = "index" if index.nlevels == 1 else "index_{}"
    pairs = [
        (str(name if name is not None else plain.format(level)), index.get_level_values(level))
        for level, name in enumerate(index.names)
    ]
    kinds = ["index"] * len(pairs)
    for name in frame.columns if hasattr(frame, "columns") else []:
        column = frame[name]
        if name == series.name:
            continue
        if hasattr(column, "to_crs"):
            warn(f"column {name!r} holds geometries besides those embedded; left out.")
            continue
        pairs.append((str(name), column))
        kinds.append("column")
    for kind, (name, values) in zip(kinds, pairs, strict=True):
        free = name
        while free in taken:
            free = f"{free}_{kind}"
        if free != name:
            warn(f"{kind} {name!r} is called {free!r}: the result has a {name!r} already.")
        taken.add(free)
        series = pd.Series(values).reset_index(drop=True)
        yield free, ("geometry", _as_numpy(series, f"{kind} {name!r}"))


def _as_numpy(values: "pd.Series[Any]", what: str) -> Array:
    """Values of a type that xarray and files know, missing ones as NaN or NaT."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(object)
    if values.dtype == object:
        values = _inferred(values, what)
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


def _inferred(values: "pd.Series[Any]", what: str) -> "pd.Series[Any]":
    """Give Python objects the type that they have in common."""
    kind = pd.api.types.infer_dtype(values, skipna=True)
    if kind == "boolean":
        return values.astype("boolean")
    if kind == "date":
        return values.astype("datetime64[s]")
    if kind in ("decimal", "empty") or (kind in NUMBERS and values.isna().any()):
        return values.astype("float64")
    found = values.infer_objects()
    if found.dtype == object and kind != "string":
        warn(f"{what} holds values of several types, or of none that files know; taken as text.")
    return found
