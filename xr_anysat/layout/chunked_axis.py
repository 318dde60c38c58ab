"""Chunks of an axis of patches: which tiles belong to each, and which patches these see.

An axis is treated on its own, rows and columns alike.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from .patches import PatchAxis

__all__ = ["ChunkedAxis", "Overlap", "Part"]

Range = tuple[int, int]
"""First patch or chunk, and one after the last."""


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """Part of a chunk that lies in a window: `index` of the chunk, and where, in patches.

    `source` is (start, stop) within the chunk, `target` within the window.
    """

    index: int
    source: Range
    target: Range


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a part of a map needs of an axis: chunks, each as (first, one after the last).

    Parameters
    ----------
    result
        Chunks of the part itself.
    tiles
        Chunks whose tiles see them.
    encoded
        Chunks whose patches are needed: what those tiles see, and the part itself.
    """

    result: Range
    tiles: Range
    encoded: Range


@dataclass(frozen=True, kw_only=True)
class ChunkedAxis:
    """An axis cut into chunks.

    Each tile belongs to the chunk that its first patch lies in, and to it alone, so that no tile
    is computed twice.

    Parameters
    ----------
    axis
        The axis.
    chunks
        Patches of each chunk.
    """

    axis: PatchAxis
    chunks: tuple[int, ...]

    def __post_init__(self) -> None:
        if sum(self.chunks) != self.axis.patches or min(self.chunks) < 1:
            raise ValueError(f"chunks {self.chunks} do not cut {self.axis}")

    @cached_property
    def edges(self) -> tuple[int, ...]:
        """Patch at which each chunk begins, and the number of patches."""
        return (0, *np.cumsum(self.chunks).tolist())

    def patch_range(self, index: int) -> Range:
        """Patches of a chunk: first, and one after the last."""
        return self.edges[index], self.edges[index + 1]

    def patches_of(self, chunks: Range) -> Range:
        """Patches of chunks from one to before another."""
        return self.edges[chunks[0]], self.edges[chunks[1]]

    def cut_out(self, patches: Range) -> "ChunkedAxis":
        """Take a window of patches for an axis of its own, in chunks as long as these."""
        start, stop = patches
        whole, rest = divmod(stop - start, max(self.chunks))
        chunks = (max(self.chunks),) * whole + ((rest,) if rest else ())
        return ChunkedAxis(axis=replace(self.axis, patches=stop - start), chunks=chunks)

    def tiles_of(self, index: int) -> range:
        """Tiles that begin in a chunk."""
        first, last = (-(-edge // self.axis.stride) for edge in self.patch_range(index))
        return range(min(first, self.axis.tiles), min(last, self.axis.tiles))

    def window_of(self, index: int) -> Range:
        """Patches that a chunk's tiles see, (start, stop); empty where it has no tile."""
        tiles = self.tiles_of(index)
        if not tiles:
            return (0, 0)
        return self.axis.tile_range(tiles[0])[0], self.axis.tile_range(tiles[-1])[1]

    def overlaps(self, window: Range) -> tuple[Overlap, ...]:
        """Chunks that a window of patches touches, in order."""
        first = bisect_right(self.edges, window[0]) - 1
        last = bisect_left(self.edges, window[1])
        return tuple(_overlaps(((n, self.patch_range(n)) for n in range(first, last)), window))

    def contributions(self, index: int) -> tuple[Overlap, ...]:
        """Chunks whose tiles see patches of this chunk.

        `source` is the place within the other chunk's window, `target` within this chunk.
        """
        chunk = self.patch_range(index)
        windows = []
        for other in range(index, -1, -1):
            low, high = self.window_of(other)
            if low < high <= chunk[0]:  # and windows before it end before it does
                break
            windows.append((other, (low, high)))
        return tuple(_overlaps(reversed(windows), chunk))

    @cached_property
    def with_tiles(self) -> tuple[int, ...]:
        """Chunks that a tile begins in."""
        return tuple(index for index in range(len(self.chunks)) if self.tiles_of(index))

    def part(self, start: int, stop: int) -> Part:
        """Find what the chunks from `start` to before `stop` of a map of pixels or patches need."""
        tiles = self.contributions(start)[0].index, self.contributions(stop - 1)[-1].index + 1
        first, last = self._seen_from(*tiles)
        return Part(result=(start, stop), tiles=tiles, encoded=(min(first, start), max(last, stop)))

    def tile_part(self, start: int, stop: int) -> Part:
        """Find the same for a map of tiles, counted among the chunks that have any."""
        tiles = self.with_tiles[start], self.with_tiles[stop - 1] + 1
        return Part(result=(start, stop), tiles=tiles, encoded=self._seen_from(*tiles))

    def _seen_from(self, start: int, stop: int) -> Range:
        """Chunks that the tiles of chunks see; the first and the last of these have some."""
        first, last = self.window_of(start)[0], self.window_of(stop - 1)[1]
        seen = self.overlaps((first, last))
        return seen[0].index, seen[-1].index + 1


def _overlaps(sources: Iterable[tuple[int, Range]], target: Range) -> Iterator[Overlap]:
    """Intersect ranges of patches, each with the index of its chunk, with another range."""
    for index, source in sources:
        first, last = max(source[0], target[0]), min(source[1], target[1])
        if first < last:
            within, into = ((first - start, last - start) for start, _ in (source, target))
            yield Overlap(index=index, source=within, target=into)
