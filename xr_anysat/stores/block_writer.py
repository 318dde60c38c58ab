"""The graph that writes a map: a task for each file, and one that records each region."""

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import dask.array as da
import numpy as np
import numpy.typing as npt
from dask.highlevelgraph import HighLevelGraph
from dask.typing import Key

from xr_anysat.errors import StoreError
from xr_anysat.findings import SetOption

from .location import ZarrLocation, as_buffer
from .manifest import ARRAY, Manifest
from .quantize import Quantization
from .regions import RegionGrid
from .skeleton import ARRAY_ROOT, ROOT, chunk_name

__all__ = ["Writer", "write_blocks"]

Array = npt.NDArray[Any]
Counts = dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Writer:
    """Where regions are written, how the map is cut into them, and how they are coded."""

    location: ZarrLocation
    grid: RegionGrid
    quantization: Quantization | None = None


def write_blocks(data: da.Array, writer: Writer, regions: list[int]) -> da.Array:
    """Write regions of a lazy map.

    Parameters
    ----------
    data
        (feature, y, x), a block for each file of the rectangle around the regions.
    writer
        Where they are written.
    regions
        Numbers of the regions.

    Returns
    -------
    dask.array.Array
        A row of blocks for each region: computing the first records the region, computing the
        others writes its files. Keys are new with every call, because a scheduler may remember
        an earlier call's.
    """
    name = f"anysat-write-{uuid4().hex}"
    parts = writer.grid.blocks[0]
    (top, _), (left, _) = writer.grid.around(regions)
    tasks: dict[Key, Any] = {}
    for n, region in enumerate(regions):
        row, column = writer.grid.position(region)
        for part in range(parts):
            block = (data.name, part, row - top, column - left)
            tasks[name, n, part + 1] = (_write, block, part, region, writer)
        written = [(name, n, part + 1) for part in range(parts)]
        tasks[name, n, 0] = (_record, written, region, writer)
    parents: list[Any] = [data]
    graph = HighLevelGraph.from_collections(name, tasks, dependencies=parents)
    chunks = ((1,) * len(regions), (1,) * (parts + 1))
    return da.Array(graph, name, chunks, meta=np.empty((0, 0)))


def _write(block: Array, part: int, region: int, writer: Writer) -> Counts:
    """Write a file of a region, and wait until it is on the disk."""
    grid = writer.grid
    features = slice(part * grid.shards[0], min((part + 1) * grid.shards[0], grid.shape[0]))
    window = (features, *grid.window(region))
    shape = tuple(part.stop - part.start for part in window)
    if np.shape(block) != shape:
        raise StoreError(
            "region.shape", region=grid.describe(region), shape=np.shape(block), expected=shape
        )
    if block.dtype == np.float16 and np.isinf(block).any():
        raise StoreError(
            "region.float16", region=grid.describe(region), dtype=SetOption("dtype", "float16")
        )
    counts: Counts = {}
    if writer.quantization is not None:
        block, values, clipped = writer.quantization.encode(block, features.start)
        counts = {"values": values, "clipped": clipped}
    index = grid.files(region)[part]
    name = chunk_name(index)
    value = _encoded(block, window, index, writer.location)
    if value is None:  # all missing
        writer.location.delete(name)
    else:
        writer.location.write(name, value)
        writer.location.flush([name])
    return counts


def _encoded(
    block: Array, window: tuple[slice, ...], index: tuple[int, int, int], location: ZarrLocation
) -> bytes | None:
    """Encode a file of the map in memory.

    At the map's edge Zarr would read the stored file first, which a kill may have torn.
    """
    import zarr

    metadata = location.read(ARRAY_ROOT)
    if metadata is None:
        raise StoreError("store.deleted", store=location)
    objects: dict[str, Any] = {ROOT: as_buffer(metadata)}
    zarr.open_array(zarr.storage.MemoryStore(objects), mode="r+")[window] = block
    value = objects.get(chunk_name(index).removeprefix(f"{ARRAY}/"))
    return None if value is None else value.to_bytes()


def _record(written: list[Counts], region: int, writer: Writer) -> None:
    """Record that a region is complete: its files have been written by now."""
    counts = {name: sum(part[name] for part in written) for name in written[0]}
    Manifest(location=writer.location).set_done(writer.grid, region, counts)
