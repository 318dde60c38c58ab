"""Some of a cube's values: few blocks, always the same ones, spread over it.

This is the only part of `check` that reads.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import dask.base
import numpy as np
import numpy.typing as npt
import xarray as xr

from xr_anysat.compute.normalize import validity_mask
from xr_anysat.cube.bands import band_labels
from xr_anysat.cube.spec import CubeSpec, canonical, north_up
from xr_anysat.errors import CubeError
from xr_anysat.sensors.sentinel2 import BANDS

__all__ = ["SIDE", "Windows", "read_windows"]

SIDE = 128
"""Pixels of a window along each axis; a cube of no more than four is looked at as a whole."""

MOST_BLOCKS = 400
MOST_BYTES = 128 * 2**20
"""What is read at the most, where the cube's own blocks leave a choice."""

MOST_VALUES = 8 * 2**20

_SPREAD = ((4, None), (2, None), (4, 24), (2, 24), (2, 12), (1, 12), (1, 6), (1, 3), (1, 1))
"""How many windows and dates (None: all) to try, one after the other, until they are few enough."""

_COLUMNS = {1: (0,), 2: (1, 0), 4: (1, 3, 0, 2)}
"""Column of the window in each row of windows."""

Array = npt.NDArray[Any]
Window = tuple[slice, slice]
"""Rows and columns, north up."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Windows:
    """Windows of a cube that were read.

    Parameters
    ----------
    places
        (first row, last + 1, first column, last + 1) of each, from the north-west corner.
    dates
        Positions of the dates.
    blocks, nbytes
        Of the cube that they lie in; 0 of a cube in memory.
    values, valid
        (T, 10, h, w) and (T, h, w) of each, north up.
    """

    places: tuple[tuple[int, int, int, int], ...]
    dates: tuple[int, ...]
    blocks: int
    nbytes: int
    values: tuple[Array, ...]
    valid: tuple[Array, ...]


def read_windows(array: xr.DataArray, spec: CubeSpec, mask: xr.DataArray | None) -> Windows:
    """Read a few windows of a cube.

    Parameters
    ----------
    array, spec
        The cube, and what was understood of it.
    mask
        (time, y, x) bool, True = valid, in the cube's order.

    Raises
    ------
    CubeError
        Where they cannot be read.
    """
    windows, dates = _choose(array, spec)
    blocks, nbytes = _touched(array, spec, windows, dates)
    parts = [_select(array, spec, window, dates) for window in windows]
    masks = [] if mask is None else [_select(mask, spec, window, dates) for window in windows]
    try:
        parts, masks = dask.base.compute(parts, masks)
    except Exception as error:  # whatever a reader raises
        raise CubeError(
            [
                f"the values that were to be looked at could not be read: {type(error).__name__}: "
                f"{error}. Repair the cube's source, or leave out what cannot be read: cube.sel()."
            ]
        ) from error
    values = [np.asarray(canonical(part, spec)) for part in parts]
    seen: list[Array | None] = [_of_mask(part, spec) for part in masks]
    seen = seen or [None] * len(values)
    return Windows(
        places=tuple((y.start, y.stop, x.start, x.stop) for y, x in windows),
        dates=tuple(dates),
        blocks=blocks,
        nbytes=nbytes,
        values=tuple(values),
        valid=tuple(validity_mask(v, m, spec.nodata) for v, m in zip(values, seen, strict=True)),
    )


def _choose(array: xr.DataArray, spec: CubeSpec) -> tuple[list[Window], list[int]]:
    """Windows and dates: as many as may be read."""
    count, whole = len(spec.dates), math.prod(spec.shape) <= 4 * SIDE**2
    windows: list[Window] = []
    dates: list[int] = []
    for number, most in _SPREAD:
        windows = _places(array, spec, 0 if whole else number)
        some = np.linspace(0, count - 1, min(most or count, count))
        dates = some.round().astype(int).tolist()
        blocks, nbytes = _touched(array, spec, windows, dates)
        pixels = sum((y.stop - y.start) * (x.stop - x.start) for y, x in windows)
        few = pixels * len(dates) * len(BANDS) <= MOST_VALUES
        if few and blocks <= MOST_BLOCKS and nbytes <= MOST_BYTES:
            break
    return windows, dates


def _places(array: xr.DataArray, spec: CubeSpec, number: int) -> list[Window]:
    """Windows spread over a cube, each within one of its blocks; 0 for the whole cube."""
    height, width = spec.shape
    if number == 0:
        return [(slice(0, height), slice(0, width))]
    rows, columns = (_edges(array, dim, flip) for dim, flip in _axes(spec))
    found = {
        (
            _within(rows, int((row + 0.5) / number * height)),
            _within(columns, int((column + 0.5) / number * width)),
        )
        for row, column in enumerate(_COLUMNS[number])
    }
    return [(slice(*row), slice(*column)) for row, column in sorted(found)]


def _within(edges: Sequence[int], centre: int) -> tuple[int, int]:
    """Window around a pixel, within its block unless that is very small."""
    block = int(np.searchsorted(edges, centre, side="right")) - 1
    low, high = edges[block], edges[block + 1]
    if high - low < SIDE // 2:
        low, high = 0, edges[-1]
    first = max(low, min(centre - SIDE // 2, high - SIDE))
    return first, min(high, first + SIDE)


def _axes(spec: CubeSpec) -> tuple[tuple[Any, bool], tuple[Any, bool]]:
    return (spec.y_dim, spec.flip_y), (spec.x_dim, spec.flip_x)


def _edges(array: xr.DataArray, dim: Any, flip: bool = False) -> list[int]:
    """First index of each block along a dimension, and the size; one block where in memory."""
    sizes = array.chunksizes.get(dim, (array.sizes[dim],))
    return [0, *np.cumsum(sizes[::-1] if flip else sizes).tolist()]


def _touched(
    array: xr.DataArray, spec: CubeSpec, windows: Sequence[Window], dates: Sequence[int]
) -> tuple[int, int]:
    """Blocks that windows and dates lie in, and their bytes; none of a cube in memory."""
    if array.chunks is None:
        return 0, 0
    labels = list(band_labels(array, spec.band_dim))
    bands = [labels.index(label) for label in spec.band_labels]
    lines = [list(_blocks_of(_edges(array, spec.band_dim), bands))]
    if spec.time_dim is not None:
        lines.append(list(_blocks_of(_edges(array, spec.time_dim), dates)))
    cells: set[tuple[tuple[int, int], tuple[int, int]]] = set()
    for window in windows:
        rows, columns = (
            list(_blocks_of(_edges(array, dim, flip), range(part.start, part.stop)))
            for (dim, flip), part in zip(_axes(spec), window, strict=True)
        )
        cells.update(product(rows, columns))
    per_pixel = math.prod(sum(size for _, size in line) for line in lines) * array.dtype.itemsize
    blocks = math.prod(len(line) for line in lines) * len(cells)
    return blocks, per_pixel * sum(height * width for (_, height), (_, width) in cells)


def _blocks_of(edges: Sequence[int], indices: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Blocks that indices lie in, each with its size."""
    for block in np.unique(np.searchsorted(edges, indices, side="right") - 1).tolist():
        yield block, edges[block + 1] - edges[block]


def _select(
    array: xr.DataArray, spec: CubeSpec, window: Window, dates: Sequence[int]
) -> xr.DataArray:
    """Cut a window and dates out of a cube or a mask, in its own order."""
    where: dict[Any, Any] = {} if spec.time_dim is None else {spec.time_dim: list(dates)}
    for (dim, flip), part in zip(_axes(spec), window, strict=True):
        size = array.sizes[dim]
        where[dim] = slice(size - part.stop, size - part.start) if flip else part
    return array.isel(where)


def _of_mask(part: xr.DataArray, spec: CubeSpec) -> Array:
    data: Array = north_up(part.values, spec)
    return data if spec.time_dim is not None else data[None]
