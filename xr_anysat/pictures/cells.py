"""Cells of an embedding: their vectors sampled, projected and labelled, lazily where it is lazy.

A cell is what has one vector: a pixel, a patch, a tile, or a geometry.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from itertools import product
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from xr_anysat.errors import OptionError
from xr_anysat.graph.statistics import sample_windows
from xr_anysat.layout.chunks import rechunk
from xr_anysat.results.labels import FEATURE_DIM

__all__ = ["as_embedding", "check_fit", "feature_coords", "fit_on_sample", "label_cells", "project"]

Array = npt.NDArray[Any]

REDUCED_DIM = "component"
"""In place of features, where a map was stored reduced."""

SAMPLE = 10_000
"""Cells that something is fitted on: several times the features of the largest vector."""

_SAME = ("model", "weights")
"""Attributes without which two embeddings are not of one space."""


def as_embedding(embedding: Any, call: str) -> xr.DataArray:
    """Take an embedding; one that was stored reduced gets its components as features.

    Raises
    ------
    OptionError
        Where it is no embedding.
    """
    repair = f'embed the cube first: cube.anysat.embed(mode="patch").anysat.{call}'
    if isinstance(embedding, xr.DataArray):
        if FEATURE_DIM in embedding.dims:
            return embedding
        if REDUCED_DIM in embedding.dims:
            return embedding.rename({REDUCED_DIM: FEATURE_DIM})
        found = f"a DataArray with dims {embedding.dims}"
    else:
        found = f"a {type(embedding).__name__}"
        variables = getattr(embedding, "data_vars", {})
        names = [name for name, v in variables.items() if FEATURE_DIM in v.dims]
        if names:
            repair = f"take the variable: ds[{names[0]!r}].anysat.{call}"
    raise OptionError(
        f"{call} needs an embedding, a DataArray with a dimension {FEATURE_DIM!r}, and this is "
        f"{found}; {repair}."
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
    cells = [each for each in embedding.dims if each != FEATURE_DIM]
    if not 1 <= len(cells) <= 2:
        name = cells[0] if cells else None
        repair = (
            f"fit on a part of it, embedding.isel({name}=0), and give that as fit= for the whole."
            if name is not None
            else "this is the vector of a single cell."
        )
        raise OptionError(
            f"a fit needs a map (y, x) or a row of geometries, and the embedding has "
            f"{embedding.dims}; {repair}"
        )
    data = embedding.transpose(FEATURE_DIM, *cells).data
    sizes = data.shape[1:]
    share = min(1.0, SAMPLE / math.prod(sizes)) ** (1 / len(sizes))
    windows = product(*(sample_windows(size, share) for size in sizes))
    blocks = [data[(slice(None), *(slice(*span) for span in window))] for window in windows]
    if embedding.chunks is None:
        return fit(_rows(blocks))
    blocks = [rechunk(block, -1) for block in blocks]
    name = f"anysat-fit-{tokenize(fit, shape, [block.name for block in blocks])}"
    keys = [(block.name, *[0] * block.ndim) for block in blocks]
    tasks: dict[Any, Any] = {(name, 0, 0): (_fit, keys, fit)}
    graph = HighLevelGraph.from_collections(name, tasks, dependencies=blocks)
    return da.Array(graph, name, tuple((n,) for n in shape), meta=np.empty((0, 0)))


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
    if any(isinstance(each, da.Array) for each in (data, axes)):
        return da.tensordot(da.asarray(axes), da.asarray(data), axes=1) + constant
    return np.tensordot(axes, data, axes=1) + constant


def label_cells(
    data: Any,
    embedding: xr.DataArray,
    name: str,
    attrs: Mapping[str, Any],
    lead: Iterable[str] = (),
) -> xr.DataArray:
    """Name the axes of what was made of an embedding, its vectors gone.

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
    cells = [each for each in embedding.dims if each != FEATURE_DIM]
    coords = {
        key: coord
        for key, coord in embedding.coords.items()
        if FEATURE_DIM not in coord.dims and key not in (FEATURE_DIM, "part")
    }
    attributes = {**embedding.attrs, **attrs}
    result = xr.DataArray(data, dims=(*lead, *cells), coords=coords, name=name, attrs=attributes)
    if "spatial_ref" in coords:
        result.encoding["grid_mapping"] = result.encoding["coordinates"] = "spatial_ref"
    return result


def feature_coords(embedding: xr.DataArray) -> dict[Any, Any]:
    """Coordinates along the features, in one chunk where they are lazy."""
    along = {n: c.variable for n, c in embedding.coords.items() if c.dims == (FEATURE_DIM,)}
    return {
        name: variable
        if variable.chunks is None
        else variable.copy(data=rechunk(variable.data, -1))
        for name, variable in along.items()
    }


def check_fit(fit: Any, needed: Iterable[str], embedding: xr.DataArray, call: str) -> xr.Dataset:
    """Refuse a fit that is none, or that was made in another space than an embedding's.

    Raises
    ------
    OptionError
        Where it does not fit.
    """
    if not isinstance(fit, xr.Dataset) or any(name not in fit for name in needed):
        found = f"has {list(fit)}" if isinstance(fit, xr.Dataset) else f"is a {type(fit).__name__}"
        raise OptionError(f"fit= {found}; give what embedding.anysat.{call} returns.")
    size = fit.sizes.get(FEATURE_DIM)
    if size != embedding.sizes[FEATURE_DIM]:
        raise OptionError(
            f"fit= was made of vectors of {size} features, and the embedding has "
            f"{embedding.sizes[FEATURE_DIM]}; select the part that both have, "
            f'embedding.sel(feature=embedding.part == "patch"), or fit anew: '
            f"embedding.anysat.{call}."
        )
    for name in (FEATURE_DIM, "part"):
        labels = [each.coords.get(name) for each in (fit, embedding)]
        known = [each.values for each in labels if each is not None and each.chunks is None]
        if len(known) == 2 and not np.array_equal(*known):
            raise OptionError(
                f"fit= was made of other features than the embedding has: their {name!r} labels "
                f"differ. Select the same, or fit anew: embedding.anysat.{call}."
            )
    for key in _SAME:
        one, other = fit.attrs.get(key), embedding.attrs.get(key)
        if one != other and one is not None and other is not None:
            raise OptionError(
                f"fit= was made with {key} {one!r}, and the embedding with {other!r}: their "
                f"vectors do not compare. Fit anew: embedding.anysat.{call}."
            )
    return fit


def _fit(blocks: list[Array], fit: Callable[[Array], Array]) -> Array:
    return fit(_rows(blocks))


def _rows(blocks: list[Array]) -> Array:
    """(feature, ...) blocks as rows (cell, feature), those with anything missing left out."""
    rows = np.concatenate([block.reshape(len(block), -1).T for block in blocks])
    return rows[np.isfinite(rows).all(axis=1)].astype(np.float32, copy=False)
