"""Embeddings of fewer numbers: one linear map, applied within the blocks of a lazy map."""

from dataclasses import dataclass
from itertools import product
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph
from dask.typing import Key

from xr_anysat.errors import OptionError
from xr_anysat.settings import require

__all__ = [
    "COMPONENT_DIM",
    "Reduction",
    "as_reduction",
    "fit_reduction",
    "reduced",
    "require_pca",
]

Array = npt.NDArray[Any]

COMPONENT_DIM = "component"


@dataclass(frozen=True, kw_only=True, eq=False)
class Reduction:
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
        """What the mean takes from each component, (component,)."""
        taken = -(self.components.astype(np.float64) @ self.mean.astype(np.float64))
        return taken.astype(np.float32)

    def apply(self, vectors: Array) -> Array:
        """Reduce (vector, feature) to (vector, component)."""
        return vectors @ self.components.T + self.constant

    def dataset(self) -> xr.Dataset:
        """Numbers as variables."""
        about = {
            "components": ((COMPONENT_DIM, "feature"), self.components, "rows of the linear map"),
            "mean": ("feature", self.mean, "taken from each feature before the linear map"),
        }
        if self.ratio is not None:
            name, said = "explained_variance_ratio", "share of the variance of the sample"
            about[name] = (COMPONENT_DIM, self.ratio, said)
        return xr.Dataset(
            {name: (dims, v, {"long_name": said}) for name, (dims, v, said) in about.items()},
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
    """Principal components of a sample (vector, feature), by scikit-learn, in double precision.

    The covariance is decomposed whole, which no seed has a part in.
    """
    fit = require_pca()(n_components=count, svd_solver="covariance_eigh")
    fit.fit(sample.astype(np.float64))
    return Reduction(
        components=fit.components_.astype(np.float32),
        mean=fit.mean_.astype(np.float32),
        ratio=fit.explained_variance_ratio_.astype(np.float32),
    )


def as_reduction(value: Any, features: int) -> Reduction:
    """Take a linear map as a DataArray, or as `open_reduction` gives it.

    Raises
    ------
    OptionError
        Where it is none, or of another number of features.
    """
    whole = value if isinstance(value, xr.Dataset) else {"components": value}
    matrix = whole.get("components")
    repair = (
        "give a number of components, xr_anysat.open_reduction(store), or a DataArray "
        "(feature, component) of numbers, with or without a coordinate `mean` along feature."
    )
    if not isinstance(matrix, xr.DataArray):
        found = f"a {type(value).__name__}" + (" without `components`" if matrix is None else "")
        raise OptionError(f"reduce= is {found}; {repair}")
    if {*matrix.dims} != {"feature", COMPONENT_DIM} or matrix.dtype.kind not in "iuf":
        raise OptionError(f"reduce= has dims {matrix.dims} and dtype {matrix.dtype}; {repair}")
    if matrix.sizes["feature"] != features or not 0 < matrix.sizes[COMPONENT_DIM] <= features:
        raise OptionError(
            f"reduce= takes {matrix.sizes['feature']} features to "
            f"{matrix.sizes[COMPONENT_DIM]} components, and the embedding has {features} features; "
            f"{repair}"
        )
    matrix = _in_order(matrix)
    mean = value["mean"] if isinstance(value, xr.Dataset) and "mean" in value else None
    mean = matrix.coords.get("mean") if mean is None else _in_order(mean)
    ratio = whole.get("explained_variance_ratio")
    made = Reduction(
        components=_numbers(matrix.transpose(COMPONENT_DIM, "feature")),
        mean=np.zeros(features, np.float32) if mean is None else _numbers(mean),
        ratio=None if ratio is None else _numbers(ratio),
    )
    if made.mean.shape != (features,):
        raise OptionError(f"reduce= has a mean of shape {made.mean.shape}; {repair}")
    if not (np.isfinite(made.components).all() and np.isfinite(made.mean).all()):
        raise OptionError(f"reduce= has numbers that are not finite; {repair}")
    return made


def _in_order(array: xr.DataArray) -> xr.DataArray:
    """Sort by the number of the feature, where it is told."""
    return array.sortby("feature") if "feature" in array.coords else array


def _numbers(array: xr.DataArray) -> Array:
    return np.ascontiguousarray(array.values, dtype=np.float32)


def reduced(data: da.Array, reduction: Reduction, dtype: str) -> da.Array:
    """Reduce a lazy (feature, y, x) map to (component, y, x), all components in a block.

    Each block is projected by itself as soon as it is there, and what it gives is added up: the
    features of a place are never put together.
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
    """Multiply (component, feature) by (feature, y, x); NaN stays with its place."""
    flat = np.asarray(block, dtype=np.float32).reshape(len(block), -1)
    with np.errstate(invalid="ignore"):
        found: Array = components @ flat
    return found.reshape(len(components), *block.shape[1:])


def _add_up(parts: list[Array], constant: Array, dtype: str) -> Array:
    total = parts[0] + constant[:, None, None]
    for part in parts[1:]:
        total += part
    with np.errstate(over="ignore"):  # infinite: refused when it is written
        return total.astype(dtype, copy=False)
