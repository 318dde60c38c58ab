"""The dask graph around inference; no mathematics, and nothing is computed here.

An embedding is built in three layers of tasks on one grid of chunks:

a. *encode*: the pixels of a chunk to patch tokens and sub-patch tokens, once per pixel;
b. *tiles*: the tiles that begin in a chunk, from the patch tokens of the chunk and of those after
   it that the tiles reach into: a halo of tokens, never of imagery;
c. *patches* or *pixels*: what the tiles of this chunk and of those before it say about a chunk.

What waits for neighbours is kept apart from what need not: sub-patch tokens from patch tokens, and
the sums of a window by the chunk that they are about.

Tasks hold keys and small frozen descriptions, shared between tasks; names follow from the input's
names and the descriptions, so that the same call gives the same keys.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph
from dask.typing import Key

from .inference import ChunkSpec, Encoded, encode_chunk
from .tiling import ChunkedAxis, Overlap
from .windows import TileSums, WindowSpec, encode_window

__all__ = ["Job", "embed_array"]

Array = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]
Tasks = dict[Key, Any]


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

    @property
    def out_chunks(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Chunks of the (feature, y, x) result."""
        if self.mode == "grid":  # context and local halves apart
            return (self.channels,) * 2, self.rows.chunks, self.columns.chunks
        if self.mode == "patch":
            return (self.channels,), self.rows.patch_chunks, self.columns.patch_chunks
        rows, columns = (
            tuple(len(axis.tiles_of(index)) for index in _with_tiles(axis))
            for axis in (self.rows, self.columns)
        )
        return (self.channels,), rows, columns


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where blocks lie within the array that they are put together to.

    `blocks` pairs the overlap along the rows with that along the columns, block by block;
    `shape` is (rows, columns) in patches.
    """

    blocks: tuple[tuple[Overlap, Overlap], ...]
    shape: tuple[int, int]


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

    turns = f"anysat-turns-{token}"
    graph = _add(graph, turns, dict(_turn_tasks(turns, cells)), [])
    tiles = f"anysat-tiles-{token}"
    graph = _add(graph, tiles, dict(_tile_tasks(tiles, tokens, job)), [tokens])
    out = f"anysat-{job.mode}-{token}"
    if job.mode == "tile":
        graph = _add(graph, out, dict(_whole_tile_tasks(out, tiles, job)), [tiles])
    else:
        patches = out if job.mode == "patch" else f"anysat-patches-{token}"
        parts = f"anysat-parts-{token}"
        graph = _add(graph, parts, dict(_part_tasks(parts, tiles, job)), [tiles])
        tasks = dict(_patch_tasks(patches, parts, turns, job))
        graph = _add(graph, patches, tasks, [parts, turns])
        if job.mode == "grid":
            # A pixel's place in the result waits for the neighbours' tiles; only `seen`, and not
            # the large sub-patch tokens, is kept until then.
            seen, graph = _add_field(graph, encode, "seen", cells, token)
            tasks = dict(_pixel_tasks(out, patches, seen, encode, cells, job))
            graph = _add(graph, out, tasks, [patches, seen, encode])
    return da.Array(graph, out, job.out_chunks, meta=np.empty((0, 0, 0), dtype=job.chunk.dtype))


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


def _turn_tasks(name: str, cells: list[tuple[int, int]]) -> Iterator[tuple[Key, Any]]:
    """Tasks that do nothing, each after the one before, row by row.

    What takes its turn from them has the more tasks behind it the farther down the map it lies.
    Dask works towards what has the fewest first, and would break ties by names, in which block
    10 comes before block 2: now it goes row by row, and few blocks wait for their neighbours.
    """
    before: Key | None = None
    for i, j in cells:
        yield (name, i, j), (_turn, before)
        before = (name, i, j)


def _part_tasks(name: str, tiles: str, job: Job) -> Iterator[tuple[Key, Any]]:
    """Take apart what the tiles of a chunk say about each chunk that they see.

    So the sums of a whole window need not wait for the last of its neighbours.
    """
    shared = _Shared()
    rows, columns = (list(_seen_from(axis)) for axis in (job.rows, job.columns))
    for (i, to_row, row), (j, to_column, column) in product(rows, columns):
        area = shared((row, column))
        yield (name, i, j, to_row, to_column), (_part, (tiles, i, j), area)


def _seen_from(axis: ChunkedAxis) -> Iterator[tuple[int, int, tuple[int, int]]]:
    """Chunk with tiles, chunk that they see, and where in their window."""
    for index in range(len(axis.chunks)):
        for overlap in axis.contributions(index):
            yield overlap.index, index, overlap.source


def _patch_tasks(name: str, parts: str, turns: str, job: Job) -> Iterator[tuple[Key, Any]]:
    shared = _Shared()
    rows = [job.rows.contributions(i) for i in range(len(job.rows.chunks))]
    columns = [job.columns.contributions(j) for j in range(len(job.columns.chunks))]
    dtype = job.chunk.dtype if job.mode == "patch" else "float32"
    for (i, row), (j, column) in product(enumerate(rows), enumerate(columns)):
        keys = [(parts, r.index, c.index, i, j) for r, c in product(row, column)]
        whole = ([_whole(overlap) for overlap in row], [_whole(overlap) for overlap in column])
        place = shared(_place(whole, (job.rows.patch_range(i), job.columns.patch_range(j))))
        yield (name, 0, i, j), (_patch_block, keys, place, dtype, (turns, i, j))


def _whole(overlap: Overlap) -> Overlap:
    """Give the overlap with a part that was cut out already."""
    start, stop = overlap.source
    return replace(overlap, source=(0, stop - start))


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


def _whole_tile_tasks(name: str, tiles: str, job: Job) -> Iterator[tuple[Key, Any]]:
    rows, columns = _with_tiles(job.rows), _with_tiles(job.columns)
    for (row, i), (column, j) in product(enumerate(rows), enumerate(columns)):
        yield (name, 0, row, column), (_features_first, (tiles, i, j), job.chunk.dtype)


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


# What tasks do: functions of the module, so that they pickle by name.


def _field(encoded: Encoded, name: str) -> Any:
    return getattr(encoded, name)


def _window_tiles(blocks: list[Array], place: Place, spec: WindowSpec) -> TileSums | Array:
    return encode_window(_assemble(blocks, place), spec)


def _part(sums: TileSums, area: tuple[tuple[int, int], tuple[int, int]]) -> TileSums:
    window = _slices(*area)
    return TileSums(sums.total[window].copy(), sums.weight[window].copy())


def _assemble(blocks: list[Array], place: Place) -> Array:
    """Put parts of blocks together to one array."""
    out = np.zeros((*place.shape, *blocks[0].shape[2:]), dtype=blocks[0].dtype)
    for block, (row, column) in zip(blocks, place.blocks, strict=True):
        out[_slices(row.target, column.target)] += block[_slices(row.source, column.source)]
    return out


def _slices(row: tuple[int, int], column: tuple[int, int]) -> tuple[slice, slice]:
    return slice(*row), slice(*column)


def _turn(before: None) -> None:
    return before


def _patch_block(sums: list[TileSums], place: Place, dtype: str, turn: None) -> Array:
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
