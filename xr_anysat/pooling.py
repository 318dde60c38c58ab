"""Maps of embeddings to single vectors: over the whole map, or over geometries."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from itertools import product
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import shapely
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph
from odc.geo.geobox import GeoBox
from pyproj import CRS

from .errors import OptionError

__all__ = ["Geometries", "as_geometries", "pool_geometries", "pool_map"]

Array = npt.NDArray[Any]
Span = tuple[int, int]

BATCH = 256
"""Geometries whose vectors are one chunk of the result."""

CELLS = 100_000
"""Cells that are boxes at once while shares are computed."""


@dataclass(frozen=True, kw_only=True)
class Geometries:
    """Shapes in the cube's CRS, with the coordinates of the result's `geometry` dimension."""

    shapes: tuple[shapely.Geometry, ...]
    coords: dict[Hashable, Any]


@dataclass(frozen=True, kw_only=True)
class _Shares:
    """Share of each cell of a chunk's window that lies in a geometry: (rows, columns)."""

    geometry: int
    row: int
    column: int
    share: Array


def as_geometries(geometry: Any, geobox: GeoBox) -> Geometries:
    """Understand shapely geometries, or what geopandas holds them in.

    A GeoSeries or GeoDataFrame with a CRS is brought to the cube's.

    Raises
    ------
    OptionError
        For anything else, for empty or invalid geometries, and for those that do not touch the
        cube.
    """
    crs = CRS.from_user_input(str(geobox.crs))
    series = getattr(geometry, "geometry", None)
    index = None
    if series is not None and hasattr(series, "to_crs"):
        index = np.asarray(series.index)
        if series.crs is not None:
            series = series.to_crs(crs)
        shapes = list(series.values)
    elif isinstance(geometry, shapely.Geometry):
        shapes = [geometry]
    elif isinstance(geometry, Iterable):
        shapes = list(geometry)
    else:
        shapes = [geometry]
    wrong = [type(shape).__name__ for shape in shapes if not isinstance(shape, shapely.Geometry)]
    if wrong or not shapes:
        raise OptionError(
            f"geometry= holds {wrong[:3] or 'nothing'}; give shapely geometries, a GeoSeries or a "
            "GeoDataFrame."
        )
    crossed = [n for n, shape in enumerate(shapes) if not shape.is_valid]
    if crossed:
        raise OptionError(
            f"geometries at positions {crossed[:10]} are not valid "
            f"({shapely.is_valid_reason(shapes[crossed[0]])}); repair them with make_valid(), of "
            "shapely as of geopandas."
        )
    footprint = shapely.box(*geobox.extent.boundingbox)
    outside = [n for n, shape in enumerate(shapes) if not shape.intersects(footprint)]
    if outside:
        raise OptionError(
            f"geometries at positions {outside[:10]} do not touch the cube, which covers "
            f"{[round(value, 2) for value in footprint.bounds]} in {_name(crs)}; give geometries "
            "in that CRS (or a GeoSeries with a CRS), and leave out those outside."
        )
    points = np.empty(len(shapes), dtype=object)
    points[:] = shapes
    coords: dict[Hashable, Any] = {"geometry": ("geometry", points)}
    if index is not None:
        coords["geometry_index"] = ("geometry", index)
    return Geometries(shapes=tuple(shapes), coords=coords)


def _name(crs: CRS) -> str:
    authority = crs.to_authority()
    return ":".join(authority) if authority else str(crs.name)


def pool_map(data: da.Array, pooling: str) -> da.Array:
    """Mean or maximum over the valid cells of a (feature, y, x) map, (feature,) float32."""
    valid = ~da.isnan(data)
    if pooling == "max":
        highest = da.where(valid, data, -np.inf).max(axis=(1, 2))
        pooled = da.where(da.isinf(highest), np.nan, highest)
    else:
        count = valid.sum(axis=(1, 2))
        total = da.where(valid, data, 0).sum(axis=(1, 2), dtype="float64")
        pooled = total / da.where(count > 0, count, np.nan)
    return pooled.astype("float32")


def pool_geometries(
    data: da.Array, geobox: GeoBox, footprint: GeoBox, geometries: Geometries, pooling: str
) -> da.Array:
    """Mean over cells weighted by the share of their area inside, or maximum over cells touched.

    Only the chunks that a geometry touches are computed. A line or a point, without an area,
    counts the cells it touches alike.

    Parameters
    ----------
    data
        (feature, y, x) map.
    geobox
        Its grid, north up as the data.
    footprint
        The cube's grid. Tiles overlap, and their cells leave a margin along the cube's edges:
        it belongs to the outermost cells.
    geometries
        In the grid's CRS.
    pooling
        "mean" or "max".

    Returns
    -------
    dask.array.Array
        (geometry, feature) float32, NaN where a geometry touches no valid cell.
    """
    features = data.shape[0]
    edges = [np.concatenate([[0], np.cumsum(sizes)]) for sizes in data.chunks[1:]]
    parts: dict[tuple[int, int, int], list[_Shares]] = {}
    box, place = footprint.boundingbox, geobox.transform
    x = _cell_edges(place.c, place.a, geobox.shape.x, (box.left, box.right))
    y = _cell_edges(place.f, place.e, geobox.shape.y, (box.top, box.bottom))
    for number, shape in enumerate(geometries.shapes):
        rows, columns, share = _cell_shares(shape, x, y, abs(place.a * place.e))
        for i, j in product(*map(_touched, edges, (rows, columns))):
            top, left = max(rows[0], edges[0][i]), max(columns[0], edges[1][j])
            bottom, right = min(rows[1], edges[0][i + 1]), min(columns[1], edges[1][j + 1])
            part = share[top - rows[0] : bottom - rows[0], left - columns[0] : right - columns[0]]
            if part.any():
                spec = _Shares(
                    geometry=number % BATCH,
                    row=int(top - edges[0][i]),
                    column=int(left - edges[1][j]),
                    share=part,
                )
                parts.setdefault((number // BATCH, i, j), []).append(spec)
    token = tokenize(data.name, parts, pooling)
    name, partial = f"anysat-geometries-{token}", f"anysat-geometry-parts-{token}"
    sizes = [len(geometries.shapes[n : n + BATCH]) for n in range(0, len(geometries.shapes), BATCH)]
    tasks: dict[Any, Any] = {
        (partial, batch, i, j): (_pool_chunk, (data.name, 0, i, j), shares, sizes[batch], pooling)
        for (batch, i, j), shares in parts.items()
    }
    for batch, size in enumerate(sizes):
        keys = [(partial, *place) for place in parts if place[0] == batch]
        tasks[name, batch, 0] = (_pool_parts, keys, size, features, pooling)
    parents: list[Any] = [data]
    graph = HighLevelGraph.from_collections(name, tasks, dependencies=parents)
    return da.Array(
        graph, name, (tuple(sizes), (features,)), meta=np.empty((0, 0), dtype="float32")
    )


def _cell_edges(low: float, step: float, size: int, reach: tuple[float, float]) -> Array:
    """Edges of a row of cells, the outermost moved out to where they reach."""
    edges = low + step * np.arange(size + 1)
    first, last = reach
    edges[0], edges[-1] = (
        (min, max)[step < 0](edges[0], first),
        (max, min)[step < 0](edges[-1], last),
    )
    return edges


def _cell_shares(
    shape: shapely.Geometry, x: Array, y: Array, nominal: float
) -> tuple[Span, Span, Array]:
    """Rows and columns of cells that a geometry may touch, and how much of each is inside it.

    Cells lie between the edges `x`, from west to east, and `y`, from north to south; areas count
    in nominal cells.
    """
    west, south, east, north = shape.bounds
    rows, columns = _span(-y, -north, -south), _span(x, west, east)
    share = np.zeros((rows[1] - rows[0], columns[1] - columns[0]))
    shapely.prepare(shape)
    step = max(1, CELLS // share.shape[1])
    for top in range(0, len(share), step):  # not all boxes at once
        bottom = min(top + step, len(share))
        row, column = np.meshgrid(
            np.arange(rows[0] + top, rows[0] + bottom), np.arange(*columns), indexing="ij"
        )
        cells = shapely.box(x[column], y[row + 1], x[column + 1], y[row])
        part = share[top:bottom]
        touched = shapely.intersects(shape, cells)
        if shape.area > 0:
            part[touched] = shapely.area(cells[touched])
            cut = touched & ~shapely.contains_properly(shape, cells)
            part[cut] = shapely.area(shapely.intersection(shape, cells[cut]))
            part /= nominal
        else:
            part[touched] = 1
    return rows, columns, share


def _span(edges: Array, low: float, high: float) -> Span:
    """Cells between rising edges that an interval touches."""
    start = int(np.searchsorted(edges, low, side="right")) - 1
    stop = int(np.searchsorted(edges, high, side="left"))
    start = min(max(start, 0), len(edges) - 2)
    return start, min(max(stop, start + 1), len(edges) - 1)


def _touched(edges: Array, span: tuple[int, int]) -> range:
    first = int(np.searchsorted(edges, span[0], side="right")) - 1
    last = int(np.searchsorted(edges, span[1], side="left"))
    return range(first, last)


def _pool_chunk(block: Array, shares: list[_Shares], size: int, pooling: str) -> Array:
    """(size, feature + 1): weighted sums and weights, or maxima."""
    out = np.zeros((size, block.shape[0] + 1))
    if pooling == "max":
        out[:, :-1] = -np.inf
    for spec in shares:
        height, width = spec.share.shape
        cells = block[:, spec.row : spec.row + height, spec.column : spec.column + width]
        inside = (spec.share > 0) & ~np.isnan(cells[0])
        values, weight = cells[:, inside].astype(np.float64), spec.share[inside]
        if not weight.size:
            continue
        if pooling == "max":
            out[spec.geometry, :-1] = np.maximum(out[spec.geometry, :-1], values.max(axis=1))
        else:
            out[spec.geometry, :-1] += values @ weight
        out[spec.geometry, -1] += weight.sum()
    return out


def _pool_parts(parts: list[Array], size: int, features: int, pooling: str) -> Array:
    if not parts:
        return np.full((size, features), np.nan, dtype=np.float32)
    stacked = np.stack(parts)
    weight = stacked[..., -1].sum(axis=0)
    if pooling == "max":
        pooled = stacked[..., :-1].max(axis=0)
    else:
        pooled = stacked[..., :-1].sum(axis=0) / np.where(weight > 0, weight, 1)[:, None]
    pooled[weight == 0] = np.nan
    return pooled.astype(np.float32)
