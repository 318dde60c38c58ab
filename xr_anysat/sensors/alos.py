"""ALOS PALSAR as AnySat knows it."""

from .record import Band, PixelRule, Sensor, SeriesProjector

__all__ = ["ALOS"]

ALOS = Sensor(
    key="alos",
    title="ALOS PALSAR",
    # Order: README of AnySat's authors.
    bands=(Band(name="HH"), Band(name="HV"), Band(name="ratio", ratio_of=("HH", "HV"))),
    values="not documented",
    pixel=PixelRule(metres=30),
    projector=SeriesProjector(period=367),
    sub_patch=30,
    patch_multiple=30,  # what the released configuration forgot: a patch has P / 30 m pixels a side
    first_image="2006-01-24",  # launch of ALOS, the first to carry PALSAR (JAXA)
)
