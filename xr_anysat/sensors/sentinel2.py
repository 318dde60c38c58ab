"""Sentinel-2 as AnySat knows it."""

from .record import Band, PixelRule, Sensor, SeriesProjector, Statistics

__all__ = ["SENTINEL2"]

SENTINEL2 = Sensor(
    key="s2",
    title="Sentinel-2",
    # Order: README of AnySat's authors. Aliases: Earth Search v1's `eo:common_name`-style assets
    # first, then spellings met elsewhere (sen2like, Digital Earth Africa, Sentinel Hub scripts).
    bands=(
        Band(name="B2", aliases=("blue",)),
        Band(name="B3", aliases=("green",)),
        Band(name="B4", aliases=("red",)),
        Band(name="B5", aliases=("rededge1", "rededge071", "rededge705")),
        Band(name="B6", aliases=("rededge2", "rededge075", "rededge740")),
        Band(name="B7", aliases=("rededge3", "rededge078", "rededge783")),
        Band(name="B8", aliases=("nir", "nirwide")),
        Band(name="B8A", aliases=("nir08", "nirnarrow", "rededge4")),
        Band(name="B11", aliases=("swir16", "swir1")),
        Band(name="B12", aliases=("swir22", "swir2")),
    ),
    suffixes=("_10m", "_20m", "_60m"),  # assets of the Copernicus Data Space: `B02_10m`
    values="DN: reflectance times 10000",
    # Quantification value of Level-1C and Level-2A products (ESA, S2-PDGS-TAS-DI-PSD, section 4).
    dn_per_reflectance=10_000,
    pixel=PixelRule(metres=10, multiples=True),
    # The published checkpoint has the sequence norm's tensors for this sensor only.
    projector=SeriesProjector(period=367, sequence_norm=True),
    # Sentinel-2 in TreeSatAI-Time-Series; demo notebook of AnySat's authors.
    statistics={
        "treesatai": Statistics(
            mean=(
                4304.32958984375, 4159.2666015625, 4057.776611328125, 4328.951171875,
                4571.22119140625, 4644.87109375, 4837.2470703125, 4700.2578125, 2823.264404296875,
                2319.97021484375,
            ),
            std=(
                3537.99755859375, 3324.23486328125, 3270.070068359375, 3250.530029296875,
                2897.391357421875, 2754.4970703125, 2821.521484375, 2625.952392578125,
                1731.56298828125, 1549.3028564453125,
            ),
        )
    },
    true_colour=("B4", "B3", "B2"),
    first_image="2015-06-23",  # launch of Sentinel-2A (ESA)
)  # fmt: skip
