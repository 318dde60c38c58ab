"""Patch tokens of a window to the embeddings of its tiles: numpy in, numpy out."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from xr_anysat.job.model import Model

from .engine import Engine, engine_of

if TYPE_CHECKING:
    import torch

__all__ = ["TileSpec", "TileSums", "blend_weights", "encode_window"]

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Places = list[tuple[int, int]]
"""Tiles, by their row and column among those of a window."""


@dataclass(frozen=True, kw_only=True)
class TileSpec:
    """Tiles of a window of patches.

    Parameters
    ----------
    model
        Pinned to its weights.
    patch_size
        Metres.
    rows, columns
        (start, stop) of each tile along each axis, in patches of the window; every pair of a row
        and a column is a tile.
    tile_patches
        Along a side of a complete tile.
    blended
        Whether tiles overlap.
    whole_tiles
        Whether the tiles' own embeddings are wanted instead of those of their patches.
    chosen
        Which pairs of a row and a column are tiles, where not all are.
    """

    model: Model
    patch_size: float
    rows: tuple[tuple[int, int], ...]
    columns: tuple[tuple[int, int], ...]
    tile_patches: int
    blended: bool
    whole_tiles: bool = False
    chosen: tuple[tuple[int, int], ...] | None = None

    def window(self, place: tuple[int, int]) -> tuple[slice, slice]:
        """Rows and columns of patches of a tile, by its place among those of the window."""
        return slice(*self.rows[place[0]]), slice(*self.columns[place[1]])


class TileSums(NamedTuple):
    """Weighted sums over tiles: `total` (rows, columns, D) and `weight` (rows, columns)."""

    total: Floats
    weight: Floats


def blend_weights(tile: int, patches: int | None = None) -> npt.NDArray[np.float32]:
    """Weight of each patch of a tile where tiles overlap: sin^2, and nowhere zero.

    At an overlap of one half the weights of two neighbours add up to one. A tile that the end of
    the cube cuts short has the weights of its first patches.

    Returns
    -------
    ndarray
        (tile,) or (patches,) float32.
    """
    weights = np.sin(np.pi * (np.arange(tile if patches is None else patches) + 0.5) / tile) ** 2
    return weights.astype(np.float32)


def encode_window(tokens: Floats, spec: TileSpec) -> TileSums | Floats:
    """Encode the tiles of a window.

    Parameters
    ----------
    tokens
        (rows, columns, D), NaN where missing.
    spec
        Which tiles to encode.

    Returns
    -------
    TileSums or ndarray
        Over the patches of the window; or, for whole tiles, (tile rows, tile columns, D) float32,
        NaN for a tile without any valid patch, or not chosen.
    """
    engine = engine_of(spec.model)
    valid = ~np.isnan(tokens[..., 0])
    batches = list(_batches(valid, spec, engine.tokens))

    def encode(batch: Places) -> "torch.Tensor":
        import torch

        return torch.cat(
            engine.halving(lambda part: _encode_tiles(engine, tokens, valid, part, spec), batch)
        )

    if spec.whole_tiles:
        shape = (len(spec.rows), len(spec.columns), tokens.shape[-1])
        tiles = np.full(shape, np.nan, dtype=np.float32)
        embedded = engine.map(lambda batch: engine.fetch(encode(batch)), batches)
        for batch, values in zip(batches, embedded, strict=True):
            tiles[tuple(np.transpose(batch))] = values[:, 0]
        return tiles
    if engine.device.type == "cpu":  # batches side by side, added up here in their order
        sums = TileSums(np.zeros_like(tokens), np.zeros(valid.shape, dtype=np.float32))
        embedded = engine.map(lambda batch: engine.fetch(encode(batch)), batches)
        for batch, values in zip(batches, embedded, strict=True):
            _add(sums, values, _shares(valid, batch, spec), batch, spec)
        return sums

    def encode_all(shape: tuple[int, ...]) -> TileSums:  # large batches, added up on the device
        import torch

        total, weight = (torch.zeros(size, device=engine.device) for size in (shape, shape[:2]))
        for batch in batches:
            shares = engine.send(_shares(valid, batch, spec))
            _add((total, weight), encode(batch), shares, batch, spec)
        # what stays in the graph is copied out of the pinned memory of copies under way
        return TileSums(engine.fetch(total).copy(), engine.fetch(weight).copy())

    return next(engine.map(encode_all, [tokens.shape]))


def _batches(valid: Bools, spec: TileSpec, size: int) -> Iterator[Places]:
    """Batches of tiles of one shape, those with holes apart; empty tiles are left out."""
    groups: dict[tuple[int, int, bool], Places] = {}
    every = product(range(len(spec.rows)), range(len(spec.columns)))
    for place in every if spec.chosen is None else spec.chosen:
        seen = valid[spec.window(place)]
        if seen.any():
            groups.setdefault((*seen.shape, bool(seen.all())), []).append(place)
    for (rows, columns, _), places in groups.items():
        step = max(1, size // (rows * columns + 1))
        for start in range(0, len(places), step):
            yield places[start : start + step]


def _encode_tiles(
    engine: Engine, tokens: Floats, valid: Bools, places: Places, spec: TileSpec
) -> "torch.Tensor":
    """Encode tiles of one shape, in a lane: (B, 1 + patches, D), or (B, 1, D) of whole tiles."""
    windows = list(map(spec.window, places))
    batch = np.stack([tokens[window] for window in windows])
    holes = np.stack([~valid[window] for window in windows])
    holed = bool(holes.any())
    if holed:
        batch[holes] = 0
    embedded = engine.network.encode_tiles(
        engine.send(batch),
        spec.patch_size,
        engine.send(holes) if holed else None,
        patches=not spec.whole_tiles,
    ).float()
    engine.check(embedded)
    return embedded


def _shares(valid: Bools, places: Places, spec: TileSpec) -> Floats:
    """Weights of the patches of tiles, (B, rows, columns), zero where a patch is missing."""
    seen = np.stack([valid[window] for window in map(spec.window, places)])
    if not spec.blended:
        return seen.astype(np.float32)
    down, across = (blend_weights(spec.tile_patches, length) for length in seen.shape[1:])
    return np.outer(down, across) * seen


def _add(sums: Any, embedded: Any, shares: Any, places: Places, spec: TileSpec) -> None:
    """Add tiles to sums over the patches of a window, all of numpy or all of torch."""
    total, weight = sums
    weighted = embedded[:, 1:].reshape(*shares.shape, -1) * shares[..., None]
    for index, window in enumerate(map(spec.window, places)):
        total[window] += weighted[index]
        weight[window] += shares[index]
