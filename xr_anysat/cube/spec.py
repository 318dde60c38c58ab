"""What a cube is: DataArray or Dataset to a frozen `CubeSpec`, every fault found at once.

Nothing here reads pixels.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from odc.geo.geobox import GeoBox

from xr_anysat.errors import CubeError
from xr_anysat.findings import Call, Finding
from xr_anysat.sensors.record import Sensor, match_bands

from .bands import find_band_dim, find_bands, named_band_dim, variable_labels
from .dates import TIME_NAMES, day_of_year, parse_dates
from .grid import Grid, find_grid, spatial_dims
from .plain import not_plain

__all__ = [
    "CubeSpec",
    "Examination",
    "as_dataarray",
    "declared_missing",
    "empty_dims",
    "examine",
    "spec_of",
]

_MISSING_KEYS = ("nodata", "_FillValue", "missing_value", "fill_value")
_MAPPING_KEYS = {"crs_wkt", "spatial_ref", "grid_mapping_name"}


@dataclass(frozen=True, kw_only=True)
class CubeSpec:
    """What was understood of a cube.

    Parameters
    ----------
    sensor
        What made it.
    geobox
        Grid of the cube, rows from north to south and columns from west to east, whichever way
        the cube itself runs.
    gsd
        Pixel size in metres, as the network is told it.
    flip_y, flip_x
        Whether the cube runs from south to north, from east to west.
    y_dim, x_dim, band_dim, time_dim
        Dimensions of the cube; a cube of one date may have no time dimension.
    band_labels
        Labels of the sensor's bands in the cube, in the order of the network.
    dates
        ISO 8601, in UTC, in the cube's order.
    day_of_year
        0 on 1 January to 364 on 31 December, in the cube's order.
    nodata
        Values that stand for missing.
    dtype
        Of the cube.
    corners
        Whether the cube's coordinates are the upper left corners of its pixels.
    notes
        Doubts worth a warning.
    """

    sensor: Sensor
    geobox: GeoBox
    gsd: float
    flip_y: bool
    flip_x: bool
    y_dim: Hashable
    x_dim: Hashable
    band_dim: Hashable
    time_dim: Hashable | None
    band_labels: tuple[Hashable, ...]
    dates: tuple[str, ...]
    day_of_year: tuple[int, ...]
    nodata: tuple[float, ...]
    dtype: str
    corners: bool = False
    notes: tuple[Finding, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return cast(tuple[int, int], tuple(self.geobox.shape))


@dataclass(frozen=True, kw_only=True, eq=False)
class Examination:
    """What was found of a cube, sound or not.

    Parameters
    ----------
    grid
        None where something is wrong with it.
    band_dim, time_dim
        None where there is none.
    band_labels
        Labels of those of the sensor's bands that were found, in the order of the network.
    moments
        (T,) datetime64; fewer where they cannot be read.
    faults
        What makes it a cube that cannot be embedded.
    notes
        Doubts worth a warning.
    """

    grid: Grid | None
    band_dim: Hashable | None
    band_labels: tuple[Hashable, ...]
    time_dim: Hashable | None
    moments: npt.NDArray[np.datetime64]
    faults: tuple[Finding, ...]
    notes: tuple[Finding, ...]


def as_dataarray(
    cube: xr.DataArray | xr.Dataset, sensor: Sensor, bands: Mapping[str, Hashable] | None = None
) -> tuple[xr.DataArray, list[Finding]]:
    """Stack the bands of a Dataset; a DataArray is returned as it is.

    Variables that are no AnySat band are left behind unread. Where bands declare different
    missing values, each becomes NaN first.

    Returns
    -------
    tuple
        The stack, and what is wrong with it. Where the bands do not stack, one of them stands
        for all, so that its other faults are found too.

    Raises
    ------
    CubeError
        For a Dataset without any variable.
    """
    if isinstance(cube, xr.DataArray):
        return cube, []
    if not isinstance(cube, xr.Dataset):
        raise CubeError("cube.type", kind=type(cube).__name__)
    if not cube.data_vars:
        raise CubeError("cube.no-variables")
    faults: list[Finding] = []
    # A grid mapping is no coordinate yet where the file was opened without decode_coords="all".
    mappings = [
        n for n, v in cube.data_vars.items() if v.ndim == 0 and _MAPPING_KEYS & set(v.attrs)
    ]
    cube = cube.set_coords(mappings)
    whole = [name for name, v in cube.data_vars.items() if named_band_dim(v) is not None]
    if len(whole) == 1 and not any(match_bands(sensor, cube.data_vars).values()):
        kept = f".set_coords({mappings})" if mappings else ""
        faults.append(
            Finding(
                "cube.one-variable", Call(f"cube{kept}[{whole[0]!r}].anysat.embed()"), name=whole[0]
            )
        )
        return cube[whole[0]], faults
    labels = variable_labels(cube, bands)
    chosen = find_bands(list(labels), sensor, bands, "data variables", faults)
    variables = [cube[labels[label]].rename(label) for label in chosen]
    dims = {frozenset(v.dims) for v in variables}
    faults += dict.fromkeys(finding for v in variables for finding in not_plain(v))
    if len(dims) > 1:
        faults.append(
            Finding(
                "cube.different-dimensions",
                Call("odc.stac.load(..., resolution=10)"),
                Call("ds[name].odc.reproject(geobox)"),
                dims=sorted({str(v.dims) for v in variables}),
            )
        )
    if faults:
        largest = max(variables or cube.data_vars.values(), key=lambda v: v.ndim)
        if named_band_dim(largest) is None:
            largest = largest.expand_dims(band=[str(largest.name)])
        return largest, faults
    variables = [v.transpose(*variables[0].dims) for v in variables]
    return _stack(cube, variables).rename(sensor.key), []


def _stack(cube: xr.Dataset, variables: list[xr.DataArray]) -> xr.DataArray:
    declared = {declared_missing(v) for v in variables}
    if len(declared) > 1:
        variables = [_missing_to_nan(v) for v in variables]
        declared = {()}
    index = pd.Index([v.name for v in variables], name="band", dtype=object)
    stacked = xr.concat(
        variables, dim=index, coords="minimal", compat="override", join="override",
        combine_attrs="drop",
    )  # fmt: skip
    missing = declared.pop()
    if missing:
        stacked.attrs["_FillValue"] = list(missing) if len(missing) > 1 else missing[0]
    mapping = variables[0].encoding.get("grid_mapping")
    if mapping is not None:
        stacked.encoding["grid_mapping"] = mapping
    for key in ("crs", "grid_mapping", "transform", "epsg", "central_x", "central_y"):
        for source in (variables[0].attrs, cube.attrs):
            if key in source and key not in stacked.attrs:
                stacked.attrs[key] = source[key]
    return stacked


def spec_of(
    cube: xr.DataArray,
    sensor: Sensor,
    *,
    bands: Mapping[str, Hashable] | None = None,
    dates: Any = None,
    dated: bool = True,
    faults: Sequence[Finding] = (),
) -> CubeSpec:
    """Find out what a cube is.

    Parameters
    ----------
    cube, sensor, bands, dates, dated, faults
        As in `examine`.

    Raises
    ------
    CubeError
        With every fault found.
    """
    found = examine(cube, sensor, bands=bands, dates=dates, dated=dated, faults=faults)
    grid = found.grid
    if found.faults or grid is None or found.band_dim is None:
        raise CubeError(found.faults)
    return CubeSpec(
        sensor=sensor,
        geobox=grid.geobox,
        gsd=grid.gsd,
        flip_y=grid.flip_y,
        flip_x=grid.flip_x,
        y_dim=grid.y_dim,
        x_dim=grid.x_dim,
        band_dim=found.band_dim,
        time_dim=found.time_dim,
        band_labels=found.band_labels,
        dates=tuple(str(moment) for moment in np.datetime_as_string(found.moments, unit="s")),
        day_of_year=tuple(day_of_year(found.moments).tolist()),
        nodata=declared_missing(cube),
        dtype=str(cube.dtype),
        corners=grid.corners,
        notes=found.notes,
    )


def examine(
    cube: xr.DataArray,
    sensor: Sensor,
    *,
    bands: Mapping[str, Hashable] | None = None,
    dates: Any = None,
    dated: bool = True,
    faults: Sequence[Finding] = (),
) -> Examination:
    """Find out what a cube is as far as it goes, and everything that is wrong with it.

    Parameters
    ----------
    cube
        Time, band and two spatial dimensions in any order.
    sensor
        What made it.
    bands
        Labels of bands by AnySat's names, where they cannot be found by themselves.
    dates
        Dates in the cube's order, in place of its time coordinate.
    dated
        Whether dates matter; without, none are needed, and those of the result mean nothing.
    faults
        What is known to be wrong already; the bands are then not looked at again.
    """
    known, faults = list(faults), []
    notes: list[Finding] = []
    _check_values(cube, faults)
    grid = find_grid(cube, sensor.pixel, faults, notes)
    spatial = spatial_dims(cube)
    rest = [dim for dim in cube.dims if dim not in (spatial or ())]
    band_dim, labels = find_band_dim(cube, rest, sensor, bands, [] if known else faults)
    rest = [dim for dim in rest if dim != band_dim]
    time_dim = _find_time_dim(cube, rest)
    extra = [str(dim) for dim in rest if dim != time_dim]
    if extra and spatial is not None:
        faults.append(
            Finding(
                "cube.extra-dimensions",
                Call(f"cube.isel({extra[0]}=0)"),
                extra=extra,
                dims=list(cube.dims),
            )
        )
    if not dated:
        dates = ["2000-01-01"] * (1 if time_dim is None else cube.sizes[time_dim])
    moments = parse_dates(cube, time_dim, dates, faults)
    return Examination(
        grid=grid,
        band_dim=band_dim,
        band_labels=tuple(labels),
        time_dim=time_dim,
        moments=moments,
        faults=tuple(dict.fromkeys(known + faults)),
        notes=tuple(notes),
    )


def declared_missing(cube: xr.DataArray) -> tuple[float, ...]:
    """Values that the cube declares as missing, NaN aside.

    A fill value in the encoding of floats that were scaled on reading belongs to the file's
    numbers, not to these; xarray has made it NaN already.
    """
    found = [_nodata_of_rio(cube)]
    scaled = cube.dtype.kind == "f" and (
        "scale_factor" in cube.encoding or "add_offset" in cube.encoding
    )
    sources = [cube.attrs] if scaled else [cube.attrs, cube.encoding]
    for source in sources:
        for key in _MISSING_KEYS:
            for number in np.atleast_1d(source.get(key, [])):
                try:
                    value = float(number)
                except (TypeError, ValueError):
                    continue
                found.append(value)
    return tuple(sorted({value for value in found if not np.isnan(value)}))


def _nodata_of_rio(cube: xr.DataArray) -> float:
    """Missing value set by `rio.set_nodata`, which stands in no attribute; NaN without."""
    try:
        encoded = cube.rio.encoded_nodata is not None  # then `nodata` is of rioxarray's choice
        return math.nan if encoded or cube.rio.nodata is None else float(cube.rio.nodata)
    except (OverflowError, TypeError, ValueError):  # a value that the dtype cannot hold
        return math.nan


def _missing_to_nan(variable: xr.DataArray) -> xr.DataArray:
    missing = declared_missing(variable)
    return variable.where(~variable.isin(list(missing))) if missing else variable


def empty_dims(cube: xr.DataArray) -> list[Finding]:
    """Make the finding that a cube holds nothing, if so."""
    empty = [str(dim) for dim, size in cube.sizes.items() if size == 0]
    finding = Finding("cube.empty", empty=empty, sizes=dict(cube.sizes))
    return [finding] if empty else []


def _check_values(cube: xr.DataArray, faults: list[Finding]) -> None:
    faults += not_plain(cube)
    faults += empty_dims(cube)
    if cube.dtype.kind not in "iuf":
        faults.append(Finding("cube.dtype", Call('cube.astype("float32")'), dtype=cube.dtype))


def _find_time_dim(cube: xr.DataArray, dims: Sequence[Hashable]) -> Hashable | None:
    """Find the time dimension among some: by its name, its dates, or as the only one left."""
    for dim in dims:
        if str(dim).lower() in TIME_NAMES:
            return dim
    for dim in dims:
        if dim in cube.coords and cube[dim].dtype.kind == "M":
            return dim
    return dims[0] if len(dims) == 1 else None
