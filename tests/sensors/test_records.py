"""The records of all sensors: sound by themselves, and as the network's authors have them."""

import pickle

import numpy as np
import pytest
from support.findings import finds

from xr_anysat.errors import OptionError
from xr_anysat.sensors.record import (
    ImageProjector,
    PixelRule,
    SeriesProjector,
    band_of,
    match_bands,
)
from xr_anysat.sensors.registry import SENSORS, get_sensor

ALL = pytest.mark.parametrize("sensor", SENSORS.values(), ids=SENSORS)

TEN, SERIES = PixelRule(metres=10, multiples=True), SeriesProjector(period=367)

PUBLISHED = {
    "s2": ("B2 B3 B4 B5 B6 B7 B8 B8A B11 B12", TEN,
           SeriesProjector(period=367, sequence_norm=True), None),
    "s1-asc": ("VV VH", TEN, SERIES, None),
    "s1": ("VV VH ratio", TEN, SERIES, None),
    "l8": ("B8 B1 B2 B3 B4 B5 B6 B7 B9 B10 B11", TEN, SeriesProjector(period=366), None),
    "l7": ("B1 B2 B3 B4 B5 B7", PixelRule(metres=30), SERIES, 30),
    "alos": ("HH HV ratio", PixelRule(metres=30), SERIES, 30),
    "modis": ("B1 B2 B3 B4 B5 B6 B7", PixelRule(metres=None), SERIES, 250),
    "spot": ("R G B", PixelRule(metres=1), ImageProjector(kernel=10), 10),
    "naip": ("R G B NIR", PixelRule(metres=1.25), ImageProjector(kernel=8), 10),
    "aerial": ("NIR R G B", PixelRule(metres=0.2), ImageProjector(kernel=10), 2),
    "aerial-flair": ("R G B NIR elevation", PixelRule(metres=0.2), ImageProjector(kernel=10), 2),
}  # fmt: skip
"""Bands, pixels, projector and sub-patch, from the published code and its README."""


def test_all_eleven_in_the_published_order():
    assert list(SENSORS) == list(PUBLISHED)
    assert [sensor.key for sensor in SENSORS.values()] == list(SENSORS)


@ALL
def test_a_record_is_as_published(sensor):
    names, pixel, projector, sub_patch = PUBLISHED[sensor.key]
    assert sensor.band_names == tuple(names.split())
    assert (sensor.pixel, sensor.projector, sensor.sub_patch) == (pixel, projector, sub_patch)


@ALL
def test_a_record_is_sound(sensor):
    names = sensor.band_names
    assert sensor == pickle.loads(pickle.dumps(sensor))
    assert hash(sensor) == hash(pickle.loads(pickle.dumps(sensor)))
    assert set(sensor.true_colour) <= set(names)
    assert len(sensor.true_colour) in (0, 3)
    if sensor.first_image is not None:
        assert np.datetime64(sensor.first_image) > np.datetime64("1999-01-01")
    for statistics in sensor.statistics.values():
        assert len(statistics.mean) == len(statistics.std) == len(names)
        assert min(statistics.std) > 0
    for band in sensor.bands:
        assert (band.name == "ratio") == (band.ratio_of is not None)
        assert set(band.ratio_of or ()) <= set(names)
    if isinstance(sensor.projector, ImageProjector):
        assert sensor.sub_patch == sensor.pixel.metres * sensor.projector.kernel


@ALL
def test_names_of_bands_are_understood_however_spelt(sensor):
    for band in sensor.bands:
        for name in (band.name, *band.aliases):
            for spelling in (name, name.lower(), name.upper(), f" {name} ", name.replace("-", "_")):
                assert band_of(sensor, spelling) == band.name
    names = [name for band in sensor.bands for name in (band.name, *band.aliases)]
    assert sum(map(len, match_bands(sensor, names).values())) == len(names)  # none is two bands'


@pytest.mark.parametrize(
    ("sensor", "labels", "bands"),
    [
        ("s1", "vv vh", "VV VH"),
        ("s1-asc", "Sigma0_VH S1-SIGMA0-VV", "VH VV"),
        ("l8", "pan coastal blue nir08 swir16 swir22 cirrus lwir11 lwir12",
         "B8 B1 B2 B5 B6 B7 B9 B10 B11"),
        ("l8", "B01 SR_B2 B10 band_11", "B1 B2 B10 B11"),
        ("l7", "blue SR_B4 swir22 B07", "B1 B4 B7 B7"),
        ("modis", "sur_refl_b01 sur_refl_b07 red nir blue green", "B1 B7 B1 B2 B3 B4"),
        ("aerial", "Red Green Blue N nir", "R G B NIR NIR"),
    ],
)  # fmt: skip
def test_usual_names(sensor, labels, bands):
    assert [band_of(SENSORS[sensor], label) for label in labels.split()] == bands.split()


@pytest.mark.parametrize(
    ("sensor", "label"),
    [("l7", "B6"), ("l7", "pan"), ("l8", "B12"), ("l8", "B2_10m"), ("s1", "HH"), ("spot", "NIR"),
     ("naip", 1), ("aerial", "elevation"), ("modis", "B8"), ("alos", "VV")],
)  # fmt: skip
def test_other_names_are_no_bands(sensor, label):
    assert band_of(SENSORS[sensor], label) is None


def test_a_sensor_is_looked_up_by_its_key():
    assert get_sensor("l8") is SENSORS["l8"]
    with finds("sensor.unknown", OptionError) as raised:
        get_sensor("s3")
    assert all(key in str(raised.value) for key in ("s3", *SENSORS))
