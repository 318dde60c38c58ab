"""Which tiles of a cube are wanted, and what they need, chunk by chunk: in whole numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from .chunked_axis import ChunkedAxis
from .patches import PatchAxis

__all__ = ["ALL", "Selection", "select"]

Places = npt.NDArray[np.int64]
"""(N, 2): row and column."""

Bools = npt.NDArray[np.bool_]
Chunk = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Tiles that are wanted, and what they need; chunks are (row, column) of the cube's.

    Parameters
    ----------
    cells
        (N, 2): cells of the result that are wanted, or None for all. The rest follows from them.
    tiles
        (N, 2): every tile that says something about them.
    tiles_by_chunk
        For each chunk that such tiles begin in: row and column of each among the chunk's.
    patches_by_chunk
        For each chunk that they see: (rows, columns) bool, the patches they see.
    results
        Chunks in which cells are wanted.
    """

    cells: Places | None = None
    tiles: Places | None = None
    tiles_by_chunk: Mapping[Chunk, tuple[tuple[int, int], ...]] | None = None
    patches_by_chunk: Mapping[Chunk, Bools] | None = None
    results: frozenset[Chunk] | None = None

    def has_tiles(self, chunk: Chunk) -> bool:
        """Whether tiles that begin in a chunk are wanted."""
        return self.tiles_by_chunk is None or chunk in self.tiles_by_chunk

    def has_patches(self, chunk: Chunk) -> bool:
        """Whether patches of a chunk are needed."""
        return self.patches_by_chunk is None or chunk in self.patches_by_chunk

    def has_results(self, chunk: Chunk) -> bool:
        """Whether cells of a chunk are wanted."""
        return self.results is None or chunk in self.results

    def tiles_of(self, chunk: Chunk) -> tuple[tuple[int, int], ...] | None:
        """Tiles of a chunk that are wanted, None for all."""
        return None if self.tiles_by_chunk is None else self.tiles_by_chunk[chunk]

    def patches_of(self, chunk: Chunk) -> Bools | None:
        """Patches of a chunk that are needed, None for all."""
        return None if self.patches_by_chunk is None else self.patches_by_chunk[chunk]


ALL = Selection()
"""Everything is wanted."""


def select(
    cells: Places, rows: ChunkedAxis, columns: ChunkedAxis, *, whole_tiles: bool
) -> Selection:
    """Find what some cells of a map need.

    Parameters
    ----------
    cells
        (N, 2): patches, or tiles where these are the map's cells, each once.
    rows, columns
        The cube's axes.
    whole_tiles
        Whether cells are tiles.
    """
    tiles = cells if whole_tiles else _tiles_that_see(cells, rows.axis, columns.axis)
    axes = (rows, columns)
    chunks = _chunks_of(tiles * np.array([axis.axis.stride for axis in axes]), axes)
    first = [-(-np.array(axis.edges) // axis.axis.stride) for axis in axes]
    among = tiles - np.stack([first[n][chunks[:, n]] for n in (0, 1)], axis=1)
    tiles_by_chunk: dict[Chunk, list[tuple[int, int]]] = {}
    for (i, j), (row, column) in zip(chunks.tolist(), among.tolist(), strict=True):
        tiles_by_chunk.setdefault((i, j), []).append((row, column))
    results = tiles_by_chunk if whole_tiles else map(tuple, _chunks_of(cells, axes).tolist())
    return Selection(
        cells=cells,
        tiles=tiles,
        tiles_by_chunk={chunk: tuple(places) for chunk, places in tiles_by_chunk.items()},
        patches_by_chunk=_patches_seen(tiles, rows, columns),
        results=frozenset(results),
    )


def _tiles_that_see(patches: Places, rows: PatchAxis, columns: PatchAxis) -> Places:
    """Every tile that a patch lies in, each once."""
    first, last = [], []
    for patch, axis in zip(patches.T, (rows, columns), strict=True):
        first.append(np.maximum(-(-(patch - axis.tile + 1) // axis.stride), 0))
        last.append(np.minimum(patch // axis.stride, axis.tiles - 1))
    low, high = np.stack(first, axis=1), np.stack(last, axis=1)
    most = (high - low).max(axis=0, initial=0).tolist()
    numbers = [patches[:0, 0]]
    for back in product(range(most[0] + 1), range(most[1] + 1)):
        row, column = (high - back)[((high - back) >= low).all(axis=1)].T
        numbers.append(np.unique(row * columns.tiles + column))  # they sort faster than pairs
    return np.stack(np.divmod(np.unique(np.concatenate(numbers)), columns.tiles), axis=1)


def _chunks_of(patches: Places, axes: tuple[ChunkedAxis, ChunkedAxis]) -> Places:
    """Give the chunk that each patch lies in."""
    after = [np.searchsorted(axis.edges, patches[:, n], "right") for n, axis in enumerate(axes)]
    return np.stack(after, axis=1) - 1


def _patches_seen(tiles: Places, rows: ChunkedAxis, columns: ChunkedAxis) -> dict[Chunk, Bools]:
    seen: dict[Chunk, Bools] = {}
    parts = [
        {tile: axis.overlaps(axis.axis.tile_range(tile)) for tile in np.unique(line).tolist()}
        for axis, line in zip((rows, columns), tiles.T, strict=True)
    ]
    shapes = (rows.chunks, columns.chunks)
    for row, column in tiles.tolist():
        for r, c in product(parts[0][row], parts[1][column]):
            chunk = (r.index, c.index)
            if chunk not in seen:
                seen[chunk] = np.zeros((shapes[0][r.index], shapes[1][c.index]), dtype=bool)
            seen[chunk][slice(*r.source), slice(*c.source)] = True
    return seen
