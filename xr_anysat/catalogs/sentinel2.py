"""Sentinel-2 cubes from STAC items, ready to embed, by way of `odc.stac.load`.

Needs the extra ``stac``; odc-stac and pystac are imported when `load_s2` is called.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xr_anysat._version import __version__
from xr_anysat.errors import CubeError, OptionError
from xr_anysat.findings import Finding, SetOption
from xr_anysat.sensors.record import band_of
from xr_anysat.sensors.sentinel2 import SENTINEL2
from xr_anysat.settings import require

from .items import (
    CatalogItem,
    as_items,
    check_agreement,
    check_bands,
    describe,
    find_assets,
    group_ids,
    groups_text,
    items_text,
    keys_named,
)
from .loading import AREA, check_options, find_geobox, group_by_date
from .offset_mosaics import OffsetMosaics, add_offsets, find_mosaics
from .offsets import Offsets, check_offset, find_baseline, find_offsets, warn_of_contradictions
from .pixels import mask_classes
from .sentinel2_classes import SCL_CLASSES, SCL_UNUSABLE

__all__ = ["S2Item", "load_s2", "understand_items"]

LABELS = tuple(f"B{band[1:].zfill(2)}" for band in SENTINEL2.band_names)
"""Names of the variables: the bands as ESA writes them."""

SCL = "SCL"
"""Name of the variable of the scene classification."""

_DECIDED = {
    "measurements": "all ten bands are loaded, and bands= names their assets",
    "output_crs": "crs= is its name",
    "stac_cfg": "the bands are known",
    "dtype": "DN are uint16, and cube.astype() converts them",
    "nodata": "for DN it is 0",
}
"""Options of `odc.stac.load` that are decided here, and why."""

_LEVEL = re.compile(r"(?:MSI|[-_])L?(1C|2A)(?![0-9A-Z])", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class S2Item(CatalogItem):
    """One Sentinel-2 image, as its STAC item describes it.

    Parameters
    ----------
    level
        "L1C" or "L2A", or "" where nothing says it.
    baseline
        Processing baseline, "05.10", or "" where nothing says it.
    offset
        DN to add so that 10000 is a reflectance of 1: 0 or -1000, or as the user says.
    scl
        Key of the scene classification's asset, or "".
    """

    level: str
    baseline: str
    offset: int
    scl: str


def load_s2(
    items: Iterable[Any],
    *,
    bands: Mapping[str, str] | None = None,
    groupby: str | Callable[..., Any] | None = "solar_day",
    offset: int | Mapping[str, int] | None = None,
    mask_scl: bool | Iterable[int] = False,
    scl: bool = False,
    resampling: str | Mapping[str, str] | None = None,
    chunks: Mapping[str, Any] | None = None,
    **options: Any,
) -> xr.Dataset:
    """Load a Sentinel-2 cube from STAC items with odc-stac, ready for ``cube.anysat.embed()``.

    Besides what :func:`odc.stac.load` does, it finds the assets of AnySat's ten bands in the
    catalogues of Planetary Computer, Earth Search (``sentinel-2-l2a``, ``-c1-l2a``, ``-l1c``) and
    the Copernicus Data Space Ecosystem; removes, image by image, the 1000 DN that processing
    baselines 04.00 and later add to all values; and masks clouds on request. It does not search,
    sign, or make embeddings; with `chunks` it reads nothing.

    Parameters
    ----------
    items : iterable of pystac.Item
        All of one collection; dicts of GeoJSON do as well.
    bands : mapping, optional
        The items' asset of a band by AnySat's name: ``{"B2": "my_blue"}``.
    groupby : str or callable, optional
        Which items make one date: "solar_day" (default) mosaics them by day, "time" by equal
        times, "id" not at all; or else as in :func:`odc.stac.load`. Where images of a date
        overlap, the first by time and id that has a value counts.
    offset : int or mapping, optional
        DN to add, such as -1000 or 0: for all items, or by their ids. Default: what the items'
        processing baseline calls for, unless they say (``earthsearch:boa_offset_applied``) that
        it was done.
    mask_scl : bool or iterable of int
        Classes of the scene classification to treat as missing; True: 0, 1, 3, 8, 9 and 10 (no
        data, saturated, cloud shadow, cloud of medium and of high probability, cirrus). Default:
        none, since AnySat was trained on images with their clouds.
    scl : bool
        Keep the scene classification as the variable ``SCL``, for
        ``cube.anysat.embed(mask=cube.SCL.isin([4, 5, 6, 7]))``, for instance.
    resampling : str or mapping, optional
        Of the bands, for all or by name ("B02", or "*" for the rest); default "nearest". The scene
        classification is always resampled so.
    chunks : mapping, optional
        As in :func:`odc.stac.load`: ``{"x": 512, "y": 512}`` gives a dask cube. None reads now.
    **options
        Passed on: ``bbox``, ``geobox``, ``like``, ``crs``, ``resolution``, ``patch_url``,
        ``pool`` and others. The CRS is by default that of the items, the resolution that of
        their finest band.

    Returns
    -------
    xarray.Dataset
        Variables ``B02`` to ``B12`` (time, y, x), uint16 DN: reflectance times 10000 without
        offset, 0 (``attrs["nodata"]``) where missing, else 1 or more: as in products before
        baseline 04.00, reflectances below zero become 1. Coordinates along time, of the items of
        each date: ``item_id``, ``platform``, ``processing_baseline`` and ``added_offset`` (text,
        in the order of the items, distinct ones separated by spaces) and ``cloud_cover``
        (percent, mean of the items). They survive ``to_zarr`` and ``to_netcdf``.

    Raises
    ------
    CubeError
        With every fault of the items: there are none, they are of several collections, levels or
        (without `crs`, `geobox` or `like`) CRSs, bands are missing, no processing baseline.
    OptionError
        For an argument that does not fit.
    MissingExtraError
        Without odc-stac.

    Warns
    -----
    AnySatWarning
        Where items contradict themselves on the offset. Those of Earth Search's
        ``sentinel-2-l2a`` do from 2022 on: bands state an offset that was already removed.

    Examples
    --------
    >>> cube = xr_anysat.load_s2(items, bbox=bbox, chunks={"x": 512, "y": 512})  # doctest: +SKIP
    >>> emb = cube.anysat.embed(normalize="treesatai")  # doctest: +SKIP
    """
    odc_stac = require("odc.stac", "stac", "load_s2()")
    stac_item = require("pystac", "stac", "load_s2()").Item
    classes = _check_classes(mask_scl)
    check_options(options, _DECIDED, "load_s2")
    images = as_items(items, stac_item, "load_s2")
    area = {key: options.pop(key) for key in AREA if options.get(key) is not None}
    placed = any(key in area for key in ("crs", "geobox", "like"))
    specs = understand_items(
        images, bands=bands, offset=offset, scl=scl or bool(classes), one_crs=not placed
    )
    names = dict(zip(specs[0].assets, LABELS, strict=True))
    if scl or classes:
        names[specs[0].scl] = SCL
    config = _stac_config(names)
    try:
        parsed = list(odc_stac.parse_items(images, config))
    except ValueError as error:
        raise CubeError("items.unreadable", error=error) from error
    geobox = find_geobox(odc_stac, parsed, list(names), area, specs, "load_s2")
    in_order = bool(options.get("preserve_original_order"))
    dates = group_by_date(images, parsed, geobox, groupby, in_order)
    mosaics = find_mosaics(dates, [spec.offset for spec in specs])
    if options.get("fuse_func") is not None:
        _check_fusing(mosaics, specs)
    mosaic_of = {n: number for number, items in enumerate(mosaics.mosaics) for n in items}
    loaded = odc_stac.load(
        images,
        bands=list(names),
        groupby=lambda item, parsed, number: mosaic_of[number],
        geobox=geobox,
        chunks=None if chunks is None else dict(chunks),
        resampling=_resampling_by_asset(resampling, names),
        stac_cfg=config,
        **options,
    ).rename(names)
    offsets = [specs[items[0]].offset for items in mosaics.mosaics]
    cube = mosaics.put_together(add_offsets(loaded, LABELS, offsets))
    cube = mask_classes(cube, LABELS, SCL, classes)
    if not scl:
        cube = cube.drop_vars(SCL, errors="ignore")
    return _labelled(cube, [[specs[n] for n in date] for date in dates], classes)


def understand_items(
    items: Sequence[Any],
    *,
    bands: Mapping[str, str] | None = None,
    offset: Offsets = None,
    scl: bool = False,
    one_crs: bool = True,
) -> tuple[S2Item, ...]:
    """Describe items, in their order.

    Parameters
    ----------
    items
        Items of pystac.
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
    given = check_bands(bands, SENTINEL2, "load_s2")
    known_offsets = check_offset(offset, [str(item.id) for item in items])
    faults: list[Finding] = []
    if not items:
        faults.append(Finding("items.none"))
    assets = find_assets(items, SENTINEL2, given, "load_s2", faults)
    baselines = [find_baseline(item) for item in items]
    offsets = find_offsets(items, baselines, known_offsets, faults)
    specs = tuple(
        S2Item(
            **describe(item, keys, SENTINEL2),
            level=_level(item),
            baseline=baseline,
            offset=number,
            scl=next(iter(keys_named(item, "scl")), ""),
        )
        for item, keys, baseline, number in zip(items, assets, baselines, offsets, strict=True)
    )
    faults += check_agreement(specs, "load_s2", one_crs)
    faults += _check_products(specs, scl)
    if faults:
        raise CubeError(faults)
    warn_of_contradictions(items, baselines, offsets, assets, known_offsets)
    return specs


def _check_products(specs: Sequence[S2Item], scl: bool) -> Iterator[Finding]:
    levels = group_ids(specs, lambda spec: spec.level or "no level")
    if len(levels) > 1:
        yield Finding("items.levels", count=len(levels), groups=groups_text(levels))
    without = [spec.id for spec in specs if scl and not spec.scl]
    if without:
        yield Finding("items.no-scl", items=items_text(without))


def _level(item: Any) -> str:
    properties = item.properties
    kind = properties.get("s2:product_type", properties.get("product:type"))
    for name in (kind, item.collection_id, item.id):
        if match := _LEVEL.search(str(name)):
            return f"L{match[1].upper()}"
    return ""


def _check_fusing(mosaics: OffsetMosaics, specs: Sequence[S2Item]) -> None:
    """Refuse `fuse_func` where a date has several offsets."""
    mixed = next((date for date in mosaics.dates if len(date) > 1), None)
    if mixed is not None:
        ids = [specs[n].id for run in mixed for n in run]
        raise OptionError("load.fuse-func", SetOption("groupby", "id"), ids=ids)


def _check_classes(mask_scl: Any) -> tuple[int, ...]:
    if isinstance(mask_scl, bool):
        return SCL_UNUSABLE if mask_scl else ()
    try:
        classes = tuple(sorted(set(mask_scl)))
    except TypeError:
        classes = (mask_scl,)
    if not all(isinstance(one, int | np.integer) and one in SCL_CLASSES for one in classes):
        known = ", ".join(f"{number} {name}" for number, name in SCL_CLASSES.items())
        raise OptionError("load.mask-scl", given=SetOption("mask_scl", mask_scl), classes=known)
    return tuple(int(one) for one in classes)


def _stac_config(names: Mapping[str, str]) -> dict[str, Any]:
    """Tell odc-stac what the assets hold, which not every catalogue does."""
    kinds = {key: "uint8" if name == SCL else "uint16" for key, name in names.items()}
    return {"assets": {key: {"data_type": kind, "nodata": 0} for key, kind in kinds.items()}}


def _resampling_by_asset(resampling: Any, names: Mapping[str, str]) -> dict[str, str]:
    """Resampling of each asset, from that of each band; classes are never averaged."""
    given = resampling if isinstance(resampling, Mapping) else {"*": resampling or "nearest"}
    bands = {name: band_of(SENTINEL2, name) for name in given}
    unknown = [str(n) for n, band in bands.items() if band is None and n not in ("*", SCL)]
    if unknown:
        raise OptionError("load.resampling", unknown=unknown, known=list(LABELS))
    by_band = {bands[name]: str(how) for name, how in given.items()}
    rest = str(given.get("*", "nearest"))
    by_asset = {key: by_band.get(band_of(SENTINEL2, name), rest) for key, name in names.items()}
    return by_asset | {key: "nearest" for key, name in names.items() if name == SCL}


def _labelled(
    cube: xr.Dataset, dates: Sequence[Sequence[S2Item]], classes: tuple[int, ...]
) -> xr.Dataset:
    """Label each date with its items, in text and numbers, which every format can hold."""

    def text(of: Callable[[S2Item], str]) -> tuple[str, Any]:
        joined = [" ".join(dict.fromkeys(filter(None, map(of, date)))) for date in dates]
        return "time", np.array(joined, dtype=object)

    def clouds(date: Sequence[S2Item]) -> float:
        known = [one.cloud_cover for one in date if not math.isnan(one.cloud_cover)]
        return math.fsum(known) / len(known) if known else math.nan

    cube = cube.assign_coords(
        item_id=text(lambda one: one.id),
        platform=text(lambda one: one.platform),
        processing_baseline=text(lambda one: one.baseline),
        added_offset=text(lambda one: str(one.offset)),
        cloud_cover=("time", np.array([*map(clouds, dates)], np.float32), {"units": "percent"}),
    )
    if SCL in cube:
        meanings = " ".join(name.replace(" ", "_") for name in SCL_CLASSES.values())
        cube[SCL].attrs.update(flag_values=list(SCL_CLASSES), flag_meanings=meanings)
    known = {
        "collection": dates[0][0].collection,
        "processing_level": dates[0][0].level,
        "masked_scl_classes": list(classes),
        "xr_anysat_version": __version__,
    }
    return cube.assign_attrs({key: value for key, value in known.items() if value})
