"""Bands of a cube: which dimension they lie along, and which of them are AnySat's ten."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import xarray as xr

from xr_anysat.sensors.sentinel2 import ALIASES, BANDS, match_bands

__all__ = ["band_labels", "find_band_dim", "find_bands", "named_band_dim", "variable_labels"]

_BAND_NAMES = ("band", "bands", "variable", "channel", "channels", "wavelength")


def find_band_dim(
    cube: xr.DataArray,
    dims: list[Hashable],
    bands: Mapping[str, Hashable] | None,
    faults: list[str],
) -> tuple[Hashable | None, list[Hashable]]:
    """Find the dimension of the bands and the ten labels along it."""
    named = named_band_dim(cube)
    matching = [
        dim
        for dim in dims
        if sum(bool(m) for m in match_bands(band_labels(cube, dim)).values()) > 1
    ]
    candidates = matching if named is None else [named]
    if not candidates and "feature" in cube.dims:
        faults.append(
            f"the dimensions {list(cube.dims)} are those of an embedding, and not of a cube of "
            "bands; an embedding is written as it is: embedding.to_zarr(store)."
        )
        return None, []
    if not candidates:
        faults.append(
            f"no band dimension was found among {list(cube.dims)}; AnySat needs one of the names "
            f"{list(_BAND_NAMES)}, or one labelled with band names. Rename it: "
            'cube.rename(my_dim="band"), or give a Dataset with one variable per band.'
        )
        return None, []
    dim = candidates[0]
    labels = band_labels(cube, dim)
    if not labels:
        faults.append(
            f"the bands along {dim!r} ({cube.sizes[dim]}) have no names; label them: "
            f'cube.assign_coords({dim}=["B02", "B03", ...]).'
        )
        return dim, []
    chosen = find_bands(labels, bands, "bands", faults)
    repeated = [str(label) for label in dict.fromkeys(chosen) if labels.count(label) > 1]
    if repeated:
        faults.append(
            f"bands {repeated} are there more than once; keep one of each: "
            f"cube.drop_duplicates({dim!r})."
        )
    return dim, chosen


def find_bands(
    labels: Sequence[Hashable],
    bands: Any,
    where: str,
    faults: list[str],
) -> list[Hashable]:
    """Label of each of the ten bands, in AnySat's order."""
    if bands is not None and not isinstance(bands, Mapping):
        faults.append(
            f"bands= is a {type(bands).__name__}; it maps AnySat's names to the cube's: "
            'cube.anysat.embed(bands={"B2": "my_blue"}). Bands of usual names need none.'
        )
    given = dict(bands) if isinstance(bands, Mapping) else {}
    nameless = [str(label) for label in given.values() if not isinstance(label, Hashable)]
    if nameless:
        faults.append(f"bands= gives {nameless}, which are no labels; give one label per band.")
        given = {}
    unknown = [str(band) for band in given if band not in BANDS]
    if unknown:
        faults.append(f"bands= names {unknown}, which AnySat does not know; it reads {list(BANDS)}")
    absent = {band: label for band, label in given.items() if label not in labels}
    if absent:
        faults.append(f"bands= asks for {absent}, but the cube's {where} are {_some(labels)}")
    twice = [str(name) for name, uses in Counter(given.values()).items() if uses > 1]
    if twice:
        faults.append(f"bands= gives {twice} to more than one band; give each its own.")
    found = match_bands(label for label in labels if label not in given.values())
    chosen: list[Hashable] = []
    missing: list[str] = []
    for band in BANDS:
        if band in absent:
            continue
        names = [given[band]] if band in given else list(dict.fromkeys(found[band]))
        if len(names) > 1:
            faults.append(
                f"{[str(n) for n in names]} all name band {band}; say which one is meant: "
                f"cube.anysat.embed(bands={{{band!r}: {names[0]!r}}})"
            )
        elif not names:
            missing.append(band)
        chosen += names[:1]
    if missing:
        faults.append(
            f"bands {missing} were not found among the cube's {where} {_some(labels)}; AnySat "
            f"needs all ten of {list(BANDS)}. Load them, or name them: "
            f'cube.anysat.embed(bands={{{missing[0]!r}: "..."}}). {_aliases(missing[0])}'
        )
    return chosen


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
    said = list(bands.values()) if isinstance(bands, Mapping) else []
    labels: dict[Hashable, Hashable] = {}
    for name in names:
        label = cube[name].attrs.get("long_name")
        known = name not in said and isinstance(label, str) and label not in labels
        labels[label if known else name if name in said else f"{name} of the file"] = name
    return labels


def named_band_dim(cube: xr.DataArray) -> Hashable | None:
    """Band dimension by its name alone."""
    return next((dim for dim in cube.dims if str(dim).lower() in _BAND_NAMES), None)


def _some(labels: Sequence[Hashable]) -> str:
    shown = [str(label) for label in labels[:20]]
    return f"{shown}" if len(labels) <= 20 else f"{shown[:-1]} and {len(labels) - 19} more"


def _aliases(band: str) -> str:
    names = [f"B{band[1:].zfill(2)}", *ALIASES[band]]
    return f"(It goes by {', '.join(names)}, among others.)"
