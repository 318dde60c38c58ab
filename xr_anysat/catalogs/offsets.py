"""What is to be added to the DN of a STAC item's image, by what the item says of it."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from xr_anysat.errors import OptionError
from xr_anysat.sensors.sentinel2 import DN_PER_REFLECTANCE

__all__ = ["Offsets", "check_offset", "find_baseline", "find_offsets", "named", "some"]

BASELINE_OF_OFFSET = 4.0
"""First processing baseline whose DN are 1000 too high (ESA, S2-PDGS-TAS-DI-PSD)."""

OFFSET = -1000
"""DN to add to them: BOA_ADD_OFFSET of Level-2A, RADIO_ADD_OFFSET of Level-1C, in every band."""

_APPLIED = "earthsearch:boa_offset_applied"
"""Of Earth Search's sentinel-2-l2a: whether it has removed the offset from the files itself. The
offset that its bands state is that of the product: it goes by the baseline alone, and is the same
in items that state true and false."""

_BASELINE = re.compile(r"\d\d\.\d\d")
_BASELINE_IN_NAME = re.compile(r"_N(\d\d)(\d\d)_")

Offsets = int | Mapping[str, int] | None


def check_offset(offset: Any, ids: Sequence[str]) -> Offsets:
    """Offsets that the user says, or an OptionError."""
    if offset is None:
        return None
    by_id = isinstance(offset, Mapping)
    for number in offset.values() if by_id else [offset]:
        if isinstance(number, bool) or not isinstance(number, int | np.integer):
            raise OptionError(
                f"offset={offset!r} is not a whole number of DN, as -1000 or 0, nor a mapping from "
                "items' ids to such numbers"
            )
    if not by_id:
        return int(offset)
    unknown = [str(name) for name in offset if str(name) not in ids]
    if unknown:
        raise OptionError(f"offset= names {some(unknown)}, which are no ids of the items")
    return {str(name): int(number) for name, number in offset.items()}


def find_offsets(
    items: Sequence[Any],
    baselines: Sequence[str],
    found: Sequence[Mapping[str, str]],
    said: Offsets,
    faults: list[str],
    doubts: dict[str, list[str]],
) -> list[int]:
    """DN to add to each item: by its baseline, unless it says that this was done."""
    unknown, offsets = [], []
    for item, baseline, keys in zip(items, baselines, found, strict=True):
        name = str(item.id)
        given = said.get(name) if isinstance(said, Mapping) else said
        applied = item.properties.get(_APPLIED)
        if given is not None or (not baseline and applied is not True):
            if given is None:
                unknown.append(name)
            offsets.append(given or 0)
            continue
        added = bool(baseline) and float(baseline) >= BASELINE_OF_OFFSET
        offsets.append(OFFSET if added and applied is not True else 0)
        stated = _raster_offsets(item, keys.values())
        doubt = _doubt(baseline, added, applied, offsets[-1], stated)
        if doubt:
            doubts.setdefault(doubt, []).append(name)
    if unknown:
        faults.append(
            f"{named(unknown)} do not say of which processing baseline they are "
            "(s2:processing_baseline, processing:version), and from 04.00 on 1000 was added to "
            "all values; say what to add: load_s2(items, offset=-1000), or offset=0."
        )
    return offsets


def _doubt(baseline: str, added: bool, applied: Any, offset: int, stated: Sequence[float]) -> str:
    """Say where the statements of an item contradict one another; "" where they do not."""
    era = f"a processing baseline {'from' if added else 'before'} 04.00{' on' if added else ''}"
    if applied is True and baseline and not added:
        doubt = f"state {_APPLIED}=true, but have {era}, where there is no offset to remove"
    elif applied is True and added and set(stated) == {float(OFFSET)}:
        return ""  # the product's, removed by now
    elif stated and set(stated) != {float(offset)}:
        says = f"have {era}" if applied is None else f"state {_APPLIED}={str(applied).lower()}"
        numbers = ", ".join(f"{number:g}" for number in stated)
        doubt = f"{says}, but their bands state an offset of {numbers} DN"
    else:
        return ""
    return (
        f"{doubt}; {offset if offset else 'nothing'} is added to their values. Look at some, and "
        "say what to add: load_s2(items, offset=0), offset=-1000, or by id."
    )


def _raster_offsets(item: Any, keys: Iterable[str]) -> list[float]:
    """Offsets in DN that the raster extension states of the bands, each once."""
    numbers = set()
    for key in keys:
        fields = item.assets[key].extra_fields
        old = [("", band) for band in fields.get("raster:bands", [])]  # version 1 of the extension
        new = [("raster:", band) for band in (fields, *fields.get("bands", []))]
        for prefix, band in old + new:
            offset = band.get(f"{prefix}offset")
            scale = band.get(f"{prefix}scale") or 1 / DN_PER_REFLECTANCE
            if offset is not None:
                numbers.add(round(float(offset) / float(scale), 3))
    return sorted(numbers)


def find_baseline(item: Any) -> str:
    """Baseline that the item states, in its properties or in the name of the product."""
    properties = item.properties
    for key in ("s2:processing_baseline", "processing:version"):
        if _BASELINE.fullmatch(str(properties.get(key))):
            return str(properties[key])
    for name in (properties.get("s2:product_uri"), item.id):
        if match := _BASELINE_IN_NAME.search(str(name)):
            return f"{match[1]}.{match[2]}"
    return ""


def named(ids: Sequence[str]) -> str:
    """Items by their ids."""
    return f"item {ids[0]!r}" if len(ids) == 1 else f"{len(ids)} items ({some(ids, 3)})"


def some(names: Sequence[str], most: int = 20) -> str:
    """Names, a long list of them cut short."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
