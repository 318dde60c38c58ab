"""The simulated landscape: one world, seen the same through every window and chunking."""

import pickle
from pathlib import Path

import dask
import dask.base
import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.findings import finds

from xr_anysat.datasets import simulated_landscape
from xr_anysat.datasets.covers import DEFAULT_GROUND, SEASONS, Cover, Ground, seasons
from xr_anysat.datasets.noise import hash64, key, normal, smooth_noise
from xr_anysat.datasets.sentinel2 import BANDS, BANDS_20M, DRY, FLOWER, GREEN, KEPT
from xr_anysat.datasets.world import survey
from xr_anysat.errors import OptionError

LEFT, TOP = 370_000, 5_250_000
SEED = 0


def whole(**options: object) -> xr.DataArray:
    """A cube without any missing pixel."""
    return simulated_landscape(clouds=False, orbit_edges=False, **options)


@pytest.fixture(scope="module")
def small() -> xr.DataArray:
    return simulated_landscape((37, 45), seed=5, dates=5)


@pytest.fixture(scope="module")
def year() -> xr.DataArray:
    """Enough land for nearly all covers, every two weeks, nothing missing."""
    return whole(shape=(256, 256), seed=SEED, dates=26)


@pytest.fixture(scope="module")
def scene() -> xr.DataArray:
    return simulated_landscape((60, 60), seed=9, start="2020-02-01", end="2020-04-30", dates=3)


@pytest.fixture(scope="module")
def ndvi(year: xr.DataArray) -> xr.DataArray:
    red, nir = year.sel(band="B04").astype("f4"), year.sel(band="B08").astype("f4")
    return (nir - red) / (nir + red)


def median(ndvi: xr.DataArray, cover: Cover, day: str) -> float:
    inside = ndvi.land_cover == cover
    if cover == Cover.WATER:  # narrow rivers share their pixels with the trees on the bank
        core = inside.astype(int).rolling(y=3, x=3, center=True).sum() == 9
        inside = core
    picture = ndvi.sel(time=day, method="nearest")
    assert int(inside.sum()) >= 20
    return float(picture.where(inside).median())


class TestShapeAndLabels:
    def test_dims_dtype_bands(self, small: xr.DataArray) -> None:
        assert small.name == "s2"
        assert small.dims == ("time", "band", "y", "x")
        assert small.shape == (5, 10, 37, 45)
        assert small.dtype == np.uint16
        assert tuple(small.band.values) == BANDS
        assert small.time.dtype == "datetime64[ns]"
        assert (small.time.dt.hour == 10).all()
        assert small.indexes["time"].is_monotonic_increasing

    def test_says_that_it_is_simulated(self, small: xr.DataArray) -> None:
        for name in ("title", "long_name", "source"):
            assert "simulated" in small.attrs[name].lower()

    def test_crs_and_transform(self, small: xr.DataArray) -> None:
        geobox = small.odc.geobox
        assert geobox.shape == (37, 45)
        assert geobox.crs.epsg == small.rio.crs.to_epsg() == 32631
        assert tuple(geobox.transform)[:6] == (10, 0, LEFT, 0, -10, TOP)
        assert tuple(small.rio.transform())[:6] == (10, 0, LEFT, 0, -10, TOP)
        assert small.rio.nodata == small.attrs["nodata"] == 0
        assert small.land_cover.rio.crs.to_epsg() == 32631

    @pytest.mark.parametrize("shape", [(1, 1), (1, 3), (2, 1), (5, 4)])
    def test_tiny(self, shape: tuple[int, int]) -> None:
        cube = whole(shape=shape, dates=2)
        assert cube.shape == (2, 10, *shape)
        assert (cube > 0).all()
        assert cube.odc.geobox.shape == shape
        expected = whole(shape=(6, 6), dates=2)[..., : shape[0], : shape[1]]
        np.testing.assert_array_equal(cube, expected)

    def test_other_grid(self) -> None:
        cube = simulated_landscape((3, 4), crs=32733, origin=(500_000, 6_000_000), dates=1)
        assert cube.rio.crs.to_epsg() == 32733
        assert float(cube.x[0]) == 500_005
        assert float(cube.y[0]) == 5_999_995

    def test_class_map(self, year: xr.DataArray) -> None:
        attrs = year.land_cover.attrs
        assert year.land_cover.dtype == np.uint8
        assert attrs["flag_values"].dtype == np.uint8
        assert len(attrs["flag_meanings"].split()) == len(attrs["flag_values"])
        found = set(np.unique(year.land_cover))
        assert found <= set(attrs["flag_values"].tolist())
        assert len(found) >= 16

    def test_parcels(self, year: xr.DataArray) -> None:
        covers, parcels = year.land_cover.values, year.parcel.values
        assert parcels.dtype == np.int32
        assert not parcels[np.isin(covers, [Cover.WATER, Cover.ROAD, Cover.BUILT_UP])].any()
        ids, first, counts = np.unique(parcels, return_index=True, return_counts=True)
        np.testing.assert_array_equal(
            covers[parcels > 0], covers.ravel()[first][np.searchsorted(ids, parcels[parcels > 0])]
        )
        hectares = counts[1:] / 100
        assert 1 < np.median(hectares[hectares > 0.3]) < 6
        large = counts[1:][hectares >= 1].sum() / counts[1:].sum()
        assert large > 0.9

    @pytest.mark.parametrize("kind", ["netcdf", "zarr"])
    def test_survives_files(self, small: xr.DataArray, tmp_path: Path, kind: str) -> None:
        path = tmp_path / f"cube.{kind}"
        if kind == "netcdf":
            small.to_netcdf(path, engine="netcdf4")
        else:
            small.to_zarr(path, consolidated=False)  # of format 3, and without a warning
        options = {"netcdf": {}, "zarr": {"consolidated": False}}[kind]
        with xr.open_dataset(path, decode_coords="all", **options) as data:
            again = data.s2.load()
        np.testing.assert_array_equal(again, small)
        assert again.dtype == np.uint16
        assert again.odc.geobox == small.odc.geobox
        assert again.rio.nodata == 0
        np.testing.assert_array_equal(again.land_cover, small.land_cover)
        meanings = small.land_cover.attrs["flag_meanings"]
        assert again.land_cover.attrs["flag_meanings"] == meanings


class TestOneWorld:
    @settings(
        max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(time=st.integers(1, 6), y=st.integers(13, 40), x=st.integers(13, 50), turn=st.booleans())
    def test_chunks(self, small: xr.DataArray, time: int, y: int, x: int, turn: bool) -> None:
        chunks = {"time": time, "y": y, "x": x} if turn else (y, x)
        lazy = simulated_landscape((37, 45), seed=5, dates=5, chunks=chunks)
        computed = lazy.compute(scheduler="synchronous")
        xr.testing.assert_identical(computed, small)

    @settings(max_examples=8, deadline=None)
    @given(
        top=st.integers(0, 30), left=st.integers(0, 30),
        rows=st.integers(1, 30), cols=st.integers(1, 30),
    )  # fmt: skip
    def test_windows(self, scene: xr.DataArray, top: int, left: int, rows: int, cols: int) -> None:
        options = {"seed": 9, "start": "2020-02-01", "end": "2020-04-30", "dates": 3}
        origin = (LEFT + 10 * left, TOP - 10 * top)
        window = simulated_landscape((rows, cols), origin=origin, **options)
        expected = scene[..., top : top + rows, left : left + cols]
        np.testing.assert_array_equal(window, expected)
        np.testing.assert_array_equal(window.land_cover, expected.land_cover)
        np.testing.assert_array_equal(window.parcel, expected.parcel)

    def test_far_windows_across_villages_and_roads(self) -> None:
        options = {"seed": 3, "dates": 1}
        scene = simulated_landscape((700, 20), **options)
        window = simulated_landscape((90, 20), origin=(LEFT, TOP - 6100), **options)
        np.testing.assert_array_equal(window, scene[..., 610:, :])
        np.testing.assert_array_equal(window.land_cover, scene.land_cover[610:])

    def test_dates_select(self) -> None:
        every = simulated_landscape((8, 8), dates=None, start="2021-06-01", end="2021-08-31")
        some = simulated_landscape((8, 8), dates=7, start="2021-06-01", end="2021-08-31")
        assert some.sizes["time"] == 7
        xr.testing.assert_identical(every.sel(time=some.time), some)

    def test_numpy_tiles_leave_no_seam(self, monkeypatch: pytest.MonkeyPatch) -> None:
        expected = simulated_landscape((40, 33), dates=2)
        monkeypatch.setattr("xr_anysat.datasets.simulated.TILE", 16)
        xr.testing.assert_identical(simulated_landscape((40, 33), dates=2), expected)

    def test_seeds_differ(self) -> None:
        one, other = whole(shape=(64, 64), dates=1), whole(shape=(64, 64), dates=1, seed=1)
        assert (one.land_cover.values != other.land_cover.values).mean() > 0.3
        assert (one.values != other.values).mean() > 0.9

    @pytest.mark.parametrize("seed", [0, 1, 2**31, 2**63 - 1])
    def test_any_seed(self, seed: int) -> None:
        cube = whole(shape=(40, 40), seed=seed, dates=1)
        assert (cube > 0).all()


class TestLaziness:
    def test_builds_without_computing(self) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise AssertionError("computed while the cube was built")

        with dask.config.set(scheduler=refuse):
            cube = simulated_landscape((64, 64), chunks=32, dates=3)
            part = cube.isel(time=0, x=slice(0, 5))
        assert dask.base.is_dask_collection(part)
        assert dask.base.is_dask_collection(cube.coords["land_cover"].data)

    def test_same_call_same_keys(self) -> None:
        def keys(**options: object) -> set[object]:
            cube = simulated_landscape((64, 64), dates=3, **options)
            return set(cube.__dask_graph__())

        assert keys(chunks=32) == keys(chunks=(32, 32))
        assert keys(chunks=32) == keys(chunks=32)
        assert not keys(chunks=32) & keys(chunks=16)
        assert not keys(chunks=32) & keys(chunks=32, seed=1)

    def test_a_part_needs_only_its_blocks(self) -> None:
        cube = simulated_landscape((64, 64), chunks=32, dates=3)
        (part,) = dask.optimize(cube.data[..., :5, 40:50])
        blocks = [k for k in dict(part.__dask_graph__()) if "simulated-landscape" in str(k)]
        assert len(blocks) <= 1

    def test_a_whole_tile_has_a_small_graph(self) -> None:
        cube = simulated_landscape((10980, 10980), chunks={"time": 2, "y": 512, "x": 512}, dates=4)
        assert cube.nbytes > 9e9
        assert cube.data.numblocks == (2, 1, 22, 22)
        assert len(pickle.dumps(cube.data.dask)) < 1_000_000
        corner = cube[2:, :, -3:, -3:].compute(scheduler="synchronous")
        assert corner.shape == (2, 10, 3, 3)

    def test_processes_agree(self, small: xr.DataArray) -> None:
        block = simulated_landscape((37, 45), seed=5, dates=5, chunks=37).data.blocks[0, 0, 0, 0]
        again = pickle.loads(pickle.dumps(block)).compute(scheduler="synchronous")
        np.testing.assert_array_equal(again, small[..., :37])


class TestSeasons:
    def test_winter_crops(self, ndvi: xr.DataArray) -> None:
        for cover in (Cover.WINTER_WHEAT, Cover.WINTER_BARLEY):
            assert median(ndvi, cover, "2021-05-12") > 0.7
            assert median(ndvi, cover, "2021-08-15") < 0.4
        assert median(ndvi, Cover.RAPESEED, "2021-11-15") > 0.5

    def test_summer_crops(self, ndvi: xr.DataArray) -> None:
        for cover in (Cover.MAIZE, Cover.SUGAR_BEET, Cover.SUNFLOWER, Cover.POTATO):
            assert median(ndvi, cover, "2021-04-20") < 0.3
            assert median(ndvi, cover, "2021-07-20") > 0.65
        assert median(ndvi, Cover.SUGAR_BEET, "2021-09-25") > 0.7
        assert median(ndvi, Cover.SUNFLOWER, "2021-09-10") < 0.5

    def test_trees_and_grass(self, ndvi: xr.DataArray) -> None:
        for day in ("2021-01-15", "2021-07-15", "2021-11-30"):
            assert median(ndvi, Cover.CONIFER_FOREST, day) > 0.65
            assert median(ndvi, Cover.GRASSLAND, day) > 0.5
        assert median(ndvi, Cover.BROADLEAF_FOREST, "2021-06-15") > 0.8
        assert median(ndvi, Cover.BROADLEAF_FOREST, "2021-02-01") < 0.6

    def test_what_does_not_grow(self, ndvi: xr.DataArray) -> None:
        for day in ("2021-02-01", "2021-06-15", "2021-10-01"):
            assert median(ndvi, Cover.WATER, day) < 0
            assert median(ndvi, Cover.BUILT_UP, day) < 0.6
            assert median(ndvi, Cover.ROAD, day) < 0.5
            assert median(ndvi, Cover.BARE_SOIL, day) < 0.35

    def test_rapeseed_is_yellow_in_april(self, year: xr.DataArray) -> None:
        flowers = year.where(year.land_cover == Cover.RAPESEED)
        april = flowers.sel(time="2021-04-27", method="nearest").median(("y", "x"))
        assert float(april.sel(band="B03")) > 2 * float(april.sel(band="B02"))
        assert float(april.sel(band="B04")) > 1.8 * float(april.sel(band="B02"))

    def test_magnitudes(self, year: xr.DataArray) -> None:
        low, high = year.quantile([0.001, 0.999], ("time", "y", "x")).values
        assert (low >= 20).all()
        assert (high <= 6000).all()
        middle = year.median(("time", "y", "x"))
        assert 250 < float(middle.sel(band="B02")) < 900
        assert 2000 < float(middle.sel(band="B08")) < 4000

    def test_tables_are_complete(self) -> None:
        assert set(SEASONS) == set(Cover)
        assert len(DEFAULT_GROUND) == len(GREEN) == len(FLOWER) == len(Cover) + 1
        assert len(DRY) == len(KEPT) == len(Ground)
        assert GREEN.shape[1] == FLOWER.shape[1] == DRY.shape[1] == len(BANDS)
        table = seasons()
        assert (table >= 0).all()
        assert (table.sum(axis=-1) <= 1 + 1e-6).all()
        np.testing.assert_allclose(table[..., 0, :], table[..., 365, :])


class TestSensor:
    def test_20_m_bands_are_sampled_at_20_m(self) -> None:
        cube = simulated_landscape((41, 40), dates=8, origin=(LEFT + 10, TOP - 10))
        for band in BANDS:
            # The first whole 20 m cell begins one pixel in.
            value = cube.sel(band=band).values[:, 1:41, 1:39]
            same = (value[:, ::2, ::2] == value[:, 1::2, 1::2]).mean(where=value[:, ::2, ::2] > 0)
            if band in BANDS_20M:
                np.testing.assert_array_equal(value[:, ::2, ::2], value[:, 1::2, 1::2])
                np.testing.assert_array_equal(value[:, ::2, ::2], value[:, ::2, 1::2])
            else:
                assert same < 0.1

    def test_missing_in_all_bands_at_once(self) -> None:
        cube = simulated_landscape((40, 40), dates=None, start="2021-03-01", end="2021-05-31")
        missing = cube.values == cube.attrs["nodata"]
        assert (missing.any(axis=1) == missing.all(axis=1)).all()
        assert 0.3 < missing.mean() < 0.85
        clear = missing[:, 0].mean(axis=(1, 2)) == 0
        assert clear.any()
        assert not clear.all()

    def test_clouds_follow_their_cover(self) -> None:
        cube = simulated_landscape((160, 160), dates=None, start="2021-03-01", end="2021-04-20",
                                   orbit_edges=False).isel(band=[0])  # fmt: skip
        missing = (cube == 0).mean(("band", "y", "x"))
        assert float(xr.corr(missing, cube.cloud_cover)) > 0.8

    def test_orbit_edges(self) -> None:
        cube = simulated_landscape((100, 60), dates=None, clouds=False, end="2021-04-15")
        assert set(cube.relative_orbit.values) == {8, 51}
        missing = (cube.isel(band=0) == 0).mean(("y", "x"))
        assert (missing[cube.relative_orbit.values == 51] == 0).all()
        cut = missing[cube.relative_orbit.values == 8]
        assert 0.1 < float((cut > 0).mean()) < 0.9

    def test_revisit(self) -> None:
        cube = simulated_landscape((1, 1), dates=None, chunks=1)
        assert 130 <= cube.sizes["time"] <= 146
        days = np.diff(cube.time.values.astype("datetime64[D]")).astype(int)
        assert days.min() == 2
        assert np.median(days) in (2, 3)

    def test_noise_is_that_of_the_sensor(self) -> None:
        rows, cols = np.arange(200)[:, None], np.arange(200)
        drawn = normal(hash64(key(1, "test"), rows, cols))
        assert abs(float(drawn.mean())) < 0.02
        assert abs(float(drawn.std()) - 1) < 0.02

    def test_noise_at_points_is_that_of_the_window(self) -> None:
        metres = np.arange(-400.0, 600.0, 10)
        window = smooth_noise(7, metres[:, None], metres[None, :], 130.0)
        y, x = (of.reshape(-1, 1) for of in np.meshgrid(metres, metres, indexing="ij"))
        np.testing.assert_array_equal(smooth_noise(7, y, x, 130.0).reshape(window.shape), window)
        wide = np.arange(0.0, 9000, 10)
        assert 0.6 < float(smooth_noise(7, wide[:, None], wide[None, :], 90.0).std()) < 1.4


class TestOtherSensors:
    """What the land offers a sensor that is not Sentinel-2."""

    def test_the_same_land_at_another_pixel_size(self) -> None:
        metres = np.arange(400.0)
        fine = survey(SEED, metres[:, None] + 0.5, metres[None, :] + 0.5, 1)
        coarse = survey(SEED, metres[5::10, None], metres[None, 5::10], 10)
        same = fine.inner[5::10, 5::10] == coarse.inner
        assert same.mean() > 0.97

    def test_any_response_can_be_measured(self) -> None:
        metres = np.arange(5.0, 400, 10)
        land = survey(SEED, metres[:, None], metres[None, :], 10)
        look = land.view(180, 0.4)
        green = look(lambda surface: surface.green)
        assert green.shape == land.cover.shape
        assert green.std() > 0.1
        constant = look(lambda surface: np.ones(surface.cover.shape, np.float32))
        np.testing.assert_allclose(constant, land.share + (1 - land.share) * land.shade, rtol=1e-5)


class TestErrors:
    @pytest.mark.parametrize(
        "options",
        [
            {"shape": 5},
            {"shape": (0, 4)},
            {"shape": (4, 2.5)},
            {"shape": (4, 4, 4)},
            {"seed": -1},
            {"seed": 2**63},
            {"seed": "a"},
            {"seed": True},
            {"dates": 0},
            {"dates": 1.5},
            {"start": "nonsense"},
            {"start": None},
            {"end": "2020-01-01"},
            {"end": "2021-01-01"},  # no pass on that day
            {"crs": "nonsense"},
            {"crs": "EPSG:4326"},
            {"origin": (3, 0)},
            {"origin": 3},
            {"chunks": {"lon": 3}},
            {"chunks": "many"},
            {"chunks": (3, 4, 5)},
        ],
        ids=str,
    )
    def test_what_an_argument_needs_to_be(self, options: dict[str, object]) -> None:
        with finds("landscape.option", OptionError) as raised:
            simulated_landscape(**{"shape": (4, 4), **options})
        ((name, value),) = options.items()
        given = raised.value.findings[0].data["given"]
        assert (given.name, given.value) == (name, value)
