"""Embeddings with fewer components: a linear map, applied within the blocks of a lazy map."""

from dataclasses import dataclass
from itertools import product
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph
from dask.typing import Key

from xr_anysat.errors import OptionError
from xr_anysat.findings import SetOption
from xr_anysat.settings import require

from .numbers import Array, Numbers

__all__ = [
    "COMPONENT_DIM",
    "GIVEN_REDUCTION",
    "Reduction",
    "as_reduction",
    "fit_reduction",
    "reduced_map",
    "require_pca",
]

COMPONENT_DIM = "component"

GIVEN_REDUCTION = SetOption("reduce", python="reduce=xr_anysat.open_reduction(store)")
"""The remedy of giving another map's numbers."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Reduction(Numbers):
    """A linear map of features: ``components @ (value - mean)``.

    Parameters
    ----------
    components
        (component, feature) float32.
    mean
        (feature,) float32.
    ratio
        (component,) float32: share of the sample's variance, where it is known.
    """

    components: Array
    mean: Array
    ratio: Array | None = None

    @property
    def count(self) -> int:
        """Number of components."""
        return len(self.components)

    @property
    def constant(self) -> Array:
        """What each component of the mean adds, (component,): ``-components @ mean``."""
        constant = -(self.components.astype(np.float64) @ self.mean.astype(np.float64))
        return constant.astype(np.float32)

    def apply(self, vectors: Array) -> Array:
        """Reduce (vector, feature) to (vector, component)."""
        return vectors @ self.components.T + self.constant

    def dataset(self) -> xr.Dataset:
        """Numbers as variables that lie beside the map."""
        variables = {
            "components": ((COMPONENT_DIM, "feature"), self.components, "rows of the linear map"),
            "mean": ("feature", self.mean, "taken from each feature before the linear map"),
        }
        if self.ratio is not None:
            name, label = "explained_variance_ratio", "share of the variance of the sample"
            variables[name] = (COMPONENT_DIM, self.ratio, label)
        return xr.Dataset(
            {name: (dims, v, {"long_name": label}) for name, (dims, v, label) in variables.items()},
            coords={"feature": np.arange(len(self.mean)), COMPONENT_DIM: np.arange(self.count)},
        )


def require_pca() -> Any:
    """Import scikit-learn's PCA.

    Raises
    ------
    MissingExtraError
        Where it is not installed.
    """
    return require("sklearn.decomposition", "ml", "reduce= with a number of components").PCA


def fit_reduction(sample: Array, count: int) -> Reduction:
    """Fit principal components to a sample (vector, feature) by scikit-learn, in double precision.

    They come from the whole covariance matrix, without random numbers.
    """
    fit = require_pca()(n_components=count, svd_solver="covariance_eigh")
    fit.fit(sample.astype(np.float64))
    return Reduction(
        components=fit.components_.astype(np.float32),
        mean=fit.mean_.astype(np.float32),
        ratio=fit.explained_variance_ratio_.astype(np.float32),
    )


def as_reduction(value: Any, features: int) -> Reduction:
    """Read a linear map from a DataArray, or from what `open_reduction` returns.

    Raises
    ------
    OptionError
        Where it is none, or of another number of features.
    """
    variables = value if isinstance(value, xr.Dataset) else {"components": value}
    matrix = variables.get("components")
    if not isinstance(matrix, xr.DataArray):
        lacking = " without `components`" if matrix is None else ""
        raise _no_linear_map(f"is a {type(value).__name__}{lacking}")
    if {*matrix.dims} != {"feature", COMPONENT_DIM} or matrix.dtype.kind not in "iuf":
        raise _no_linear_map(f"has dims {matrix.dims} and dtype {matrix.dtype}")
    count = matrix.sizes[COMPONENT_DIM]
    if matrix.sizes["feature"] != features or not 0 < count <= features:
        raise _no_linear_map(
            f"takes {matrix.sizes['feature']} features to {count} components, and the embedding "
            f"has {features} features"
        )
    matrix = _in_order(matrix)
    mean = value["mean"] if isinstance(value, xr.Dataset) and "mean" in value else None
    mean = matrix.coords.get("mean") if mean is None else _in_order(mean)
    ratio = variables.get("explained_variance_ratio")
    reduction = Reduction(
        components=_float32(matrix.transpose(COMPONENT_DIM, "feature")),
        mean=np.zeros(features, np.float32) if mean is None else _float32(mean),
        ratio=None if ratio is None else _float32(ratio),
    )
    if reduction.mean.shape != (features,):
        raise _no_linear_map(f"has a mean of shape {reduction.mean.shape}")
    if not (np.isfinite(reduction.components).all() and np.isfinite(reduction.mean).all()):
        raise _no_linear_map("has numbers that are not finite")
    return reduction


def _no_linear_map(reason: str) -> OptionError:
    return OptionError("reduce.linear-map", GIVEN_REDUCTION, reason=reason)


def _in_order(array: xr.DataArray) -> xr.DataArray:
    """Sort by the number of the feature, where the array has it."""
    return array.sortby("feature") if "feature" in array.coords else array


def _float32(array: xr.DataArray) -> Array:
    return np.ascontiguousarray(array.values, dtype=np.float32)


def reduced_map(data: da.Array, reduction: Reduction, dtype: str) -> da.Array:
    """Reduce a lazy (feature, y, x) map to (component, y, x), all components in a block.

    Each block is projected by itself as soon as it is computed, and the results are added up: the
    features of a cell are never put together.
    """
    token = tokenize(data.name, reduction.components, reduction.mean, dtype)
    name, numbers, parts = (f"anysat-{each}-{token}" for each in ("reduced", "components", "parts"))
    blocks, rows, columns = (range(count) for count in data.numblocks)
    edges = [0, *np.cumsum(data.chunks[0]).tolist()]
    tasks: dict[Key, Any] = {(numbers, len(blocks)): reduction.constant}
    for n in blocks:
        tasks[numbers, n] = np.ascontiguousarray(reduction.components[:, edges[n] : edges[n + 1]])
    for n, i, j in product(blocks, rows, columns):
        tasks[parts, n, i, j] = (_project, (numbers, n), (data.name, n, i, j))
    for i, j in product(rows, columns):
        projected = [(parts, n, i, j) for n in blocks]
        tasks[name, 0, i, j] = (_add_up, projected, (numbers, len(blocks)), dtype)
    parents: list[Any] = [data]
    graph = HighLevelGraph.from_collections(name, tasks, dependencies=parents)
    chunks = ((reduction.count,), *data.chunks[1:])
    return da.Array(graph, name, chunks, meta=np.empty((0, 0, 0), dtype=dtype))


def _project(components: Array, block: Array) -> Array:
    """Multiply (component, feature) by (feature, y, x); cells that are NaN stay so."""
    flat = np.asarray(block, dtype=np.float32).reshape(len(block), -1)
    with np.errstate(invalid="ignore"):
        projected: Array = components @ flat
    return projected.reshape(len(components), *block.shape[1:])


def _add_up(parts: list[Array], constant: Array, dtype: str) -> Array:
    total = parts[0] + constant[:, None, None]
    for part in parts[1:]:
        total += part
    with np.errstate(over="ignore"):  # infinite: refused when it is written
        return total.astype(dtype, copy=False)
