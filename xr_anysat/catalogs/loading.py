"""Arguments of `odc.stac.load`: on which grid, and which items make one date.

Nothing here knows a sensor, and odc-stac is given where it is needed.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby as runs_of
from typing import Any

from odc.geo.geobox import GeoBox

from xr_anysat.errors import CubeError, OptionError
from xr_anysat.findings import Call, SetOption

from .items import CatalogItem

__all__ = ["AREA", "check_options", "find_geobox", "group_by_date"]

AREA = (
    "crs", "resolution", "geobox", "like", "bbox", "lon", "lat", "x", "y", "geopolygon",
    "intersects", "anchor", "align",
)  # fmt: skip
"""Options of `odc.stac.load` that say where the cube is."""

RESOLUTION = 10
"""Metres, where the items do not tell the size of their pixels."""


def check_options(options: Mapping[str, Any], decided: Mapping[str, str], loader: str) -> None:
    """Refuse options of `odc.stac.load` that a loader decides itself, each with its reason."""
    taken = [f"{name} ({decided[name]})" for name in options if name in decided]
    if taken:
        raise OptionError(
            "load.decided", Call("odc.stac.load"), loader=loader, taken=", ".join(taken)
        )


def find_geobox(
    odc_stac: Any,
    parsed: Sequence[Any],
    assets: Sequence[str],
    area: Mapping[str, Any],
    specs: Sequence[CatalogItem],
    loader: str,
) -> GeoBox:
    """Find the grid as `odc.stac.load` would, but in the items' CRS unless another is given.

    Parameters
    ----------
    odc_stac
        The module.
    parsed
        Items as odc-stac parses them.
    assets
        Keys of those to load.
    area
        Those options that are in `AREA`.
    specs
        What the items are.
    loader
        Name of the function that is called.
    """
    where = dict(area)
    intersects = where.pop("intersects", None)
    where.setdefault("geopolygon", intersects)
    if area and "geobox" not in area and "like" not in area:
        where.setdefault("crs", specs[0].crs or None)
    try:
        geobox = odc_stac.output_geobox(parsed, bands=assets, **where)
        if geobox is None:  # the items do not tell the grids of their assets
            where = {"crs": specs[0].crs or None, "resolution": RESOLUTION, **where}
            geobox = odc_stac.output_geobox(parsed, bands=assets, **where)
    except ValueError as error:
        raise OptionError("area.grid", error=error) from error
    if geobox is None:
        raise CubeError("items.no-crs", Call(f"{loader}(items, crs=..., resolution=10)"))
    footprints = (one.safe_geometry(geobox.crs) for one in parsed)
    if not any(one is not None and one.intersects(geobox.extent) for one in footprints):
        bounds = ", ".join(f"{number:g}" for number in geobox.extent.boundingbox.bbox)
        raise CubeError("area.outside", bounds=bounds, crs=geobox.crs)
    if not geobox.crs.projected:
        crs = SetOption("crs", str(geobox.crs))
        raise OptionError("area.degrees", SetOption("crs", "utm"), crs=crs)
    return geobox


def group_by_date(
    images: Sequence[Any],
    parsed: Sequence[Any],
    geobox: GeoBox,
    groupby: Any,
    keep_order: bool = False,
) -> list[list[int]]:
    """Group items into dates as `odc.stac.load` does.

    Parameters
    ----------
    images, parsed
        Items of pystac, and as odc-stac parses them.
    geobox
        Grid of the cube; the solar day is that of its middle.
    groupby
        As `odc.stac.load` takes it.
    keep_order
        Whether items of a date keep the order given; otherwise they go by time and id.

    Returns
    -------
    list
        Numbers of the items of each date.
    """
    ((longitude, _),) = geobox.extent.centroid.to_crs("epsg:4326").points

    def date(n: int) -> Any:
        if callable(groupby):
            return groupby(images[n], parsed[n], n)
        if groupby is None or groupby == "id":
            return n
        if groupby == "solar_day":
            return parsed[n].solar_date_at(longitude).date()
        return parsed[n].nominal_datetime if groupby == "time" else images[n].properties[groupby]

    try:
        dates = [date(n) for n in range(len(images))]
    except KeyError as error:
        raise OptionError("load.groupby", given=SetOption("groupby", groupby)) from error

    def place(n: int) -> Any:
        return (dates[n], n) if keep_order else (dates[n], parsed[n].nominal_datetime, parsed[n].id)

    order = sorted(range(len(images)), key=place)
    return [list(group) for _, group in runs_of(order, key=lambda n: dates[n])]
