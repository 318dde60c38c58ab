"""Mosaics of items with one offset each, and how they make the dates of a cube.

odc-stac mosaics the items of a date as it reads them. Where items of a date differ in the offset
that is to be removed, those of one offset are read apart, and mosaicked once it is gone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from itertools import groupby as runs_of

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr

from .pixels import by_block

__all__ = ["OffsetMosaics", "add_offsets", "find_mosaics"]

MAX_DN = 65_535
"""Largest uint16; Sentinel-2 marks saturated pixels of Level-1C with it."""

DN = npt.NDArray[np.uint16]


@dataclass(frozen=True, kw_only=True)
class OffsetMosaics:
    """Mosaics that are read one by one, in the order of their dates.

    Parameters
    ----------
    dates
        Of each date its mosaics, of each mosaic the numbers of its items: in the order in which
        they cover one another.
    """

    dates: tuple[tuple[tuple[int, ...], ...], ...]

    @property
    def mosaics(self) -> list[tuple[int, ...]]:
        """Items of each mosaic."""
        return [mosaic for date in self.dates for mosaic in date]

    def layers(self) -> list[list[int]]:
        """Mosaics that cover the cube: of each date the first, then the second, and so on.

        A date that has fewer repeats its last.
        """
        sizes = [len(date) for date in self.dates]
        starts = [end - size for end, size in zip(accumulate(sizes), sizes, strict=True)]
        return [
            [start + min(layer, size - 1) for start, size in zip(starts, sizes, strict=True)]
            for layer in range(max(sizes))
        ]

    def put_together(self, images: xr.Dataset) -> xr.Dataset:
        """Make the cube of dates from the mosaics: the first that has a value counts."""
        top, *below = self.layers()
        if not below:
            return images
        cube = images.isel(time=top)
        for layer in below:
            under = images.isel(time=layer)
            if cube.chunks:
                under = under.chunk(cube.chunks)
            bands = {name: band for name, band in cube.data_vars.items() if band.ndim == 3}
            cube = cube.assign(
                {name: by_block(_cover, band, under[name].data) for name, band in bands.items()}
            )
        return cube


def find_mosaics(dates: Sequence[Sequence[int]], offsets: Sequence[int]) -> OffsetMosaics:
    """Divide the items of each date into runs of one offset.

    An item's offset has to be removed before another's values fill its gaps. Where all items of a
    date have one offset, it is one mosaic.
    """
    return OffsetMosaics(
        dates=tuple(
            tuple(tuple(run) for _, run in runs_of(date, key=lambda n: offsets[n]))
            for date in dates
        )
    )


def add_offsets(images: xr.Dataset, bands: Sequence[str], offsets: Sequence[int]) -> xr.Dataset:
    """Add an offset to the DN of each image; 0 stays 0, and nothing else becomes 0."""
    if not any(offsets):
        return images
    numbers = np.array(offsets, dtype=np.int32).reshape(-1, 1, 1)
    chunks = images[bands[0]].chunks
    if chunks is not None:
        numbers = da.from_array(numbers, chunks=(chunks[0], 1, 1))
    return images.assign({band: by_block(_add, images[band], numbers) for band in bands})


def _add(values: DN, offset: npt.NDArray[np.int32]) -> DN:
    raised = np.clip(values.astype(np.int32) + offset, 1, MAX_DN).astype(values.dtype)
    return np.where(values == 0, values, raised)


def _cover(top: DN, under: DN) -> DN:
    return np.where(top == 0, under, top)
