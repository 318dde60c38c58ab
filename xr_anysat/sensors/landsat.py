"""Landsat 8 and 7 as AnySat knows them.

Order of bands: README of AnySat's authors. Aliases: STAC's `eo:common_name`, which catalogues of
Landsat Collection 2 name assets by, and the file endings of Collection 2 Level-2 (USGS, LSDS-1618
and LSDS-1619).
"""

from .record import Band, PixelRule, Sensor, SeriesProjector

__all__ = ["LANDSAT7", "LANDSAT8"]

LANDSAT8 = Sensor(
    key="l8",
    title="Landsat 8",
    bands=(
        Band(name="B8", aliases=("pan",)),  # panchromatic, and first
        Band(name="B1", aliases=("coastal", "SR_B1")),
        Band(name="B2", aliases=("blue", "SR_B2")),
        Band(name="B3", aliases=("green", "SR_B3")),
        Band(name="B4", aliases=("red", "SR_B4")),
        Band(name="B5", aliases=("nir08", "nir", "SR_B5")),
        Band(name="B6", aliases=("swir16", "swir1", "SR_B6")),
        Band(name="B7", aliases=("swir22", "swir2", "SR_B7")),
        Band(name="B9", aliases=("cirrus",)),
        Band(name="B10", aliases=("lwir11", "ST_B10")),
        Band(name="B11", aliases=("lwir12",)),
    ),
    values="probably Level-1 counts, all bands resampled to 10 m (bilinear, antialiased)",
    pixel=PixelRule(metres=10, multiples=True),
    projector=SeriesProjector(period=366),  # alone of all in the published configuration
    true_colour=("B4", "B3", "B2"),
    first_image="2013-02-11",  # launch (USGS)
)

LANDSAT7 = Sensor(
    key="l7",
    title="Landsat 7",
    bands=(
        Band(name="B1", aliases=("blue", "SR_B1")),
        Band(name="B2", aliases=("green", "SR_B2")),
        Band(name="B3", aliases=("red", "SR_B3")),
        Band(name="B4", aliases=("nir08", "nir", "SR_B4")),
        Band(name="B5", aliases=("swir16", "swir1", "SR_B5")),
        Band(name="B7", aliases=("swir22", "swir2", "SR_B7")),
    ),
    values="not documented",
    pixel=PixelRule(metres=30),
    projector=SeriesProjector(period=367),
    sub_patch=30,
    patch_multiple=30,  # what the released configuration forgot: a patch has P / 30 m pixels a side
    true_colour=("B3", "B2", "B1"),
    first_image="1999-04-15",  # launch (USGS)
)
