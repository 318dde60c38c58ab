"""A cube in canonical form: (T, C, y, x), north up, with what is missing known.

The user's object is brought into this form here and nowhere else (see `spec` for Datasets, whose
bands are stacked, and `layout.orientation` for turning). Whatever comes after is a dask array.
"""

import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from xr_anysat.errors import CubeError
from xr_anysat.findings import Finding
from xr_anysat.layout.chunks import rechunk
from xr_anysat.sensors.record import Sensor
from xr_anysat.sensors.registry import DEFAULT

from .bands import band_labels
from .grid import Grid, find_grid
from .mask import check_mask
from .spec import CubeSpec, as_dataarray, empty_dims, examine

__all__ = [
    "CanonicalCube",
    "Cube",
    "as_dask",
    "local_scheduler",
    "understand",
    "understand_grid",
]

Cube = xr.DataArray | xr.Dataset

MEMORY_CHUNK = 64
"""Rows of a cube in memory that are worked on at once."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CanonicalCube:
    """A cube of one sensor, as all other rooms take it.

    Parameters
    ----------
    values
        (T, C, y, x), rows from north to south and columns from west to east, bands in the order
        of the network. In one chunk where the cube is in memory.
    valid
        (T, y, x) bool, the user's mask, or None. Values that `spec.nodata` lists are missing too.
    spec
        What was understood of the cube.
    lazy
        Whether the user's cube or mask is a dask array.
    source
        The user's cube, whose coordinates the results take.
    """

    values: da.Array
    valid: da.Array | None
    spec: CubeSpec
    lazy: bool
    source: xr.DataArray

    @property
    def slabs(self) -> da.Array:
        """Values in chunks small enough that no temporary is of the cube's size."""
        return self.values if self.lazy else rechunk(self.values, {2: MEMORY_CHUNK})

    def valid_like(self, values: da.Array) -> da.Array | None:
        """Mask in the chunks of values of this cube."""
        if self.valid is None:
            return None
        return rechunk(self.valid, (values.chunks[0], *values.chunks[2:]))

    def window(self, rows: slice, columns: slice) -> "CanonicalCube":
        """Cut pixels out. The grid of `spec` stays that of the whole cube."""
        return self._each(lambda array: array[..., rows, columns])

    def at_dates(self, positions: Sequence[int]) -> "CanonicalCube":
        """Take some dates. The dates of `spec` stay those of the whole cube."""
        return self._each(lambda array: array[list(positions)])

    def with_arrays(self, values: Any, valid: Any) -> "CanonicalCube":
        """Take other arrays of values and mask."""
        return replace(self, values=values, valid=valid)

    def _each(self, change: Callable[[da.Array], da.Array]) -> "CanonicalCube":
        return self.with_arrays(
            change(self.values), None if self.valid is None else change(self.valid)
        )

    def own_order(self, data: Any) -> Any:
        """Turn (..., y, x) values the way the user's cube runs."""
        return self.spec.orientation.array(data)

    def finish(self, *arrays: Any) -> Any:
        """Give lazy arrays as they are for a lazy cube, computed for a cube in memory."""
        done = arrays if self.lazy else da.compute(*arrays, scheduler=local_scheduler())
        return done if len(arrays) > 1 else done[0]


def understand(
    cube: Cube,
    sensor: Sensor = DEFAULT,
    *,
    bands: Mapping[str, Hashable] | None = None,
    dates: Any = None,
    mask: Any = None,
    dated: bool = True,
) -> CanonicalCube:
    """Understand a cube and bring it to canonical form, without reading pixels.

    Parameters
    ----------
    cube, bands, dates, mask
        As in `embed`.
    sensor
        What made it.
    dated
        Whether dates matter; without, none are needed, and those of `spec` mean nothing.

    Raises
    ------
    CubeError
        With every fault of the cube.
    OptionError
        For a mask that does not fit.
    """
    examined = examine(cube, sensor, bands=bands, dates=dates, dated=dated)
    array, spec = examined.array, examined.spec()
    valid = check_mask(mask, array, spec)
    lazy = array.chunks is not None or (valid is not None and valid.chunks is not None)
    return CanonicalCube(
        values=as_dask(_north_up(_bands_in_order(array, spec), spec, spec.band_dim), lazy),
        valid=None if valid is None else as_dask(_north_up(valid, spec), lazy),
        spec=spec,
        lazy=lazy,
        source=array,
    )


def understand_grid(cube: Cube, sensor: Sensor = DEFAULT) -> Grid:
    """Find out where the pixels of a cube are, whatever its bands and dates.

    Raises
    ------
    CubeError
        With every fault found.
    """
    array, *_ = as_dataarray(cube, sensor, None, [])
    faults: list[Finding] = []
    grid = find_grid(array, sensor.pixel, faults, [])
    if grid is None:
        raise CubeError(faults or empty_dims(array))
    return grid


def local_scheduler() -> str:
    """Choose threads; but a task of somebody's graph does not start threads of its own."""
    main = threading.current_thread() is threading.main_thread()
    return "threads" if main else "synchronous"


def _bands_in_order(array: xr.DataArray, spec: CubeSpec) -> xr.DataArray:
    labels = list(band_labels(array, spec.band_dim))
    positions = [labels.index(label) for label in spec.band_labels]
    if positions == list(range(len(labels))):
        return array
    return array.isel({spec.band_dim: positions})


def _north_up(array: xr.DataArray, spec: CubeSpec, *dims: Hashable) -> Any:
    """Give data as (T, *dims, y, x), also of one date without a dimension."""
    variable: Any = array.variable
    time_dim = "__time__" if spec.time_dim is None else spec.time_dim
    if spec.time_dim is None:
        variable = variable.expand_dims(time_dim)
    return spec.orientation.array(variable.transpose(time_dim, *dims, spec.y_dim, spec.x_dim).data)


def as_dask(values: Any, lazy: bool) -> da.Array:
    """Make a dask array: one chunk of values in memory, missing ones of masked arrays NaN."""
    if not isinstance(values, da.Array):
        return da.from_array(values, chunks=-1, name=None if lazy else False)
    if isinstance(values._meta, np.ma.MaskedArray):
        filled = values.astype(np.result_type(values.dtype, np.float32))
        return filled.map_blocks(partial(np.ma.filled, fill_value=np.nan), dtype=filled.dtype)
    return values
