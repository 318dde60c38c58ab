"""Reading a sensor's cube: first for its statistics, where these are pending, then by chunks."""

import dask.array as da

from xr_anysat.compute.encode import EncodeSpec
from xr_anysat.cube.canonical import local_scheduler
from xr_anysat.job.job import EmbedJob, SensorInput
from xr_anysat.layout.chunks import cut
from xr_anysat.layout.grid import MapPart

from .statistics import after, lazy_moments, stats_of

__all__ = ["encode_spec", "lazy_stats", "read_input", "with_known_stats"]


def lazy_stats(each: SensorInput) -> da.Array | None:
    """(2, C) mean and deviation, lazy, where an input needs some and has no numbers yet."""
    if not each.pending or each.stats is not None:
        return each.stats
    return stats_of(lazy_moments(each.cube))


def with_known_stats(job: EmbedJob) -> EmbedJob:
    """Compute the statistics of a cube in memory, for the attributes of the result."""
    each = job.reference
    stats = lazy_stats(each)
    if job.lazy or stats is None or each.normalization.fixed:
        return job
    return job.with_input(each.with_stats(*stats.compute(scheduler=local_scheduler())))


def read_input(
    job: EmbedJob, each: SensorInput, part: MapPart
) -> tuple[da.Array, da.Array | None, da.Array | None]:
    """Read the chunks of a sensor that a part of the map needs.

    Returns
    -------
    tuple of dask.array.Array
        Values (T, C, y, x), one chunk along dates and bands, and mask (T, y, x), in the chunks of
        the map; (2, C) statistics, before which a lazy cube is not read.
    """
    cube, stats = each.cube, lazy_stats(each)
    if stats is not None and cube.lazy:
        cube = cube.with_arrays(*after([cube.values, cube.valid], stats))
    if each.used is not None:  # after the statistics, which are of the whole cube
        cube = cube.at_dates(each.used)
    spans, work = [], []
    axes = (job.layout.rows, part.rows), (job.layout.columns, part.columns)
    for n, (axis, needed) in enumerate(axes):
        spans.append(each.pixels.span(n, axis.patches_of(needed.encoded)))
        work.append(each.pixels.sizes(n, axis)[slice(*needed.encoded)])
    if tuple(span.stop - span.start for span in spans) != each.pixels.shape:
        cube = cube.window(*spans)
    values = cut(cube.values, work)
    return values, None if cube.valid is None else cut(cube.valid, work), stats


def encode_spec(job: EmbedJob, each: SensorInput) -> EncodeSpec:
    """Describe how the pixels of one sensor of a job are encoded."""
    by_tile = each.normalization.kind == "tile_zscore"
    return EncodeSpec(
        model=job.model,
        patch=each.pixels.patch,
        gsd=each.pixels.size,
        day_of_year=each.day_of_year,
        nodata=each.cube.spec.nodata,
        normalization=each.normalization,
        groups=each.groups,
        tile_pixels=job.layout.rows.axis.tile * each.pixels.patch if by_tile else None,
        sub_patches=job.output.map_mode == "grid",
        dtype=job.output.map_dtype,
    )
