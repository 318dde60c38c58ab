"""A whole cube squeezed into one small tile."""

from dataclasses import replace
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox

from xr_anysat.compute.normalize import validity_mask
from xr_anysat.layout.chunks import rechunk

from .spec import CubeSpec, canonical, north_up

__all__ = ["resized"]

Floats = npt.NDArray[np.float32]


def resized(
    array: xr.DataArray, spec: CubeSpec, mask: xr.DataArray | None, size: int
) -> tuple[xr.DataArray, CubeSpec, None]:
    """Resample a cube so that its longer side has `size` pixels, its aspect kept.

    Antialiased (a triangle filter as wide as the reduction) and over valid pixel-dates only. The
    network is told the cube's own GSD, as in published practice; the grid keeps the cube's true
    extent.

    Returns
    -------
    tuple
        The coarse cube (float32, NaN where nothing was valid), what it is, and no mask.
    """
    height, width = spec.shape
    longer = max(height, width)
    shape = (max(1, round(height * size / longer)), max(1, round(width * size / longer)))
    values: Any = canonical(array, spec)
    seen: Any = None
    if mask is not None:
        seen = north_up(mask.data, spec)
        seen = seen if spec.time_dim is not None else seen[None]
    filters = [_filter(length, count) for length, count in zip((height, width), shape, strict=True)]
    if isinstance(values, da.Array) or isinstance(seen, da.Array):
        values = _lazily(da.asarray(values), seen, spec, filters)
    else:
        valid = validity_mask(values, seen, spec.nodata)
        values = _shrink(_weighted(values, valid), _counted(valid), filters, np.tensordot, np)
    scale = Affine.scale(width / shape[1], height / shape[0])
    coarse = GeoBox(shape, spec.geobox.transform * scale, spec.geobox.crs)
    small = xr.DataArray(
        north_up(values, spec),
        dims=("time", "band", "y", "x"),
        coords={"band": [str(label) for label in spec.band_labels]},
    )
    understood = replace(
        spec,
        geobox=coarse,
        time_dim="time",
        band_dim="band",
        y_dim="y",
        x_dim="x",
        band_labels=tuple(str(label) for label in spec.band_labels),
        nodata=(),
        dtype="float32",
        chunked=small.chunks is not None,
    )
    return small, understood, None


def _filter(length: int, count: int) -> Floats:
    """(count, length): the weights of a triangle filter, not yet divided by their sum."""
    reduction = length / count
    centres = (np.arange(count) + 0.5) * reduction
    distance = np.abs(np.arange(length) + 0.5 - centres[:, None])
    return np.maximum(1 - distance / max(reduction, 1), 0).astype(np.float32)


def _lazily(values: da.Array, mask: Any, spec: CubeSpec, filters: list[Floats]) -> da.Array:
    values = rechunk(values, {1: -1})
    chunks = (values.chunks[0], *values.chunks[2:])
    extra = [] if mask is None else [rechunk(da.asarray(mask), chunks)[:, None]]
    valid = da.map_blocks(
        _valid_block, values, *extra, nodata=spec.nodata, drop_axis=1, dtype=bool,
        meta=np.empty((0, 0, 0), dtype=bool),
    )  # fmt: skip
    weighted = da.map_blocks(
        _weighted, values, valid[:, None], dtype="float32", meta=np.empty((0,) * 4, np.float32)
    )
    return _shrink(weighted, valid.astype("float32"), filters, da.tensordot, da)


def _valid_block(values: Any, *mask: Any, nodata: tuple[float, ...]) -> Any:
    return validity_mask(values, mask[0][:, 0] if mask else None, nodata)


def _weighted(values: Any, valid: Any) -> Floats:
    """Values with zeros where missing, float32."""
    there = valid if valid.ndim == 4 else valid[:, None]
    return np.where(there, values, 0).astype(np.float32)


def _counted(valid: Any) -> Floats:
    return np.asarray(valid, dtype=np.float32)


def _shrink(values: Any, weights: Any, filters: list[Floats], tensordot: Any, xp: Any) -> Any:
    """Filter (T, 10, h, w) and (T, h, w) along both axes, and divide."""
    rows, columns = filters

    def both(array: Any) -> Any:
        across = tensordot(array, columns, axes=((array.ndim - 1,), (1,)))  # (..., h, W)
        down = tensordot(across, rows, axes=((array.ndim - 2,), (1,)))  # (..., W, H)
        return xp.swapaxes(down, -1, -2)

    total, weight = both(values), both(weights)[:, None]
    return xp.where(weight > 0, total / xp.where(weight > 0, weight, 1), np.float32("nan"))
