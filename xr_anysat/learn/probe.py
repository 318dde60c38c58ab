"""What can be read off embeddings by simple means: a linear probe and nearest neighbours.

Scores are cross-validated by blocks in space, since neighbouring pixels resemble one another
whatever the features. Needs scikit-learn (extra ``ml``).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import dask.array as da
import dask.base
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from xr_anysat.cube.canonical import CanonicalCube, Cube, understand
from xr_anysat.cube.values import validity_mask
from xr_anysat.embed import embed
from xr_anysat.errors import OptionError
from xr_anysat.formatting import count_text
from xr_anysat.graph.progress import progress_bar, task_bar
from xr_anysat.job.model import Model, as_model
from xr_anysat.job.options import check_whole
from xr_anysat.results.statistics import count_valid_dates
from xr_anysat.settings import require

__all__ = ["Samples", "draw_samples", "probe", "probe_text", "score"]

Array = npt.NDArray[Any]

NEIGHBOURS = 10
"""Of a vote, weighted by their cosine."""

LEAST = 20
"""Pixels of a class that is scored."""

MINIMUM_FOLDS = 2

_WIDTH = 38


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Labelled pixels.

    Parameters
    ----------
    rows, columns
        (n,) of each pixel, as the cube runs.
    labels
        (n,) classes.
    blocks
        (n,) number of the square in space that a pixel is in.
    folds
        How many folds the blocks are shared out to.
    """

    rows: Array
    columns: Array
    labels: Array
    blocks: Array
    folds: int


def probe(
    cube: Cube,
    labels: xr.DataArray | None = None,
    *,
    model: str | Model = "base",
    layouts: tuple[bool, ...] = (False, True),
    pixels: int = 3000,
    block: int = 16,
    folds: int = 5,
    seed: int = 0,
    progress: bool | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Compare embeddings with raw bands by what simple classifiers make of them.

    Two classifiers, on the same pixels and folds for all features: logistic regression on
    standardised features, and a vote of the 10 nearest neighbours by cosine. Squares of the cube
    are left out in turn, so that no pixel is judged by its neighbours in the same field.

    Parameters
    ----------
    cube : xarray.DataArray or xarray.Dataset
        As in `embed`.
    labels : xarray.DataArray, optional
        (y, x) integer classes on the cube's own grid, 0 or its declared nodata value where there
        is none; names from CF ``flag_values`` and ``flag_meanings``. Default: the cube's
        coordinate ``land_cover``.
    model : str or Model
        The network.
    layouts : tuple of bool
        Values of ``Model(flash_layout=)`` to compare.
    pixels : int
        Number of labelled pixels at most, drawn evenly from the classes.
    block : int
        Pixels of a side of a square in space.
    folds : int
        Shares that the squares are put into.
    seed : int
        Of the drawing.
    progress : bool, optional
        Show progress bars. Default: where someone may be looking.
    **options
        As in `embed`, for ``mode="grid"``.

    Returns
    -------
    pandas.DataFrame
        A row for each kind of features; columns ``features`` (their number), and mean and
        standard deviation over folds of the balanced accuracy, in percent, of both classifiers.

    Raises
    ------
    OptionError
        For labels that do not fit, or too few of them.
    CubeError, ScaleError, WeightsError
        As in `embed`.
    MissingExtraError
        Without scikit-learn.
    """
    require("sklearn", "ml", "probe()")
    if {"mode", "input_prep", "geometry"} & set(options):
        raise OptionError(
            "probe() embeds pixels: mode=, input_prep= and geometry= do not go with it."
        )
    known = understand(
        cube, bands=options.get("bands"), dates=options.get("dates"), mask=options.get("mask")
    )
    samples = draw_samples(known, labels, pixels=pixels, block=block, folds=folds, seed=seed)
    network = as_model(model)
    with task_bar(progress, "reading bands"):
        features = dict(_raw(known, samples))
    for layout in layouts:
        chosen = replace(network, flash_layout=layout)
        embedding = embed(cube, "grid", model=chosen, progress=progress, **options)
        with task_bar(progress, "embedding"):  # of a lazy cube; one in memory has had its own
            vectors = _vectors(embedding, samples)
        kind = "flash layout" if layout else "standard"
        context, local = np.split(vectors, 2, axis=1)
        own = f"AnySat {network.size}: local"
        features.setdefault(own, local)  # attention between patches has no part in it
        features[f"AnySat {network.size}, {kind}: context"] = context
        features[f"AnySat {network.size}, {kind}: both"] = vectors
    rows = {}
    with progress_bar(progress, "scoring", "fold", len(features) * samples.folds, 0) as bar:
        for name, values in features.items():
            rows[name] = score(values, samples, seed, bar)
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.attrs = {
        "weights": network.source.description,
        "pixels": len(samples.labels),
        "classes": len(np.unique(samples.labels)),
        "blocks": len(np.unique(samples.blocks)),
        "folds": samples.folds,
    }
    return table


def draw_samples(
    cube: CanonicalCube,
    labels: xr.DataArray | None,
    *,
    pixels: int = 3000,
    block: int = 16,
    folds: int = 5,
    seed: int = 0,
) -> Samples:
    """Draw labelled pixels that have a valid date, as evenly from the classes as there are.

    Classes of fewer than 20 pixels, or in a single square, are left out: no fold could tell.

    Raises
    ------
    OptionError
        For labels that do not fit, or too few of them.
    """
    check_whole("pixels", pixels)
    check_whole("block", block)
    check_whole("folds", folds, MINIMUM_FOLDS)
    classes = _classes(cube, labels)
    (counts,) = dask.base.compute(count_valid_dates(cube))
    seen = cube.own_order(counts) > 0
    rows, columns = np.nonzero((classes != 0) & seen)
    found = classes[rows, columns]
    blocks = (rows // block) * (-(-classes.shape[1] // block)) + columns // block
    rng = np.random.default_rng(seed)
    chosen: list[Array] = []
    kept = [
        each
        for each in np.unique(found)
        if (found == each).sum() >= LEAST and len(np.unique(blocks[found == each])) > 1
    ]
    for each in kept:
        places = np.flatnonzero(found == each)
        count = min(len(places), max(LEAST, pixels // len(kept)))
        chosen.append(rng.choice(places, count, replace=False))
    if len(kept) < 2:
        raise OptionError(
            f"labels have {count_text(len(kept), 'class', 'classes')} with {LEAST} valid pixels in "
            f"two squares of {block} pixels or more; a probe needs two. Give more labels, or a "
            "smaller block."
        )
    taken = np.sort(np.concatenate(chosen))
    number = len(np.unique(blocks[taken]))
    return Samples(
        rows=rows[taken],
        columns=columns[taken],
        labels=found[taken],
        blocks=blocks[taken],
        folds=min(folds, number),
    )


def _classes(cube: CanonicalCube, labels: xr.DataArray | None) -> Array:
    """(y, x) integers as the cube runs, 0 where there is no label."""
    array, spec = cube.source, cube.spec
    if labels is None:
        if "land_cover" not in array.coords:
            raise OptionError(
                "the cube has no coordinate land_cover; give labels=, a DataArray (y, x) of "
                "classes on the cube's own grid."
            )
        labels = array["land_cover"]
    dims = (spec.y_dim, spec.x_dim)
    if not isinstance(labels, xr.DataArray) or set(labels.dims) != set(dims):
        found = getattr(labels, "dims", type(labels).__name__)
        raise OptionError(f"labels= has {found}; give a DataArray of dimensions {dims}.")
    others = {dim: 0 for dim in array.dims if dim not in dims}
    grid = array.isel(others, drop=True).reset_coords(drop=True)
    try:
        _, labels = xr.align(grid, labels.reset_coords(drop=True), join="exact", copy=False)
    except ValueError as error:
        raise OptionError(
            f"labels= lies on another grid than the cube ({error}); bring it to the cube's: "
            "labels.odc.reproject(cube.odc.geobox, resampling='nearest')."
        ) from error
    nodata = labels.rio.nodata if labels.rio.nodata is not None else labels.rio.encoded_nodata
    values = np.asarray(labels.transpose(*dims).values)
    missing = np.zeros(values.shape, dtype=bool)
    if values.dtype.kind == "f":
        missing = np.isnan(values)
        values = np.where(missing, 0, values)
        if (values != np.round(values)).any():
            raise OptionError("labels= holds fractions; give whole numbers, one for each class.")
    if nodata is not None and not np.isnan(nodata):
        missing |= values == nodata
    return np.where(missing, 0, values).astype(np.int64)


def _raw(cube: CanonicalCube, samples: Samples) -> Mapping[str, Array]:
    """Features of the bands alone, over a pixel's valid dates."""
    values = _at(cube.values, cube, samples)[..., None]  # (T, C, n, 1)
    mask = None if cube.valid is None else _at(cube.valid, cube, samples)[..., None]
    valid = validity_mask(values, mask, cube.spec.nodata)
    series = np.where(valid[:, None], values, np.nan)[..., 0].astype(np.float64)
    quantiles = np.nanquantile(series, (0.1, 0.5, 0.9), axis=0)
    summary = [np.nanmean(series, axis=0), np.nanstd(series, axis=0), *quantiles]
    filled = np.where(np.isnan(series), quantiles[1], series)
    return {
        "bands: mean, deviation, quantiles": np.concatenate(summary).T,
        "bands: every date": filled.reshape(-1, filled.shape[-1]).T,
    }


def _at(data: da.Array, cube: CanonicalCube, samples: Samples) -> Array:
    """Take the samples of a (..., y, x) array that is north up, (..., n)."""
    spec, (height, width) = cube.spec, cube.spec.shape
    rows = height - 1 - samples.rows if spec.flip_y else samples.rows
    columns = width - 1 - samples.columns if spec.flip_x else samples.columns
    every = (slice(None),) * (data.ndim - 2)
    points = data.vindex[(*every, rows, columns)]  # its points come first
    return np.moveaxis(np.asarray(points), 0, -1)


def _vectors(embedding: xr.DataArray, samples: Samples) -> Array:
    """Take the features of the samples, (n, 2D) float32, chunk by chunk where lazy."""
    where = {
        "y": xr.DataArray(samples.rows, dims="n"),
        "x": xr.DataArray(samples.columns, dims="n"),
    }
    return np.asarray(embedding.isel(where).transpose("n", "feature").values)


def score(values: Array, samples: Samples, seed: int = 0, bar: Any = None) -> dict[str, float]:
    """Cross-validate both classifiers on some features.

    Parameters
    ----------
    values
        (n, features).
    samples
        Their labels and blocks.
    seed
        Of the sharing out of blocks.
    bar
        Told of every fold.

    Returns
    -------
    dict
        ``features``, and balanced accuracies in percent.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer, StandardScaler

    kinds: dict[str, Callable[[], Any]] = {
        "linear": lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, C=0.1)),
        "neighbours": lambda: make_pipeline(
            StandardScaler(),
            Normalizer(),
            KNeighborsClassifier(NEIGHBOURS, weights="distance"),
        ),
    }
    cut = StratifiedGroupKFold(samples.folds, shuffle=True, random_state=seed)
    found: dict[str, list[float]] = {name: [] for name in kinds}
    for train, test in cut.split(values, samples.labels, samples.blocks):
        if bar is not None:
            bar.update(1)
        if len(np.unique(samples.labels[train])) < 2 or not len(test):
            continue
        for name, make in kinds.items():
            guess = make().fit(values[train], samples.labels[train]).predict(values[test])
            found[name].append(100 * _balanced(samples.labels[test], guess))
    result: dict[str, float] = {"features": values.shape[1]}
    for name, accuracies in found.items():
        result[name] = float(np.mean(accuracies))
        result[f"{name}_std"] = float(np.std(accuracies))
    return result


def _balanced(truth: Array, guess: Array) -> float:
    """Mean over the classes of a fold of the share that was found."""
    return float(np.mean([(guess[truth == each] == each).mean() for each in np.unique(truth)]))


def probe_text(table: pd.DataFrame) -> str:
    """Write the table of a probe as text, and what it was made with."""
    lines = ["balanced accuracy in percent, mean and deviation over folds", ""]
    head = f"{'':{_WIDTH}} {'features':>9} {'linear probe':>14} {'nearest':>14}"
    lines += [head, "-" * len(head)]
    for name, row in table.iterrows():
        linear = f"{row['linear']:.1f} ± {row['linear_std']:.1f}"
        nearest = f"{row['neighbours']:.1f} ± {row['neighbours_std']:.1f}"
        lines.append(f"{name!s:{_WIDTH}} {row['features']:9.0f} {linear:>14} {nearest:>14}")
    facts = table.attrs
    lines += [
        "",
        f"{facts['pixels']} pixels of {facts['classes']} classes in {facts['blocks']} squares, "
        f"{facts['folds']} folds; weights: {facts['weights']}",
    ]
    return "\n".join(lines)
