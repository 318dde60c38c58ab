"""Sentinel-2: names of bands, published statistics."""

import pytest
from support.helpers import BANDS, EARTH_SEARCH, PADDED

from xr_anysat.sensors.record import band_of, match_bands
from xr_anysat.sensors.sentinel2 import SENTINEL2

CDSE = ("B02_10m", "B03_10m", "B04_10m", "B05_20m", "B06_20m", "B07_20m", "B08_10m", "B8A_20m",
        "B11_20m", "B12_20m")  # fmt: skip
WRITTEN_OUT = ("band_02", "band_03", "band_04", "band_05", "band_06", "band_07", "band_08",
               "band_8a", "band_11", "band_12")  # fmt: skip
COMMON = ("blue", "green", "red", "red_edge_1", "red_edge_2", "red_edge_3", "nir", "nir_narrow",
          "swir_1", "swir_2")  # fmt: skip


def test_the_ten_bands_in_the_order_of_the_network():
    assert SENTINEL2.band_names == BANDS


@pytest.mark.parametrize("names", [BANDS, PADDED, EARTH_SEARCH, CDSE, WRITTEN_OUT, COMMON])
@pytest.mark.parametrize("change", [str, str.lower, str.upper, str.title, "  {} ".format])
def test_usual_names(names, change):
    assert tuple(band_of(SENTINEL2, change(name)) for name in names) == BANDS


@pytest.mark.parametrize(
    ("name", "band"),
    [("B08A", "B8A"), ("B008", "B8"), ("b8a", "B8A"), ("B-02", "B2"), ("B 2", "B2"),
     ("nir", "B8"), ("nir08", "B8A"), ("NIR08", "B8A"), ("rededge705", "B5")],
)  # fmt: skip
def test_names_that_look_alike(name, band):
    assert band_of(SENTINEL2, name) == band


@pytest.mark.parametrize(
    "name",
    ["B1", "B01", "B9", "B09", "B10", "B13", "B8B", "B20", "coastal", "nir09", "SCL", "scl", "AOT",
     "visual", "cloud", "", "B", "B0", "02", 2, 8.0, None, "B2_mask", "B02_30m", "blueish", "B2A"],
)  # fmt: skip
def test_other_names_are_no_bands(name):
    assert band_of(SENTINEL2, name) is None


def test_match_bands_keeps_labels_and_their_order():
    found = match_bands(SENTINEL2, ["SCL", "B03", "blue", "B02", "nir", 5])
    assert found["B2"] == ["blue", "B02"]
    assert found["B3"] == ["B03"]
    assert found["B8"] == ["nir"]
    assert found["B12"] == []
    assert tuple(found) == BANDS


def test_published_statistics():
    """As printed in the demo notebook of the network's authors."""
    mean = (
        "4304.32958984375 4159.2666015625 4057.776611328125 4328.951171875 4571.22119140625 "
        "4644.87109375 4837.2470703125 4700.2578125 2823.264404296875 2319.97021484375"
    )
    std = (
        "3537.99755859375 3324.23486328125 3270.070068359375 3250.530029296875 2897.391357421875 "
        "2754.4970703125 2821.521484375 2625.952392578125 1731.56298828125 1549.3028564453125"
    )
    published = SENTINEL2.statistics["treesatai"]
    assert tuple(map(float, mean.split())) == published.mean
    assert tuple(map(float, std.split())) == published.std
