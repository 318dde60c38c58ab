"""A store as it is laid out before anything is computed: all of it but the chunks of the map.

The objects are made in memory and then copied one by one, so that laying out again, after a kill
or by a second process, writes the same objects over themselves and deletes nothing.
"""

import json
from typing import Any

import dask.array as da
import xarray as xr

from .errors import StoreError
from .manifest import ARRAY, FOLDER, Manifest
from .regions import RegionGrid
from .storage import Place

__all__ = ["ROOT", "chunk_name", "clear", "finish", "is_laid_out", "lay_out", "require_free"]

ROOT = "zarr.json"
"""Written last of all: where it is there, the rest is."""

PARTIAL = ".partial"
"""End of the names of files that Zarr's store of local files had begun when it was killed."""


def lay_out(place: Place, result: xr.DataArray, grid: RegionGrid) -> None:
    """Write coordinates, attributes and the description of the map, and no chunk of it."""
    from zarr.storage import MemoryStore

    template = result.copy(data=da.zeros(grid.shape, dtype=result.dtype, chunks=grid.shards))
    template.attrs["complete"] = 0  # no bool: NetCDF has none
    template.encoding = {
        **result.encoding,
        "chunks": grid.chunks,
        "shards": grid.shards,
    }
    objects: dict[str, Any] = {}
    template.to_dataset(name=ARRAY).to_zarr(
        MemoryStore(objects), compute=False, consolidated=False, zarr_format=3
    )
    made = {name: found.to_bytes() for name, found in objects.items()}
    about = {name: json.loads(made[name]) for name in made if name.endswith(ROOT)}
    about[f"{ARRAY}/{ROOT}"]["fill_value"] = "NaN"  # what is not computed yet
    arrays = {name.removesuffix(f"/{ROOT}"): about[name] for name in sorted(about) if name != ROOT}
    about[ROOT]["consolidated_metadata"] = {
        "kind": "inline",
        "must_understand": False,
        "metadata": arrays,
    }
    made |= {name: json.dumps(value, indent=1).encode() for name, value in about.items()}
    for name in sorted(made, key=lambda name: name == ROOT):
        place.write(name, made[name])


def is_laid_out(place: Place) -> bool:
    """Whether a store has been laid out to its end."""
    return None not in (place.read_json(ROOT), place.read_json(f"{ARRAY}/{ROOT}"))


def chunk_name(index: tuple[int, int, int]) -> str:
    """Name of the object that holds a file of the map."""
    return f"{ARRAY}/c/" + "/".join(map(str, index))


def require_free(place: Place) -> None:
    """Make sure that nothing is where a store is to be.

    Raises
    ------
    StoreError
        Where there is something.
    """
    found = place.find(lambda name: not name.startswith(f"{FOLDER}/"))
    if found is not None:
        what = "a Zarr store" if _is_zarr(place) else repr(found)
        raise StoreError(
            f"{place} holds {what} that to_zarr did not begin; give another store, or delete it: "
            "overwrite=True does so with a Zarr store, and with nothing else."
        )


def clear(place: Place) -> None:
    """Delete a store, what it says of itself first.

    Raises
    ------
    StoreError
        Where there is something that is no Zarr store.
    """
    found = place.find(lambda _: True)
    if found is None:
        return
    if Manifest(place=place).job() is None and not _is_zarr(place):
        raise StoreError(
            f"{place} holds {found!r} and is no Zarr store, so that overwrite=True does not delete "
            "it; give another path, or delete it by hand."
        )
    Manifest(place=place).forget()
    names = place.names()
    for folder in sorted({name.partition("/")[0] for name in names if "/" in name}):
        place.delete_below(folder)
    for name in sorted(names, key=lambda name: name == ROOT):  # still a Zarr store after a kill
        if "/" not in name:
            place.delete(name)


def _is_zarr(place: Place) -> bool:
    return any(place.read(name) is not None for name in (ROOT, ".zgroup", ".zarray"))


def finish(place: Place, attrs: dict[str, Any]) -> None:
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
