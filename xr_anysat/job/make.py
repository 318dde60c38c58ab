"""From a cube and the options of a call to an `EmbedJob`."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from xr_anysat.cube.canonical import MEMORY_CHUNK, CanonicalCube, Cube, understand
from xr_anysat.cube.resize import resized
from xr_anysat.errors import OptionError
from xr_anysat.findings import SetOption
from xr_anysat.layout.geometries import Geometries, as_geometries
from xr_anysat.layout.grid import PatchGrid, PixelGrid
from xr_anysat.layout.shares import find_shares

from .frames import find_frames, without_unused
from .job import EmbedJob, Output, SensorInput
from .lay_out import lay_chunks, lay_patches, many_patches
from .model import as_model
from .normalization import find_normalization
from .options import Options, check_whole

__all__ = ["make_job", "options_of"]


def options_of(mode: str, options: Mapping[str, Any]) -> Options:
    """Take the options of `embed` that another call was given.

    Raises
    ------
    TypeError
        For one that `embed` does not have.
    """
    return Options(
        mode=mode, **{name: value for name, value in options.items() if name != "progress"}
    )


def make_job(cube: Cube, options: Options) -> EmbedJob:
    """Understand a cube and the options of `embed`, which explains both.

    Nothing is read or computed.
    """
    options.check()
    model = as_model(options.model)
    canonical = understand(cube, bands=options.bands, dates=options.dates, mask=options.mask)
    if options.input_prep == "resize":
        canonical = resized(canonical, check_whole("image_size", options.image_size))
    spec = canonical.spec
    layout, pixels = lay_patches(options, spec.geobox, spec.gsd)
    output = Output(
        mode=options.mode,
        pooling=options.pooling,
        pool_from=options.pool_from,
        dtype=options.dtype,
        geometries=_find_geometries(options, spec.geobox),
    )
    groups, moments, empty_frames = find_frames(spec.dates, options)
    groups, used = without_unused(groups, len(spec.dates))
    normalization, stats = find_normalization(
        options.normalize, spec.sensor, overlapping=layout.rows.axis.overlapping
    )
    job = EmbedJob(
        model=model.pinned(),
        layout=layout,
        inputs=(
            SensorInput(
                cube=canonical,
                prep=options.input_prep,
                pixels=pixels,
                normalization=normalization,
                stats=stats,
                moments=moments,
                used=used,
                groups=groups,
                frames=options.frames,
                frame_date=options.frame_date,
            ),
        ),
        output=output,
        findings=(*spec.notes, *many_patches(layout, pixels, options), *empty_frames),
    )
    if output.geometries is not None:
        shares = find_shares(output.geometries.shapes, job.geobox, spec.geobox)
        job = replace(job, output=replace(output, shares=shares))
    return _chunked(job)


def _find_geometries(options: Options, geobox: Any) -> Geometries | None:
    if options.geometry is None:
        if options.geometry_crs is not None:
            raise OptionError("geometry.absent", SetOption("geometry"))
        return None
    if options.mode != "pooled":
        mode = SetOption("mode", options.mode)
        raise OptionError("geometry.mode", SetOption("mode", "pooled"), mode=mode)
    return as_geometries(options.geometry, geobox, options.geometry_crs, options.outside)


def _chunked(job: EmbedJob) -> EmbedJob:
    """Cut a job into chunks as they are worked on."""
    each = job.reference
    sizes = each.cube.values.chunks[2:]
    dates, width = each.dates_read, 4 * job.width
    rows, columns = lay_chunks(
        (job.layout.rows, job.layout.columns),
        each.pixels,
        sizes,
        unit=_chunk_unit(job.layout, each, job.output),
        in_bytes=4 * len(each.cube.spec.band_labels) * dates,
        out_bytes=width if job.output.map_mode == "grid" else width / each.pixels.patch**2,
        longest=_longest_chunk(each.cube, job.layout, each.pixels, job.output),
    )
    return replace(job, layout=replace(job.layout, rows=rows, columns=columns))


def _chunk_unit(layout: PatchGrid, each: SensorInput, output: Output) -> int:
    """Give what chunks are multiples of, in patches: whole tiles, strides or patches."""
    if each.normalization.kind == "tile_zscore":
        return layout.rows.axis.tile
    return layout.rows.axis.stride if output.map_mode == "tile" else 1


def _longest_chunk(
    cube: CanonicalCube, layout: PatchGrid, pixels: PixelGrid, output: Output
) -> int | None:
    """Give the pixels that a chunk may be long: for geometries, no more than is read."""
    if not cube.lazy:
        return MEMORY_CHUNK
    if output.geometries is None:
        return None
    return max(layout.rows.axis.tile * pixels.patch, *map(max, cube.values.chunks[2:]))
