"""Maps of likeness: the cosine between every vector of an embedding and one of them, or another."""

from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import shapely
import xarray as xr
from pyproj import Transformer
from pyproj.exceptions import CRSError

from xr_anysat.errors import OptionError
from xr_anysat.findings import Call, Finding, SetOption
from xr_anysat.keywords import suggests_keywords
from xr_anysat.layout.chunks import rechunk
from xr_anysat.results.coords_and_attrs import FEATURE_DIM

from .cells import PATCH_HALF, as_embedding, cell_dims, label_cells, project

__all__ = ["similarity"]

Array = npt.NDArray[Any]


@suggests_keywords()
def similarity(embedding: xr.DataArray, target: Any, *, crs: Any = None) -> xr.DataArray:
    """Cosine similarity of every vector of an embedding to one.

    Parameters
    ----------
    embedding : xarray.DataArray
        (feature, y, x); or with any other dims where `target` is a vector.
    target : shapely.Point, pair of float, xarray.DataArray or numpy.ndarray
        A place, whose cell's vector is taken; or a vector (feature,) itself, as
        ``mode="pooled"`` gives for a field. A tuple or list is a place, an array is a vector.
    crs : optional
        CRS of a place, anything that pyproj reads. Default: the embedding's.

    Returns
    -------
    xarray.DataArray
        Named "similarity", (y, x), float32 from -1 to 1, NaN where the embedding is; lazy where
        it is. The attribute ``point`` tells the place in the embedding's CRS.

    Raises
    ------
    OptionError
        For what is no embedding, no place or vector; for a place outside the map; and, for a lazy
        embedding once its values are seen, for a vector with NaN or of zeros alone.
    """
    embedding = as_embedding(embedding, "similarity(point)")
    attrs: dict[str, Any] = {"long_name": "cosine similarity of AnySat embeddings", "units": "1"}
    if isinstance(target, xr.DataArray | np.ndarray | da.Array):
        if crs is not None:
            raise OptionError("target.crs-of-vector", crs=SetOption("crs"))
        vector, what = _as_vector(target, embedding), "the target vector"
    else:
        x, y = _as_place(target, embedding, crs)
        vector, what = _vector_at(embedding, x, y), f"the embedding at x={x:.10g}, y={y:.10g}"
        attrs["point"] = [x, y]
    if isinstance(vector, da.Array):
        vector = rechunk(vector, -1)
        unit = da.map_blocks(_unit, vector, what=what, dtype="float64", meta=np.empty(0))
    else:
        unit = _unit(vector, what)
    along = project(embedding, unit[None], np.zeros(1))[0]
    values = embedding.astype(np.float32, copy=False)
    lengths = np.sqrt(xr.dot(values, values, dim=FEATURE_DIM).transpose(*cell_dims(embedding)).data)
    # A cell whose vector is zero has no direction: it is NaN.
    cosine = along / np.where(lengths > 0, lengths, np.nan)
    return label_cells(cosine.clip(-1, 1), embedding, "similarity", attrs)


def _unit(vector: Array, what: str) -> Array:
    length = np.linalg.norm(vector.astype(np.float64))
    if not np.isfinite(length) or length == 0:
        known, value = Call("embedding.isel(feature=0).notnull()"), "NaN" if length else "zero"
        raise OptionError("target.no-direction", known, what=what, value=value)
    return vector.astype(np.float64) / length


def _as_vector(target: Any, embedding: xr.DataArray) -> Any:
    """Take (feature,) numbers."""
    if isinstance(target, xr.DataArray):
        target = target.data
    size = embedding.sizes[FEATURE_DIM]
    if target.shape != (size,) or target.dtype.kind not in "iuf":
        shape, dtype, grid = target.shape, target.dtype, SetOption("mode", "grid")
        raise OptionError(
            "target.vector", PATCH_HALF, shape=shape, dtype=dtype, size=size, grid=grid
        )
    return target


def _as_place(target: Any, embedding: xr.DataArray, crs: Any) -> tuple[float, float]:
    """Take x and y, in the embedding's CRS."""
    if isinstance(target, shapely.Point) and not target.is_empty:
        place: tuple[float, ...] = (target.x, target.y)
    else:
        try:
            place = tuple(float(each) for each in target)
        except (TypeError, ValueError):
            place = ()
    if len(place) != 2 or not np.isfinite(place).all():
        raise OptionError("target.place", place=repr(target))
    x, y = place
    if crs is None:
        return x, y
    own = embedding.rio.crs
    if own is None:
        repair = Call("embedding.rio.write_crs(...)")
        raise OptionError("target.no-crs", repair, crs=SetOption("crs"))
    try:
        transformer = Transformer.from_crs(crs, own, always_xy=True)
    except CRSError as error:
        finding = Finding("target.crs", crs=SetOption("crs", crs), error=error)
        raise OptionError(finding) from error
    x, y = transformer.transform(x, y)
    return float(x), float(y)


def _vector_at(embedding: xr.DataArray, x: float, y: float) -> Any:
    """Vector of the cell at a place."""
    if {*embedding.dims} != {FEATURE_DIM, "y", "x"} or not {"y", "x"} <= {*embedding.coords}:
        raise OptionError("target.needs-map", dims=embedding.dims)
    centres = {dim: embedding[dim].values for dim in ("y", "x")}
    steps = [abs(at[1] - at[0]) for at in centres.values() if len(at) > 1]
    half = max(steps, default=np.inf) / 2  # a map of one cell does not tell its size
    spans = {dim: (at.min() - half, at.max() + half) for dim, at in centres.items()}
    index = {
        dim: int(np.abs(centres[dim] - at).argmin())
        for dim, at in (("y", y), ("x", x))
        if spans[dim][0] <= at <= spans[dim][1]
    }
    if len(index) < 2:
        (west, east), (south, north) = spans["x"], spans["y"]
        edges = {"west": west, "east": east, "south": south, "north": north}
        crs = SetOption("crs", "EPSG:4326")
        raise OptionError("target.outside", crs, x=x, y=y, **edges)
    return embedding.isel(index).data
