"""Coordinates, CRS and attributes of results."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

from xr_anysat._version import __version__
from xr_anysat.cube.canonical import CanonicalCube
from xr_anysat.job.fingerprint import canonical_form
from xr_anysat.job.job import EmbedJob
from xr_anysat.weights.files import PUBLISHED, WeightsSource, digest_of

__all__ = [
    "FEATURE_DIM",
    "LONG_NAME",
    "label_embedding",
    "label_pixels",
    "map_parts",
    "provenance",
    "weights_attrs",
]

FEATURE_DIM = "feature"
LONG_NAME = "AnySat embedding"


def label_embedding(data: Any, job: EmbedJob) -> xr.DataArray:
    """Label the result of a job, and turn maps the way the cube runs.

    Parameters
    ----------
    data
        (feature, y, x), north up; of pooled embeddings (feature,) or (geometry, feature).
    job
        What made it.

    Returns
    -------
    xarray.DataArray
        With the first and the last date that were embedded as coordinates. Where embeddings of
        several periods are put together, coordinates that differ get the new dimension; of
        attributes, xarray keeps those of the first.
    """
    geometries = job.output.geometries
    coords: dict[Any, Any]
    dims: tuple[str, ...]
    if job.output.mode != "pooled":
        data, dims = job.cube.own_order(data), (FEATURE_DIM, "y", "x")
        coords = _coordinates(job.geobox, job.cube)
    else:
        dims = (FEATURE_DIM,) if geometries is None else ("geometry", FEATURE_DIM)
        crs = xr_coords(job.cube.spec.geobox, dims=("y", "x"))["spatial_ref"]
        coords = {"spatial_ref": crs, **({} if geometries is None else geometries.coords)}
    channels, parts = data.shape[dims.index(FEATURE_DIM)], map_parts(job)
    part = np.array(parts, dtype=object).repeat(channels // len(parts))
    coords |= {
        FEATURE_DIM: (FEATURE_DIM, np.arange(channels), {"long_name": "embedding channel"}),
        "part": (FEATURE_DIM, part, {"long_name": "what the channel describes"}),
    }
    moments = job.reference.moments.astype("M8[ns]")
    for end, date in (("first", moments.min()), ("last", moments.max())):
        coords[f"{end}_date"] = ((), date, {"long_name": f"{end} date embedded"})
    result = xr.DataArray(data, dims=dims, name="embedding", coords=coords, attrs=provenance(job))
    # CF names the CRS in `grid_mapping`; listed as a coordinate too, it also comes back where a
    # file is opened without decode_coords="all".
    result.encoding["grid_mapping"] = "spatial_ref"
    result.encoding["coordinates"] = "spatial_ref part first_date last_date"
    result.encoding["_FillValue"] = np.float32("nan")
    return result


def label_pixels(
    data: Any, name: str, cube: CanonicalCube, attrs: Mapping[str, Any]
) -> xr.DataArray:
    """Name the axes of (y, x) values of the cube's pixels, north up, and turn them its way."""
    result = xr.DataArray(
        cube.own_order(data),
        dims=("y", "x"),
        name=name,
        coords=_coordinates(cube.spec.geobox, cube),
        attrs=attrs,
    )
    result.encoding["grid_mapping"] = "spatial_ref"
    return result


def _coordinates(geobox: GeoBox, cube: CanonicalCube) -> dict[Any, Any]:
    """Coordinates of a north-up grid, in the cube's own order.

    Where the result has the cube's own pixels, it has the very coordinates of the cube, so that
    the two align, unless these are of corners; and its `spatial_ref` has the value of the cube's
    (the CRS is in its attributes, the value is 0 for rioxarray and the EPSG code for odc-geo), so
    that the two merge.
    """
    spec, source = cube.spec, cube.source
    geobox, pixels = map(spec.orientation.geobox, (geobox, spec.geobox))
    coords: dict[Any, Any] = dict(xr_coords(geobox, dims=("y", "x")))
    if "spatial_ref" in source.coords and source["spatial_ref"].ndim == 0:
        coords["spatial_ref"] = coords["spatial_ref"].copy(data=source["spatial_ref"].values)
    own = geobox.shape == pixels.shape and not spec.corners
    if own and np.isclose(geobox.resolution.x, pixels.resolution.x):
        for name, dim in (("y", spec.y_dim), ("x", spec.x_dim)):
            if dim in source.coords:
                coords[name] = (name, source[dim].values, coords[name].attrs)
    return coords


def provenance(job: EmbedJob) -> dict[str, Any]:
    """Provenance of an embedding, in strings, numbers and lists, which every format can hold."""
    form, spec = canonical_form(job), job.cube.spec
    options, model = form["options"], form["model"]
    attrs: dict[str, Any] = {
        "long_name": LONG_NAME,
        "mode": options["mode"],
        "xr_anysat_version": __version__,
        "model": f"AnySat {model['size']}",
        **weights_attrs(job.model.source),
        "precision": model["precision"],
        "attention": "flash layout" if model["flash_layout"] else "standard",
        "patch_size_m": options["patch_size"],
        "tile_size_pixels": options["tile_size"],
        "overlap": options["overlap"],
        "input_prep": options["input_prep"],
        "gsd_m": float(spec.gsd),
        "normalization": options["normalize"]["name"],
        "bands": form["cube"]["bands"],
        # one string: of a list of one, NetCDF makes a string, and GeoTIFF of any list
        "dates": " ".join(np.datetime_as_string(job.reference.moments, unit="s").tolist()),
    }
    if options["normalize"]["numbers"] is not None:
        attrs["normalization_mean"], attrs["normalization_std"] = options["normalize"]["numbers"]
    if job.reference.frames is not None:
        attrs |= {"frames": job.reference.frames, "frame_date": job.reference.frame_date}
    if job.output.mode == "pooled":
        attrs |= {"pooling": job.output.pooling, "pool_from": job.output.pool_from}
    return attrs


def map_parts(job: EmbedJob) -> tuple[str, ...]:
    """Names of the equal parts of the features."""
    mode = job.output.map_mode
    return ("patch", "subpatch") if mode == "grid" else (mode,)


def weights_attrs(source: WeightsSource) -> dict[str, Any]:
    """Attributes of the weights, which may be downloaded only after a graph is built."""
    attrs: dict[str, Any] = {"weights": source.description}
    if source.kind != "random":
        expected = f"sha256:{PUBLISHED.sha256} (expected, not yet seen)"
        attrs["weights_digest"] = digest_of(source) or expected
    return attrs
