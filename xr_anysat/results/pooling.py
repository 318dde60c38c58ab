"""Maps of embeddings to single vectors: over the whole map, or over geometries."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from xr_anysat.layout.shares import Shares, runs

__all__ = ["pool_geometries", "pool_map"]

Array = npt.NDArray[Any]

BATCH = 256
"""Geometries whose vectors are one chunk of the result."""


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


def pool_geometries(data: da.Array, shares: Shares, pooling: str) -> da.Array:
    """Mean over cells weighted by the share of their area inside, or maximum over cells touched.

    Only the chunks that a geometry touches are computed, each once.

    Parameters
    ----------
    data
        (feature, y, x) map, one chunk of features.
    shares
        Of its cells.
    pooling
        "mean" or "max".

    Returns
    -------
    dask.array.Array
        (geometry, feature) float32, NaN where a geometry touches no valid cell.
    """
    token = tokenize(data.name, shares, pooling)
    name, partial = f"anysat-geometries-{token}", f"anysat-geometry-parts-{token}"
    features, count = data.shape[0], shares.count
    sizes = [min(BATCH, count - start) for start in range(0, count, BATCH)]
    tasks: dict[Any, Any] = {}
    parts: dict[int, list[Any]] = {}
    for (batch, i, j), part in _by_chunk(shares, data.chunks[1:]):
        key = (partial, batch, i, j)
        tasks[key] = (_pool_chunk, (data.name, 0, i, j), part, sizes[batch], pooling)
        parts.setdefault(batch, []).append(key)
    for batch, size in enumerate(sizes):
        tasks[name, batch, 0] = (_pool_parts, parts.get(batch, []), size, features, pooling)
    parents: list[Any] = [data]
    graph = HighLevelGraph.from_collections(name, tasks, dependencies=parents)
    return da.Array(
        graph, name, (tuple(sizes), (features,)), meta=np.empty((0, 0), dtype="float32")
    )


def _by_chunk(
    shares: Shares, chunks: Sequence[Sequence[int]]
) -> Iterator[tuple[tuple[int, int, int], Shares]]:
    """Shares of each batch of geometries in each chunk, counted from their beginnings."""
    edges = [np.concatenate([[0], np.cumsum(sizes)]) for sizes in chunks]
    rows = np.searchsorted(edges[0], shares.row, side="right") - 1
    columns = np.searchsorted(edges[1], shares.column, side="right") - 1
    batches = shares.geometry // BATCH
    order = np.lexsort((shares.geometry, columns, rows, batches))
    ordered = shares[order]
    keys = np.stack([batches, rows, columns])[:, order]
    changes = np.cumsum((np.diff(keys, axis=1, prepend=keys[:, :1]) != 0).any(axis=0))
    for first, last in runs(changes):
        batch, i, j = keys[:, first].tolist()
        part = ordered[first:last]
        row, column = part.row - edges[0][i], part.column - edges[1][j]
        geometry = part.geometry - batch * BATCH
        yield (batch, i, j), replace(part, geometry=geometry, row=row, column=column)


def _pool_chunk(block: Array, shares: Shares, size: int, pooling: str) -> Array:
    """(size, feature + 1): weighted sums and weights, or maxima."""
    out = np.zeros((size, block.shape[0] + 1))
    if pooling == "max":
        out[:, :-1] = -np.inf
    shares = shares[~np.isnan(block[0, shares.row, shares.column])]
    for first, last in runs(shares.geometry):
        part = shares[first:last]
        sums, weight = out[part.geometry[0]], part.share.astype(np.float64)
        values = block[:, part.row, part.column].astype(np.float64)
        sums[:-1] = values.max(axis=1) if pooling == "max" else values @ weight
        sums[-1] = weight.sum()
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
