"""The call: options to a job, its graph, and labels for the result."""

from collections.abc import Hashable, Mapping
from typing import Any, Literal

import dask.array as da
import xarray as xr

from .cube.canonical import Cube
from .errors import warn
from .graph.eager import compute_now
from .graph.inputs import with_known_stats
from .graph.lazy import embed_array
from .job.job import EmbedJob
from .job.make import make_job, options_of
from .job.model import Model
from .job.options import Mode
from .keywords import suggests_keywords
from .results.coords_and_attrs import label_embedding, weights_attrs
from .results.pooling import pool_geometries, pool_map

__all__ = ["build", "build_empty", "embed"]


@suggests_keywords()
def embed(
    cube: Cube,
    mode: Mode = "grid",
    *,
    patch_size: float | None = None,
    tile_size: int = 64,
    overlap: float = 0.5,
    input_prep: Literal["tile", "resize"] = "tile",
    image_size: int = 24,
    frames: int | None = None,
    period: tuple[Any, Any] | None = None,
    frame_date: Literal["middle", "mean"] = "middle",
    normalize: str | xr.Dataset = "zscore",
    mask: xr.DataArray | None = None,
    dates: Any = None,
    bands: Mapping[str, Hashable] | None = None,
    pooling: Literal["mean", "max"] = "mean",
    pool_from: Literal["patch", "tile"] = "patch",
    geometry: Any = None,
    geometry_crs: Any = None,
    outside: Literal["raise", "nan"] = "raise",
    model: str | Model = "base",
    dtype: Literal["float32", "float16"] = "float32",
    progress: bool | None = None,
) -> xr.DataArray:
    """Embed a Sentinel-2 time cube with AnySat.

    Method: Astruc et al., "AnySat: One Earth Observation Model for Many Resolutions, Scales, and
    Modalities", CVPR 2025. A dask-backed cube gives a lazy result: nothing is read, downloaded or
    computed before ``.compute()``. A cube in memory is embedded at once.

    Parameters
    ----------
    cube : xarray.DataArray or xarray.Dataset
        Time, band, y and x in any order, DN or reflectance; or a Dataset with one variable per
        band. Projected CRS, square pixels of a multiple of 10 m.
    mode : {"grid", "patch", "tile", "pooled"}
        What to give:

        - ``"grid"``: (feature, y, x) on the cube's own pixels, 2 D features: the embedding of
          the pixel's patch (context), then the pixel's own (local). The most to store: 6 KB a
          pixel in the base size.
        - ``"patch"``: (feature, y, x), a cell per patch, D features.
        - ``"tile"``: (feature, y, x), a cell per tile stride, D features.
        - ``"pooled"``: (feature,), one vector for the cube, or (geometry, feature).
    patch_size : float, optional
        Metres, a multiple of the GSD. Default: 4 pixels. Pretraining saw 10 to 160 m.
    tile_size : int
        Pixels that the tile encoder sees at once, a multiple of the patch.
    overlap : float
        Share of a tile that neighbouring tiles have in common, from 0 (the published behaviour)
        to below 1. The tile encoder's work grows with ``1 / (1 - overlap) ** 2``.
    input_prep : {"tile", "resize"}
        "resize" squeezes the whole cube into one tile whose longer side has `image_size` pixels,
        its aspect kept to whole pixels: antialiased, over valid pixel-dates only. The network is
        told the cube's own GSD, as in published practice; the cells of the result have their
        true, coarse size.
    image_size : int
        Pixels, with ``input_prep="resize"``.
    frames : int, optional
        Median composites over that many equal periods instead of all dates: by pixel and band,
        over the pixel's valid dates. Periods without any date are left out, with a warning that
        names them; nothing is filled in.
    period : tuple, optional
        (start, end) that `frames` divides: strings, datetime64, datetimes, dates or cftime, in
        UTC. Both are included, an end without a time of the day to its last second, ``"2021-06"``
        to that of the month. Dates outside are left out and not embedded (but are part of the
        cube's statistics). Default: first to last date.
    frame_date : {"middle", "mean"}
        The date of a composite: the middle of its period, or the mean of the cube's dates in it,
        those with clouds included: one date holds for all pixels.
    normalize : {"zscore", "tile_zscore", "treesatai", "reflectance", "none"} or xarray.Dataset
        "zscore": by band over all valid values of the cube (a dask cube is read twice);
        "tile_zscore": over each tile, with ``overlap=0``; "treesatai": statistics of the authors'
        demo, for DN; "reflectance": DN / 10000, clipped to 0..1; "none"; or the result of
        `band_stats`, of this or another cube.
    mask : xarray.DataArray, optional
        bool, True = valid, (time, y, x) or broadcastable to it.
    dates : optional
        Dates in the cube's order instead of its time coordinate.
    bands : mapping, optional
        The cube's label of a band by AnySat's name: ``{"B2": "my_blue"}``.
    pooling : {"mean", "max"}
        How ``mode="pooled"`` pools.
    pool_from : {"patch", "tile"}
        What it pools.
    geometry : shapely geometry, sequence of them, GeoSeries or GeoDataFrame, optional
        With ``mode="pooled"``: one vector for each, patches weighted by the share of their area
        inside; of one that is partly outside the cube, the part inside counts. Only the tiles
        that geometries need are encoded. The result's ``geometry`` coordinate holds shapely
        objects in the cube's CRS, and index and columns of a frame are coordinates beside it;
        see `to_geodataframe` and `encode_geometry` for files.
    geometry_crs : optional
        CRS of geometries that bring none, as pyproj takes it. Default: the cube's. Edges are
        straight in the CRS that they come in.
    outside : {"raise", "nan"}
        What to do about geometries that do not touch the cube.
    model : str or Model
        The network; see `Model`.
    dtype : {"float32", "float16"}
        Of the result. NetCDF and GeoTIFF know no float16; Zarr does.
    progress : bool, optional
        Show a progress bar while a cube in memory is embedded.

    Returns
    -------
    xarray.DataArray
        Named "embedding", with coordinates of the cells' centres, ``spatial_ref``, ``feature``
        and ``part``, ``first_date`` and ``last_date`` of what was embedded, and attributes that
        say what made it. NaN where nothing was valid.

    Raises
    ------
    CubeError
        With every fault of the cube, before anything is computed.
    OptionError
        For an argument that does not fit.
    WeightsError
        Where a file of weights is not there; where weights cannot be found or do not fit, once
        they are needed.
    ScaleError
        Where fixed statistics meet values of another scale, once these are seen.
    """
    given = dict(locals())
    job = make_job(given.pop("cube"), options_of(given.pop("mode"), given))
    warn(job.findings)
    job = with_known_stats(job)
    result = build(job)
    if job.lazy:
        return result
    computed = compute_now(result, progress)
    return computed.assign_attrs(weights_attrs(job.model.source))  # downloaded by now


def build(job: EmbedJob) -> xr.DataArray:
    """Build the lazy, labelled result of a job."""
    data, output = embed_array(job), job.output
    if output.shares is not None:
        data = pool_geometries(data, output.shares, output.pooling).astype(output.dtype)
    elif output.mode == "pooled":
        data = pool_map(data, output.pooling).astype(output.dtype)
    return label_embedding(data, job)


def build_empty(job: EmbedJob) -> xr.DataArray:
    """Build a map with its labels, and nothing but zeros in one chunk for each part."""
    features, *sizes = job.out_chunks
    chunks = (features, *((sum(axis),) for axis in sizes))
    zeros = da.zeros(tuple(map(sum, chunks)), dtype=job.output.map_dtype, chunks=chunks)
    return label_embedding(zeros, job)
