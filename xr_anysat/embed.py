"""The API as free functions: understand a cube, plan, build the graph, label the result."""

from collections.abc import Hashable, Mapping
from typing import Any, Literal, cast, get_args

import dask.array as da
import xarray as xr

from ._version import __version__
from ._warn import warn
from .arguments import (
    Settings,
    check_choice,
    check_mask,
    check_stats,
    check_whole,
    find_frames,
    find_settings,
    fixed_normalization,
    stats_normalization,
)
from .chunking import cut, rechunk, working_chunks
from .cube import CubeSpec, as_dataarray, canonical, north_up, understand
from .dates import day_of_year
from .eager import compute_now, local_scheduler
from .errors import CubeError, OptionError
from .grid import Grid, find_grid
from .inference import ChunkSpec
from .labels import label_map, label_vectors, provenance, result_geobox, weights_attrs
from .lazy import Job, embed_array
from .lazy_stats import after, lazy_moments, stats_of
from .modelspec import Model, as_model
from .normalize import Normalization
from .pooling import Geometries, as_geometries, pool_geometries, pool_map
from .resize import resized
from .sentinel2 import BANDS
from .tiling import ChunkedAxis

__all__ = ["band_stats", "embed", "understand_cube", "understand_grid"]

Cube = xr.DataArray | xr.Dataset
Mode = Literal["grid", "patch", "tile", "pooled"]

EAGER_CHUNK = 64
"""Pixels of a chunk of a cube in memory: small enough for a progress bar to move."""


def understand_cube(
    cube: Cube,
    *,
    bands: Mapping[str, Hashable] | None = None,
    dates: Any = None,
    dated: bool = True,
) -> tuple[xr.DataArray, CubeSpec]:
    """Stack the bands of a cube and find out what it is, without reading pixels.

    Where dates do not matter (`dated` is False), the cube needs none.

    Raises
    ------
    CubeError
        With every fault found.
    """
    array, faults = as_dataarray(cube, bands)
    return array, understand(array, bands=bands, dates=dates, dated=dated, faults=faults)


def understand_grid(cube: Cube) -> Grid:
    """Find out where the pixels of a cube are, whatever its bands and dates.

    Raises
    ------
    CubeError
        With every fault found.
    """
    array, _ = as_dataarray(cube)
    faults: list[str] = []
    grid = find_grid(array, faults, [])
    if grid is None:
        raise CubeError(faults or ["the cube is empty"])
    return grid


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
    normalize: str | xr.Dataset = "zscore",
    mask: xr.DataArray | None = None,
    dates: Any = None,
    bands: Mapping[str, Hashable] | None = None,
    pooling: Literal["mean", "max"] = "mean",
    pool_from: Literal["patch", "tile"] = "patch",
    geometry: Any = None,
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
        "resize" squeezes the whole cube into one tile whose longer side has `image_size` pixels.
    image_size : int
        Pixels, with ``input_prep="resize"``.
    frames : int, optional
        Median composites over that many equal periods instead of all dates. Periods without any
        date are left out, with a warning.
    period : tuple, optional
        (start, end) that `frames` divides. Default: first to last date.
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
        inside. In the cube's CRS, unless it brings its own. The result's ``geometry`` coordinate
        holds shapely objects; ``drop_vars("geometry")`` before it is written to a file.
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
        and ``part``, and attributes that say what made it. NaN where nothing was valid.

    Raises
    ------
    CubeError
        With every fault of the cube, before anything is computed.
    OptionError
        For an argument that does not fit.
    WeightsError
        Where a file of weights is not there; where weights cannot be had or do not fit, once
        they are needed.
    ScaleError
        Where fixed statistics meet values of another scale, once these are seen.
    """
    check_choice("mode", mode, get_args(Mode))
    check_choice("input_prep", input_prep, ("tile", "resize"))
    check_choice("pooling", pooling, ("mean", "max"))
    check_choice("pool_from", pool_from, ("patch", "tile"))
    check_choice("dtype", dtype, ("float32", "float16"))
    network = as_model(model)
    array, spec = understand_cube(cube, bands=bands, dates=dates)
    valid = check_mask(mask, array, spec)
    for note in spec.notes:
        warn(note)
    if input_prep == "resize":
        array, spec, valid = resized(array, spec, valid, check_whole("image_size", image_size))
        tile_size = max(spec.shape)
    settings = find_settings(
        spec, mode, pooling, pool_from, patch_size, tile_size, overlap, input_prep, dtype
    )
    shapes = None
    if geometry is not None:
        if mode != "pooled":
            raise OptionError(f'geometry= goes with mode="pooled", not mode={mode!r}')
        shapes = as_geometries(geometry, spec.geobox)
    groups, moments = find_frames(spec, frames, period)
    by_tile = isinstance(normalize, str) and normalize == "tile_zscore"
    if settings.overlap and by_tile:
        raise OptionError(
            'normalize="tile_zscore" needs overlap=0: overlapping tiles would each want other '
            "values of the pixels they share."
        )
    network = network.pinned()
    lazily = spec.chunked or (valid is not None and valid.chunks is not None)
    values, seen = _as_dask(canonical(array, spec), lazily), _as_mask(valid, spec, lazily)
    how, stats = _normalization(normalize, values, seen, spec, lazily)
    if stats is not None:
        bound = after([values, seen], stats)
        values, seen = cast(da.Array, bound[0]), bound[1]
    work = working_chunks(
        values.chunks[2:],
        _chunk_unit(settings, how),
        len(spec.dates),
        _bytes_per_pixel(settings, network),
        None if lazily else EAGER_CHUNK,
    )
    job = Job(
        mode=settings.map_mode,
        rows=ChunkedAxis(axis=settings.rows, chunks=work[0]),
        columns=ChunkedAxis(axis=settings.columns, chunks=work[1]),
        patch_size=settings.patch_size,
        chunk=ChunkSpec(
            model=network,
            patch=settings.rows.patch,
            gsd=spec.gsd,
            day_of_year=tuple(day_of_year(moments).tolist()),
            nodata=spec.nodata,
            normalization=how,
            groups=groups,
            tile=settings.tile_size if how.kind == "tile_zscore" else None,
            sub_patches=settings.map_mode == "grid",
            dtype="float32" if settings.mode == "pooled" else settings.dtype,
        ),
    )
    data = embed_array(
        cut(values, work),
        None if seen is None else cut(seen, work),
        stats,
        job,
    )
    attrs = provenance(settings, spec, network, how, moments, frames, input_prep)
    result = _labelled(data, settings, spec, array, attrs, shapes)
    if lazily:
        return result
    computed = compute_now(result, progress)
    return computed.assign_attrs(weights_attrs(network.source))  # downloaded by now


def band_stats(
    cube: Cube,
    *,
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

    Returns
    -------
    xarray.Dataset
        ``mean``, ``std`` (population) and ``count`` by ``band``, float64, in the cube's own
        units; lazy where the cube is.

    Raises
    ------
    CubeError
        With every fault of the cube.
    """
    array, spec = understand_cube(cube, bands=bands, dated=False)
    valid = check_mask(mask, array, spec)
    lazily = spec.chunked or (valid is not None and valid.chunks is not None)
    values, seen = _as_dask(canonical(array, spec), lazily), _as_mask(valid, spec, lazily)
    moments: Any = lazy_moments(_in_slabs(values, lazily), seen, spec.nodata)
    stats: Any = stats_of(moments)
    if not lazily:
        moments, stats = da.compute(moments, stats, scheduler=local_scheduler())
    return xr.Dataset(
        {
            "mean": ("band", stats[0], {"long_name": "mean over valid pixel-dates"}),
            "std": ("band", stats[1], {"long_name": "standard deviation over valid pixel-dates"}),
            "count": ("band", moments[0], {"long_name": "valid pixel-dates"}),
        },
        coords={"band": list(BANDS)},
        attrs={"xr_anysat_version": __version__, "gsd_m": spec.gsd},
    )


def _as_dask(values: Any, lazily: bool) -> da.Array:
    """Make a dask array, of one chunk where the values are in memory."""
    if isinstance(values, da.Array):
        return values
    return da.from_array(values, chunks=-1, name=None if lazily else False)


def _as_mask(mask: xr.DataArray | None, spec: CubeSpec, lazily: bool) -> da.Array | None:
    if mask is None:
        return None
    data = north_up(mask.data, spec)
    return _as_dask(data if spec.time_dim is not None else data[None], lazily)


def _normalization(
    normalize: str | xr.Dataset,
    values: da.Array,
    mask: da.Array | None,
    spec: CubeSpec,
    lazily: bool,
) -> tuple[Normalization, da.Array | None]:
    """How to normalise, and statistics where they are still to be computed."""
    if isinstance(normalize, xr.Dataset):
        mean, std = check_stats(normalize)
        if mean.chunks is None and std.chunks is None:
            numbers = stats_normalization("band_stats", mean.values, std.values, fixed=True)
            return numbers, None
        stats = rechunk(da.stack([da.asarray(mean.data), da.asarray(std.data)]), -1)
        return Normalization(kind="stats", name="band_stats", fixed=True), stats
    if not (isinstance(normalize, str) and normalize == "zscore"):
        return fixed_normalization(normalize), None
    stats = stats_of(lazy_moments(_in_slabs(values, lazily), mask, spec.nodata))
    if lazily:
        return Normalization(kind="stats", name="zscore"), stats
    mean, std = stats.compute(scheduler=local_scheduler())
    return stats_normalization("zscore", mean, std, fixed=False), None


def _in_slabs(values: da.Array, lazily: bool) -> da.Array:
    """Cut a cube in memory into slabs, so that no temporary of the sums is of its size."""
    return values if lazily else rechunk(values, {2: EAGER_CHUNK})


def _chunk_unit(settings: Settings, how: Normalization) -> int:
    """Give what chunks are multiples of, in pixels: whole tiles, strides or patches."""
    if how.kind == "tile_zscore":
        return settings.tile_size
    stride = settings.rows.stride if settings.map_mode == "tile" else 1
    return stride * settings.rows.patch


def _bytes_per_pixel(settings: Settings, model: Model) -> float:
    width = 4 * model.config.width
    return width if settings.map_mode == "grid" else width / settings.rows.patch**2


def _labelled(
    data: da.Array,
    settings: Settings,
    spec: CubeSpec,
    array: xr.DataArray,
    attrs: dict[str, Any],
    shapes: Geometries | None,
) -> xr.DataArray:
    geobox = result_geobox(spec, settings.map_mode, settings.rows, settings.columns)
    if settings.mode != "pooled":
        return label_map(north_up(data, spec), geobox, spec, array, attrs)
    if shapes is None:
        pooled = pool_map(data, settings.pooling).astype(settings.dtype)
        return label_vectors(pooled, ("feature",), spec, {}, attrs)
    pooled = pool_geometries(data, geobox, spec.geobox, shapes, settings.pooling).astype(
        settings.dtype
    )
    return label_vectors(pooled, ("geometry", "feature"), spec, shapes.coords, attrs)
