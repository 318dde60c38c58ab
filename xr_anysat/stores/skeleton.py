"""The layout of a store, written before anything is computed: all but the chunks of the map.

The objects are made in memory and then copied one by one, so that laying out again, after a kill
or by a second process, replaces the objects by identical ones and deletes nothing.
"""

import json
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from xr_anysat.errors import StoreError
from xr_anysat.findings import SetOption

from .conventions import convention_attrs
from .location import ZarrLocation
from .manifest import ARRAY, FOLDER, Manifest
from .quantize import MISSING
from .regions import RegionGrid

__all__ = [
    "ARRAY_ROOT",
    "ROOT",
    "ROOTS",
    "chunk_name",
    "clear",
    "is_laid_out",
    "lay_out",
    "mark_complete",
    "require_free",
]

ROOT = "zarr.json"
"""Written last of all: where there is one, the rest is complete."""

ARRAY_ROOT = f"{ARRAY}/{ROOT}"
CHUNKS = f"{ARRAY}/c/"

ROOTS = (ROOT, ".zgroup", ".zarray")
"""Any of these makes a folder a Zarr store, of version 3 or 2."""

PARTIAL = ".partial"
"""End of the names of files that Zarr's store of local files had begun when it was killed."""


def lay_out(
    location: ZarrLocation, result: xr.DataArray, grid: RegionGrid, beside: xr.Dataset
) -> None:
    """Write coordinates, attributes and the description of the map, and no chunk of it.

    Parameters
    ----------
    location, grid
        Where, and how the map is cut.
    result
        The map, whose values are not computed.
    beside
        Further variables; with a `scale` among them, the map is one of codes.
    """
    from zarr.storage import MemoryStore

    coded = "scale" in beside
    dtype = np.dtype("int8") if coded else result.dtype
    # in one chunk: xarray would make a task for each, of which a large map has a million
    template = result.copy(data=da.zeros(grid.shape, dtype=dtype, chunks=-1))
    template.attrs["complete"] = 0  # no bool: NetCDF has none
    if coded:
        template.attrs["long_name"] += ", in codes of one byte"
    template.encoding = {
        **result.encoding,
        "chunks": grid.chunks,
        "shards": grid.shards,
        "_FillValue": np.int8(MISSING) if coded else result.encoding["_FillValue"],
    }
    objects: dict[str, Any] = {}
    dataset = template.to_dataset(name=ARRAY).merge(beside, compat="override", join="exact")
    dataset.attrs = convention_attrs(template, dtype)
    dataset.to_zarr(MemoryStore(objects), compute=False, consolidated=False, zarr_format=3)
    texts = {name: value.to_bytes() for name, value in objects.items()}
    metadata = {name: json.loads(text) for name, text in texts.items() if name.endswith(ROOT)}
    metadata[ARRAY_ROOT]["fill_value"] = MISSING if coded else "NaN"  # what is not computed yet
    metadata[ROOT]["consolidated_metadata"] = {
        "kind": "inline",
        "must_understand": False,
        "metadata": {
            name.removesuffix(f"/{ROOT}"): metadata[name]
            for name in sorted(metadata)
            if name != ROOT
        },
    }
    texts |= {name: json.dumps(value, indent=1).encode() for name, value in metadata.items()}
    for name in sorted(texts, key=lambda name: name == ROOT):
        location.write(name, texts[name])


def is_laid_out(location: ZarrLocation) -> bool:
    """Whether a store has been laid out to its end."""
    return None not in (location.read_json(ROOT), location.read_json(ARRAY_ROOT))


def chunk_name(index: tuple[int, int, int]) -> str:
    """Name of the object that holds a file of the map."""
    return CHUNKS + "/".join(map(str, index))


def require_free(location: ZarrLocation) -> None:
    """Make sure that a location is empty but for what `to_zarr` has begun.

    Raises
    ------
    StoreError
        Where there is something else.
    """
    foreign = [name for name in location.names(until=_is_no_record) if _is_no_record(name)]
    if foreign:
        is_zarr = any(location.read(root) is not None for root in ROOTS)
        content = "a Zarr store" if is_zarr else repr(foreign[0])
        overwrite = SetOption("overwrite", True)
        raise StoreError("store.foreign", store=location, content=content, overwrite=overwrite)


def clear(location: ZarrLocation) -> None:
    """Delete a store that `to_zarr` has begun.

    It can no longer be opened before its data are deleted, and the record of its job is deleted
    last: after a kill it is neither taken for complete nor for somebody else's.

    Raises
    ------
    StoreError
        Where there is something that `to_zarr` did not begin.
    """
    manifest = Manifest(location=location)
    if manifest.job() is None:
        require_free(location)
    for name in (ROOT, ARRAY_ROOT):
        location.delete(name)
    manifest.delete_records()
    names = list(filter(_is_no_record, location.names()))
    for folder in sorted({_folder(name) for name in names} - {""}):
        location.delete_folder(folder)
    for name in names:
        if not _folder(name):
            location.delete(name)
    manifest.delete_job()
    location.delete_folder(ARRAY)  # folders that have become empty


def _is_no_record(name: str) -> bool:
    return not name.startswith(f"{FOLDER}/")


def _folder(name: str) -> str:
    """Folder of the map, or of the store, that an object is in; "" for one that is in none."""
    inside = f"{ARRAY}/" if name.startswith(f"{ARRAY}/") else ""
    first, slash, _ = name.removeprefix(inside).partition("/")
    return f"{inside}{first}" if slash else ""


def mark_complete(location: ZarrLocation, attrs: dict[str, Any]) -> None:
    """Record that a store is complete, and delete the partial files that kills have left."""
    for name in [*location.names(CHUNKS), *location.names(f"{FOLDER}/")]:
        if name.endswith(PARTIAL):
            location.delete(name)
    attrs = {"complete": 1, **attrs}
    root, array = location.read_json(ROOT), location.read_json(ARRAY_ROOT)
    copies = (root.get("consolidated_metadata") or {}).get("metadata", {})
    for metadata, name, document in (
        (array, ARRAY_ROOT, array),
        (copies.get(ARRAY, array), ROOT, root),
    ):
        if not metadata["attributes"].items() >= attrs.items():
            metadata["attributes"] |= attrs
            location.write_json(name, document)
