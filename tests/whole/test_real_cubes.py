"""Real Sentinel-2 cubes, where XR_ANYSAT_TEST_DATA says that there are any."""

import os
from itertools import product
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from support.cubes import LABELS, TINY, WIDTH, assert_same, by_hand, forward
from support.findings import codes, finds
from support.helpers import BANDS

from xr_anysat import CubeError, ScaleError
from xr_anysat.compute.normalize import check_scale
from xr_anysat.job.normalization import find_normalization
from xr_anysat.sensors.registry import DEFAULT

DATA = Path(os.environ.get("XR_ANYSAT_TEST_DATA", ""))

pytestmark = pytest.mark.skipif(
    "XR_ANYSAT_TEST_DATA" not in os.environ, reason="XR_ANYSAT_TEST_DATA names no folder"
)

BOUCONNE = "s2_cube_bouconne_theia_l3a_2018"
FLANDERS = "s2_cube_flanders_9b424a_l2a_2017-2018"
SLOVENIA = "s2_cube_eolearn_slovenia_l1c_2015"
PLOT = "s2_cube_treesatai_ts_6x6_2020"
ROMANIA = "s2_cube_romania_6band_lowcloud_2018-2020"
BELGIUM = "s2_cube_worldcereal_be_100x100_monthly_nob8a"

COMPLETE = {  # dates, rows, columns, EPSG
    BOUCONNE: (7, 246, 227, 32631),
    FLANDERS: (118, 62, 64, 32631),
    SLOVENIA: (5, 101, 100, 32633),
    PLOT: (146, 6, 6, 32632),
}


def load(name, **options):
    with xr.open_dataarray(DATA / f"{name}.nc", decode_coords="all", **options) as cube:
        return cube.load()


def small(cube):
    """As much of a cube as is quickly embedded, its size still no multiple of anything."""
    return cube.isel(y=slice(0, 38), x=slice(0, 29))


def embed(cube, mode="grid", **options):
    return cube.anysat.embed(mode, **{"model": TINY, **options})


@pytest.mark.parametrize("name", COMPLETE)
def test_it_is_understood(name):
    cube = load(name)
    dates, rows, columns, epsg = COMPLETE[name]
    assert (cube.sizes["time"], cube.sizes["y"], cube.sizes["x"]) == (dates, rows, columns)
    assert cube.anysat.gsd == 10
    assert cube.anysat.crs.to_epsg() == epsg
    assert list(cube.anysat.bands.values()) == list(LABELS)
    expected = np.minimum(cube.time.dt.dayofyear.values - 1, 364)
    assert cube.anysat.s2_dates.tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("name", "mode"),
    [*product(COMPLETE, ["grid"]), (FLANDERS, "patch"), (SLOVENIA, "tile"), (BOUCONNE, "pooled")],
)
def test_it_embeds_lazily_and_eagerly_alike(name, mode):
    cube = small(load(name))
    if name == FLANDERS and mode != "patch":  # all 118 dates once
        cube = cube.isel(time=slice(0, None, 6))
    eager = embed(cube, mode)
    assert np.isfinite(eager).all()
    assert 0.5 < float(eager.std()) < 2
    assert eager.rio.crs.to_epsg() == COMPLETE[name][3]
    if mode == "grid":
        assert eager.shape == (2 * WIDTH, cube.sizes["y"], cube.sizes["x"])
        xr.align(cube, eager, join="exact")
    if mode != "pooled":
        left, bottom, right, top = eager.rio.bounds()
        west, south, east, north = cube.rio.bounds()
        margin = {"grid": 0.01, "patch": 30.1, "tile": 160.1}[mode]
        assert abs(west - left) <= margin
        assert abs(top - north) <= margin
        assert right >= east - 640 * (mode == "tile") - 0.01
        assert bottom <= south + 640 * (mode == "tile") + 0.01
    lazy = embed(cube.chunk(time=3, band=4, y=25, x=17), mode)
    assert isinstance(lazy.data, da.Array)
    assert_same(lazy, eager)


def test_a_whole_cube_of_many_tiles():
    cube = load(BOUCONNE).isel(y=slice(0, 110), x=slice(0, 162))
    patch = embed(cube.chunk(y=60, x=90), "patch")
    assert patch.shape == (WIDTH, 28, 41)
    computed = patch.compute()
    assert np.isfinite(computed).all()
    # neighbours across a border of tiles differ no more than within
    steps = np.abs(np.diff(computed.transpose("y", "x", "feature"), axis=1)).mean(axis=(0, 2))
    assert steps[7::8].mean() < 1.2 * steps.mean()


def test_it_is_the_network_on_real_values():
    cube = load(SLOVENIA).isel(y=slice(0, 37), x=slice(0, 42)).sel(band=list(LABELS))
    for overlap, stride in ((0, 32), (0.5, 16)):
        expected = by_hand(cube, tile=32, stride=stride)
        for mode in ("grid", "patch", "tile"):
            assert_same(embed(cube, mode, tile_size=32, overlap=overlap), expected[mode])


def test_the_plot_of_treesatai_as_its_authors_embed_it():
    cube = load(PLOT)
    result = embed(cube, "tile", patch_size=10, tile_size=6, overlap=0, normalize="none")
    values = cube.values.astype("float32")
    tile, _, _ = forward(values, np.ones((146, 6, 6), bool), cube.anysat.s2_dates, 1, 10)
    assert_same(result[:, 0, 0], tile, atol=5e-5)


@pytest.mark.parametrize("name", [BOUCONNE, FLANDERS, SLOVENIA, PLOT, ROMANIA, BELGIUM])
def test_no_place_or_date_looks_like_another_scale(name):
    """Shadow, water, clouds and snow: 16 x 16 pixels of one date, as DN and as reflectance."""
    cube = load(name).astype("float32")
    values = cube.sel(band=[label for label in LABELS if label in cube.band]).values
    valid = np.isfinite(values).all(axis=1)

    def known(normalize):
        return find_normalization(normalize, DEFAULT, overlapping=True)[0]

    def stats(mean):
        numbers = ("band", [mean] * 10)
        return known(xr.Dataset({"mean": numbers, "std": numbers}, {"band": list(BANDS)}))

    ours = [known("treesatai"), known("reflectance"), stats(1100.0), stats(4000.0)]
    small = stats(0.11)
    rows, columns = (range(0, size, 16) for size in values.shape[2:])
    for date, row, column in product(range(0, len(values), 3), rows, columns):
        place = slice(date, date + 1), slice(row, row + 16), slice(column, column + 16)
        dn, seen = values[place[0], :, *place[1:]], valid[place]
        if seen.sum() < 64:
            continue
        check_scale(dn / 10_000, seen, small)
        with finds("values.scale", ScaleError) as above:
            check_scale(dn, seen, small)
        assert above.value.findings[0].data["where"] == "far above"
        for how in ours:
            check_scale(dn, seen, how)
            with finds("values.scale", ScaleError) as below:
                check_scale(dn / 10_000, seen, how)
            assert below.value.findings[0].data["where"] == "far below"


def test_clouds_are_masked_out():
    cube = small(load(FLANDERS)).isel(time=slice(0, 24))
    with xr.open_dataarray(DATA / "masks" / "scl_flanders_9b424a_l2a_2017-2018.nc") as scl:
        clear = scl.sel(time=cube.time, y=cube.y, x=cube.x).load().isin([2, 4, 5, 6, 7, 11])
    assert 0.2 < float(clear.mean()) < 0.8
    masked = embed(cube, mask=clear)
    never = ~clear.any("time").values
    assert np.array_equal(np.isnan(masked).all("feature"), never)
    lazy = embed(cube.chunk(y=30, time=7), mask=clear.chunk(x=20))
    assert_same(lazy, masked)
    by_nan = embed(cube.where(clear))
    assert_same(by_nan, masked, atol=1e-5)
    assert float(np.abs(masked - embed(cube)).mean()) > 0.01
    # clouds under the mask leave no trace
    brighter = cube.where(clear, 12_000).astype(cube.dtype)
    assert_same(embed(brighter, mask=clear), masked, atol=0)


def test_thirteen_bands_are_ten():
    cube = small(load(SLOVENIA))
    assert cube.sizes["band"] == 13
    assert_same(embed(cube, "patch"), embed(cube.sel(band=list(LABELS)), "patch"), atol=0)
    assert_same(embed(cube.to_dataset("band"), "patch"), embed(cube, "patch"), atol=1e-6)


def test_raw_and_decoded_values_are_one(tmp_path):
    """A file with its own missing value, opened as numbers and as NaN."""
    cube = small(load(PLOT)).isel(time=slice(0, 20)).astype("int16")
    cube[3:5, :, 1:3, 2:5] = -9999
    cube[:, :, 5, 5] = -9999
    cube.drop_encoding().assign_attrs(_FillValue=-9999).to_netcdf(tmp_path / "holes.nc")
    opened = {
        scale: xr.open_dataarray(tmp_path / "holes.nc", mask_and_scale=scale, decode_coords="all")
        for scale in (True, False)
    }
    raw, decoded = opened[False].load(), opened[True].load()
    assert raw.dtype == "int16"
    assert decoded.dtype.kind == "f"
    raw, decoded = (embed(one.rio.write_crs(32632)) for one in (raw, decoded))
    assert np.isnan(raw[:, 5, 5]).all()
    assert_same(raw, decoded, atol=1e-5)
    for one in opened.values():
        one.close()


@pytest.mark.parametrize(
    ("name", "missing"),
    [(ROMANIA, ["B5", "B6", "B7", "B12"]), (BELGIUM, ["B8A"])],
)
def test_cubes_without_all_bands_say_which(name, missing):
    cube = load(name)
    with finds("bands.missing", CubeError) as caught:
        embed(cube)
    assert len(caught.value.findings) == 1  # all else is fine
    assert caught.value.findings[0].data["missing"] == missing


def test_another_projection():
    """EPSG:3035 (its first axis is the northing); B8A stands in for the bands that are missing."""
    cube = load(ROMANIA).isel(time=slice(0, 4), y=slice(0, 30), x=slice(0, 26))
    stand_ins = {"B5": "B04", "B6": "B8A", "B7": "B8A", "B12": "B11"}
    with pytest.raises(CubeError) as caught:
        embed(cube, bands={"B5": "B04"})
    assert codes(caught.value) == ["bands.missing"]
    extra = [cube.sel(band=label).assign_coords(band=band) for band, label in stand_ins.items()]
    whole = xr.concat([cube, *extra], "band").transpose(*cube.dims)
    for mode in ("grid", "patch"):
        result = embed(whole, mode)
        assert result.rio.crs.to_epsg() == 3035
        assert np.isfinite(result).all()
        assert result.rio.bounds()[0] == pytest.approx(cube.rio.bounds()[0])
        assert_same(embed(whole.chunk(x=9), mode), result)
