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

from xr_anysat.cube.canonical import CanonicalCube
from xr_anysat.cube.values import validity_mask
from xr_anysat.errors import CubeError
from xr_anysat.findings import Call

__all__ = ["SIDE", "Windows", "read_windows"]

SIDE = 128
"""Pixels of a window along each axis; a cube of no more than four is looked at as a whole."""

MOST_BLOCKS = 400
MOST_BYTES = 128 * 2**20
"""Most that is read, where the cube's blocks leave a choice."""

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


def read_windows(cube: CanonicalCube) -> Windows:
    """Read a few windows of a cube.

    Raises
    ------
    CubeError
        Where they cannot be read.
    """
    windows, dates = _choose(cube)
    blocks, nbytes = _touched(cube, windows, dates)
    chosen = cube.at_dates(dates)
    cut = [chosen.window(*window) for window in windows]
    parts: Any = [each.values for each in cut]
    masks: Any = [each.valid for each in cut]
    try:
        parts, masks = dask.base.compute(parts, masks)
    except Exception as error:  # whatever a reader raises
        raise CubeError(
            "cube.unreadable", Call("cube.sel()"), kind=type(error).__name__, error=error
        ) from error
    return Windows(
        places=tuple((y.start, y.stop, x.start, x.stop) for y, x in windows),
        dates=tuple(dates),
        blocks=blocks,
        nbytes=nbytes,
        values=tuple(parts),
        valid=tuple(
            validity_mask(v, m, cube.spec.nodata) for v, m in zip(parts, masks, strict=True)
        ),
    )


def _choose(cube: CanonicalCube) -> tuple[list[Window], list[int]]:
    """Windows and dates: as many as may be read."""
    spec = cube.spec
    count, whole = len(spec.dates), math.prod(spec.shape) <= 4 * SIDE**2
    windows: list[Window] = []
    dates: list[int] = []
    for number, most in _SPREAD:
        windows = _places(cube, 0 if whole else number)
        some = np.linspace(0, count - 1, min(most or count, count))
        dates = some.round().astype(int).tolist()
        blocks, nbytes = _touched(cube, windows, dates)
        pixels = sum((y.stop - y.start) * (x.stop - x.start) for y, x in windows)
        few = pixels * len(dates) * len(spec.band_labels) <= MOST_VALUES
        if few and blocks <= MOST_BLOCKS and nbytes <= MOST_BYTES:
            break
    return windows, dates


def _places(cube: CanonicalCube, number: int) -> list[Window]:
    """Windows spread over a cube, each within one of its blocks; 0 for the whole cube.

    A look has to be cheap: windows keep to few blocks, and not, as those of
    `graph.statistics`, to a share of the pixels whatever the blocks.
    """
    height, width = cube.spec.shape
    if number == 0:
        return [(slice(0, height), slice(0, width))]
    *_, rows, columns = _edges(cube)
    spans = {
        (
            _within(rows, int((row + 0.5) / number * height)),
            _within(columns, int((column + 0.5) / number * width)),
        )
        for row, column in enumerate(_COLUMNS[number])
    }
    return [(slice(*row), slice(*column)) for row, column in sorted(spans)]


def _within(edges: Sequence[int], centre: int) -> tuple[int, int]:
    """Window around a pixel, within its block unless that is very small."""
    block = int(np.searchsorted(edges, centre, side="right")) - 1
    low, high = edges[block], edges[block + 1]
    if high - low < SIDE // 2:
        low, high = 0, edges[-1]
    first = max(low, min(centre - SIDE // 2, high - SIDE))
    return first, min(high, first + SIDE)


def _edges(cube: CanonicalCube) -> list[list[int]]:
    """First index of each block along each axis, and the size."""
    return [[0, *np.cumsum(sizes).tolist()] for sizes in cube.values.chunks]


def _touched(
    cube: CanonicalCube, windows: Sequence[Window], dates: Sequence[int]
) -> tuple[int, int]:
    """Blocks that windows and dates lie in, and their bytes; none of a cube in memory."""
    if cube.source.chunks is None:
        return 0, 0
    by_date, _, by_row, by_column = _edges(cube)
    lengths = [length for _, length in _blocks_of(by_date, dates)]
    cells = {
        cell
        for rows, columns in windows
        for cell in product(
            _blocks_of(by_row, range(rows.start, rows.stop)),
            _blocks_of(by_column, range(columns.start, columns.stop)),
        )
    }
    blocks = len(lengths) * cube.values.numblocks[1] * len(cells)
    pixels = sum(height * width for (_, height), (_, width) in cells)
    return blocks, pixels * sum(lengths) * cube.values.shape[1] * cube.values.dtype.itemsize


def _blocks_of(edges: Sequence[int], indices: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Blocks that indices lie in, each with its size."""
    for block in np.unique(np.searchsorted(edges, indices, side="right") - 1).tolist():
        yield block, edges[block + 1] - edges[block]
