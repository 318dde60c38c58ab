"""What grows and stands in the simulated landscape: covers, their seasons and their spectra.

The numbers are typical values, rounded, of the magnitude that the works named beside each table
report for western Europe; none is copied from one site or one spectrum.
"""

from collections.abc import Mapping
from enum import IntEnum
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BANDS",
    "BANDS_20M",
    "Cover",
    "Substrate",
    "brown_spectrum",
    "cover_means",
    "flag_attrs",
    "flower_spectra",
    "green_spectra",
    "noise_deviation",
    "seasons",
    "substrate_spectra",
]

F32 = NDArray[np.float32]

# The ten bands of 10 m and 20 m (Drusch et al. 2012, Sentinel-2: ESA's optical high-resolution
# mission for GMES operational services, Remote Sensing of Environment 120, table 1).
BANDS: Final = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
BANDS_20M: Final = ("B05", "B06", "B07", "B8A", "B11", "B12")

YEAR: Final = 365


class Cover(IntEnum):
    """The classes of `land_cover`; 0 is not used."""

    WINTER_WHEAT = 1
    WINTER_BARLEY = 2
    RAPESEED = 3
    MAIZE = 4
    SUGAR_BEET = 5
    SUNFLOWER = 6
    POTATO = 7
    GRASSLAND = 8
    ALFALFA = 9
    VINEYARD = 10
    ORCHARD = 11
    BROADLEAF_FOREST = 12
    CONIFER_FOREST = 13
    HEDGE = 14
    WATER = 15
    BUILT_UP = 16
    ROAD = 17
    BARE_SOIL = 18


class Substrate(IntEnum):
    """What lies under and between the plants."""

    PALE_SOIL = 0
    BROWN_SOIL = 1
    RED_SOIL = 2
    LITTER = 3
    WATER = 4
    ASPHALT = 5
    TILES = 6
    SLATE = 7
    BRIGHT_ROOF = 8
    TRACK = 9


# Dry reflectances in percent, in the order of BANDS, and what full wetness leaves of them.
# Typical values, of the magnitude found in the soil, water and man-made spectra of the ECOSTRESS
# library (Meerdink et al. 2019, Remote Sensing of Environment 230) and of the USGS library
# (Kokaly et al. 2017, USGS Spectral Library Version 7, Data Series 1035). That wet soils keep
# half to two thirds: Lobell and Asner 2002, Soil Science Society of America Journal 66.
SUBSTRATES: Final = {
    Substrate.PALE_SOIL: ((10.2, 13.4, 16.6, 18.4, 19.8, 21.2, 23.0, 24.0, 31.5, 27.5), 0.60),
    Substrate.BROWN_SOIL: ((7.0, 9.4, 12.0, 13.7, 15.0, 16.3, 17.8, 19.0, 27.0, 22.5), 0.58),
    Substrate.RED_SOIL: ((6.3, 9.3, 14.2, 16.9, 18.2, 19.5, 21.0, 22.3, 29.5, 24.0), 0.60),
    Substrate.LITTER: ((3.2, 4.6, 6.2, 8.3, 10.8, 12.0, 13.2, 14.6, 20.5, 13.0), 0.80),
    Substrate.WATER: ((3.6, 4.4, 2.6, 2.2, 1.7, 1.6, 1.4, 1.3, 0.7, 0.5), 1.00),
    Substrate.ASPHALT: ((8.2, 9.6, 10.6, 11.2, 11.8, 12.4, 13.0, 13.6, 15.6, 14.4), 0.85),
    Substrate.TILES: ((8.2, 11.2, 16.8, 18.8, 20.2, 21.4, 22.6, 23.8, 27.0, 24.5), 0.92),
    Substrate.SLATE: ((9.0, 9.8, 10.4, 10.8, 11.2, 11.6, 12.0, 12.4, 14.0, 13.2), 0.92),
    Substrate.BRIGHT_ROOF: ((23.0, 24.6, 25.8, 26.5, 27.0, 27.4, 27.8, 28.2, 28.6, 25.4), 0.95),
    Substrate.TRACK: ((9.0, 12.0, 15.0, 17.0, 18.6, 19.8, 21.0, 22.0, 28.0, 24.0), 0.70),
}

# Full green canopies, percent. Typical values, of the magnitude of the vegetation spectra of the
# two libraries and of the PROSAIL model at high leaf area (Jacquemoud et al. 2009, Remote Sensing
# of Environment 113); conifers darker throughout, as their clumped needles shade each other.
CROP: Final = (2.3, 4.6, 2.2, 8.2, 30.0, 40.5, 43.0, 45.5, 18.0, 7.8)
LUSH: Final = (2.1, 4.8, 2.0, 8.4, 34.0, 47.0, 50.0, 52.0, 19.0, 7.6)
GRASS: Final = (2.6, 5.4, 3.0, 9.6, 28.0, 36.0, 38.5, 40.5, 20.5, 9.8)
TREES: Final = (1.6, 3.5, 1.8, 6.4, 24.0, 32.5, 34.0, 36.5, 16.0, 6.8)
NEEDLES: Final = (1.5, 2.5, 1.6, 4.2, 12.8, 16.2, 17.6, 18.6, 8.8, 4.0)
GREEN: Final = {
    Cover.MAIZE: (2.4, 4.9, 2.3, 8.0, 27.0, 37.0, 39.5, 42.0, 19.5, 8.8),
    Cover.RAPESEED: LUSH,
    Cover.SUGAR_BEET: LUSH,
    Cover.POTATO: LUSH,
    Cover.ALFALFA: LUSH,
    Cover.GRASSLAND: GRASS,
    Cover.BUILT_UP: GRASS,
    Cover.BARE_SOIL: GRASS,
    Cover.ROAD: GRASS,
    Cover.VINEYARD: TREES,
    Cover.ORCHARD: TREES,
    Cover.BROADLEAF_FOREST: TREES,
    Cover.HEDGE: TREES,
    Cover.CONIFER_FOREST: NEEDLES,
}

# Dead leaves, straw, stubble (typical values after the same libraries), and fields in full flower:
# rapeseed is bright in green and red but not in blue (d'Andrimont et al. 2020, Detecting flowering
# phenology in oil seed rape parcels with Sentinel-1 and -2 time series, Remote Sensing of
# Environment 239), sunflower much less so as its heads cover little.
BROWN: Final = (6.6, 9.8, 14.2, 17.8, 22.0, 24.0, 26.5, 28.6, 34.0, 24.0)
FLOWER: Final = {
    Cover.RAPESEED: (4.6, 16.5, 15.0, 20.5, 36.0, 43.0, 46.0, 48.0, 23.0, 11.0),
    Cover.SUNFLOWER: (4.0, 10.5, 10.0, 16.0, 31.0, 39.0, 42.0, 44.0, 23.0, 12.0),
}

# Signal to noise ratio required of each band at its reference radiance (W m-2 sr-1 um-1): Drusch
# et al. 2012, table 1; exo-atmospheric irradiance (W m-2 um-1) as in the metadata of S2A products.
# The ratios measured in orbit, in ESA's L1C Data Quality Reports, are better than required.
SNR: Final = (154, 168, 142, 117, 89, 105, 174, 72, 100, 100)
RADIANCE: Final = (128.0, 128.0, 108.0, 74.5, 68.0, 67.0, 103.0, 52.5, 4.0, 1.5)
IRRADIANCE: Final = (
    1941.63, 1822.61, 1512.79, 1425.56, 1288.32, 1163.19, 1036.39, 955.19, 245.59, 85.25,
)  # fmt: skip


class Pulse(NamedTuple):
    """A double logistic: up around day `rise`, down around day `fall` (days of the year)."""

    height: float
    rise: float
    rise_days: float
    fall: float
    fall_days: float


class Season(NamedTuple):
    """Cover fractions through a year: a constant and pulses for each of three parts."""

    green: tuple[Pulse, ...] = ()
    brown: tuple[Pulse, ...] = ()
    flower: tuple[Pulse, ...] = ()
    always_green: float = 0.0
    always_brown: float = 0.0
    # What follows or precedes the crop in the fields that carry a catch crop.
    catch: tuple[Pulse, ...] = ()


# Autumn cover before a spring crop, as the nitrate rules of many regions ask; and volunteers.
CATCH: Final = (Pulse(0.70, 262, 7, 332, 4),)
VOLUNTEERS: Final = (Pulse(0.45, 238, 6, 276, 3),)

# Days of sowing, heading, maturity and harvest are typical values for about 47 degrees north,
# after the crop calendars of the JRC MARS Bulletins (Crop monitoring in Europe) and of USDA's
# Major World Crop Areas and Climatic Profiles (Agricultural Handbook 664, 1994); leaf-out and leaf
# fall of broadleaf forest after Menzel et al. 2006, Global Change Biology 12. The curve is the
# double logistic of Beck et al. 2006, Remote Sensing of Environment 100, and of Zhang et al. 2003,
# Remote Sensing of Environment 84.
SEASONS: Final = {
    Cover.WINTER_WHEAT: Season(  # sown in late October, ears in late May, harvest 20 July
        green=(Pulse(0.34, 322, 12, 536, 6), Pulse(0.60, 92, 8, 171, 6)),
        brown=(Pulse(0.85, 169, 6, 201, 1.5), Pulse(0.50, 201, 1.5, 246, 7)),
        catch=VOLUNTEERS,
    ),
    Cover.WINTER_BARLEY: Season(  # sown in early October, harvest 28 June
        green=(Pulse(0.42, 306, 10, 520, 5), Pulse(0.52, 82, 8, 155, 5)),
        brown=(Pulse(0.88, 153, 5, 179, 1.5), Pulse(0.50, 179, 1.5, 230, 8)),
        catch=VOLUNTEERS,
    ),
    Cover.RAPESEED: Season(  # sown in late August, in flower from mid April, harvest 10 July
        green=(Pulse(0.58, 272, 7, 528, 6), Pulse(0.34, 73, 8, 163, 6)),
        brown=(Pulse(0.80, 163, 6, 191, 1.5), Pulse(0.40, 191, 1.5, 228, 5)),
        flower=(Pulse(0.82, 104, 3, 133, 3.5),),
    ),
    Cover.MAIZE: Season(  # sown in late April, canopy closed in early July, harvest 10 October
        green=(Pulse(0.92, 164, 6, 259, 8),),
        brown=(Pulse(0.70, 260, 8, 283, 1.5), Pulse(0.50, 283, 1.5, 322, 8)),
    ),
    Cover.SUGAR_BEET: Season(  # sown at the end of March, closed in mid June, lifted in October
        green=(Pulse(0.94, 153, 7, 291, 1.5),),
        brown=(Pulse(0.15, 291, 2, 320, 8),),
    ),
    Cover.SUNFLOWER: Season(  # sown in mid April, in flower in early July, harvest 12 September
        green=(Pulse(0.82, 157, 6, 224, 6),),
        brown=(Pulse(0.70, 224, 6, 255, 1.5), Pulse(0.30, 255, 1.5, 290, 8)),
        flower=(Pulse(0.30, 184, 2.5, 204, 3),),
        catch=CATCH,
    ),
    Cover.POTATO: Season(  # planted in mid April, haulm killed at the end of August
        green=(Pulse(0.92, 156, 5, 240, 3),),
        brown=(Pulse(0.35, 240, 3, 262, 1.5),),
        catch=CATCH,
    ),
    Cover.GRASSLAND: Season(  # hay cut in early June and in early August
        green=(
            Pulse(0.34, 80, 9, 318, 16),
            Pulse(-0.30, 158, 1.5, 178, 6),
            Pulse(-0.22, 218, 1.5, 240, 7),
        ),
        brown=(Pulse(0.10, 158, 2, 175, 5), Pulse(0.14, 195, 12, 260, 12)),
        always_green=0.56,
        always_brown=0.10,
    ),
    Cover.ALFALFA: Season(  # four cuts
        green=(
            Pulse(0.62, 82, 7, 310, 12),
            *(Pulse(-0.55, day, 1.2, day + 17, 3.5) for day in (134, 173, 212, 256)),
        ),
        brown=(Pulse(0.10, 300, 10, 440, 12),),
        always_green=0.32,
    ),
    Cover.VINEYARD: Season(  # buds in mid April, leaves fall in late October; grass between rows
        green=(Pulse(0.40, 143, 9, 292, 7),),
        brown=(Pulse(0.08, 285, 7, 330, 10),),
        always_green=0.16,
        always_brown=0.12,
    ),
    Cover.ORCHARD: Season(
        green=(Pulse(0.44, 110, 7, 308, 8),),
        brown=(Pulse(0.14, 305, 8, 470, 8),),
        always_green=0.40,
        always_brown=0.08,
    ),
    Cover.BROADLEAF_FOREST: Season(
        green=(Pulse(0.86, 111, 4.5, 303, 8),),
        brown=(Pulse(0.40, 302, 7, 345, 12),),
        always_green=0.12,
    ),
    Cover.CONIFER_FOREST: Season(green=(Pulse(0.06, 130, 12, 300, 20),), always_green=0.90),
    Cover.HEDGE: Season(
        green=(Pulse(0.66, 106, 6, 306, 9),),
        brown=(Pulse(0.20, 305, 8, 470, 8),),
        always_green=0.24,
    ),
    Cover.WATER: Season(),
    # Of the ground that buildings leave free: gardens, verges.
    Cover.BUILT_UP: Season(
        green=(Pulse(0.22, 85, 9, 312, 14),), brown=(Pulse(0.12, 195, 12, 260, 12),),
        always_green=0.48, always_brown=0.08,
    ),
    Cover.ROAD: Season(),
    Cover.BARE_SOIL: Season(green=(Pulse(0.08, 95, 12, 180, 12),), always_green=0.02),
}  # fmt: skip

DEFAULT_SUBSTRATE: Final = {
    Cover.BROADLEAF_FOREST: Substrate.LITTER,
    Cover.CONIFER_FOREST: Substrate.LITTER,
    Cover.HEDGE: Substrate.LITTER,
    Cover.WATER: Substrate.WATER,
    Cover.BUILT_UP: Substrate.TILES,
    Cover.ROAD: Substrate.ASPHALT,
    Cover.BARE_SOIL: Substrate.TRACK,
}


def flag_attrs() -> dict[str, object]:
    """CF attributes (``flag_values``, ``flag_meanings``) of the class map."""
    return {
        "long_name": "true land cover of the simulated landscape",
        "flag_values": np.array([cover.value for cover in Cover], dtype=np.uint8),
        "flag_meanings": " ".join(cover.name.lower() for cover in Cover),
    }


@lru_cache(maxsize=1)
def seasons() -> F32:
    """Cover fractions by day: dims (cover, catch crop no/yes, day 0 .. 365, part), float32.

    Parts are green, brown and flower; the rest is substrate. Day 365 repeats day 0.
    """
    table = np.zeros((max(Cover) + 1, 2, YEAR + 1, 3), dtype=np.float32)
    for cover, season in SEASONS.items():
        for catch in (0, 1):
            green = season.green + (season.catch if catch else ())
            table[cover, catch, :, 0] = season.always_green + _pulses(green)
            table[cover, catch, :, 1] = season.always_brown + _pulses(season.brown)
            table[cover, catch, :, 2] = _pulses(season.flower)
    table = np.maximum(table, 0)
    # Flowers hide leaves; nothing covers more than all of the ground.
    table[..., 0] *= 1 - table[..., 2]
    table /= np.maximum(table.sum(axis=-1, keepdims=True), 1)
    table.flags.writeable = False
    return table


@lru_cache(maxsize=1)
def substrate_spectra() -> tuple[F32, F32]:
    """Reflectance (substrate, band) when dry, and the share (substrate,) that wetness leaves."""
    dry = np.array([SUBSTRATES[s][0] for s in Substrate], dtype=np.float32) / np.float32(100)
    return dry, np.array([SUBSTRATES[s][1] for s in Substrate], dtype=np.float32)


@lru_cache(maxsize=1)
def green_spectra() -> F32:
    """Reflectance of full green canopies, dims (cover, band), float32."""
    return _by_cover(GREEN, CROP)


@lru_cache(maxsize=1)
def flower_spectra() -> F32:
    """Reflectance of fields in full flower, dims (cover, band), float32."""
    return _by_cover(FLOWER, BROWN)


@lru_cache(maxsize=1)
def brown_spectrum() -> F32:
    """Reflectance of straw and dead leaves, dims (band,), float32."""
    return np.array(BROWN, dtype=np.float32) / np.float32(100)


@lru_cache(maxsize=64)
def cover_means(day: int, wetness: float) -> F32:
    """Reflectance of the typical stand of each cover on a day, dims (cover, band), float32."""
    parts = seasons()[:, 0, day % YEAR, :]
    dry, kept = substrate_spectra()
    lie = [DEFAULT_SUBSTRATE.get(c, Substrate.BROWN_SOIL) for c in Cover]
    ground = np.concatenate([dry[:1], dry[lie] * (1 - wetness * (1 - kept[lie]))[:, None]])
    out = parts[:, :1] * green_spectra() + parts[:, 1:2] * brown_spectrum()
    out += parts[:, 2:] * flower_spectra()
    out += (1 - parts.sum(axis=1, keepdims=True)) * ground
    return out.astype(np.float32)


def noise_deviation() -> tuple[float, ...]:
    """Deviation of the sensor's noise by band, reflectance, for a sun 40 degrees off the zenith."""
    cosine = 0.766
    radiances = zip(SNR, RADIANCE, IRRADIANCE, strict=True)
    return tuple(np.pi * le / (e0 * cosine) / snr for snr, le, e0 in radiances)


def _by_cover(spectra: Mapping[Cover, tuple[float, ...]], other: tuple[float, ...]) -> F32:
    rows = [other, *(spectra.get(cover, other) for cover in Cover)]
    return np.array(rows, dtype=np.float32) / np.float32(100)


def _pulses(pulses: tuple[Pulse, ...]) -> NDArray[np.float64]:
    days = np.arange(YEAR + 1) % YEAR
    total = np.zeros(days.shape)
    for pulse in pulses:
        for year in (-2, -1, 0, 1, 2):  # a pulse may run over New Year: `fall` beyond 365
            t = days + YEAR * year
            up = 1 / (1 + np.exp(np.clip((pulse.rise - t) / pulse.rise_days, -60, 60)))
            down = 1 / (1 + np.exp(np.clip((pulse.fall - t) / pulse.fall_days, -60, 60)))
            total += pulse.height * (up - down)
    return total
