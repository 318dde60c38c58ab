"""From a cube and what is asked of it to a job: everything decided, and nothing computed."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, cast, get_args

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr

from xr_anysat.compute.normalize import Normalization
from xr_anysat.cube.grid import Grid, find_grid
from xr_anysat.cube.resize import resized
from xr_anysat.cube.spec import CubeSpec, as_dataarray, canonical, north_up, understand
from xr_anysat.errors import CubeError, OptionError, warn
from xr_anysat.graph.eager import local_scheduler
from xr_anysat.graph.statistics import after, lazy_moments, stats_of
from xr_anysat.layout.chunks import cut, rechunk
from xr_anysat.layout.geometries import Geometries, as_geometries
from xr_anysat.layout.selection import ALL, Selection, select
from xr_anysat.results.labels import result_geobox
from xr_anysat.results.pooling import Shares, find_shares

from .job import Job, JobPart, find_chunk, find_job
from .model import as_model
from .options import (
    Arguments,
    Settings,
    check_choices,
    check_mask,
    check_stats,
    check_whole,
    find_frames,
    find_settings,
    fixed_normalization,
    stats_normalization,
    without_unused,
)

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


def prepare(cube: Cube, asked: Arguments) -> Prepared:
    """Understand a cube and what is asked of `embed`, whose arguments are explained there."""
    check_choices(asked, get_args(Mode))
    model = as_model(asked.model)
    array, spec, mask = _understand(cube, asked)
    tile_size = max(spec.shape) if asked.input_prep == "resize" else asked.tile_size
    settings = find_settings(
        spec,
        asked.mode,
        asked.pooling,
        asked.pool_from,
        asked.patch_size,
        tile_size,
        asked.overlap,
        asked.input_prep,
        asked.dtype,
    )
    shapes, shares = _find_geometries(asked, spec, settings)
    groups, moments = find_frames(spec, asked.frames, asked.period, asked.frame_date)
    groups, used = without_unused(groups, len(spec.dates))
    how, given = _normalization(asked.normalize, settings)
    lazily = spec.chunked or (mask is not None and mask.chunks is not None)
    values = as_dask(canonical(array, spec), lazily)
    chunk = find_chunk(spec, settings, model.pinned(), how, groups, moments)
    longest = _longest_chunk(values, settings, lazily, shapes is not None)
    dates = len(spec.dates if used is None else used)
    job = find_job(settings, chunk, values.chunks[2:], dates, longest)
    return Prepared(
        array=array,
        spec=spec,
        settings=settings,
        job=job,
        values=values,
        mask=as_mask(mask, spec, lazily),
        given=given,
        geometries=shapes,
        shares=shares,
        selection=ALL if shares is None else _find_selection(shares, job),
        moments=moments,
        frames=asked.frames,
        frame_date=asked.frame_date,
        used=used,
        input_prep=asked.input_prep,
        lazily=lazily,
    )


def _understand(cube: Cube, asked: Arguments) -> tuple[xr.DataArray, CubeSpec, xr.DataArray | None]:
    """Cube, what it is, and its mask: squeezed into one tile where that is asked for."""
    array, spec = understand_cube(cube, bands=asked.bands, dates=asked.dates)
    mask = check_mask(asked.mask, array, spec)
    for note in spec.notes:
        warn(note)
    if asked.input_prep == "resize":
        return resized(array, spec, mask, check_whole("image_size", asked.image_size))
    return array, spec, mask


def _find_geometries(
    asked: Arguments, spec: CubeSpec, settings: Settings
) -> tuple[Geometries | None, Shares | None]:
    """Geometries to pool over, and which cells they touch."""
    if asked.geometry is None:
        if asked.geometry_crs is not None:
            raise OptionError("geometry_crs= is the CRS of geometry=, which is not given")
        return None, None
    if asked.mode != "pooled":
        raise OptionError(f'geometry= goes with mode="pooled", not mode={asked.mode!r}')
    shapes = as_geometries(asked.geometry, spec.geobox, asked.geometry_crs, asked.outside)
    cells = result_geobox(spec, settings.map_mode, settings.rows, settings.columns)
    return shapes, find_shares(shapes.shapes, cells, spec.geobox)


def _find_selection(shares: Shares, job: Job) -> Selection:
    """Find what of the map geometries need."""
    return select(shares.cells, job.rows, job.columns, whole_tiles=job.mode == "tile")


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


def _normalization(
    normalize: str | xr.Dataset, settings: Settings
) -> tuple[Normalization, da.Array | None]:
    """How to normalise, and statistics where lazy ones were given."""
    if isinstance(normalize, xr.Dataset):
        mean, std = check_stats(normalize)
        if mean.chunks is None and std.chunks is None:
            numbers = stats_normalization("band_stats", mean.values, std.values, fixed=True)
            return numbers, None
        stats = rechunk(da.stack([da.asarray(mean.data), da.asarray(std.data)]), -1)
        return Normalization(kind="stats", name="band_stats", fixed=True), stats
    if settings.overlap and isinstance(normalize, str) and normalize == "tile_zscore":
        raise OptionError(
            'normalize="tile_zscore" needs overlap=0: overlapping tiles would each want other '
            "values of the pixels they share."
        )
    if not (isinstance(normalize, str) and normalize == "zscore"):
        return fixed_normalization(normalize), None
    return Normalization(kind="stats", name="zscore"), None


def in_slabs(values: da.Array, lazily: bool) -> da.Array:
    """Cut a cube in memory into slabs, so that no temporary of the sums is of its size."""
    return values if lazily else rechunk(values, {2: EAGER_CHUNK})


def _longest_chunk(values: da.Array, settings: Settings, lazily: bool, sparse: bool) -> int | None:
    """Give the pixels that a chunk at work may be long: for geometries, no more than is read."""
    if not lazily:
        return EAGER_CHUNK
    return max(settings.tile_size, *map(max, values.chunks[2:])) if sparse else None
