"""A cube in numbers: statistics of its bands, valid dates of its pixels."""

import math
from collections.abc import Hashable, Mapping
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr

from xr_anysat._version import __version__
from xr_anysat.cube.canonical import CanonicalCube, Cube, understand
from xr_anysat.cube.values import validity_mask
from xr_anysat.errors import OptionError
from xr_anysat.findings import Call, given
from xr_anysat.graph.statistics import lazy_moments, sampled, stats_of
from xr_anysat.job.options import is_number
from xr_anysat.keywords import suggests_keywords
from xr_anysat.layout.chunks import rechunk

from .coords_and_attrs import label_pixels

__all__ = ["band_stats", "count_valid_dates", "valid_dates"]


@suggests_keywords()
def band_stats(
    cube: Cube,
    *,
    sample: float | None = None,
    mask: xr.DataArray | None = None,
    bands: Mapping[str, Hashable] | None = None,
) -> xr.Dataset:
    """Mean and standard deviation of each band over a cube's valid pixel-dates.

    Give the result to ``embed(normalize=...)``, of this cube or of others: embeddings made with
    the same statistics compare across cubes, and a dask cube is then read once instead of twice.

    Parameters
    ----------
    cube, mask, bands
        As in `embed`. Dates are not needed.
    sample : float, optional
        Share of the cube's pixels, above 0 to 1, to see instead of all: with all their dates, in
        16 to 256 windows that are spread evenly over the cube. Only chunks that a window touches
        are read. The pixels do not depend on the chunks, and are at least that share.

    Returns
    -------
    xarray.Dataset
        ``mean``, ``std`` (population) and ``count`` by ``band``, float64, in the cube's own
        units; lazy where the cube is. Attributes tell the GSD, and of a sample its share and
        its pixels.

    Raises
    ------
    CubeError
        With every fault of the cube.
    OptionError
        For a mask or a sample that does not fit.
    """
    attrs: dict[str, Any] = {}
    if sample is not None and not (is_number(sample) and 0 < sample <= 1):
        raise OptionError(
            "statistics.sample",
            Call("cube.anysat.band_stats(sample=0.05)"),
            option=given("sample", sample),
        )
    known = understand(cube, bands=bands, mask=mask, dated=False)
    if sample is not None:
        known = sampled(known, float(sample))
        attrs = {"sample": float(sample), "sample_pixels": math.prod(known.values.shape[2:])}
    lazy = lazy_moments(known)
    moments, stats = known.finish(lazy, stats_of(lazy))
    return xr.Dataset(
        {
            "mean": ("band", stats[0], {"long_name": "mean over valid pixel-dates"}),
            "std": ("band", stats[1], {"long_name": "standard deviation over valid pixel-dates"}),
            "count": ("band", moments[0], {"long_name": "valid pixel-dates"}),
        },
        coords={"band": np.array(known.spec.sensor.band_names, dtype=object)},
        attrs={"xr_anysat_version": __version__, "gsd_m": known.spec.gsd, **attrs},
    )


@suggests_keywords()
def valid_dates(
    cube: Cube,
    *,
    mask: xr.DataArray | None = None,
    bands: Mapping[str, Hashable] | None = None,
) -> xr.DataArray:
    """Count the valid dates of each pixel: those that `embed` would see.

    A date is valid where none of the ten bands is missing and the mask, if there is one, is True.
    Reads the cube once; nothing is resampled.

    Parameters
    ----------
    cube, mask, bands
        As in `embed`. Dates are not needed.

    Returns
    -------
    xarray.DataArray
        (y, x) int32 named "valid_dates", on the cube's own grid, with its CRS; lazy, in the
        cube's chunks, where the cube is. 0 where ``embed(mode="grid")`` gives NaN.

    Raises
    ------
    CubeError
        With every fault of the cube.
    OptionError
        For a mask that does not fit.
    """
    known = understand(cube, bands=bands, mask=mask, dated=False)
    counts = known.finish(count_valid_dates(known))
    attrs = {
        "long_name": "valid dates of a pixel",
        "units": "1",
        "date_count": int(known.values.shape[0]),
        "xr_anysat_version": __version__,
    }
    return label_pixels(counts, "valid_dates", known, attrs)


def count_valid_dates(cube: CanonicalCube) -> da.Array:
    """Count the valid dates of each pixel: lazy (y, x) int32, north up."""
    values = rechunk(cube.slabs, {1: -1})
    valid = cube.valid_like(values)
    by_block = da.map_blocks(
        _count,
        *([values] if valid is None else [values, valid[:, None]]),
        nodata=cube.spec.nodata,
        drop_axis=1,
        chunks=((1,) * values.numblocks[0], *values.chunks[2:]),
        dtype="int32",
        meta=np.empty((0, 0, 0), dtype="int32"),
    )
    return by_block.sum(axis=0, dtype="int32")


def _count(
    values: npt.NDArray[Any],
    mask: npt.NDArray[np.bool_] | None = None,
    *,
    nodata: tuple[float, ...],
) -> npt.NDArray[np.int32]:
    """Count the valid dates of a block, (1, h, w)."""
    valid = validity_mask(values, None if mask is None else mask[:, 0], nodata)
    return valid.sum(axis=0, keepdims=True, dtype="int32")
