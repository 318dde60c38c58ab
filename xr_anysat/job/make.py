"""From a cube and the options of a call to an `EmbedJob`."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from xr_anysat.cube.canonical import MEMORY_CHUNK, Cube, understand
from xr_anysat.cube.resize import resized
from xr_anysat.errors import OptionError
from xr_anysat.findings import SetOption
from xr_anysat.layout.chunks import working_chunks
from xr_anysat.layout.geometries import Geometries, as_geometries
from xr_anysat.layout.shares import find_shares

from .frames import find_frames, without_unused
from .job import EmbedJob, Output, SensorInput
from .model import as_model
from .normalization import find_normalization
from .options import Options, check_whole
from .tiling import lay_patches, many_patches

__all__ = ["make_job", "options_of"]


def options_of(mode: str, options: Mapping[str, Any]) -> Options:
    """Options of `embed` from those given to another function.

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

    Nothing is read or computed, but for a cube in memory with ``input_prep="resize"``.
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
    """Cut the map of a job into working chunks."""
    each, mode, axis = job.reference, job.output.map_mode, job.layout.rows.axis
    patch, source = each.pixels.patch, each.cube.values.chunks[2:]
    if each.normalization.kind == "tile_zscore":
        unit = axis.tile
    else:
        unit = axis.stride if mode == "tile" else 1
    longest = None
    if not each.cube.lazy:
        longest = MEMORY_CHUNK
    elif job.output.geometries is not None:  # no more than is read
        longest = max(axis.tile * patch, *map(max, source))
    in_bytes = 4 * len(each.cube.spec.band_labels) * each.dates_read
    out_bytes = 4 * job.width / (1 if mode == "grid" else patch**2)
    work = working_chunks(source, unit * patch, in_bytes, out_bytes, longest)
    rows, columns = (
        replace(chunked, chunks=tuple(-(-pixels // patch) for pixels in sizes))
        for chunked, sizes in zip((job.layout.rows, job.layout.columns), work, strict=True)
    )
    return replace(job, layout=replace(job.layout, rows=rows, columns=columns))
