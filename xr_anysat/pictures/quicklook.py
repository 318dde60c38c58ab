"""Small pictures of cubes, in true colour."""

from collections.abc import Hashable, Mapping
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr

from xr_anysat.cube.canonical import CanonicalCube, Cube, understand
from xr_anysat.cube.true_colour import COLOURS, colour_positions, lower_quartile, stretched
from xr_anysat.cube.values import validity_mask
from xr_anysat.job.options import check_whole
from xr_anysat.keywords import suggests_keywords
from xr_anysat.layout.chunks import rechunk
from xr_anysat.results.coords_and_attrs import label_pixels

from .components import check_clip

__all__ = ["quicklook"]

Array = npt.NDArray[Any]


@suggests_keywords()
def quicklook(
    cube: Cube,
    *,
    size: int = 512,
    most_dates: int = 48,
    mask: xr.DataArray | None = None,
    bands: Mapping[str, Hashable] | None = None,
    clip: tuple[float, float] = (2, 98),
) -> xr.DataArray:
    """Show a cube in true colour, small.

    Each band is the lower quartile of its dates: clouds are bright, and do not show where less
    than three quarters of the dates are cloudy.

    Of a large cube every n-th pixel of evenly spaced dates is used. A lazy cube gives a lazy
    picture, which reads all chunks of these dates but keeps only these pixels.

    Parameters
    ----------
    cube, mask, bands
        As in `embed`. Missing pixel-dates are left out.
    size : int
        Largest number of pixels of the longer side.
    most_dates : int
        Largest number of dates used, evenly spaced.
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
        With every fault of the cube, or for an embedding.
    OptionError
        For an argument that does not fit.
    """
    size, most_dates = check_whole("size", size), check_whole("most_dates", most_dates)
    low, high = check_clip(clip)
    known = understand(cube, bands=bands, mask=mask, dated=False)
    dates = known.values.shape[0]
    count = min(most_dates, dates)
    used = np.unique(np.linspace(0, dates - 1, count).round().astype(int)).tolist()
    step = -(-max(known.spec.shape) // size)
    middle = slice((step - 1) // 2, None, step)  # of each square of pixels
    few = known.at_dates(used).window(middle, middle)
    colours = rechunk(few.values[:, colour_positions(known.spec.sensor)], {0: -1, 1: -1})
    seen = few.valid_like(colours)
    image = da.blockwise(
        _block_dark, "byx", colours, "tbyx", *([] if seen is None else [seen, "syx"]),
        nodata=known.spec.nodata, concatenate=True,
        dtype=np.float32, meta=np.empty((0, 0, 0), dtype=np.float32),
    )  # fmt: skip
    data = da.map_blocks(
        partial(stretched, low=low, high=high), rechunk(image, -1),
        dtype=np.float32, meta=np.empty((0, 0, 0), dtype=np.float32),
    )  # fmt: skip
    return _labelled(known.finish(data), known, middle, len(used))


def _labelled(data: Any, cube: CanonicalCube, middle: slice, used: int) -> xr.DataArray:
    spec, first, step = cube.spec, middle.start, middle.step
    pixels = label_pixels(np.broadcast_to(np.float32(0), spec.shape), "true_colour", cube, {})
    taken = [np.arange(first, length, step) for length in spec.shape]
    rows, columns = map(np.sort, spec.orientation.indices(taken[0], taken[1], spec.shape))
    grid = pixels.isel(y=rows, x=columns)
    if step > 1:  # the transform is that of the cube's pixels
        grid["spatial_ref"].attrs.pop("GeoTransform", None)
    coords = {"rgb": list(COLOURS), **grid.coords}
    result = xr.DataArray(
        cube.own_order(data), dims=("rgb", "y", "x"), name="true_colour", coords=coords
    )
    result.attrs = {
        "long_name": "true colour, each band stretched to 0..1",
        "dates_used": used,
        "every_nth_pixel": step,
    }
    result.encoding["grid_mapping"] = result.encoding["coordinates"] = "spatial_ref"
    return result


def _block_dark(values: Array, seen: Array | None = None, *, nodata: tuple[float, ...]) -> Array:
    """(T, 3, y, x) to (3, y, x), NaN where no date is valid."""
    return lower_quartile(values, validity_mask(values, seen, nodata))
