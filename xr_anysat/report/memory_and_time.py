"""Arithmetic, memory and time of a job, as `plan` reports them."""

import math
from collections import Counter
from dataclasses import dataclass, replace
from itertools import chain, product
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from xr_anysat.compute.engine import CPU_TOKENS, TOKEN_COPIES, engine_of
from xr_anysat.job.job import EmbedJob
from xr_anysat.layout.patches import PatchAxis
from xr_anysat.model.config import used_shapes

from .multiply_adds import Product, spatial_products, temporal_products, tile_products, total

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


def find_amounts(job: EmbedJob) -> Amounts:
    """Count what an embedding encodes: all of the cube, or what geometries need of it."""
    selection, layout = job.selection, job.layout
    rows, columns = layout.rows.axis, layout.columns.axis
    heights, widths = map(_tile_lengths, (rows, columns))
    if selection.tiles is None or selection.patches_by_chunk is None:
        sizes = product(Counter(heights).items(), Counter(widths).items())
        return Amounts(
            pixels=math.prod(job.reference.pixels.shape),
            patches=rows.patches * columns.patches,
            tiles={(height, width): m * n for (height, m), (width, n) in sizes},
        )
    pixels = (
        _pixels(job, 0, i) @ patches @ _pixels(job, 1, j)
        for (i, j), patches in selection.patches_by_chunk.items()
    )
    return Amounts(
        pixels=int(sum(pixels)),
        patches=sum(int(patches.sum()) for patches in selection.patches_by_chunk.values()),
        tiles=dict(Counter((heights[r], widths[c]) for r, c in selection.tiles.tolist())),
    )


def _pixels(job: EmbedJob, axis: int, index: int) -> npt.NDArray[np.int64]:
    """Pixels of each patch of a chunk along an axis: fewer at the cube's end."""
    chunks, pixels = (job.layout.rows, job.layout.columns)[axis], job.reference.pixels
    starts = pixels.patch * np.arange(*chunks.patch_range(index))
    return np.minimum(pixels.patch, pixels.shape[axis] - starts)


def find_products(job: EmbedJob, amounts: Amounts) -> dict[str, list[Product]]:
    """List the products of each stage for some amounts in which nothing is missing."""
    config, mode, pixels = job.model.config, job.output.map_mode, amounts.pixels
    bands, sub_patches = job.cube.values.shape[1], job.reference.pixels.patch**2
    grid, all_patches = mode == "grid", mode != "tile"
    by_shape = (
        tile_products(config, tiles, height * width, all_patches=all_patches)
        for (height, width), tiles in amounts.tiles.items()
    )
    pixel_dates = pixels * len(job.reference.moments)
    return {
        "temporal": temporal_products(config, bands, pixel_dates, pixels),
        "spatial": spatial_products(config, amounts.patches, sub_patches, last_block=grid),
        "tile": list(chain.from_iterable(by_shape)),
    }


def _tile_lengths(axis: PatchAxis) -> list[int]:
    """Length of each tile of an axis in patches."""
    return [stop - start for start, stop in map(axis.tile_range, range(axis.tiles))]


def estimate_memory(job: EmbedJob, threads: int) -> int:
    """Estimate the peak of a worker's resident memory; its terms are this module's constants."""
    source, model = job.cube.values, job.model
    width = job.width
    rows, columns = (max(sizes) for sizes in job.pixel_chunks)
    values = job.reference.dates_read * source.shape[1] * source.dtype.itemsize
    block = math.prod(max(sizes) for sizes in source.chunks[2:])
    taken = INPUT_COPIES * values * max(rows * columns, block)
    high, wide = max(job.layout.rows.chunks), max(job.layout.columns.chunks)
    if job.output.map_mode == "grid":
        made = rows * columns * width * np.dtype(job.output.map_dtype).itemsize
    else:
        made = high * wide * width * 4
    lane = TOKEN_COPIES * 4 * width * (model.batch_size or CPU_TOKENS)
    across = len(job.layout.columns.chunks)
    chunks = len(job.layout.rows.chunks) * across
    waiting = int(WAITING_COPIES * 4 * width * high * wide)
    weights = 4 * sum(map(math.prod, used_shapes(model.config).values()))
    at_work = min(threads, chunks) * (taken + STORED_COPIES * made) + threads * lane
    held = min(across + WAITING_CHUNKS, chunks) * waiting
    return int(PROCESS_BYTES + weights + at_work + held)


def estimate_seconds(job: EmbedJob, work: dict[str, int]) -> float:
    """Estimate the time of the arithmetic from a few batches in all lanes."""
    import torch

    each, layout = job.reference, job.layout
    engine = engine_of(replace(job.model, weights="random:0").pinned())
    config, patch = job.model.config, each.pixels.patch
    dates, bands = len(each.moments), each.cube.values.shape[1]
    pixels = max(1, engine.pixel_dates // dates)
    patches = max(1, engine.tokens // (patch**2 + 1))
    side = layout.tile_shape
    tiles = max(1, engine.tokens // (math.prod(side) + 1))
    device = engine.device
    values = torch.zeros((pixels, dates, bands), device=device)
    valid = torch.ones((pixels, dates), dtype=torch.bool, device=device)
    days = torch.tensor(each.day_of_year, device=device)
    vectors = torch.zeros((patches, patch**2, config.width), device=device)
    tokens = torch.zeros((tiles, *side, config.width), device=device)
    network = engine.network
    grid, tile = job.output.map_mode == "grid", job.output.map_mode == "tile"
    square, gsd = (patch, patch), each.pixels.size
    runs = {
        "temporal": lambda: network.encode_pixels(values, valid, days),
        "spatial": lambda: network.encode_patches(vectors, square, gsd, sub_patches=grid)[0],
        "tile": lambda: network.encode_tiles(tokens, layout.patch_size, patches=not tile),
    }
    products = find_products(job, Amounts(pixels=pixels, patches=patches, tiles={side: tiles}))
    seconds = 0.0
    for stage, run in runs.items():

        def batch(_: int, run: Any = run) -> None:
            engine.fetch(run()[:1])  # waits for the device

        list(engine.map(batch, range(engine.lanes)))  # warm
        batches = 2 * engine.lanes
        start = perf_counter()
        list(engine.map(batch, range(batches)))
        seconds += work[stage] * (perf_counter() - start) / (batches * total(products[stage]))
    return seconds
