"""Small pictures of cubes, in true colour."""

from collections.abc import Hashable, Mapping
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr

from .arguments import check_mask
from .chunking import rechunk
from .components import check_clip
from .cube import CubeSpec, canonical, north_up
from .errors import OptionError
from .labels import FEATURE_DIM, label_pixels
from .normalize import valid_dates
from .prepare import Cube, as_mask, understand_cube
from .sentinel2 import BANDS

__all__ = ["quicklook"]

Array = npt.NDArray[Any]

COLOURS = ("red", "green", "blue")
QUANTILE = 0.25
"""Of the dates: half of them are cloudy in many a place, and lower ones show shadows."""

_POSITIONS = [BANDS.index(band) for band in ("B4", "B3", "B2")]


def quicklook(
    cube: Cube,
    *,
    size: int = 512,
    dates: int = 48,
    mask: xr.DataArray | None = None,
    bands: Mapping[str, Hashable] | None = None,
    clip: tuple[float, float] = (2, 98),
) -> xr.DataArray:
    """Show a cube in true colour, small.

    Each band is the lower quartile of its dates: clouds are bright, and are left out where they
    are there on less than three quarters of the dates.

    Of a large cube every n-th pixel of evenly spaced dates is taken; a lazy cube gives a lazy
    picture, which reads all chunks of these dates, but keeps little of them.

    Parameters
    ----------
    cube, mask, bands
        As in `embed`. Missing pixel-dates are left out.
    size : int
        Pixels of the longer side, at the most.
    dates : int
        Dates that are used, at the most.
    clip : tuple of float
        Percentiles of each band that become 0 and 1.

    Returns
    -------
    xarray.DataArray
        Named "true_colour", (rgb, y, x), float32 in 0..1, NaN where nothing is valid; x, y and
        CRS are those of the pixels taken. ``.plot.imshow()`` shows it.

    Raises
    ------
    CubeError
        With every fault of the cube.
    OptionError
        For an argument that does not fit, or an embedding.
    """
    if FEATURE_DIM in getattr(cube, "dims", ()):
        raise OptionError(
            "quicklook() shows a cube in true colour, and this is an embedding; "
            "embedding.anysat.pca_rgb() and embedding.anysat.plot() show it."
        )
    for name, value in (("size", size), ("dates", dates)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise OptionError(f"{name}={value!r} is no whole number from 1.")
    low, high = check_clip(clip)
    array, spec = understand_cube(cube, bands=bands, dated=False)
    valid = check_mask(mask, array, spec)
    lazily = spec.chunked or (valid is not None and valid.chunks is not None)
    seen = as_mask(valid, spec, lazily)
    values = canonical(array, spec)
    used = np.unique(np.linspace(0, len(values) - 1, min(dates, len(values))).round().astype(int))
    step = -(-max(spec.shape) // size)
    there = slice((step - 1) // 2, None, step)  # in the middle of each square of pixels
    values = values[used][:, _POSITIONS][..., there, there]
    if seen is not None:
        seen = seen[used if len(seen) > 1 else slice(None)][..., there, there]
    image: Any
    if lazily:
        image = _lazy_dark(da.asarray(values), seen, spec.nodata)
        data = da.map_blocks(
            partial(_stretched, low=low, high=high), rechunk(image, -1),
            dtype=np.float32, meta=np.empty((0, 0, 0), dtype=np.float32),
        )  # fmt: skip
    else:
        mask_now = None if seen is None else seen.compute()
        data = _stretched(_dark(values, mask_now, nodata=spec.nodata), low=low, high=high)
    return _labelled(north_up(data, spec), array, spec, there, len(used))


def _labelled(
    data: Any, array: xr.DataArray, spec: CubeSpec, there: slice, used: int
) -> xr.DataArray:
    nothing = np.broadcast_to(np.float32(0), spec.shape)
    grid = label_pixels(north_up(nothing, spec), "true_colour", spec, array, {})
    rows, columns = (_own_way(there, *each) for each in zip(spec.shape, _flips(spec), strict=True))
    grid = grid.isel(y=rows, x=columns)
    if there.step > 1:  # then it is not the transform of these pixels
        grid["spatial_ref"].attrs.pop("GeoTransform", None)
    coords = {"rgb": list(COLOURS), **grid.coords}
    result = xr.DataArray(data, dims=("rgb", "y", "x"), name="true_colour", coords=coords)
    result.attrs = {
        "long_name": "true colour, each band stretched to 0..1",
        "dates_used": used,
        "every_nth_pixel": there.step,
    }
    result.encoding["grid_mapping"] = result.encoding["coordinates"] = "spatial_ref"
    return result


def _flips(spec: CubeSpec) -> tuple[bool, bool]:
    return spec.flip_y, spec.flip_x


def _own_way(there: slice, length: int, flipped: bool) -> slice | list[int]:
    """Positions north up as positions the way the cube runs."""
    places = list(range(length))[there]
    return [length - 1 - place for place in places][::-1] if flipped else there


def _lazy_dark(values: da.Array, seen: da.Array | None, nodata: tuple[float, ...]) -> da.Array:
    values = rechunk(values, {0: -1, 1: -1})
    arrays: list[Any] = [values, "tbyx"]
    if seen is not None:
        arrays += [rechunk(seen, {0: -1, 1: values.chunks[2], 2: values.chunks[3]}), "syx"]
    return da.blockwise(
        _block_dark, "byx", *arrays, nodata=nodata, concatenate=True,
        dtype=np.float32, meta=np.empty((0, 0, 0), dtype=np.float32),
    )  # fmt: skip


def _block_dark(values: Array, seen: Array | None = None, *, nodata: tuple[float, ...]) -> Array:
    return _dark(values, seen, nodata=nodata)


def _dark(values: Array, seen: Array | None, *, nodata: tuple[float, ...]) -> Array:
    """(T, 3, y, x) to the lower quartile of the valid dates, (3, y, x), NaN where there is none."""
    valid = valid_dates(values, seen, nodata)
    count = valid.sum(axis=0)
    out = np.empty(values.shape[1:], dtype=np.float32)
    place = np.maximum(count - 1, 0) * QUANTILE
    below = place.astype(int)
    above = np.minimum(below + 1, np.maximum(count - 1, 0))
    for band, plane in enumerate(values.swapaxes(0, 1)):
        ranked = np.where(valid, plane, np.inf).astype(np.float32)
        ranked.sort(axis=0)
        low, high = (
            np.where(count > 0, np.take_along_axis(ranked, n[None], axis=0)[0], np.nan)
            for n in (below, above)
        )
        out[band] = low + (place - below) * (high - low)
    return out


def _stretched(image: Array, *, low: float, high: float) -> Array:
    """Stretch each band between two of its percentiles."""
    out = np.full(image.shape, np.nan, dtype=np.float32)
    for band, plane in enumerate(image):
        if np.isfinite(plane).any():
            bottom, top = np.nanpercentile(plane, (low, high))
            out[band] = np.clip((plane - bottom) / max(top - bottom, 1e-6), 0, 1)
    return out
