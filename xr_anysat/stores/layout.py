"""A store as it is laid out before anything is computed: all of it but the chunks of the map.

The objects are made in memory and then copied one by one, so that laying out again, after a kill
or by a second process, writes the same objects over themselves and deletes nothing.
"""

import json
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from xr_anysat.errors import StoreError

from .conventions import convention_attrs
from .location import ZarrLocation
from .manifest import ARRAY, FOLDER, Manifest
from .quantize import MISSING
from .regions import RegionGrid

__all__ = [
    "ROOT",
    "ROOTS",
    "chunk_name",
    "clear",
    "finish",
    "is_laid_out",
    "lay_out",
    "require_free",
]

ROOT = "zarr.json"
"""Written last of all: where it is there, the rest is."""

ROOTS = (ROOT, ".zgroup", ".zarray")
"""Any of these makes a folder a Zarr store, of version 3 or 2."""

PARTIAL = ".partial"
"""End of the names of files that Zarr's store of local files had begun when it was killed."""


def lay_out(
    place: ZarrLocation, result: xr.DataArray, grid: RegionGrid, beside: xr.Dataset
) -> None:
    """Write coordinates, attributes and the description of the map, and no chunk of it.

    Parameters
    ----------
    place, grid
        Where, and how it is cut.
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
    made = {name: found.to_bytes() for name, found in objects.items()}
    about = {name: json.loads(made[name]) for name in made if name.endswith(ROOT)}
    about[f"{ARRAY}/{ROOT}"]["fill_value"] = MISSING if coded else "NaN"  # what is not computed yet
    arrays = {name.removesuffix(f"/{ROOT}"): about[name] for name in sorted(about) if name != ROOT}
    about[ROOT]["consolidated_metadata"] = {
        "kind": "inline",
        "must_understand": False,
        "metadata": arrays,
    }
    made |= {name: json.dumps(value, indent=1).encode() for name, value in about.items()}
    for name in sorted(made, key=lambda name: name == ROOT):
        place.write(name, made[name])


def is_laid_out(place: ZarrLocation) -> bool:
    """Whether a store has been laid out to its end."""
    return None not in (place.read_json(ROOT), place.read_json(f"{ARRAY}/{ROOT}"))


def chunk_name(index: tuple[int, int, int]) -> str:
    """Name of the object that holds a file of the map."""
    return f"{ARRAY}/c/" + "/".join(map(str, index))


def require_free(place: ZarrLocation) -> None:
    """Make sure that nothing but what `to_zarr` has begun is where a store is to be.

    Raises
    ------
    StoreError
        Where there is something else.
    """
    found = place.find(lambda name: not name.startswith(f"{FOLDER}/"))
    if found is not None:
        zarr = any(place.read(name) is not None for name in ROOTS)
        raise StoreError(
            f"{place} holds {'a Zarr store' if zarr else repr(found)} that to_zarr did not begin; "
            "give another store, or delete it by hand: overwrite=True deletes what to_zarr has "
            "begun, and nothing else, since it might be what the cube is read from."
        )


def clear(place: ZarrLocation) -> None:
    """Delete a store that `to_zarr` has begun.

    It cannot be opened any more before its data go, and what says whose it is goes last: after a
    kill it is neither taken for whole nor for somebody else's.

    Raises
    ------
    StoreError
        Where there is something that `to_zarr` did not begin.
    """
    manifest = Manifest(place=place)
    if manifest.job() is None:
        require_free(place)
    for name in (ROOT, f"{ARRAY}/{ROOT}"):
        place.delete(name)
    manifest.forget()
    names = [name for name in place.names() if not name.startswith(f"{FOLDER}/")]
    for folder in sorted({_folder(name) for name in names} - {""}):
        place.delete_below(folder)
    for name in names:
        if not _folder(name):
            place.delete(name)
    manifest.disown()
    place.delete_below(ARRAY)  # folders that have become empty


def _folder(name: str) -> str:
    """Folder of the map, or of the store, that an object is in; "" for one that is in none."""
    inside = f"{ARRAY}/" if name.startswith(f"{ARRAY}/") else ""
    first, slash, _ = name.removeprefix(inside).partition("/")
    return f"{inside}{first}" if slash else ""


def finish(place: ZarrLocation, attrs: dict[str, Any]) -> None:
    """Say that a store is complete, and sweep up what kills have left."""
    for name in [*place.names(f"{ARRAY}/c/"), *place.names(f"{FOLDER}/")]:
        if name.endswith(PARTIAL):
            place.delete(name)
    said = {"complete": 1, **attrs}
    root, array = place.read_json(ROOT), place.read_json(f"{ARRAY}/{ROOT}")
    copies = (root.get("consolidated_metadata") or {}).get("metadata", {})
    for value, name, whole in (
        (array, f"{ARRAY}/{ROOT}", array),
        (copies.get(ARRAY, array), ROOT, root),
    ):
        if not value["attributes"].items() >= said.items():
            value["attributes"] |= said
            place.write_json(name, whole)
