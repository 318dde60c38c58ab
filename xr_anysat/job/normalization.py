"""How values are normalised: by a name, or by statistics that are given."""

from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from xr_anysat.errors import OptionError
from xr_anysat.findings import Call, Finding, SetOption
from xr_anysat.layout.chunks import rechunk
from xr_anysat.sensors.sentinel2 import BANDS, TREESATAI_MEAN, TREESATAI_STD

__all__ = ["Normalization", "find_normalization", "with_numbers"]

_STATS = Call("cube.anysat.band_stats()")


@dataclass(frozen=True, kw_only=True)
class Normalization:
    """How values are normalised.

    Parameters
    ----------
    kind
        "stats": (value - mean) / std with the numbers given, or with those that come with each
        block where none are; "tile_zscore": the same with the statistics of each tile;
        "reflectance": DN / 10000 clipped to 0..1; "none".
    name
        What the user asked for, for the attributes of the result.
    mean, std
        A number for each band, where known beforehand.
    fixed
        Whether the statistics came from elsewhere, so that their scale may be another.
    """

    kind: str
    name: str
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    fixed: bool = False


def with_numbers(name: str, mean: Any, std: Any, *, fixed: bool) -> Normalization:
    """Normalise with known statistics, a number for each band."""
    return Normalization(
        kind="stats",
        name=name,
        mean=tuple(float(value) for value in mean),
        std=tuple(float(value) for value in std),
        fixed=fixed,
    )


def find_normalization(
    normalize: Any, *, overlapping: bool
) -> tuple[Normalization, da.Array | None]:
    """Understand `normalize=`.

    Parameters
    ----------
    normalize
        A name, or the Dataset that `band_stats` gives.
    overlapping
        Whether tiles overlap.

    Returns
    -------
    tuple
        The normalisation, and (2, C) lazy mean and deviation where such were given.

    Raises
    ------
    OptionError
        For anything else.
    """
    if isinstance(normalize, xr.Dataset):
        mean, std = _check_stats(normalize)
        if mean.chunks is None and std.chunks is None:
            return with_numbers("band_stats", mean.values, std.values, fixed=True), None
        stats = rechunk(da.stack([da.asarray(mean.data), da.asarray(std.data)]), -1)
        return Normalization(kind="stats", name="band_stats", fixed=True), stats
    name = normalize if isinstance(normalize, str) else None
    if name == "tile_zscore" and overlapping:
        raise OptionError(
            Finding(
                "normalize.tile-overlap",
                "{option} needs {0}: overlapping tiles would each want other values of the pixels "
                "they share.",
                SetOption("overlap", 0),
                option=SetOption("normalize", "tile_zscore"),
            )
        )
    if name == "treesatai":
        return with_numbers(name, TREESATAI_MEAN, TREESATAI_STD, fixed=True), None
    if name == "zscore":
        return Normalization(kind="stats", name=name), None
    if name in ("tile_zscore", "reflectance", "none"):
        return Normalization(kind=name, name=name, fixed=name == "reflectance"), None
    shown = (
        repr(normalize) if isinstance(normalize, str | None) else f"a {type(normalize).__name__}"
    )
    raise OptionError(
        Finding(
            "normalize.unknown",
            "{option} is not one of ['zscore', 'tile_zscore', 'treesatai', 'reflectance', 'none'], "
            "nor the Dataset that {0} gives",
            _STATS,
            option=SetOption("normalize", python=f"normalize={shown}"),
        )
    )


def _check_stats(stats: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """Mean and deviation by band, in AnySat's order, lazy where they were given so."""
    labels = [str(b) for b in np.atleast_1d(stats["band"].values)] if "band" in stats.coords else []
    sound = all(
        name in stats and stats[name].dims == ("band",) and stats[name].dtype.kind in "iuf"
        for name in ("mean", "std")
    )
    if not sound or any(labels.count(band) != 1 for band in BANDS):
        raise OptionError(
            Finding(
                "normalize.dataset",
                "{option} is a Dataset, but not one of band statistics: it needs `mean` and `std` "
                "by `band` for {bands}; it has variables {variables} and bands {labels}. {0} makes "
                "one.",
                _STATS,
                option=SetOption("normalize"),
                bands=list(BANDS),
                variables=sorted(map(str, stats.data_vars)),
                labels=labels,
            )
        )
    mean, std = (stats[name].sel(band=list(BANDS)).transpose("band") for name in ("mean", "std"))
    known = mean.chunks is None and std.chunks is None
    if known and not (np.isfinite(mean.values).all() and (std.values >= 0).all()):
        raise OptionError(
            Finding(
                "normalize.not-finite",
                "{option} has statistics that are NaN or negative: the cube they came from had no "
                "valid values?",
                option=SetOption("normalize"),
            )
        )
    return mean, std
