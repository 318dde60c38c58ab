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
]

_MISSING_KEYS = ("nodata", "_FillValue", "missing_value", "fill_value")
_MAPPING_KEYS = {"crs_wkt", "spatial_ref", "grid_mapping_name"}


@dataclass(frozen=True, kw_only=True)
class CubeSpec(Grid):
    """What was understood of a cube, beside its grid.

    Parameters
    ----------
    sensor
        What made it.
    band_dim, time_dim
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
    notes
        Doubts worth a warning.
    """

    sensor: Sensor
    band_dim: Hashable
    time_dim: Hashable | None
    band_labels: tuple[Hashable, ...]
    dates: tuple[str, ...]
    day_of_year: tuple[int, ...]
    nodata: tuple[float, ...]
    dtype: str
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
    sensor
        What made it.
    array
        The cube; of a Dataset, the stack of its bands.
    variables
        All variables of a Dataset by the labels of their bands; of a DataArray, none.
    grid
        None where something is wrong with it.
    band_dim, time_dim
        None where there is none.
    bands
        The cube's label of each of the sensor's bands that was found, in the order of the network.
    moments
        (T,) datetime64; fewer where they cannot be read.
    faults
        What makes it a cube that cannot be embedded.
    notes
        Doubts worth a warning.
    """

    sensor: Sensor
    array: xr.DataArray
    variables: Mapping[Hashable, xr.DataArray]
    grid: Grid | None
    band_dim: Hashable | None
    bands: Mapping[str, Hashable]
    time_dim: Hashable | None
    moments: npt.NDArray[np.datetime64]
    faults: tuple[Finding, ...]
    notes: tuple[Finding, ...]

    def spec(self) -> CubeSpec:
        """Describe a cube without faults.

        Raises
        ------
        CubeError
            With every fault found.
        """
        if self.faults or self.grid is None or self.band_dim is None:
            raise CubeError(self.faults)
        return CubeSpec(
            **vars(self.grid),
            sensor=self.sensor,
            band_dim=self.band_dim,
            time_dim=self.time_dim,
            band_labels=tuple(self.bands.values()),
            dates=tuple(np.datetime_as_string(self.moments, unit="s").tolist()),
            day_of_year=tuple(day_of_year(self.moments).tolist()),
            nodata=declared_missing(self.array),
            dtype=str(self.array.dtype),
            notes=self.notes,
        )


def as_dataarray(
    cube: xr.DataArray | xr.Dataset,
    sensor: Sensor,
    bands: Mapping[str, Hashable] | None,
    faults: list[Finding],
) -> tuple[xr.DataArray, dict[Hashable, xr.DataArray], dict[str, Hashable]]:
    """Stack the bands of a Dataset; a DataArray is returned as it is.

    Variables that are no AnySat band are left behind unread. Where bands declare different
    missing values, each becomes NaN first. Faults found are added to `faults`.

    Returns
    -------
    tuple
        The stack. Where the bands do not stack, one of them stands for all, so that its other
        faults are found too. Of a Dataset of bands, also its variables by their labels, and the
        label of each band.

    Raises
    ------
    CubeError
        For a Dataset without any variable, and for an array of unknown shape.
    """
    if isinstance(cube, xr.DataArray):
        if any(np.isnan(size) for size in cube.shape):
            raise CubeError(not_plain(cube))  # xarray looks at nothing else of it
        return cube, {}, {}
    if not isinstance(cube, xr.Dataset):
        raise CubeError("cube.type", kind=type(cube).__name__)
    if not cube.data_vars:
        raise CubeError("cube.no-variables")
    # A grid mapping is no coordinate yet where the file was opened without decode_coords="all".
    mappings = [
        n for n, v in cube.data_vars.items() if v.ndim == 0 and _MAPPING_KEYS & set(v.attrs)
    ]
    cube = cube.set_coords(mappings)
    whole = [name for name, v in cube.data_vars.items() if named_band_dim(v) is not None]
    if len(whole) == 1 and not any(match_bands(sensor, cube.data_vars).values()):
        name, kept = whole[0], f".set_coords({mappings})" if mappings else ""
        repair = Call(f"cube{kept}[{name!r}].anysat.embed()")
        faults.append(Finding("cube.one-variable", repair, name=name))
        return cube[name], {}, {}
    labelled = {label: cube[name] for label, name in variable_labels(cube, bands).items()}
    chosen = find_bands(list(labelled), sensor, bands, "data variables", faults)
    variables = [labelled[label].rename(label) for label in chosen.values()]
    dims = {frozenset(v.dims) for v in variables}
    faults += dict.fromkeys(finding for v in variables for finding in not_plain(v))
    if len(dims) > 1:
        repairs = Call("odc.stac.load(..., resolution=10)"), Call("ds[name].odc.reproject(geobox)")
        different = sorted({str(v.dims) for v in variables})
        faults.append(Finding("cube.different-dimensions", *repairs, dims=different))
    if faults:
        largest = max(variables or cube.data_vars.values(), key=lambda v: v.ndim)
        if named_band_dim(largest) is None:
            largest = largest.expand_dims(band=[str(largest.name)])
        return largest, labelled, chosen
    variables = [v.transpose(*variables[0].dims) for v in variables]
    return _stack(cube, variables).rename(sensor.key), labelled, chosen


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


def examine(
    cube: xr.DataArray | xr.Dataset,
    sensor: Sensor,
    *,
    bands: Mapping[str, Hashable] | None = None,
    dates: Any = None,
    dated: bool = True,
) -> Examination:
    """Find out as much as possible about a cube, and everything that is wrong with it.

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

    Raises
    ------
    CubeError
        For what is no cube at all.
    """
    faults: list[Finding] = []
    notes: list[Finding] = []
    array, variables, stacked = as_dataarray(cube, sensor, bands, faults)
    unstacked = bool(faults)  # then the bands are not looked at again
    faults += not_plain(array) + empty_dims(array)
    if array.dtype.kind not in "iuf":
        faults.append(Finding("cube.dtype", Call('cube.astype("float32")'), dtype=array.dtype))
    grid = find_grid(array, sensor.pixel, faults, notes)
    spatial = spatial_dims(array)
    rest = [dim for dim in array.dims if dim not in (spatial or ())]
    band_dim, along = find_band_dim(array, rest, sensor, bands, [] if unstacked else faults)
    rest = [dim for dim in rest if dim != band_dim]
    time_dim = _find_time_dim(array, rest)
    extra = [str(dim) for dim in rest if dim != time_dim]
    if extra and spatial is not None:
        repair, dims = Call(f"cube.isel({extra[0]}=0)"), list(array.dims)
        faults.append(Finding("cube.extra-dimensions", repair, extra=extra, dims=dims))
    if not dated:
        dates = ["2000-01-01"] * (1 if time_dim is None else array.sizes[time_dim])
    moments = parse_dates(array, time_dim, dates, faults)
    return Examination(
        sensor=sensor,
        array=array,
        variables=variables,
        grid=grid,
        band_dim=band_dim,
        bands=stacked if variables else along,
        time_dim=time_dim,
        moments=moments,
        faults=tuple(dict.fromkeys(faults)),
        notes=tuple(notes),
    )


def declared_missing(cube: xr.DataArray) -> tuple[float, ...]:
    """Values that the cube declares as missing, NaN aside.

    A fill value in the encoding of floats that were scaled on reading belongs to the file's
    numbers, not to these; xarray has made it NaN already.
    """
    numbers = [_nodata_of_rio(cube)]
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
                numbers.append(value)
    return tuple(sorted({value for value in numbers if not np.isnan(value)}))


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


def _find_time_dim(cube: xr.DataArray, dims: Sequence[Hashable]) -> Hashable | None:
    """Find the time dimension among some: by its name, its dates, or as the only one left."""
    for dim in dims:
        if str(dim).lower() in TIME_NAMES:
            return dim
    for dim in dims:
        if dim in cube.coords and cube[dim].dtype.kind == "M":
            return dim
    return dims[0] if len(dims) == 1 else None
