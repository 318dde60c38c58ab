"""Band statistics of a lazy cube, and the order of the two passes that need them."""

import math
from collections.abc import Sequence
from itertools import pairwise, product
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
from dask.base import clone_key, tokenize
from dask.graph_manipulation import bind
from dask.highlevelgraph import HighLevelGraph
from dask.typing import Key

from xr_anysat.compute.normalize import band_moments, merge_moments, moments_to_stats
from xr_anysat.cube.canonical import CanonicalCube
from xr_anysat.cube.values import validity_mask
from xr_anysat.layout.chunks import rechunk

__all__ = ["after", "block_moments", "lazy_moments", "merged", "sampled", "stats_of"]

Array = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]

MERGE_EVERY = 16
"""Partial statistics merged at once."""

SAMPLE_WINDOWS = 4, 16
"""Fewest and most windows of a sample along an axis: fewer are not typical, more are slow."""

SAMPLE_LENGTH = 256
"""Pixels of a window along an axis beyond which there are more windows, up to the most."""


def block_moments(cube: CanonicalCube) -> da.Array:
    """Moments of each band over each block of a cube, a block (3, C) of the result for each."""
    values, nodata = rechunk(cube.slabs, {1: -1}), cube.spec.nodata
    mask = cube.valid_like(values)
    token = tokenize("moments", values.name, mask is None or mask.name, nodata)
    name = f"anysat-moments-{token}"
    tasks: dict[Key, Any] = {}
    blocks = list(product(*(range(values.numblocks[axis]) for axis in (0, 2, 3))))
    for n, (t, i, j) in enumerate(blocks):
        mask_key = None if mask is None else (mask.name, t, i, j)
        block = (values.name, t, 0, i, j)
        tasks[name, n, 0] = (_block_moments, block, mask_key, nodata)
    parents: list[Any] = [values] if mask is None else [values, mask]
    graph = HighLevelGraph.from_collections(name, tasks, dependencies=parents)
    chunks = ((3,) * len(blocks), (values.shape[1],))
    return da.Array(graph, name, chunks, meta=np.empty((0, 0)))


def lazy_moments(cube: CanonicalCube) -> da.Array:
    """Moments of each band over a cube, (3, C), read chunk by chunk and merged in a tree."""
    parts = block_moments(cube)
    name = parts.name.replace("anysat-moments", "anysat-band-moments")
    keys: list[Key] = [(parts.name, n, 0) for n in range(parts.numblocks[0])]
    tasks: dict[Key, Any] = {}
    depth = 0
    while len(keys) > 1 or depth == 0:
        groups = _groups(keys)
        keys = [(f"{parts.name}-merged", depth, n) for n in range(len(groups))]
        tasks.update((key, (merge_moments, group)) for key, group in zip(keys, groups, strict=True))
        depth += 1
    tasks[name, 0, 0] = keys[0]
    parents: list[Any] = [parts]
    graph = HighLevelGraph.from_collections(name, tasks, dependencies=parents)
    return da.Array(graph, name, ((3,), parts.chunks[1]), meta=np.empty((0, 0)))


def sampled(cube: CanonicalCube, share: float) -> CanonicalCube:
    """Cut windows out of a cube, with at least a share of its pixels in total."""
    rows, columns = (sample_windows(n, math.sqrt(share)) for n in cube.spec.shape)

    def windows_of(array: da.Array) -> da.Array:
        array = da.concatenate([array[..., slice(*each), :] for each in rows], axis=-2)
        return da.concatenate([array[..., slice(*each)] for each in columns], axis=-1)

    valid = None if cube.valid is None else windows_of(cube.valid)
    return cube.with_arrays(windows_of(cube.values), valid)


def sample_windows(length: int, share: float) -> list[tuple[int, int]]:
    """Divide an axis into equal parts, and place a window in the middle of each.

    For statistics and fits, a share of the pixels counts, the same ones whatever the chunks; for a
    look (`report.sampling`) the blocks that are read count, and for the numbers of a store
    (`stores.sample`) the tiles that see a window.

    Parameters
    ----------
    length
        Pixels of the axis.
    share
        Of its pixels, above 0 to 1.
    """
    pixels = math.ceil(share * length)
    fewest, most = (min(number, pixels) for number in SAMPLE_WINDOWS)
    count = min(max(fewest, math.ceil(pixels / SAMPLE_LENGTH)), most)
    edges = [part * length // count for part in range(count + 1)]
    size = math.ceil(pixels / count)
    windows = []
    for low, high in pairwise(edges):
        start = low + max(0, high - low - size) // 2
        windows.append((start, min(start + size, high)))
    return windows


def merged(parts: Sequence[Array]) -> Array:
    """Merge the moments of blocks as `lazy_moments` does, to the same digits."""
    parts = [merge_moments(group) for group in _groups(parts)]
    while len(parts) > 1:
        parts = [merge_moments(group) for group in _groups(parts)]
    return parts[0]


def _groups(parts: Sequence[Any]) -> list[Any]:
    return [parts[n : n + MERGE_EVERY] for n in range(0, len(parts), MERGE_EVERY)]


def stats_of(moments: da.Array) -> da.Array:
    """Mean and standard deviation, (2, C), of moments."""
    return da.map_blocks(
        moments_to_stats, moments, chunks=((2,), moments.chunks[1]), dtype="float64",
        meta=np.empty((0, 0)), name=f"anysat-band-stats-{tokenize(moments.name)}",
    )  # fmt: skip


def after(arrays: Sequence[da.Array | None], first: da.Array) -> list[da.Array | None]:
    """Copy arrays so that their sources are not read before another array is computed.

    Without this, dask would read a cube ahead of its statistics, and keep every chunk from the
    first pass for the second.
    """
    seed = tokenize("after", first.name, *(a is not None and a.name for a in arrays))
    bound = iter(bind([a for a in arrays if a is not None], first, seed=seed))
    return [None if a is None else _annotated(next(bound), a, seed) for a in arrays]


def _annotated(copy: da.Array, array: da.Array, seed: str) -> da.Array:
    """Give the layers of a copy the annotations of the layers they were made from."""
    for name, layer in array.dask.layers.items():
        bound = copy.dask.layers.get(clone_key(name, seed))
        if layer.annotations and bound is not None:
            bound.annotations = {**layer.annotations, **(bound.annotations or {})}
    return copy


def _block_moments(values: Array, mask: Bools | None, nodata: tuple[float, ...]) -> Array:
    return band_moments(values, validity_mask(values, mask, nodata))
