"""Pixels of a chunk to patch tokens and pixel tokens: numpy in, numpy out, once per pixel."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from xr_anysat.cube.values import validity_mask
from xr_anysat.job.model import Model
from xr_anysat.job.normalization import Normalization

from .engine import Engine, engine_of
from .normalize import check_scale, composite, normalize

if TYPE_CHECKING:
    import torch

__all__ = ["EncodeSpec", "Encoded", "encode_chunk"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class EncodeSpec:
    """How the pixels of a chunk are encoded.

    Parameters
    ----------
    model
        Pinned to its weights.
    patch
        Pixels of a patch.
    gsd
        Metres of a pixel.
    day_of_year
        Of each date, or of each composite.
    nodata
        Values that stand for missing.
    normalization
        How values are normalised.
    groups
        Dates of each median composite, or None.
    tile_pixels
        Along a side of a tile, for normalisation by tile.
    sub_patches
        Whether the pixels' own tokens are wanted.
    dtype
        Of the pixels' tokens.
    """

    model: Model
    patch: int
    gsd: float
    day_of_year: tuple[int, ...]
    nodata: tuple[float, ...]
    normalization: Normalization
    groups: tuple[tuple[int, ...], ...] | None = None
    tile_pixels: int | None = None
    sub_patches: bool = False
    dtype: str = "float32"


class Encoded(NamedTuple):
    """Result of `encode_chunk`.

    `tokens` (rows, columns, D) float32, NaN for a patch without any valid pixel; `seen` (h, w)
    bool, pixels with any valid date; `sub` (D, h, w), NaN where not seen, or None.
    """

    tokens: Floats
    seen: Bools
    sub: Array | None


class Block(NamedTuple):
    """A rectangle of patches of a chunk."""

    rows: slice
    columns: slice

    def pixels(self, patch: int) -> tuple[slice, slice]:
        """Rows and columns of pixels, perhaps past the chunk's end."""
        rows, columns = (slice(part.start * patch, part.stop * patch) for part in self)
        return rows, columns


def encode_chunk(
    values: Array,
    mask: Bools | None,
    stats: npt.NDArray[np.float64] | None,
    spec: EncodeSpec,
    wanted: Bools | None = None,
) -> Encoded:
    """Encode the pixels and patches of a chunk.

    Parameters
    ----------
    values
        (T, 10, h, w), any real dtype; the first row and column begin a patch.
    mask
        (T, h, w) bool, True = valid, or None.
    stats
        (2, 10), where the normalisation has no numbers of its own.
    spec
        How to encode them.
    wanted
        (rows, columns) bool, the patches to encode, or None for all; the others are as missing.

    Raises
    ------
    ScaleError
        Where the values cannot be on the scale of fixed statistics, or are not for the network.
    """
    height, width = values.shape[2:]
    valid = validity_mask(values, mask, spec.nodata)
    check_scale(values, valid, spec.normalization, stats)
    if wanted is not None:
        valid &= np.kron(wanted, np.ones((spec.patch, spec.patch), dtype=bool))[:height, :width]
    if spec.groups is not None:
        values, valid = composite(values, valid, spec.groups)
    how = spec.normalization
    if how.kind == "tile_zscore":  # whole tiles: before they are cut into blocks
        values = normalize(values, valid, how, tile_pixels=spec.tile_pixels)
        how = Normalization(kind="none", name=how.name)
    engine = engine_of(spec.model)
    rows, columns = -(-height // spec.patch), -(-width // spec.patch)
    channels = spec.model.config.width
    tokens = np.empty((rows, columns, channels), dtype=np.float32)
    sub = np.empty((channels, height, width), dtype=spec.dtype) if spec.sub_patches else None

    def encode(block: Block) -> None:
        pixels = block.pixels(spec.patch)
        ready = normalize(values[:, :, *pixels], valid[:, *pixels], how, stats)
        of_patches, of_pixels = _encode_block(engine, ready, valid[:, *pixels], spec)
        tokens[block.rows, block.columns] = of_patches
        if sub is not None:
            sub[:, *pixels] = of_pixels

    size = max(1, engine.tokens // (spec.patch**2 + 1))
    for _ in engine.map(encode, _blocks(rows, columns, size)):
        pass
    return Encoded(tokens=tokens, seen=np.any(valid, axis=0), sub=sub)


def _blocks(rows: int, columns: int, size: int) -> Iterator[Block]:
    """Cut a chunk into nearly equal blocks of some whole rows, or of parts of one."""
    bands = _parts(rows, max(1, size // columns))
    parts = _parts(columns, size)
    return (Block(*block) for block in product(bands, parts))


def _parts(length: int, size: int) -> list[slice]:
    edges = np.linspace(0, length, -(-length // size) + 1).round().astype(int).tolist()
    return [slice(*part) for part in pairwise(edges)]


def _encode_block(
    engine: Engine, ready: Floats, valid: Bools, spec: EncodeSpec
) -> tuple[Floats, Array | None]:
    """Encode a block of patches, in a lane.

    Parameters
    ----------
    engine
        What computes.
    ready
        (T, 10, h, w), normalised, zero where missing.
    valid
        (T, h, w).
    spec
        How to encode them.

    Returns
    -------
    tuple of ndarray
        Tokens (rows, columns, D) float32 and sub-patch tokens (D, h, w), NaN where missing.
    """
    import torch

    patch, (height, width) = spec.patch, valid.shape[1:]
    rows, columns = -(-height // patch), -(-width // patch)
    channels = spec.model.config.width
    dates = _by_patch(torch.from_numpy(valid)[:, None], patch)[..., 0]  # (P, m, T)
    seen = dates.any(dim=2)  # (P, m)
    places = seen.any(dim=1).nonzero().squeeze(1)
    if not len(places):
        nothing = np.full((channels, height, width), np.nan, dtype=spec.dtype)
        return np.full((rows, columns, channels), np.nan, dtype=np.float32), nothing
    series = _by_patch(engine.send(ready), patch)  # (P, m, T, 10)
    dates, seen, places = (engine.send(each.numpy()) for each in (dates, seen, places))
    day_of_year = torch.tensor(spec.day_of_year, device=engine.device)

    def encode(part: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        vectors = engine.network.encode_pixels(
            series[part].flatten(0, 1),
            dates[part].flatten(0, 1),
            day_of_year,
            batch=engine.pixel_dates,
        )
        missing = ~seen[part]
        holed = bool(missing.any())
        tokens, sub = engine.network.encode_patches(
            vectors.unflatten(0, (len(part), -1)),
            (patch, patch),
            spec.gsd,
            missing if holed else None,
            sub_patches=spec.sub_patches,
        )
        engine.check(tokens if sub is None else torch.cat([tokens[:, None], sub], 1))
        if holed and sub is not None:
            sub[missing] = float("nan")
        return tokens, sub

    encoded = engine.halving(encode, places)
    spread = _spread([tokens for tokens, _ in encoded], places, len(seen))
    of_patches: Floats = engine.fetch(spread.float().unflatten(0, (rows, columns)))
    if not spec.sub_patches:
        return of_patches, None
    spread = _spread([sub for _, sub in encoded if sub is not None], places, len(seen))
    spread = spread.view(rows, columns, patch, patch, channels).permute(4, 0, 2, 1, 3)
    spread = spread.flatten(3, 4).flatten(1, 2)[:, :height, :width]
    return of_patches, engine.fetch(spread.to(getattr(torch, spec.dtype)))


def _by_patch(values: "torch.Tensor", patch: int) -> "torch.Tensor":
    """(T, C, h, w) -> (P, m, T, C), row by row, padded with zeros to whole patches."""
    from torch.nn.functional import pad

    height, width = values.shape[2:]
    if height % patch or width % patch:
        values = pad(values, (0, -width % patch, 0, -height % patch))
    cut = values.unflatten(3, (-1, patch)).unflatten(2, (-1, patch))  # (T, C, rows, p, cols, p)
    return cut.permute(2, 4, 3, 5, 0, 1).flatten(2, 3).flatten(0, 1)


def _spread(parts: "list[torch.Tensor]", places: "torch.Tensor", size: int) -> "torch.Tensor":
    """Put the results of some patches in their places among all; the rest is NaN."""
    import torch

    if len(parts[0]) == size:
        return parts[0]
    out = parts[0].new_full((size, *parts[0].shape[1:]), float("nan"))
    out[places] = torch.cat(parts)
    return out
