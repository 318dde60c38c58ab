"""A sample of an embedding's vectors from a few windows, before the map is computed."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph
from dask.typing import Key

from xr_anysat.errors import StoreError
from xr_anysat.findings import Advice, Finding, SetOption
from xr_anysat.graph.lazy import embed_array
from xr_anysat.graph.run import RetryPolicy
from xr_anysat.job.job import EmbedJob
from xr_anysat.layout.patches import PatchAxis

from .failures import compute_blocks
from .numbers import Array
from .quantize import GIVEN_QUANTIZATION
from .reduction import GIVEN_REDUCTION

__all__ = ["Sample", "draw_sample", "sampled_patches"]

WINDOWS = 64
"""Maximum number of windows. With an overlap of a half each is two tiles long: of a Sentinel-2 tile
at 10 m, 0.9 % is embedded twice."""

FEW_WINDOWS, MAP_SHARE = 4, 0.25
"""Windows that are always taken, and the maximum share of the map for more than these."""

VECTORS = 16_384
"""Vectors that are drawn from all windows: more than ten for each of 1536 features."""

GIVEN_NUMBERS = GIVEN_QUANTIZATION, GIVEN_REDUCTION
"""The remedies of doing without a sample."""

UNREADABLE = partial(
    Finding,
    "sample.failed",
    Advice("Repair the cube's source"),
    *GIVEN_NUMBERS,
    SetOption("on_error", "skip"),
)
"""What is wrong where windows cannot be read."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """A window along an axis, `start` to `stop`, and its core within it, in patches."""

    start: int
    stop: int
    low: int
    high: int


Window = tuple[Span, Span]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Vectors of an embedding.

    Parameters
    ----------
    vectors
        (vector, feature) float32, none of them missing.
    windows
        Number of windows.
    left_out
        Numbers of the windows that could not be embedded.
    """

    vectors: Array
    windows: int
    left_out: tuple[int, ...]


def draw_sample(job: EmbedJob, policy: RetryPolicy) -> Sample:
    """Embed a few windows of a map, and draw vectors from them.

    Windows lie on a regular grid over the map, and the cells of each are drawn with its number as
    seed, so that every process draws the same. The vectors are those of the map: a window is wide
    enough to have all tiles that see its core.

    Parameters
    ----------
    job
        With its statistics known.
    policy
        How to compute them.

    Raises
    ------
    StoreError
        Where a window cannot be computed; where windows may be skipped, if most cannot; where
        no cell is valid.
    ScaleError, WeightsError
        As `embed` would, also where windows may be skipped.
    """
    windows = find_windows(job)
    drawn, failed = compute_blocks(_blocks(job, windows), policy, "sample", "window", UNREADABLE)
    vectors = np.concatenate([drawn[n] for n in sorted(drawn)])
    if not len(vectors):
        raise StoreError("sample.empty", *GIVEN_NUMBERS, windows=len(windows))
    return Sample(vectors=vectors, windows=len(windows), left_out=tuple(failed))


def find_windows(job: EmbedJob) -> list[Window]:
    """Spread windows evenly over a map, the first and the last at its edges.

    There are at least a few windows, and more as long as all of them together take a quarter of
    the map's work. A map that is no larger than a few windows is one window.
    """
    axes = job.layout.rows.axis, job.layout.columns.axis
    size = math.prod(axis.patches / _length(axis) for axis in axes)  # of the map, in windows
    if size <= FEW_WINDOWS:
        y, x = (Span(start=0, stop=n.patches, low=0, high=n.patches) for n in axes)
        return [(y, x)]
    limit = min(WINDOWS, max(FEW_WINDOWS, int(MAP_SHARE * size)))
    rows, columns = (_spans(axis) for axis in axes)
    shrink = max(1.0, (len(rows) * len(columns) / limit) ** 0.5)
    down = min(len(rows), max(1, round(len(rows) / shrink)), limit)
    across = min(len(columns), limit // down)
    return list(product(_evenly(rows, down), _evenly(columns, across)))


def sampled_patches(job: EmbedJob) -> int:
    """Count the patches of all windows."""
    return sum((y.stop - y.start) * (x.stop - x.start) for y, x in find_windows(job))


def _evenly(spans: list[Span], count: int) -> list[Span]:
    last = len(spans) - 1
    chosen = [last // 2] if count == 1 else [round(n * last / (count - 1)) for n in range(count)]
    return [spans[n] for n in chosen]


def _length(axis: PatchAxis) -> int:
    """Patches of a window whose core is a tile at least."""
    margin = axis.tile - axis.stride
    return axis.tile - (-2 * margin // axis.stride) * axis.stride


def _spans(axis: PatchAxis) -> list[Span]:
    """Windows whose cores cover all patches of an axis, with the values of the whole map.

    A window has the tiles that the map has there, and all tiles that see a patch of its core. At an
    end of the map the core extends to that end.
    """
    margin, length = axis.tile - axis.stride, _length(axis)
    step = max(1, (length - 2 * margin) // axis.stride) * axis.stride
    spans = []
    for start in range(0, max(1, axis.patches - length + step), step):
        stop = min(start + length, axis.patches)
        low = 0 if start == 0 else start + margin
        high = stop if stop == axis.patches else stop - margin
        spans.append(Span(start=start, stop=stop, low=low - start, high=high - start))
    return spans


def _blocks(job: EmbedJob, windows: list[Window]) -> da.Array:
    """Draw from each window in a task of its own: a block (vector, feature) for each."""
    maps = [_embedded(job, window) for window in windows]
    name = f"anysat-sample-{tokenize(*(each.name for each in maps), VECTORS)}"
    most = -(-VECTORS // len(maps))
    tasks: dict[Key, Any] = {}
    for n, (each, window) in enumerate(zip(maps, windows, strict=True)):
        drawn = []
        for (i, j), rows, columns in _cells(each, _core(job, window), most, n):
            picked = [(name, n, i, j, part) for part in range(each.numblocks[0])]
            for key in picked:
                tasks[key] = (_pick, (each.name, key[-1], i, j), rows, columns)
            drawn.append(picked)
        tasks[name, n, 0] = (_gather, drawn)
    parents: list[Any] = maps
    graph = HighLevelGraph.from_collections(name, tasks, dependencies=parents)
    chunks = ((most,) * len(maps), (sum(maps[0].chunks[0]),))
    return da.Array(graph, name, chunks, meta=np.empty((0, 0), dtype=np.float32))


def _embedded(job: EmbedJob, window: Window) -> da.Array:
    """Lazy embedding of a window alone, in chunks as long as the map's."""
    y, x = window
    return embed_array(job.computing("float32").window((y.start, y.stop), (x.start, x.stop)))


def _core(job: EmbedJob, window: Window) -> tuple[slice, slice]:
    """Cells of a window's map that are those of the whole map."""
    if job.output.cells == "tile":
        return slice(None), slice(None)
    scale = job.reference.pixels.patch if job.output.map_mode == "grid" else 1
    rows, columns = (slice(span.low * scale, span.high * scale) for span in window)
    return rows, columns


def _cells(
    each: da.Array, core: tuple[slice, slice], most: int, seed: int
) -> Iterator[tuple[tuple[int, int], Array, Array]]:
    """Draw cells of a map: for each block that has some, its index, and theirs within it."""
    rows, columns = (
        np.arange(length)[part] for length, part in zip(each.shape[1:], core, strict=True)
    )
    count = len(rows) * len(columns)
    drawn = np.arange(count)
    if count > most:
        drawn = np.sort(np.random.default_rng(seed).choice(count, most, replace=False))
    y, x = rows[drawn // len(columns)], columns[drawn % len(columns)]
    edges = [np.cumsum((0, *sizes)) for sizes in each.chunks[1:]]
    block = [
        np.searchsorted(edge, at, side="right") - 1 for edge, at in zip(edges, (y, x), strict=True)
    ]
    for i, j in sorted({*zip(*(at.tolist() for at in block), strict=True)}):
        inside = (block[0] == i) & (block[1] == j)
        yield (i, j), y[inside] - edges[0][i], x[inside] - edges[1][j]


def _pick(block: Array, rows: Array, columns: Array) -> Array:
    """Copy cells of a (feature, y, x) block: (cell, feature)."""
    return np.ascontiguousarray(block[:, rows, columns].T, dtype=np.float32)


def _gather(picked: list[list[Array]]) -> Array:
    """Put the cells of a window together, their features side by side; leave out missing cells."""
    vectors = np.concatenate([np.concatenate(parts, axis=1) for parts in picked])
    return vectors[np.isfinite(vectors).all(axis=1)]
