"""Which cells of a map lie in which geometry, and how much of each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from odc.geo.geobox import GeoBox

__all__ = ["Shares", "find_shares", "runs"]

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]

CELLS = 100_000
"""Maximum number of cells whose shares are computed at once."""


@dataclass(frozen=True, kw_only=True)
class Shares:
    """Which cells of a map lie in which geometry, and how much of each.

    Parameters
    ----------
    geometry, row, column
        (N,) int: ordered by geometry.
    share
        (N,) float32: area inside over the area of a cell, above 0; for a line or a point, 1 for
        each cell that it touches.
    count
        Geometries, those without any cell too.
    """

    geometry: Array
    row: Array
    column: Array
    share: Array
    count: int

    @property
    def cells(self) -> Ints:
        """Row and column of each cell that any geometry touches, once: (M, 2)."""
        if not len(self.row):
            return np.zeros((0, 2), dtype=np.int64)
        width = int(self.column.max()) + 1
        numbers = np.unique(self.row.astype(np.int64) * width + self.column)
        return np.stack(np.divmod(numbers, width), axis=1)

    def __getitem__(self, part: Any) -> "Shares":
        fields = (self.geometry, self.row, self.column, self.share)
        geometry, row, column, share = (field[part] for field in fields)
        return Shares(geometry=geometry, row=row, column=column, share=share, count=self.count)


def find_shares(shapes: Sequence[shapely.Geometry], geobox: GeoBox, footprint: GeoBox) -> Shares:
    """Find the cells that geometries touch, and the share of each cell's area inside.

    Parameters
    ----------
    shapes
        In the grid's CRS; what lies outside of it does not count.
    geobox
        The map's grid, north up.
    footprint
        The cube's grid. Tiles overlap, and their cells leave a margin along the cube's edges:
        it belongs to the outermost cells.
    """
    box, place = footprint.boundingbox, geobox.transform
    x = _cell_edges(place.c, place.a, geobox.shape.x, (box.left, box.right))
    y = _cell_edges(place.f, place.e, geobox.shape.y, (box.top, box.bottom))
    points = np.empty(len(shapes), dtype=object)
    points[:] = shapes
    near = np.flatnonzero(shapely.intersects(points, shapely.box(x[0], y[-1], x[-1], y[0])))
    nominal = abs(place.a * place.e)
    parts = [
        _shares_of(points, numbers, rows, columns, (x, y), nominal)
        for numbers, rows, columns in _boxes(points, near, (x, y))
    ]
    fields = [np.concatenate(each) for each in zip(*parts, strict=True)] if parts else [near] * 4
    order = np.argsort(fields[0], kind="stable")
    geometry, row, column, share = (field[order] for field in fields)
    return Shares(geometry=geometry, row=row, column=column, share=share, count=len(points))


def _cell_edges(low: float, step: float, size: int, reach: tuple[float, float]) -> Array:
    """Edges of a row of cells, the outermost moved out to where they reach."""
    edges = low + step * np.arange(size + 1)
    first, last = reach
    before, after = (min, max) if step > 0 else (max, min)
    edges[0], edges[-1] = before(edges[0], first), after(edges[-1], last)
    return edges


def _boxes(
    shapes: Array, near: Ints, edges: tuple[Array, Array]
) -> Iterator[tuple[Ints, Ints, Ints]]:
    """Yield geometry, row and column of the cells within each geometry's bounds, in batches."""
    x, y = edges
    west, south, east, north = shapely.bounds(shapes[near]).T
    left, right = _spans(x, west, east)
    top, bottom = _spans(-y, -north, -south)
    height, width = bottom - top, right - left
    sizes = height * width
    group = np.cumsum(sizes) // CELLS
    for first, last in runs(group):
        part = slice(first, last)
        total = int(sizes[part].sum())
        for start in range(0, total, CELLS):  # one large geometry: not all of its cells at once
            index = np.arange(start, min(start + CELLS, total))
            ends = np.cumsum(sizes[part])
            which = np.searchsorted(ends, index, side="right")
            place = index - (ends - sizes[part])[which]
            row, column = np.divmod(place, width[part][which])
            yield near[part][which], row + top[part][which], column + left[part][which]


def _spans(edges: Array, low: Array, high: Array) -> tuple[Ints, Ints]:
    """First cell between rising edges that each interval touches, and the one after the last."""
    start = np.searchsorted(edges, low, side="right") - 1
    stop = np.searchsorted(edges, high, side="left")
    start = np.clip(start, 0, len(edges) - 2)
    return start, np.clip(stop, start + 1, len(edges) - 1)


def _shares_of(
    shapes: Array,
    numbers: Ints,
    rows: Ints,
    columns: Ints,
    edges: tuple[Array, Array],
    nominal: float,
) -> tuple[Array, Array, Array, Array]:
    """Shares of some cells; areas count in nominal cells."""
    x, y = edges
    shapely.prepare(shapes[np.unique(numbers)])
    cells = shapely.box(x[columns], y[rows + 1], x[columns + 1], y[rows])
    owners = shapes[numbers]
    touched = shapely.intersects(owners, cells)
    numbers, rows, columns = numbers[touched], rows[touched], columns[touched]
    cells, owners = cells[touched], owners[touched]
    inside = shapely.area(cells)
    cut = ~shapely.contains_properly(owners, cells)
    inside[cut] = shapely.area(shapely.intersection(owners[cut], cells[cut]))
    share = np.where(shapely.area(owners) > 0, inside / nominal, 1).astype(np.float32)
    kept = share > 0
    geometry, row, column = (each[kept].astype(np.int32) for each in (numbers, rows, columns))
    return geometry, row, column, share[kept]


def runs(values: Array) -> Iterator[tuple[int, int]]:
    """Where runs of equal values begin and end."""
    edges = np.flatnonzero(np.diff(values)) + 1
    if len(values):
        yield from zip([0, *edges.tolist()], [*edges.tolist(), len(values)], strict=True)
