"""The offset to add to the DN of a Sentinel-2 image, as its STAC item calls for."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from xr_anysat.errors import OptionError, warn
from xr_anysat.findings import Call, Finding, SetOption
from xr_anysat.sensors.sentinel2 import SENTINEL2
from xr_anysat.sensors.sentinel2_baselines import (
    BASELINE_PROPERTIES,
    OFFSET_APPLIED,
    OFFSET_BASELINE,
    OFFSET_DN,
)

from .items import items_text, names_text

__all__ = ["Offsets", "check_offset", "find_baseline", "find_offsets", "warn_of_contradictions"]

_BASELINE = re.compile(r"\d\d\.\d\d")
_BASELINE_IN_NAME = re.compile(r"_N(\d\d)(\d\d)_")
_WAYS = [Call(f"load_s2(items, offset={number})") for number in (-OFFSET_DN, 0)]

Offsets = int | Mapping[str, int] | None


def check_offset(offset: Any, ids: Sequence[str]) -> Offsets:
    """Offsets as the user gives them, or an OptionError."""
    if offset is None:
        return None
    by_id = isinstance(offset, Mapping)
    for number in offset.values() if by_id else [offset]:
        if isinstance(number, bool) or not isinstance(number, int | np.integer):
            raise OptionError("offset.not-whole", given=SetOption("offset", offset))
    if not by_id:
        return int(offset)
    unknown = [str(name) for name in offset if str(name) not in ids]
    if unknown:
        raise OptionError("offset.unknown-items", unknown=names_text(unknown))
    return {str(name): int(number) for name, number in offset.items()}


def find_offsets(
    items: Sequence[Any], baselines: Sequence[str], given: Offsets, faults: list[Finding]
) -> list[int]:
    """DN to add to each item: by its baseline, unless it says that this was done.

    Parameters
    ----------
    items
        Items of pystac.
    baselines
        Processing baseline of each.
    given
        Offsets that the user gives.
    faults
        Faults found are added here.
    """
    unknown, offsets = [], []
    for item, baseline in zip(items, baselines, strict=True):
        offset = _given_for(item, given)
        applied = item.properties.get(OFFSET_APPLIED) is True
        if offset is None and not baseline and not applied:
            unknown.append(str(item.id))
        if offset is None:
            offset = -OFFSET_DN if _is_raised(baseline) and not applied else 0
        offsets.append(offset)
    if unknown:
        named, properties = items_text(unknown), ", ".join(BASELINE_PROPERTIES)
        faults.append(Finding("items.no-baseline", *_WAYS, items=named, properties=properties))
    return offsets


def warn_of_contradictions(
    items: Sequence[Any],
    baselines: Sequence[str],
    offsets: Sequence[int],
    assets: Sequence[Mapping[str, str]],
    given: Offsets,
) -> None:
    """Warn where items contradict themselves on their offset, unless the user says it."""
    doubtful: dict[tuple[str, int], list[str]] = {}
    for item, baseline, offset, keys in zip(items, baselines, offsets, assets, strict=True):
        statements = _contradiction(item, baseline, offset, keys.values())
        if statements and _given_for(item, given) is None:
            doubtful.setdefault((statements, offset), []).append(str(item.id))
    for (statements, offset), ids in doubtful.items():
        added = offset or "Nothing"
        warn("items.offset", *_WAYS, items=items_text(ids), statements=statements, offset=added)


def _given_for(item: Any, given: Offsets) -> int | None:
    return given.get(str(item.id)) if isinstance(given, Mapping) else given


def _is_raised(baseline: str) -> bool:
    return bool(baseline) and float(baseline) >= OFFSET_BASELINE


def _contradiction(item: Any, baseline: str, offset: int, keys: Iterable[str]) -> str:
    """Quote an item's statements on its offset where they do not fit together; else ""."""
    applied = item.properties.get(OFFSET_APPLIED)
    raised = _is_raised(baseline)
    in_bands = set(_raster_offsets(item, keys))
    fitting = [set(), {float(offset)}]
    if applied is True and raised:
        fitting.append({float(-OFFSET_DN)})  # the product's, removed by now
    if in_bands in fitting and not (applied is True and baseline and not raised):
        return ""
    statements = [] if applied is None else [f"{OFFSET_APPLIED}={str(applied).lower()}"]
    if baseline:
        statements.append(f"a processing baseline {'from 04.00 on' if raised else 'before 04.00'}")
    if in_bands:
        numbers = ", ".join(f"{number:g}" for number in sorted(in_bands))
        statements.append(f"an offset of {numbers} DN in their bands")
    return " and ".join(statements)


def _raster_offsets(item: Any, keys: Iterable[str]) -> Iterator[float]:
    """Offsets in DN that the raster extension states of the bands."""
    for key in keys:
        fields = item.assets[key].extra_fields
        old = [("", band) for band in fields.get("raster:bands", [])]  # version 1 of the extension
        new = [("raster:", band) for band in (fields, *fields.get("bands", []))]
        for prefix, band in old + new:
            offset = band.get(f"{prefix}offset")
            scale = band.get(f"{prefix}scale") or 1 / (SENTINEL2.dn_per_reflectance or 1)
            if offset is not None:
                yield round(float(offset) / float(scale), 3)


def find_baseline(item: Any) -> str:
    """Baseline that an item states in its properties, or in the name of the product."""
    properties = item.properties
    for key in BASELINE_PROPERTIES:
        if _BASELINE.fullmatch(str(properties.get(key))):
            return str(properties[key])
    for name in (properties.get("s2:product_uri"), item.id):
        if match := _BASELINE_IN_NAME.search(str(name)):
            return f"{match[1]}.{match[2]}"
    return ""
