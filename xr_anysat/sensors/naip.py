"""Images of the National Agriculture Imagery Program (USA) as AnySat knows them."""

from .record import Band, ImageProjector, PixelRule, Sensor

__all__ = ["NAIP"]

NAIP = Sensor(
    key="naip",
    title="NAIP",
    # Order: README of AnySat's authors.
    bands=(
        Band(name="R", aliases=("red",)),
        Band(name="G", aliases=("green",)),
        Band(name="B", aliases=("blue",)),
        Band(name="NIR", aliases=("N",)),
    ),
    values="not documented",
    pixel=PixelRule(metres=1.25),
    projector=ImageProjector(kernel=8),  # the published checkpoint
    sub_patch=10,  # 8 pixels of 1.25 m
    patch_multiple=10,
    true_colour=("R", "G", "B"),
)
