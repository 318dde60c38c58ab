"""What a cube is: bands, dimensions, missing values, and every fault in one error."""

import pickle

import dask
import numpy as np
import pandas as pd
import pyproj
import pytest
import xarray as xr
from dask.base import tokenize
from hypothesis import given, settings
from hypothesis import strategies as st
from support.findings import codes, finds
from support.helpers import BANDS, EARTH_SEARCH, PADDED, make_cube, make_dataset

import xr_anysat
from xr_anysat.cube.canonical import understand
from xr_anysat.cube.values import validity_mask
from xr_anysat.errors import AnySatError, CubeError

DEGREES = {"crs": "EPSG:4326", "step": (-1e-4, 1e-4), "corner": (48.8, 2.3)}


def values_of(cube, **options):
    """(time, band, y, x) as the network will see them."""
    return np.asarray(understand(cube, **options).values)


def faults(cube, **options):
    with pytest.raises(CubeError) as caught:
        understand(cube, **options)
    return caught.value.findings


def fault(cube, code, **options):
    """The one fault of a cube, which is of a code."""
    (finding,) = faults(cube, **options)
    assert finding.code == code
    return finding


def repaired(cube, finding):
    """The cube after the call that a finding names."""
    return eval(finding.remedies[0].code, {"cube": cube})


def valid(cube, **options):
    """Where all bands of a pixel-date are there, (time, y, x)."""
    found = understand(cube, **options)
    return validity_mask(np.asarray(found.values), None, found.spec.nodata)


# -- dimensions --------------------------------------------------------------------------------


@given(st.permutations(["time", "band", "y", "x"]))
def test_dimensions_in_any_order(dims):
    cube = make_cube()
    np.testing.assert_array_equal(values_of(cube.transpose(*dims)), cube.values)


@given(st.permutations(["band", "y", "x"]))
def test_a_cube_without_time_in_any_order(dims):
    cube = make_cube().isel(time=1)
    np.testing.assert_array_equal(values_of(cube.transpose(*dims)), cube.values[None])


@pytest.mark.parametrize("name", ["band", "bands", "Band", "variable", "channel", "my_bands"])
def test_names_of_the_band_dimension(name):
    cube = make_cube().rename(band=name)
    found = understand(cube)
    assert found.spec.band_dim == name
    np.testing.assert_array_equal(found.values, make_cube().values)


def test_a_dimension_too_many():
    cube = make_cube().expand_dims(member=2)
    finding = fault(cube, "cube.extra-dimensions")
    assert finding.data["extra"] == ["member"]
    np.testing.assert_array_equal(values_of(repaired(cube, finding)), make_cube().values)


def test_no_band_dimension():
    finding = fault(make_cube().isel(band=0, drop=True), "bands.no-dimension")
    assert "['time', 'y', 'x']" in str(finding)
    assert 'cube.rename(my_dim="band")' in str(finding)


@pytest.mark.parametrize("dim", ["time", "band", "y", "x"])
def test_an_empty_cube(dim):
    empty, *_ = faults(make_cube().isel({dim: slice(0)}))
    assert empty.code == "cube.empty"
    assert empty.data["empty"] == [dim]


# -- bands -------------------------------------------------------------------------------------

MIXED = ("B02", "green", "b4", "rededge1", "B06_20m", "B7", "nir", "nir08", "B11", "swir22")


@pytest.mark.parametrize("names", [BANDS, PADDED, EARTH_SEARCH, MIXED])
@settings(max_examples=15)
@given(order=st.permutations(range(13)))
def test_bands_under_usual_names_in_any_order_among_others(names, order):
    labels = [*names, "SCL", "B01", "visual"]
    cube = make_cube(bands=labels)
    shuffled = cube.isel(band=list(order))
    assert shuffled.anysat.bands == dict(zip(BANDS, names, strict=True))
    np.testing.assert_array_equal(values_of(shuffled), cube.values[:, :10])


@pytest.mark.parametrize("names", [PADDED, EARTH_SEARCH, MIXED])
def test_a_dataset_is_the_cube_of_its_bands(names):
    cube = make_cube(bands=names)
    dataset = make_dataset(names)
    dataset["SCL"] = dataset[names[0]] * 0
    dataset["footprint"] = ("corner", [1.0, 2.0])
    dataset = dataset[["SCL", *reversed(names), "footprint"]]
    assert dataset.anysat.bands == dict(zip(BANDS, names, strict=True))
    np.testing.assert_array_equal(values_of(dataset), cube.values)


def test_variables_of_a_dataset_may_differ_in_the_order_of_their_dimensions():
    dataset = make_dataset()
    dataset["B03"] = dataset["B03"].transpose("x", "time", "y")
    np.testing.assert_array_equal(values_of(dataset), values_of(make_dataset()))


def test_a_scalar_coordinate_of_the_bands_name_is_no_obstacle():
    """As `rioxarray.open_rasterio(...).squeeze("band")` leaves one."""
    dataset = make_dataset().assign_coords(band=1)
    np.testing.assert_array_equal(values_of(dataset), values_of(make_dataset()))
    assert fault(dataset.drop_vars("B02"), "bands.missing").data["missing"] == ["B2"]


def test_names_that_rioxarray_keeps_aside():
    cube = make_cube().assign_coords(band=range(1, 11)).assign_attrs(long_name=PADDED)
    assert cube.anysat.bands == dict(zip(BANDS, PADDED, strict=True))
    np.testing.assert_array_equal(values_of(cube), make_cube().values)


def test_a_long_name_that_is_one_name_is_not_of_the_bands():
    cube = make_cube().assign_attrs(long_name="reflectance")
    assert cube.anysat.bands["B2"] == "B2"


OTHERS = ("my_blue", *PADDED[1:])


@pytest.mark.parametrize("make", [make_cube, make_dataset])
def test_bands_said(make):
    cube = make(bands=OTHERS)
    found = understand(cube, bands={"B2": "my_blue"})
    assert found.spec.band_labels == OTHERS
    np.testing.assert_array_equal(found.values, make_cube().values)


@pytest.mark.parametrize("make", [make_cube, make_dataset])
def test_bands_said_go_before_those_found(make):
    cube = make(bands=(*PADDED, "blue", "corrected_green"))
    said = {"B2": "blue", "B3": "corrected_green"}
    assert understand(cube, bands=said).spec.band_labels == ("blue", "corrected_green", *PADDED[2:])


@pytest.mark.parametrize("labels", [tuple(range(10)), tuple(range(100, 110))])
def test_bands_said_by_number(labels):
    cube = make_cube(bands=labels)
    said = dict(zip(BANDS, reversed(labels), strict=True))
    np.testing.assert_array_equal(values_of(cube, bands=said), cube.values[:, ::-1])
    dataset = xr.Dataset({label: cube.sel(band=label, drop=True) for label in labels})
    np.testing.assert_array_equal(values_of(dataset, bands=said), cube.values[:, ::-1])


@pytest.mark.parametrize("make", [make_cube, make_dataset])
def test_bands_that_are_missing(make):
    cube = make(bands=[band for band in PADDED if band not in ("B05", "B12")])
    finding = fault(cube, "bands.missing")
    assert finding.data["missing"] == ["B5", "B12"]
    text = str(finding)
    assert ("data variables" if make is make_dataset else "bands") + " ['B02', " in text
    assert str(list(BANDS)) in text
    assert 'cube.anysat.embed(bands={"B5": ...})' in text
    assert "B05, rededge1, " in text


def test_a_long_list_of_bands_is_cut_short():
    labels = fault(make_cube(bands=[f"layer{n}" for n in range(30)]), "bands.missing").data[
        "labels"
    ]
    assert labels.endswith("'layer18'] and 11 more")


@pytest.mark.parametrize("make", [make_cube, make_dataset])
def test_bands_under_two_names(make):
    cube = make(bands=(*PADDED, "blue"))
    finding = fault(cube, "bands.ambiguous")
    assert finding.data["labels"] == ["B02", "blue"]
    (remedy,) = finding.remedies
    assert remedy.python == 'cube.anysat.embed(bands={"B2": "B02"})'
    assert understand(cube, **{remedy.name: remedy.value}).spec.band_labels == PADDED


def test_a_band_that_is_there_twice():
    cube = xr.concat([make_cube(), make_cube().isel(band=[3])], "band")
    finding = fault(cube, "bands.repeated")
    assert finding.data["repeated"] == ["B5"]
    np.testing.assert_array_equal(values_of(repaired(cube, finding)), make_cube().values)
    fault(cube, "bands.repeated", bands={"B5": "B5"})


def test_another_band_that_is_there_twice_does_not_matter():
    cube = make_cube(bands=(*BANDS, "SCL", "SCL"))
    np.testing.assert_array_equal(values_of(cube), cube.values[:, :10])


@pytest.mark.parametrize("make", [make_cube, make_dataset])
@pytest.mark.parametrize(
    ("said", "code", "named"),
    [
        ({"B02": "B02"}, "bands.unknown", "['B02']"),
        ({"B1": "B02"}, "bands.unknown", "['B1']"),
        ({"B2": "bleu"}, "bands.absent", "{'B2': 'bleu'}"),
        ({"B2": "B03", "B3": "B03"}, "bands.shared", "['B03']"),
        ({"B2": ["B02"]}, "bands.not-labels", "B02"),
        (["B02"], "bands.no-mapping", "list"),
    ],
)
def test_bands_said_wrongly(make, said, code, named):
    wrong = [f for f in faults(make(bands=PADDED), bands=said) if f.code == code]
    assert len(wrong) == 1
    assert named in str(wrong[0])


def test_bands_without_names():
    finding = fault(make_cube().drop_vars("band"), "bands.unlabelled")
    assert finding.remedies[0].code == 'cube.assign_coords(band=["B02", "B03", ...])'


# -- Datasets ----------------------------------------------------------------------------------


def test_a_dataset_without_variables():
    fault(make_dataset()[[]], "cube.no-variables")


@pytest.mark.parametrize("dim", ["band", "bands"])
def test_a_dataset_that_holds_the_cube_in_one_variable(dim):
    dataset = make_cube().rename(band=dim).to_dataset(name="s2")
    call = fault(dataset, "cube.one-variable").remedies[0].code
    cube = eval(call.removesuffix(".anysat.embed()"), {"cube": dataset})
    np.testing.assert_array_equal(values_of(cube), make_cube().values)


def test_bands_of_different_resolutions():
    dataset = make_dataset()
    coarse = dataset["B11"].isel(y=slice(None, None, 2), x=slice(None, None, 2))
    dataset["B11"] = coarse.rename(y="y20", x="x20").drop_vars(["y20", "x20"])
    finding = fault(dataset, "cube.different-dimensions")
    assert "('time', 'y20', 'x20')" in finding.data["dims"]
    assert "odc.stac.load(..., resolution=10)" in str(finding)
    assert "ds[name].odc.reproject(geobox)" in str(finding)


def test_a_band_without_dates():
    dataset = make_dataset()
    dataset["B11"] = dataset["B11"].isel(time=0, drop=True)
    assert "('y', 'x')" in fault(dataset, "cube.different-dimensions").data["dims"]


def test_dtypes_of_a_dataset_are_brought_together():
    dataset = make_dataset()
    dataset["B03"] = dataset["B03"].astype("float32")
    found = understand(dataset)
    assert found.spec.dtype == str(found.values.dtype) == "float32"


# -- missing values ----------------------------------------------------------------------------

DECLARED = {
    "attrs nodata": lambda c, n: c.assign_attrs(nodata=n),
    "attrs _FillValue": lambda c, n: c.assign_attrs(_FillValue=n),
    "attrs missing_value": lambda c, n: c.assign_attrs(missing_value=n),
    "attrs of text": lambda c, n: c.assign_attrs(nodata=str(n)),
    "rio.write_nodata": lambda c, n: c.rio.write_nodata(n),
    "rio.write_nodata encoded": lambda c, n: c.rio.write_nodata(n, encoded=True),
    "rio.set_nodata": lambda c, n: c.rio.set_nodata(n),
    "odc": lambda c, n: c.odc.assign_crs(32631).assign_attrs(nodata=n),
}


@pytest.mark.parametrize("way", DECLARED)
@pytest.mark.parametrize("dtype", ["uint16", "int32", "float32"])
def test_declared_missing_values(way, dtype):
    cube = make_cube(dtype=dtype)
    cube[1, 4, 2, 3] = cube[2, 9, 0, 0] = 7
    expected = np.ones((3, 4, 6), dtype=bool)
    assert valid(cube).all()
    expected[1, 2, 3] = expected[2, 0, 0] = False
    declared = DECLARED[way](cube, 7)
    assert understand(declared).spec.nodata == (7,)
    np.testing.assert_array_equal(valid(declared), expected)


def test_missing_values_in_encoding():
    cube = make_cube()
    cube.encoding["_FillValue"] = np.uint16(65535)
    assert understand(cube).spec.nodata == (65535,)


def test_several_missing_values():
    cube = make_cube().assign_attrs(nodata=0, _FillValue=[65535, 0], missing_value=None)
    assert understand(cube).spec.nodata == (0, 65535)


@pytest.mark.parametrize("value", [None, "none", np.nan, "nan", [], -9999])
def test_declarations_that_match_nothing(value):
    cube = make_cube().assign_attrs(nodata=value)
    cube[0, 0, 0, 0] = 0
    assert valid(cube).all()


def test_the_missing_value_of_scaled_numbers_is_of_the_files_scale():
    """A fill of 0 in the file is NaN when read; 0.0 once scaled is a value."""
    stored = make_cube(dtype="int16")
    stored[0, 0, 0, 0], stored[1, 0, 1, 1] = 0, 1000
    scale = {"scale_factor": 1e-4, "add_offset": -0.1, "_FillValue": np.int16(0)}
    dataset = stored.assign_attrs(scale, grid_mapping="spatial_ref").to_dataset(name="s2")
    cube = xr.decode_cf(dataset)["s2"]
    assert cube.dtype.kind == "f"
    assert cube.encoding["_FillValue"] == 0
    assert cube[1, 0, 1, 1] == 0
    expected = np.ones((3, 4, 6), dtype=bool)
    expected[0, 0, 0] = False
    np.testing.assert_array_equal(valid(cube), expected)


def test_the_missing_value_of_numbers_that_are_not_scaled_is_their_own():
    cube = make_cube(dtype="float32")
    cube.encoding["_FillValue"] = -9999.0
    cube[0, 0, 0, 0] = -9999
    assert not valid(cube)[0, 0, 0]


def test_missing_values_of_a_dataset():
    dataset = make_dataset(nodata=0)
    dataset["B11"][1, 2, 3] = 0
    found = understand(dataset)
    assert found.spec.nodata == (0,)
    assert found.values.dtype == "uint16"
    expected = np.ones((3, 4, 6), dtype=bool)
    expected[1, 2, 3] = False
    np.testing.assert_array_equal(valid(dataset), expected)


def test_bands_that_declare_different_missing_values():
    dataset = make_dataset(nodata=0)
    dataset["B11"].attrs["nodata"] = 65535
    del dataset["B12"].attrs["nodata"]
    dataset["B02"][0, 0, 0] = 0
    dataset["B11"][1, 1, 1], dataset["B11"][1, 2, 2] = 65535, 0
    dataset["B12"][2, 2, 2] = 0
    expected = np.ones((3, 4, 6), dtype=bool)
    expected[0, 0, 0] = expected[1, 1, 1] = False
    np.testing.assert_array_equal(valid(dataset), expected)


# -- dtypes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int64", "float16", "float32", "f8"])
def test_any_real_dtype(dtype):
    assert understand(make_cube(dtype=dtype)).spec.dtype == np.dtype(dtype).name


@pytest.mark.parametrize("dtype", ["complex64", "bool", "object", "U5"])
def test_other_dtypes(dtype):
    finding = fault(make_cube(dtype=dtype), "cube.dtype")
    assert str(np.dtype(dtype)) in str(finding)
    assert finding.remedies[0].code == 'cube.astype("float32")'


# -- every fault at once -----------------------------------------------------------------------


def test_every_fault_of_a_dataarray_in_one_error():
    cube = make_cube(bands=PADDED[:7], dtype="complex64", **DEGREES).drop_vars("time")
    with pytest.raises(CubeError) as caught:
        understand(cube.expand_dims(member=2))
    found = caught.value
    assert codes(found) == [
        "cube.dtype", "grid.not-metres", "bands.missing", "cube.extra-dimensions", "dates.none",
    ]  # fmt: skip
    assert found.findings[2].data["missing"] == ["B8A", "B11", "B12"]
    assert all(f"\n  {n}. {text}" in str(found) for n, text in enumerate(found.faults, 1))


def test_every_fault_of_a_dataset_in_one_error():
    dataset = make_dataset(bands=PADDED[:7], **DEGREES).drop_vars("time")
    assert codes(faults(dataset)) == ["bands.missing", "grid.not-metres", "dates.none"]


def test_every_fault_of_a_dataset_whose_bands_do_not_stack():
    dataset = make_dataset(**DEGREES).drop_vars("time")
    dataset["B11"] = dataset["B11"].isel(time=0)
    expected = ["cube.different-dimensions", "grid.not-metres", "dates.none"]
    assert codes(faults(dataset)) == expected


def test_every_fault_of_a_dataset_that_holds_the_cube_in_one_variable():
    dataset = make_cube(**DEGREES).to_dataset(name="s2")
    assert codes(faults(dataset)) == ["cube.one-variable", "grid.not-metres"]


def test_no_bands_no_crs_no_dates():
    dataset = make_dataset(bands=["a", "b"], crs=None).drop_vars("time")
    assert codes(faults(dataset)) == ["bands.missing", "grid.no-crs", "dates.none"]


def test_embed_raises_the_faults_before_anything_is_computed():
    cube = make_cube(bands=PADDED[:7], **DEGREES).chunk()

    def refuse(*_args, **_options):
        raise AssertionError("computed")

    with dask.config.set(scheduler=refuse), pytest.raises(CubeError) as caught:
        cube.anysat.embed(model=xr_anysat.Model("tiny", weights="random"))
    assert codes(caught.value) == ["grid.not-metres", "bands.missing"]
    assert isinstance(caught.value, AnySatError)
    assert isinstance(caught.value, ValueError)
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    assert again.findings == caught.value.findings


# -- the accessor and the description ----------------------------------------------------------


@pytest.mark.parametrize("make", [make_cube, make_dataset])
def test_the_accessor(make):
    cube = make()
    names = PADDED if make is make_dataset else BANDS
    assert cube.anysat.gsd == 10.0
    assert cube.anysat.crs == pyproj.CRS("EPSG:32631")
    assert cube.anysat.s2_dates.tolist() == [92, 192, 364]
    assert cube.anysat.bands == dict(zip(BANDS, names, strict=True))


@pytest.mark.parametrize("make", [make_cube, make_dataset])
def test_nothing_is_read_and_nothing_changed(make):
    def refuse(*_args, **_options):
        raise AssertionError("computed")

    cube = make().chunk({"x": 2})
    before = cube.copy(deep=True)
    with dask.config.set(scheduler=refuse):
        found = understand(cube)
        assert found.lazy
        assert dask.is_dask_collection(found.values)
    xr.testing.assert_identical(cube, before)
    assert not understand(make()).lazy


def test_descriptions_of_equal_cubes_are_equal():
    one, other = (understand(make_cube()).spec for _ in range(2))
    assert one == other
    assert tokenize(one) == tokenize(other)
    assert pickle.loads(pickle.dumps(one)) == one
    assert one != understand(make_cube(shape=(4, 7))).spec


def test_a_cube_as_stackstac_makes_it():
    cube = make_cube(crs=None, bands=(*EARTH_SEARCH, "scl"), dtype="float64")
    cube = cube.assign_coords(
        epsg=32631,
        id=("time", list("abc")),
        title=("band", [f"title {n}" for n in range(11)]),
    ).assign_attrs(crs="epsg:32631", resolution=10.0)
    cube = cube.where(cube.x < cube.x[3])
    assert cube.anysat.bands["B8A"] == "nir08"
    expected = np.ones((3, 4, 6), dtype=bool)
    expected[..., 3:] = False
    np.testing.assert_array_equal(valid(cube), expected)


def test_a_cube_as_openeo_writes_it():
    """Dimensions t, y, x; the CRS in a variable that the file names `crs`."""
    dataset = make_dataset(crs=None).rename(time="t")
    for band in PADDED:
        dataset[band].attrs["grid_mapping"] = "crs"
    dataset["crs"] = xr.DataArray(0, attrs=pyproj.CRS(32631).to_cf())
    assert dataset.anysat.gsd == 10
    np.testing.assert_array_equal(values_of(dataset), values_of(make_dataset()))


def test_a_multiindex_along_time_is_a_fault_and_no_crash():
    index = pd.MultiIndex.from_product([[2021], [1, 2, 3]], names=["year", "month"])
    coords = xr.Coordinates.from_pandas_multiindex(index, "time")
    cube = make_cube().drop_vars("time").assign_coords(coords)
    assert "'time'" in str(fault(cube, "dates.unreadable"))


@pytest.mark.parametrize("method", ["embed", "to_zarr"])
def test_an_embedding_is_no_cube(method, tmp_path):
    embedding = xr.DataArray(np.zeros((3, 4, 4)), dims=("feature", "y", "x"))
    with finds("cube.embedding", CubeError):
        getattr(embedding.anysat, method)(*[tmp_path / "map.zarr"] * (method == "to_zarr"))
