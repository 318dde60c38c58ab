"""Aerial images as AnySat knows them: two projectors, by what bands the training sets have."""

from .record import Band, ImageProjector, PixelRule, Sensor, Statistics

__all__ = ["AERIAL", "AERIAL_FLAIR"]

_NIR = Band(name="NIR", aliases=("N",))
_RED = Band(name="R", aliases=("red",))
_GREEN = Band(name="G", aliases=("green",))
_BLUE = Band(name="B", aliases=("blue",))

AERIAL = Sensor(
    key="aerial",
    title="Aerial image, near infrared and true colour",
    # Near infrared first, as in the sample of AnySat's authors; the other three as their README
    # has them.
    bands=(_NIR, _RED, _GREEN, _BLUE),
    values="uint8",
    pixel=PixelRule(metres=0.2),
    # Kernel: the published checkpoint. 10 pixels of 0.2 m are a sub-patch of 2 m, and patches are
    # cut into cells of 10 m before they are cut into sub-patches (the published code).
    projector=ImageProjector(kernel=10),
    sub_patch=2,
    patch_multiple=10,
    # Demo notebook of AnySat's authors.
    statistics={
        "treesatai": Statistics(
            mean=(150.89, 92.71, 84.85, 80.70), std=(36.76, 27.62, 22.48, 26.73)
        )
    },
    true_colour=("R", "G", "B"),
)

AERIAL_FLAIR = Sensor(
    key="aerial-flair",
    title="Aerial image of FLAIR, with elevation",
    bands=(_RED, _GREEN, _BLUE, _NIR, Band(name="elevation")),  # order: the authors' README
    values="not documented",
    pixel=PixelRule(metres=0.2),
    projector=ImageProjector(kernel=10),  # as for the other
    sub_patch=2,
    patch_multiple=10,
    true_colour=("R", "G", "B"),
)
