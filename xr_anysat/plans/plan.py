"""What an embedding will take, before anything is computed: tiles, chunks, arithmetic, memory."""

import math
import os
from dataclasses import dataclass, replace
from typing import Any

import dask
import numpy as np

from xr_anysat.arguments import check_whole
from xr_anysat.embed import prepare_as_embed
from xr_anysat.prepare import Cube, Prepared
from xr_anysat.results.labels import result_geobox
from xr_anysat.tables import (
    amount_text,
    bytes_text,
    duration_text,
    html_list,
    html_table,
    sizes_text,
    text_table,
)
from xr_anysat.unread import unread

from . import cost
from .estimates import estimate_memory, estimate_seconds, find_amounts, find_products

__all__ = ["Plan", "plan", "plan_of"]

_MANY_BLOCKS = 1_000_000
"""Dask's scheduler takes a fraction of a millisecond and about a kilobyte for each task."""

_LARGE_BYTES = 100 * 10**9
"""More than most disks and memories spare without a second thought."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What `embed` would do with the same arguments, for one worker that works alone.

    Parameters
    ----------
    mode
        As asked for.
    dims
        Sizes of the result by dimension.
    dtype
        Of the result.
    nbytes
        Of the result in memory; files are compressed.
    dates
        Images that are embedded of each pixel.
    patches, tiles
        How many there are.
    tile_shape
        Patches of a complete tile.
    reads
        How many times the cube is read.
    chunks_in
        Sizes of the cube's chunks along y and x, as it came.
    chunks
        The same as they are worked on, which are whole patches.
    chunks_out
        Sizes of the chunks of the result, by its dimensions.
    multiply_adds
        By stage ("temporal", "spatial", "tile"), where no pixel-date is missing; fewer otherwise.
        The formula is that of `xr_anysat.plans.cost`.
    threads
        Of the worker, for which the memory is said.
    memory
        Peak resident bytes of the worker while the result is written chunk by chunk.
    seconds
        Estimate of the worker's arithmetic, without reading and writing; None unless calibrated.
    advice
        What would make it cheaper.
    """

    mode: str
    dims: dict[str, int]
    dtype: str
    nbytes: int
    dates: int
    patches: int
    tiles: int
    tile_shape: tuple[int, int]
    reads: int
    chunks_in: tuple[tuple[int, ...], tuple[int, ...]]
    chunks: tuple[tuple[int, ...], tuple[int, ...]]
    chunks_out: tuple[tuple[int, ...], ...]
    multiply_adds: dict[str, int]
    threads: int
    memory: int
    seconds: float | None
    advice: tuple[str, ...]

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
        rows = [
            ("result", f"({shape}) {self.dtype}, {bytes_text(self.nbytes)}"),
            ("chunks of the cube", " x ".join(map(sizes_text, self.chunks_in)) + " px"),
            ("chunks at work", " x ".join(map(sizes_text, self.chunks)) + " px"),
            ("chunks of the result", " x ".join(map(sizes_text, self.chunks_out))),
            ("reads of the cube", str(self.reads)),
            ("dates", str(self.dates)),
            ("patches", f"{self.patches:,}"),
            ("tiles", f"{self.tiles:,} of {self.tile_shape[0]} x {self.tile_shape[1]} patches"),
            ("multiply-adds", f"{amount_text(total)} ({shares})"),
            ("memory", f"about {bytes_text(self.memory)} in a worker of {self.threads} threads"),
        ]
        if self.seconds is not None:
            rows.append(
                ("arithmetic", f"about {duration_text(self.seconds)} on this machine alone")
            )
        return rows

    def __repr__(self) -> str:
        lines = [f"<xr_anysat.Plan, mode {self.mode!r}>", *text_table(self.rows())]
        lines += [f"  - {advice}" for advice in self.advice]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        table = html_table(f"xr_anysat plan, mode {self.mode}", self.rows())
        return table + html_list(self.advice)


def plan(
    cube: Cube,
    mode: str = "grid",
    *,
    threads: int | None = None,
    calibrate: bool = False,
    **options: Any,
) -> Plan:
    """Say what an embedding will take, without reading the cube.

    Parameters
    ----------
    cube, mode
        As in `embed`.
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
        As `embed` would.
    """
    return plan_of(prepare_as_embed(unread(cube), mode, options), threads, calibrate=calibrate)


def plan_of(prepared: Prepared, threads: int | None = None, *, calibrate: bool = False) -> Plan:
    """Say what an embedding will take that has been prepared."""
    count = _threads() if threads is None else check_whole("threads", threads)
    settings, spec, chunk = prepared.settings, prepared.spec, prepared.job.chunk
    config, rows, columns = chunk.model.config, settings.rows, settings.columns
    itemsize = np.dtype(settings.dtype).itemsize
    features = 2 * config.width if settings.mode == "grid" else config.width
    dims: dict[str, int] = {"feature": features}
    chunks_out: tuple[tuple[int, ...], ...] = ((features,),)
    if settings.mode != "pooled":
        geobox = result_geobox(spec, settings.mode, rows, columns)
        dims |= {"y": geobox.shape.y, "x": geobox.shape.x}
        feature, *space = prepared.job.out_chunks
        flips = (spec.flip_y, spec.flip_x)
        chunks_out = (feature, *(c[::-1] if f else c for c, f in zip(space, flips, strict=True)))
    elif prepared.geometries is not None:
        dims = {"geometry": len(prepared.geometries.shapes), **dims}
        chunks_out = ((dims["geometry"],), *chunks_out)
    amounts = find_amounts(prepared)
    work = {stage: cost.total(found) for stage, found in find_products(prepared).items()}
    made = Plan(
        mode=settings.mode,
        dims=dims,
        dtype=settings.dtype,
        nbytes=math.prod(dims.values()) * itemsize,
        dates=len(prepared.moments),
        patches=amounts.patches,
        tiles=sum(amounts.tiles.values()),
        tile_shape=(min(rows.tile, rows.patches), min(columns.tile, columns.patches)),
        reads=2 if prepared.lazily and _wants_statistics(prepared) else 1,
        chunks_in=(tuple(prepared.values.chunks[2]), tuple(prepared.values.chunks[3])),
        chunks=prepared.work,
        chunks_out=chunks_out,
        multiply_adds=work,
        threads=count,
        memory=estimate_memory(prepared, count),
        seconds=estimate_seconds(prepared, work) if calibrate else None,
        advice=(),
    )
    return replace(made, advice=tuple(_advice(made, prepared)))


def _wants_statistics(prepared: Prepared) -> bool:
    """Whether the statistics of the cube itself are to be computed first."""
    return prepared.pending and not prepared.job.chunk.normalization.fixed


def _advice(made: Plan, prepared: Prepared) -> list[str]:
    found = []
    if made.reads > 1:
        found.append(
            "the cube is read twice for its z-scores; to read it once, and a part of it alone, "
            "give statistics: normalize=cube.anysat.band_stats().compute()"
        )
    blocks = math.prod(len(sizes) for sizes in prepared.values.chunks)
    if prepared.lazily and _misaligned(made):
        unit = prepared.settings.rows.patch
        found.append(
            "the edges of the cube's chunks are not edges of chunks at work, so that neighbours "
            f"read the same blocks; load it in chunks of a multiple of {unit} pixels, such as "
            f"{64 * unit if unit < 16 else 16 * unit}"
        )
    if prepared.lazily and blocks > _MANY_BLOCKS:
        found.append(
            f"the cube comes in {blocks:,} blocks, each a task or more; load it with more pixels, "
            "dates or bands in a block, or embed it region by region"
        )
    tile_share = made.multiply_adds["tile"] / max(1, sum(made.multiply_adds.values()))
    if tile_share > 0.5 and prepared.settings.rows.overlapping:
        found.append(
            f"tiles take {tile_share:.0%} of the arithmetic; a smaller overlap= or tile_size= "
            "makes them fewer or cheaper"
        )
    if made.nbytes > _LARGE_BYTES and made.dtype == "float32":
        found.append(
            f'the result has {bytes_text(made.nbytes)}; dtype="float16" halves it, and '
            'mode="patch" divides it by the pixels of a patch'
        )
    here = _physical_memory()
    if here is not None and made.memory > 0.8 * here:
        found.append(
            f"a worker may need more than this machine's {bytes_text(here)}; give it fewer threads "
            "or load the cube in smaller chunks"
        )
    return found


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
