"""What an embedding will take, before anything is computed: tiles, chunks, arithmetic, memory."""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import dask
import numpy as np

from xr_anysat.cube.canonical import Cube
from xr_anysat.cube.metadata_only import metadata_only
from xr_anysat.embed import embed
from xr_anysat.errors import Words, warn
from xr_anysat.findings import Call, Finding, SetOption
from xr_anysat.formatting import (
    amount_text,
    bytes_text,
    count_text,
    duration_text,
    html_findings,
    html_table,
    sizes_text,
    text_findings,
    text_table,
)
from xr_anysat.job.job import EmbedJob
from xr_anysat.job.make import make_job, options_of
from xr_anysat.job.options import check_whole
from xr_anysat.keywords import suggests_keywords
from xr_anysat.stores.packing import Packing, Quantize, Reduce, find_packing, require_map
from xr_anysat.stores.sample import sampled_patches

from .memory_and_time import estimate_memory, estimate_seconds, find_amounts, find_products
from .multiply_adds import total

__all__ = ["Plan", "plan", "plan_of"]

_MANY_BLOCKS = 1_000_000
"""Dask's scheduler takes a fraction of a millisecond and about a kilobyte for each task."""

_LARGE_BYTES = 100 * 10**9
"""More than most disks and memories spare without a second thought."""

_MUCH_SAMPLED = 0.05
"""Share of a map's patches: what is embedded twice below it goes unnoticed."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What `embed` or `to_zarr` would do with the same arguments, in one worker that works alone.

    Parameters
    ----------
    mode
        As asked for.
    dims
        Sizes of the result by dimension; with `quantize` or `reduce`, of what is stored.
    dtype
        Of what is given or stored.
    nbytes
        Its bytes in memory, or in files before compression.
    dates
        Images that are embedded of each pixel.
    patches, tiles
        How many there are.
    sampled
        Patches that are embedded once more beforehand, for numbers of `quantize` and `reduce`
        that are not given.
    tile_shape
        Patches of a complete tile.
    reads
        How many times the cube is read.
    chunks_in
        Sizes of the cube's chunks along y and x, as it came.
    chunks
        The same of the chunks at work, which hold whole patches.
    chunks_out
        Sizes of the chunks of the result, by its dimensions; with `quantize` or `reduce`, of the
        files that are written.
    multiply_adds
        By stage ("temporal", "spatial", "tile"), where no pixel-date is missing; fewer otherwise.
        The formula is that of `xr_anysat.report.multiply_adds`.
    threads
        Of the worker whose memory is estimated.
    memory
        Peak resident bytes of the worker while the result is written chunk by chunk; packing it
        takes no more, because blocks are computed in full first.
    seconds
        Estimate of the worker's arithmetic, without reading and writing; None unless calibrated.
    findings
        What would make it cheaper: in words in `advice`.
    """

    mode: str
    dims: dict[str, int]
    dtype: str
    nbytes: int
    dates: int
    patches: int
    tiles: int
    sampled: int
    tile_shape: tuple[int, int]
    reads: int
    chunks_in: tuple[tuple[int, ...], tuple[int, ...]]
    chunks: tuple[tuple[int, ...], tuple[int, ...]]
    chunks_out: tuple[tuple[int, ...], ...]
    multiply_adds: dict[str, int]
    threads: int
    memory: int
    seconds: float | None
    findings: tuple[Finding, ...]

    @property
    def advice(self) -> tuple[str, ...]:
        """What would make it cheaper."""
        return tuple(map(str, self.findings))

    @property
    def flops(self) -> int:
        """Floating-point operations: a multiply-add is two."""
        return 2 * sum(self.multiply_adds.values())

    def rows(self) -> list[tuple[str, str]]:
        """Names and values, as they are printed."""
        total = sum(self.multiply_adds.values())
        shares = ", ".join(
            f"{stage} {work / max(total, 1):.0%}" for stage, work in self.multiply_adds.items()
        )
        shape = ", ".join(f"{name}: {size}" for name, size in self.dims.items())
        threads = count_text(self.threads, "thread")
        rows = [
            ("result", f"({shape}) {self.dtype}, {bytes_text(self.nbytes)}"),
            ("chunks of the cube", " x ".join(map(sizes_text, self.chunks_in)) + " px"),
            ("chunks at work", " x ".join(map(sizes_text, self.chunks)) + " px"),
            ("chunks of the result", " x ".join(map(sizes_text, self.chunks_out))),
            ("reads of the cube", str(self.reads)),
            ("dates", str(self.dates)),
            ("patches", f"{self.patches:,}"),
            ("tiles", f"{self.tiles:,} of {self.tile_shape[0]} x {self.tile_shape[1]} patches"),
            *([("sample", f"{self.sampled:,} patches, embedded beforehand")] * bool(self.sampled)),
            ("multiply-adds", f"{amount_text(total)} ({shares})"),
            ("memory", f"about {bytes_text(self.memory)} in a worker of {threads}"),
        ]
        if self.seconds is not None:
            rows.append(
                ("arithmetic", f"about {duration_text(self.seconds)} on this machine alone")
            )
        return rows

    def render(self, words: Words | None = None) -> str:
        """Give the plan as text.

        Parameters
        ----------
        words
            As in `Finding.render`.
        """
        lines = [f"<xr_anysat.Plan, mode {self.mode!r}>", *text_table(self.rows())]
        return "\n".join([*lines, *text_findings(self.findings, words)])

    def __repr__(self) -> str:
        return self.render()

    def _repr_html_(self) -> str:
        table = html_table(f"xr_anysat plan, mode {self.mode}", self.rows())
        return table + html_findings(self.findings)


@suggests_keywords(embed)
def plan(
    cube: Cube,
    mode: str = "grid",
    *,
    quantize: Quantize | None = None,
    reduce: Reduce | None = None,
    threads: int | None = None,
    calibrate: bool = False,
    **options: Any,
) -> Plan:
    """Say what an embedding will take, without reading the cube.

    Parameters
    ----------
    cube, mode
        As in `embed`.
    quantize, reduce : optional
        As in `to_zarr`: then the result is what that writes.
    threads : int, optional
        Threads of a worker. Default: those of dask's threaded scheduler on this machine.
    calibrate : bool
        Compute a few batches of an untrained network of the same size, some seconds long, to
        estimate the time.
    **options
        As in `embed`.

    Returns
    -------
    Plan

    Raises
    ------
    CubeError, OptionError, WeightsError
        As `embed` would; with `quantize` or `reduce`, as `to_zarr` would.
    MissingExtraError
        Where principal components are to be fitted without scikit-learn.
    """
    stored = quantize is not None or reduce is not None
    if stored:
        require_map(mode)
    job = make_job(metadata_only(cube), options_of(mode, options))
    warn(job.findings)
    packing = find_packing(quantize, reduce, job) if stored else None
    return plan_of(job, threads, packing=packing, calibrate=calibrate)


def plan_of(
    job: EmbedJob,
    threads: int | None = None,
    *,
    packing: Packing | None = None,
    calibrate: bool = False,
) -> Plan:
    """Say what a job will take."""
    count = _threads() if threads is None else check_whole("threads", threads)
    dims, chunks_out = _result(job) if packing is None else _stored(job, packing)
    dtype = job.output.dtype if packing is None else packing.stored_dtype
    sampled = packing is not None and packing.sampled
    amounts = find_amounts(job)
    products = find_products(job, amounts)
    work = {stage: total(products[stage]) for stage in products}
    made = Plan(
        mode=job.output.mode,
        dims=dims,
        dtype=dtype,
        nbytes=math.prod(dims.values()) * np.dtype(dtype).itemsize,
        dates=len(job.reference.moments),
        patches=amounts.patches,
        tiles=sum(amounts.tiles.values()),
        sampled=sampled_patches(job) if sampled else 0,
        tile_shape=job.layout.tile_shape,
        reads=job.reference.reads,
        chunks_in=job.cube.values.chunks[2:],
        chunks=job.pixel_chunks,
        chunks_out=chunks_out,
        multiply_adds=work,
        threads=count,
        memory=estimate_memory(job if packing is None else packing.computing(job), count),
        seconds=estimate_seconds(job, work) if calibrate else None,
        findings=(),
    )
    return replace(made, findings=tuple(_advice(made, job)))


def _result(job: EmbedJob) -> tuple[dict[str, int], tuple[tuple[int, ...], ...]]:
    """Sizes of what `embed` gives, and of its chunks."""
    feature, *space = job.out_chunks
    dims = {"feature": sum(feature)}
    if job.output.mode != "pooled":
        chunks = job.cube.spec.orientation.axes(*space)
        return dims | {"y": job.geobox.shape.y, "x": job.geobox.shape.x}, (feature, *chunks)
    if job.output.geometries is None:
        return dims, (feature,)
    count = len(job.output.geometries.shapes)
    return {"geometry": count, **dims}, ((count,), feature)


def _stored(job: EmbedJob, packing: Packing) -> tuple[dict[str, int], tuple[tuple[int, ...], ...]]:
    """Sizes of what `to_zarr` writes, and of its files."""
    grid = packing.regions(job)
    return dict(zip((packing.dim, "y", "x"), grid.shape, strict=True)), grid.sizes


def _advice(made: Plan, job: EmbedJob) -> Iterator[Finding]:
    if made.reads > 1:
        write = 'cube.anysat.band_stats().to_netcdf("stats.nc")'
        command = f"{{}} stats.nc, a file that {write} writes in Python"
        code = "normalize=cube.anysat.band_stats().compute()"
        yield Finding("cost.statistics", SetOption("normalize", python=code, command=command))
    blocks = math.prod(len(sizes) for sizes in job.cube.values.chunks)
    if job.lazy and _misaligned(made):
        unit = job.reference.pixels.patch
        yield Finding("cost.chunk-edges", unit=unit, example=64 * unit if unit < 16 else 16 * unit)
    if job.lazy and blocks > _MANY_BLOCKS:
        yield Finding("cost.blocks", blocks=blocks)
    tile_share = made.multiply_adds["tile"] / max(1, sum(made.multiply_adds.values()))
    if tile_share > 0.5 and job.layout.rows.axis.overlapping:
        overlap, tile_size = map(SetOption, ("overlap", "tile_size"))
        yield Finding("cost.tiles", share=tile_share, overlap=overlap, tile_size=tile_size)
    if made.sampled > _MUCH_SAMPLED * made.patches:
        options = {name: SetOption(name) for name in ("quantize", "reduce")}
        quantization = Call("quantize=xr_anysat.open_quantization(store)")
        reduction = Call("reduce=xr_anysat.open_reduction(store)")
        share = made.sampled / made.patches
        yield Finding("cost.packing-sample", quantization, reduction, share=share, **options)
    if made.nbytes > _LARGE_BYTES and made.dtype == "float32":
        quantize = SetOption("quantize", "int8", python='to_zarr(quantize="int8")')
        smaller = SetOption("dtype", "float16"), quantize, SetOption("mode", "patch")
        yield Finding("cost.result-size", *smaller, size=bytes_text(made.nbytes))
    available = _physical_memory()
    if available is not None and made.memory > 0.8 * available:
        yield Finding("cost.memory", available=bytes_text(available))


def _misaligned(made: Plan) -> bool:
    """Whether an edge of the cube's chunks lies within a chunk at work."""
    return any(
        not set(np.cumsum(source)) <= set(np.cumsum(work))
        and not set(np.cumsum(work)) <= set(np.cumsum(source))
        for source, work in zip(made.chunks_in, made.chunks, strict=True)
    )


def _threads() -> int:
    """Count the threads of dask's threaded scheduler."""
    return int(dask.config.get("num_workers", None) or dask.system.CPU_COUNT)


def _physical_memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # not POSIX
        return None
