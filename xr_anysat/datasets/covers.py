"""What grows and stands in the simulated landscape, and its seasons, whatever sensor looks at it.

The numbers are typical values, rounded, of the magnitude that the works named beside each table
report for western Europe; none is copied from one site.
"""

from enum import IntEnum
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["DEFAULT_GROUND", "SEASONS", "YEAR", "Cover", "Ground", "Season", "seasons"]

YEAR: Final = 365

# The classes of `land_cover`, from 1; 0 is not used.
Cover = IntEnum(
    "Cover",
    "WINTER_WHEAT WINTER_BARLEY RAPESEED MAIZE SUGAR_BEET SUNFLOWER POTATO GRASSLAND ALFALFA "
    "VINEYARD ORCHARD BROADLEAF_FOREST CONIFER_FOREST HEDGE WATER BUILT_UP ROAD BARE_SOIL",
)
# What lies under and between the plants, from 0.
Ground = IntEnum(
    "Ground",
    "PALE_SOIL BROWN_SOIL RED_SOIL LITTER WATER ASPHALT TILES SLATE BRIGHT_ROOF TRACK",
    start=0,
)

Pulse = tuple[float, float, float, float, float]


class Season(NamedTuple):
    """How much of the ground a cover's green, brown and flowering parts hide through the year.

    A pulse is a double logistic: height, day of year and slowness (days) of its rise, and of its
    fall; one that runs over New Year falls after day 365.
    """

    green: tuple[Pulse, ...] = ()
    brown: tuple[Pulse, ...] = ()
    flower: tuple[Pulse, ...] = ()
    always_green: float = 0.0
    always_brown: float = 0.0
    catch: tuple[Pulse, ...] = ()
    """What follows or precedes the crop in the fields that carry a catch crop."""


# Autumn cover before a spring crop, as the nitrate rules of many regions ask; and volunteers.
CATCH: Final = ((0.70, 262, 7, 332, 4),)
VOLUNTEERS: Final = ((0.45, 238, 6, 276, 3),)

# Days of sowing, heading, maturity and harvest are typical values for about 47 degrees north,
# after the crop calendars of the JRC MARS Bulletins (Crop monitoring in Europe) and of USDA's
# Major World Crop Areas and Climatic Profiles (Agricultural Handbook 664, 1994); leaf-out and leaf
# fall of broadleaf forest after Menzel et al. 2006, Global Change Biology 12. The curve is the
# double logistic of Beck et al. 2006, Remote Sensing of Environment 100, and of Zhang et al. 2003,
# Remote Sensing of Environment 84.
# fmt: off
SEASONS: Final = {
    # sown in late October, ears in late May, harvest 20 July
    Cover.WINTER_WHEAT: Season(
        ((0.34, 322, 12, 536, 6), (0.60, 92, 8, 171, 6)),
        ((0.85, 169, 6, 201, 1.5), (0.50, 201, 1.5, 246, 7)), catch=VOLUNTEERS),
    # sown in early October, harvest 28 June
    Cover.WINTER_BARLEY: Season(
        ((0.42, 306, 10, 520, 5), (0.52, 82, 8, 155, 5)),
        ((0.88, 153, 5, 179, 1.5), (0.50, 179, 1.5, 230, 8)), catch=VOLUNTEERS),
    # sown in late August, in flower from mid April, harvest 10 July
    Cover.RAPESEED: Season(
        ((0.58, 272, 7, 528, 6), (0.34, 73, 8, 163, 6)),
        ((0.80, 163, 6, 191, 1.5), (0.40, 191, 1.5, 228, 5)), ((0.82, 104, 3, 133, 3.5),)),
    # sown in late April, canopy closed in early July, harvest 10 October
    Cover.MAIZE: Season(
        ((0.92, 164, 6, 259, 8),), ((0.70, 260, 8, 283, 1.5), (0.50, 283, 1.5, 322, 8))),
    # sown at the end of March, closed in mid June, lifted in October
    Cover.SUGAR_BEET: Season(((0.94, 153, 7, 291, 1.5),), ((0.15, 291, 2, 320, 8),)),
    # sown in mid April, in flower in early July, harvest 12 September
    Cover.SUNFLOWER: Season(
        ((0.82, 157, 6, 224, 6),), ((0.70, 224, 6, 255, 1.5), (0.30, 255, 1.5, 290, 8)),
        ((0.30, 184, 2.5, 204, 3),), catch=CATCH),
    # planted in mid April, haulm killed at the end of August
    Cover.POTATO: Season(((0.92, 156, 5, 240, 3),), ((0.35, 240, 3, 262, 1.5),), catch=CATCH),
    # hay cut in early June and in early August
    Cover.GRASSLAND: Season(
        ((0.34, 80, 9, 318, 16), (-0.30, 158, 1.5, 178, 6), (-0.22, 218, 1.5, 240, 7)),
        ((0.10, 158, 2, 175, 5), (0.14, 195, 12, 260, 12)), (), 0.56, 0.10),
    # four cuts
    Cover.ALFALFA: Season(
        ((0.62, 82, 7, 310, 12), *((-0.55, d, 1.2, d + 17, 3.5) for d in (134, 173, 212, 256))),
        ((0.10, 300, 10, 440, 12),), (), 0.32),
    # buds in mid April, leaves fall in late October; grass between rows
    Cover.VINEYARD: Season(((0.40, 143, 9, 292, 7),), ((0.08, 285, 7, 330, 10),), (), 0.16, 0.12),
    Cover.ORCHARD: Season(((0.44, 110, 7, 308, 8),), ((0.14, 305, 8, 470, 8),), (), 0.40, 0.08),
    Cover.BROADLEAF_FOREST: Season(
        ((0.86, 111, 4.5, 303, 8),), ((0.40, 302, 7, 345, 12),), (), 0.12),
    Cover.CONIFER_FOREST: Season(((0.06, 130, 12, 300, 20),), (), (), 0.90),
    Cover.HEDGE: Season(((0.66, 106, 6, 306, 9),), ((0.20, 305, 8, 470, 8),), (), 0.24),
    Cover.WATER: Season(),
    # of the ground that buildings leave free: gardens, verges
    Cover.BUILT_UP: Season(((0.22, 85, 9, 312, 14),), ((0.12, 195, 12, 260, 12),), (), 0.48, 0.08),
    Cover.ROAD: Season(),
    Cover.BARE_SOIL: Season(((0.08, 95, 12, 180, 12),), (), (), 0.02),
}
# fmt: on

# Under each cover; soils differ between fields, see `world`.
DEFAULT_GROUND: Final = np.full(len(Cover) + 1, Ground.BROWN_SOIL, dtype=np.uint8)
DEFAULT_GROUND[[Cover.BROADLEAF_FOREST, Cover.CONIFER_FOREST, Cover.HEDGE]] = Ground.LITTER
DEFAULT_GROUND[[Cover.WATER, Cover.BUILT_UP]] = Ground.WATER, Ground.TILES
DEFAULT_GROUND[[Cover.ROAD, Cover.BARE_SOIL]] = Ground.ASPHALT, Ground.TRACK


@lru_cache(maxsize=1)
def seasons() -> NDArray[np.float32]:
    """Cover fractions by day: dims (cover, catch crop no/yes, day 0 .. 365, part), float32.

    Parts are green, brown and flower; the rest is ground. Day 365 repeats day 0.
    """
    table = np.zeros((len(Cover) + 1, 2, YEAR + 1, 3), dtype=np.float32)
    for cover, season in SEASONS.items():
        table[cover, ..., 0] = season.always_green + _pulses(season.green)
        table[cover, 1, :, 0] += _pulses(season.catch)
        table[cover, ..., 1] = season.always_brown + _pulses(season.brown)
        table[cover, ..., 2] = _pulses(season.flower)
    table = np.maximum(table, 0)
    # Flowers hide leaves; nothing covers more than all of the ground.
    table[..., 0] *= 1 - table[..., 2]
    table /= np.maximum(table.sum(axis=-1, keepdims=True), 1)
    table.flags.writeable = False
    return table


def _pulses(pulses: tuple[Pulse, ...]) -> NDArray[np.float64]:
    days = np.arange(YEAR + 1) % YEAR + YEAR * np.arange(-2, 3)[:, None]  # dims (year, day)
    total = np.zeros(YEAR + 1)
    for height, rise, slow_rise, fall, slow_fall in pulses:
        up, down = np.tanh((days - rise) / slow_rise / 2), np.tanh((days - fall) / slow_fall / 2)
        total += height / 2 * (up - down).sum(axis=0)
    return total
