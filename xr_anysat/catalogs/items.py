"""What STAC items say of Sentinel-2 images, and whether they agree.

Items are looked at, and nothing they point to is. Neither pystac nor odc-stac is imported here.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xr_anysat.errors import CubeError, OptionError, warn
from xr_anysat.sensors.sentinel2 import BANDS, match_bands

from .offsets import Offsets, check_offset, find_baseline, find_offsets, named, some

__all__ = ["S2Item", "understand_items"]

_LEVEL = re.compile(r"(?:MSI|[-_])L?(1C|2A)(?![0-9A-Z])", re.IGNORECASE)
_SUFFIX = re.compile(r"_(10|20|60)m$", re.IGNORECASE)

Table = dict[str, list[str]]


@dataclass(frozen=True, kw_only=True)
class S2Item:
    """One Sentinel-2 image, as its STAC item tells it.

    Parameters
    ----------
    id, collection
        The item's own; a collection may be missing.
    level
        "L1C" or "L2A", or "" where nothing says it.
    baseline
        Processing baseline, "05.10", or "" where nothing says it.
    offset
        DN to add so that 10000 is a reflectance of 1: 0 or -1000, or as the user says.
    crs
        Of its bands, "EPSG:32631", or "" where nothing says it.
    assets
        Keys of the ten bands' assets, in AnySat's order.
    scl
        Key of the scene classification's asset, or "".
    platform
        "sentinel-2a", or "".
    cloud_cover
        Percent; NaN where nothing says it.
    """

    id: str
    collection: str
    level: str
    baseline: str
    offset: int
    crs: str
    assets: tuple[str, ...]
    scl: str
    platform: str
    cloud_cover: float


def understand_items(
    items: Sequence[Any],
    *,
    bands: Mapping[str, str] | None = None,
    offset: Offsets = None,
    scl: bool = False,
    one_crs: bool = True,
) -> tuple[S2Item, ...]:
    """Find out what items are, in their order.

    Parameters
    ----------
    items
        Of pystac.
    bands
        Asset keys by AnySat's names, where they cannot be found by themselves.
    offset
        DN to add, for all items or by their ids, in place of what they say.
    scl
        Whether the scene classification is needed.
    one_crs
        Whether all items need to have one CRS.

    Raises
    ------
    CubeError
        With every fault found.
    """
    given = _checked_bands(bands)
    said = check_offset(offset, [str(item.id) for item in items])
    faults: list[str] = []
    doubts: Table = {}
    if not items:
        faults.append("there are no items; look at the search that was to find them.")
    found = _find_bands(items, given, faults)
    baselines = [find_baseline(item) for item in items]
    offsets = find_offsets(items, baselines, found, said, faults, doubts)
    specs = tuple(
        S2Item(
            id=str(item.id),
            collection=str(item.collection_id or ""),
            level=_level(item),
            baseline=baseline,
            offset=number,
            crs=_crs(item, keys.values()),
            assets=tuple(keys.get(band, "") for band in BANDS),
            scl=_scl(item),
            platform=str(item.properties.get("platform") or "").lower().replace(" ", "-"),
            cloud_cover=_number(item.properties.get("eo:cloud_cover")),
        )
        for item, keys, baseline, number in zip(items, found, baselines, offsets, strict=True)
    )
    _check_agreement(specs, scl, one_crs, faults)
    if faults:
        raise CubeError(faults)
    for doubt, ids in doubts.items():
        warn(f"{named(ids)} {doubt}")
    return specs


def _check_agreement(specs: Sequence[S2Item], scl: bool, one_crs: bool, faults: list[str]) -> None:
    apart = 'load each by itself, and join the cubes: xr.concat([one, other], "time").'
    collections = _table(specs, lambda spec: spec.collection)
    if len(collections) > 1:
        count = len(collections)
        faults.append(f"the items are of {count} collections, {_told(collections)}; {apart}")
    levels = _table(specs, lambda spec: spec.level or "no level")
    if len(levels) > 1:
        faults.append(
            f"the items are of {len(levels)} processing levels, {_told(levels)}; reflectance at "
            f"the top of the atmosphere and at the surface do not mix: keep the items of one."
        )
    keys = _table(specs, lambda spec: ", ".join(spec.assets))
    if len(keys) > 1 and all(all(spec.assets) for spec in specs) and len(collections) == 1:
        faults.append(f"the bands' assets have different names, {_told(keys)}; {apart}")
    places = _table(specs, lambda spec: spec.crs or "no CRS")
    if one_crs and len(places) > 1:
        most = max(places, key=lambda name: len(places[name]))
        faults.append(
            f"the items lie in {len(places)} coordinate reference systems, {_told(places)}; say "
            f'which one the cube is to have: load_s2(items, crs="{most}"), or geobox=.'
        )
    without = [spec.id for spec in specs if scl and not spec.scl]
    if without:
        faults.append(
            f"{named(without)} have no scene classification (an asset SCL), as none of Level-1C "
            "has; load without scl= and mask_scl=, or other items."
        )


def _find_bands(
    items: Sequence[Any], given: Mapping[str, str], faults: list[str]
) -> list[dict[str, str]]:
    """Asset key of each of the ten bands, item by item."""
    absent: dict[tuple[str, ...], list[Any]] = {}
    doubled: dict[tuple[str, ...], list[str]] = {}
    found: list[dict[str, str]] = []
    for item in items:
        matches = match_bands(key for key in item.assets if key not in given.values())
        keys = {band: key for band, key in given.items() if key in item.assets}
        for band in BANDS:
            names = [] if band in given else _finest(matches[band])
            if names:
                keys[band] = names[0]
            if len(names) > 1:
                doubled.setdefault((band, *names), []).append(str(item.id))
        missing = tuple(band for band in BANDS if band not in keys)
        if missing:
            absent.setdefault(missing, []).append(item)
        found.append(keys)
    for missing, those in absent.items():
        asked = [given[band] for band in missing if band in given]
        faults.append(
            f"{named([str(item.id) for item in those])}: no asset {f'{asked} ' if asked else ''}"
            f"for bands {list(missing)} (there are {some(list(those[0].assets))}); AnySat needs "
            f"all ten of {list(BANDS)}. Name them: "
            f'load_s2(items, bands={{"{missing[0]}": "..."}}).'
        )
    for (band, *names), ids in doubled.items():
        faults.append(
            f"{named(ids)}: several assets for band {band}: {names}; say which one is meant: "
            f'load_s2(items, bands={{"{band}": "{names[0]}"}}).'
        )
    return found


def _finest(keys: Sequence[Any]) -> list[str]:
    """Keys of the finest resolution, where they end in one as CDSE's do."""
    sizes = [int(match[1]) if (match := _SUFFIX.search(str(key))) else 0 for key in keys]
    return [str(key) for key, size in zip(keys, sizes, strict=True) if size == min(sizes)]


def _scl(item: Any) -> str:
    return next(iter(_finest([k for k in item.assets if _SUFFIX.sub("", k).lower() == "scl"])), "")


def _level(item: Any) -> str:
    properties = item.properties
    kind = properties.get("s2:product_type", properties.get("product:type"))
    for name in (kind, item.collection_id, item.id):
        if match := _LEVEL.search(str(name)):
            return f"L{match[1].upper()}"
    return ""


def _crs(item: Any, keys: Iterable[str]) -> str:
    for fields in (item.properties, *(item.assets[key].extra_fields for key in keys)):
        if fields.get("proj:code"):
            return str(fields["proj:code"])
        if fields.get("proj:epsg"):
            return f"EPSG:{fields['proj:epsg']}"
    return ""


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _checked_bands(bands: Any) -> dict[str, str]:
    if bands is None:
        return {}
    if not isinstance(bands, Mapping):
        raise OptionError(
            f"bands= is a {type(bands).__name__}; it maps AnySat's names to the items' assets: "
            'load_s2(items, bands={"B2": "my_blue"}). All ten bands are loaded anyway.'
        )
    unknown = [str(band) for band in bands if band not in BANDS]
    if unknown:
        raise OptionError(
            f"bands= names {unknown}, which AnySat does not know; it reads {list(BANDS)}"
        )
    return {str(band): str(key) for band, key in bands.items()}


def _table(specs: Sequence[S2Item], of: Callable[[S2Item], str]) -> Table:
    """Ids by what they have."""
    table: Table = {}
    for spec in specs:
        table.setdefault(of(spec), []).append(spec.id)
    return table


def _told(table: Table) -> str:
    parts = [f"{what or 'none'} ({some(ids, 3)})" for what, ids in table.items()]
    return "; ".join(parts)
