"""What other software can read of a store: where the map lies, what made it, how far it is."""

import json
import sys
from datetime import UTC, datetime

import numpy as np
import pyproj
import pytest
import rioxarray  # noqa: F401  registers `.rio`
import shapely
import xarray as xr
import zarr
from support.cubes import make_cube
from support.findings import finds
from support.stores import small_regions, to_zarr

import xr_anysat
from xr_anysat import MissingExtraError, StoreError

LAEA = "+proj=laea +lat_0=45 +lon_0=3 +x_0=500000 +y_0=5000000 +datum=WGS84 +units=m"


pytestmark = pytest.mark.usefixtures("small_regions")


@pytest.fixture(scope="module")
def cube():
    return make_cube(24, 20).chunk(x=8, y=8)


@pytest.fixture(scope="module")
def coded(cube, tmp_path_factory):
    """Stores of codes of three components, by mode; only read."""
    folder = tmp_path_factory.mktemp("coded")
    with small_regions():
        for mode in ("grid", "patch", "tile"):
            to_zarr(cube, folder / mode / "map.zarr", mode, reduce=3, quantize="int8")
    return lambda mode: folder / mode / "map.zarr"


def group_attrs(store):
    return dict(zarr.open_group(store, mode="r").attrs)


# Zarr conventions --------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["grid", "patch", "tile", "south up"])
def test_where_the_map_lies(cube, coded, mode, tmp_path):
    store = coded(mode)
    if mode == "south up":
        store = tmp_path / "map.zarr"
        to_zarr(cube.isel(y=slice(None, None, -1)), store, "patch")
    attrs, opened = group_attrs(store), xr_anysat.open_embedding(store)
    assert attrs["proj:code"] == "EPSG:32631"
    assert attrs["spatial:dimensions"] == ["y", "x"] == list(opened.dims[1:])
    assert attrs["spatial:shape"] == list(opened.shape[1:])
    assert attrs["spatial:transform"] == list(opened.rio.transform())[:6]
    assert attrs["spatial:bbox"] == list(opened.rio.bounds())
    assert (attrs["spatial:transform_type"], attrs["spatial:registration"]) == ("affine", "pixel")


def test_conventions_are_declared(coded):
    """Each with what the conventions ask for at least: one of uuid, schema_url and spec_url."""
    attrs = group_attrs(coded("tile"))
    declared = {one["name"]: one for one in attrs["zarr_conventions"]}
    used = {name.partition(":")[0] + ":" for name in attrs if ":" in name}
    assert set(declared) == used == {"proj:", "spatial:", "geoemb:"}
    assert all({"uuid", "schema_url", "spec_url"} & set(one) for one in declared.values())
    with xr.open_zarr(coded("tile")) as dataset:  # consolidated
        assert dataset.attrs.items() >= {k: attrs[k] for k in attrs if ":" in k}.items()


def test_a_crs_without_a_code(tmp_path):
    to_zarr(make_cube(24, 20, crs=LAEA).chunk(x=8), tmp_path / "map.zarr", "patch")
    attrs = group_attrs(tmp_path / "map.zarr")
    assert "proj:code" not in attrs
    assert attrs["proj:wkt2"].startswith("PROJCRS[")
    assert pyproj.CRS.from_wkt(attrs["proj:wkt2"]) == pyproj.CRS(LAEA)
    item = xr_anysat.stac_item(tmp_path / "map.zarr")
    assert item.properties["proj:wkt2"] == attrs["proj:wkt2"]


@pytest.mark.parametrize(
    ("mode", "layout"),
    [
        ("grid", None),
        ("patch", {"layout_type": "regular_grid", "chip_size": [4, 4], "stride": [4, 4]}),
        ("tile", {"layout_type": "regular_grid", "chip_size": [16, 16], "stride": [8, 8]}),
    ],
)
def test_what_made_it(coded, mode, layout):
    store = coded(mode)
    attrs, opened = group_attrs(store), xr_anysat.open_embedding(store)
    assert attrs["geoemb:type"] == ("pixel" if mode == "grid" else "chip")
    assert attrs["geoemb:dimensions"] == 3 == opened.shape[0]
    assert attrs["geoemb:model"] == "AnySat tiny, weights: random:1 (not pretrained)"
    assert attrs["geoemb:data_type"] == attrs["geoemb:quantization"]["quantized_dtype"] == "int8"
    assert attrs["geoemb:gsd"] == abs(opened.rio.resolution()[0])
    assert attrs.get("geoemb:chip_layout") == layout
    with xr.open_zarr(store) as dataset:
        how = attrs["geoemb:quantization"]
        assert {how["scale"], how["offset"]} <= set(dataset)


def test_what_is_not_coded(cube, tmp_path):
    to_zarr(cube, tmp_path / "map.zarr", "tile", dtype="float16")
    attrs = group_attrs(tmp_path / "map.zarr")
    assert attrs["geoemb:data_type"] == "float16"
    assert "geoemb:quantization" not in attrs


# STAC --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["grid", "patch"])
def test_an_item(coded, mode):
    store = coded(mode)
    item, opened = xr_anysat.stac_item(store), xr_anysat.open_embedding(store)
    assert item.id == "map"
    assert item.datetime is None
    assert item.properties["start_datetime"] == "2021-01-05T00:00:00Z"
    assert item.properties["end_datetime"] == "2021-05-25T00:00:00Z"
    assert item.properties["proj:transform"] == list(opened.rio.transform())[:6]
    assert item.properties["proj:shape"] == list(opened.shape[1:])
    assert item.properties["gsd"] == abs(opened.rio.resolution()[0])
    assert item.properties["emb:dimensions"] == opened.shape[0]
    assert item.properties["emb:quantization"]["quantized_dtype"] == "int8"
    assert item.properties["xr_anysat:weights"] == "random:1 (not pretrained)"
    assert item.properties["xr_anysat:complete"] is True
    asset = item.assets["embedding"]
    assert asset.href == str(store)
    assert asset.media_type == "application/vnd.zarr; version=3"
    again = type(item).from_dict(json.loads(json.dumps(item.to_dict())))
    assert again.to_dict() == item.to_dict()
    # the footprint has the map's corners
    to_degrees = pyproj.Transformer.from_crs(32631, 4326, always_xy=True)
    left, bottom, right, top = opened.rio.bounds()
    corners = to_degrees.transform([left, right, right, left], [bottom, bottom, top, top])
    outline = shapely.from_geojson(json.dumps(item.geometry))
    distance = outline.boundary.distance(shapely.points(*corners))
    assert outline.boundary.length > 0
    assert np.max(distance) < 2e-6
    assert outline.area == pytest.approx(shapely.Polygon(zip(*corners, strict=True)).area, rel=1e-2)
    np.testing.assert_allclose(item.bbox, outline.bounds, atol=1e-9)


def test_names_given(cube, tmp_path):
    to_zarr(cube.isel(time=[0]), tmp_path / "map.zarr", "tile")
    item = xr_anysat.stac_item(tmp_path / "map.zarr", id="a", href="s3://maps/a.zarr")
    assert (item.id, item.assets["embedding"].href) == ("a", "s3://maps/a.zarr")
    assert item.datetime == datetime(2021, 1, 5, tzinfo=UTC)
    assert "start_datetime" not in item.properties
    store = zarr.storage.LocalStore(tmp_path / "map.zarr")
    assert xr_anysat.stac_item(store).id == "map"
    url = f"file://{tmp_path}/map.zarr/"
    assert xr_anysat.stac_item(url).assets["embedding"].href == url
    assert xr_anysat.stac_item(url).id == "map"


def test_across_the_date_line(tmp_path):
    """As RFC 7946 has it: two polygons, and a west that is greater than the east."""
    cube = make_cube(24, 20, crs="EPSG:32660")
    cube = cube.assign_coords(x=cube.x + 333_850, y=cube.y - 5_000_000 + 100_000)
    to_degrees = pyproj.Transformer.from_crs(32660, 4326, always_xy=True)
    longitudes = to_degrees.transform(cube.x.values[[0, -1]], cube.y.values[[0, 0]])[0]
    assert longitudes[0] > 179.99
    assert longitudes[1] < -179.99
    to_zarr(cube.chunk(x=8), tmp_path / "map.zarr", "patch")
    item = xr_anysat.stac_item(tmp_path / "map.zarr")
    assert item.geometry["type"] == "MultiPolygon"
    west, _, east, _ = item.bbox
    assert 179.99 < west < 180
    assert -180 < east < -179.99
    parts = shapely.from_geojson(json.dumps(item.geometry)).geoms
    assert all(part.bounds[2] - part.bounds[0] < 0.01 for part in parts)


def test_what_is_not_complete_says_so(cube, tmp_path):
    to_zarr(cube, tmp_path / "map.zarr", "patch", regions="1/3")
    item = xr_anysat.stac_item(tmp_path / "map.zarr")
    assert item.properties["xr_anysat:complete"] is False
    assert (item.properties["xr_anysat:regions_done"], item.properties["xr_anysat:regions"]) == (
        3,
        9,
    )


def test_copies(coded, tmp_path):
    """A copy by other means knows of no regions."""
    opened = xr_anysat.open_embedding(coded("patch"))
    opened.to_dataset().to_zarr(tmp_path / "copy.zarr", consolidated=False)
    item = xr_anysat.stac_item(tmp_path / "copy.zarr")
    assert item.properties["xr_anysat:complete"] is True
    assert "xr_anysat:regions" not in item.properties
    assert item.properties["emb:data_type"] == "float32"
    bare = opened.drop_attrs(deep=False).to_dataset()
    bare.to_zarr(tmp_path / "bare.zarr", consolidated=False)
    with finds("store.no-provenance", StoreError) as caught:
        xr_anysat.stac_item(tmp_path / "bare.zarr")
    assert {"dates", "gsd_m", "mode"} <= {*caught.value.findings[0].data["missing"]}
    lost = opened.drop_vars("spatial_ref").assign_coords(x=opened.x.values, y=opened.y.values)
    lost.encoding.clear()
    lost.to_dataset().to_zarr(tmp_path / "lost.zarr", consolidated=False)
    with finds("store.no-grid", StoreError):
        xr_anysat.stac_item(tmp_path / "lost.zarr")
    with finds("store.no-embedding", StoreError):
        xr_anysat.stac_item(tmp_path / "none.zarr")


def test_without_pystac(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pystac", None)
    with finds("extra.missing", MissingExtraError) as caught:
        xr_anysat.stac_item(tmp_path / "map.zarr")
    assert "xr-anysat[stac]" in str(caught.value)
