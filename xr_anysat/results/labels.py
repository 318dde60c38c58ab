"""Coordinates, CRS and attributes of results."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

from xr_anysat._version import __version__
from xr_anysat.compute.normalize import Normalization
from xr_anysat.cube.spec import CubeSpec
from xr_anysat.job.model import Model
from xr_anysat.job.options import Settings
from xr_anysat.layout.tiles import Axis
from xr_anysat.weights.files import PUBLISHED, WeightsSource, digest_of

__all__ = [
    "FEATURE_DIM",
    "LONG_NAME",
    "label_map",
    "label_pixels",
    "label_vectors",
    "provenance",
    "result_geobox",
    "weights_attrs",
]

FEATURE_DIM = "feature"
LONG_NAME = "AnySat embedding"


def result_geobox(spec: CubeSpec, mode: str, rows: Axis, columns: Axis) -> GeoBox:
    """Grid of a result, north up.

    A patch is a cell of its own size; a tile is a cell of the size of a stride around the tile's
    centre, so that cells touch whatever the overlap.
    """
    if mode == "grid":
        return spec.geobox
    if mode == "patch":
        shape, step, offset = (rows.patches, columns.patches), rows.patch, 0.0
    else:
        shape, step = (rows.tiles, columns.tiles), rows.stride * rows.patch
        offset = (rows.tile * rows.patch - step) / 2
    transform = spec.geobox.transform * Affine.translation(offset, offset) * Affine.scale(step)
    return GeoBox(shape, transform, spec.geobox.crs)


def label_map(
    data: Any, geobox: GeoBox, spec: CubeSpec, cube: xr.DataArray, attrs: Mapping[str, Any]
) -> xr.DataArray:
    """Name the axes of a (feature, y, x) array in the cube's own order."""
    return _label(data, (FEATURE_DIM, "y", "x"), _place(geobox, spec, cube), attrs)


def label_pixels(
    data: Any, name: str, spec: CubeSpec, cube: xr.DataArray, attrs: Mapping[str, Any]
) -> xr.DataArray:
    """Name the axes of (y, x) values of the cube's pixels, in its own order."""
    coords = _place(spec.geobox, spec, cube)
    result = xr.DataArray(data, dims=("y", "x"), name=name, coords=coords, attrs=attrs)
    result.encoding["grid_mapping"] = "spatial_ref"
    return result


def _place(geobox: GeoBox, spec: CubeSpec, cube: xr.DataArray) -> dict[Any, Any]:
    """Coordinates of a north-up grid, in the cube's own order.

    Where the result has the cube's own pixels, it has the very coordinates of the cube, so that
    the two align, unless these are of corners; and its `spatial_ref` has the value of the cube's
    (the CRS is in its attributes, the value is 0 for rioxarray and the EPSG code for odc-geo), so
    that the two merge.
    """
    geobox = _own_order(geobox, spec)
    coords: dict[Any, Any] = dict(xr_coords(geobox, dims=("y", "x")))
    if "spatial_ref" in cube.coords and cube["spatial_ref"].ndim == 0:
        coords["spatial_ref"] = coords["spatial_ref"].copy(data=cube["spatial_ref"].values)
    own = tuple(geobox.shape) == spec.shape and not spec.corners
    if own and np.isclose(geobox.resolution.x, _step(spec)):
        for name, dim in (("y", spec.y_dim), ("x", spec.x_dim)):
            if dim in cube.coords:
                coords[name] = (name, cube[dim].values, coords[name].attrs)
    return coords


def label_vectors(
    data: Any,
    dims: tuple[str, ...],
    spec: CubeSpec,
    coords: Mapping[Any, Any],
    attrs: Mapping[str, Any],
) -> xr.DataArray:
    """Name the axes of pooled vectors, the last of them the features."""
    crs = xr_coords(spec.geobox, dims=("y", "x"))["spatial_ref"]
    return _label(data, dims, {"spatial_ref": crs, **coords}, attrs)


def _own_order(geobox: GeoBox, spec: CubeSpec) -> GeoBox:
    """Turn a north-up grid the way the cube runs."""
    geobox = geobox.flipy() if spec.flip_y else geobox
    return geobox.flipx() if spec.flip_x else geobox


def _step(spec: CubeSpec) -> float:
    step = float(spec.geobox.resolution.x)
    return -step if spec.flip_x else step


def _label(
    data: Any, dims: tuple[str, ...], coords: Mapping[Any, Any], attrs: Mapping[str, Any]
) -> xr.DataArray:
    channels = data.shape[dims.index(FEATURE_DIM)]
    part = np.array(attrs["parts"], dtype=object).repeat(channels // len(attrs["parts"]))
    result = xr.DataArray(
        data,
        dims=dims,
        name="embedding",
        coords={
            **coords,
            FEATURE_DIM: (FEATURE_DIM, np.arange(channels), {"long_name": "embedding channel"}),
            "part": (FEATURE_DIM, part, {"long_name": "what the channel describes"}),
        },
        attrs={key: value for key, value in attrs.items() if key != "parts"},
    )
    # CF names the CRS in `grid_mapping`; listed as a coordinate too, it also comes back where a
    # file is opened without decode_coords="all".
    result.encoding["grid_mapping"] = "spatial_ref"
    result.encoding["coordinates"] = "spatial_ref part"
    result.encoding["_FillValue"] = np.float32("nan")
    return result


def provenance(
    settings: Settings,
    spec: CubeSpec,
    model: Model,
    how: Normalization,
    moments: npt.NDArray[np.datetime64],
    frames: int | None,
    input_prep: str,
) -> dict[str, Any]:
    """Provenance: strings, numbers and lists of them, which every format can hold."""
    parts = ["patch", "subpatch"] if settings.map_mode == "grid" else [settings.map_mode]
    attrs: dict[str, Any] = {
        "parts": parts,
        "long_name": LONG_NAME,
        "mode": settings.mode,
        "xr_anysat_version": __version__,
        "model": f"AnySat {model.size}",
        **weights_attrs(model.source),
        "precision": model.precision,
        "attention": "flash layout" if model.flash_layout else "standard",
        "patch_size_m": settings.patch_size,
        "tile_size_pixels": settings.tile_size,
        "overlap": settings.overlap,
        "input_prep": input_prep,
        "gsd_m": float(spec.gsd),
        "normalization": how.name,
        "bands": [str(label) for label in spec.band_labels],
        # one string: of a list of one, NetCDF makes a string, and GeoTIFF of any list
        "dates": " ".join(np.datetime_as_string(moments, unit="s").tolist()),
    }
    if how.mean is not None and how.std is not None:
        attrs["normalization_mean"] = list(how.mean)
        attrs["normalization_std"] = list(how.std)
    if frames is not None:
        attrs["frames"] = frames
    if settings.mode == "pooled":
        attrs["pooling"] = settings.pooling
        attrs["pool_from"] = settings.pool_from
    return attrs


def weights_attrs(source: WeightsSource) -> dict[str, Any]:
    """Which weights: a graph may be built before they are downloaded, and then says so."""
    attrs: dict[str, Any] = {"weights": source.description}
    if source.kind != "random":
        expected = f"sha256:{PUBLISHED.sha256} (expected, not yet seen)"
        attrs["weights_digest"] = digest_of(source) or expected
    return attrs
