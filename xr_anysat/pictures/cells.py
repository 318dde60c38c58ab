"""Cells of an embedding: their vectors sampled, projected and labelled, lazily where it is lazy.

A cell is what has one vector: a pixel, a patch, a tile, or a geometry.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, product
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr

from xr_anysat.errors import OptionError
from xr_anysat.findings import Call, Finding, SetOption
from xr_anysat.graph.statistics import sample_windows
from xr_anysat.layout.chunks import rechunk
from xr_anysat.results.coords_and_attrs import FEATURE_DIM

__all__ = [
    "PATCH_HALF",
    "as_embedding",
    "cell_dims",
    "check_fit",
    "fit_on_sample",
    "is_embedding",
    "label_cells",
    "label_fit",
    "not_an_embedding",
    "project",
]

Array = npt.NDArray[Any]

REDUCED_DIM = "component"
"""In place of features, where a map was stored reduced."""

SAMPLE = 10_000
"""Cells that something is fitted on: several times the features of the largest vector."""

PATCH_HALF = Call('embedding.sel(feature=embedding.part == "patch")')
"""Features of a map of pixels that maps and vectors of other modes have too."""

_SAME = ("model", "weights")
"""Attributes without which two embeddings are not of one space."""


def is_embedding(obj: Any) -> bool:
    """Whether something has numbered features, or components, which no cube of bands has."""
    dims = {FEATURE_DIM, REDUCED_DIM} & set(getattr(obj, "dims", ()))
    return isinstance(obj, xr.DataArray) and any(obj[dim].dtype.kind in "iu" for dim in dims)


def as_embedding(embedding: Any, call: str, methods: Sequence[str] = ()) -> xr.DataArray:
    """Take an embedding; components of one that was stored reduced become its features.

    Raises
    ------
    OptionError
        For anything else, as `not_an_embedding` says.
    """
    if not isinstance(embedding, xr.DataArray) or not {FEATURE_DIM, REDUCED_DIM} & {
        *embedding.dims
    }:
        raise OptionError(not_an_embedding(embedding, call, methods))
    return embedding if FEATURE_DIM in embedding.dims else embedding.rename(component=FEATURE_DIM)


def not_an_embedding(obj: Any, call: str, methods: Sequence[str] = ()) -> Finding:
    """Say what something is that is not an embedding.

    Parameters
    ----------
    obj
        Anything.
    call
        What needs an embedding.
    methods
        Methods that the object has instead.
    """
    inside = [name for name, v in getattr(obj, "data_vars", {}).items() if FEATURE_DIM in v.dims]
    about = f" with dimensions {obj.dims}" if isinstance(obj, xr.DataArray) else ""
    if methods and not inside:
        about += f", which has the methods {[*methods]}"
    way = "Take its variable" if inside else "Embed the cube first"
    code = f"ds[{inside[0]!r}]" if inside else 'cube.anysat.embed("patch")'
    repair, kind = Call(f"{code}.anysat.{call}"), type(obj).__name__
    return Finding(
        "embedding.needed", repair, call=call, dim=FEATURE_DIM, kind=kind, about=about, way=way
    )


def fit_on_sample(
    embedding: xr.DataArray, fit: Callable[[Array], Array], shape: tuple[int, int]
) -> Any:
    """Fit something on at most about `SAMPLE` cells of an embedding.

    The cells lie in 16 windows (4 of a row of geometries) that are spread evenly, wherever chunks
    begin and end, so that a lazy map computes few chunks for them.

    Parameters
    ----------
    embedding
        (feature, y, x) or (geometry, feature).
    fit
        From (cell, feature) float32 without NaN to numbers; hashable by dask.
    shape
        Of these numbers.

    Returns
    -------
    numpy.ndarray or dask.array.Array
        The numbers, float64; lazy where the embedding is.

    Raises
    ------
    OptionError
        For an embedding that has other dims besides.
    """
    cells = cell_dims(embedding)
    if not 1 <= len(cells) <= 2:
        if not cells:
            raise OptionError("fit.dimensions/vector", dims=embedding.dims)
        part = Call(f"embedding.isel({cells[0]}=0)")
        raise OptionError("fit.dimensions", part, dims=embedding.dims, fit=SetOption("fit"))
    data = embedding.transpose(FEATURE_DIM, *cells).data
    sizes = data.shape[1:]
    share = min(1.0, SAMPLE / math.prod(sizes)) ** (1 / len(sizes))
    windows = product(*(sample_windows(size, share) for size in sizes))
    blocks = [data[(slice(None), *(slice(*span) for span in window))] for window in windows]
    if embedding.chunks is None:
        return _fit_rows(*blocks, fit=fit)
    arrays = chain.from_iterable(
        (block, [f"block {n} axis {axis}" for axis in range(block.ndim)])
        for n, block in enumerate(blocks)
    )
    return da.blockwise(
        _fit_rows, "ij", *arrays, fit=fit, new_axes=dict(zip("ij", shape, strict=True)),
        concatenate=True, align_arrays=False, token="anysat-fit", meta=np.empty((0, 0)),
    )  # fmt: skip


def project(embedding: xr.DataArray, axes: Any, constant: Any) -> Any:
    """Multiply each cell's vector by a matrix and add a constant, block by block.

    Parameters
    ----------
    embedding
        With any dimensions besides its features.
    axes
        (k, feature), numpy or dask.
    constant
        (k,), numpy or dask.

    Returns
    -------
    numpy.ndarray or dask.array.Array
        (k, *cells) float32, NaN where the embedding is.
    """
    data = embedding.transpose(FEATURE_DIM, ...).data.astype(np.float32, copy=False)
    if isinstance(axes, da.Array):  # a fit that was read from a file, in whatever chunks
        axes, constant = rechunk(axes, -1), rechunk(da.asarray(constant), -1)
    axes, constant = axes.astype(np.float32), constant.astype(np.float32)
    constant = constant.reshape(-1, *[1] * (data.ndim - 1))
    return np.tensordot(axes, data, axes=1) + constant  # of dask where one of them is


def label_cells(
    data: Any,
    embedding: xr.DataArray,
    name: str,
    attrs: Mapping[str, Any],
    lead: Iterable[str] = (),
) -> xr.DataArray:
    """Label what was computed from the vectors of an embedding.

    Parameters
    ----------
    data
        (*lead, *cells).
    embedding
        Whose cells they are.
    name, attrs
        Of the result; the embedding's attributes are kept besides.
    lead
        Dimensions before those of the cells.
    """
    coords = {
        key: coord
        for key, coord in embedding.coords.items()
        if FEATURE_DIM not in coord.dims and key not in (FEATURE_DIM, "part")
    }
    attributes = {**embedding.attrs, **attrs}
    result = xr.DataArray(
        data, dims=(*lead, *cell_dims(embedding)), coords=coords, name=name, attrs=attributes
    )
    if "spatial_ref" in coords:
        result.encoding["grid_mapping"] = result.encoding["coordinates"] = "spatial_ref"
    return result


def label_fit(
    embedding: xr.DataArray,
    long_name: str,
    variables: Mapping[str, tuple[Any, Any, str]],
    coords: Mapping[str, Any],
) -> xr.Dataset:
    """Name what was fitted to an embedding, whose attributes are kept.

    Parameters
    ----------
    embedding
        Whose features they are.
    long_name
        Of the result.
    variables
        Dimensions, values and long name of each.
    coords
        Besides those along the features.
    """
    return xr.Dataset(
        {
            name: (dims, values, {"long_name": text})
            for name, (dims, values, text) in variables.items()
        },
        coords={**coords, **_feature_coords(embedding)},
        attrs={**embedding.attrs, "long_name": long_name},
    )


def _feature_coords(embedding: xr.DataArray) -> dict[Any, Any]:
    """Coordinates along the features, in one chunk where they are lazy."""
    along = {n: c.variable for n, c in embedding.coords.items() if c.dims == (FEATURE_DIM,)}
    return {
        name: variable
        if variable.chunks is None
        else variable.copy(data=rechunk(variable.data, -1))
        for name, variable in along.items()
    }


def cell_dims(embedding: xr.DataArray) -> list[Any]:
    """Dimensions of the cells."""
    return [dim for dim in embedding.dims if dim != FEATURE_DIM]


def check_fit(fit: Any, needed: Iterable[str], embedding: xr.DataArray, call: str) -> xr.Dataset:
    """Check that a fit has what is needed, and was made in the embedding's space.

    Raises
    ------
    OptionError
        Where it does not fit.
    """
    again, name = Call(f"embedding.anysat.{call}"), SetOption("fit")
    if not isinstance(fit, xr.Dataset) or any(each not in fit for each in needed):
        kind = f"a Dataset of {list(fit)}" if isinstance(fit, xr.Dataset) else type(fit).__name__
        raise OptionError("fit.foreign", again, fit=name, kind=kind)
    both = fit, embedding
    pairs: list[tuple[str, list[Any]]]
    pairs = [("the number of features", [each.sizes.get(FEATURE_DIM, 0) for each in both])]
    for coord in (FEATURE_DIM, "part"):
        labels = [each.coords.get(coord) for each in both]
        known = [each.values for each in labels if each is not None and each.chunks is None]
        pairs.append((f"the labels {coord!r}", known))
    pairs += [(key, [each.attrs.get(key) for each in both]) for key in _SAME]
    for what, values in pairs:
        known = [value for value in values if value is not None]
        if len(known) == 2 and not np.array_equal(*known):
            one, other = known
            raise OptionError(
                "fit.mismatch", again, PATCH_HALF, fit=name, what=what, one=one, other=other
            )
    return fit


def _fit_rows(*blocks: Array, fit: Callable[[Array], Array]) -> Array:
    """Fit something on (feature, ...) blocks, cells with anything missing left out."""
    rows = np.concatenate([block.reshape(len(block), -1).T for block in blocks])
    return fit(rows[np.isfinite(rows).all(axis=1)].astype(np.float32, copy=False))
