"""Stores that `to_zarr` has begun, opened: their map, and the numbers that it was made with."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from dask.base import tokenize

from xr_anysat.errors import StoreError, warn
from xr_anysat.formatting import count_text
from xr_anysat.results.labels import LONG_NAME

from .layout import ROOT, is_laid_out
from .location import ZarrLocation, open_location
from .manifest import ARRAY, Manifest
from .quantize import MISSING
from .regions import RegionGrid

__all__ = ["open_embedding", "open_quantization", "open_reduction", "open_stored"]


def open_embedding(
    store: Any, *, decode: bool = True, storage_options: dict[str, Any] | None = None
) -> xr.DataArray:
    """Open an embedding that `to_zarr` wrote, finished or not.

    Parameters
    ----------
    store, storage_options
        As in `to_zarr`.
    decode : bool
        Of a store with ``quantize="int8"``: whether to give values, float32 and NaN where they are
        missing. If False, codes as they are stored, int8 and -128 where they are missing, with
        coordinates ``scale`` and ``offset``: ``value = code * scale + offset``.

    Returns
    -------
    xarray.DataArray
        (feature, y, x), or (component, y, x) with ``reduce=``. Lazy, in chunks of some features of
        a region, so that a map of few of them reads few.

    Raises
    ------
    StoreError
        Where there is none.

    Warns
    -----
    AnySatWarning
        With the share that is there, where some of it is missing.
    """
    place = open_location(store, storage_options, read_only=True)
    manifest = Manifest(place=place)
    job, dataset = open_stored(place, decode)
    result = dataset[ARRAY].drop_vars(["scale", "offset"], errors="ignore")
    result = result.assign_coords({name: _loaded(result[name]) for name in result.coords})
    coded = {name: dataset[name].load() for name in ("scale", "offset") if name in dataset}
    if job is None:  # written by other means: a store is known by what describes it
        grid, done = None, set[int]()
        said: Any = place.read_each([ROOT, f"{ARRAY}/{ROOT}"])
        chunks = result.encoding["preferred_chunks"]
    else:
        grid = RegionGrid.from_json(job["map"])
        done = manifest.done(grid)
        said = [job, sorted(done)]
        chunks = dict(zip(result.dims, (grid.chunks[0], *grid.shards[1:]), strict=True))
    # what is there belongs to the names of the blocks, which a cluster may remember
    numbers = [coded[name].values for name in coded]
    result = _chunked(result, chunks, tokenize(str(place), said, numbers, decode))
    if coded:
        result = _decoded(result, coded) if decode else _as_stored(result, coded)
    if grid is None:
        return result
    result.attrs["complete"] = int(len(done) == len(grid))
    if len(done) < len(grid):
        failed = manifest.failed(grid)
        some = f"; {len(failed)} have failed, first {failed[0]!r}" if failed else ""
        warn(
            f"{place} is not complete: {len(done)} of {count_text(len(grid), 'region')} "
            f"({len(done) / len(grid):.1%}) are there, and the others are NaN{some}. The call of "
            "to_zarr that began it goes on with it."
        )
    return result


def open_reduction(store: Any, *, storage_options: dict[str, Any] | None = None) -> xr.Dataset:
    """Open the linear map that an embedding in a store was reduced with.

    Give it to ``to_zarr(reduce=...)`` of another cube, and both maps are in the same space.

    Parameters
    ----------
    store, storage_options
        As in `to_zarr`.

    Returns
    -------
    xarray.Dataset
        ``components`` (component, feature), ``mean`` (feature,) and, where principal components
        were fitted, ``explained_variance_ratio`` (component,), float32, in memory. A component is
        ``components @ (feature - mean)``.

    Raises
    ------
    StoreError
        Where there is no embedding, or it is not reduced.
    """
    names = ("components", "mean", "explained_variance_ratio")
    return _beside(store, storage_options, names, "reduced", "reduce=64")


def open_quantization(store: Any, *, storage_options: dict[str, Any] | None = None) -> xr.Dataset:
    """Open the numbers that an embedding in a store was quantized with.

    Give them to ``to_zarr(quantize=...)`` of another cube, and the codes of both mean the same.

    Parameters
    ----------
    store, storage_options
        As in `to_zarr`.

    Returns
    -------
    xarray.Dataset
        ``scale`` and ``offset``, float32, along ``feature`` or ``component``, in memory:
        ``value = code * scale + offset``.

    Raises
    ------
    StoreError
        Where there is no embedding, or it is not quantized.
    """
    return _beside(store, storage_options, ("scale", "offset"), "quantized", 'quantize="int8"')


def _beside(
    store: Any, storage_options: dict[str, Any] | None, names: tuple[str, ...], what: str, how: str
) -> xr.Dataset:
    """Load variables beside a map, with the map's attributes."""
    place = open_location(store, storage_options, read_only=True)
    _, dataset = open_stored(place, decode=True)
    found = dataset[[name for name in names if name in dataset]]
    if names[0] not in found:
        raise StoreError(
            f"the embedding in {place} is not {what}; to_zarr({how}) makes one that is"
        )
    scalars = [name for name, coord in found.coords.items() if not coord.dims]
    attrs = {name: v for name, v in dataset[ARRAY].attrs.items() if name != "complete"}
    found = found.drop_vars(scalars).load()
    found.attrs = attrs
    return found


def open_stored(place: ZarrLocation, decode: bool) -> tuple[dict[str, Any] | None, xr.Dataset]:
    """Open a store with all that is beside its map, and nothing loaded."""
    try:
        job = Manifest(place=place).job()
        there = is_laid_out(place)
    except FileNotFoundError:
        job, there = None, False
    except OSError as error:
        raise StoreError(f"{place} cannot be read: {error}") from error
    if not there:
        begun = "has been begun, but is not laid out yet" if job else "holds no embedding"
        raise StoreError(f'{place} {begun}; cube.anysat.to_zarr("map.zarr") makes one')
    dataset = xr.open_zarr(
        place.store, group=place.path or None, consolidated=False, decode_coords="all", chunks=None,
        mask_and_scale=decode,
    )  # fmt: skip
    if ARRAY not in dataset:
        raise StoreError(f"{place} holds no embedding, but {sorted(map(str, dataset))}")
    return job, dataset


def _loaded(coord: xr.DataArray) -> xr.DataArray:
    """Load a coordinate; text as `embed` gives it, not as zarr stores it."""
    loaded = coord.load()
    return loaded.astype(object) if loaded.dtype.kind in "OT" else loaded


def _as_stored(codes: xr.DataArray, numbers: dict[str, xr.DataArray]) -> xr.DataArray:
    """Codes with their numbers; what is missing is told where xarray looks for it on writing."""
    found = codes.assign_coords(numbers)
    found.encoding = {
        **codes.encoding,
        "_FillValue": found.attrs.pop("_FillValue", np.int8(MISSING)),
    }
    return found


def _decoded(codes: xr.DataArray, numbers: dict[str, xr.DataArray]) -> xr.DataArray:
    """Values of codes that xarray has already made NaN where they are missing."""
    scale, offset = (numbers[name].values[:, None, None] for name in ("scale", "offset"))
    found = codes.copy(data=codes.data * scale + offset).assign_attrs(long_name=LONG_NAME)
    labels = ("grid_mapping", "coordinates")  # the rest is how bytes are stored
    found.encoding = {key: codes.encoding[key] for key in labels if key in codes.encoding}
    found.encoding["_FillValue"] = np.float32("nan")
    return found


def _chunked(result: xr.DataArray, chunks: Mapping[Any, int], token: str) -> xr.DataArray:
    """Make values lazy, coordinates aside, and forget how they were chunked in their store."""
    values = result.variable.chunk(chunks, name=f"{ARRAY}-{token}").data
    found = result.copy(data=values)
    stored = ("chunks", "shards", "preferred_chunks")
    found.encoding = {key: v for key, v in result.encoding.items() if key not in stored}
    return found
