"""Sentinel-1 as AnySat knows it: two projectors, by orbit and by what values the network saw."""

from .record import Band, PixelRule, Sensor, SeriesProjector

__all__ = ["SENTINEL1", "SENTINEL1_ASC"]

# Order: README of AnySat's authors. Aliases: names of SNAP, and of CDSE's and Sentinel Hub's
# exports; "vv" and "vh" of catalogues differ in case only.
_VV = Band(name="VV", aliases=("Sigma0_VV", "S1-SIGMA0-VV", "Gamma0_VV"))
_VH = Band(name="VH", aliases=("Sigma0_VH", "S1-SIGMA0-VH", "Gamma0_VH"))

_FIRST_IMAGE = "2014-04-03"
"""Launch of Sentinel-1A (ESA)."""

SENTINEL1_ASC = Sensor(
    key="s1-asc",
    title="Sentinel-1, ascending passes",
    bands=(_VV, _VH),
    values="linear backscatter (TreeSatAI-Time-Series)",
    pixel=PixelRule(metres=10, multiples=True),
    projector=SeriesProjector(period=367),
    first_image=_FIRST_IMAGE,
)

SENTINEL1 = Sensor(
    key="s1",
    title="Sentinel-1, mixed or unknown passes",
    bands=(_VV, _VH, Band(name="ratio", ratio_of=("VV", "VH"))),
    # PASTIS: VV -10.8 ± 2.8 dB, VH -17.3 ± 2.8 dB.
    values="backscatter in dB (PASTIS); units of the other training sets are not documented",
    pixel=PixelRule(metres=10, multiples=True),
    projector=SeriesProjector(period=367),
    first_image=_FIRST_IMAGE,
)
