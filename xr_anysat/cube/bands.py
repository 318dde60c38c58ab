"""Bands of a cube: which dimension they lie along, and which of them the network reads."""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import xarray as xr

from xr_anysat.findings import Call, Finding, SetOption, in_python
from xr_anysat.sensors.record import Sensor, match_bands

__all__ = [
    "band_labels",
    "bands_are_no_mapping",
    "find_band_dim",
    "find_bands",
    "named_band_dim",
    "unknown_bands",
    "variable_labels",
]

_BAND_NAMES = ("band", "bands", "variable", "channel", "channels", "wavelength")


def find_band_dim(
    cube: xr.DataArray,
    dims: list[Hashable],
    sensor: Sensor,
    bands: Mapping[str, Hashable] | None,
    faults: list[Finding],
) -> tuple[Hashable | None, dict[str, Hashable]]:
    """Find the dimension of the bands, and the label along it of each that is read."""
    named = named_band_dim(cube)
    matching = [
        dim
        for dim in dims
        if sum(bool(m) for m in match_bands(sensor, band_labels(cube, dim)).values()) > 1
    ]
    candidates = matching if named is None else [named]
    if not candidates and "feature" in cube.dims:
        store = Call("embedding.to_zarr(store)")
        faults.append(Finding("cube.embedding", store, dims=list(cube.dims)))
        return None, {}
    if not candidates:
        rename, names = Call('cube.rename(my_dim="band")'), list(_BAND_NAMES)
        faults.append(Finding("bands.no-dimension", rename, dims=list(cube.dims), names=names))
        return None, {}
    dim = candidates[0]
    labels = band_labels(cube, dim)
    if not labels:
        label = Call(f'cube.assign_coords({dim}=["B02", "B03", ...])')
        faults.append(Finding("bands.unlabelled", label, dim=dim, size=cube.sizes[dim]))
        return dim, {}
    chosen = find_bands(labels, sensor, bands, "bands", faults)
    repeated = [str(label) for label in dict.fromkeys(chosen.values()) if labels.count(label) > 1]
    if repeated:
        drop = Call(f"cube.drop_duplicates({dim!r})")
        faults.append(Finding("bands.repeated", drop, repeated=repeated))
    return dim, chosen


def find_bands(
    labels: Sequence[Hashable],
    sensor: Sensor,
    bands: Any,
    where: str,
    faults: list[Finding],
) -> dict[str, Hashable]:
    """Find the label of each band that the network reads, in its order.

    Parameters
    ----------
    labels
        All of the cube's.
    sensor
        Whose bands they are.
    bands
        Labels of some bands, as the user gives them.
    where
        What the labels are of, "bands" or "data variables".
    faults
        Faults found are added here.
    """
    option = SetOption("bands")
    given: dict[Any, Any] = {}
    if isinstance(bands, Mapping):
        given = dict(bands)
    elif bands is not None:
        faults.append(bands_are_no_mapping(bands, _name_band("B2", "my_blue")))
    not_labels = [str(label) for label in given.values() if not isinstance(label, Hashable)]
    if not_labels:
        faults.append(Finding("bands.not-labels", option=option, values=not_labels))
        given = {}
    faults += unknown_bands(given, sensor)
    existing = {"where": where, "labels": _some(labels)}
    absent = {band: label for band, label in given.items() if label not in labels}
    if absent:
        faults.append(Finding("bands.absent", option=option, absent=str(absent), **existing))
    twice = [str(label) for label, uses in Counter(given.values()).items() if uses > 1]
    if twice:
        faults.append(Finding("bands.shared", option=option, labels=twice))
    matches = match_bands(sensor, (label for label in labels if label not in given.values()))
    chosen: dict[str, Hashable] = {}
    missing: list[str] = []
    for band in sensor.band_names:
        named = band in given and band not in absent
        choices = [given[band]] if named else list(dict.fromkeys(matches[band]))
        if choices:
            chosen[band] = choices[0]
        if band in absent:
            continue
        if len(choices) > 1:
            choose, several = _name_band(band, choices[0]), [str(label) for label in choices]
            faults.append(Finding("bands.ambiguous", choose, labels=several, band=band))
        elif not choices:
            missing.append(band)
    if missing:
        first, needed = missing[0], list(sensor.band_names)
        names = ", ".join(_spellings(sensor, first))
        wanted = {"missing": missing, "first": first, "names": names, "needed": needed}
        faults.append(Finding("bands.missing", _name_band(first, ...), **wanted, **existing))
    return chosen


def bands_are_no_mapping(bands: Any, example: SetOption | Call) -> Finding:
    """Make the finding that bands were given, but not as a mapping."""
    kind = type(bands).__name__
    return Finding("bands.no-mapping", example, option=SetOption("bands"), kind=kind)


def unknown_bands(names: Iterable[Any], sensor: Sensor) -> list[Finding]:
    """Make the finding that some names are not AnySat's, if there are any."""
    option, known = SetOption("bands"), list(sensor.band_names)
    unknown = [str(name) for name in names if name not in known]
    return [Finding("bands.unknown", option=option, unknown=unknown, known=known)] * bool(unknown)


def _spellings(sensor: Sensor, name: str) -> list[str]:
    """List other names of a band."""
    aliases = next(band.aliases for band in sensor.bands if band.name == name)
    padded = [f"B{name[1:].zfill(2)}"] if name[1:].isdecimal() else []
    return [*padded, *aliases]


def _name_band(band: str, label: Any) -> SetOption:
    """Make the remedy that says which of the cube's bands one is."""
    option = SetOption("bands", {band: label})
    return replace(option, python=f"cube.anysat.embed({in_python(option)})")


def band_labels(cube: xr.DataArray, dim: Hashable) -> list[Hashable]:
    """Labels along the band dimension; what rioxarray keeps in `long_name` counts."""
    if cube[dim].dtype.kind == "M":
        return []
    names = cube.attrs.get("long_name")
    labels = cube[dim].values.tolist() if dim in cube.coords else []
    plain = not labels or all(isinstance(label, int) for label in labels)
    if plain and isinstance(names, tuple | list) and len(names) == cube.sizes[dim]:
        return list(names)
    return labels


def variable_labels(cube: xr.Dataset, bands: Any = None) -> dict[Hashable, Hashable]:
    """Variables of a Dataset by the names of their bands, which mostly are their own.

    `rioxarray.open_rasterio(band_as_variable=True)` calls them band_1, band_2 and so on by their
    place in the file, where band_2 need not be B2, and keeps names that it finds in `long_name`.
    """
    names = list(cube.data_vars)
    if names != [f"band_{n}" for n in range(1, len(names) + 1)]:
        return {name: name for name in names}
    given = list(bands.values()) if isinstance(bands, Mapping) else []
    labels: dict[Hashable, Hashable] = {}
    for name in names:
        label = cube[name].attrs.get("long_name")
        known = name not in given and isinstance(label, str) and label not in labels
        labels[label if known else name if name in given else f"{name} of the file"] = name
    return labels


def named_band_dim(cube: xr.DataArray) -> Hashable | None:
    """Band dimension by its name alone."""
    return next((dim for dim in cube.dims if str(dim).lower() in _BAND_NAMES), None)


def _some(labels: Sequence[Hashable]) -> str:
    shown = [str(label) for label in labels[:20]]
    return f"{shown}" if len(labels) <= 20 else f"{shown[:-1]} and {len(labels) - 19} more"
