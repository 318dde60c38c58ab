"""Sentinel-2 cubes from STAC items, ready to embed: `odc.stac.load`, and what it leaves to do.

Needs the extra ``stac``; odc-stac and pystac are imported when `load_s2` is called.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox

from xr_anysat._version import __version__
from xr_anysat.errors import CubeError, OptionError
from xr_anysat.sensors.sentinel2 import BANDS, band_of
from xr_anysat.settings import require

from .items import S2Item, understand_items
from .offset_mosaics import find_planes, harmonised, masked, mosaicked
from .scene_classification import SCL_CLASSES, SCL_UNUSABLE

__all__ = ["load_s2"]

LABELS = tuple(f"B{band[1:].zfill(2)}" for band in BANDS)
"""Names of the variables: the bands as ESA writes them."""

SCL = "SCL"
"""Name of the variable of the scene classification."""

RESOLUTION = 10
"""Metres, where the items do not tell the size of their pixels."""

_AREA = (
    "crs", "resolution", "geobox", "like", "bbox", "lon", "lat", "x", "y", "geopolygon",
    "intersects", "anchor", "align",
)  # fmt: skip
_TAKEN = {
    "measurements": "all ten bands are loaded, and bands= names their assets",
    "output_crs": "crs= is its name",
    "stac_cfg": "it says itself what the bands are",
    "dtype": "DN are uint16, and cube.astype() makes them something else",
    "nodata": "of DN it is 0",
}


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
    baselines 04.00 and later add to all values; and masks clouds where asked to. It does not
    search, sign, or make embeddings; with `chunks` it reads nothing.

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
        DN to add, as -1000 or 0: for all items, or by their ids. Default: what the items' own
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
        With every fault of the items: none there, several collections, levels or (without `crs`,
        `geobox` or `like`) CRSs, bands missing, no processing baseline.
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
    classes = _checked_classes(mask_scl)
    taken = [f"{name} ({_TAKEN[name]})" for name in options if name in _TAKEN]
    if taken:
        raise OptionError(f"load_s2 does not take {', '.join(taken)}; use odc.stac.load for more")
    images = _as_items(items, stac_item)
    area = {key: options.pop(key) for key in _AREA if options.get(key) is not None}
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
        raise CubeError([f"odc-stac cannot read the items: {error}."]) from error
    geobox = _find_geobox(odc_stac, parsed, list(names), area, specs)
    planes = find_planes(images, parsed, specs, geobox, groupby, options)
    plane_of = planes.of_items()
    loaded = odc_stac.load(
        images,
        bands=list(names),
        groupby=lambda item, parsed, number: plane_of[number],
        geobox=geobox,
        chunks=None if chunks is None else dict(chunks),
        resampling=_by_asset(resampling, names),
        stac_cfg=config,
        **options,
    ).rename(names)
    offsets = [specs[members[0]].offset for members in planes.members]
    cube = mosaicked(harmonised(loaded, LABELS, offsets), planes)
    cube = masked(cube, LABELS, SCL, classes)
    if not scl:
        cube = cube.drop_vars(SCL, errors="ignore")
    return _labelled(cube, [[specs[n] for n in date] for date in planes.dates], classes)


def _as_items(items: Any, kind: Any) -> list[Any]:
    """List items, dicts of them made items."""
    if isinstance(items, kind) or (isinstance(items, Mapping) and "features" not in items):
        items = [items]
    elif isinstance(items, Mapping):
        items = items["features"]
    try:
        listed = [kind.from_dict(one) if isinstance(one, Mapping) else one for one in items]
    except TypeError as error:
        raise OptionError(
            f"items= is a {type(items).__name__}; load_s2 needs STAC items: "
            "load_s2(search.item_collection())."
        ) from error
    strange = {type(one).__name__ for one in listed if not isinstance(one, kind)}
    if strange:
        raise OptionError(f"items= holds {sorted(strange)}; load_s2 needs STAC items (pystac.Item)")
    return listed


def _checked_classes(mask_scl: Any) -> tuple[int, ...]:
    if isinstance(mask_scl, bool):
        return SCL_UNUSABLE if mask_scl else ()
    try:
        classes = tuple(sorted(set(mask_scl)))
    except TypeError:
        classes = (mask_scl,)
    if not all(isinstance(one, int | np.integer) and one in SCL_CLASSES for one in classes):
        told = ", ".join(f"{number} {name}" for number, name in SCL_CLASSES.items())
        raise OptionError(f"mask_scl={mask_scl!r} is not True, False or some of: {told}")
    return tuple(int(one) for one in classes)


def _stac_config(names: Mapping[str, str]) -> dict[str, Any]:
    """Tell odc-stac what the assets hold, which not every catalogue does."""
    kinds = {key: "uint8" if name == SCL else "uint16" for key, name in names.items()}
    return {"assets": {key: {"data_type": kind, "nodata": 0} for key, kind in kinds.items()}}


def _by_asset(resampling: Any, names: Mapping[str, str]) -> dict[str, str]:
    """Resampling of each asset, from that of each band."""
    said = resampling if isinstance(resampling, Mapping) else {"*": resampling or "nearest"}
    unknown = [str(name) for name in said if band_of(name) is None and name not in ("*", SCL)]
    if unknown:
        raise OptionError(f'resampling= names {unknown}; it knows {list(LABELS)} and "*"')
    by_band = {band_of(name): str(how) for name, how in said.items()}
    rest = str(said.get("*", "nearest"))
    by_asset = {key: by_band.get(band_of(name), rest) for key, name in names.items()}
    return {key: "nearest" if names[key] == SCL else how for key, how in by_asset.items()}


def _find_geobox(
    odc_stac: Any,
    parsed: Sequence[Any],
    assets: Sequence[str],
    area: Mapping[str, Any],
    specs: Sequence[S2Item],
) -> GeoBox:
    """Find the grid as `odc.stac.load` would, but in the items' CRS where nothing else is said."""
    asked = dict(area)
    intersects = asked.pop("intersects", None)
    asked.setdefault("geopolygon", intersects)
    whole = "geobox" in area or "like" in area
    if area and not whole:
        asked.setdefault("crs", specs[0].crs or None)
    try:
        geobox = odc_stac.output_geobox(parsed, bands=assets, **asked)
        if geobox is None:  # the items do not tell the grids of their assets
            asked = {"crs": specs[0].crs or None, "resolution": RESOLUTION, **asked}
            geobox = odc_stac.output_geobox(parsed, bands=assets, **asked)
    except ValueError as error:
        raise OptionError(f"the cube's grid cannot be laid out: {error}") from error
    if geobox is None:
        raise CubeError(
            ["the items do not say their CRS; give it: load_s2(items, crs=..., resolution=10)."]
        )
    footprints = (one.safe_geometry(geobox.crs) for one in parsed)
    if not any(one is not None and one.intersects(geobox.extent) for one in footprints):
        raise CubeError(
            [
                f"none of the items touches the area asked for, {_bounds(geobox)}; bbox= is (west, "
                "south, east, north) in degrees, x= and y= are in the units of crs=."
            ]
        )
    if not geobox.crs.projected:
        raise OptionError(
            f"crs={geobox.crs} is in degrees; AnySat needs metres: leave crs= to the items', or "
            'give a projected one, as crs="utm".'
        )
    return geobox


def _bounds(geobox: GeoBox) -> str:
    numbers = ", ".join(f"{number:g}" for number in geobox.extent.boundingbox.bbox)
    return f"({numbers}) in {geobox.crs}"


def _labelled(
    cube: xr.Dataset, dates: Sequence[Sequence[S2Item]], classes: tuple[int, ...]
) -> xr.Dataset:
    """Say which items each date is made of, in text and numbers that every format holds."""

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
        cloud_cover=(
            "time",
            np.array([clouds(date) for date in dates], np.float32),
            {"units": "percent"},
        ),
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
