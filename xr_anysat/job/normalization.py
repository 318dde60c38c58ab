"""How values are normalised: by a name, or by statistics that are given."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import dask.array as da
import numpy as np
import xarray as xr

from xr_anysat.errors import OptionError
from xr_anysat.findings import Call, SetOption
from xr_anysat.layout.chunks import rechunk
from xr_anysat.sensors.record import Sensor

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
        "reflectance": DN / scale clipped to 0..1; "none".
    name
        What the user asked for, for the attributes of the result.
    mean, std
        A number for each band, where known beforehand.
    fixed
        Whether the statistics came from elsewhere, so that their scale may be another.
    scale
        Digital numbers per unit of reflectance, where the sensor has such.
    """

    kind: Literal["stats", "tile_zscore", "reflectance", "none"]
    name: str
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    fixed: bool = False
    scale: int | None = None


def with_numbers(how: Normalization, mean: Any, std: Any) -> Normalization:
    """Normalise with known statistics, a number for each band."""
    return replace(how, mean=tuple(map(float, mean)), std=tuple(map(float, std)))


def normalizations(sensor: Sensor) -> list[str]:
    """Names that `normalize=` takes for a sensor."""
    reflectance = [] if sensor.dn_per_reflectance is None else ["reflectance"]
    return ["zscore", "tile_zscore", *sensor.statistics, *reflectance, "none"]


def find_normalization(
    normalize: Any, sensor: Sensor, *, overlapping: bool
) -> tuple[Normalization, da.Array | None]:
    """Understand `normalize=`.

    Parameters
    ----------
    normalize
        A name, or the Dataset that `band_stats` gives.
    sensor
        Whose values they are.
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
    named = partial(Normalization, scale=sensor.dn_per_reflectance)
    if isinstance(normalize, xr.Dataset):
        mean, std = _check_stats(normalize, sensor.band_names)
        how = named(kind="stats", name="band_stats", fixed=True)
        if mean.chunks is None and std.chunks is None:
            return with_numbers(how, mean.values, std.values), None
        return how, rechunk(da.stack([da.asarray(mean.data), da.asarray(std.data)]), -1)
    name = normalize if isinstance(normalize, str) else ""
    if name == "tile_zscore" and overlapping:
        raise OptionError(
            "normalize.tile-overlap",
            SetOption("overlap", 0),
            option=SetOption("normalize", "tile_zscore"),
        )
    if name in sensor.statistics:
        numbers = sensor.statistics[name]
        how = named(kind="stats", name=name, fixed=True)
        return with_numbers(how, numbers.mean, numbers.std), None
    if name in normalizations(sensor):
        kind: Any = "stats" if name == "zscore" else name
        return named(kind=kind, name=name, fixed=name == "reflectance"), None
    shown = (
        repr(normalize) if isinstance(normalize, str | None) else f"a {type(normalize).__name__}"
    )
    raise OptionError(
        "normalize.unknown",
        _STATS,
        names=normalizations(sensor),
        option=SetOption("normalize", python=f"normalize={shown}"),
    )


def _check_stats(stats: xr.Dataset, bands: tuple[str, ...]) -> tuple[xr.DataArray, xr.DataArray]:
    """Mean and deviation by band, in AnySat's order, lazy where they were given so."""
    labels = [str(b) for b in np.atleast_1d(stats["band"].values)] if "band" in stats.coords else []
    sound = all(
        name in stats and stats[name].dims == ("band",) and stats[name].dtype.kind in "iuf"
        for name in ("mean", "std")
    )
    if not sound or any(labels.count(band) != 1 for band in bands):
        raise OptionError(
            "normalize.dataset",
            _STATS,
            bands=list(bands),
            variables=sorted(map(str, stats.data_vars)),
            labels=labels,
        )
    mean, std = (stats[name].sel(band=list(bands)).transpose("band") for name in ("mean", "std"))
    known = mean.chunks is None and std.chunks is None
    if known and not (np.isfinite(mean.values).all() and (std.values >= 0).all()):
        raise OptionError("normalize.not-finite", _STATS, option=SetOption("normalize"))
    return mean, std
