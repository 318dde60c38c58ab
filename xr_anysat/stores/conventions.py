"""Attributes of a store that other software understands.

Attributes of the root group follow three Zarr conventions: ``proj:`` and ``spatial:`` (zarr-
conventions, version 1) for where the map lies, and ``geoemb:`` (the geo-embeddings convention,
version 1) for what made it and how it is coded. Their schemas were not available to validate
against when this was written. ``proj:`` and ``spatial:`` are declared with their identifiers;
``geoemb:`` is declared by name and address alone, with its fields ``type``, ``dimensions``,
``model``, ``source_data``, ``data_type``, ``gsd``, ``chip_layout`` and ``quantization``.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from odc.geo.geobox import GeoBox
from odc.geo.xr import ODCExtensionDa

from xr_anysat.errors import StoreError

from .quantize import MISSING

__all__ = ["convention_attrs", "embedding_fields", "geobox_of", "proj_fields"]

CONVENTIONS = (
    {
        "name": "proj:",
        "description": "coordinate reference system of geospatial data",
        "uuid": "f17cb550-5864-4468-aeb7-f3180cfb622f",
        "schema_url": "https://raw.githubusercontent.com/zarr-conventions/geo-proj/refs/tags/v1/"
        "schema.json",
        "spec_url": "https://github.com/zarr-conventions/geo-proj/blob/v1/README.md",
    },
    {
        "name": "spatial:",
        "description": "spatial coordinates of arrays",
        "uuid": "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4",
        "schema_url": "https://raw.githubusercontent.com/zarr-conventions/spatial/refs/tags/v1/"
        "schema.json",
        "spec_url": "https://github.com/zarr-conventions/spatial/blob/v1/README.md",
    },
    {
        "name": "geoemb:",
        "description": "provenance and coding of geospatial embeddings",
        "spec_url": "https://github.com/geo-embeddings/embeddings-zarr-convention",
    },
)


def convention_attrs(embedding: xr.DataArray, dtype: npt.DTypeLike) -> dict[str, Any]:
    """Attributes of the group that holds an embedding.

    Parameters
    ----------
    embedding
        (feature or component, y, x), with CRS and provenance; its values are not read.
    dtype
        As it is stored.

    Returns
    -------
    dict
        For JSON.
    """
    geobox = geobox_of(embedding)
    fields = embedding_fields(embedding, dtype)
    return {
        "zarr_conventions": [dict(each) for each in CONVENTIONS],
        **proj_fields(geobox),
        "spatial:dimensions": ["y", "x"],
        "spatial:bbox": list(geobox.boundingbox.bbox),
        "spatial:transform_type": "affine",
        "spatial:transform": list(geobox.transform[:6]),
        "spatial:shape": list(geobox.shape),
        "spatial:registration": "pixel",
        **{f"geoemb:{name}": value for name, value in fields.items()},
    }


def geobox_of(embedding: xr.DataArray) -> GeoBox:
    """Grid of a map, in the order of its rows and columns."""
    geobox = ODCExtensionDa(embedding).geobox
    if not isinstance(geobox, GeoBox) or geobox.crs is None:
        raise StoreError("store.no-grid")
    return geobox


def proj_fields(geobox: GeoBox) -> dict[str, Any]:
    """Code of a CRS, or its WKT2 where it has none."""
    crs: Any = geobox.crs
    if crs.epsg:
        return {"proj:code": f"EPSG:{crs.epsg}"}
    return {"proj:wkt2": crs.proj.to_wkt("WKT2_2019")}


def embedding_fields(embedding: xr.DataArray, dtype: npt.DTypeLike) -> dict[str, Any]:
    """Fields of the geo-embeddings convention, without prefix."""
    attrs, cell = embedding.attrs, abs(float(geobox_of(embedding).resolution.x))
    stored = np.dtype(dtype).name
    fields: dict[str, Any] = {
        "type": "pixel" if attrs["mode"] == "grid" else "chip",
        "dimensions": embedding.shape[0],
        "model": f"{attrs['model']}, weights: {attrs['weights']}",
        "source_data": ["Sentinel-2"],
        "data_type": stored,
        "gsd": cell,
    }
    if fields["type"] == "chip":
        size = attrs["patch_size_m"]
        if attrs["mode"] == "tile":
            size = attrs["tile_size_pixels"] * attrs["gsd_m"]
        pixels = [round(length / attrs["gsd_m"]) for length in (size, cell)]
        fields["chip_layout"] = {
            "layout_type": "regular_grid",
            "chip_size": [pixels[0]] * 2,
            "stride": [pixels[1]] * 2,
        }
    if stored == "int8":
        fields["quantization"] = {
            "method": "linear, by feature: value = code * scale + offset",
            "original_dtype": "float32",
            "quantized_dtype": stored,
            "scale": "scale",
            "offset": "offset",
            "missing": MISSING,
        }
    return fields
