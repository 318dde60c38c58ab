"""The graph of some regions of a map; it reads only the part of the cube that they need."""

from bisect import bisect_right
from itertools import accumulate

import dask.array as da

from xr_anysat.graph.lazy import embed_array
from xr_anysat.job.job import EmbedJob
from xr_anysat.layout.chunks import rechunk

from .regions import RegionGrid

__all__ = ["embed_regions", "tasks_per_region"]

TASKS = {"grid": 14, "patch": 10, "tile": 5}
"""Tasks of a chunk of a map, not counting those that read the cube: encode, take apart, embed by
tile, hand to four neighbours, put together."""


def embed_regions(job: EmbedJob, grid: RegionGrid, regions: list[int]) -> da.Array:
    """Build the lazy embedding of the rectangle around regions.

    The graph grows with the rectangle and not with the map, except for the cube's own tasks: only
    chunks whose pixels the rectangle's tiles see are encoded.

    Parameters
    ----------
    job
        The whole map, with its statistics known.
    grid
        How the map is cut into regions, in the order in which it is stored.
    regions
        Numbers of the regions.

    Returns
    -------
    dask.array.Array
        (feature, y, x), a block for each file of the rectangle `grid.around(regions)`.
    """
    ranges, windows, sizes = [], [], []
    for axis, (first, last) in enumerate(grid.around(regions), start=1):
        size, length = grid.shards[axis], grid.shape[axis]
        span = first * size, min(last * size, length)
        start, stop = job.cube.spec.orientation.span(axis - 1, span, length)
        edges = list(accumulate(job.out_chunks[axis], initial=0))
        chunks = bisect_right(edges, start) - 1, bisect_right(edges, stop - 1)
        ranges.append(chunks)
        windows.append(slice(start - edges[chunks[0]], stop - edges[chunks[0]]))
        sizes.append(grid.sizes[axis][first:last])
    part = job.part(*ranges)
    data = job.cube.own_order(embed_array(job, part)[:, *windows])
    wanted = (data.chunks[0], *sizes)
    return data if data.chunks == wanted else rechunk(data, wanted)


def tasks_per_region(job: EmbedJob, grid: RegionGrid) -> int:
    """Estimate how many tasks a region takes."""
    chunks = len(job.layout.rows.chunks) * len(job.layout.columns.chunks)
    arrays = (job.cube.values, job.cube.valid)
    own = sum(len(array.dask) for array in arrays if array is not None)
    return -(-(own + TASKS[job.output.map_mode] * chunks) // len(grid))
