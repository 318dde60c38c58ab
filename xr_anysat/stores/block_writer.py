"""The graph that writes a map: a task to each file, and one that says that a region is there."""

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import dask.array as da
import numpy as np
import numpy.typing as npt
from dask.highlevelgraph import HighLevelGraph
from dask.typing import Key

from xr_anysat.errors import StoreError

from .layout import ROOT, chunk_name
from .location import ZarrLocation
from .manifest import ARRAY, done_record
from .quantize import Quantization
from .regions import RegionGrid

__all__ = ["Writer", "write_regions"]

Array = npt.NDArray[Any]
Counts = dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Writer:
    """Where regions are written, how the map is cut into them, and how they are coded."""

    place: ZarrLocation
    grid: RegionGrid
    quantization: Quantization | None = None


def write_regions(data: da.Array, writer: Writer, regions: list[int]) -> da.Array:
    """Write regions of a map.

    Parameters
    ----------
    data
        (feature, y, x), a block for each file of the rectangle around the regions.
    writer
        Where to.
    regions
        Which.

    Returns
    -------
    dask.array.Array
        A row of blocks for each region: the first is there once the region is recorded, the
        others once its files are written. Keys are new with every call, because a scheduler
        may remember an earlier one's.
    """
    name = f"anysat-write-{uuid4().hex}"
    parts = writer.grid.blocks[0]
    (top, _), (left, _) = writer.grid.around(regions)
    tasks: dict[Key, Any] = {}
    for n, region in enumerate(regions):
        row, column = writer.grid.place(region)
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
    """Write a file of a region, and wait until it is there."""
    grid = writer.grid
    features = slice(part * grid.shards[0], min((part + 1) * grid.shards[0], grid.shape[0]))
    window = (features, *grid.window(region))
    shape = tuple(part.stop - part.start for part in window)
    if np.shape(block) != shape:
        raise StoreError(
            f"{grid.says(region)} came out with shape {np.shape(block)} instead of {shape}: the "
            "cube's reader does not give what its chunks say"
        )
    if block.dtype == np.float16 and np.isinf(block).any():
        raise StoreError(
            f"{grid.says(region)} has values beyond 65504, the largest that float16 has; leave out "
            'dtype="float16", or scale the linear map of reduce= down'
        )
    counts: Counts = {}
    if writer.quantization is not None:
        block, values, clipped = writer.quantization.encode(block, features.start)
        counts = {"values": values, "clipped": clipped}
    index = grid.files(region)[part]
    name = chunk_name(index)
    value = _encoded(block, window, index, writer.place)
    if value is None:  # nothing but missing
        writer.place.delete(name)
    else:
        writer.place.write(name, value)
        writer.place.settle([name])
    return counts


def _encoded(
    block: Array, window: tuple[slice, ...], index: tuple[int, int, int], place: ZarrLocation
) -> bytes | None:
    """Encode a file of the map in memory.

    Zarr would read the file that is there for one at the map's edge, which a kill may have torn.
    """
    import zarr
    from zarr.core.buffer import default_buffer_prototype

    about = place.read(f"{ARRAY}/{ROOT}")
    if about is None:
        raise StoreError(f"{place} has been deleted meanwhile")
    objects: dict[str, Any] = {ROOT: default_buffer_prototype().buffer.from_bytes(about)}
    zarr.open_array(zarr.storage.MemoryStore(objects), mode="r+")[window] = block
    found = objects.get(chunk_name(index).removeprefix(f"{ARRAY}/"))
    return None if found is None else found.to_bytes()


def _record(written: list[Counts], region: int, writer: Writer) -> None:
    """Say that a region is complete: its files are there by now."""
    counts = {name: sum(part[name] for part in written) for name in written[0]}
    name, value = done_record(writer.grid, region, counts)
    writer.place.write_json(name, value)
