"""Images of one offset each, and how they make the dates of a cube.

odc-stac mosaics the items of a date as it reads them. Where items of one date differ in the offset
that is to be removed, those of one offset are read apart, and mosaicked once it is gone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby as runs_of
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr
from odc.geo.geobox import GeoBox

from xr_anysat.errors import OptionError

from .items import S2Item

__all__ = ["Planes", "find_planes", "harmonised", "masked", "mosaicked"]

MAX_DN = 65_535
"""Largest uint16; Sentinel-2 marks saturated pixels of Level-1C with it."""

DN = npt.NDArray[np.uint16]


@dataclass(frozen=True, kw_only=True)
class Planes:
    """Images that are read one by one, in the order of their dates.

    Parameters
    ----------
    members
        Numbers of the items of each plane, in the order in which they cover one another.
    date
        Number of the date that each plane is of.
    """

    members: tuple[tuple[int, ...], ...]
    date: tuple[int, ...]

    @property
    def dates(self) -> list[list[int]]:
        """Numbers of the items of each date."""
        found: list[list[int]] = [[] for _ in range(max(self.date) + 1)]
        for date, members in zip(self.date, self.members, strict=True):
            found[date] += members
        return found

    def layers(self) -> list[list[int]]:
        """Planes that cover the cube: of each date the first, then the second, and so on.

        Where a date has no more, its last stands again.
        """
        first = [self.date.index(number) for number in range(max(self.date) + 1)]
        count = [self.date.count(number) for number in range(len(first))]
        return [
            [start + min(layer, size - 1) for start, size in zip(first, count, strict=True)]
            for layer in range(max(count))
        ]

    def of_items(self) -> dict[int, int]:
        """Plane of each item."""
        return {n: plane for plane, members in enumerate(self.members) for n in members}


def find_planes(
    images: Sequence[Any],
    parsed: Sequence[Any],
    specs: Sequence[S2Item],
    geobox: GeoBox,
    groupby: Any,
    options: Mapping[str, Any],
) -> Planes:
    """Group items as `odc.stac.load` does, and within a date into runs of one offset.

    Where all items of a date have one offset, it is one plane. Otherwise an item's offset has to
    be removed before another's values fill its gaps.
    """
    ((longitude, _),) = geobox.extent.centroid.to_crs("epsg:4326").points

    def key(n: int) -> Any:
        if callable(groupby):
            return groupby(images[n], parsed[n], n)
        if groupby is None or groupby == "id":
            return n
        if groupby == "solar_day":
            return parsed[n].solar_date_at(longitude).date()
        return parsed[n].nominal_datetime if groupby == "time" else images[n].properties[groupby]

    try:
        keys = [key(n) for n in range(len(images))]
    except KeyError as error:
        raise OptionError(
            f'groupby={groupby!r} is not "solar_day", "time", "id" nor a property of all items'
        ) from error
    kept = bool(options.get("preserve_original_order"))

    def place(n: int) -> Any:
        return (keys[n], n) if kept else (keys[n], parsed[n].nominal_datetime, parsed[n].id)

    order = sorted(range(len(images)), key=place)
    members: list[tuple[int, ...]] = []
    groups: list[int] = []
    for number, (_, date) in enumerate(runs_of(order, key=lambda n: keys[n])):
        runs = [tuple(run) for _, run in runs_of(date, key=lambda n: specs[n].offset)]
        members += runs
        groups += [number] * len(runs)
        if len(runs) > 1 and options.get("fuse_func") is not None:
            ids = [specs[n].id for run in runs for n in run]
            raise OptionError(
                f"fuse_func= cannot mosaic items of one date that have different offsets ({ids}); "
                'load them apart with groupby="id", or leave fuse_func= out.'
            )
    return Planes(members=tuple(members), date=tuple(groups))


def harmonised(images: xr.Dataset, bands: Sequence[str], offsets: Sequence[int]) -> xr.Dataset:
    """Add an offset to each image's DN; 0 stays 0, and nothing else becomes 0."""
    if not any(offsets):
        return images
    numbers: Any = np.array(offsets, dtype=np.int32).reshape(-1, 1, 1)
    chunks = images[bands[0]].chunks
    if chunks is not None:
        numbers = da.from_array(numbers, chunks=(chunks[0], 1, 1))
    return images.assign({band: _by_block(_shifted, images[band], numbers) for band in bands})


def mosaicked(images: xr.Dataset, planes: Planes) -> xr.Dataset:
    """Put the planes of each date together: the first that has a value counts."""
    top, *below = planes.layers()
    if not below:
        return images
    cube = images.isel(time=top)
    for layer in below:
        under = images.isel(time=layer)
        if cube.chunks:
            under = under.chunk(cube.chunks)
        rasters = {name: one for name, one in cube.data_vars.items() if one.ndim == 3}
        cube = cube.assign(
            {name: _by_block(_covered, one, under[name].data) for name, one in rasters.items()}
        )
    return cube


def masked(cube: xr.Dataset, bands: Sequence[str], scl: str, classes: Sequence[int]) -> xr.Dataset:
    """Make missing, 0, what is of some classes."""
    if not classes:
        return cube
    seen = cube[scl].data
    hidden = {band: _by_block(_hidden, cube[band], seen, classes=tuple(classes)) for band in bands}
    return cube.assign(hidden)


def _by_block(function: Any, values: xr.DataArray, *others: Any, **options: Any) -> xr.DataArray:
    """Apply a function of blocks that lie alike; a dask array stays one."""
    if values.chunks is None:
        return values.copy(data=function(values.data, *others, **options))
    meta = np.empty((0, 0, 0), dtype=values.dtype)
    data = da.map_blocks(function, values.data, *others, dtype=values.dtype, meta=meta, **options)
    return values.copy(data=data)


def _shifted(values: DN, offset: npt.NDArray[np.int32]) -> DN:
    shifted = np.clip(values.astype(np.int32) + offset, 1, MAX_DN).astype(values.dtype)
    return np.where(values == 0, values, shifted)


def _covered(top: DN, under: DN) -> DN:
    return np.where(top == 0, under, top)


def _hidden(values: DN, scl: npt.NDArray[np.uint8], *, classes: tuple[int, ...]) -> DN:
    return np.where(np.isin(scl, classes), np.zeros((), values.dtype), values)
