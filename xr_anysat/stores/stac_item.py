"""A STAC item of an embedding in a store: where, when, what made it, and whether it is complete."""

import json
import os
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
import xarray as xr
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry

from xr_anysat.errors import StoreError
from xr_anysat.settings import require

from .conventions import embedding_fields, geobox_of, proj_fields
from .location import open_location
from .manifest import ARRAY, Manifest
from .opening import open_stored
from .regions import RegionGrid

if TYPE_CHECKING:
    import pystac

__all__ = ["stac_item"]

PROJECTION = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"
MEDIA_TYPE = "application/vnd.zarr; version=3"

EDGE_POINTS = 16
"""Points along a side of the footprint, whose sides are curved in degrees."""

TOLERANCE = 1e-6
"""Degrees, a tenth of a metre: points that change the footprint by less are left out."""

PROVENANCE = (
    "mode", "weights", "weights_digest", "precision", "patch_size_m", "tile_size_pixels", "overlap",
    "normalization", "reduction", "quantization", "quantization_max_error", "xr_anysat_version",
)  # fmt: skip
"""Attributes of the map that the item repeats, after ``xr_anysat:``."""


def stac_item(
    store: Any,
    *,
    id: str | None = None,
    href: str | None = None,
    storage_options: dict[str, Any] | None = None,
) -> "pystac.Item":
    """Describe an embedding that `to_zarr` wrote as a STAC item.

    The item has the footprint in WGS 84, the range of the dates that were embedded, the grid
    (projection extension, version 2.0), and fields of the embedding extension with the prefix
    ``emb:``, which are those of the store's ``geoemb:`` attributes: ``emb:type``,
    ``emb:dimensions``, ``emb:model`` and so on. The address of the embedding extension's schema
    could not be verified, so ``stac_extensions`` does not list it; append it there to have the item
    validated against it.

    A store that is not complete is described too; ``xr_anysat:complete`` is false then, and
    ``xr_anysat:regions_done`` and ``xr_anysat:regions`` tell how far it is.

    Parameters
    ----------
    store, storage_options
        As in `to_zarr`.
    id : str, optional
        Of the item. Default: the store's name without its ending.
    href : str, optional
        Of the asset. Default: `store`; a path is made absolute.

    Returns
    -------
    pystac.Item
        With an asset ``embedding``; not written anywhere: ``item.save_object(dest_href=...)``.

    Raises
    ------
    MissingExtraError
        Where pystac is not installed.
    StoreError
        Where there is no embedding, or it lacks the attributes that say what made it.
    """
    pystac = require("pystac", "stac", "stac_item()")
    location = open_location(store, storage_options, read_only=True)
    job, dataset = open_stored(location, decode=False)
    embedding = dataset[ARRAY]
    if missing := {"mode", "model", "weights", "dates", "gsd_m", "patch_size_m"} - {
        *embedding.attrs
    }:
        raise StoreError("store.no-provenance", store=location, missing=sorted(missing))
    href = _href(store, str(location)) if href is None else href
    geobox = geobox_of(embedding)
    geometry, bbox = _footprint(geobox)
    when, period = _dates(embedding)
    grid = {
        **proj_fields(geobox),
        "proj:shape": list(geobox.shape),
        "proj:transform": list(geobox.transform[:6]),
        "proj:bbox": list(geobox.boundingbox.bbox),
    }
    fields = embedding_fields(embedding, embedding.dtype)
    item = pystac.Item(
        id=id or PurePosixPath(href.rstrip("/")).stem,
        geometry=geometry,
        bbox=bbox,
        datetime=when,
        properties={
            **period,
            "gsd": abs(float(geobox.resolution.x)),
            **grid,
            **{f"emb:{name}": value for name, value in fields.items()},
            **_provenance(embedding),
            **_progress(job, Manifest(location=location)),
        },
        stac_extensions=[PROJECTION],
    )
    asset = pystac.Asset(href=href, title="AnySat embedding", media_type=MEDIA_TYPE, roles=["data"])
    item.add_asset("embedding", asset)
    return item


def _href(store: Any, location: str) -> str:
    if isinstance(store, str | os.PathLike):
        text = os.fspath(store)
        return text if "://" in text else os.path.abspath(os.path.expanduser(text))
    return location


def _footprint(geobox: GeoBox) -> tuple[dict[str, Any], list[float]]:
    """Outline as GeoJSON, and west, south, east and north: west is greater across the date line."""
    step = max(geobox.boundingbox.span_x, geobox.boundingbox.span_y) / EDGE_POINTS
    outline: Geometry = geobox.extent.to_crs("EPSG:4326", resolution=step, wrapdateline=True)
    outline = outline.simplify(TOLERANCE)
    parts = list(outline.geom.geoms) if outline.geom_type == "MultiPolygon" else [outline.geom]
    west, south, east, north = shapely.total_bounds(parts).tolist()
    if len(parts) > 1 and east - west > 180:
        lefts, _, rights, _ = shapely.bounds(parts).T
        west, east = float(lefts[lefts > 0].min()), float(rights[rights < 0].max())
    return json.loads(shapely.to_geojson(outline.geom)), [west, south, east, north]


def _dates(embedding: xr.DataArray) -> tuple[datetime | None, dict[str, str]]:
    """Give one moment, or a range of them, in UTC."""
    moments = np.sort(np.array(str(embedding.attrs["dates"]).split(), dtype="M8[s]"))
    first, last = (moments[n].item().replace(tzinfo=UTC) for n in (0, -1))
    if first == last:
        return first, {}
    start, end = (each.strftime("%Y-%m-%dT%H:%M:%SZ") for each in (first, last))
    return None, {"start_datetime": start, "end_datetime": end}


def _provenance(embedding: xr.DataArray) -> dict[str, Any]:
    return {
        f"xr_anysat:{name}": embedding.attrs[name] for name in PROVENANCE if name in embedding.attrs
    }


def _progress(job: dict[str, Any] | None, manifest: Manifest) -> dict[str, Any]:
    """How far the store is; one that was written by other means is complete."""
    if job is None:
        return {"xr_anysat:complete": True}
    grid = RegionGrid.from_json(job["map"])
    done = len(manifest.done(grid))
    return {
        "xr_anysat:complete": done == len(grid),
        "xr_anysat:regions": len(grid),
        "xr_anysat:regions_done": done,
    }
