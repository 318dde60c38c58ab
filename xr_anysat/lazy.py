"""The dask graph around inference; no mathematics, and nothing is computed here.

An embedding is built in three layers of tasks on one grid of chunks:

a. *encode*: the pixels of a chunk to patch tokens and sub-patch tokens, once per pixel;
b. *tiles*: the tiles that begin in a chunk, from the patch tokens of the chunk and of those after
   it that the tiles reach into: a halo of tokens, never of imagery;
c. *patches* or *pixels*: what the tiles of this chunk and of those before it say about a chunk.

Tasks hold keys and small frozen descriptions, shared between tasks; names follow from the input's
names and the descriptions, so that the same call gives the same keys.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
from dask.base import clone_key, tokenize
from dask.graph_manipulation import bind
from dask.highlevelgraph import HighLevelGraph
from dask.typing import Key

from .inference import ChunkSpec, Encoded, TileSums, WindowSpec, encode_chunk, encode_window
from .normalize import band_moments, merge_moments, moments_to_stats, valid_dates
from .tiling import ChunkedAxis, Overlap, recut

__all__ = [
    "Job",
    "after",
    "cut",
    "embed_array",
    "lazy_moments",
    "rechunk",
    "stats_of",
    "working_chunks",
]

Array = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]
Tasks = dict[Key, Any]

OUTPUT_BYTES = 128 * 2**20
"""Largest chunk of a result."""

INPUT_BYTES = 256 * 2**20
"""Largest chunk of a cube, all dates and bands, as float32."""

GATHER_BYTES = 512 * 2**20
"""Largest block of a cube that is put together over bands and dates before it is cut in space."""

LONGEST_CHUNK = 1024
"""Pixels: a chunk is no longer, so that there is work for all workers."""

MERGE_EVERY = 16
"""Partial statistics merged at once."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """An embedding to be built.

    Parameters
    ----------
    mode
        "grid", "patch" or "tile".
    rows, columns
        The cube's axes and their chunks.
    chunk
        How pixels are encoded.
    patch_size
        Metres.
    """

    mode: str
    rows: ChunkedAxis
    columns: ChunkedAxis
    chunk: ChunkSpec
    patch_size: float

    @property
    def channels(self) -> int:
        """Channels of a token (D)."""
        return self.chunk.model.config.width


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where blocks lie within the array that they are put together to.

    `blocks` pairs the overlap along the rows with that along the columns, block by block;
    `shape` is (rows, columns) in patches.
    """

    blocks: tuple[tuple[Overlap, Overlap], ...]
    shape: tuple[int, int]


def working_chunks(
    source: Sequence[Sequence[int]],
    unit: int,
    dates: int,
    out_bytes: float,
    longest: int | None = None,
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Cut of a cube's rows and columns as they are worked on.

    Parameters
    ----------
    source
        Chunks of the cube along rows and columns.
    unit
        Pixels that every edge is a multiple of.
    dates
        Dates of the cube.
    out_bytes
        Bytes of the result per pixel.
    longest
        Pixels that a chunk may be long at the most.
    """
    pixels = min(OUTPUT_BYTES / out_bytes, INPUT_BYTES / (4 * 10 * dates))
    worked = min(int(pixels**0.5), longest or LONGEST_CHUNK)
    rows, columns = (recut(sizes, unit, worked) for sizes in source)
    return rows, columns


def rechunk(array: da.Array, chunks: Any) -> da.Array:
    """Re-cut an array by tasks.

    With a distributed client, dask would choose its "p2p" shuffle for large arrays, which reads
    all of a cube before it gives the first block, whatever part was asked for.
    """
    return array.rechunk(chunks, method="tasks")


def cut(values: da.Array, work: Sequence[Sequence[int]]) -> da.Array:
    """Re-cut (date, ..., y, x) blocks: dates and bands in one, space as asked for.

    Blocks are put together over bands and as many dates as `GATHER_BYTES` hold before they are
    cut in space. The other way round, the block of each date and band would be cut on its own,
    which makes millions of tasks.
    """
    *leading, y, x = range(values.ndim)
    if any(len(values.chunks[axis]) > 1 for axis in leading):
        values = _gathered(values, work)
    return rechunk(values, {**dict.fromkeys(leading, -1), y: tuple(work[0]), x: tuple(work[1])})


def _gathered(values: da.Array, work: Sequence[Sequence[int]]) -> da.Array:
    dates, *others, y, x = range(values.ndim)
    bytes_per_pixel = math.prod(values.shape[axis] for axis in others) * values.dtype.itemsize
    pixels = max(1, GATHER_BYTES // bytes_per_pixel)  # of one date
    if max(values.chunks[y]) * max(values.chunks[x]) > pixels:
        side = math.isqrt(pixels)
        values = rechunk(values, {y: _joined(work[0], side), x: _joined(work[1], side)})
    together = pixels // (max(values.chunks[y]) * max(values.chunks[x]))
    grouped = _joined(values.chunks[0], together)
    return rechunk(values, {**dict.fromkeys(others, -1), dates: grouped})


def _joined(sizes: Sequence[int], limit: int) -> tuple[int, ...]:
    """Join neighbours up to a limit."""
    joined = [sizes[0]]
    for size in sizes[1:]:
        if joined[-1] + size <= limit:
            joined[-1] += size
        else:
            joined.append(size)
    return tuple(joined)


def lazy_moments(values: da.Array, mask: da.Array | None, nodata: tuple[float, ...]) -> da.Array:
    """Moments of each band over a cube, (3, 10), read chunk by chunk and merged in a tree."""
    values = rechunk(values, {1: -1})
    if mask is not None:
        mask = rechunk(mask, (values.chunks[0], *values.chunks[2:]))
    token = tokenize("moments", values.name, mask is None or mask.name, nodata)
    level = f"anysat-moments-{token}"
    tasks: Tasks = {}
    keys: list[Key] = []
    for t, i, j in product(*(range(values.numblocks[axis]) for axis in (0, 2, 3))):
        keys.append((level, t, i, j))
        mask_key = None if mask is None else (mask.name, t, i, j)
        tasks[keys[-1]] = (_block_moments, (values.name, t, 0, i, j), mask_key, nodata)
    depth = 0
    while len(keys) > 1 or depth == 0:
        groups = [keys[n : n + MERGE_EVERY] for n in range(0, len(keys), MERGE_EVERY)]
        keys = [(f"{level}-merged", depth, n) for n in range(len(groups))]
        tasks.update((key, (merge_moments, group)) for key, group in zip(keys, groups, strict=True))
        depth += 1
    name = f"anysat-band-moments-{token}"
    tasks[name, 0, 0] = keys[0]
    parents = [values] if mask is None else [values, mask]
    return _array(name, tasks, ((3,), (values.shape[1],)), "float64", parents)


def stats_of(moments: da.Array) -> da.Array:
    """Mean and standard deviation, (2, 10), of moments."""
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


def embed_array(
    values: da.Array, mask: da.Array | None, stats: da.Array | None, job: Job
) -> da.Array:
    """Embedding of a cube as a lazy (feature, y, x) array.

    Parameters
    ----------
    values
        (T, 10, y, x), one chunk along dates and bands, in space cut as the job says.
    mask
        (T, y, x) bool, cut alike.
    stats
        (2, 10), where the normalisation needs them.
    job
        What to build.
    """
    parents: list[Any] = [array for array in (values, mask, stats) if array is not None]
    token = tokenize(job, *(array.name for array in parents))
    cells = list(product(range(len(job.rows.chunks)), range(len(job.columns.chunks))))
    encode = f"anysat-encode-{token}"
    tasks: Tasks = {
        (encode, i, j): (
            encode_chunk,
            (values.name, 0, 0, i, j),
            None if mask is None else (mask.name, 0, i, j),
            None if stats is None else (stats.name, 0, 0),
            job.chunk,
        )
        for i, j in cells
    }
    graph = HighLevelGraph.from_collections(encode, tasks, dependencies=parents)
    tokens, graph = _add_field(graph, encode, "tokens", cells, token)

    tiles = f"anysat-tiles-{token}"
    graph = _add(graph, tiles, dict(_tile_tasks(tiles, tokens, job)), [tokens])
    out = f"anysat-{job.mode}-{token}"
    if job.mode == "tile":
        tasks, chunks = _whole_tile_tasks(out, tiles, job)
        graph = _add(graph, out, tasks, [tiles])
    else:
        patches = out if job.mode == "patch" else f"anysat-patches-{token}"
        tasks = dict(_patch_tasks(patches, tiles, job))
        chunks = ((job.channels,), job.rows.patch_chunks, job.columns.patch_chunks)
        graph = _add(graph, patches, tasks, [tiles])
        if job.mode == "grid":
            # A pixel's place in the result waits for the neighbours' tiles; only `seen`, and not
            # the large sub-patch tokens, is kept until then.
            seen, graph = _add_field(graph, encode, "seen", cells, token)
            tasks = dict(_pixel_tasks(out, patches, seen, encode, cells, job))
            chunks = ((job.channels,) * 2, job.rows.chunks, job.columns.chunks)
            graph = _add(graph, out, tasks, [patches, seen, encode])
    return da.Array(graph, out, chunks, meta=np.empty((0, 0, 0), dtype=job.chunk.dtype))


def _tile_tasks(name: str, tokens: str, job: Job) -> Iterator[tuple[Key, Any]]:
    shared = _Shared()
    rows, columns = (list(_windows(axis)) for axis in (job.rows, job.columns))
    for row, column in product(rows, columns):
        overlaps = (row.overlaps, column.overlaps)
        keys = [(tokens, r.index, c.index) for r, c in product(*overlaps)]
        spec = WindowSpec(
            model=job.chunk.model,
            patch_size=job.patch_size,
            rows=row.tiles,
            columns=column.tiles,
            tile=job.rows.axis.tile,
            blended=job.rows.axis.overlapping,
            whole_tiles=job.mode == "tile",
        )
        place = shared(_place(overlaps, (row.patches, column.patches)))
        yield (name, row.index, column.index), (_window_tiles, keys, place, shared(spec))


@dataclass(frozen=True, kw_only=True)
class _Window:
    """What the tiles of a chunk see along one axis: patches, and the tiles among them."""

    index: int
    patches: tuple[int, int]
    tiles: tuple[tuple[int, int], ...]
    overlaps: tuple[Overlap, ...]


def _windows(axis: ChunkedAxis) -> Iterator[_Window]:
    """Give the window of each chunk that a tile begins in."""
    for index in _with_tiles(axis):
        start, stop = axis.window_of(index)
        ranges = (axis.axis.tile_range(tile) for tile in axis.tiles_of(index))
        yield _Window(
            index=index,
            patches=(start, stop),
            tiles=tuple((low - start, high - start) for low, high in ranges),
            overlaps=axis.overlaps((start, stop)),
        )


def _with_tiles(axis: ChunkedAxis) -> list[int]:
    return [index for index in range(len(axis.chunks)) if axis.tiles_of(index)]


def _patch_tasks(name: str, tiles: str, job: Job) -> Iterator[tuple[Key, Any]]:
    shared = _Shared()
    rows = [job.rows.contributions(i) for i in range(len(job.rows.chunks))]
    columns = [job.columns.contributions(j) for j in range(len(job.columns.chunks))]
    dtype = job.chunk.dtype if job.mode == "patch" else "float32"
    for (i, row), (j, column) in product(enumerate(rows), enumerate(columns)):
        keys = [(tiles, r.index, c.index) for r, c in product(row, column)]
        place = shared(_place((row, column), (job.rows.patch_range(i), job.columns.patch_range(j))))
        yield (name, 0, i, j), (_patch_block, keys, place, dtype)


def _pixel_tasks(
    name: str, patches: str, seen: str, encode: str, cells: list[tuple[int, int]], job: Job
) -> Iterator[tuple[Key, Any]]:
    """Context and local halves apart, so that the local one need not wait for its neighbours."""
    for i, j in cells:
        yield (
            (name, 0, i, j),
            (_pixel_block, (patches, 0, i, j), (seen, i, j), job.chunk.patch, job.chunk.dtype),
        )
        yield (name, 1, i, j), (_field, (encode, i, j), "sub")


def _whole_tile_tasks(name: str, tiles: str, job: Job) -> tuple[Tasks, tuple[Any, ...]]:
    rows, columns = _with_tiles(job.rows), _with_tiles(job.columns)
    tasks: Tasks = {
        (name, 0, row, column): (_features_first, (tiles, i, j), job.chunk.dtype)
        for (row, i), (column, j) in product(enumerate(rows), enumerate(columns))
    }
    return tasks, (
        (job.channels,),
        tuple(len(job.rows.tiles_of(i)) for i in rows),
        tuple(len(job.columns.tiles_of(j)) for j in columns),
    )


def _place(
    overlaps: tuple[Sequence[Overlap], Sequence[Overlap]],
    ranges: tuple[tuple[int, int], tuple[int, int]],
) -> Place:
    """Keys do not matter to a place, so that alike chunks share one."""
    rows, columns = ([replace(o, index=0) for o in axis] for axis in overlaps)
    return Place(
        blocks=tuple(product(rows, columns)),
        shape=(ranges[0][1] - ranges[0][0], ranges[1][1] - ranges[1][0]),
    )


class _Shared:
    """One object for equal descriptions: a graph of a million tasks holds a handful."""

    def __init__(self) -> None:
        self._seen: dict[Any, Any] = {}

    def __call__(self, value: Any) -> Any:
        return self._seen.setdefault(value, value)


def _add(graph: HighLevelGraph, name: str, tasks: Tasks, dependencies: list[str]) -> HighLevelGraph:
    layer = HighLevelGraph.from_collections(name, tasks)
    return HighLevelGraph(
        {**graph.layers, name: layer.layers[name]},
        {**graph.dependencies, name: set(dependencies)},
    )


def _add_field(
    graph: HighLevelGraph, encode: str, field: str, cells: list[tuple[int, int]], token: str
) -> tuple[str, HighLevelGraph]:
    name = f"anysat-{field}-{token}"
    tasks: Tasks = {(name, i, j): (_field, (encode, i, j), field) for i, j in cells}
    return name, _add(graph, name, tasks, [encode])


def _array(name: str, tasks: Tasks, chunks: Any, dtype: str, parents: Sequence[Any]) -> da.Array:
    graph = HighLevelGraph.from_collections(name, tasks, dependencies=parents)
    return da.Array(graph, name, chunks, meta=np.empty((0,) * len(chunks), dtype=dtype))


# What tasks do: functions of the module, so that they pickle by name.


def _field(encoded: Encoded, name: str) -> Any:
    return getattr(encoded, name)


def _block_moments(values: Array, mask: Bools | None, nodata: tuple[float, ...]) -> Array:
    return band_moments(values, valid_dates(values, mask, nodata))


def _window_tiles(blocks: list[Array], place: Place, spec: WindowSpec) -> TileSums | Array:
    return encode_window(_assemble(blocks, place), spec)


def _assemble(blocks: list[Array], place: Place) -> Array:
    """Put parts of blocks together to one array."""
    out = np.zeros((*place.shape, *blocks[0].shape[2:]), dtype=blocks[0].dtype)
    for block, (row, column) in zip(blocks, place.blocks, strict=True):
        out[_slices(row.target, column.target)] += block[_slices(row.source, column.source)]
    return out


def _slices(row: tuple[int, int], column: tuple[int, int]) -> tuple[slice, slice]:
    return slice(*row), slice(*column)


def _patch_block(sums: list[TileSums], place: Place, dtype: str) -> Array:
    """Weighted mean over tiles, (D, rows, columns), NaN where no tile has seen a patch."""
    total = _assemble([part.total for part in sums], place)
    weight = _assemble([part.weight for part in sums], place)
    mean = np.full_like(total, np.nan)
    np.divide(total, weight[..., None], out=mean, where=weight[..., None] > 0)
    return _features_first(mean, dtype)


def _pixel_block(patches: Array, seen: Bools, patch: int, dtype: str) -> Array:
    """Each pixel gets its patch's embedding, NaN where it was never seen: (D, h, w)."""
    height, width = seen.shape
    rows, columns = np.arange(height) // patch, np.arange(width) // patch
    pixels = patches[:, rows[:, None], columns].astype(dtype, copy=False)
    pixels[:, ~seen] = np.nan
    return pixels


def _features_first(values: Array, dtype: str) -> Array:
    return np.ascontiguousarray(np.moveaxis(values, -1, 0), dtype=dtype)
