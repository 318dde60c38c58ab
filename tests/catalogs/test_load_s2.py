"""Cubes from STAC items: as odc-stac loads them, and as `load_s2` does."""

import json
import os
import sys
from functools import partial
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import odc.stac
import pystac
import pytest
import rasterio
import xarray as xr
from odc.geo.geobox import GeoBox
from support.catalogs import (
    ASSETS,
    FLAVOURS,
    LABELS,
    add_offset,
    classes,
    items_of,
    landscape,
    make_item,
    write_image,
)
from support.cubes import TINY, assert_same
from support.findings import codes, findings_of, finds, warns_of

import xr_anysat
from xr_anysat import CubeError, MissingExtraError, OptionError, load_s2
from xr_anysat.catalogs.sentinel2 import understand_items
from xr_anysat.errors import AnySatWarning

# rasterio silences it around its own warping, and threads undo that
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

CUBE = landscape()
SCL = classes(CUBE)
BASELINES = ["02.14", "04.00", "05.10"]
"""Of the three dates: before and after the offset."""


def stacked(dataset):
    """(time, band, y, x) in ESA's order, whatever the variables are called."""
    return dataset[list(LABELS)].to_dataarray("band").transpose("time", "band", "y", "x").values


def patches(cube, **options):
    options = {"model": TINY, "normalize": "treesatai", "overlap": 0, **options}
    return cube.anysat.embed("patch", **options)


@pytest.fixture(scope="module")
def features():
    """The landscape's own embedding."""
    return patches(CUBE)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    """Items of the landscape by flavour, written once; their files hold what catalogues hold."""
    made = {}

    def items(flavour, baselines=tuple(BASELINES)):
        if (flavour, baselines) not in made:
            folder = tmp_path_factory.mktemp(flavour)
            made[flavour, baselines] = items_of(folder, CUBE, flavour, SCL, baselines)
        return list(made[flavour, baselines])

    return items


def assert_is_the_landscape(cube):
    np.testing.assert_array_equal(stacked(cube), CUBE.values)
    assert cube.odc.geobox.crs.to_epsg() == 32631
    assert cube.odc.geobox.transform == CUBE.odc.geobox.transform
    np.testing.assert_array_equal(cube.time.values, CUBE.time.values)


# -- as odc-stac loads them -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flavour", "chunks"), [*((name, None) for name in FLAVOURS), ("es", {"x": 17, "y": 30})]
)
def test_what_odc_stac_loads(catalog, features, flavour, chunks):
    keys = list(ASSETS["es" if flavour == "c1" else flavour].values())[:10]
    items = catalog(flavour, ("02.14",) * 3)
    loaded = odc.stac.load(items, bands=keys, groupby="solar_day", chunks=chunks)
    assert list(loaded.anysat.bands.values()) == keys
    assert (loaded.anysat.gsd, loaded.anysat.crs.to_epsg()) == (10, 32631)
    assert loaded.anysat.s2_dates.tolist() == CUBE.anysat.s2_dates.tolist()
    result = patches(loaded)
    assert isinstance(result.data, da.Array) == (chunks is not None)
    assert_same(result, features)
    assert result.rio.crs.to_epsg() == 32631
    assert result.odc.geobox == CUBE.odc.geobox.zoom_out(4)


@pytest.mark.parametrize("flavour", ["pc", "cdse"])
def test_what_odc_stac_loads_at_20_m(catalog, flavour):
    loaded = odc.stac.load(
        catalog(flavour, ("02.14",) * 3),
        bands=list(ASSETS[flavour].values())[:10],
        groupby="solar_day",
        resolution=20,
        resampling="average",
        chunks={},
    )
    assert loaded.anysat.gsd == 20
    names = dict(zip(loaded.data_vars, LABELS, strict=True))
    values = stacked(loaded.rename(names))
    there = (CUBE != 0).all("band").coarsen(y=2, x=2).all().values
    expected = CUBE.astype("float64").coarsen(y=2, x=2).mean().transpose(*CUBE.dims).values
    gap = np.abs(values.astype("float64") - expected).max(axis=1)
    assert gap[there].max() <= 1
    assert patches(loaded).odc.geobox == CUBE.odc.geobox.zoom_out(8)


def test_a_box_and_a_geobox_of_odc_stac(catalog):
    keys = list(ASSETS["es"].values())[:10]
    items = catalog("es", ("02.14",) * 3)
    geobox = CUBE.odc.geobox[8:32, 10:30]
    inside = CUBE[:, :, 8:32, 10:30]
    loaded = odc.stac.load(items, bands=keys, groupby="solar_day", geobox=geobox)
    assert_same(patches(loaded), patches(inside))
    west, south, east, north = geobox.geographic_extent.boundingbox
    boxed = odc.stac.load(
        items, bands=keys, groupby="solar_day", bbox=(west, south, east, north), resolution=10
    )
    assert boxed.odc.geobox.pad(0).extent.contains(geobox.extent)
    both = boxed.sel(x=inside.x, y=inside.y)
    np.testing.assert_array_equal(both.nir, inside.sel(band="B08"))
    assert patches(boxed).rio.bounds()[0] == pytest.approx(boxed.rio.bounds()[0])


# -- load_s2: values --------------------------------------------------------------------------


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_the_offset_is_removed_by_baseline_in_every_catalogue(catalog, flavour):
    items = catalog(flavour)
    lazy = load_s2(items, chunks={"x": 24})
    assert all(isinstance(band.data, da.Array) for band in lazy.data_vars.values())
    assert lazy.B02.chunks == ((1, 1, 1), (48,), (24, 16))
    eager = load_s2(items)
    assert isinstance(eager.B02.data, np.ndarray)
    assert_is_the_landscape(eager)
    xr.testing.assert_identical(eager, lazy.compute())
    assert list(eager.data_vars) == list(LABELS)
    for band in eager.data_vars.values():
        assert (band.dtype, band.dims, band.attrs) == ("uint16", ("time", "y", "x"), {"nodata": 0})


def test_without_an_offset_odc_stacs_own_cube_is_left_as_it_is(catalog):
    items = catalog("es", ("02.14",) * 3)
    names = dict(zip(ASSETS["es"].values(), ASSETS["es"], strict=True))
    plain = odc.stac.load(items, bands=list(names)[:10], groupby="solar_day", chunks={})
    ours = load_s2(items, chunks={})
    assert_is_the_landscape(ours)
    assert dict(ours.B8A.data.dask).keys() == dict(plain.nir08.data.dask).keys()


def test_dates_do_not_matter(tmp_path):
    """A year of before the change reprocessed, one of after it not."""
    cube = CUBE.isel(time=[0, 1]).assign_coords(
        time=np.array(["2018-07-01T10:30", "2023-07-01T10:30"], "M8[ns]")
    )
    items = items_of(tmp_path, cube, "pc", None, ["05.00", "03.01"])
    np.testing.assert_array_equal(stacked(load_s2(items)), cube.values)


def test_dark_and_saturated_pixels(tmp_path):
    image = CUBE.isel(time=[0]).copy()
    image[...] = 0
    image[..., ::2, 0:8:2] = np.array([1, 999, 1000, 65535], "uint16")  # on the grid of 20 m
    place = write_image(tmp_path, image.isel(time=0))
    item = make_item(place, image.odc.geobox, image.time.values[0], baseline="04.00")
    expected = image.copy()
    expected[..., ::2, 0:8:2] = np.array([1, 1, 1, 64535], "uint16")
    for chunks in (None, {}):
        values = stacked(load_s2([item], chunks=chunks))
        assert values.dtype == "uint16"
        np.testing.assert_array_equal(values[..., ::2, ::2], expected.values[..., ::2, ::2])
        ten = values[:, [0, 1, 2, 6]]
        np.testing.assert_array_equal(ten, expected.values[:, [0, 1, 2, 6]])


def test_an_offset_that_is_said(catalog):
    items = catalog("pc")
    raised = load_s2(items, offset=0)
    expected = add_offset(CUBE).values
    expected[0] = CUBE.values[0]
    np.testing.assert_array_equal(stacked(raised), expected)
    assert raised.added_offset.values.tolist() == ["0"] * 3
    by_id = load_s2(items, offset={items[0].id: 500})
    assert by_id.added_offset.values.tolist() == ["500", "-1000", "-1000"]
    np.testing.assert_array_equal(stacked(by_id)[1:], CUBE.values[1:])
    np.testing.assert_array_equal(stacked(by_id)[0], add_offset(CUBE, 500).values[0])


@pytest.mark.parametrize("offset", ["-1000", 0.5, True, {"x": None}])
def test_an_offset_that_is_no_number(catalog, offset):
    with finds("offset.not-whole", OptionError):
        load_s2(catalog("pc"), offset=offset)


def test_an_offset_of_no_item(catalog):
    with finds("offset.unknown-items", OptionError) as caught:
        load_s2(catalog("pc"), offset={"nobody": 0})
    assert caught.value.findings[0].data["unknown"] == "nobody"


# -- load_s2: items of one day ----------------------------------------------------------------


def swaths(folder, baselines, spans, flavour="pc"):
    """Items of one day that each see some columns, all with values of their own.

    Returns
    -------
    tuple
        The items, and what their mosaic is to be, (band, y, x).
    """
    base = CUBE.isel(time=1)
    mosaic, items = np.zeros(base.shape, "uint16"), []
    for n, (baseline, (first, last)) in enumerate(zip(baselines, spans, strict=True)):
        image = xr.zeros_like(base)
        image[..., first:last] = base.where(base == 0, base + 10 * n)[..., first:last]
        image[:, 8:12, 10:30] = 0
        mosaic = np.where(mosaic == 0, image.values, mosaic)
        raised = add_offset(image) if float(baseline) >= 4 else image
        place = write_image(folder / str(n), raised, SCL.isel(time=n % 3).where(image[0] != 0, 0))
        when = base.time.values + np.timedelta64(n, "s")
        items.append(
            make_item(place, base.odc.geobox, when, flavour, baseline=baseline, name=f"item-{n}")
        )
    return items, mosaic


def unwritten(baselines):
    """Items of one day whose files are not there."""
    seconds = range(len(baselines))
    when = [CUBE.time.values[1] + np.timedelta64(n, "s") for n in seconds]
    return [
        make_item(
            Path("/nowhere"), CUBE.odc.geobox, when[n], baseline=baselines[n], name=f"item-{n}"
        )
        for n in seconds
    ]


@pytest.mark.parametrize(
    ("baselines", "offsets", "chunks"),
    [
        (("05.10", "02.14"), "-1000 0", None),
        (("02.14", "05.10"), "0 -1000", {"x": 24}),
        (("05.10", "05.00"), "-1000", None),
        (("02.14", "05.10", "03.00"), "0 -1000", None),
        (("04.00", "03.01", "05.11", "02.08"), "-1000 0", {"x": 24}),
    ],
)
def test_a_mosaic_of_different_baselines(tmp_path, baselines, offsets, chunks):
    spans = [(0, 18), (12, 28), (24, 40), (0, 40)][: len(baselines)]
    items, mosaic = swaths(tmp_path, baselines, spans)
    cube = load_s2(items[::-1], chunks=chunks)
    assert isinstance(cube.B02.data, da.Array) == (chunks is not None)
    cube = cube.compute()
    assert cube.sizes["time"] == 1
    np.testing.assert_array_equal(stacked(cube)[0], mosaic)
    assert cube.time.values[0] == CUBE.time.values[1]
    assert cube.added_offset.item() == offsets
    assert cube.item_id.item() == " ".join(f"item-{n}" for n in range(len(baselines)))
    assert cube.processing_baseline.item() == " ".join(baselines)
    assert np.isfinite(patches(cube)).any()


@pytest.mark.parametrize("chunks", [None, {"time": 2}, {"time": -1, "x": 24}])
def test_mosaics_among_other_dates(tmp_path, catalog, chunks):
    """Some dates of one plane, some of two: each in its place."""
    items, mosaic = swaths(tmp_path, ("05.10", "02.14"), [(0, 22), (16, 40)])
    before, _, after = catalog("pc")
    cube = load_s2([after, *items, before], chunks=chunks)
    np.testing.assert_array_equal(stacked(cube), np.stack([CUBE.values[0], mosaic, CUBE.values[2]]))
    assert cube.added_offset.values.tolist() == ["0", "-1000 0", "-1000"]


def test_the_scene_classification_of_a_mosaic(tmp_path):
    items, _ = swaths(tmp_path, ("05.10", "02.14"), [(0, 22), (16, 40)])
    cube = load_s2(items, scl=True)
    same = load_s2(items, scl=True, offset=0)  # one plane, mosaicked by odc-stac
    np.testing.assert_array_equal(cube.SCL, same.SCL)
    np.testing.assert_array_equal(cube.SCL[0, :8, 22:], SCL[1, :8, 22:])


def test_a_fuser_cannot_mosaic_different_offsets(tmp_path):
    items, _ = swaths(tmp_path, ("05.10", "02.14"), [(0, 22), (16, 40)])
    with finds("load.fuse-func", OptionError) as caught:
        load_s2(items, fuse_func="numpy.copyto")
    assert caught.value.findings[0].data["ids"] == ["item-0", "item-1"]
    items, _ = swaths(tmp_path, ("05.10", "05.10"), [(0, 22), (16, 40)])
    last = load_s2(items, fuse_func="numpy.copyto")
    assert int(last.B02[0, 0, 0]) == 0  # passed on: the last counts, not the first valid one


@pytest.mark.parametrize(
    "groupby", ["solar_day", "time", "id", None, "s2:mgrs_tile", lambda item, parsed, n: n % 2]
)
def test_dates_are_grouped_as_odc_stac_does(groupby):
    items = unwritten(("05.10", "02.14", "05.10"))
    plain = odc.stac.load(items, bands=["B02"], groupby=groupby, chunks={})
    cube = load_s2(items, groupby=groupby, chunks={})
    np.testing.assert_array_equal(cube.time, plain.time)


def test_the_solar_day_is_that_of_the_place(tmp_path):
    """Two hours apart, before and after midnight UTC, where it is one afternoon."""
    geobox = GeoBox.from_bbox((500_000, 5_000_000, 500_200, 5_000_200), "EPSG:32660", resolution=10)
    items = [
        make_item(tmp_path, geobox, when, name=when, baseline="02.14")
        for when in ("2021-05-01T22:59", "2021-05-01T23:01", "2021-05-02T01:00")
    ]
    assert load_s2(items, chunks={}).sizes["time"] == 1
    assert load_s2(items, chunks={}, groupby="time").sizes["time"] == 3


def test_grouping_by_nothing_known(catalog):
    with finds("load.groupby", OptionError) as caught:
        load_s2(catalog("pc"), groupby="month")
    assert 'groupby="month"' in str(caught.value)


def test_the_order_of_items_can_be_kept(tmp_path):
    items, _ = swaths(tmp_path, ("05.10", "02.14"), [(0, 40), (0, 40)])
    for order in (items, items[::-1]):
        cube = load_s2(order, preserve_original_order=True)
        n = int(order[0].id[-1])
        there = stacked(cube)[0] != 0
        np.testing.assert_array_equal(stacked(cube)[0], np.where(there, CUBE.values[1] + 10 * n, 0))


# -- load_s2: what items say ------------------------------------------------------------------

LATE, EARLY = "05.10", "02.14"


@pytest.mark.parametrize(
    ("flavour", "baseline", "applied", "stated", "offset", "doubt"),
    [
        ("pc", EARLY, None, None, 0, None),
        ("pc", "04.00", None, None, -1000, None),
        ("pc", LATE, None, None, -1000, None),
        ("pc", "10.00", None, None, -1000, None),
        ("cdse", EARLY, None, 0, 0, None),
        ("cdse", LATE, None, -0.1, -1000, None),
        ("cdse", LATE, None, 0, -1000, ["from 04.00 on", "0 DN"]),
        ("c1", LATE, None, -0.1, -1000, None),
        ("c1", EARLY, None, -0.1, 0, ["before 04.00", "-1000 DN"]),
        ("es", EARLY, False, 0, 0, None),
        ("es", LATE, False, -0.1, -1000, None),
        ("es", LATE, True, 0, 0, None),
        ("es", LATE, True, None, 0, None),
        ("es", LATE, True, -0.1, 0, None),  # the product's offset, which is removed by now
        ("es", LATE, True, -0.2, 0, ["boa_offset_applied=true", "-2000 DN"]),
        ("es", EARLY, True, -0.1, 0, ["boa_offset_applied=true", "before 04.00"]),
        ("es", None, True, -0.1, 0, ["boa_offset_applied=true", "-1000 DN"]),
        ("es", LATE, False, 0, -1000, ["boa_offset_applied=false", "0 DN"]),
        ("es", EARLY, True, 0, 0, ["boa_offset_applied=true", "before 04.00"]),
        ("es", None, True, None, 0, None),
    ],
)
def test_offsets_by_what_items_say(flavour, baseline, applied, stated, offset, doubt):
    item = make_item(
        Path("/nowhere"), CUBE.odc.geobox, "2022-05-01", flavour,
        baseline=baseline, applied=applied, stated=stated,
    )  # fmt: skip
    if doubt:
        with warns_of("items.offset") as caught:
            (spec,) = understand_items([item])
        (finding,) = findings_of(caught)
        assert all(statement in finding.data["statements"] for statement in doubt)
        assert finding.data["offset"] == (offset or "Nothing")
    else:
        (spec,) = understand_items([item])
    assert spec.offset == offset
    assert understand_items([item], offset=-7)[0].offset == -7  # without a warning


def test_earth_search_where_the_offset_was_removed_already(tmp_path):
    """The offset that bands state is the product's; items that say it is gone are believed."""
    items = items_of(tmp_path, CUBE, "es", None, LATE, applied=True, stated=-0.1)
    items[:1] = items_of(tmp_path / "early", CUBE[:1], "es", None, EARLY, applied=False, stated=0)
    assert_is_the_landscape(load_s2(items))


def test_one_warning_for_all_items_that_contradict_themselves(tmp_path):
    items = items_of(tmp_path, CUBE, "es", None, LATE, applied=True, stated=-0.2)
    items[:1] = items_of(tmp_path / "early", CUBE[:1], "es", None, EARLY, applied=False, stated=0)
    with warns_of("items.offset") as seen:
        cube = load_s2(items)
    (warning,) = (one for one in seen if one.category is AnySatWarning)
    assert warning.filename == __file__
    assert warning.message.findings[0].data["items"].startswith("2 items (")
    assert_is_the_landscape(cube)
    assert_is_the_landscape(load_s2(items, offset=0))


@pytest.mark.parametrize("flavour", ["cdse", "es"])
def test_a_baseline_in_the_name_of_the_product(flavour):
    known = {"s2:product_uri": "S2A_MSIL2A_20220501T101031_N0400_R022_T32TPS_20220501T1.SAFE"}
    name = "S2A_MSIL2A_20220501T101031_N0400_R022_T32TPS_20220501T101031"
    item = make_item(
        Path("/nowhere"), CUBE.odc.geobox, "2022-05-01", flavour, baseline=None,
        name=name if flavour == "cdse" else None, properties=known if flavour == "es" else {},
    )  # fmt: skip
    (spec,) = understand_items([item])
    assert (spec.baseline, spec.offset) == ("04.00", -1000)


@pytest.mark.parametrize("baseline", [None, "2023.1", "v1"])
@pytest.mark.parametrize("applied", [None, False])
def test_no_baseline_where_it_matters(baseline, applied):
    item = make_item(
        Path("/nowhere"), CUBE.odc.geobox, "2022-05-01", "es", baseline=baseline, applied=applied
    )
    with finds("items.no-baseline", CubeError) as seen:
        understand_items([item])
    assert "load_s2(items, offset=-1000)" in str(seen.value)
    assert understand_items([item], offset=0)[0].offset == 0


def nowhere(flavour="pc", **options):
    options = {"baseline": EARLY, **options}
    return make_item(Path("/nowhere"), CUBE.odc.geobox, "2021-05-01", flavour, **options)


def faults(items, **options):
    with pytest.raises(CubeError) as caught:
        load_s2(items, **options)
    return caught.value.findings


def fault(items, code, **options):
    """The one fault of items, which is of a code."""
    (finding,) = faults(items, **options)
    assert finding.code == code
    return finding


def test_all_faults_in_one_error():
    far = GeoBox.from_bbox((300_000, 5_000_000, 300_200, 5_000_200), "EPSG:32632", resolution=10)
    items = [
        nowhere(name="one", drop=["B05", "B8A"]),
        nowhere("c1", name="two", baseline=None),
        nowhere("es", name="three", level="L1C"),
        make_item(Path("/nowhere"), far, "2021-05-01", name="four"),
    ]
    found = faults(items, mask_scl=True)
    assert codes(found) == [
        "bands.missing", "items.no-baseline", "items.collections", "items.crs", "items.levels",
        "items.no-scl",
    ]  # fmt: skip
    missing, baseline, collections, crs, levels, scl = found
    assert (missing.data["items"], missing.data["missing"]) == ("item 'one'", ["B5", "B8A"])
    assert 'load_s2(items, bands={"B5": ...})' in str(missing)
    assert baseline.data["items"] == "item 'two'"
    by_collection = "sentinel-2-l2a (one, four); sentinel-2-c1-l2a (two); sentinel-2-l1c (three)"
    assert collections.data["groups"] == by_collection
    assert 'xr.concat([one, other], "time")' in str(collections)
    assert levels.data["groups"] == "L2A (one, two, four); L1C (three)"
    assert crs.data["groups"] == "EPSG:32631 (one, two, three); EPSG:32632 (four)"
    assert 'load_s2(items, crs="EPSG:32631"), or geobox=' in str(crs)
    assert scl.data["items"] == "item 'three'"


def test_no_items():
    fault([], "items.none")


def test_one_collection_id_in_two_catalogues():
    finding = fault([nowhere(name="one"), nowhere("cdse", name="two")], "items.assets")
    assert finding.data["groups"].startswith("B02, B03")
    assert "B02_10m, B03_10m" in finding.data["groups"]


def test_a_long_list_of_items_is_cut_short():
    items = [nowhere(name=f"item-{n}", drop=["B12"]) for n in range(40)]
    shown = fault(items, "bands.missing").data["items"]
    assert shown == "40 items (item-0, item-1, item-2 and 37 more)"


def test_bands_under_other_names(tmp_path):
    (item,) = items_of(tmp_path, CUBE[:1], "pc", SCL[:1])
    item.assets["my_blue"] = item.assets.pop("B02")
    assert fault([item], "bands.missing").data["missing"] == ["B2"]
    cube = load_s2([item], bands={"B2": "my_blue"})
    np.testing.assert_array_equal(stacked(cube), CUBE.values[:1])
    finding = fault([item], "bands.missing", bands={"B2": "nothing"})
    assert finding.data["asked"] == "['nothing'] "
    for name in ("blue", "B02"):
        item.add_asset(name, item.assets["my_blue"].clone())
    finding = fault([item], "bands.ambiguous")
    assert finding.data["choices"] == ["blue", "B02"]
    assert 'load_s2(items, bands={"B2": "blue"})' in str(finding)
    assert "B02" in load_s2([item], bands={"B2": "B02"}, chunks={})


@pytest.mark.parametrize(
    ("bands", "code", "named"),
    [
        (["B02", "B03"], "bands.no-mapping", "load_s2(items, bands={"),
        ({"B02": "blue"}, "bands.unknown", "['B02']"),
    ],
)
def test_bands_said_wrongly(bands, code, named):
    with finds(code, OptionError) as caught:
        load_s2([nowhere()], bands=bands)
    assert named in str(caught.value)


def test_the_native_asset_of_each_band_in_the_data_space():
    (spec,) = understand_items([nowhere("cdse")])
    assert spec.assets[:4] == ("B02_10m", "B03_10m", "B04_10m", "B05_20m")
    assert spec.assets[6:] == ("B08_10m", "B8A_20m", "B11_20m", "B12_20m")
    assert spec.scl == "SCL_20m"


def test_level_1c():
    (spec,) = understand_items([nowhere("es", level="L1C", baseline=LATE)])
    assert (spec.level, spec.offset, spec.scl) == ("L1C", -1000, "")
    fault([nowhere("es", level="L1C")], "items.no-scl", scl=True)
    cube = load_s2([nowhere("es", level="L1C")], chunks={})
    assert (cube.processing_level, cube.collection) == ("L1C", "sentinel-2-l1c")


# -- load_s2: clouds --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mask_scl", "masked", "chunks"),
    [
        (True, [0, 1, 3, 8, 9, 10], None),
        ([3, 9], [3, 9], {"x": 24}),
        ((11,), [11], None),
        (np.arange(12), [*range(12)], None),
    ],
)
def test_clouds_are_masked(catalog, mask_scl, masked, chunks):
    cube = load_s2(catalog("es"), mask_scl=mask_scl, chunks=chunks)
    expected = CUBE.where(~SCL.isin(masked), 0)
    np.testing.assert_array_equal(stacked(cube), expected.values)
    assert list(cube.data_vars) == list(LABELS)
    assert {band.dtype.name for band in cube.data_vars.values()} == {"uint16"}
    assert cube.attrs["masked_scl_classes"] == masked
    assert cube.B02.attrs["nodata"] == 0


@pytest.mark.parametrize("mask_scl", [False, [], ()])
def test_clouds_are_left_where_nothing_else_is_said(catalog, mask_scl):
    cube = load_s2(catalog("es"), mask_scl=mask_scl)
    assert_is_the_landscape(cube)
    assert "masked_scl_classes" not in cube.attrs


def test_the_scene_classification_is_kept(catalog):
    cube = load_s2(catalog("cdse"), scl=True, chunks={})
    assert (cube.SCL.dtype, cube.SCL.dims) == ("uint8", ("time", "y", "x"))
    np.testing.assert_array_equal(cube.SCL, SCL)
    assert cube.SCL.attrs["flag_values"] == list(range(12))
    assert len(cube.SCL.attrs["flag_meanings"].split()) == 12
    clear = cube.SCL.isin([4, 5, 6, 7, 11])
    by_mask = patches(cube, mask=clear)
    masked = load_s2(catalog("cdse"), mask_scl=[0, 1, 2, 3, 8, 9, 10])
    assert_same(by_mask, patches(masked))


@pytest.mark.parametrize("mask_scl", [12, [-1], ["cloud"], 3.5, "clouds"])
def test_classes_that_there_are_not(mask_scl):
    with finds("load.mask-scl", OptionError) as caught:
        load_s2([nowhere()], mask_scl=mask_scl)
    assert "0 no data, 1 saturated" in str(caught.value)


# -- load_s2: grids ---------------------------------------------------------------------------


def test_20_m(catalog):
    cube = load_s2(catalog("es"), resolution=20, resampling="average", scl=True, chunks={})
    assert cube.anysat.gsd == 20
    there = (CUBE != 0).all("band").coarsen(y=2, x=2).all().values
    expected = CUBE.astype("float64").coarsen(y=2, x=2).mean().transpose(*CUBE.dims).values
    gap = np.abs(stacked(cube).astype("float64") - expected).max(axis=1)
    assert gap[there].max() <= 1
    np.testing.assert_array_equal(cube.SCL, SCL[:, ::2, ::2])


def test_classes_have_no_average(catalog):
    items = catalog("es")[1:]
    nearest = load_s2(items, resolution=40, scl=True)
    for resampling in ("average", {"*": "bilinear"}, {"SCL": "average"}):
        coarse = load_s2(items, resolution=40, resampling=resampling, scl=True)
        np.testing.assert_array_equal(coarse.SCL, nearest.SCL)


def test_resampling_by_band(catalog):
    items = catalog("es")[1:]
    mixed = load_s2(items, resolution=20, resampling={"B02": "average", "SCL": "mode"}, scl=True)
    nearest, average = (
        load_s2(items, resolution=20, resampling=how) for how in ("nearest", "average")
    )
    np.testing.assert_array_equal(mixed.B02, average.B02)
    np.testing.assert_array_equal(mixed.B03, nearest.B03)
    assert not np.array_equal(average.B03, nearest.B03)
    with finds("load.resampling", OptionError) as caught:
        load_s2(items, resampling={"blu": "average"})
    assert caught.value.findings[0].data["unknown"] == ["blu"]


def test_areas(catalog):
    items = catalog("pc")[:1]
    geobox = CUBE.odc.geobox[8:32, 10:30]
    inside = CUBE[:1, :, 8:32, 10:30]
    for area in ({"geobox": geobox}, {"like": inside}, {"like": geobox}):
        cube = load_s2(items, **area)
        assert cube.odc.geobox == geobox
        np.testing.assert_array_equal(stacked(cube), inside.values)
    west, south, east, north = geobox.extent.boundingbox
    cube = load_s2(items, x=(west, east), y=(south, north))  # in the items' CRS
    assert cube.odc.geobox == geobox
    west, south, east, north = geobox.geographic_extent.boundingbox
    around = {"bbox": (west, south, east, north)}, {"lon": (west, east), "lat": (south, north)}
    shape = geobox.geographic_extent.geom
    for area in (*around, {"geopolygon": shape}, {"intersects": shape}):
        cube = load_s2(items, **area)
        assert (cube.anysat.gsd, cube.anysat.crs.to_epsg()) == (10, 32631)
        np.testing.assert_array_equal(stacked(cube.sel(x=inside.x, y=inside.y)), inside.values)


def test_items_of_two_zones(tmp_path):
    """They need a CRS to be said; each is then warped to it, with its own offset."""
    flat = xr.full_like(CUBE.isel(time=0), 2000)
    other = flat.assign_coords(x=flat.x - 370_000 + 240_000).rio.write_crs(32632, inplace=False)
    place = GeoBox(CUBE.odc.geobox.shape, CUBE.odc.geobox.transform, "EPSG:32631")
    far = GeoBox(
        place.shape, place.transform.translation(-130_000, 0) * place.transform, "EPSG:32632"
    )
    one = make_item(write_image(tmp_path / "1", flat), place, "2021-05-01", name="one")
    late = add_offset(other.odc.assign_crs("EPSG:32632"))
    two = make_item(write_image(tmp_path / "2", late), far, "2021-06-01", name="two", baseline=LATE)
    assert fault([one, two], "items.crs").data["groups"].startswith("EPSG:32631 (one)")
    wide = GeoBox.from_bbox((360_000, 5_230_000, 380_000, 5_260_000), "EPSG:32631", resolution=500)
    for area in ({"crs": "EPSG:32631", "resolution": 500}, {"geobox": wide}):
        cube = load_s2([one, two], chunks={}, **area)
        assert cube.anysat.crs.to_epsg() == 32631
        assert set(np.unique(cube.B02)) <= {0, 2000}


def test_items_without_grids(catalog):
    """No projection extension in force, as reduced items have it: 10 m, in the CRS they name."""
    items = [item.clone() for item in catalog("c1")]
    for item in items:
        item.stac_extensions = []
    assert_is_the_landscape(load_s2(items, like=CUBE))
    cube = load_s2(items)
    assert cube.odc.geobox.resolution == CUBE.odc.geobox.resolution
    np.testing.assert_array_equal(stacked(cube.sel(x=CUBE.x, y=CUBE.y)), CUBE.values)
    for item in items:
        del item.properties["proj:code"]
    assert "load_s2(items, crs=" in str(fault(items, "items.no-crs"))


@pytest.mark.parametrize(
    ("options", "code", "named"),
    [
        ({"crs": "EPSG:4326", "resolution": 1e-4}, "area.degrees", ["EPSG:4326"]),
        ({"geobox": CUBE.odc.geobox, "bbox": (0, 0, 1, 1)}, "area.grid", []),
        ({"lon": (3, 4)}, "area.grid", ["lon= and lat="]),
        ({"dtype": "float32"}, "load.decided", ["dtype ("]),
        ({"stac_cfg": {}, "nodata": 1}, "load.decided", ["stac_cfg (", "nodata ("]),
    ],
)
def test_options_that_do_not_fit(catalog, options, code, named):
    with finds(code, OptionError) as caught:
        load_s2(catalog("pc"), **options)
    assert all(name in str(caught.value) for name in named)


def test_assets_that_do_not_say_where_they_are(catalog):
    items = [item.clone() for item in catalog("pc")]
    del items[0].assets["B04"].extra_fields["proj:transform"]
    assert "asset" in fault(items, "items.unreadable").data["error"]


def test_an_area_that_no_item_touches(catalog):
    finding = fault(catalog("pc"), "area.outside", bbox=(10, 40, 10.01, 40.01))
    assert finding.data["crs"] == "EPSG:32631"


# -- load_s2: the result ----------------------------------------------------------------------


def test_coordinates_say_where_dates_come_from(catalog):
    items = catalog("pc")
    cube = load_s2(items, chunks={})
    assert cube.item_id.values.tolist() == [item.id for item in items]
    assert cube.platform.values.tolist() == ["sentinel-2a"] * 3
    assert cube.processing_baseline.values.tolist() == BASELINES
    assert cube.added_offset.values.tolist() == ["0", "-1000", "-1000"]
    assert cube.cloud_cover.values.tolist() == [12.5] * 3
    assert (cube.collection, cube.processing_level) == ("sentinel-2-l2a", "L2A")


def test_clouds_of_a_mosaic_are_the_mean_of_its_items():
    items = unwritten(("05.10", "02.14", "02.14"))
    items[1].properties["eo:cloud_cover"] = 37.5
    del items[2].properties["eo:cloud_cover"]
    assert load_s2(items, chunks={}).cloud_cover.item() == 25
    del items[0].properties["eo:cloud_cover"], items[1].properties["eo:cloud_cover"]
    assert np.isnan(load_s2(items, chunks={}).cloud_cover.item())


@pytest.fixture(scope="module")
def clear(catalog):
    return load_s2(catalog("pc"), scl=True, mask_scl=True)


@pytest.mark.parametrize("kind", ["zarr2", "zarr3", "netcdf"])
def test_it_is_written_and_read(clear, tmp_path, kind):
    cube = clear.assign({name: band.variable.chunk(x=20) for name, band in clear.items()})
    if kind == "netcdf":
        cube.to_netcdf(tmp_path / "cube.nc")
        opener = partial(xr.open_dataset, tmp_path / "cube.nc")
    else:
        store = tmp_path / "cube.zarr"
        cube.to_zarr(store, zarr_format=int(kind[-1]), consolidated=False)
        opener = partial(xr.open_zarr, store, consolidated=False)
    for decode in (True, "all"):
        with opener(decode_coords=decode, mask_and_scale=False) as again:
            for name in (*LABELS, "SCL", "item_id", "platform", "processing_baseline"):
                np.testing.assert_array_equal(again[name], clear[name])
            np.testing.assert_array_equal(again.cloud_cover, clear.cloud_cover)
            attrs = {key: np.asarray(value).tolist() for key, value in again.attrs.items()}
            assert attrs == clear.attrs
            assert again.anysat.crs.to_epsg() == 32631
            assert again.anysat.s2_dates.tolist() == CUBE.anysat.s2_dates.tolist()
            if kind == "zarr3" and decode == "all":
                assert_same(patches(again), patches(clear))


@pytest.mark.parametrize("mode", ["grid", "tile"])
def test_from_items_to_features(catalog, mode):
    cube = load_s2(catalog("es"), chunks={"x": 24, "y": 24}, geobox=CUBE.odc.geobox[:32, :24])
    ours = cube.anysat.embed(mode, model=TINY, tile_size=16)
    assert_same(ours, CUBE[..., :32, :24].anysat.embed(mode, model=TINY, tile_size=16))
    assert ours.rio.crs.to_epsg() == 32631
    assert ours.attrs["bands"] == list(LABELS)
    assert ours.attrs["dates"].split()[0] == str(CUBE["time"].values[0].astype("datetime64[s]"))
    if mode == "grid":
        xr.align(ours, cube, join="exact")


def test_nothing_is_read_before_it_is_computed():
    cube = load_s2([nowhere(), nowhere(name="other")], scl=True, mask_scl=True, chunks={})
    lazy = patches(cube)
    assert isinstance(lazy.data, da.Array)
    with dask.config.set(scheduler="synchronous"), pytest.raises(Exception, match="nowhere"):
        lazy.compute()


def test_options_reach_odc_stac(tmp_path):
    items = items_of(tmp_path, CUBE[:1])
    for asset in items[0].assets.values():
        asset.href = asset.href.replace(str(tmp_path), "/unsigned")
    cube = load_s2(items, patch_url=lambda url: url.replace("/unsigned", str(tmp_path)), pool=2)
    np.testing.assert_array_equal(stacked(cube), CUBE.values[:1])


@pytest.mark.parametrize(
    "kind", [list, tuple, iter, pystac.ItemCollection, lambda items: [i.to_dict() for i in items]]
)
def test_kinds_of_items(catalog, kind):
    assert load_s2(kind(catalog("pc")), chunks={}).sizes["time"] == 3


def test_one_item_and_a_feature_collection(catalog):
    items = catalog("pc")
    assert load_s2(items[0], chunks={}).sizes["time"] == 1
    assert load_s2(items[0].to_dict(), chunks={}).sizes["time"] == 1
    found = pystac.ItemCollection(items).to_dict()
    assert load_s2(found, chunks={}).sizes["time"] == 3


@pytest.mark.parametrize("items", [5, None, ["https://somewhere/item.json"], [CUBE]])
def test_what_is_no_item(items):
    with finds("items.type", OptionError):
        load_s2(items)


@pytest.mark.parametrize("missing", ["odc.stac", "pystac"])
def test_without_the_extra(monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with finds("extra.missing", MissingExtraError) as caught:
        load_s2([nowhere()])
    assert 'pip install "xr-anysat[stac]"' in str(caught.value)
    assert isinstance(caught.value, xr_anysat.AnySatError)
    assert isinstance(caught.value, ImportError)


# -- real items -------------------------------------------------------------------------------

REAL = Path(os.environ.get("XR_ANYSAT_TEST_DATA", "")) / "stac"
real = pytest.mark.skipif(
    "XR_ANYSAT_TEST_DATA" not in os.environ, reason="XR_ANYSAT_TEST_DATA names no folder"
)

COMMON = tuple(list(ASSETS["es"].values())[:10])
FILES = {  # items, collection, asset names, baselines and offsets, CRSs
    "cdse_S2B_T36NYH_20200322.geojson": (1, "cdse", {"05.00": -1000}, {"EPSG:32636"}),
    "cdse_S2C_T55WFR_20260527.geojson": (1, "cdse", {"05.12": -1000}, {"EPSG:32655"}),
    "es_c1_S2A_T36MVD_20210414.json": (1, "es", {"05.00": -1000}, {"EPSG:32736"}),
    "es_v1_33TWL_33TWM_2023-08_items.geojson": (10, "es", {"05.09": 0}, {"EPSG:32633"}),
    "es_v1_S2A_29RKH_20200219.json": (1, "es", {"02.14": 0}, {"EPSG:32629"}),
    "es_v1_S2A_32TPS_20230602.json": (1, "es", {"05.09": 0}, {"EPSG:32632"}),
    "pc_4items_20240419_T46X_T47X.geojson": (
        4, "pc", {"05.10": -1000}, {"EPSG:32646", "EPSG:32647"},
    ),
    "pc_S2B_T06VVN_20190629.json": (1, "pc", {"02.12": 0}, {"EPSG:32606"}),
    "pc_S2B_T24XWR_20220612.json": (1, "pc", {"04.00": -1000}, {"EPSG:32624"}),
    "pc_collection_T35MNM_2020-06_07_13items.geojson": (13, "pc", {"02.12": 0}, {"EPSG:32735"}),
    "pc_collection_strip_20200606_9items.geojson": (9, "pc", {"02.12": 0}, {"EPSG:32735"}),
}  # fmt: skip


def read_items(name):
    document = json.loads((REAL / name).read_text())
    features = document["features"] if document["type"] == "FeatureCollection" else [document]
    return [pystac.Item.from_dict(feature) for feature in features]


@real
@pytest.mark.parametrize("name", FILES)
def test_real_items_are_understood(name):
    count, flavour, offsets, places = FILES[name]
    items = read_items(name)
    specs = understand_items(items, one_crs=False)
    assert len(specs) == count
    assert {spec.assets for spec in specs} == {tuple(list(ASSETS[flavour].values())[:10])}
    assert {spec.baseline: spec.offset for spec in specs} == offsets
    assert {spec.crs for spec in specs} == places
    assert {spec.level for spec in specs} == {"L2A"}
    assert {spec.platform for spec in specs} <= {"sentinel-2a", "sentinel-2b", "sentinel-2c"}
    assert all(0 <= spec.cloud_cover <= 100 for spec in specs)
    if not name.startswith("es_c1"):  # which its source reduced to ten assets
        assert {spec.scl for spec in specs} == {ASSETS[flavour]["SCL"]}
    if len(places) > 1:
        assert fault(items, "items.crs").data["count"] == 2


@real
@pytest.mark.parametrize("name", FILES)
def test_real_items_become_a_graph(name):
    """Lazily, as nothing that they point to can be reached."""
    items = read_items(name)
    crs = {"crs": "EPSG:32647"} if name.startswith("pc_4items") else {}
    cube = load_s2(items, resolution=100, chunks={"x": 512, "y": 512}, **crs)
    assert cube.anysat.gsd == 100
    days = {item.datetime.date() for item in items}
    assert cube.sizes["time"] == len(days)
    assert set(" ".join(cube.item_id.values).split()) == {item.id for item in items}
    assert isinstance(patches(cube).data, da.Array)


@real
def test_seven_years_of_earth_search():
    """33TWN through all baselines, and one item of another zone."""
    items = read_items("es_v1_33TWN_2016-2022_items.geojson")
    specs = {spec.id: spec for spec in understand_items(items, one_crs=False)}
    assert len(specs) == 16
    assert sorted({spec.baseline for spec in specs.values()}) == [
        "00.01", "02.07", "02.08", "02.09", "02.10", "02.11", "02.12", "02.13", "02.14", "03.00",
        "03.01", "04.00", "05.09",
    ]  # fmt: skip
    shifted = [name for name, spec in specs.items() if spec.offset]
    assert shifted == ["S2B_33TWN_20220226_0_L2A"]  # 04.00, and it says that nothing was removed
    assert specs[shifted[0]].offset == -1000
    applied = [item.properties["earthsearch:boa_offset_applied"] for item in items]
    stated = [item.assets["blue"].extra_fields["raster:bands"][0]["offset"] for item in items]
    assert {*zip(applied, stated, strict=True)} == {(False, 0), (False, -0.1), (True, -0.1)}
    late = [specs[item.id].baseline >= "04.00" for item in items]
    assert [offset != 0 for offset in stated] == late  # by the baseline, whatever the flag says


@real
def test_real_cogs():
    item = pystac.Item.from_file(str(REAL / "local_cogs_29RKH" / "item.json"))
    cube = load_s2([item], scl=True, chunks={"x": 600, "y": 600})
    assert (cube.anysat.gsd, cube.anysat.crs.to_epsg()) == (100, 32629)
    assert cube.sizes == {"time": 1, "y": 1098, "x": 1098}
    assert cube.anysat.s2_dates.tolist() == [49]
    assert cube.added_offset.item() == "0"
    for label, step in (("B02", 1), ("B08", 1), ("B05", 2), ("B12", 2), ("SCL", 2)):
        with rasterio.open(REAL / "local_cogs_29RKH" / f"{label}.tif") as file:
            written = file.read(1).repeat(step, axis=0).repeat(step, axis=1)
        np.testing.assert_array_equal(cube[label][0], written)
    plain = odc.stac.load([item], bands=COMMON, groupby="solar_day", chunks={})
    part = {"x": slice(400, 424), "y": slice(600, 620)}
    ours, theirs = (patches(one.isel(part), patch_size=400) for one in (cube, plain))
    assert np.isfinite(ours).all()
    assert_same(ours, theirs)
    clear = load_s2([item], mask_scl=True, chunks={"x": 600, "y": 600})
    hidden = cube.SCL.isin([0, 1, 3, 8, 9, 10])
    assert 0 < float(hidden.mean()) < 1
    assert not clear.B8A.where(hidden, 0).any()
    np.testing.assert_array_equal(clear.B8A.where(~hidden), cube.B8A.where(~hidden))
