"""What is known of a sensor, as data, and how labels of a cube are matched to its bands."""

import re
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

__all__ = [
    "Band",
    "ImageProjector",
    "PixelRule",
    "Sensor",
    "SeriesProjector",
    "Statistics",
    "band_of",
    "match_bands",
]


@dataclass(frozen=True, kw_only=True)
class Band:
    """A band that the network reads.

    Parameters
    ----------
    name
        As the network's authors call it.
    aliases
        Other names it goes by in products and catalogues. Case and separators do not matter.
    ratio_of
        The two bands that it is made of where a cube has no band of its name:
        ``first / (second + 1e-10)``, clipped to ±10000 (the published data loaders).
    """

    name: str
    aliases: tuple[str, ...] = ()
    ratio_of: tuple[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class PixelRule:
    """The pixel sizes that a projector was made for.

    Parameters
    ----------
    metres
        The pixel size. None: any.
    multiples
        Whether whole multiples of it do as well.
    """

    metres: float | None
    multiples: bool = False


@dataclass(frozen=True, kw_only=True)
class SeriesProjector:
    """Encodes the time series of each pixel.

    Parameters
    ----------
    period
        Base of the date encoding's wavelengths (the authors' ``Tmax``).
    sequence_norm
        Whether features are normalised over all dates of a series.
    """

    period: int = 367
    sequence_norm: bool = False


@dataclass(frozen=True, kw_only=True)
class ImageProjector:
    """Encodes squares of one image.

    Parameters
    ----------
    kernel
        Pixels along the side of a square.
    """

    kernel: int


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Published mean and standard deviation of each band, in the order of the bands."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Sensor:
    """A sensor that the network has a projector for.

    Parameters
    ----------
    key
        Its name in the published network.
    title
        Its name for people.
    bands
        In the order that the network reads them.
    values
        What the network saw as values, as far as it is known.
    pixel
        Pixel sizes that fit.
    projector
        A series of dates or a single image, and the numbers of its projector.
    sub_patch
        Metres along the side of what becomes one token of a patch. None: the pixel size.
    patch_multiple
        Metres that a patch's side must be a multiple of, besides the pixel size.
    one_token
        Whether a whole tile gives a single token, from the pixel at the tile's centre.
    statistics
        Published ones, by name.
    dn_per_reflectance
        Digital numbers of the usual products per unit of reflectance.
    true_colour
        The bands that show red, green and blue, if any do.
    first_image
        Date before which there can be no image: the first launch, as ISO 8601.
    suffixes
        Endings of asset names that say nothing about the band.
    """

    key: str
    title: str
    bands: tuple[Band, ...]
    values: str
    pixel: PixelRule
    projector: SeriesProjector | ImageProjector
    sub_patch: float | None = None
    patch_multiple: float | None = None
    one_token: bool = False
    statistics: Mapping[str, Statistics] = field(default_factory=dict, hash=False)
    dn_per_reflectance: int | None = None
    true_colour: tuple[str, ...] = ()
    first_image: str | None = None
    suffixes: tuple[str, ...] = ()

    @property
    def band_names(self) -> tuple[str, ...]:
        """Names of the bands, in the order that the network reads them."""
        return tuple(band.name for band in self.bands)


_SEPARATORS = re.compile(r"[\s_\-]")
_NUMBERED = re.compile(r"b(?:and)?0*(\d+a?)")


def _plain(name: str) -> str:
    """Reduce a name to what spellings have in common: "Band_08A" and "B8A" to "b8a"."""
    name = _SEPARATORS.sub("", name.strip().lower())
    numbered = _NUMBERED.fullmatch(name)
    return f"b{numbered[1]}" if numbered else name


@lru_cache(maxsize=64)
def _bands_by_name(sensor: Sensor) -> dict[str, str]:
    return {_plain(name): band.name for band in sensor.bands for name in (band.name, *band.aliases)}


def band_of(sensor: Sensor, label: Hashable) -> str | None:
    """Name the band that a label means, or None.

    Case, separators, zero padding, a written-out "band" and the sensor's suffixes do not matter.
    """
    name = str(label).strip().lower()
    for suffix in sensor.suffixes:
        if name.endswith(suffix):
            name = name.removesuffix(suffix)
            break
    return _bands_by_name(sensor).get(_plain(name))


def match_bands(sensor: Sensor, labels: Iterable[Hashable]) -> dict[str, list[Hashable]]:
    """List the labels that mean each band, in the order given."""
    matches: dict[str, list[Hashable]] = {name: [] for name in sensor.band_names}
    for label in labels:
        band = band_of(sensor, label)
        if band is not None:
            matches[band].append(label)
    return matches
