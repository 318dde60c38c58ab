"""How Sentinel-2 sees the simulated world: when it passes, through which clouds, in which colours.

Revisit of 5 days with two satellites (ESA, Sentinel-2 mission: revisit and coverage), from two
neighbouring relative orbits of which one crosses the scene with the edge of its swath. All
positions are of the world, so that a part of a scene has the dates and clouds of the whole.
"""

import math
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from statistics import NormalDist
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .covers import Cover
from .noise import F32, F64, I64, chance, fractal_noise, hash64, key, normal
from .world import Surface, survey, wetness

__all__ = ["ANCHOR", "BANDS", "BANDS_20M", "NODATA", "PIXEL", "Scene", "calendar", "thin_out"]

PIXEL: Final = 10  # metres
NODATA: Final = 0  # of Sentinel-2 L2A products

# The ten bands of 10 m and 20 m (Drusch et al. 2012, Sentinel-2: ESA's optical high-resolution
# mission for GMES operational services, Remote Sensing of Environment 120, table 1).
BANDS: Final = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
BANDS_20M: Final = ("B05", "B06", "B07", "B8A", "B11", "B12")


def _table(rows: Any) -> F32:
    return np.array(rows, dtype=np.float32) / np.float32(100)


# Reflectances in percent, in the order of BANDS: typical values, rounded, of the magnitude found
# in the works named; none is copied from one spectrum.
#
# Ground when dry, and what full wetness leaves of it: soil, water and man-made spectra of the
# ECOSTRESS library (Meerdink et al. 2019, Remote Sensing of Environment 230) and of the USGS
# library (Kokaly et al. 2017, USGS Spectral Library Version 7, Data Series 1035). That wet soils
# keep half to two thirds: Lobell and Asner 2002, Soil Science Society of America Journal 66.
DRY: Final = _table([
    (10.2, 13.4, 16.6, 18.4, 19.8, 21.2, 23.0, 24.0, 31.5, 27.5),  # pale soil
    (7.0, 9.4, 12.0, 13.7, 15.0, 16.3, 17.8, 19.0, 27.0, 22.5),  # brown soil
    (6.3, 9.3, 14.2, 16.9, 18.2, 19.5, 21.0, 22.3, 29.5, 24.0),  # red soil
    (3.2, 4.6, 6.2, 8.3, 10.8, 12.0, 13.2, 14.6, 20.5, 13.0),  # litter
    (3.6, 4.4, 2.6, 2.2, 1.7, 1.6, 1.4, 1.3, 0.7, 0.5),  # water
    (8.2, 9.6, 10.6, 11.2, 11.8, 12.4, 13.0, 13.6, 15.6, 14.4),  # asphalt
    (8.2, 11.2, 16.8, 18.8, 20.2, 21.4, 22.6, 23.8, 27.0, 24.5),  # tiles
    (9.0, 9.8, 10.4, 10.8, 11.2, 11.6, 12.0, 12.4, 14.0, 13.2),  # slate
    (23.0, 24.6, 25.8, 26.5, 27.0, 27.4, 27.8, 28.2, 28.6, 25.4),  # bright roof
    (9.0, 12.0, 15.0, 17.0, 18.6, 19.8, 21.0, 22.0, 28.0, 24.0),  # track
])  # fmt: skip
KEPT: Final = _table([60, 58, 60, 80, 100, 85, 92, 92, 95, 70])

# Full green canopies: vegetation spectra of the two libraries, and the PROSAIL model at high leaf
# area (Jacquemoud et al. 2009, Remote Sensing of Environment 113); conifers darker throughout, as
# their clumped needles shade each other.
CANOPIES: Final = _table([
    (2.3, 4.6, 2.2, 8.2, 30.0, 40.5, 43.0, 45.5, 18.0, 7.8),  # 0: cereals, sunflower, and others
    (2.1, 4.8, 2.0, 8.4, 34.0, 47.0, 50.0, 52.0, 19.0, 7.6),  # 1: broad leaves in the fields
    (2.6, 5.4, 3.0, 9.6, 28.0, 36.0, 38.5, 40.5, 20.5, 9.8),  # 2: grass
    (1.6, 3.5, 1.8, 6.4, 24.0, 32.5, 34.0, 36.5, 16.0, 6.8),  # 3: broad leaves of wood
    (1.5, 2.5, 1.6, 4.2, 12.8, 16.2, 17.6, 18.6, 8.8, 4.0),  # 4: needles
    (2.4, 4.9, 2.3, 8.0, 27.0, 37.0, 39.5, 42.0, 19.5, 8.8),  # 5: maize
])  # fmt: skip
GREEN: Final = CANOPIES[[0, 0, 0, 1, 5, 1, 0, 1, 2, 1, 3, 3, 3, 4, 3, 0, 2, 2, 2]]  # as in `Cover`

# Dead leaves, straw, stubble, and fields in full flower: rapeseed is bright in green and red but
# not in blue (d'Andrimont et al. 2020, Detecting flowering phenology in oil seed rape parcels with
# Sentinel-1 and -2 time series, Remote Sensing of Environment 239), sunflower much less so as its
# heads cover little.
BROWN: Final = _table((6.6, 9.8, 14.2, 17.8, 22.0, 24.0, 26.5, 28.6, 34.0, 24.0))
FLOWER: Final = np.tile(BROWN, (len(Cover) + 1, 1))
FLOWER[Cover.RAPESEED] = _table((4.6, 16.5, 15.0, 20.5, 36.0, 43.0, 46.0, 48.0, 23.0, 11.0))
FLOWER[Cover.SUNFLOWER] = _table((4.0, 10.5, 10.0, 16.0, 31.0, 39.0, 42.0, 44.0, 23.0, 12.0))

# Deviation of the sensor's noise, percent: pi L / (E cos 40 deg) / SNR, with the signal to noise
# ratio required of each band at its reference radiance (Drusch et al. 2012, table 1) and the
# exo-atmospheric irradiance of S2A products. ESA's L1C Data Quality Reports measure less noise.
NOISE: Final = _table((0.176, 0.171, 0.206, 0.183, 0.243, 0.225, 0.234, 0.313, 0.067, 0.072))
# How thin cloud brightens each band relative to the blue: whiter than molecules are, and less
# at the long end; an assumption.
HAZE: Final = _table((100, 92, 85, 80, 76, 73, 70, 68, 35, 25))
# Deviation between dates left by the atmosphere's correction and by the angles of sun and view:
# a few percent, most in the blue. Typical values after the uncertainty that the L2A Data Quality
# Reports of ESA's Optical Mission Performance Cluster state (0.05 rho + 0.005).
GAIN: Final = (0.05, 0.035, 0.03, 0.025, 0.02, 0.02, 0.02, 0.02, 0.02, 0.025)

# Upper left corner of the default scene (metres in its CRS, multiples of 20).
ANCHOR: Final = (370_000, 5_250_000)

# Day of the 5 (counted from 1970-01-01) and time of day (minutes UTC) of the two orbits. Three
# days lie between relative orbits 8 and 51, of the 143 in 10 days; the times are those at which
# Sentinel-2 passes over France, about 10:30 of local solar time.
ORBITS: Final = {51: (0, 651), 8: (2, 641)}


class Pass(NamedTuple):
    """One acquisition.

    Attributes
    ----------
    day : int
        Days since 1970-01-01.
    orbit : int
        Relative orbit.
    second : int
        Second of the day, UTC.
    cover : float
        Expected share of clouds over the world, 0 to 1.
    """

    day: int
    orbit: int
    second: int
    cover: float

    @property
    def time(self) -> np.datetime64:
        """Moment of the pass, UTC."""
        return np.datetime64(86400 * self.day + self.second, "s").astype("datetime64[ns]")

    @property
    def day_of_year(self) -> int:
        """Days since 1 January, from 0."""
        date = np.datetime64(self.day, "D")
        return int((date - date.astype("datetime64[Y]")).astype(int))


def calendar(seed: int, first: int, last: int) -> tuple[Pass, ...]:
    """List the passes from a day since 1970-01-01 to another, both included.

    One in twenty leaves no product: an assumption.
    """
    return tuple(
        Pass(day, orbit, minute * 60 + int(40 * chance(dice, 2)), _cloud_cover(dice))
        for day in range(first, last + 1)
        for orbit, (phase, minute) in ORBITS.items()
        if day % 5 == phase and chance(dice := key(seed, "pass", day, orbit), 1) >= 0.05
    )


def thin_out(passes: tuple[Pass, ...], number: int) -> tuple[Pass, ...]:
    """Keep one fairly clear pass in each of `number` equal periods that has any.

    That is the one nearest to the period's middle of those with at most 40 percent of clouds, or
    if all have more, the clearest.
    """
    if len(passes) <= number:
        return passes
    start, step = passes[0].day, (passes[-1].day - passes[0].day + 1) / number

    def rank(one: Pass) -> tuple[float, float]:
        return max(one.cover, 0.4), abs((one.day - start) % step - (step - 1) / 2)

    periods = groupby(passes, lambda one: (one.day - start) // step)
    return tuple(min(period, key=rank) for _, period in periods)


def _cloud_cover(dice: int) -> float:
    """Draw the share of clouds: clear or overcast more often than between (U-shaped).

    Two thirds on average, as MODIS sees over the globe (King et al. 2013, Spatial and temporal
    distribution of clouds observed by MODIS, IEEE TGRS 51), is a little cloudier than here: 0.55.
    """
    cover = np.interp(chance(dice, 3), (0, 0.22, 0.62, 1), (0.001, 0.03, 0.9, 0.999))
    return round(float(cover), 4)


@dataclass(frozen=True)
class Scene:
    """All that a block of the cube is made from.

    Attributes
    ----------
    seed : int
        Of the world.
    row, col : int
        World indices of the upper left pixel; 10 m each, south and east.
    passes : tuple of Pass
        One for each time.
    clouds, orbit_edges : bool
        Whether clouds and the edges of swaths leave pixels missing.
    """

    seed: int
    row: int
    col: int
    passes: tuple[Pass, ...]
    clouds: bool
    orbit_edges: bool

    def block(
        self, times: tuple[int, int], ys: tuple[int, int], xs: tuple[int, int]
    ) -> tuple[NDArray[np.uint16], NDArray[np.int32]]:
        """Make a block of the cube, and of its labels.

        Parameters
        ----------
        times, ys, xs
            First index and the one after the last, counted from the scene's first.

        Returns
        -------
        tuple of ndarray
            Reflectance times 10000, 0 where missing: uint16, dims (time, band, y, x). Class and
            parcel: int32, dims (2, y, x).
        """
        rows, y = _around(self.row + ys[0], self.row + ys[1])
        cols, x = _around(self.col + xs[0], self.col + xs[1])
        south: Any = (rows[:, None] + 0.5) * PIXEL
        east: Any = (cols[None, :] + 0.5) * PIXEL
        land = survey(self.seed, south, east, PIXEL)
        labels = np.stack([land.cover[y, x].astype(np.int32), land.parcel[y, x]])
        cube = np.full((times[1] - times[0], len(BANDS), *labels.shape[1:]), NODATA, np.uint16)
        for one, out in zip(self.passes[slice(*times)], cube, strict=True):
            seen, haze = map(_repeat, self._sky(one, south[::2] + 5, east[:, ::2] + 5))
            if not seen[y, x].any():
                continue
            look = land.view(one.day_of_year, wetness(self.seed, one.day))
            for band, name in enumerate(BANDS):
                dice = key(self.seed, "sensor", one.day, one.orbit, band)
                value = look(partial(_reflectance, band=band)) + haze * HAZE[band]
                value, step = _blur(value), 2 if name in BANDS_20M else 1
                if step == 2:
                    pairs = value[::2] + value[1::2]
                    value = (pairs[:, ::2] + pairs[:, 1::2]) * np.float32(0.25)
                value *= np.float32(1 + GAIN[band] * float(normal(hash64(dice, -1))[0]))
                value += NOISE[band] * normal(hash64(dice, rows[::step, None], cols[::step]))
                value = (value if step == 1 else _repeat(value))[y, x]
                number = np.clip(np.rint(value * np.float32(10_000)), 1, 65535)
                out[band] = np.where(seen[y, x], number, NODATA)
        return cube, labels

    def _sky(self, one: Pass, south: F64, east: F64) -> tuple[NDArray[np.bool_], F32]:
        """Find which cells of 20 m a pass sees, and what thin cloud adds to the blue of them."""
        seen = np.ones((south.size, east.size), dtype=np.bool_)
        haze = np.zeros(seen.shape, dtype=np.float32)
        if self.orbit_edges:
            # Orbit 8 sees what lies east of an edge that wanders 1.3 km to either side of the
            # anchor, orbit 51 what lies west of another 73 km further east.
            # Along an edge, descending passes run 0.21 m west for each metre south.
            across = east - ANCHOR[0] + 0.21 * (south + ANCHOR[1])
            across = across - 2600 * (chance(self.seed, "swath", one.day, one.orbit) - 0.5)
            seen = across > -200 if one.orbit == 8 else across < 73_500
        if self.clouds and seen.any():
            dice = key(self.seed, "cloud", one.day, one.orbit)
            level = np.float32(round(NormalDist().inv_cdf(1 - one.cover), 6))
            # From fields of small cumulus to banks of some kilometres; scales are assumptions.
            wavelength = 700.0 * (1 + 7 * chance(dice, 5) ** 2)
            height = 800 + 1900 * chance(dice, 1)
            # The sun stands at 11 o'clock, local solar time, where Cooper's declination (1969,
            # The absorption of radiation in solar stills, Solar Energy 12) puts it.
            season = math.sin(2 * math.pi * (285 + one.day_of_year) / 365)
            away = height / math.tan(math.radians(90 - 47.4 - 2 + 23.45 * season))
            down, right = 0.92 * away, 0.38 * away
            density = fractal_noise(dice, south, east, wavelength) - level
            # A cell is in shadow if the cloud that hides the sun from it stands towards the sun.
            shadow = fractal_noise(dice, south + down, east + right, wavelength) - level
            # Masks are drawn generously, as a processor's dilated cloud mask is.
            seen = seen & (density <= -0.1) & (shadow <= 0)
            haze = np.clip(density + np.float32(0.55), 0, np.float32(0.5)) * np.float32(0.035)
        return seen, haze


def _around(start: int, stop: int) -> tuple[I64, slice]:
    """Pixels of whole cells of 20 m, with one more cell on each side for the blur; the pixels."""
    first, last = 2 * (start // 2 - 1), 2 * ((stop + 1) // 2 + 1)
    return np.arange(first, last), slice(start - first, stop - first)


def _reflectance(surface: Surface, band: int) -> F32:
    """Mix the spectra of plants and ground in one band."""
    soil = DRY[:, band][surface.ground] * surface.bright
    soil *= 1 - surface.wet * (1 - KEPT)[surface.ground]
    value: F32 = (1 - surface.green - surface.brown - surface.flower) * soil
    value += surface.green * GREEN[:, band][surface.cover]
    value += surface.brown * BROWN[band]
    value += surface.flower * FLOWER[:, band][surface.cover]
    return value


def _blur(value: F32) -> F32:
    """Spread a tenth of each pixel over its neighbours; the rim of the window is of no use then.

    A box of 10 m passes 0.64 of a contrast at the Nyquist frequency, and 0.38 after this; the
    instrument is required to pass 0.15 to 0.30, and does about that (Gascon et al. 2017,
    Copernicus Sentinel-2A calibration and products validation status, Remote Sensing 9).
    """
    for axis in (0, 1):
        beside = np.roll(value, 1, axis) + np.roll(value, -1, axis)
        value = np.float32(0.8) * value + np.float32(0.1) * beside
    return value


def _repeat(cells: NDArray[Any]) -> NDArray[Any]:
    """Cells of 20 m as pixels of 10 m."""
    return cells.repeat(2, axis=0).repeat(2, axis=1)
