"""Cubes whose reader can fail, and stores whose writes can."""

import errno
import threading
from collections import Counter

import dask.array as da
import numpy as np
import zarr

from .cubes import TINY

READERS = {}
"""By name: what a cluster runs is a function of this module, and finds its reader here."""


class Reader:
    """A dask cube that counts what is read of it, and fails where it is told to.

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
        self.faults = {}  # by location: what to do, or how often to raise
        data = da.zeros(cube.shape, dtype=cube.dtype, chunks=chunks).map_blocks(
            read, name=self.name, reader=self.name, dtype=cube.dtype,
            meta=np.empty((0,) * 4, cube.dtype),
        )  # fmt: skip
        self.blocks = data.npartitions
        self.cube = cube.copy(data=data)
        self.intact = cube.chunk(dict(zip(cube.dims, chunks, strict=True)))

    def read(self, location, place):
        with self.lock:
            self.reads[location] += 1
            fault = self.faults.get(location)
            if isinstance(fault, int) and fault:
                self.faults[location] = fault - 1
        if isinstance(fault, int) and fault:
            raise OSError(f"block {location} cannot be read")
        found = self.values[place].copy()
        return fault(found) if callable(fault) else found


def read(block, reader, block_info=None):
    place = tuple(slice(*ends) for ends in block_info[0]["array-location"])
    return READERS[reader].read(tuple(block_info[0]["chunk-location"]), place)


ALWAYS = 10**9


class Killed(BaseException):
    """What a process does not live to see."""


class Fragile(zarr.storage.MemoryStore):
    """A store that dies, or is full, at some write; what was written before stays in `objects`.

    Parameters
    ----------
    objects
        The dict that holds it.
    last
        Number of the write that fails.
    torn
        Whether half of it is written nevertheless.
    room
        Bytes that fit.
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
        held = sum(len(found) for name, found in self.objects.items() if name != key)
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
        found = await super().get(key, prototype, byte_range)
        self.gets.append((key, 0 if found is None else len(found)))
        return found

    def get_sync(self, key, *, prototype=None, byte_range=None):
        found = super().get_sync(key, prototype=prototype, byte_range=byte_range)
        self.gets.append((key, 0 if found is None else len(found)))
        return found


def embed(cube, mode="grid", **options):
    return cube.anysat.embed(mode, **{"model": TINY, "tile_size": 16, **options})


def to_zarr(cube, store, mode="grid", **options):
    return cube.anysat.to_zarr(store, mode, **{"model": TINY, "tile_size": 16, **options})
