"""`check()`: what it says is true, and it reads what it says it reads."""

import base64
import builtins
import io
import os
import re
import xml.etree.ElementTree
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import dask
import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from support.catalogs import items_of, landscape
from support.cubes import LABELS, TINY, make_cube, punch
from support.findings import codes
from support.helpers import BANDS, make_dataset
from support.stores import ALWAYS, Reader

import xr_anysat
from xr_anysat import CubeError, OptionError
from xr_anysat.errors import AnySatWarning, ScaleError
from xr_anysat.findings import Finding
from xr_anysat.formatting import count_text
from xr_anysat.report.metadata_checks import date_doubts


def check(cube, mode="grid", **options):
    return cube.anysat.check(mode, **{"model": TINY, "tile_size": 16, **options})


def doubted(cube, *args, **kwargs):
    """Doubts by code."""
    findings = check(cube, *args, **kwargs).findings
    return {f.code: f for f in findings if f.severity in ("warning", "doubt")}


def advised(cube, **options):
    """Advice by code."""
    findings = check(cube, normalize="none", **options).findings
    return {f.code: f for f in findings if f.severity == "advice"}


def sound(height=24, width=20, **options):
    """A cube that declares what is missing, of which nothing is doubtful."""
    return make_cube(height, width, **options).assign_attrs(_FillValue=-9999)


def texts(report):
    """Text and HTML, the latter read back."""
    html = report._repr_html_()
    tree = xml.etree.ElementTree.fromstring(f"<html>{html}</html>")
    return repr(report), " ".join("".join(tree.itertext()).split())


# What is understood ------------------------------------------------------------------------------


def test_a_sound_cube():
    cube = sound(50, 43)
    report = check(cube)
    assert report.ok
    assert report.findings == report.plan.findings
    assert (report.faults, report.doubts, report.advice) == ((), (), report.plan.advice)
    assert report.bands == dict(zip(BANDS, LABELS, strict=True))
    assert report.unused == ()
    assert (report.crs, report.crs_name) == ("EPSG:32631", "WGS 84 / UTM zone 31N")
    assert report.gsd == 10
    assert report.ground_gsd == pytest.approx(10 / 0.9996, rel=1e-4)  # UTM at its meridian
    assert report.bounds == pytest.approx(cube.rio.bounds())
    assert report.centre == pytest.approx((3.0027, 45.1511), abs=2e-3)
    assert (report.northward, report.westward) == (False, False)
    assert report.dates == tuple(cube.time.dt.strftime("%Y-%m-%dT%H:%M:%S").values)
    assert (report.dtype, report.nodata, report.nbytes) == ("int16", (-9999,), cube.nbytes)
    assert (report.blocks, report.in_memory) == (None, True)
    assert report.sizes == dict(cube.sizes)
    assert report.plan == cube.anysat.plan(model=TINY, tile_size=16)
    assert report.sample is None


def test_text_and_html_tell_the_same():
    cube = sound(50, 43).chunk(x=20).isel(y=slice(None, None, -1))
    report = check(cube.drop_sel(band="B05"))
    for text in texts(report):
        plain = " ".join(text.split())
        assert "1 fault" in plain
        assert report.faults[0] in plain
        assert report.findings[0].code in plain
        assert "9 of 10: B02, B03, B04, B06" in plain
        assert "WGS 84 / UTM zone 31N (EPSG:32631)" in plain
        assert "rows run from south to north" in plain
        assert "3 from 2021-01-05 to 2021-05-25, 70 days apart" in plain
        assert "int16, 116 kB in 3 blocks of 38.7 kB" in plain
        assert "-9999" in plain
    for text in texts(check(cube)):
        plain = " ".join(text.split())
        assert "check: ready to embed" in plain.replace("Check", "check")
        assert "all 10: B02, B03" in plain
        assert "reads of the cube" in plain
        assert "memory" in plain
        assert check(cube).advice[0] in plain
        assert "cost.statistics" in plain
    lines = repr(report).splitlines()
    assert lines[0] == "<xr_anysat.Check: 1 fault>"
    assert lines[1].startswith(f"  fault: {report.faults[0][:20]}")


def test_html_is_escaped():
    cube = sound().assign_coords(band=["<b>", *LABELS[1:]])
    assert "&lt;b&gt;" in check(cube)._repr_html_()
    texts(check(cube))


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (("blue", "green", "red", "rededge1", "rededge2", "rededge3", "nir", "nir08", "swir16",
          "swir22"), "all 10: B2 = blue, B3 = green"),
        (LABELS, "all 10: B02, B03"),
    ],
)  # fmt: skip
def test_bands_are_named_as_they_came(names, shown):
    cube = make_dataset(names)
    assert shown in repr(check(cube))
    more = cube.assign(SCL=cube[names[0]])
    assert check(more).unused == ("SCL",)
    assert "not used: SCL" in repr(check(more))
    own = {band: f"my {name}" for band, name in zip(BANDS, names, strict=True)}
    renamed = cube.rename(dict(zip(names, own.values(), strict=True)))
    assert check(renamed, bands=own).bands == own
    assert check(renamed.assign(SCL=cube[names[0]]), bands=own).unused == ("SCL",)
    mine = cube.rename({names[0]: "mine"})
    assert check(mine, bands={"B2": "mine"}).bands["B2"] == "mine"


@pytest.mark.parametrize("lazily", [False, True])
def test_a_dataset_is_its_dataarray(lazily):
    one, other = make_dataset(), make_dataset().to_dataarray("band").assign_attrs(nodata=0)
    if lazily:
        one, other = one.chunk(x=3), other.chunk(x=3, band=1)
    left, right = check(one), check(other.transpose("band", "time", "y", "x"))
    assert left == right
    assert left.nodata == (0,)
    assert left.blocks == (20 if lazily else None)


def test_ground_is_not_the_map():
    mercator = sound(crs="EPSG:3857")
    mercator = mercator.assign_coords(y=mercator.y + 3_400_000)  # 60 degrees north
    report = check(mercator)
    assert report.ground_gsd == pytest.approx(10 * np.cos(np.deg2rad(report.centre[1])), rel=5e-3)
    assert len(report.doubts) == 1
    assert f"{report.ground_gsd:.4g} m on the ground" in repr(report)


def test_one_date_of_a_scalar_time():
    report = check(sound().isel(time=1))
    assert report.dates == ("2021-03-16T00:00:00",)
    assert "dates.single" in codes(report.findings)
    assert re.search(r"dates +2021-03-16\n", repr(report))


def test_order_is_told_and_no_doubt():
    report = check(sound().isel(time=[2, 0, 1]))
    assert report.doubts == ()
    assert "not in order, which does not matter" in repr(report)


# Faults ------------------------------------------------------------------------------------------


def broken(cube):
    degrees = cube.drop_vars("spatial_ref").rio.write_crs(4326).assign_coords(
        x=2 + 1e-4 * np.arange(cube.sizes["x"]), y=48 - 1e-4 * np.arange(cube.sizes["y"])
    )  # fmt: skip
    return degrees.drop_sel(band=["B03", "B8A"]).drop_vars("time")


@pytest.mark.parametrize(
    "cube",
    [
        broken(make_cube()),
        broken(make_cube()).chunk(x=7),
        broken(make_cube()).to_dataset("band"),
        make_cube().drop_vars("spatial_ref").drop_attrs(),
        make_cube().astype("complex64"),
        make_cube().rename(x="here", y="there"),
        make_cube().expand_dims(level=2),
        make_cube().isel(x=slice(0, 0)),
        make_cube().assign_coords(time=[0, 1, 2]),
        make_cube().assign_coords(time=pd.DatetimeIndex(["2021-01-01", "NaT", "2021-03-01"])),
        make_cube().drop_vars("band"),
        make_cube().to_dataset(name="s2"),
        make_dataset().assign(B05=make_dataset().B05.isel(time=0, drop=True)),
        make_dataset().drop_vars("B02"),
        xr.Dataset(),
        make_cube().assign_coords(x=make_cube().x * 1.5),
    ],
    ids=str,
)
def test_faults_are_those_of_embed(cube):
    with pytest.raises(CubeError) as caught:
        cube.anysat.embed(model=TINY)
    report = check(cube)
    assert not report.ok
    assert report.faults == caught.value.faults
    assert [f for f in report.findings if f.severity == "error"] == [*caught.value.findings]
    assert report.plan is None
    assert f"{len(report.faults)} fault" in texts(report)[0].splitlines()[0]


def test_what_is_sound_is_told_beside_the_faults():
    report = check(broken(make_cube()))
    assert len(report.faults) == 3
    assert list(report.bands) == [b for b in BANDS if b not in ("B3", "B8A")]
    assert (report.crs, report.gsd, report.bounds) == ("EPSG:4326", None, None)
    assert report.sizes["band"] == 8
    dataset = check(make_dataset().drop_vars("B02"))
    assert (len(dataset.bands), dataset.gsd, len(dataset.dates)) == (9, 10, 3)
    assert dataset.sizes["band"] == 9
    assert check(make_cube().drop_vars("time")).gsd == 10


@pytest.mark.parametrize(
    "options",
    [
        {"patch_size": 13},
        {"mode": "cube"},
        {"normalize": "standard"},
        {"mask": make_cube().isel(band=0)},
        {"mask": (make_cube().isel(band=0, drop=True) > 0).isel(x=slice(3))},
        {"frames": 2, "period": ("1999", "2000")},
        {"model": "huge"},
    ],
    ids=str,
)
def test_options_are_checked_too(options):
    with pytest.raises((CubeError, OptionError)) as caught:
        sound().anysat.embed(**{"model": TINY, "tile_size": 16, **options})
    report = check(sound(), **options)
    assert report.faults == caught.value.faults


def test_what_is_no_cube():
    report = xr_anysat.check(np.zeros((3, 10, 8, 8)))
    assert "ndarray" in report.faults[0]
    texts(report)


def test_an_argument_that_embed_does_not_have():
    with pytest.raises(TypeError, match="patchsize"):
        check(sound(), patchsize=3)


@pytest.mark.parametrize(
    ("cube", "options"),
    [
        (sound(dates=2), {"frames": 4}),
        (sound(40, 40), {"patch_size": 10, "tile_size": 32}),
        (sound(crs="EPSG:3857").assign_coords(y=3.4e6 - 10.0 * np.arange(24)), {}),
    ],
    ids=["frames", "tiles", "stretched"],
)
def test_warnings_of_embed_are_doubts(cube, options):
    with pytest.warns(AnySatWarning) as caught:
        cube.chunk().anysat.embed(**{"model": TINY, "tile_size": 16, **options})
    report = check(cube, **options)  # a warning would be an error
    ours = [w.message for w in caught if isinstance(w.message, AnySatWarning)]
    assert {text for warning in ours for text in map(str, warning.findings)} == set(report.doubts)
    assert report.ok


# Doubts about dates ------------------------------------------------------------------------------


def dated(*dates):
    return sound(dates=len(dates)).assign_coords(time=pd.DatetimeIndex(dates))


def test_several_images_of_a_day():
    cube = dated("2021-04-03T10:50:11", "2021-04-03T10:50:25", "2021-05-08", "2021-06-02")
    (doubt,) = doubted(cube).values()
    assert doubt.code == "dates.repeated"
    assert doubt.data["days"] == "2021-04-03 (2)"
    assert 'groupby="solar_day"' in str(doubt)


def test_a_day_is_one_of_the_sun():
    cube = dated("2021-04-03T23:40", "2021-04-04T00:05", "2021-06-02T00:00")
    pacific = cube.rio.write_crs(32660)  # 177 degrees east, where it is noon
    assert doubted(pacific)["dates.repeated"].data["days"] == "2021-04-04 (2)"
    assert not doubted(cube)  # in France two nights


@pytest.mark.parametrize(
    ("dates", "code", "part"),
    [
        (
            ("1970-01-01", "1970-01-06", "2021-03-05"),
            "dates.implausible",
            "2 of 3 dates are before 2015-06-23",
        ),
        (
            ("2021-01-01", "2021-03-07", "2221-03-05"),
            "dates.implausible",
            "1 of 3 dates are in the future (2221-03-05",
        ),
        (("2021-01-01", "2021-02-01", "2021-04-01"), "dates.month-starts", ""),
        (("2021-01-01", "2021-02-01", "2021-04-02"), None, ""),
        (("2020-01-03", "2020-01-08", "2020-01-13", "2020-12-20"), "dates.gap", "342 days"),
        (("2020-01-03", "2020-03-08", "2020-07-13", "2020-12-20"), None, ""),
    ],
)
def test_dates(dates, code, part):
    found = {name: d for name, d in doubted(dated(*dates)).items() if name.startswith("dates.")}
    assert list(found) == [code] * bool(code)
    assert all(part in str(doubt) for doubt in found.values())


def test_the_present_is_not_the_future():
    now = np.datetime64("2031-05-01T12:00:00")
    assert not list(date_doubts(now - np.array([0, 30, 60], "m8[D]"), None, now))


def test_the_call_for_composites_mends_them():
    cube = dated("2021-01-01", "2021-02-01", "2021-03-01")
    (doubt,) = doubted(cube).values()
    assert 'dates=cube.indexes["time"] + pd.Timedelta(days=14)' in str(doubt)
    assert not doubted(cube, dates=cube.indexes["time"] + pd.Timedelta(days=14))


# Doubts about values, by what is stated -----------------------------------------------------------


def test_nothing_declared_missing():
    cube = make_cube()
    assert "cube.rio.write_nodata(0)" in str(doubted(cube)["missing.undeclared"])
    assert not doubted(cube.rio.write_nodata(0))
    assert not doubted(cube.astype("float32"))
    assert not doubted(cube, mask=cube.isel(band=0, drop=True) > 0)
    dataset = make_cube().to_dataset("band")
    assert "cube.where(cube != 0)" in str(doubted(dataset)["missing.undeclared"])
    assert not doubted(dataset.where(dataset != 0))


def test_a_missing_value_that_cannot_be():
    doubt = doubted(sound(dtype="uint16"))["missing.out-of-range"]
    assert doubt.data == {"values": "-9999", "dtype": "uint16"}


def test_a_picture_is_no_cube():
    assert "scale.picture" in doubted((make_cube() // 30).astype("uint8"))


def test_scaled_on_reading(tmp_path):
    cube = make_cube(dtype="uint16").drop_vars("spatial_ref")
    scaled = (cube * 1e-4).rename("s2")
    scaled.encoding = {"scale_factor": 1e-4, "dtype": "uint16", "_FillValue": 0}
    scaled.to_netcdf(tmp_path / "s.nc")
    with xr.open_dataarray(tmp_path / "s.nc") as opened:
        opened = opened.load().rio.write_crs(32631)
    doubt = doubted(opened, normalize="treesatai")["scale.rescaled"]
    assert doubt.data["factor"] == 1e-4
    assert not doubted(opened)
    assert not doubted(opened * 10_000, normalize="treesatai")
    with xr.open_dataarray(tmp_path / "s.nc", mask_and_scale=False) as opened:
        opened = opened.load().rio.write_crs(32631)
    assert not doubted(opened, normalize="treesatai")  # DN


# The offset --------------------------------------------------------------------------------------


def baselines(cube, *names, key="s2:processing_baseline"):
    return cube.assign_coords({key: ("time", np.array(names, object))})


OLD = ("2021-01-05", "2021-04-05", "2021-08-05")
NEW = ("2022-02-05", "2022-04-05", "2022-08-05")
MIXED = ("2021-01-05", "2021-04-05", "2022-08-05")


@pytest.mark.parametrize(
    ("dates", "stated", "normalize", "code", "count"),
    [
        (MIXED, None, "zscore", "offset.unknown", 1),
        (MIXED, None, "treesatai", "offset.unknown", 1),
        (OLD, None, "treesatai", None, 0),
        (NEW, None, "zscore", None, 0),  # a constant falls out
        (NEW, None, "treesatai", "offset.unknown", 3),
        (OLD, ("02.14",) * 3, "treesatai", None, 0),
        (MIXED, ("02.14",) * 3, "treesatai", None, 0),
        (MIXED, ("02.14", "02.14", "04.00"), "zscore", "offset.not-removed", 1),
        (OLD, ("05.00",) * 3, "treesatai", "offset.not-removed", 3),
        (OLD, ("05.00",) * 3, "zscore", None, 0),
        (OLD, ("05.00", "02.14 04.00", "02.14"), "reflectance", "offset.not-removed", 2),
        (MIXED, ("", "", ""), "zscore", "offset.unknown", 1),
    ],
)
def test_offset_by_dates_and_baselines(dates, stated, normalize, code, count):
    cube = dated(*dates)
    cube = cube if stated is None else baselines(cube, *stated)
    found = doubted(cube, normalize=normalize)
    assert list(found) == [code] * bool(code)
    for doubt in found.values():
        assert doubt.data["count"] == count
        assert "load_s2" in str(doubt)
        assert ("before and after" in doubt.data["effect"]) == (count < 3)


def test_offset_that_a_catalogue_has_removed():
    cube = baselines(dated(*MIXED), "02.14", "02.14", "04.00")
    applied = {"earthsearch:boa_offset_applied": ("time", np.array([False, False, True], object))}
    assert not doubted(cube.assign_coords(applied), normalize="treesatai")
    assert not doubted(dated(*NEW).assign_coords({"earthsearch:boa_offset_applied": True}))
    one = cube.isel(time=2).assign_coords({"s2:processing_baseline": "04.00"})
    assert doubted(one, normalize="treesatai")["offset.not-removed"].data["count"] == 1


def test_offset_that_load_s2_has_removed():
    cube = baselines(dated(*MIXED), "02.14", "02.14", "04.00", key="processing_baseline")
    assert "offset.not-removed" in doubted(cube)
    assert not doubted(baselines(cube, "0", "0", "-1000", key="added_offset"))


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_what_load_s2_loads_is_sound(tmp_path):
    images = landscape((24, 20))
    items = items_of(tmp_path, images, baselines=["02.14", "04.00", "05.10"])
    cube = xr_anysat.load_s2(items, chunks={"x": 16, "y": 16})
    report = check(cube, normalize="treesatai", sample=True)
    assert (report.faults, report.doubts) == ((), ())
    assert (report.nodata, report.dtype, report.blocks) == ((0,), "uint16", 120)
    kept = cube.drop_vars("added_offset")
    assert doubted(kept, normalize="treesatai")["offset.not-removed"].data["count"] == 2


def test_offset_that_was_stated_and_not_applied():
    cube = dated(*OLD).assign_attrs(scale_factor=1e-4, add_offset=-0.1)
    assert "cube + (-1000)" in str(doubted(cube, normalize="treesatai")["offset.stated"])
    assert not doubted(cube)


@pytest.mark.parametrize("normalize", ["zscore", "treesatai"])
def test_values_confirm_or_dispel_it(normalize):
    cube = dated(*MIXED)
    assert doubted(cube, normalize=normalize)["offset.unknown"].data["count"] == 1
    assert not doubted(cube, normalize=normalize, sample=True)  # there are values below 1000
    shift = xr.where(cube.time.dt.year == 2022, 1000, 0)
    raised = (cube + shift).transpose(*cube.dims).assign_attrs(cube.attrs)
    raised = raised.astype("int16")
    doubt = str(doubted(raised, normalize=normalize, sample=True)["offset.unknown"])
    assert "98 % of the values of these dates are above 1000" in doubt
    assert "check(sample=True)" not in doubt


def test_one_dark_date_dispels_it():
    cube = dated("2021-01-05", "2022-04-05", "2022-08-05")
    bright = cube.copy(data=cube.values + np.array([0, 9000, 0], "int16").reshape(3, 1, 1, 1))
    assert doubted(bright)["offset.unknown"].data["count"] == 2
    assert not doubted(bright, sample=True)
    old = bright.assign_coords(time=dated(*OLD).time)
    assert not doubted(old, sample=True, normalize="none")


@pytest.mark.parametrize(("factor", "scale"), [(1, "DN"), (1e-4, "reflectance")])
def test_values_that_are_all_too_high(factor, scale):
    cube = (dated(*OLD).astype("float32") + 1000) * factor
    report = check(cube, sample=True, normalize="none")
    assert report.sample.scale == scale
    assert "offset.high-values" in codes(report.findings)
    assert not doubted(cube, sample=True)
    assert not doubted(cube - 1000 * factor, sample=True, normalize="none")


# The sample --------------------------------------------------------------------------------------


def test_quantiles_and_missing_are_those_of_numpy():
    cube = punch(make_cube(40, 30, dates=5))
    sample = check(cube, sample=True).sample
    assert sample.windows == ((0, 40, 0, 30),)
    assert sample.dates == (0, 1, 2, 3, 4)
    assert (sample.blocks, sample.nbytes, sample.pixels) == (0, 0, 1200)
    expected = cube.quantile([0.02, 0.5, 0.98], ["time", "y", "x"], skipna=True).transpose(
        "band", ...
    )
    np.testing.assert_allclose(list(sample.quantiles.values()), expected, rtol=1e-6)
    gone = cube.isnull().any("band")
    np.testing.assert_allclose(sample.missing, gone.mean(["y", "x"]))
    assert sample.never == pytest.approx(float(gone.all("time").mean()))
    assert sample.scale == "DN"
    for text in texts(check(cube, sample=True)):
        plain = " ".join(text.split())
        assert "40 x 30 px, 5 of 5 dates, in memory" in plain
        assert f"{np.mean(sample.missing):.1%} of the pixel-dates" in plain
        assert "DN (reflectance x 10000)" in plain
        assert f"{sample.quantiles['B12'][1]:.0f}" in plain


def test_a_mask_counts():
    cube = sound(dates=2)
    mask = xr.DataArray([False, True], dims="time", coords={"time": cube.time})
    sample = check(cube, sample=True, mask=mask).sample
    assert sample.missing == (1, 0)
    assert sample.quantiles == check(cube.isel(time=[1]), sample=True).sample.quantiles
    assert "1 date wholly" in repr(check(cube, sample=True, mask=mask))


@pytest.mark.parametrize("turn", [(1, 1), (-1, 1), (-1, -1)])
def test_windows_are_where_they_say(turn):
    """A cube whose values are their places, from the north-west."""
    cube = make_cube(8, 8, dates=1)
    rows, columns = 560, 440
    place = np.arange(rows * columns).reshape(1, 1, rows, columns)
    values = place + 7 * np.arange(10).reshape(1, 10, 1, 1)
    cube = xr.DataArray(
        values.astype("float32"), dims=cube.dims,
        coords={"time": cube.time, "band": cube.band, "y": 5e6 - 10 * np.arange(rows),
                "x": 5e5 + 10 * np.arange(columns)},
    ).rio.write_crs(32631)  # fmt: skip
    turned = cube.isel(y=slice(None, None, turn[0]), x=slice(None, None, turn[1]))
    # blocks that, turned, lie where those of the plain cube lie
    chunks = {"y": (300, 260)[:: turn[0]], "x": (180, 260)[:: turn[1]]}
    sample = check(turned.chunk(chunks), sample=True).sample
    assert sample == check(cube.chunk(y=(300, 260), x=(180, 260)), sample=True).sample
    assert len(sample.windows) == 4
    seen = [cube.values[0, 0, a:b, c:d].ravel() for a, b, c, d in sample.windows]
    expected = np.quantile(np.concatenate(seen), [0.02, 0.5, 0.98])
    np.testing.assert_allclose(sample.quantiles["B2"], expected)
    tops = sorted(window[0] for window in sample.windows)
    assert tops[0] < rows / 4
    assert tops[-1] > rows / 2
    assert all((b - a, d - c) == (128, 128) for a, b, c, d in sample.windows)


def reader(rows, columns, chunks, dates=3):
    cube = make_cube(8, 8, dates=dates).isel(y=[0], x=[0]).astype("uint16")
    wide = cube.pad(y=(0, rows - 1), x=(0, columns - 1), mode="edge")
    at = 10.0 * np.arange(max(rows, columns))
    wide = wide.assign_coords(x=500_000 + at[:columns], y=5_000_000 - at[:rows], time=cube.time)
    return Reader(wide.rio.write_crs(32631).assign_attrs(_FillValue=0), chunks)


@pytest.mark.parametrize(
    ("size", "chunks", "dates", "most"),
    [
        ((300, 280), (1, 1, 100, 100), 3, 120),  # four windows, each within a block
        ((300, 280), (1, 5, 40, 40), 3, 400),  # blocks smaller than a window
        ((300, 280), (3, 10, 300, 280), 3, 1),
        ((40, 40), (1, 1, 40, 40), 60, 240),  # not all dates
        ((40, 40), (60, 10, 40, 40), 60, 1),
        ((300, 280), (1, 1, 300, 280), 26, 240),
    ],
)
def test_few_blocks_are_read_and_these_are_counted(size, chunks, dates, most):
    source = reader(*size, chunks, dates)
    with dask.config.set(scheduler="sync"):
        report = check(source.cube, sample=True, normalize="none")
    assert set(source.reads.values()) == {1}
    assert report.sample.blocks == len(source.reads) <= most
    read = sum(np.prod([source.cube.chunks[d][i] for d, i in enumerate(k)]) for k in source.reads)
    assert report.sample.nbytes == 2 * read
    assert f", {count_text(report.sample.blocks, 'block')} (" in repr(report)


@pytest.mark.parametrize(("limit", "read"), [(2_500_000, 12), (700_000, 3), (100, 1)])
def test_few_bytes_are_read(monkeypatch, limit, read):
    monkeypatch.setattr(xr_anysat.report.sampling, "MOST_BYTES", limit)
    source = reader(300, 280, (1, 10, 100, 100))
    sample = check(source.cube, sample=True, normalize="none").sample
    assert len(source.reads) == sample.blocks == read
    assert sample.nbytes <= max(limit, 200_000)  # of one block


def test_the_same_blocks_each_time():
    source = reader(300, 280, (1, 1, 100, 100))
    first, second = (check(source.cube, sample=True, normalize="none") for _ in range(2))
    assert first == second
    assert set(source.reads.values()) == {2}


def test_without_a_sample_nothing_is_read():
    source = reader(300, 280, (1, 1, 100, 100))
    for options in ({}, {"mask": source.cube.isel(band=0, drop=True) > 0}, {"normalize": "none"}):
        check(source.cube, **options)
    check(source.cube.to_dataset("band"))
    assert not source.reads


def test_a_reader_that_fails_is_a_fault():
    source = reader(40, 40, (1, 1, 40, 40))
    source.faults[1, 2, 0, 0] = ALWAYS
    report = check(source.cube, sample=True)
    assert not report.ok
    assert report.sample is None
    (fault,) = (f for f in report.findings if f.severity == "error")
    assert fault.code == "cube.unreadable"
    assert "OSError: block (1, 2, 0, 0) cannot be read" in str(fault)
    assert report.plan is not None
    assert check(source.cube).ok
    source.faults.clear()
    assert check(source.cube, sample=True, normalize="none").ok


@pytest.mark.parametrize("dataset", [False, True])
def test_a_file_is_not_read(tmp_path, dataset):
    cube = sound(600, 300, dtype="int16")
    cube = cube.to_dataset("band") if dataset else cube.to_dataset(name="s2")
    cube.to_netcdf(tmp_path / "cube.nc", engine="netcdf4")
    with xr.open_dataset(tmp_path / "cube.nc", decode_coords="all", mask_and_scale=False) as opened:
        opened = opened if dataset else opened.s2
        report = check(opened)
        planned = opened.anysat.plan(model=TINY, tile_size=16)
        tiles = opened.anysat.tiles(as_frame=False)
        assert (opened.anysat.gsd, opened.anysat.crs.to_epsg()) == (10, 32631)
        assert (len(opened.anysat.bands), len(opened.anysat.s2_dates)) == (10, 3)
        variables = opened.data_vars.values() if dataset else [opened]
        assert not any(v.variable._in_memory for v in variables)
        assert not report.in_memory
        assert "in a file, not read yet" in repr(report)
        sample = check(opened, sample=True).sample
        assert not any(v.variable._in_memory for v in variables)
        loaded = opened.load()
    assert planned == report.plan == loaded.anysat.plan(model=TINY, tile_size=16)
    assert len(tiles) == len(loaded.anysat.tiles(as_frame=False))
    assert report.ok
    seen = check(loaded.chunk(x=256, y=256, time=1), sample=True).sample
    assert sample.nbytes < loaded.nbytes
    assert sample.windows == seen.windows
    assert sample.quantiles == seen.quantiles


def test_torch_is_not_imported():
    import subprocess
    import sys

    code = """
import sys
import xr_anysat.datasets
cube = xr_anysat.datasets.simulated_landscape((96, 96), dates=3, chunks=48)
print(cube.anysat.check(sample=True).ok, "torch" in sys.modules, "matplotlib" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False", "False"]


# Doubts about values that were seen ---------------------------------------------------------------


def test_values_of_another_scale_are_a_fault_once_seen():
    cube = sound().astype("float32") * 1e-4
    assert check(cube, normalize="treesatai").ok
    report = check(cube, normalize="treesatai", sample=True)
    with pytest.raises(ScaleError) as caught:
        cube.anysat.embed(normalize="treesatai", model=TINY, tile_size=16)
    assert report.faults == caught.value.faults
    assert check(cube * 1e4, normalize="treesatai", sample=True).ok
    stats = sound().anysat.band_stats()
    assert not check(cube, normalize=stats, sample=True).ok
    assert check(cube, sample=True).ok
    assert "reflectance (0..1)" in repr(check(cube, sample=True))


@pytest.mark.parametrize("fill", [0, -9999])
def test_fill_values_that_are_not_declared(fill):
    cube = make_cube()
    cube[:, :, :4, :5] = fill
    doubt = doubted(cube, sample=True)["missing.fill-value"]
    assert doubt.data == {"share": pytest.approx(20 / 480), "number": fill}
    assert f"cube.where(cube != {fill})" in str(doubt)
    assert not doubted(cube.where(cube != fill), sample=True)
    assert not doubted(make_cube(), sample=True)
    cube[:, :, :4, :5] = 32767
    (doubt,) = doubted(cube, sample=True).values()  # and not of numbers cut off
    assert (doubt.code, doubt.data["number"]) == ("missing.fill-value", 32767)


def test_values_that_were_cut_off():
    cube = sound(dtype="uint16")
    cube[:, 3, :2, :] = 65535
    found = doubted(cube.drop_attrs().rio.write_crs(32631), sample=True)
    assert found["scale.clipped"].data["share"] == pytest.approx(2 / 24)
    assert found["scale.clipped"].data["largest"] == 65535
    rounded = (sound() * 1e-4).astype("int16").rio.write_nodata(-1)
    assert "scale.rounded" in doubted(rounded, sample=True)


def test_bands_that_are_empty_or_alike():
    cube = sound()
    cube[:, 4] = 77
    cube[:, 7] = cube[:, 6]
    report = check(cube, sample=True)
    found = {f.code: f.data for f in report.findings}
    assert found["bands.constant"]["bands"] == ["B6"]
    assert found["bands.identical"] == {"one": "B8", "other": "B8A"}
    assert codes(report.findings).count("bands.identical") == 1


def test_few_values_prove_nothing():
    assert "bands.constant" not in doubted(sound(2, 2, dates=2) * 0 + 77, sample=True)


def test_nothing_there():
    cube = make_cube().astype("float32") * np.nan
    report = check(cube, sample=True)
    assert codes(report.findings)[0] == "missing.all"
    assert report.sample.never == 1
    assert "nan" in repr(report)
    texts(report)


def test_no_sample_of_a_broken_cube():
    report = check(broken(make_cube()), sample=True)
    assert report.sample is None
    assert codes(report.findings)[-1] == "check.not-sampled"
    assert "sample=True" in report.advice[0]


def test_a_picture_shows_true_colour():
    cube = landscape((48, 40), dates=5)
    report = check(cube, sample=True)
    (picture,) = report.sample.pictures
    assert picture.shape == (48, 40, 3)
    assert picture.dtype == np.uint8
    known = cube.where(cube != 0)
    medians = [known.sel(band=b).median("time").values for b in ("B04", "B03", "B02")]
    seen = np.isfinite(medians[0])
    assert not picture[~seen].any()  # black
    for band in range(3):
        likeness = [np.corrcoef(m[seen], picture[..., band][seen])[0, 1] for m in medians]
        assert likeness[band] == max(likeness) > 0.8
    looks = cube.anysat.quicklook().transpose("y", "x", "rgb").fillna(0)
    np.testing.assert_allclose(picture / 255, looks, atol=0.5 / 255 + 1e-6)
    png = re.search(r"data:image/png;base64,([^']+)'", report._repr_html_())[1]
    shown = matplotlib.image.imread(io.BytesIO(base64.b64decode(png)))
    np.testing.assert_allclose(shown[..., :3] * 255, picture, atol=0.5)
    assert "img" not in check(cube)._repr_html_()


def test_no_picture_without_matplotlib(monkeypatch):
    report = check(sound(), sample=True)
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.partition(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    assert "<img" not in report._repr_html_()
    assert "98 % are below" in report._repr_html_()


# Advice ------------------------------------------------------------------------------------------


def test_advice_on_chunks(monkeypatch):
    small = reader(90, 80, (1, 1, 10, 10)).cube
    assert "2,160 blocks of 200 B" in str(advised(small)["cost.small-blocks"])
    assert "cost.small-blocks" not in advised(sound().chunk(x=8))
    monkeypatch.setattr(xr_anysat.layout.chunks, "LONGEST_CHUNK", 4)
    large = sound(48, 48).chunk(x=48)
    assert advised(large)["cost.large-blocks"].data == {"size": "48 x 48", "uses": 144}
    assert "cost.large-blocks" not in advised(sound(48, 48).chunk(x=16, y=16))
    assert "cost.large-blocks" not in advised(sound(48, 48))


def test_recutting_is_that_of_the_graph(monkeypatch):
    monkeypatch.setattr(xr_anysat.layout.chunks, "LONGEST_CHUNK", 16)

    def most(ones, others):
        one, other = (list(pairwise(np.cumsum([0, *sizes]))) for sizes in (ones, others))
        return max(sum(a < d and c < b for c, d in other) for a, b in one)

    def recutting(cube):
        report = check(cube)
        axes = list(zip(report.plan.chunks_in, report.plan.chunks, strict=True))
        uses = np.prod([most(*axis) for axis in axes])
        parts = np.prod([most(*axis[::-1]) for axis in axes])
        dates, bands, *_ = cube.data.numblocks
        assert report.recutting == (uses, dates * bands * parts)
        return report.recutting

    assert recutting(sound(48, 48).chunk(time=1, band=1, x=48, y=48)) == (9, 30)
    assert recutting(sound(48, 48).chunk(time=3, band=10, x=16, y=16)) == (1, 1)
    assert recutting(sound(50, 43).chunk(time=1, band=5, x=7, y=9))[1] > 12
    assert "goes into up to 9 chunks at work, made of up to 30 blocks" in repr(
        check(sound(48, 48).chunk(time=1, band=1))
    )
    assert check(sound()).recutting is None
    assert check(sound().chunk(x=9), input_prep="resize", image_size=8).recutting is None


def test_it_is_the_free_function():
    cube = sound()
    assert xr_anysat.check(cube, "tile", model=TINY) == cube.anysat.check("tile", model=TINY)
    report = check(cube)
    assert report.ok
    assert not replace(report, findings=(Finding("file.missing", path="cube.nc"),)).ok


# Real cubes --------------------------------------------------------------------------------------


@pytest.mark.skipif("XR_ANYSAT_TEST_DATA" not in os.environ, reason="names no folder")
@pytest.mark.parametrize(
    ("name", "faults", "doubts"),
    [
        ("bouconne_theia_l3a_2018", 0, []),
        ("flanders_9b424a_l2a_2017-2018", 0, []),
        ("eolearn_slovenia_l1c_2015", 0, []),
        ("treesatai_ts_6x6_2020", 0, []),
        ("romania_6band_lowcloud_2018-2020", 1, ["dates.gap", "missing.undeclared"]),
        ("worldcereal_be_100x100_monthly_nob8a", 1, ["dates.month-starts", "missing.undeclared"]),
    ],
)
def test_real_cubes(name, faults, doubts):
    path = Path(os.environ["XR_ANYSAT_TEST_DATA"]) / f"s2_cube_{name}.nc"
    with xr.open_dataarray(path, decode_coords="all") as cube:
        report = check(cube, sample=True)
    assert len(report.faults) == faults
    assert [f.code for f in report.findings if f.severity in ("warning", "doubt")] == doubts
    if report.sample is not None:
        assert report.sample.scale == "DN"
        assert max(report.sample.missing) == 0
    texts(report)
