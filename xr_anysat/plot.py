"""Pictures: embeddings by their principal components, cubes in true colour.

Needs the extra ``plot``; matplotlib and scikit-learn are imported when a function is called.
"""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from .cube import CubeSpec, canonical, north_up
from .labels import FEATURE_DIM
from .normalize import composite, valid_dates

__all__ = ["pca_rgb", "save_comparison", "true_colour"]

SAMPLE = 20_000
"""Cells that the principal components are fitted on."""

STRETCH = (2, 98)
"""Percentiles that become black and full colour."""


def pca_rgb(embedding: xr.DataArray, components: int = 3) -> xr.DataArray:
    """First principal components of an embedding, stretched to 0..1.

    Fitted with scikit-learn on a regular sample of the cells, then applied chunk by chunk.

    Parameters
    ----------
    embedding
        (feature, y, x).
    components
        Number of components.

    Returns
    -------
    xarray.DataArray
        (component, y, x) float32 in 0..1, NaN where the embedding is; lazy where it is.
    """
    from sklearn.decomposition import PCA

    y, x = (dim for dim in embedding.dims if dim != FEATURE_DIM)
    cells = embedding.sizes[y] * embedding.sizes[x]
    step = max(1, round((cells / SAMPLE) ** 0.5))
    sample = embedding.isel({y: slice(None, None, step), x: slice(None, None, step)})
    rows = sample.transpose(..., FEATURE_DIM).values.reshape(-1, embedding.sizes[FEATURE_DIM])
    rows = rows[np.isfinite(rows).all(axis=1)].astype(np.float64)
    count = min(components, *rows.shape)
    fit = PCA(n_components=count, random_state=0).fit(rows)
    low, high = np.percentile(fit.transform(rows), STRETCH, axis=0)
    span = np.where(high > low, high - low, 1)
    axes = xr.DataArray(
        (fit.components_ / span[:, None]).astype(np.float32),
        dims=("component", FEATURE_DIM),
        coords={"explained": ("component", fit.explained_variance_ratio_)},
    )
    offset = ((fit.components_ @ fit.mean_ + low) / span).astype(np.float32)
    plain = embedding.drop_vars([FEATURE_DIM, "part"], errors="ignore")
    scores = xr.dot(axes, plain, dim=FEATURE_DIM) - xr.DataArray(offset, dims="component")
    return (
        scores.clip(0, 1).transpose("component", y, x).rename("pca").assign_attrs(embedding.attrs)
    )


def true_colour(cube: xr.DataArray, spec: CubeSpec) -> xr.DataArray:
    """Median over the valid dates of red, green and blue, each stretched to 0..1.

    Parameters
    ----------
    cube
        The cube, read into memory.
    spec
        What was understood of it.

    Returns
    -------
    xarray.DataArray
        (rgb, y, x) float32 in 0..1 in the cube's own order, NaN where nothing is valid.
    """
    values = np.asarray(canonical(cube, spec))
    valid = valid_dates(values, None, spec.nodata)
    image, seen = composite(values[:, [2, 1, 0]], valid, [range(len(values))])
    rgb = np.where(seen, image[0], np.nan)
    stretched = np.full_like(rgb, np.nan)
    for band, plane in enumerate(rgb if seen.any() else ()):
        low, high = np.nanpercentile(plane, STRETCH)
        stretched[band] = np.clip((plane - low) / max(high - low, 1e-6), 0, 1)
    return xr.DataArray(north_up(stretched, spec), dims=("rgb", "y", "x"), name="true_colour")


def save_comparison(
    path: Path, image: xr.DataArray, components: xr.DataArray, title: str, caption: str
) -> None:
    """Write a PNG: true colour beside principal components, the axes in metres."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.2), layout="compressed")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2, sharex=True, sharey=True)
    y, x = components["y"].values, components["x"].values
    panels = [("true colour (median of dates)", image), ("first three components", components)]
    for axis, (name, picture) in zip(axes, panels, strict=True):
        axis.imshow(_rgba(picture), extent=_extent(y, x), interpolation="nearest")
        axis.set_title(name)
        axis.set_xlabel("easting (m)")
        axis.ticklabel_format(style="plain", useOffset=False)
        axis.tick_params(axis="x", rotation=30)
    axes[0].set_ylabel("northing (m)")
    figure.suptitle(title)
    figure.supxlabel(caption, fontsize="small")
    figure.savefig(path, dpi=110)


def _rgba(picture: xr.DataArray) -> Any:
    """(3, y, x) to (y, x, 4), transparent where NaN; fewer components are repeated."""
    values = np.asarray(picture.values)
    values = values[np.arange(3) % len(values)]
    there = np.isfinite(values).all(axis=0)
    return np.dstack([*np.nan_to_num(values), there.astype(values.dtype)])


def _extent(y: Any, x: Any) -> tuple[float, float, float, float]:
    """Outer edges (left, right, bottom, top) as the array runs."""

    def edges(centres: Any) -> tuple[float, float]:
        half = (centres[-1] - centres[0]) / max(len(centres) - 1, 1) / 2 or 0.5
        return float(centres[0] - half), float(centres[-1] + half)

    (left, right), (top, bottom) = edges(x), edges(y)
    return left, right, bottom, top
