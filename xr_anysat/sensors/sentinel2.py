"""Sentinel-2 as AnySat knows it: bands, the names they go by, and published statistics."""

import re
from collections.abc import Hashable, Iterable

__all__ = [
    "ALIASES",
    "BANDS",
    "DN_PER_REFLECTANCE",
    "SCL_CLASSES",
    "SCL_UNUSABLE",
    "TREESATAI_MEAN",
    "TREESATAI_STD",
    "band_of",
    "match_bands",
]

BANDS = ("B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B11", "B12")
"""The ten bands, in the order the network reads them."""

DN_PER_REFLECTANCE = 10_000
"""Quantification value of Level-1C and Level-2A products (ESA, S2-PDGS-TAS-DI-PSD, section 4)."""

SCL_CLASSES = {
    0: "no data",
    1: "saturated or defective",
    2: "dark area or topographic shadow",
    3: "cloud shadow",
    4: "vegetation",
    5: "not vegetated",
    6: "water",
    7: "unclassified",
    8: "cloud medium probability",
    9: "cloud high probability",
    10: "thin cirrus",
    11: "snow or ice",
}
"""Scene classification of Level-2A products (ESA, S2-PDGS-TAS-DI-PSD)."""

SCL_UNUSABLE = (0, 1, 3, 8, 9, 10)
"""Classes that show no ground, or not well."""

ALIASES: dict[str, tuple[str, ...]] = {
    # Earth Search v1 `eo:common_name`-style assets first, then spellings met elsewhere
    # (sen2like, Digital Earth Africa, Sentinel Hub scripts).
    "B2": ("blue",),
    "B3": ("green",),
    "B4": ("red",),
    "B5": ("rededge1", "rededge071", "rededge705"),
    "B6": ("rededge2", "rededge075", "rededge740"),
    "B7": ("rededge3", "rededge078", "rededge783"),
    "B8": ("nir", "nirwide"),
    "B8A": ("nir08", "nirnarrow", "rededge4"),
    "B11": ("swir16", "swir1"),
    "B12": ("swir22", "swir2"),
}
"""Names of each band besides its number."""

# Mean and standard deviation of Sentinel-2 in TreeSatAI-Time-Series, in DN, bands as in BANDS;
# from the demo notebook of AnySat's authors.
TREESATAI_MEAN = (
    4304.32958984375, 4159.2666015625, 4057.776611328125, 4328.951171875, 4571.22119140625,
    4644.87109375, 4837.2470703125, 4700.2578125, 2823.264404296875, 2319.97021484375,
)  # fmt: skip
TREESATAI_STD = (
    3537.99755859375, 3324.23486328125, 3270.070068359375, 3250.530029296875, 2897.391357421875,
    2754.4970703125, 2821.521484375, 2625.952392578125, 1731.56298828125, 1549.3028564453125,
)  # fmt: skip

_NUMBERED = re.compile(r"b(?:and)?0*(\d+a?)")
_RESOLUTION = re.compile(r"_(10|20|60)m$")
_BY_NAME = {name: band for band, names in ALIASES.items() for name in names}


def band_of(label: Hashable) -> str | None:
    """AnySat band that a label names, or None.

    Case, zero padding, separators, the resolution suffix of CDSE assets (`B02_10m`) and a "band"
    written out aside.
    """
    name = _RESOLUTION.sub("", str(label).strip().lower())
    name = re.sub(r"[\s_\-]", "", name)
    numbered = _NUMBERED.fullmatch(name)
    if numbered:
        band = "B" + numbered[1].upper()
        return band if band in BANDS else None
    return _BY_NAME.get(name)


def match_bands(labels: Iterable[Hashable]) -> dict[str, list[Hashable]]:
    """Labels found for each AnySat band, in the order given."""
    found: dict[str, list[Hashable]] = {band: [] for band in BANDS}
    for label in labels:
        band = band_of(label)
        if band is not None:
            found[band].append(label)
    return found
