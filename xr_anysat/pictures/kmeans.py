"""Maps of clusters: k-means over the vectors of an embedding."""

from functools import partial
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import rioxarray  # noqa: F401  registers `.rio`
import xarray as xr

from xr_anysat.errors import OptionError
from xr_anysat.findings import Call, SetOption
from xr_anysat.job.options import check_whole
from xr_anysat.keywords import suggests_keywords
from xr_anysat.results.coords_and_attrs import FEATURE_DIM
from xr_anysat.settings import require

from .cells import as_embedding, check_fit, fit_on_sample, label_cells, label_fit, project

__all__ = ["NO_CLUSTER", "cluster", "cluster_fit"]

Array = npt.NDArray[Any]

NO_CLUSTER = -1
"""Stands for a cell without a vector."""

MOST = 32_767
"""Largest number of clusters that int16 tells apart."""

MOST_SEED = 2**32 - 1
"""What numpy's generators take, which scikit-learn uses."""

STARTS = 5
"""Initialisations of which the best is taken."""


@suggests_keywords()
def cluster_fit(embedding: xr.DataArray, n: int, *, seed: int = 0) -> xr.Dataset:
    """Find clusters among the vectors of an embedding.

    By scikit-learn's MiniBatchKMeans, with Euclidean distances between vectors as they are, on at
    most about 10 000 cells in 16 windows spread evenly over the map, the same ones however it is
    chunked.

    Parameters
    ----------
    embedding : xarray.DataArray
        (feature, y, x) or (geometry, feature).
    n : int
        How many clusters.
    seed : int
        Of the random start.

    Returns
    -------
    xarray.Dataset
        ``centers`` (cluster, feature) and ``count`` (cluster), the sample's cells nearest to
        each, from the most to the fewest, float64; lazy where the embedding is. Where the sample
        has fewer different vectors than `n`, the last centres are NaN. Can be saved, and given to
        `cluster` of any embedding of the same model.

    Raises
    ------
    OptionError
        For an argument that does not fit, or what is no embedding.
    MissingExtraError
        Without scikit-learn.
    """
    embedding = as_embedding(embedding, "cluster_fit(n)")
    cells = embedding.size // embedding.sizes[FEATURE_DIM]
    n, seed = check_whole("n", n), check_whole("seed", seed, 0, MOST_SEED)
    if n > min(cells, MOST):
        given = SetOption("n", n)
        raise OptionError("clusters.too-many", given=given, cells=cells, most=MOST)
    require("sklearn.cluster", "plot", "cluster()")
    features = embedding.sizes[FEATURE_DIM]
    fit = partial(_fit_kmeans, n=n, seed=seed)
    numbers = fit_on_sample(embedding, fit, (n, features + 1))
    return label_fit(
        embedding,
        "clusters of an AnySat embedding",
        {
            "centers": (("cluster", FEATURE_DIM), numbers[:, :-1], "centre of the cluster"),
            "count": ("cluster", numbers[:, -1], "cells of the sample"),
        },
        {"cluster": np.arange(n)},
    ).assign_attrs(cluster_seed=seed)


@suggests_keywords()
def cluster(
    embedding: xr.DataArray, n: int | None = None, *, fit: xr.Dataset | None = None, seed: int = 0
) -> xr.DataArray:
    """Map the clusters of an embedding.

    A lazy embedding gives a lazy map, and the fit is a part of its graph: computing the map of
    clusters computes a sample of the embedding first, and all of it once.

    Parameters
    ----------
    embedding : xarray.DataArray
        (feature, y, x) or (geometry, feature).
    n : int, optional
        How many clusters; not with `fit`.
    fit : xarray.Dataset, optional
        What `cluster_fit` gave for this or another embedding: the same numbers then stand for the
        same clusters.
    seed : int
        Of the random start.

    Returns
    -------
    xarray.DataArray
        Named "cluster", (y, x) or (geometry,), int16 from 0, the cluster of the nearest centre;
        -1, declared as nodata, where the embedding is NaN. CF attributes ``flag_values`` and
        ``flag_meanings`` name them.

    Raises
    ------
    OptionError
        For an argument that does not fit, or what is no embedding.
    MissingExtraError
        Without scikit-learn, where there is no fit yet.
    """
    embedding = as_embedding(embedding, "cluster(n)")
    if (n is None) == (fit is None):
        raise OptionError("clusters.number-or-fit", Call("cluster(8)"))
    if fit is None:
        assert n is not None
        fit = cluster_fit(embedding, n, seed=seed)
    fit = check_fit(fit, ("centers",), embedding, "cluster_fit(n)")
    centers = fit["centers"].transpose("cluster", FEATURE_DIM)
    # |v - c|² is least where v·d - (m·d + |d|²/2) is greatest, d = c - m, whatever m is: the
    # centres' own mean keeps differences of large numbers out of the float32 arithmetic.
    middle = centers.fillna(0).mean("cluster")
    axes = centers - middle
    constant = -(xr.dot(axes, middle, dim=FEATURE_DIM) + xr.dot(axes, axes, dim=FEATURE_DIM) / 2)
    closeness = project(embedding, axes.data, constant.data)
    if isinstance(closeness, da.Array):
        nearest = da.map_blocks(
            _nearest, closeness, drop_axis=0, dtype=np.int16,
            meta=np.empty((0,) * (closeness.ndim - 1), dtype=np.int16),
        )  # fmt: skip
    else:
        nearest = _nearest(closeness)
    count = fit.sizes["cluster"]
    attrs = {
        "long_name": "cluster of an AnySat embedding",
        "flag_values": np.arange(count, dtype=np.int16),
        "flag_meanings": " ".join(f"cluster_{k}" for k in range(count)),
        "cluster_seed": int(fit.attrs.get("cluster_seed", seed)),
    }
    return label_cells(nearest, embedding, "cluster", attrs).rio.write_nodata(NO_CLUSTER)


def _fit_kmeans(rows: Array, *, n: int, seed: int) -> Array:
    """(n, feature + 1): centres, and cells nearest to each; from the most cells to the fewest."""
    from sklearn.cluster import MiniBatchKMeans

    out = np.full((n, rows.shape[1] + 1), np.nan)
    if not len(rows):
        return out
    different, own = np.unique(rows, axis=0, return_inverse=True)
    if len(different) <= n:  # each is a cluster of its own
        centers, labels = different.astype(np.float64), own.ravel()
    else:
        fit = MiniBatchKMeans(n_clusters=n, random_state=seed, n_init=STARTS).fit(rows)
        centers, labels = fit.cluster_centers_.astype(np.float64), fit.labels_
    count = np.bincount(labels, minlength=len(centers))
    order = np.argsort(-count, kind="stable")
    out[: len(centers), :-1], out[: len(centers), -1] = centers[order], count[order]
    return out


def _nearest(closeness: Array) -> Array:
    """(cluster, ...) to the cluster that is closest; NaN is no cluster, nor has a cell of NaN."""
    known = ~np.isnan(closeness)
    nearest = np.where(known, closeness, -np.inf).argmax(axis=0)
    return np.where(known.any(axis=0), nearest, NO_CLUSTER).astype(np.int16)
