"""A whole cube squeezed into one small tile."""

from dataclasses import replace
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt

from xr_anysat.layout.chunks import rechunk
from xr_anysat.layout.grid import coarse_grid

from .canonical import CanonicalCube, as_dask
from .values import validity_mask

__all__ = ["resized"]

Floats = npt.NDArray[np.float32]


def resized(cube: CanonicalCube, size: int) -> CanonicalCube:
    """Resample a cube so that its longer side has `size` pixels, its aspect kept.

    Antialiased (a triangle filter as wide as the reduction) and over valid pixel-dates only. The
    network is told the cube's own GSD, as in published practice; the grid keeps the cube's true
    extent. The result is float32, NaN where nothing was valid.
    """
    spec = cube.spec
    height, width = spec.shape
    longer = max(height, width)
    shape = (max(1, round(height * size / longer)), max(1, round(width * size / longer)))
    filters = [_filter(length, count) for length, count in zip((height, width), shape, strict=True)]
    values = rechunk(cube.values, {1: -1})
    mask = cube.valid_like(values)
    blocks = [values] if mask is None else [values, mask[:, None]]
    valid = da.map_blocks(
        _valid_block, *blocks, nodata=spec.nodata, drop_axis=1,
        dtype=bool, meta=np.empty((0, 0, 0), dtype=bool),
    )  # fmt: skip
    weighted = da.map_blocks(
        _weighted, values, valid[:, None], dtype="float32", meta=np.empty((0,) * 4, np.float32)
    )
    small = cube.finish(_shrink(weighted, valid.astype("float32"), filters))
    geobox = coarse_grid(spec.geobox, shape, (height / shape[0], width / shape[1]))
    source = cube.source.drop_vars(list(cube.source.coords))
    spec = replace(spec, geobox=geobox, nodata=(), dtype="float32")
    values = as_dask(small, cube.lazy)
    return replace(cube, values=values, valid=None, spec=spec, source=source)


def _filter(length: int, count: int) -> Floats:
    """(count, length): the weights of a triangle filter, not yet divided by their sum."""
    reduction = length / count
    centres = (np.arange(count) + 0.5) * reduction
    distance = np.abs(np.arange(length) + 0.5 - centres[:, None])
    return np.maximum(1 - distance / max(reduction, 1), 0).astype(np.float32)


def _valid_block(values: Any, *mask: Any, nodata: tuple[float, ...]) -> Any:
    return validity_mask(values, mask[0][:, 0] if mask else None, nodata)


def _weighted(values: Any, valid: Any) -> Floats:
    """Values with zeros where missing, float32."""
    return np.where(valid, values, 0).astype(np.float32)


def _shrink(values: da.Array, weights: da.Array, filters: list[Floats]) -> da.Array:
    """Filter (T, C, h, w) and (T, h, w) along both axes, and divide."""
    rows, columns = filters

    def both(array: da.Array) -> da.Array:
        across = da.tensordot(array, columns, axes=((array.ndim - 1,), (1,)))  # (..., h, W)
        down = da.tensordot(across, rows, axes=((array.ndim - 2,), (1,)))  # (..., W, H)
        return da.swapaxes(down, -1, -2)

    total, weight = both(values), both(weights)[:, None]
    return da.where(weight > 0, total / da.where(weight > 0, weight, 1), np.float32("nan"))
