"""SPOT images as AnySat knows them."""

from .record import Band, ImageProjector, PixelRule, Sensor

__all__ = ["SPOT"]

SPOT = Sensor(
    key="spot",
    title="SPOT 6 and 7",
    # Order: README of AnySat's authors.
    bands=(
        Band(name="R", aliases=("red",)),
        Band(name="G", aliases=("green",)),
        Band(name="B", aliases=("blue",)),
    ),
    values="not documented",
    pixel=PixelRule(metres=1),
    projector=ImageProjector(kernel=10),  # the published checkpoint
    sub_patch=10,  # 10 pixels of 1 m
    patch_multiple=10,
    true_colour=("R", "G", "B"),
)
