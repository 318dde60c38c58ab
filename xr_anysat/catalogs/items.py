"""What STAC items of any sensor say, and whether they agree.

Items are read, and not the files that they point to. Neither pystac nor odc-stac is imported here.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xr_anysat.cube.bands import bands_are_no_mapping, unknown_bands
from xr_anysat.errors import OptionError
from xr_anysat.findings import Call, Finding, SetOption, in_python
from xr_anysat.sensors.record import Sensor, match_bands

__all__ = [
    "CatalogItem",
    "as_items",
    "check_agreement",
    "check_bands",
    "describe",
    "find_assets",
    "group_ids",
    "groups_text",
    "items_text",
    "keys_named",
    "names_text",
]

_RESOLUTION = re.compile(r"_(\d+)m$", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class CatalogItem:
    """An image, as its STAC item describes it.

    Parameters
    ----------
    id, collection
        The item's own; a collection may be missing.
    crs
        Of its bands, "EPSG:32631", or "" where nothing says it.
    assets
        Keys of the bands' assets, in the order that the network reads them.
    platform
        "sentinel-2a", or "".
    cloud_cover
        Percent; NaN where it is not known.
    """

    id: str
    collection: str
    crs: str
    assets: tuple[str, ...]
    platform: str
    cloud_cover: float


def as_items(items: Any, kind: type[Any], loader: str) -> list[Any]:
    """List items; dicts of GeoJSON become items.

    Parameters
    ----------
    items
        One, several, or a feature collection.
    kind
        `pystac.Item`.
    loader
        Name of the function that needs them.
    """
    if isinstance(items, kind) or (isinstance(items, Mapping) and "features" not in items):
        items = [items]
    elif isinstance(items, Mapping):
        items = items["features"]
    try:
        listed = [kind.from_dict(one) if isinstance(one, Mapping) else one for one in items]
    except TypeError:
        listed = [items]
    others = {type(one).__name__ for one in listed if not isinstance(one, kind)}
    if others:
        example = Call(f"{loader}(search.item_collection())")
        raise OptionError("items.type", example, others=sorted(others), loader=loader)
    return listed


def check_bands(bands: Any, sensor: Sensor, loader: str) -> dict[str, str]:
    """Asset keys of bands as the user gives them, or an OptionError."""
    if bands is None:
        return {}
    if not isinstance(bands, Mapping):
        example = call_with(loader, {sensor.band_names[0]: "my_asset"})
        raise OptionError(bands_are_no_mapping(bands, example))
    if unknown := unknown_bands(bands, sensor):
        raise OptionError(unknown)
    return {str(band): str(key) for band, key in bands.items()}


def find_assets(
    items: Sequence[Any],
    sensor: Sensor,
    given: Mapping[str, str],
    loader: str,
    faults: list[Finding],
) -> list[dict[str, str]]:
    """Find the asset key of each band, item by item.

    Parameters
    ----------
    items
        Items of pystac.
    sensor
        Whose bands they are to have.
    given
        Keys of some bands, as the user gives them.
    loader
        Name of the function that is called.
    faults
        Faults found are added here.
    """
    absent: dict[tuple[str, ...], list[Any]] = {}
    doubled: dict[tuple[str, ...], list[str]] = {}
    assets: list[dict[str, str]] = []
    for item in items:
        matches = match_bands(sensor, (key for key in item.assets if key not in given.values()))
        keys = {band: key for band, key in given.items() if key in item.assets}
        for band in sensor.band_names:
            choices = [] if band in given else _finest(matches[band])
            if choices:
                keys[band] = choices[0]
            if len(choices) > 1:
                doubled.setdefault((band, *choices), []).append(str(item.id))
        missing = tuple(band for band in sensor.band_names if band not in keys)
        if missing:
            absent.setdefault(missing, []).append(item)
        assets.append(keys)
    for missing, without in absent.items():
        named = [given[band] for band in missing if band in given]
        faults.append(
            Finding(
                "bands.missing/assets",
                call_with(loader, {missing[0]: ...}),
                items=items_text([str(item.id) for item in without]),
                asked=f"{named} " if named else "",
                missing=list(missing),
                assets=names_text(list(without[0].assets)),
                needed=list(sensor.band_names),
            )
        )
    for (band, *choices), ids in doubled.items():
        faults.append(
            Finding(
                "bands.ambiguous/assets",
                call_with(loader, {band: choices[0]}),
                items=items_text(ids),
                band=band,
                choices=choices,
            )
        )
    return assets


def call_with(loader: str, bands: Mapping[str, Any]) -> Call:
    """Write the call that names the assets of bands."""
    return Call(f"{loader}(items, {in_python(SetOption('bands', dict(bands)))})")


def check_agreement(specs: Sequence[CatalogItem], loader: str, one_crs: bool) -> Iterator[Finding]:
    """Find out whether items are of one collection, with one set of assets, in one CRS.

    Parameters
    ----------
    specs
        What the items are.
    loader
        Name of the function that is called.
    one_crs
        Whether all need to have one CRS.
    """
    join = Call('xr.concat([one, other], "time")')
    collections = group_ids(specs, lambda spec: spec.collection)
    if len(collections) > 1:
        groups = groups_text(collections)
        yield Finding("items.collections", join, count=len(collections), groups=groups)
    keys = group_ids(specs, lambda spec: ", ".join(spec.assets))
    if len(keys) > 1 and all(all(spec.assets) for spec in specs) and len(collections) == 1:
        yield Finding("items.assets", join, groups=groups_text(keys))
    places = group_ids(specs, lambda spec: spec.crs or "no CRS")
    if one_crs and len(places) > 1:
        most = max(places, key=lambda name: len(places[name]))
        ways = Call(f'{loader}(items, crs="{most}")'), SetOption("geobox")
        yield Finding("items.crs", *ways, count=len(places), groups=groups_text(places))


def describe(item: Any, keys: Mapping[str, str], sensor: Sensor) -> dict[str, Any]:
    """Fields of a `CatalogItem`, from an item and the keys of its bands' assets."""
    return {
        "id": str(item.id),
        "collection": str(item.collection_id or ""),
        "crs": _crs(item, keys.values()),
        "assets": tuple(keys.get(band, "") for band in sensor.band_names),
        "platform": str(item.properties.get("platform") or "").lower().replace(" ", "-"),
        "cloud_cover": _number(item.properties.get("eo:cloud_cover")),
    }


def keys_named(item: Any, name: str) -> list[str]:
    """Keys of an item's assets of a name, in lower case, at the finest resolution."""
    return _finest([key for key in item.assets if _RESOLUTION.sub("", key).lower() == name])


def _finest(keys: Sequence[Any]) -> list[str]:
    """Keys of the finest resolution, where they end in one: B02_10m of B02_10m and B02_20m."""
    sizes = [int(match[1]) if (match := _RESOLUTION.search(str(key))) else 0 for key in keys]
    return [str(key) for key, size in zip(keys, sizes, strict=True) if size == min(sizes)]


def _crs(item: Any, keys: Iterable[str]) -> str:
    """CRS that an item states for itself or for some of its assets; "" where it does not."""
    for fields in (item.properties, *(item.assets[key].extra_fields for key in keys)):
        if fields.get("proj:code"):
            return str(fields["proj:code"])
        if fields.get("proj:epsg"):
            return f"EPSG:{fields['proj:epsg']}"
    return ""


def _number(value: Any) -> float:
    """Value of a property, NaN where it is not a number."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def group_ids(specs: Sequence[CatalogItem], key: Callable[[Any], str]) -> dict[str, list[str]]:
    """Group the ids of items by a property of them."""
    groups: dict[str, list[str]] = {}
    for spec in specs:
        groups.setdefault(key(spec), []).append(spec.id)
    return groups


def groups_text(groups: Mapping[str, Sequence[str]]) -> str:
    """Name groups of items, with a few ids of each."""
    return "; ".join(f"{name or 'none'} ({names_text(ids, 3)})" for name, ids in groups.items())


def items_text(ids: Sequence[str]) -> str:
    """Name items by their ids."""
    return f"item {ids[0]!r}" if len(ids) == 1 else f"{len(ids)} items ({names_text(ids, 3)})"


def names_text(names: Sequence[str], most: int = 20) -> str:
    """List names; a long list is cut short."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
