"""MODIS as AnySat knows it."""

from .record import Band, PixelRule, Sensor, SeriesProjector

__all__ = ["MODIS"]

MODIS = Sensor(
    key="modis",
    title="MODIS",
    # Order: README of AnySat's authors. Aliases: layers of MOD09 and MYD09 (LP DAAC), and STAC's
    # `eo:common_name` of what each band sees (NASA, MODIS specifications).
    bands=(
        Band(name="B1", aliases=("sur_refl_b01", "red")),
        Band(name="B2", aliases=("sur_refl_b02", "nir")),
        Band(name="B3", aliases=("sur_refl_b03", "blue")),
        Band(name="B4", aliases=("sur_refl_b04", "green")),
        Band(name="B5", aliases=("sur_refl_b05",)),
        Band(name="B6", aliases=("sur_refl_b06", "swir16")),
        Band(name="B7", aliases=("sur_refl_b07", "swir22")),
    ),
    values="not documented",
    dn_per_reflectance=10_000,  # scale factor 0.0001 (MODIS Surface Reflectance User's Guide)
    pixel=PixelRule(metres=None),  # about 250 m
    projector=SeriesProjector(period=367),
    sub_patch=250,
    one_token=True,
    true_colour=("B1", "B4", "B3"),
    first_image="1999-12-18",  # launch of Terra, the first to carry MODIS (NASA)
)
