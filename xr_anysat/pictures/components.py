"""Principal components of embeddings, as numbers and as colours."""

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xr_anysat.errors import OptionError
from xr_anysat.findings import SetOption
from xr_anysat.job.options import check_whole
from xr_anysat.keywords import suggests_keywords
from xr_anysat.results.coords_and_attrs import FEATURE_DIM
from xr_anysat.settings import require
from xr_anysat.stores.reduction import fit_reduction

from .cells import as_embedding, check_fit, fit_on_sample, label_cells, label_fit, project

__all__ = ["check_clip", "few_components", "pca_fit", "pca_rgb"]

Array = npt.NDArray[Any]

PERCENTILES = 101
"""Of each component's scores, 0 to 100: what any stretch is read from."""


@suggests_keywords()
def pca_fit(embedding: xr.DataArray, components: int = 3) -> xr.Dataset:
    """Fit principal components to an embedding.

    By scikit-learn's PCA, on at most about 10 000 cells in 16 windows spread evenly over the
    map, the same ones however it is chunked. Signs are such that the largest loading of a
    component is positive.

    Parameters
    ----------
    embedding : xarray.DataArray
        (feature, y, x) or (geometry, feature).
    components : int
        How many, at most the features.

    Returns
    -------
    xarray.Dataset
        ``components`` (component, feature), ``mean`` (feature), ``explained_variance_ratio``
        (component) and ``percentiles`` (component, percentile), of the sample's scores, float64;
        lazy where the embedding is. NaN where nothing of the sample is valid. Can be saved, and
        given to `pca_rgb` of any embedding of the same model.

    Raises
    ------
    OptionError
        For an argument that does not fit, or what is no embedding.
    MissingExtraError
        Without scikit-learn.
    """
    embedding = as_embedding(embedding, "pca_fit()")
    features = embedding.sizes[FEATURE_DIM]
    count = _checked_components(components, features, "the embedding")
    require("sklearn.decomposition", "plot", "pca_fit()")
    shape = (count + 1, features + 1 + PERCENTILES)
    numbers = fit_on_sample(embedding, partial(_fit_pca, count=count), shape)
    axes, ratio, percentiles = (
        numbers[:-1, part] for part in (slice(features), features, slice(features + 1, None))
    )
    return label_fit(
        embedding,
        "principal components of an AnySat embedding",
        {
            "components": (("component", FEATURE_DIM), axes, "unit vectors of the components"),
            "mean": (FEATURE_DIM, numbers[-1, :features], "mean over the sample"),
            "explained_variance_ratio": ("component", ratio, "share of the sample's variance"),
            "percentiles": (
                ("component", "percentile"), percentiles, "percentiles of the sample's scores"
            ),
        },
        {
            "component": np.arange(count),
            "percentile": ("percentile", np.arange(PERCENTILES), {"units": "percent"}),
        },
    )  # fmt: skip


@suggests_keywords()
def pca_rgb(
    embedding: xr.DataArray,
    components: int = 3,
    fit: xr.Dataset | None = None,
    clip: tuple[float, float] = (2, 98),
) -> xr.DataArray:
    """Show an embedding by its first principal components, stretched to 0..1.

    Three of them are red, green and blue. A lazy embedding gives a lazy picture, and the fit is a
    part of its graph: computing the picture computes a sample of the map first, and all of the
    map once.

    Parameters
    ----------
    embedding : xarray.DataArray
        (feature, y, x) or (geometry, feature).
    components : int
        How many.
    fit : xarray.Dataset, optional
        What `pca_fit` gave for this or another embedding; maps that share it share their colours.
    clip : tuple of float
        Percentiles of the fit's scores that become 0 and 1.

    Returns
    -------
    xarray.DataArray
        Named "pca", (component, y, x) or (component, geometry), float32 in 0..1, NaN where the
        embedding is. ``explained_variance_ratio`` stands by each component.

    Raises
    ------
    OptionError
        For an argument that does not fit, or what is no embedding.
    MissingExtraError
        Without scikit-learn, where there is no fit yet.
    """
    embedding = as_embedding(embedding, "pca_rgb()")
    low, high = check_clip(clip)
    if fit is None:
        fit = pca_fit(embedding, components)
    names = ("components", "mean", "percentiles", "explained_variance_ratio")
    fit = check_fit(fit, names, embedding, "pca_fit()")
    count = _checked_components(components, fit.sizes["component"], "the fit")
    fit = fit.isel(component=slice(count)).transpose("component", ..., FEATURE_DIM, "percentile")
    lowest, highest = (_percentile(fit["percentiles"], each) for each in (low, high))
    span = (highest - lowest).where(highest > lowest, 1)
    axes = fit["components"] / span
    constant = -(xr.dot(axes, fit["mean"], dim=FEATURE_DIM) + lowest / span)
    data = project(embedding, axes.transpose("component", FEATURE_DIM).data, constant.data)
    attrs = {"long_name": "principal components of an AnySat embedding, stretched to 0..1"}
    cells = label_cells(data.clip(0, 1), embedding, "pca", attrs, lead=["component"])
    ratio = fit["explained_variance_ratio"]
    return cells.assign_coords(component=fit["component"], explained_variance_ratio=ratio)


def few_components(embedding: Any, fit: Any = None) -> int:
    """Three components to be seen as colours, or as many as the embedding and a fit have."""
    known = [
        sizes[dim]
        for sizes in (getattr(each, "sizes", {}) for each in (embedding, fit))
        for dim in (FEATURE_DIM, "component")
        if dim in sizes
    ]
    return min(3, *known) if known else 3


def check_clip(clip: Any) -> tuple[float, float]:
    """Take two rising percentiles.

    Raises
    ------
    OptionError
        Where they are none.
    """
    try:
        low, high = (float(each) for each in clip)
    except (TypeError, ValueError):
        low, high = -1.0, -1.0
    if not 0 <= low < high <= 100:
        usual, clip = SetOption("clip", (2, 98)), SetOption("clip", clip)
        raise OptionError("clip.percentiles", usual, clip=clip)
    return low, high


def _checked_components(components: Any, most: int, of: str) -> int:
    count = check_whole("components", components)
    if count > most:
        given = SetOption("components", count)
        nearest = SetOption("components", most)
        raise OptionError("components.too-many", nearest, given=given, of=of)
    return count


def _percentile(table: xr.DataArray, at: float) -> xr.DataArray:
    """Read a percentile between two whole ones."""
    below = int(at)
    above, weight = min(below + 1, PERCENTILES - 1), at - below
    low, high = (table.isel(percentile=each, drop=True) for each in (below, above))
    return low * (1 - weight) + high * weight


def _fit_pca(rows: Array, *, count: int) -> Array:
    """(count + 1, feature + 1 + percentile): components with ratio and percentiles, and the mean.

    Where the cells have fewer components than `count`, the rest are zero.
    """
    features = rows.shape[1]
    out = np.zeros((count + 1, features + 1 + PERCENTILES))
    if not len(rows):
        return np.full_like(out, np.nan)
    out[-1, :features] = rows.mean(axis=0, dtype=np.float64)
    if not np.ptp(rows, axis=0).any():
        return out
    fit = fit_reduction(rows, known := min(count, *rows.shape))
    axes = fit.components.astype(np.float64)
    largest = np.abs(axes).argmax(axis=1)[:, None]
    axes *= np.sign(np.take_along_axis(axes, largest, axis=1))
    scores = (rows - out[-1, :features]) @ axes.T
    out[:known, :features], out[:known, features] = axes, fit.ratio
    out[:known, features + 1 :] = np.percentile(scores, np.arange(PERCENTILES), axis=0).T
    return out
