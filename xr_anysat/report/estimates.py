"""Arithmetic, memory and time of an embedding that was prepared: what `plan` tells."""

import math
from collections import Counter
from dataclasses import dataclass, replace
from itertools import product
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from xr_anysat.compute.engine import CPU_TOKENS, TOKEN_COPIES, engine_of
from xr_anysat.job.build import Prepared
from xr_anysat.layout.tiles import Axis, ChunkedAxis
from xr_anysat.model.config import used_shapes
from xr_anysat.sensors.sentinel2 import BANDS

from . import cost

__all__ = ["estimate_memory", "estimate_seconds", "find_amounts", "find_products"]

PROCESS_BYTES = 400 * 2**20
"""Resident memory of a process that has imported this package, dask, zarr and torch."""

STORED_COPIES = 3.5
"""Copies of a chunk of the result at once in a thread: as it is computed, laid out for the file
and compressed, and one that waits for its turn."""

INPUT_COPIES = 2
"""Copies of a chunk of the cube in a thread: as read, and put together."""

WAITING_CHUNKS, WAITING_COPIES = 6, 1.5
"""Chunks, beside a row of them, whose patch tokens and parts of whose sums wait for neighbours."""


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """Pixels and patches to be encoded, and how many tiles of each shape in patches."""

    pixels: int
    patches: int
    tiles: dict[tuple[int, int], int]


def find_amounts(prepared: Prepared) -> Amounts:
    """Count what an embedding encodes: all of the cube, or what geometries need of it."""
    job, selection = prepared.job, prepared.selection
    rows, columns = job.rows.axis, job.columns.axis
    if selection.tiles is None or selection.patches_by_chunk is None:
        sizes = product(_tile_sizes(rows), _tile_sizes(columns))
        return Amounts(
            pixels=rows.pixels * columns.pixels,
            patches=rows.patches * columns.patches,
            tiles={(height, width): m * n for (height, m), (width, n) in sizes},
        )
    spans = ([axis.tile_range(n) for n in range(axis.tiles)] for axis in (rows, columns))
    heights, widths = ([stop - start for start, stop in ranges] for ranges in spans)
    pixels = (
        _pixels(job.rows, i) @ patches @ _pixels(job.columns, j)
        for (i, j), patches in selection.patches_by_chunk.items()
    )
    return Amounts(
        pixels=int(sum(pixels)),
        patches=sum(int(patches.sum()) for patches in selection.patches_by_chunk.values()),
        tiles=dict(Counter((heights[r], widths[c]) for r, c in selection.tiles.tolist())),
    )


def _pixels(axis: ChunkedAxis, index: int) -> npt.NDArray[np.int64]:
    """Pixels of each patch of a chunk along an axis: fewer at the cube's end."""
    starts = axis.axis.patch * np.arange(*axis.patch_range(index))
    return np.minimum(axis.axis.patch, axis.axis.pixels - starts)


def find_products(prepared: Prepared) -> dict[str, list[cost.Product]]:
    """List the products of an embedding in which nothing is missing."""
    settings, config = prepared.settings, prepared.job.chunk.model.config
    amounts = find_amounts(prepared)
    pixel_dates = amounts.pixels * len(prepared.moments)
    return {
        "temporal": cost.temporal_products(config, pixel_dates, amounts.pixels),
        "spatial": cost.spatial_products(
            config,
            amounts.patches,
            settings.rows.patch**2,
            last_block=settings.map_mode == "grid",
        ),
        "tile": [
            each
            for (height, width), tiles in amounts.tiles.items()
            for each in cost.tile_products(
                config, tiles, height * width, all_patches=settings.map_mode != "tile"
            )
        ],
    }


def _tile_sizes(axis: Axis) -> list[tuple[int, int]]:
    """Lengths of the tiles of an axis in patches, and how many have each."""
    ranges = (axis.tile_range(index) for index in range(axis.tiles))
    return list(Counter(stop - start for start, stop in ranges).items())


def estimate_memory(prepared: Prepared, threads: int) -> int:
    """Estimate the peak of a worker's resident memory; its terms are this module's constants."""
    job, chunk, source = prepared.job, prepared.job.chunk, prepared.values
    width = chunk.model.config.width
    rows, columns = (max(sizes) for sizes in prepared.work)
    dates = prepared.spec.dates if prepared.used is None else prepared.used
    values = len(dates) * len(BANDS) * source.dtype.itemsize
    block = math.prod(max(sizes) for sizes in source.chunks[2:])
    taken = INPUT_COPIES * values * max(rows * columns, block)
    high, wide = max(job.rows.patch_chunks), max(job.columns.patch_chunks)
    if job.mode == "grid":
        made = rows * columns * width * np.dtype(chunk.dtype).itemsize
    else:
        made = high * wide * width * 4
    lane = TOKEN_COPIES * 4 * width * (chunk.model.batch_size or CPU_TOKENS)
    chunks = math.prod(map(len, prepared.work))
    waiting = int(WAITING_COPIES * 4 * width * high * wide)
    weights = 4 * sum(map(math.prod, used_shapes(chunk.model.config).values()))
    at_work = min(threads, chunks) * (taken + STORED_COPIES * made) + threads * lane
    held = min(len(prepared.work[1]) + WAITING_CHUNKS, chunks) * waiting
    return int(PROCESS_BYTES + weights + at_work + held)


def estimate_seconds(prepared: Prepared, work: dict[str, int]) -> float:
    """Estimate the time of the arithmetic from a few batches in all lanes."""
    import torch

    chunk, settings = prepared.job.chunk, prepared.settings
    engine = engine_of(replace(chunk.model, weights="random:0").pinned())
    config, patch = chunk.model.config, chunk.patch
    dates = len(prepared.moments)
    pixels = max(1, engine.pixel_dates // dates)
    patches = max(1, engine.tokens // (patch**2 + 1))
    side = (
        min(settings.rows.tile, settings.rows.patches),
        min(settings.columns.tile, settings.columns.patches),
    )
    tiles = max(1, engine.tokens // (math.prod(side) + 1))
    device = engine.device
    values = torch.zeros((pixels, dates, len(BANDS)), device=device)
    valid = torch.ones((pixels, dates), dtype=torch.bool, device=device)
    days = torch.tensor(chunk.day_of_year, device=device)
    vectors = torch.zeros((patches, patch**2, config.width), device=device)
    tokens = torch.zeros((tiles, *side, config.width), device=device)
    network = engine.network
    grid, tile = settings.map_mode == "grid", settings.map_mode == "tile"
    runs = {
        "temporal": (
            cost.temporal_products(config, pixels * dates, pixels),
            lambda: network.encode_pixels(values, valid, days),
        ),
        "spatial": (
            cost.spatial_products(config, patches, patch**2, last_block=grid),
            lambda: network.encode_patches(vectors, (patch, patch), chunk.gsd, sub_patches=grid)[0],
        ),
        "tile": (
            cost.tile_products(config, tiles, math.prod(side), all_patches=not tile),
            lambda: network.encode_tiles(tokens, settings.patch_size, patches=not tile),
        ),
    }
    seconds = 0.0
    for stage, (products, run) in runs.items():

        def job(_: int, run: Any = run) -> None:
            engine.fetch(run()[:1])  # waits for the device

        list(engine.map(job, range(engine.lanes)))  # warm
        jobs = 2 * engine.lanes
        start = perf_counter()
        list(engine.map(job, range(jobs)))
        seconds += work[stage] * (perf_counter() - start) / (jobs * cost.total(products))
    return seconds
