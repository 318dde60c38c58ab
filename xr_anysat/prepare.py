"""From a cube and what is asked of it to a job: everything decided, and nothing computed."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, cast, get_args

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr

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
    without_unused,
)
from .compute.inference import ChunkSpec
from .compute.normalize import Normalization
from .cube.dates import day_of_year
from .cube.grid import Grid, find_grid
from .cube.spec import CubeSpec, as_dataarray, canonical, north_up, understand
from .errors import CubeError, OptionError
from .geometries import Geometries, as_geometries
from .graph.chunking import cut, rechunk, working_chunks
from .graph.eager import local_scheduler
from .graph.jobs import Job, JobPart
from .graph.lazy_stats import after, lazy_moments, stats_of
from .graph.selection import ALL, Selection, select
from .modelspec import Model, as_model
from .resize import resized
from .results.labels import result_geobox
from .results.pooling import Shares, find_shares
from .tiling import ChunkedAxis

__all__ = [
    "Cube",
    "Mode",
    "Prepared",
    "as_dask",
    "as_mask",
    "in_slabs",
    "prepare",
    "understand_cube",
    "understand_grid",
]

Cube = xr.DataArray | xr.Dataset
Mode = Literal["grid", "patch", "tile", "pooled"]

EAGER_CHUNK = 64
"""Pixels of a chunk of a cube in memory: small enough for a progress bar to move."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """An embedding that is about to be built.

    Parameters
    ----------
    array, spec
        The cube, and what was understood of it.
    settings
        Patches and tiles.
    job
        What to build.
    values, mask
        The cube as it came, (T, 10, y, x), and where it is valid, (T, y, x).
    given
        Lazy statistics, (2, 10), where such were given.
    geometries, shares
        To pool over, and which cells they touch.
    selection
        What of the map they need.
    moments
        (F,) datetime64: the date of each image that is embedded.
    frames, frame_date, input_prep
        As asked for.
    used
        Positions of the dates that are embedded, where `period` leaves others out.
    lazily
        Whether the result is.
    """

    array: xr.DataArray
    spec: CubeSpec
    settings: Settings
    job: Job
    values: da.Array
    mask: da.Array | None
    given: da.Array | None
    geometries: Geometries | None
    shares: Shares | None
    selection: Selection
    moments: npt.NDArray[np.datetime64]
    frames: int | None
    frame_date: str
    used: tuple[int, ...] | None
    input_prep: str
    lazily: bool

    @property
    def work(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Pixels of the chunks that are worked on, along rows and columns."""
        return self.job.rows.chunks, self.job.columns.chunks

    @property
    def groups(self) -> list[list[int]] | None:
        """Positions of the dates of each composite in the cube."""
        groups, used = self.job.chunk.groups, self.used
        if groups is None:
            return None
        return [[date if used is None else used[date] for date in group] for group in groups]

    @property
    def pending(self) -> bool:
        """Whether statistics are still to be computed."""
        how = self.job.chunk.normalization
        return how.kind == "stats" and how.mean is None

    @cached_property
    def stats(self) -> da.Array | None:
        """(2, 10), where they are; built when asked for, because it takes tasks for all blocks."""
        if not self.pending or self.given is not None:
            return self.given
        values = in_slabs(self.values, self.lazily)
        return stats_of(lazy_moments(values, self.mask, self.spec.nodata))

    def known(self) -> "Prepared":
        """Compute the statistics of a cube in memory, so that the result can tell them."""
        if self.lazily or self.stats is None or self.job.chunk.normalization.fixed:
            return self
        return self.with_stats(*self.stats.compute(scheduler=local_scheduler()))

    def with_stats(self, mean: Any, std: Any) -> "Prepared":
        """Take statistics that have been computed."""
        how = self.job.chunk.normalization
        how = stats_normalization(how.name, mean, std, fixed=how.fixed)
        chunk = replace(self.job.chunk, normalization=how)
        return replace(self, job=replace(self.job, chunk=chunk), given=None)

    def cut(self, part: JobPart | None = None) -> tuple[da.Array, da.Array | None]:
        """Values and mask in these chunks, read after the statistics where these are lazy.

        For a part of the result, the chunks whose pixels it needs.
        """
        values, mask = self.values, self.mask
        if self.stats is not None and self.lazily:
            bound = after([values, mask], self.stats)
            values, mask = cast(da.Array, bound[0]), bound[1]
        if self.used is not None:  # after the statistics, which are of the whole cube
            values = values[list(self.used)]
            mask = None if mask is None else mask[list(self.used)]
        rows, columns = self.work
        if part is not None:
            y, x = slice(*part.rows.pixels), slice(*part.columns.pixels)
            window = self.job.rows.span(y), self.job.columns.span(x)
            values, mask = values[..., *window], None if mask is None else mask[..., *window]
            rows, columns = rows[y], columns[x]
        work = rows, columns
        return cut(values, work), None if mask is None else cut(mask, work)


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


def prepare(
    cube: Cube,
    mode: str,
    *,
    patch_size: float | None,
    tile_size: int,
    overlap: float,
    input_prep: str,
    image_size: int,
    frames: int | None,
    period: tuple[Any, Any] | None,
    frame_date: str,
    normalize: str | xr.Dataset,
    mask: xr.DataArray | None,
    dates: Any,
    bands: Mapping[str, Hashable] | None,
    pooling: str,
    pool_from: str,
    geometry: Any,
    geometry_crs: Any,
    outside: str,
    model: str | Model,
    dtype: str,
) -> Prepared:
    """Understand a cube and the arguments of `embed`, which are explained there."""
    check_choice("mode", mode, get_args(Mode))
    check_choice("input_prep", input_prep, ("tile", "resize"))
    check_choice("pooling", pooling, ("mean", "max"))
    check_choice("pool_from", pool_from, ("patch", "tile"))
    check_choice("outside", outside, ("raise", "nan"))
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
    shapes, shares = None, None
    if geometry is None and geometry_crs is not None:
        raise OptionError("geometry_crs= is the CRS of geometry=, which is not given")
    if geometry is not None:
        if mode != "pooled":
            raise OptionError(f'geometry= goes with mode="pooled", not mode={mode!r}')
        shapes = as_geometries(geometry, spec.geobox, geometry_crs, outside)
        cells = result_geobox(spec, settings.map_mode, settings.rows, settings.columns)
        shares = find_shares(shapes.shapes, cells, spec.geobox)
    groups, moments = find_frames(spec, frames, period, frame_date)
    groups, used = without_unused(groups, len(spec.dates))
    by_tile = isinstance(normalize, str) and normalize == "tile_zscore"
    if settings.overlap and by_tile:
        raise OptionError(
            'normalize="tile_zscore" needs overlap=0: overlapping tiles would each want other '
            "values of the pixels they share."
        )
    network = network.pinned()
    lazily = spec.chunked or (valid is not None and valid.chunks is not None)
    values, seen = as_dask(canonical(array, spec), lazily), as_mask(valid, spec, lazily)
    how, given = _normalization(normalize)
    work = working_chunks(
        values.chunks[2:],
        _chunk_unit(settings, how),
        len(spec.dates if used is None else used),
        _bytes_per_pixel(settings, network),
        _longest_chunk(values, settings, lazily, shapes is not None),
    )
    rows, columns = (
        ChunkedAxis(axis=axis, chunks=sizes)
        for axis, sizes in zip((settings.rows, settings.columns), work, strict=True)
    )
    job = Job(
        mode=settings.map_mode,
        rows=rows,
        columns=columns,
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
    return Prepared(
        array=array,
        spec=spec,
        settings=settings,
        job=job,
        values=values,
        mask=seen,
        given=given,
        geometries=shapes,
        shares=shares,
        selection=ALL
        if shares is None
        else select(shares.cells, rows, columns, whole_tiles=job.mode == "tile"),
        moments=moments,
        frames=frames,
        frame_date=frame_date,
        used=used,
        input_prep=input_prep,
        lazily=lazily,
    )


def as_dask(values: Any, lazily: bool) -> da.Array:
    """Make a dask array, of one chunk where the values are in memory."""
    if isinstance(values, da.Array):
        return values
    return da.from_array(values, chunks=-1, name=None if lazily else False)


def as_mask(mask: xr.DataArray | None, spec: CubeSpec, lazily: bool) -> da.Array | None:
    """Make a mask a dask array (T, y, x), north up."""
    if mask is None:
        return None
    data = north_up(mask.data, spec)
    return as_dask(data if spec.time_dim is not None else data[None], lazily)


def _normalization(normalize: str | xr.Dataset) -> tuple[Normalization, da.Array | None]:
    """How to normalise, and statistics where lazy ones were given."""
    if isinstance(normalize, xr.Dataset):
        mean, std = check_stats(normalize)
        if mean.chunks is None and std.chunks is None:
            numbers = stats_normalization("band_stats", mean.values, std.values, fixed=True)
            return numbers, None
        stats = rechunk(da.stack([da.asarray(mean.data), da.asarray(std.data)]), -1)
        return Normalization(kind="stats", name="band_stats", fixed=True), stats
    if not (isinstance(normalize, str) and normalize == "zscore"):
        return fixed_normalization(normalize), None
    return Normalization(kind="stats", name="zscore"), None


def in_slabs(values: da.Array, lazily: bool) -> da.Array:
    """Cut a cube in memory into slabs, so that no temporary of the sums is of its size."""
    return values if lazily else rechunk(values, {2: EAGER_CHUNK})


def _chunk_unit(settings: Settings, how: Normalization) -> int:
    """Give what chunks are multiples of, in pixels: whole tiles, strides or patches."""
    if how.kind == "tile_zscore":
        return settings.tile_size
    stride = settings.rows.stride if settings.map_mode == "tile" else 1
    return stride * settings.rows.patch


def _longest_chunk(values: da.Array, settings: Settings, lazily: bool, sparse: bool) -> int | None:
    """Give the pixels that a chunk at work may be long: for geometries, no more than is read."""
    if not lazily:
        return EAGER_CHUNK
    return max(settings.tile_size, *map(max, values.chunks[2:])) if sparse else None


def _bytes_per_pixel(settings: Settings, model: Model) -> float:
    width = 4 * model.config.width
    return width if settings.map_mode == "grid" else width / settings.rows.patch**2
