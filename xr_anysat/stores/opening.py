"""Opening what `to_zarr` has written: the map, and the numbers that it was packed with."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from dask.base import tokenize

from xr_anysat.errors import StoreError, warn
from xr_anysat.findings import Call
from xr_anysat.formatting import count_text
from xr_anysat.results.coords_and_attrs import LONG_NAME

from .location import ZarrLocation, open_location
from .manifest import ARRAY, Manifest
from .quantize import MISSING
from .regions import RegionGrid
from .skeleton import ARRAY_ROOT, ROOT, is_laid_out

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
        Of a store with ``quantize="int8"``: whether to return values, float32 and NaN where
        missing. If False, codes as they are stored, int8 and -128 where missing, with coordinates
        ``scale`` and ``offset``: ``value = code * scale + offset``.

    Returns
    -------
    xarray.DataArray
        (feature, y, x), or (component, y, x) with ``reduce=``. Lazy, in chunks of some features of
        a region, so that a map of a few features reads little.

    Raises
    ------
    StoreError
        Where there is none.

    Warns
    -----
    AnySatWarning
        With the share that is complete, where some of it is missing.
    """
    location = open_location(store, storage_options, read_only=True)
    job, dataset = open_stored(location, decode)
    manifest = Manifest(location=location)
    result = dataset[ARRAY].drop_vars(["scale", "offset"], errors="ignore")
    result = result.assign_coords({name: _loaded(result[name]) for name in result.coords})
    numbers = {name: dataset[name].load() for name in ("scale", "offset") if name in dataset}
    if job is None:  # written by other means: the metadata stand for the contents
        grid, done = None, set[int]()
        contents: Any = location.read_each([ROOT, ARRAY_ROOT])
        chunks = result.encoding["preferred_chunks"]
    else:
        grid = RegionGrid.from_json(job["map"])
        done = manifest.done(grid)
        contents = [job, sorted(done)]
        chunks = dict(zip(result.dims, (grid.chunks[0], *grid.shards[1:]), strict=True))
    # names of blocks depend on the contents, because a cluster may remember earlier blocks
    values = [array.values for array in numbers.values()]
    result = _chunked(result, chunks, tokenize(str(location), contents, values, decode))
    if numbers:
        result = _decoded(result, numbers) if decode else _as_stored(result, numbers)
    if grid is None:
        return result
    result.attrs["complete"] = int(len(done) == len(grid))
    if len(done) < len(grid):
        failed = manifest.failed(grid)
        warn(
            "store.incomplete",
            store=location,
            done=len(done),
            regions=count_text(len(grid), "region"),
            share=len(done) / len(grid),
            failed=f"; {len(failed)} have failed, first {failed[0]!r}" if failed else "",
        )
    return result


def open_reduction(store: Any, *, storage_options: dict[str, Any] | None = None) -> xr.Dataset:
    """Open the linear map that an embedding in a store was reduced with.

    Give it to ``to_zarr(reduce=...)`` of another cube to have both maps in the same space.

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
    return _numbers(store, storage_options, names, "reduced", "reduce=64")


def open_quantization(store: Any, *, storage_options: dict[str, Any] | None = None) -> xr.Dataset:
    """Open the numbers that an embedding in a store was quantized with.

    Give them to ``to_zarr(quantize=...)`` of another cube to have the codes of both mean the same.

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
    return _numbers(store, storage_options, ("scale", "offset"), "quantized", 'quantize="int8"')


def _numbers(
    store: Any, storage_options: dict[str, Any] | None, names: tuple[str, ...], what: str, how: str
) -> xr.Dataset:
    """Load variables beside a map, with the map's attributes."""
    location = open_location(store, storage_options, read_only=True)
    _, dataset = open_stored(location, decode=True)
    numbers = dataset[[name for name in names if name in dataset]]
    if names[0] not in numbers:
        raise StoreError(
            "store.not-packed",
            Call(f"cube.anysat.to_zarr(store, {how})"),
            store=location,
            packed=what,
        )
    scalars = [name for name, coord in numbers.coords.items() if not coord.dims]
    attrs = {name: v for name, v in dataset[ARRAY].attrs.items() if name != "complete"}
    return numbers.drop_vars(scalars).load().assign_attrs(attrs)


def open_stored(location: ZarrLocation, decode: bool) -> tuple[dict[str, Any] | None, xr.Dataset]:
    """Open a store with all variables beside its map, and nothing loaded."""
    try:
        job = Manifest(location=location).job()
        laid_out = is_laid_out(location)
    except FileNotFoundError:
        job, laid_out = None, False
    except OSError as error:
        raise StoreError("store.unreadable", store=location, error=error) from error
    if not laid_out:
        raise StoreError(
            "store.no-embedding",
            Call('cube.anysat.to_zarr("map.zarr")'),
            store=location,
            state="has been begun, but is not laid out yet" if job else "holds no embedding",
        )
    dataset = xr.open_zarr(
        location.store, group=location.path or None, consolidated=False, decode_coords="all",
        chunks=None, mask_and_scale=decode,
    )  # fmt: skip
    if ARRAY not in dataset:
        raise StoreError(
            "store.no-embedding/others", store=location, variables=sorted(map(str, dataset))
        )
    return job, dataset


def _loaded(coord: xr.DataArray) -> xr.DataArray:
    """Load a coordinate; text as `embed` gives it, not as zarr stores it."""
    loaded = coord.load()
    return loaded.astype(object) if loaded.dtype.kind in "OT" else loaded


def _as_stored(codes: xr.DataArray, numbers: dict[str, xr.DataArray]) -> xr.DataArray:
    """Codes with their numbers; the code for missing goes where xarray looks for it on writing."""
    result = codes.assign_coords(numbers)
    missing = result.attrs.pop("_FillValue", np.int8(MISSING))
    result.encoding = {**codes.encoding, "_FillValue": missing}
    return result


def _decoded(codes: xr.DataArray, numbers: dict[str, xr.DataArray]) -> xr.DataArray:
    """Decode codes that xarray has already made NaN where they are missing."""
    scale, offset = (numbers[name].values[:, None, None] for name in ("scale", "offset"))
    result = codes.copy(data=codes.data * scale + offset).assign_attrs(long_name=LONG_NAME)
    labels = ("grid_mapping", "coordinates")  # the rest is how bytes are stored
    result.encoding = {key: codes.encoding[key] for key in labels if key in codes.encoding}
    result.encoding["_FillValue"] = np.float32("nan")
    return result


def _chunked(result: xr.DataArray, chunks: Mapping[Any, int], token: str) -> xr.DataArray:
    """Make values lazy, but not coordinates, and drop the encoding of their chunks."""
    chunked = result.copy(data=result.variable.chunk(chunks, name=f"{ARRAY}-{token}").data)
    stored = ("chunks", "shards", "preferred_chunks")
    chunked.encoding = {key: v for key, v in result.encoding.items() if key not in stored}
    return chunked
