"""The dask graph around inference; no mathematics, and nothing is computed here.

An embedding is built in three layers of tasks on one grid of chunks:

a. *encode*: the pixels of a chunk to patch tokens and sub-patch tokens, once per pixel;
b. *tiles*: the tiles that begin in a chunk, from the patch tokens of the chunk and of those after
   it that the tiles reach into: a halo of tokens, never of imagery;
c. *patches* or *pixels*: what the tiles of this chunk and of those before it say about a chunk.

What has to wait for neighbours is kept apart from what has not: patch tokens from sub-patch tokens,
and the sums of a window by the chunk that they are about.

Tasks are plain tuples, because dask's `Task` pickles to more than twice the size. They hold keys
and small frozen descriptions, shared between tasks; names follow from the input's
names and the descriptions, so that the same call gives the same keys.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import compress, product
from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph
from dask.typing import Key

from xr_anysat.compute.blend import (
    BlockPlacement,
    features_first,
    field_of,
    nothing,
    part_of_sums,
    patch_block,
    pixel_block,
    turn,
    window_tiles,
)
from xr_anysat.compute.encode import EncodeSpec, encode_chunk
from xr_anysat.compute.tiles import TileSpec
from xr_anysat.job.job import EmbedJob
from xr_anysat.layout.chunked_axis import ChunkedAxis, Overlap, Part
from xr_anysat.layout.grid import MapPart

from .inputs import encode_spec, read_input

__all__ = ["embed_array"]

Tasks = dict[Key, Any]


def embed_array(job: EmbedJob, part: MapPart | None = None) -> da.Array:
    """Embedding of a cube, or of a part of one, as a lazy (feature, y, x) array, north up.

    Parameters
    ----------
    job
        What to embed. Where geometries need some cells only, the others are NaN, or what tiles
        that are needed anyway say about them.
    part
        How much of the map; all of it by default.
    """
    selection = job.selection
    part = part or job.whole
    encoded = list(filter(selection.has_patches, part.encoded))
    (each,) = job.inputs
    values, mask, stats = read_input(job, each, part)
    parents: list[Any] = [array for array in (values, mask, stats) if array is not None]
    spec, names = encode_spec(job, each), [array.name for array in parents]
    token = tokenize(job.output.map_mode, job.layout, spec, part, selection.cells, names)
    top, left = part.rows.encoded[0], part.columns.encoded[0]
    encode = f"anysat-encode-{token}"
    tasks: Tasks = {}
    for i, j in encoded:
        tasks[encode, i, j] = (
            encode_chunk,
            (values.name, 0, 0, i - top, j - left),
            None if mask is None else (mask.name, 0, i - top, j - left),
            None if stats is None else (stats.name, 0, 0),
            spec,
            selection.patches_of((i, j)),
        )
    graph = HighLevelGraph.from_collections(encode, tasks, dependencies=parents)
    tokens, graph = _add_field(graph, encode, "tokens", encoded, token)

    turns = f"anysat-turns-{token}"
    graph = _add(graph, turns, _turn_tasks(turns, part.chunks), [])
    tiles = f"anysat-tiles-{token}"
    graph = _add(graph, tiles, _tile_tasks(tiles, tokens, job, part), [tokens])
    mode = job.output.map_mode
    out = f"anysat-{mode}-{token}"
    if mode == "tile":
        graph = _add(graph, out, _whole_tile_tasks(out, tiles, job, part), [tiles])
    else:
        patches = out if mode == "patch" else f"anysat-patches-{token}"
        parts = f"anysat-parts-{token}"
        graph = _add(graph, parts, _part_tasks(parts, tiles, job, part), [tiles])
        tasks = _patch_tasks(patches, parts, turns, job, part)
        graph = _add(graph, patches, tasks, [parts, turns])
        if mode == "grid":
            # A pixel's place in the result waits for the neighbours' tiles; only `seen`, and not
            # the large sub-patch tokens, is kept until then.
            seen, graph = _add_field(graph, encode, "seen", part.chunks, token)
            tasks = _pixel_tasks(out, patches, seen, encode, spec, part)
            graph = _add(graph, out, tasks, [patches, seen, encode])
    features, rows, columns = job.out_chunks
    chunks = features, rows[slice(*part.rows.result)], columns[slice(*part.columns.result)]
    return da.Array(graph, out, chunks, meta=np.empty((0, 0, 0), dtype=job.output.map_dtype))


def _tile_tasks(name: str, tokens: str, job: EmbedJob, part: MapPart) -> Tasks:
    shared, selection, axis = _Shared(), job.selection, job.layout.rows.axis
    rows = list(_windows(job.layout.rows, part.rows))
    columns = list(_windows(job.layout.columns, part.columns))
    tasks: Tasks = {}
    for row, column in product(rows, columns):
        chunk = (row.index, column.index)
        if not selection.has_tiles(chunk):
            continue
        overlaps = (row.overlaps, column.overlaps)
        seen = [(r.index, c.index) for r, c in product(*overlaps)]
        needed = list(map(selection.has_patches, seen))
        spec = TileSpec(
            model=job.model,
            patch_size=job.layout.patch_size,
            rows=row.tiles,
            columns=column.tiles,
            tile_patches=axis.tile,
            blended=axis.overlapping,
            whole_tiles=job.output.cells == "tile",
            chosen=selection.tiles_of(chunk),
        )
        blocks = [(tokens, *other) for other in compress(seen, needed)]
        placement = _placement(overlaps, (row.patches, column.patches), needed)
        tasks[name, *chunk] = (window_tiles, blocks, shared(placement), shared(spec))
    return tasks


@dataclass(frozen=True, kw_only=True)
class _Window:
    """What the tiles of a chunk see along one axis: patches, and the tiles among them."""

    index: int
    patches: tuple[int, int]
    tiles: tuple[tuple[int, int], ...]
    overlaps: tuple[Overlap, ...]


def _windows(axis: ChunkedAxis, part: Part) -> Iterator[_Window]:
    """Yield the window of each chunk that a tile begins in."""
    for index in range(*part.tiles):
        if not axis.tiles_of(index):
            continue
        start, stop = axis.window_of(index)
        ranges = (axis.axis.tile_range(tile) for tile in axis.tiles_of(index))
        yield _Window(
            index=index,
            patches=(start, stop),
            tiles=tuple((low - start, high - start) for low, high in ranges),
            overlaps=axis.overlaps((start, stop)),
        )


def _turn_tasks(name: str, chunks: list[tuple[int, int]]) -> Tasks:
    """Tasks that do nothing, each after the one before, row by row.

    A task that depends on one of them has more tasks before it the farther down the map it lies.
    Dask first works towards the task with the fewest, and would break ties by names, in which
    block 10 comes before block 2. With turns it goes row by row, and few blocks wait for their
    neighbours.
    """
    tasks: Tasks = {}
    before: Key | None = None
    for i, j in chunks:
        tasks[name, i, j] = (turn, before)
        before = (name, i, j)
    return tasks


def _part_tasks(name: str, tiles: str, job: EmbedJob, part: MapPart) -> Tasks:
    """Split the sums over the tiles of a chunk by the chunk that they are about.

    The sums of a whole window then need not wait for the last of its neighbours.
    """
    shared, selection = _Shared(), job.selection
    rows = list(_seen_from(job.layout.rows, part.rows))
    columns = list(_seen_from(job.layout.columns, part.columns))
    tasks: Tasks = {}
    for (i, to_row, row), (j, to_column, column) in product(rows, columns):
        if selection.has_tiles((i, j)) and selection.has_results((to_row, to_column)):
            area = shared((row, column))
            tasks[name, i, j, to_row, to_column] = (part_of_sums, (tiles, i, j), area)
    return tasks


def _seen_from(axis: ChunkedAxis, part: Part) -> Iterator[tuple[int, int, tuple[int, int]]]:
    """Yield a chunk with tiles, a chunk that they see, and where it lies in their window."""
    for index in range(*part.result):
        for overlap in axis.contributions(index):
            yield overlap.index, index, overlap.source


def _patch_tasks(name: str, parts: str, turns: str, job: EmbedJob, part: MapPart) -> Tasks:
    shared, selection, layout = _Shared(), job.selection, job.layout
    rows = [(i, layout.rows.contributions(i)) for i in range(*part.rows.result)]
    columns = [(j, layout.columns.contributions(j)) for j in range(*part.columns.result)]
    dtype = job.output.map_dtype if job.output.map_mode == "patch" else "float32"
    tasks: Tasks = {}
    for (i, row), (j, column) in product(rows, columns):
        key = (name, 0, *part.at(i, j))
        ranges = (layout.rows.patch_range(i), layout.columns.patch_range(j))
        if not selection.has_results((i, j)):
            shape = (job.width, *(stop - start for start, stop in ranges))
            tasks[key] = (nothing, shape, dtype)
            continue
        seen = [(r.index, c.index) for r, c in product(row, column)]
        needed = list(map(selection.has_tiles, seen))
        whole = ([_whole(overlap) for overlap in row], [_whole(overlap) for overlap in column])
        blocks = [(parts, *chunk, i, j) for chunk in compress(seen, needed)]
        placement = shared(_placement(whole, ranges, needed))
        tasks[key] = (patch_block, blocks, placement, dtype, (turns, i, j))
    return tasks


def _whole(overlap: Overlap) -> Overlap:
    """Overlap with a part that was cut out already."""
    start, stop = overlap.source
    return replace(overlap, source=(0, stop - start))


def _pixel_tasks(
    name: str, patches: str, seen: str, encode: str, spec: EncodeSpec, part: MapPart
) -> Tasks:
    """Write context and local halves apart: the local one does not wait for its neighbours."""
    tasks: Tasks = {}
    for i, j in part.chunks:
        at = part.at(i, j)
        of_patches, of_pixels = (patches, 0, *at), (seen, i, j)
        tasks[name, 0, *at] = (pixel_block, of_patches, of_pixels, spec.patch, spec.dtype)
        tasks[name, 1, *at] = (field_of, (encode, i, j), "sub")
    return tasks


def _whole_tile_tasks(name: str, tiles: str, job: EmbedJob, part: MapPart) -> Tasks:
    axes, dtype = (job.layout.rows, job.layout.columns), job.output.map_dtype
    rows = axes[0].with_tiles[slice(*part.rows.result)]
    columns = axes[1].with_tiles[slice(*part.columns.result)]
    tasks: Tasks = {}
    for (row, i), (column, j) in product(enumerate(rows), enumerate(columns)):
        key = (name, 0, row, column)
        if job.selection.has_tiles((i, j)):
            tasks[key] = (features_first, (tiles, i, j), dtype)
        else:
            shape = (job.width, len(axes[0].tiles_of(i)), len(axes[1].tiles_of(j)))
            tasks[key] = (nothing, shape, dtype)
    return tasks


def _placement(
    overlaps: tuple[Sequence[Overlap], Sequence[Overlap]],
    ranges: tuple[tuple[int, int], tuple[int, int]],
    needed: Sequence[bool],
) -> BlockPlacement:
    """Place blocks; without their keys, so that chunks that are alike share a placement."""
    rows, columns = ([replace(o, index=0) for o in axis] for axis in overlaps)
    return BlockPlacement(
        blocks=tuple(compress(product(rows, columns), needed)),
        shape=(ranges[0][1] - ranges[0][0], ranges[1][1] - ranges[1][0]),
    )


class _Shared:
    """Keeps one object for equal descriptions: a graph of a million tasks holds a handful."""

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
    graph: HighLevelGraph, encode: str, field: str, chunks: list[tuple[int, int]], token: str
) -> tuple[str, HighLevelGraph]:
    name = f"anysat-{field}-{token}"
    tasks: Tasks = {(name, i, j): (field_of, (encode, i, j), field) for i, j in chunks}
    return name, _add(graph, name, tasks, [encode])
