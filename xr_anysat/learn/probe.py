"""What can be read off embeddings by simple means: a linear probe and nearest neighbours.

Scores are cross-validated by blocks in space, since neighbouring pixels resemble one another
whatever the features. Needs scikit-learn (extra ``ml``).
"""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from xr_anysat.cube.canonical import CanonicalCube, Cube, understand
from xr_anysat.cube.values import validity_mask
from xr_anysat.embed import embed
from xr_anysat.errors import OptionError
from xr_anysat.findings import SetOption
from xr_anysat.graph.progress import progress_bar, task_bar
from xr_anysat.job.model import Model, as_model
from xr_anysat.keywords import suggests_keywords
from xr_anysat.settings import require

from .cross_validate import score
from .samples import Samples, draw_samples

__all__ = ["band_features", "probe", "probe_text"]

Array = npt.NDArray[Any]

_WIDTH = 38


@suggests_keywords(embed)
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
    unfit = [name for name in ("mode", "input_prep", "geometry") if name in options]
    if unfit:
        raise OptionError("probe.pixels-only", option=SetOption(unfit[0]))
    bands, dates, mask = map(options.get, ("bands", "dates", "mask"))
    known = understand(cube, bands=bands, dates=dates, mask=mask)
    samples = draw_samples(known, labels, pixels=pixels, block=block, folds=folds, seed=seed)
    network = as_model(model)
    with task_bar(progress, "reading bands"):
        features = band_features(known, samples)
    for layout in layouts:
        chosen = replace(network, flash_layout=layout)
        embedding = embed(cube, "grid", model=chosen, progress=progress, **options)
        with task_bar(progress, "embedding"):  # of a lazy cube; `embed` shows one for others
            vectors = samples.of_embedding(embedding)
        kind = "flash layout" if layout else "standard"
        context, local = np.split(vectors, 2, axis=1)
        # Attention between patches, and so the layout, does not change the local half.
        features.setdefault(f"AnySat {network.size}: local", local)
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


def band_features(cube: CanonicalCube, samples: Samples) -> dict[str, Array]:
    """Features of the bands alone, over a pixel's valid dates, (n, features) of each kind."""
    values = samples.of_cube(cube.values, cube)[..., None]  # (T, C, n, 1)
    mask = None if cube.valid is None else samples.of_cube(cube.valid, cube)[..., None]
    valid = validity_mask(values, mask, cube.spec.nodata)
    series = np.where(valid[:, None], values, np.nan)[..., 0].astype(np.float64)
    quantiles = np.nanquantile(series, (0.1, 0.5, 0.9), axis=0)
    summary = [np.nanmean(series, axis=0), np.nanstd(series, axis=0), *quantiles]
    filled = np.where(np.isnan(series), quantiles[1], series)
    return {
        "bands: mean, deviation, quantiles": np.concatenate(summary).T,
        "bands: every date": filled.reshape(-1, filled.shape[-1]).T,
    }


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
