"""Cubes as other libraries hand them over: understood alike, and embedded alike.

Most of these libraries are not needed: what they make is made here, as their sources have it.
"""

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import rasterio
import rioxarray
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from support.catalogs import ASSETS, classes, items_of, landscape
from support.cubes import LABELS, TINY, assert_same, make_cube
from support.findings import codes, finds, warns_of
from xarray.indexes import RangeIndex

from xr_anysat import CubeError

CUBE = make_cube(24, 20, dates=3)
GEOBOX = GeoBox((24, 20), Affine(10, 0, 500_000, 0, -10, 5_000_000), "EPSG:32631")
EE_BANDS = ("B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B11", "B12")
COMMON = tuple(list(ASSETS["es"].values())[:10])


def embed(cube, mode="patch", **options):
    return cube.anysat.embed(mode, **{"model": TINY, "normalize": "treesatai", **options})


EXPECTED = {mode: embed(CUBE, mode) for mode in ("grid", "patch")}


def assert_is_the_cube(cube, mode="grid"):
    """Understood as `CUBE`, and embedded with its numbers on its grid."""
    assert (cube.anysat.gsd, cube.anysat.crs.to_epsg()) == (10, 32631)
    expected, result = EXPECTED[mode], embed(cube, mode)
    assert_same(result.transpose(*expected.dims).sortby("y", ascending=False), expected)
    step = 10 if mode == "grid" else 40
    left, bottom, right, top = result.rio.bounds()
    assert (left, top) == (500_000, 5_000_000)
    assert (right - left, top - bottom) == (200, 240)
    assert result.x.values[0] == 500_000 + step / 2
    assert result.rio.crs.to_epsg() == 32631


# -- stackstac and cubo -----------------------------------------------------------------------


class RasterSpec:
    """Stands for stackstac's, an object among the attributes."""


def as_stackstac(xy_coords="center"):
    shift = 0 if xy_coords == "center" else 5
    cube = CUBE.drop_vars(["spatial_ref", "band"]).astype("float64")
    cube = cube.assign_coords(x=cube.x - shift, y=cube.y + shift, band=list(COMMON))
    raster = {"nodata": 0, "data_type": "uint16", "scale": 0.0001, "offset": -0.1}
    objects = np.empty(10, dtype=object)
    objects[:] = [raster] * 10
    return cube.assign_coords(
        {
            "id": ("time", ["S2A_0", "S2B_1", "S2A_2"]),
            "instruments": "msi",
            "eo:cloud_cover": ("time", [1.5, 2, 3]),
            "s2:processing_baseline": "02.14",
            "proj:epsg": 32631,
            "gsd": ("band", np.array([10, 10, 10, 20, 20, 20, 10, 20, 20, 20], object)),
            "raster:bands": ("band", objects),
            "title": ("band", [f"Band {n}" for n in range(10)]),
            "common_name": ("band", np.array([None, *COMMON[1:]], dtype=object)),
            "epsg": 32631,
        }
    ).assign_attrs(
        spec=RasterSpec(), crs="epsg:32631", resolution=10.0,
        transform=Affine(10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0),
    )  # fmt: skip


@pytest.mark.parametrize("chunks", [None, {"x": 9, "band": 1, "time": 1}], ids=["numpy", "dask"])
def test_stackstac(chunks):
    cube = as_stackstac()
    assert_is_the_cube(cube if chunks is None else cube.chunk(chunks))


corners = pytest.mark.filterwarnings("ignore:the cube's x and y are the upper left corners")


def without_attrs(cube):
    return cube.copy(deep=False).drop_attrs()


def upside_down(cube):
    return cube.sortby("y")


def as_dataset(cube):
    dropped = ["raster:bands", "gsd", "title", "common_name"]
    return cube.drop_vars(dropped, errors="ignore").to_dataset("band")


@corners
def test_patches_of_stackstac_with_corners():
    assert_is_the_cube(as_stackstac("topleft"), "patch")


@corners
@pytest.mark.parametrize("change", [None, without_attrs, upside_down, as_dataset])
def test_stackstac_with_corners_in_place_of_centres(change):
    cube = as_stackstac("topleft")
    cube = cube if change is None else change(cube)
    assert cube.anysat.gsd == 10
    assert_is_the_cube(cube)


@corners
def test_a_part_of_a_cube_with_corners():
    cube = as_stackstac("topleft").isel(x=slice(4, 16), y=slice(8, 20))
    result = embed(cube, "grid")
    assert result.odc.geobox == GEOBOX[8:20, 4:16]
    assert embed(cube.isel(x=slice(0, 1)), "grid").odc.geobox == GEOBOX[8:20, 4:5]


def test_corners_are_told():
    with warns_of("grid.corners"):
        embed(as_stackstac("topleft"))


def test_centres_of_other_cubes_on_round_numbers_stay_centres():
    cube = CUBE.assign_coords(x=CUBE.x - 5, y=CUBE.y + 5)
    assert embed(cube).rio.bounds() == (499_995, 4_999_765, 500_195, 5_000_005)
    moved = as_stackstac("topleft").assign_coords(x=cube.x + 2, y=cube.y + 2)  # off its transform
    assert embed(moved).rio.bounds()[0] == 499_997


DISTANCE = "cubo:distance_from_center"


def as_cubo(xy_coords="center", measured="center", of_earth_engine=False):
    cube = as_stackstac(xy_coords).drop_attrs()
    middle = (4_999_883.2, 500_097.9)
    shift = 0 if xy_coords == measured else 5
    y, x = cube.y.values - shift, cube.x.values + shift
    distance = np.hypot(y[:, None] - middle[0], x[None, :] - middle[1])
    cube = cube.assign_coords({DISTANCE: (("y", "x"), distance)})
    if of_earth_engine:
        names = [name for name in cube.coords if name not in (*cube.dims, DISTANCE)]
        cube = cube.drop_vars(names).assign_coords(band=list(EE_BANDS))
    return cube.assign_attrs(
        collection="sentinel-2-l2a", stac="https://planetarycomputer", epsg=32631, resolution=10,
        edge_size=20, edge_size_m=200, central_lat=45.15, central_lon=3.0,
        central_y=middle[0], central_x=middle[1], time_coverage_start="2021-01-01",
        time_coverage_end="2021-12-31",
    )  # fmt: skip


@corners
@pytest.mark.parametrize("of_earth_engine", [False, True])
@pytest.mark.parametrize("xy_coords", ["center", "topleft"])
def test_cubo(xy_coords, of_earth_engine):
    cube = as_cubo(xy_coords, of_earth_engine=of_earth_engine)
    assert_is_the_cube(cube)
    plain = cube.drop_vars(["raster:bands", "gsd", "title", "common_name"], errors="ignore")
    dataset = plain.to_dataset("band").assign_attrs(cube.attrs)
    for band in dataset.data_vars.values():
        band.attrs.clear()
    assert embed(dataset).odc.geobox == GEOBOX.zoom_out(4)
    part = cube.isel(x=slice(8, 20), y=slice(0, 12))
    assert embed(part, "grid").odc.geobox == GEOBOX[0:12, 8:20]


@corners
def test_cubo_before_it_measured_from_centres():
    """Before 2026.10: stackstac's corners, and distances from them."""
    assert_is_the_cube(as_cubo("topleft", measured="topleft"))
    assert_is_the_cube(as_cubo("center", measured="center", of_earth_engine=True))


@corners
@pytest.mark.parametrize("xy_coords", ["center", "topleft"])
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_stackstac_itself(tmp_path, xy_coords):
    stackstac = pytest.importorskip("stackstac", minversion="0.5.1")
    cube = landscape((24, 20))
    items = items_of(tmp_path, cube, "es", classes(cube))
    bounds = tuple(cube.odc.geobox.extent.boundingbox)
    loaded = stackstac.stack(
        items, epsg=32631, resolution=10, bounds=bounds, xy_coords=xy_coords, rescale=False,
        assets=list(ASSETS["es"].values()), fill_value=np.nan,
    )  # fmt: skip
    assert list(loaded.anysat.bands.values()) == list(COMMON)
    result = embed(loaded, "grid")
    assert isinstance(result.data, da.Array)
    assert result.odc.geobox.transform == cube.odc.geobox.transform
    assert_same(result, embed(cube, "grid"))


# -- Earth Engine -----------------------------------------------------------------------------


def as_xee():
    """Version 0.1: (time, y, x), the CRS in the attributes of each variable."""
    arrays = {
        name: CUBE.isel(band=n, drop=True).drop_vars("spatial_ref").astype("float32")
        for n, name in enumerate(EE_BANDS)
    }
    arrays |= dict.fromkeys(("B1", "B9", "QA60", "SCL", "MSK_CLDPRB"), arrays["B2"] * 0)
    dataset = xr.Dataset(arrays, attrs={"type": "ImageCollection", "bands": "..."})
    for name, variable in dataset.data_vars.items():
        variable.attrs.update(id=name, crs="EPSG:32631", data_type="{'type': 'PixelType'}")
        variable.encoding.update(source=name, scale_factor=10.0, dtype=np.dtype("float32"))
    return dataset


def as_old_xee():
    """Version 0.0: (time, X, Y), Y from north to south or the other way round."""
    return as_xee().rename(x="X", y="Y").transpose("time", "X", "Y")


@pytest.mark.parametrize(("make", "chunks"), [(as_xee, None), (as_old_xee, {"time": 1})])
def test_xee(make, chunks):
    cube = make() if chunks is None else make().chunk(chunks)
    assert_is_the_cube(cube)
    assert list(cube.anysat.bands.values()) == list(EE_BANDS)


def test_xee_with_y_from_south_to_north():
    cube = as_old_xee().sortby("Y")
    result = embed(cube, "grid")
    assert result.y.values[0] == 4_999_765
    assert_same(result.sortby("y", ascending=False), EXPECTED["grid"])


def test_masked_pixels_of_earth_engine():
    holes = as_xee()
    for band in holes.data_vars.values():
        band[:, 2:6, 3:9] = np.nan
    result = embed(holes, "grid")
    assert np.isnan(result[:, 2:6, 3:9]).all()
    assert int(np.isnan(result[0]).sum()) == 24


# -- lazycogs and others of lazy coordinates --------------------------------------------------


def as_lazycogs():
    """(band, time, y, x), coordinates worked out when asked for."""
    cube = CUBE.transpose("band", "time", "y", "x").drop_vars(["x", "y"])
    x = RangeIndex.arange(500_005, 500_205, 10, dim="x")
    y = RangeIndex.arange(4_999_995, 4_999_755, -10, dim="y")
    cube = cube.assign_coords(xr.Coordinates.from_xindex(x)).assign_coords(
        xr.Coordinates.from_xindex(y)
    )
    return cube.chunk(time=1, y=16, x=16)


def test_lazycogs():
    cube = as_lazycogs()
    assert cube.dims == ("band", "time", "y", "x")
    assert not isinstance(cube.xindexes["x"], xr.indexes.PandasIndex)
    assert_is_the_cube(cube)


def test_coordinates_that_a_transform_gives():
    """As rasterix has them: no values but the grid mapping's."""
    cube = CUBE.drop_vars(["x", "y"]).rio.write_transform(GEOBOX.transform)
    assert_is_the_cube(cube)


# -- GeoTIFF ----------------------------------------------------------------------------------


def write_tiff(path, image, descriptions=LABELS, nodata=None):
    with rasterio.open(
        path, "w", driver="GTiff", width=20, height=24, count=image.sizes["band"],
        dtype=image.dtype, crs="EPSG:32631", transform=GEOBOX.transform, nodata=nodata,
    ) as file:  # fmt: skip
        file.write(image.values)
        for n, name in enumerate(descriptions or (), 1):
            file.set_band_description(n, name)
    return path


def test_a_geotiff_of_each_date(tmp_path):
    images = []
    for n, when in enumerate(CUBE.time.values):
        path = write_tiff(tmp_path / f"{n}.tif", CUBE.isel(time=n))
        images.append(rioxarray.open_rasterio(path, chunks={"x": 16}).assign_coords(time=when))
    cube = xr.concat(images, "time")
    assert cube.dtype == "int16"
    assert_is_the_cube(cube)
    for image in images:
        image.close()


def test_geotiffs_by_date_in_an_index_of_their_own(tmp_path):
    paths = [write_tiff(tmp_path / f"{n}.tif", CUBE.isel(time=n)) for n in range(3)]
    images = [rioxarray.open_rasterio(path, masked=True) for path in paths]
    cube = xr.concat(images, pd.Index(pd.DatetimeIndex(CUBE.time.values), name="time"))
    assert cube.dtype.kind == "f"
    assert_is_the_cube(cube.load())
    for image in images:
        image.close()


def one_date(cube):
    return embed(cube, dates=["2021-01-05"])


@pytest.mark.parametrize("masked", [False, True])
def test_a_file_of_ten_bands(tmp_path, masked):
    path = write_tiff(tmp_path / "one.tif", CUBE.isel(time=0))
    expected = embed(CUBE.isel(time=0))
    with rioxarray.open_rasterio(path, masked=masked) as cube:
        assert list(cube.anysat.bands.values()) == list(LABELS)
        with finds("dates.none", CubeError):
            embed(cube)
        assert_same(one_date(cube), expected)


def test_a_file_of_ten_bands_without_names(tmp_path):
    path = write_tiff(tmp_path / "one.tif", CUBE.isel(time=0), descriptions=None)
    expected = embed(CUBE.isel(time=0))
    with rioxarray.open_rasterio(path) as cube:
        with finds("bands.missing", CubeError) as caught:
            one_date(cube)
        assert len(caught.value.findings) == 1
        assert_same(one_date(cube.assign_coords(band=list(LABELS))), expected)
        said = dict(zip(EE_BANDS, range(1, 11), strict=True))
        assert_same(embed(cube, dates=["2021-01-05"], bands=said), expected)


def test_a_file_of_ten_bands_as_variables(tmp_path):
    """They are called band_1 and so on by their place: band_2 is B03 here."""
    path = write_tiff(tmp_path / "one.tif", CUBE.isel(time=0))
    expected = embed(CUBE.isel(time=0))
    with rioxarray.open_rasterio(path, band_as_variable=True) as cube:
        assert list(cube.data_vars)[1] == "band_2"
        assert cube.anysat.bands["B2"] == "B02"
        assert_same(one_date(cube), expected)
        said = {band: f"band_{n}" for n, band in enumerate(EE_BANDS, 1)}
        assert_same(embed(cube, dates=["2021-01-05"], bands=said), expected)


def test_a_file_of_bands_as_variables_without_names(tmp_path):
    """Thirteen of them, among which band_11 would be taken for B11, which it is not."""
    image = CUBE.isel(time=0, band=[0, *range(10), 0, 0])
    path = write_tiff(tmp_path / "one.tif", image, descriptions=None)
    with rioxarray.open_rasterio(path, band_as_variable=True) as cube:
        with pytest.raises(CubeError) as caught:
            one_date(cube)
        assert codes(caught.value) == ["bands.missing"]
        assert caught.value.findings[0].data["missing"] == list(EE_BANDS)
        said = {band: f"band_{n}" for n, band in enumerate(EE_BANDS, 2)}
        result = embed(cube, dates=["2021-01-05"], bands=said)
        assert_same(result, embed(CUBE.isel(time=0)))


def test_nodata_of_a_geotiff(tmp_path):
    holes = CUBE.isel(time=0).copy()
    holes[:, 2:6, 3:9] = -9999
    path = write_tiff(tmp_path / "holes.tif", holes, nodata=-9999)
    for masked in (False, True):
        with rioxarray.open_rasterio(path, masked=masked) as cube:
            result = embed(cube, "grid", dates=["2021-01-05"])
        assert np.isnan(result[:, 2:6, 3:9]).all()
        assert int(np.isnan(result[0]).sum()) == 24


# -- NetCDF and Zarr --------------------------------------------------------------------------


def write(cube, path, kind):
    if kind == "netcdf":
        cube.to_netcdf(path)
        return lambda **options: xr.open_dataset(path, **options)
    cube.to_zarr(path, consolidated=False, zarr_format=2)
    return lambda **options: xr.open_zarr(path, consolidated=False, **options)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("netcdf", {}),
        ("netcdf", {"decode_coords": "all"}),
        ("netcdf", {"mask_and_scale": False}),
        ("zarr", {}),
    ],
)
def test_a_dataset_that_was_written_and_opened(tmp_path, kind, options):
    opener = write(CUBE.to_dataset("band"), tmp_path / "cube", kind)
    with opener(**options) as cube:
        assert_is_the_cube(cube)


@pytest.mark.parametrize("kind", ["netcdf", "zarr"])
def test_an_array_that_was_written_and_opened(tmp_path, kind):
    opener = write(CUBE.to_dataset(name="s2"), tmp_path / "cube", kind)
    with opener(decode_coords="all") as cube:
        assert_is_the_cube(cube["s2"])


@pytest.mark.parametrize("kind", ["netcdf", "zarr"])
def test_an_array_that_was_opened_without_its_crs(tmp_path, kind):
    """xarray makes the grid mapping a variable; the errors lead back to the array with a CRS."""
    opener = write(CUBE.to_dataset(name="s2"), tmp_path / "cube", kind)
    with opener() as cube:
        assert set(cube.data_vars) == {"s2", "spatial_ref"}
        with finds("cube.one-variable", CubeError) as caught:
            embed(cube)
        call = "cube.set_coords(['spatial_ref'])['s2']"
        assert f"{call}.anysat.embed()" in str(caught.value)
        assert_is_the_cube(eval(call))
        with finds("grid.no-crs", CubeError) as caught:
            embed(cube["s2"])
        assert len(caught.value.findings) == 1
        assert_is_the_cube(cube["s2"].rio.write_crs("EPSG:32631"))


def test_packed_reflectance(tmp_path):
    """Written as integers with scale and fill value, read as floats with NaN."""
    holes = CUBE.astype("float64").where(CUBE.x < 500_150) / 10_000
    packing = {"dtype": "int16", "scale_factor": 1e-4, "_FillValue": -9999}
    holes.to_dataset(name="s2").to_netcdf(tmp_path / "cube.nc", encoding={"s2": packing})
    with xr.open_dataset(tmp_path / "cube.nc", decode_coords="all") as opened:
        result = embed(opened["s2"], normalize="zscore")
    expected = embed(CUBE.astype("float64").where(CUBE.x < 500_150), normalize="zscore")
    assert_same(result, expected, atol=1e-4)
