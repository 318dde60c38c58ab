"""Blocks taken apart and put together, and tiles blended: what the tasks of a graph compute.

Tiles overlap, so a patch is seen by several. Each tile adds its embeddings, weighted, to the sums
of its window (see `tiles`); here the sums of all windows that see a chunk are added and divided.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xr_anysat.layout.chunked_axis import Overlap

from .encode import Encoded
from .tiles import TileSpec, TileSums, encode_window

__all__ = [
    "BlockPlacement",
    "features_first",
    "field_of",
    "nothing",
    "part_of_sums",
    "patch_block",
    "pixel_block",
    "turn",
    "window_tiles",
]

Array = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class BlockPlacement:
    """Where blocks lie within the array that they are assembled to.

    `blocks` pairs the overlap along the rows with that along the columns, block by block;
    `shape` is (rows, columns) in patches.
    """

    blocks: tuple[tuple[Overlap, Overlap], ...]
    shape: tuple[int, int]


def field_of(encoded: Encoded, name: str) -> Any:
    """Give one of the things that encoding a chunk gives."""
    return getattr(encoded, name)


def window_tiles(
    blocks: list[Array], placement: BlockPlacement, spec: TileSpec
) -> TileSums | Array:
    """Put the tokens of a window together, and encode its tiles."""
    return encode_window(_assemble(blocks, placement), spec)


def part_of_sums(sums: TileSums, area: tuple[tuple[int, int], tuple[int, int]]) -> TileSums:
    """Copy what the tiles of a window say about one chunk."""
    window = _slices(*area)
    return TileSums(sums.total[window].copy(), sums.weight[window].copy())


def _assemble(blocks: list[Array], placement: BlockPlacement) -> Array:
    """Assemble parts of blocks to one array."""
    out = np.zeros((*placement.shape, *blocks[0].shape[2:]), dtype=blocks[0].dtype)
    for block, (row, column) in zip(blocks, placement.blocks, strict=True):
        out[_slices(row.target, column.target)] += block[_slices(row.source, column.source)]
    return out


def _slices(row: tuple[int, int], column: tuple[int, int]) -> tuple[slice, slice]:
    return slice(*row), slice(*column)


def nothing(shape: tuple[int, ...], dtype: str) -> Array:
    """Give a block that nothing is wanted of: NaN."""
    return np.full(shape, np.nan, dtype=dtype)


def turn(before: None) -> None:
    """Do nothing, in turn."""
    return before


def patch_block(sums: list[TileSums], placement: BlockPlacement, dtype: str, turn: None) -> Array:
    """Weighted mean over tiles, (D, rows, columns), NaN where no tile has seen a patch."""
    total = _assemble([part.total for part in sums], placement)
    weight = _assemble([part.weight for part in sums], placement)
    mean = np.full_like(total, np.nan)
    np.divide(total, weight[..., None], out=mean, where=weight[..., None] > 0)
    return features_first(mean, dtype)


def pixel_block(patches: Array, seen: Bools, patch: int, dtype: str) -> Array:
    """Each pixel gets its patch's embedding, NaN where it was never seen: (D, h, w)."""
    height, width = seen.shape
    rows, columns = np.arange(height) // patch, np.arange(width) // patch
    pixels = patches[:, rows[:, None], columns].astype(dtype, copy=False)
    pixels[:, ~seen] = np.nan
    return pixels


def features_first(values: Array, dtype: str) -> Array:
    """Bring (rows, columns, D) to (D, rows, columns)."""
    return np.ascontiguousarray(np.moveaxis(values, -1, 0), dtype=dtype)
