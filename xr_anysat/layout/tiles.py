"""Patches, tiles and chunks of a cube, in whole numbers.

Everything is laid from the cube's north-west corner. Patches are `patch` pixels on a side, tiles
`tile` patches, and a tile begins every `stride` patches; the tiles of an axis are as few as cover
it, and the last one is cut short where the cube ends. An axis is treated on its own, rows and
columns alike, so everything here is about one axis unless it says otherwise.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

__all__ = ["Axis", "ChunkedAxis", "Overlap", "Part", "blend_weights", "recut"]


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Patches and tiles along one axis of a cube.

    Parameters
    ----------
    pixels
        Length of the axis.
    patch
        Pixels of a patch.
    tile, stride
        Patches of a tile, and from one tile's beginning to the next's.
    """

    pixels: int
    patch: int
    tile: int
    stride: int

    @property
    def patches(self) -> int:
        """Patches, the last one perhaps incomplete."""
        return -(-self.pixels // self.patch)

    @property
    def tiles(self) -> int:
        """Tiles, the last one perhaps incomplete: the fewest that cover every patch."""
        return 1 + max(0, -(-(self.patches - self.tile) // self.stride))

    def tile_range(self, index: int) -> tuple[int, int]:
        """First patch of a tile, and the one after its last within the cube."""
        start = index * self.stride
        return start, min(start + self.tile, self.patches)

    @property
    def overlapping(self) -> bool:
        """Whether a patch can lie in more than one tile."""
        return self.stride < self.tile


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """Part of a chunk that lies in a window: `index` of the chunk, and where, in patches.

    `source` is (start, stop) within the chunk, `target` within the window.
    """

    index: int
    source: tuple[int, int]
    target: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a part of a result needs of an axis: chunks, each as (first, one after the last).

    Parameters
    ----------
    result
        Chunks that the part is about.
    tiles
        Chunks whose tiles see them.
    pixels
        Chunks whose pixels are needed: what those tiles see, and the part itself.
    """

    result: tuple[int, int]
    tiles: tuple[int, int]
    pixels: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class ChunkedAxis:
    """An axis cut into chunks of whole patches (but for the cube's own end).

    Each tile belongs to the chunk that its first patch lies in, and to it alone, so that no tile
    is computed twice.

    Parameters
    ----------
    axis
        The axis.
    chunks
        Pixels of each chunk; all but the last are multiples of the patch.
    """

    axis: Axis
    chunks: tuple[int, ...]

    def __post_init__(self) -> None:
        cut = [size for size in self.chunks[:-1] if size % self.axis.patch]
        if sum(self.chunks) != self.axis.pixels or cut or min(self.chunks) < 1:
            raise ValueError(f"chunks {self.chunks} do not cut {self.axis} into whole patches")

    @cached_property
    def edges(self) -> tuple[int, ...]:
        """Pixel at which each chunk begins, and the number of pixels."""
        return (0, *np.cumsum(self.chunks).tolist())

    def span(self, chunks: slice) -> slice:
        """Pixels of chunks from one to before another."""
        return slice(self.edges[chunks.start], self.edges[chunks.stop])

    @cached_property
    def patch_edges(self) -> tuple[int, ...]:
        """Patch at which each chunk begins, and the number of patches."""
        return tuple(-(-edge // self.axis.patch) for edge in self.edges)

    @property
    def patch_chunks(self) -> tuple[int, ...]:
        """Patches of each chunk."""
        return tuple(np.diff(self.patch_edges).tolist())

    def patch_range(self, index: int) -> tuple[int, int]:
        """Patches of a chunk: first, and one after the last."""
        edges = self.patch_edges
        return edges[index], edges[index + 1]

    def tiles_of(self, index: int) -> range:
        """Tiles that begin in a chunk."""
        first, last = (-(-edge // self.axis.stride) for edge in self.patch_range(index))
        return range(min(first, self.axis.tiles), min(last, self.axis.tiles))

    def window_of(self, index: int) -> tuple[int, int]:
        """Patches that a chunk's tiles see, (start, stop); empty where it has no tile."""
        tiles = self.tiles_of(index)
        if not tiles:
            return (0, 0)
        return self.axis.tile_range(tiles[0])[0], self.axis.tile_range(tiles[-1])[1]

    def overlaps(self, window: tuple[int, int]) -> tuple[Overlap, ...]:
        """Chunks that a window of patches touches, in order."""
        edges = self.patch_edges
        return tuple(_overlaps(edges, window))

    def contributions(self, index: int) -> tuple[Overlap, ...]:
        """Chunks whose tiles see patches of this chunk.

        `source` is the place within the other chunk's window, `target` within this chunk.
        """
        start, stop = self.patch_range(index)
        found = []
        for other in range(index, -1, -1):
            low, high = self.window_of(other)
            if low < high <= start:  # and windows before it end before it does
                break
            first, last = max(low, start), min(high, stop)
            if first < last:
                found.append(
                    Overlap(
                        index=other,
                        source=(first - low, last - low),
                        target=(first - start, last - start),
                    )
                )
        return tuple(found[::-1])

    @cached_property
    def with_tiles(self) -> tuple[int, ...]:
        """Chunks that a tile begins in."""
        return tuple(index for index in range(len(self.chunks)) if self.tiles_of(index))

    def part(self, start: int, stop: int) -> Part:
        """Say what chunks `start` to before `stop` of a map of pixels or patches need."""
        tiles = self.contributions(start)[0].index, self.contributions(stop - 1)[-1].index + 1
        first, last = self._seen_from(*tiles)
        return Part(result=(start, stop), tiles=tiles, pixels=(min(first, start), max(last, stop)))

    def tile_part(self, start: int, stop: int) -> Part:
        """Say what those of a map of tiles need, counted among the chunks that have any."""
        tiles = self.with_tiles[start], self.with_tiles[stop - 1] + 1
        return Part(result=(start, stop), tiles=tiles, pixels=self._seen_from(*tiles))

    def _seen_from(self, start: int, stop: int) -> tuple[int, int]:
        """Chunks that the tiles of chunks see; the first and the last of these have some."""
        first, last = self.window_of(start)[0], self.window_of(stop - 1)[1]
        seen = self.overlaps((first, last))
        return seen[0].index, seen[-1].index + 1


def _overlaps(edges: Sequence[int], window: tuple[int, int]) -> Iterator[Overlap]:
    start, stop = window
    for index in range(bisect_right(edges, start) - 1, len(edges) - 1):
        first, last = max(edges[index], start), min(edges[index + 1], stop)
        if first >= last:
            break
        yield Overlap(
            index=index,
            source=(first - edges[index], last - edges[index]),
            target=(first - start, last - start),
        )


def blend_weights(tile: int, patches: int | None = None) -> npt.NDArray[np.float32]:
    """Weight of each patch of a tile where tiles overlap: sin^2, and nowhere zero.

    Of the first patches alone, where the cube ends before the tile does.

    At an overlap of one half the weights of two neighbours add up to one.

    Returns
    -------
    ndarray
        (tile,) or (patches,) float32.
    """
    weights = np.sin(np.pi * (np.arange(tile if patches is None else patches) + 0.5) / tile) ** 2
    return weights.astype(np.float32)


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
