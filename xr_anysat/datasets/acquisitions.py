"""When the simulated satellites pass, what they see of the scene, and through which clouds.

Revisit of 5 days with two satellites (ESA, Sentinel-2 mission: revisit and coverage), from two
neighbouring relative orbits of which one crosses the scene with the edge of its swath. All
positions are of the world, so that a part of a scene has the dates and clouds of the whole.
"""

import math
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .noise import F32, I64, fractal_noise, key, smooth_noise

__all__ = ["ANCHOR", "Pass", "Weather", "calendar", "swath", "thin_out", "weather", "wetness"]

# Upper left corner of the default scene (metres in its CRS, multiples of 20).
ANCHOR: Final = (370_000, 5_250_000)
LATITUDE: Final = 47.4  # degrees, of the anchor
EPOCH: Final = np.datetime64("1970-01-01", "D")

# Day of the 5 (counted from 1970-01-01) and time of day (minutes UTC) of the two orbits. Three
# days lie between relative orbits 8 and 51, of the 143 in 10 days; the times are those at which
# Sentinel-2 passes over France, about 10:30 of local solar time.
ORBITS: Final = {51: (0, 651), 8: (2, 641)}
FAIR: Final = 0.4  # share of clouds up to which `thin_out` is content
LOST: Final = 0.05  # share of passes without a product; an assumption
SLANT: Final = 0.21  # metres west for each metre south along a swath's edge, descending passes


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
        """Moment of the pass, datetime64[ns], UTC."""
        moment = EPOCH.astype("datetime64[s]") + np.timedelta64(86400 * self.day + self.second, "s")
        out: np.datetime64 = moment.astype("datetime64[ns]")
        return out

    @property
    def day_of_year(self) -> int:
        """Days since 1 January, from 0."""
        date = EPOCH + self.day
        return int((date - date.astype("datetime64[Y]").astype("datetime64[D]")).astype(int))


class Weather(NamedTuple):
    """Clouds of a pass.

    Attributes
    ----------
    missing : ndarray of bool
        Dims (y, x) of 20 m cells: under a cloud or its shadow.
    haze : ndarray of float32
        Dims (y, x) of 20 m cells: reflectance that thin cloud adds in the blue.
    """

    missing: NDArray[np.bool_]
    haze: F32


def calendar(seed: int, first: int, last: int) -> tuple[Pass, ...]:
    """List the passes from a day to a day, both included, in the order of time.

    Parameters
    ----------
    seed
        Of the world.
    first, last
        Days since 1970-01-01.

    Returns
    -------
    tuple of Pass
        Without those that were lost.
    """
    passes = []
    for day in range(first, last + 1):
        for orbit, (phase, minute) in ORBITS.items():
            dice = key(seed, "pass", day, orbit)
            if day % 5 == phase and _chance(dice, 1) >= LOST:
                second = minute * 60 + int(40 * _chance(dice, 2))
                passes.append(Pass(day, orbit, second, _cloud_cover(dice)))
    return tuple(passes)


def thin_out(passes: tuple[Pass, ...], number: int) -> tuple[Pass, ...]:
    """Keep one fairly clear pass in each of `number` equal periods.

    That is the one nearest to the period's middle of those with at most 40 percent of clouds, or
    if all have more, the clearest.

    Parameters
    ----------
    passes
        In the order of time.
    number
        Of periods between the first and the last pass.

    Returns
    -------
    tuple of Pass
        At most `number`: a period without any pass has none.
    """
    if len(passes) <= number:
        return passes
    start, span = passes[0].day, passes[-1].day - passes[0].day + 1
    best: dict[int, tuple[tuple[float, int], Pass]] = {}
    for one in passes:
        period = (one.day - start) * number // span
        off = abs((2 * (one.day - start) + 1) * number - (2 * period + 1) * span)
        rank = (max(one.cover, FAIR), off)
        if period not in best or rank < best[period][0]:
            best[period] = (rank, one)
    return tuple(best[period][1] for period in sorted(best))


def swath(seed: int, one: Pass, rows: I64, cols: I64) -> NDArray[np.bool_]:
    """Find the 20 m cells that a pass sees.

    Parameters
    ----------
    seed
        Of the world.
    one
        The pass.
    rows, cols
        World indices of 20 m cells, int64.

    Returns
    -------
    ndarray of bool
        Dims (rows, cols). Orbit 8 sees what lies east of an edge that wanders 1.3 km to
        either side of the anchor, orbit 51 what lies west of another 73 km further east.
    """
    east = (cols + 0.5) * 20 - ANCHOR[0]
    south = (rows + 0.5) * 20 + ANCHOR[1]
    wander = 2600 * (_chance(key(seed, "swath", one.day), one.orbit) - 0.5)
    across = east[None, :] + SLANT * south[:, None]
    seen: NDArray[np.bool_]
    seen = across > wander - 200 if one.orbit == 8 else across < 73_500 + wander
    return seen


def weather(seed: int, one: Pass, rows: I64, cols: I64) -> Weather:
    """Make the clouds of a pass, and their shadows where the sun throws them.

    Parameters
    ----------
    seed
        Of the world.
    one
        The pass.
    rows, cols
        Consecutive world indices of 20 m cells, int64.

    Returns
    -------
    Weather
        Dims (rows, cols).
    """
    dice = key(seed, "cloud", one.day, one.orbit)
    level = _normal_quantile(1 - one.cover)
    cells_south, cells_east = _shadow(one, 800 + 1900 * _chance(dice, 1))
    density = _density(dice, rows, cols) - np.float32(level)
    # A cell is in shadow if the cloud that hides the sun from it stands towards the sun.
    shadow = _density(dice, rows + cells_south, cols + cells_east) - np.float32(level)
    # Masks are drawn generously, as a processor's dilated cloud mask is.
    haze = np.clip(density + np.float32(0.55), 0, np.float32(0.5)) * np.float32(0.035)
    return Weather((density > -0.1) | (shadow > 0.0), haze)


def wetness(seed: int, day: int) -> float:
    """Wetness of the soil's surface, 0 to 1: of the season, and of the last showers.

    Parameters
    ----------
    seed
        Of the world.
    day
        Days since 1970-01-01.

    Returns
    -------
    float
        The mean of the scene, rounded to hundredths.
    """
    season = 0.5 + 0.28 * math.cos(2 * math.pi * (day - 15) / 365.25)
    here, zero = np.array([day], dtype=np.int64), np.zeros(1, dtype=np.int64)
    showers = float(smooth_noise(key(seed, "showers"), zero, here, 9.0, 1)[0, 0])
    return round(min(max(season + 0.2 * showers, 0.05), 0.95), 2)


def _density(dice: int, rows: I64, cols: I64) -> F32:
    # From fields of small cumulus to banks of some kilometres; scales are assumptions.
    wavelength = 700.0 * (1 + 7 * _chance(dice, 5) ** 2)
    return fractal_noise(dice, rows, cols, wavelength, 5, 20)


def _chance(dice: int, number: int) -> float:
    return key(dice, number) * 2.0**-64


def _cloud_cover(dice: int) -> float:
    """Draw the share of clouds: clear or overcast more often than between (U-shaped).

    Two thirds on average, as MODIS sees over the globe (King et al. 2013, Spatial and temporal
    distribution of clouds observed by MODIS, IEEE TGRS 51), is a little cloudier than here: 0.57.
    """
    kind, share = _chance(dice, 3), _chance(dice, 4)
    if kind < 0.22:
        return round(0.001 + 0.03 * share, 4)
    if kind < 0.62:
        return round(0.03 + 0.87 * share, 4)
    return round(0.90 + 0.099 * share, 4)


@lru_cache(maxsize=512)
def _normal_quantile(share: float) -> float:
    """Quantile of the standard normal, which the noise is near enough, by bisection."""
    low, high = -6.0, 6.0
    for _ in range(40):
        middle = (low + high) / 2
        if 0.5 * (1 + math.erf(middle / math.sqrt(2))) < share:
            low = middle
        else:
            high = middle
    return round(low, 6)


def _shadow(one: Pass, height: float) -> tuple[int, int]:
    """Cells south and east from a shadow to its cloud at `height` metres.

    The sun stands where Cooper's declination (1969, The absorption of radiation in solar stills,
    Solar Energy 12) and a local solar time of 11 o'clock put it.
    """
    declination = math.radians(23.45) * math.sin(2 * math.pi * (285 + one.day_of_year) / 365)
    latitude, hour = math.radians(LATITUDE), math.radians(-15)
    east = -math.cos(declination) * math.sin(hour)
    south = math.sin(latitude) * math.cos(declination) * math.cos(hour)
    south -= math.cos(latitude) * math.sin(declination)
    up = math.sqrt(max(1 - east * east - south * south, 0.01))
    return round(height * south / up / 20), round(height * east / up / 20)
