"""Working chunks of a cube, and rechunking to them from those of its source."""

import math
from collections.abc import Sequence
from typing import Any

import dask.array as da
import numpy as np

__all__ = ["cut", "rechunk", "recut", "working_chunks"]

OUTPUT_BYTES = 128 * 2**20
"""Largest chunk of a result."""

INPUT_BYTES = 256 * 2**20
"""Largest chunk of a cube, all dates and bands, as float32."""

GATHER_BYTES = 512 * 2**20
"""Largest block of a cube that is put together over bands and dates before it is cut in space."""

LONGEST_CHUNK = 1024
"""Maximum length of a chunk in pixels, so that there is work for all workers."""


def working_chunks(
    source: Sequence[Sequence[int]],
    unit: int,
    in_bytes: float,
    out_bytes: float,
    longest: int | None = None,
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Choose the working chunks of a cube's rows and columns.

    Parameters
    ----------
    source
        Chunks of the cube along rows and columns.
    unit
        Pixels that every edge is a multiple of.
    in_bytes, out_bytes
        Bytes of the cube and of the result per pixel, as float32.
    longest
        Maximum length of a chunk in pixels.
    """
    pixels = min(OUTPUT_BYTES / out_bytes, INPUT_BYTES / in_bytes)
    worked = min(int(pixels**0.5), LONGEST_CHUNK, longest or LONGEST_CHUNK)
    rows, columns = (recut(sizes, unit, worked) for sizes in source)
    return rows, columns


def rechunk(array: da.Array, chunks: Any) -> da.Array:
    """Re-cut an array by tasks.

    With a distributed client, dask would choose its "p2p" shuffle for large arrays. It reads all of
    a cube before it gives the first block, even where only a part is computed.
    """
    return array.rechunk(chunks, method="tasks")


def cut(values: da.Array, work: Sequence[Sequence[int]]) -> da.Array:
    """Re-cut (date, ..., y, x) blocks: dates and bands in one, space in the given chunks.

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


def recut(chunks: Sequence[int], unit: int, limit: int) -> tuple[int, ...]:
    """Re-cut the chunks of a source to whole units and to a size.

    All chunks are of one size but for the last, as Zarr needs it. Where the source allows, each
    is a part of one block of it or several whole ones, so that few need two blocks.

    Parameters
    ----------
    chunks
        Sizes of the source's chunks.
    unit
        What the size is a multiple of.
    limit
        Largest size, unless a single unit is larger.
    """
    length = sum(chunks)
    if length <= limit:
        return (length,)
    largest = max(1, limit // unit) * unit
    size = _aligned(chunks, unit, largest) or largest
    whole, rest = divmod(length, size)
    return (size,) * whole + ((rest,) if rest else ())


def _aligned(chunks: Sequence[int], unit: int, largest: int) -> int | None:
    """Find a size that fits between the edges of a source, unless it is less than half as large."""
    edges = np.cumsum(chunks)[:-1].tolist()
    if not edges:  # one block: nearly equal parts
        length = sum(chunks)
        return -(-length // (-(-length // largest) * unit)) * unit
    step = math.gcd(*edges)
    if step % unit:
        return None
    if step <= largest:
        return largest // step * step
    parts = next(n for n in range(-(-step // largest), step // unit + 1) if step % (n * unit) == 0)
    size = step // parts
    return size if 2 * size >= largest else None
