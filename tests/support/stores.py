"""Cubes whose reader can fail, stores whose writes can, and processes that can be killed."""

import errno
import multiprocessing
import threading
from collections import Counter
from contextlib import contextmanager

import dask.array as da
import numpy as np
import pytest
import zarr

from .cubes import TINY, make_cube

READERS = {}
"""By name: tasks of a cluster are functions of this module, and find their reader here."""


class Reader:
    """A dask cube that counts how often its blocks are read, and fails where a test wants it to.

    Parameters
    ----------
    cube
        In memory.
    chunks
        Of (time, band, y, x).
    """

    def __init__(self, cube, chunks):
        self.name = f"reader-{len(READERS)}"
        READERS[self.name] = self
        self.values = cube.values
        self.lock = threading.Lock()
        self.reads = Counter()
        self.faults = {}  # by location: a function of the block, or how often to raise
        data = da.zeros(cube.shape, dtype=cube.dtype, chunks=chunks).map_blocks(
            read, name=self.name, reader=self.name, dtype=cube.dtype,
            meta=np.empty((0,) * 4, cube.dtype),
        )  # fmt: skip
        self.blocks = data.npartitions
        self.cube = cube.copy(data=data)
        self.intact = cube.chunk(dict(zip(cube.dims, chunks, strict=True)))

    def read(self, location, window):
        with self.lock:
            self.reads[location] += 1
            fault = self.faults.get(location)
            if isinstance(fault, int) and fault:
                self.faults[location] = fault - 1
        if isinstance(fault, int) and fault:
            raise OSError(f"block {location} cannot be read")
        values = self.values[window].copy()
        return fault(values) if callable(fault) else values


def read(block, reader, block_info=None):
    window = tuple(slice(*ends) for ends in block_info[0]["array-location"])
    return READERS[reader].read(tuple(block_info[0]["chunk-location"]), window)


ALWAYS = 10**9


class Killed(BaseException):
    """Raised in place of a kill."""


class Fragile(zarr.storage.MemoryStore):
    """A store that fails, or is full, at some write; `objects` keeps what was written before.

    Parameters
    ----------
    objects
        The dict that holds it.
    last
        Number of the write that fails.
    torn
        Whether half of it is written nevertheless.
    room
        Maximum bytes in total.
    """

    def __init__(self, objects, *, last=None, torn=False, room=None, read_only=False):
        super().__init__(objects, read_only=read_only)
        self.objects, self.last, self.torn, self.room = objects, last, torn, room
        self.writes, self.gets = 0, []

    def with_read_only(self, read_only=False):
        return type(self)(
            self.objects, last=self.last, torn=self.torn, room=self.room, read_only=read_only
        )

    def _admit(self, key, value):
        self.writes += 1
        if self.last is not None and self.writes >= self.last:
            if self.torn and self.writes == self.last:
                half = value.to_bytes()[: len(value) // 2]
                self.objects[key] = type(value).from_bytes(half)
            raise OSError(errno.EIO, "the machine is gone")
        held = sum(len(other) for name, other in self.objects.items() if name != key)
        if self.room is not None and held + len(value) > self.room:
            raise OSError(errno.ENOSPC, "No space left on device")

    async def set(self, key, value, byte_range=None):
        self._admit(key, value)
        await super().set(key, value, byte_range)

    def set_sync(self, key, value):
        self._admit(key, value)
        super().set_sync(key, value)

    async def set_if_not_exists(self, key, value):
        if key not in self.objects:
            self._admit(key, value)
        await super().set_if_not_exists(key, value)

    async def get(self, key, prototype=None, byte_range=None):
        value = await super().get(key, prototype, byte_range)
        self.gets.append((key, 0 if value is None else len(value)))
        return value

    def get_sync(self, key, *, prototype=None, byte_range=None):
        value = super().get_sync(key, prototype=prototype, byte_range=byte_range)
        self.gets.append((key, 0 if value is None else len(value)))
        return value


def embed(cube, mode="grid", **options):
    return cube.anysat.embed(mode, **{"model": TINY, "tile_size": 16, **options})


def to_zarr(cube, store, mode="grid", **options):
    return cube.anysat.to_zarr(store, mode, **{"model": TINY, "tile_size": 16, **options})


@contextmanager
def small_regions():
    """Regions of 8 pixels, as the fixture `small_regions` has them, for fixtures of a module."""
    from xr_anysat.graph import retries
    from xr_anysat.layout import chunks

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "LONGEST_CHUNK", 8)
        patch.setattr(retries, "PAUSE", 0)
        yield


PROCESSES = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
"""How tests start processes: from one that has imported the package and computed nothing."""

multiprocessing.set_forkserver_preload(
    ["support.stores", "xr_anysat.stores.store", "xr_anysat.compute.engine", "xarray.backends.zarr"]
)


class Job:
    """A process that writes a map of `make_cube(**size)` in regions of 8 pixels.

    It waits for `start`, so that several can start in the same moment.
    """

    def __init__(self, store, size, **options):
        context = multiprocessing.get_context(PROCESSES)
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_job, args=(theirs, str(store), size, options))
        self.process.start()
        theirs.close()
        assert self.pipe.recv() == "ready"

    def start(self):
        self.pipe.send("start")

    def finish(self):
        """Wait for its end; return the number of regions that it wrote."""
        written = self.pipe.recv()
        self.process.join(60)
        assert self.process.exitcode == 0
        return written


def _job(pipe, store, size, options):
    cube = make_cube(**size).chunk(x=8, y=8, time=2)
    with small_regions():
        pipe.send("ready")
        pipe.recv()
        pipe.send(to_zarr(cube, store, **options).written)
