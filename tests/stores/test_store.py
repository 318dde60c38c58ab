"""Maps written region by region: complete, with the values of `embed`, whatever fails."""

import errno
import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache

import dask
import numpy as np
import pytest
import xarray as xr
import zarr
from fsspec import register_implementation
from support.cubes import WIDTH, make_cube, punch
from support.findings import finds, warns_of
from support.stores import (
    ALWAYS,
    PROCESSES,
    Fragile,
    Job,
    Reader,
    embed,
    small_regions,
    to_zarr,
)

import xr_anysat
from xr_anysat import (
    AnySatWarning,
    CubeError,
    MissingExtraError,
    OptionError,
    ScaleError,
    StoreError,
    WeightsError,
)
from xr_anysat.graph import lazy
from xr_anysat.layout import chunks as chunking
from xr_anysat.stores import failures, write_regions
from xr_anysat.stores.location import ZarrLocation, open_location
from xr_anysat.stores.manifest import Manifest
from xr_anysat.stores.regions import RegionGrid

CHUNKS = (3, 10, 8, 8)
pytestmark = [
    pytest.mark.usefixtures("small_regions"),
    pytest.mark.filterwarnings("ignore:Sending large graph"),
]


@pytest.fixture(scope="module")
def cube():
    """3 x 3 regions."""
    return make_cube(24, 20)


@pytest.fixture(scope="module")
def small():
    """2 x 2 regions, for what costs much and is no other with more."""
    return make_cube(16, 16, dates=2).chunk(x=8, y=8)


@pytest.fixture(scope="module")
def stats(cube):
    return cube.anysat.band_stats()


@cache
def expected(mode="grid", normalize="stats", **options):
    """What `embed` gives for the cube in chunks of 8 pixels."""
    cube = make_cube(24, 20)
    if normalize == "stats":
        normalize = cube.anysat.band_stats()
    with small_regions():
        return embed(cube.chunk(x=8, y=8), mode, normalize=normalize, **options).compute()


@pytest.fixture
def reader(cube):
    """3 x 3 blocks, each a region."""
    return Reader(cube, CHUNKS)


@pytest.fixture
def encoded(monkeypatch):
    """Count the chunks that are encoded."""
    seen = []
    real = lazy.encode_chunk

    def encode_chunk(*args):
        seen.append(1)
        return real(*args)

    monkeypatch.setattr(lazy, "encode_chunk", encode_chunk)
    return seen


def manifest_of(store):
    manifest = Manifest(location=open_location(store))
    return manifest, RegionGrid.from_json(manifest.job()["map"])


def text_of(caught):
    """All warnings that were caught."""
    return "\n".join(str(each.message) for each in caught)


def assert_is(stored, result):
    """Values, coordinates, CRS and attributes are those of `embed`."""
    result = result.compute()
    xr.testing.assert_equal(stored.compute(), result)
    assert stored.attrs.items() >= result.attrs.items()
    assert stored.name == "embedding"
    assert stored.dtype == result.dtype
    assert stored.rio.crs == result.rio.crs
    assert stored.rio.transform() == result.rio.transform()


# The layout --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("grid", "lazy"),
        ("grid", "in memory"),
        ("grid", "south up"),
        ("patch", "lazy"),
        ("patch", "east left"),
        ("patch", "float16"),
        ("tile", "in memory"),
        ("tile", "south up"),
        ("tile", "east left"),
    ],
)
def test_what_is_stored_is_what_embed_gives(mode, kind, tmp_path):
    cube = punch(make_cube(26, 20))
    if kind == "south up":
        cube = cube.isel(y=slice(None, None, -1))
    if kind == "east left":
        cube = cube.isel(x=slice(None, None, -1))
    if kind != "in memory":
        cube = cube.chunk(x=9, y=10, time=1)
    options = {"dtype": "float16"} if kind == "float16" else {}
    report = to_zarr(cube, tmp_path / "map.zarr", mode, **options)
    assert report.complete
    assert report.failed == ()
    assert report.done == report.written == report.regions >= (1 if kind == "in memory" else 6)
    result = embed(cube, mode, **options).compute()
    opened = xr_anysat.open_embedding(tmp_path / "map.zarr")
    assert_is(opened, result)
    assert opened.attrs["complete"] == 1
    for consolidated in (None, False):
        with xr.open_zarr(tmp_path / "map.zarr", consolidated=consolidated) as dataset:
            plain = dataset["embedding"]
            assert_is(plain[:8], result[:8])
            assert plain.attrs["complete"] == 1
    left = [p.name for p in (tmp_path / "map.zarr").rglob("*") if p.name.endswith(".partial")]
    assert not left


def test_other_formats_take_what_was_opened(cube, stats, tmp_path):
    to_zarr(cube.chunk(x=8), tmp_path / "map.zarr", "tile")
    opened = xr_anysat.open_embedding(tmp_path / "map.zarr")
    np.testing.assert_allclose(opened.attrs["normalization_mean"], stats["mean"], rtol=1e-12)
    assert opened.attrs["normalization"] == "zscore"
    opened.to_netcdf(tmp_path / "map.nc")
    with xr.open_dataarray(tmp_path / "map.nc", decode_coords="all") as again:
        assert again.rio.crs.to_epsg() == 32631
        assert again.attrs["complete"] == 1
    opened.to_dataset().to_zarr(tmp_path / "copy.zarr", consolidated=False)
    xr.testing.assert_equal(xr_anysat.open_embedding(tmp_path / "copy.zarr"), opened)
    opened[:3].rio.to_raster(tmp_path / "map.tif")


def test_a_map_of_one_feature_reads_little(cube, monkeypatch):
    monkeypatch.setattr(chunking, "LONGEST_CHUNK", 1024)
    store = Fragile({})
    to_zarr(cube.chunk(), store)
    array = zarr.open_array(store, path="embedding", mode="r")
    assert array.shards == (WIDTH, 24, 20)
    assert array.chunks == (32, 24, 20)
    assert np.isnan(array.fill_value)
    whole = sum(len(value) for key, value in store.objects.items() if "embedding/c" in key)
    opened = xr_anysat.open_embedding(store)
    assert opened.chunksizes == {"feature": (32,) * (2 * WIDTH // 32), "y": (24,), "x": (20,)}
    opened[5].compute()
    assert opened.data.name == xr_anysat.open_embedding(store).data.name
    store.gets.clear()
    zarr.open_array(store, path="embedding", mode="r")[5]
    read = sum(size for key, size in store.gets if "embedding/c" in key)
    assert read < whole / 12


@pytest.mark.parametrize("overlap", [0, 0.5])
def test_each_chunk_is_read_and_encoded_once(reader, stats, overlap, encoded, tmp_path):
    """Regions are as large as chunks: what embed computes at once is written at once."""
    report = to_zarr(reader.cube, tmp_path / "map.zarr", normalize=stats, overlap=overlap)
    assert set(reader.reads.values()) == {1}
    assert len(reader.reads) == len(encoded) == report.regions == 9
    array = zarr.open_array(tmp_path / "map.zarr/embedding", mode="r")
    assert array.shards == (WIDTH, 8, 8)


def test_waves_give_the_same_map(cube, monkeypatch, tmp_path):
    monkeypatch.setattr(write_regions, "WAVE_TASKS", 50)
    monkeypatch.setattr(failures, "WAVE_TASKS", 50)
    waves = []
    real = write_regions.write_blocks

    def write_blocks(data, writer, regions):
        waves.append(regions)
        return real(data, writer, regions)

    monkeypatch.setattr(write_regions, "write_blocks", write_blocks)
    lazily = cube.chunk(x=8, y=8, time=1)
    to_zarr(lazily, tmp_path / "map.zarr")
    assert len(waves) > 2
    assert sorted(region for wave in waves for region in wave) == list(range(9))
    assert_is(xr_anysat.open_embedding(tmp_path / "map.zarr"), embed(lazily))


def test_a_cube_of_nothing(small, tmp_path):
    nothing = small.astype("float32") * np.nan
    for name, one in (("memory", nothing.compute()), ("lazy", nothing)):
        assert to_zarr(one, tmp_path / name, "patch").complete
        assert np.isnan(xr_anysat.open_embedding(tmp_path / name)).all()


def test_datasets_and_masks(small, tmp_path):
    valid = punch(small.compute()).notnull().all("band")
    dataset = small.to_dataset("band")
    for n, mask in enumerate((valid, valid.chunk(x=5))):
        to_zarr(dataset, tmp_path / f"{n}.zarr", "patch", mask=mask)
        opened = xr_anysat.open_embedding(tmp_path / f"{n}.zarr")
        xr.testing.assert_equal(opened.compute(), embed(dataset, "patch", mask=mask).compute())


def test_resize(cube, tmp_path):
    to_zarr(cube.chunk(x=8), tmp_path / "map.zarr", "patch", input_prep="resize")
    stored = xr_anysat.open_embedding(tmp_path / "map.zarr")
    assert_is(stored, embed(cube.chunk(x=8), "patch", input_prep="resize"))


# Locations ---------------------------------------------------------------------------------------


def locations(tmp_path):
    import fsspec

    yield str(tmp_path / "text.zarr")
    yield f"file://{tmp_path}/url.zarr"
    yield f"memory://{tmp_path.name}/map.zarr"
    yield fsspec.get_mapper(f"memory://{tmp_path.name}/mapper.zarr")
    yield zarr.storage.MemoryStore()
    yield zarr.storage.LocalStore(tmp_path / "local.zarr")
    yield zarr.storage.StorePath(zarr.storage.MemoryStore(), "deep/down")


def test_paths_urls_and_stores(small, tmp_path):
    options = {"mode": "tile", "normalize": "treesatai", "overlap": 0, "tile_size": 8}
    result = embed(small, **options)
    for store in locations(tmp_path):
        first = to_zarr(small, store, **options, regions=[0])
        assert (first.done, first.complete) == (1, False)
        with warns_of("store.incomplete") as caught:
            partial = xr_anysat.open_embedding(store)
        assert "1 of 4 regions (25.0%)" in text_of(caught)
        assert partial.attrs["complete"] == 0
        assert int(partial.notnull().all("feature").sum()) == 1
        report = to_zarr(small, store, **options)
        assert (report.done, report.written) == (4, 3)
        assert_is(xr_anysat.open_embedding(store), result)
        assert report.store in repr(report)


def test_relative_paths(cube, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    to_zarr(cube.chunk(x=8), "map.zarr", "tile")
    assert xr_anysat.open_embedding("map.zarr").attrs["complete"]


@pytest.mark.parametrize(
    ("store", "options", "code"),
    [
        (3, {}, "store.kind"),
        ("map.zarr", {"storage_options": {"anon": True}}, "store.storage-options"),
    ],
)
def test_what_is_no_store(cube, store, options, code):
    with finds(code, OptionError):
        to_zarr(cube.chunk(x=8), store, **options)


@pytest.mark.parametrize(
    ("url", "error", "code", "part"),
    [
        ("cloud://bucket/map.zarr", StoreError, "store.url", "Protocol not known: cloud"),
        ("anysat://map.zarr", MissingExtraError, "store.protocol", "pip install s3fs"),
    ],
)
def test_urls_that_cannot_be_opened(cube, url, error, code, part):
    register_implementation("anysat", "anysat_files.Nowhere", clobber=True, errtxt="Install it")
    for call in (lambda: to_zarr(cube.chunk(x=8), url), lambda: xr_anysat.open_embedding(url)):
        with finds(code, error) as caught:
            call()
        assert url in str(caught.value)
        assert part in str(caught.value)


def test_stores_that_cannot_resume(cube, tmp_path):
    with finds("store.cannot-resume", StoreError):
        to_zarr(cube.chunk(x=8), zarr.storage.ZipStore(tmp_path / "map.zip", mode="w"))
    with finds("store.read-only", StoreError):
        to_zarr(cube.chunk(x=8), zarr.storage.MemoryStore(read_only=True))
    (tmp_path / "file").write_text("")
    with finds("store.unreadable", StoreError):
        to_zarr(cube.chunk(x=8), tmp_path / "file" / "map.zarr")


def test_nothing_to_open(tmp_path):
    with finds("store.no-embedding", StoreError):
        xr_anysat.open_embedding(tmp_path / "none.zarr")
    xr.Dataset({"a": 1}).to_zarr(tmp_path / "other.zarr", consolidated=False, zarr_format=3)
    with finds("store.no-embedding", StoreError):
        xr_anysat.open_embedding(tmp_path / "other.zarr")


def test_modes_and_options_that_do_not_go(cube, tmp_path):
    with finds("store.pooled", OptionError):
        to_zarr(cube, tmp_path / "map.zarr", "pooled")
    with pytest.raises(OptionError, match="on_error="):
        to_zarr(cube, tmp_path / "map.zarr", on_error="ignore")
    with pytest.raises(OptionError, match="retries=-1"):
        to_zarr(cube, tmp_path / "map.zarr", retries=-1)
    with pytest.raises(TypeError, match="tile_sise"):
        to_zarr(cube, tmp_path / "map.zarr", tile_sise=3)
    with finds("regions.outside", OptionError) as caught:
        to_zarr(cube.chunk(x=8, y=8), tmp_path / "map.zarr", regions=[9])
    assert caught.value.findings[0].data["count"] == 9
    with pytest.raises(CubeError):
        to_zarr(cube.isel(band=slice(9)), tmp_path / "map.zarr")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


# Going on ----------------------------------------------------------------------------------------


def test_a_finished_store_is_not_computed_again(reader, stats, encoded, tmp_path, monkeypatch):
    to_zarr(reader.cube, tmp_path / "map.zarr", normalize=stats)
    reader.reads.clear(), encoded.clear()
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "map.zarr").rglob("*") if p.is_file()}
    monkeypatch.setattr(write_regions, "embed_regions", None)
    report = to_zarr(reader.cube, tmp_path / "map.zarr", normalize=stats)
    assert (report.done, report.written) == (9, 0)
    assert not reader.reads
    assert not encoded
    after = {p: p.stat().st_mtime_ns for p in (tmp_path / "map.zarr").rglob("*") if p.is_file()}
    assert after == before


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_an_error_costs_what_was_not_written(reader, stats, scheduler, encoded, tmp_path):
    reader.faults[0, 0, 1, 2] = ALWAYS
    store = tmp_path / "map.zarr"
    with (
        dask.config.set(scheduler=scheduler),
        finds("region.failed", StoreError) as caught,
    ):
        to_zarr(reader.cube, store, normalize=stats, overlap=0)
    assert "2 more tries, with OSError: block (0, 0, 1, 2) cannot be read" in str(caught.value)
    assert reader.reads[0, 0, 1, 2] == 3
    manifest, grid = manifest_of(store)
    done = manifest.done(grid)
    assert 5 not in done
    with warns_of("store.incomplete"):
        partial = xr_anysat.open_embedding(store).compute()
    whole = expected(overlap=0)
    for region in done:
        window = (slice(None), *grid.window(region))
        xr.testing.assert_equal(partial[window], whole[window])
    reader.faults.clear(), reader.reads.clear(), encoded.clear()
    report = to_zarr(reader.cube, store, normalize=stats, overlap=0)
    assert report.written == 9 - len(done) == len(encoded) == sum(reader.reads.values())
    assert_is(xr_anysat.open_embedding(store), whole)


def test_one_of_nine_left(reader, stats, encoded, tmp_path):
    to_zarr(reader.cube, tmp_path / "map.zarr", normalize=stats, regions=slice(8))
    reader.reads.clear(), encoded.clear()
    to_zarr(reader.cube, tmp_path / "map.zarr", normalize=stats)
    assert set(reader.reads) == {(0, 0, i, j) for i in (1, 2) for j in (1, 2)}  # its tiles reach
    assert len(encoded) == 4


def test_interrupts(reader, stats, tmp_path):
    def interrupt(_):
        raise KeyboardInterrupt

    reader.faults[0, 0, 2, 2] = interrupt
    with dask.config.set(scheduler="sync"), pytest.raises(KeyboardInterrupt):
        to_zarr(reader.cube, tmp_path / "map.zarr", normalize=stats, on_error="skip")
    reader.faults.clear()
    report = to_zarr(reader.cube, tmp_path / "map.zarr", normalize=stats)
    assert report.complete
    assert_is(xr_anysat.open_embedding(tmp_path / "map.zarr"), expected())


def differing(cube, stats):
    mask = xr.ones_like(cube.isel(band=0, drop=True), dtype=bool)
    other = make_cube(24, 20, start="2021-02-01").chunk(x=8, y=8)
    moved = make_cube(24, 20, crs="EPSG:32632").chunk(x=8, y=8)
    yield cube, {"tile_size": 32}, r"options.tile_size: 16 in the store, 32 now"
    yield cube, {"overlap": 0}, r"options.overlap: 0.5 in the store, 0.0 now"
    yield cube, {"patch_size": 20}, r"options.patch_size: 40.0 in the store, 20.0 now"
    yield cube, {"dtype": "float16"}, r"options.dtype: 'float32' in the store, 'float16' now"
    yield cube, {"mode": "tile"}, r"options.mode: 'patch' in the store, 'tile' now"
    yield cube, {"normalize": "treesatai"}, r"options.normalize.name: 'zscore' in the store"
    yield cube, {"normalize": stats}, r"options.normalize.name: 'zscore' .* 'band_stats' now"
    yield cube, {"mask": mask}, r"options.mask: None in the store, 'lazy' now"
    yield cube, {"mask": mask.compute()}, r"options.mask: None in the store, 'blake2b:"
    yield cube, {"frames": 1}, r"options.frames: None in the store"
    yield (
        cube,
        {"model": xr_anysat.Model("tiny", weights="random:2")},
        (r"model.weights_digest: 'random:1' in the store, 'random:2' now"),
    )
    yield cube, {"model": xr_anysat.Model("small", weights="random:1")}, r"model.size: 'tiny'"
    yield (
        cube,
        {"model": xr_anysat.Model("tiny", weights="random:1", precision="bfloat16")},
        (r"model.precision: 'float32' in the store, 'bfloat16' now"),
    )
    yield other, {}, r"cube.dates\[0\]: '2021-01-05T00:00:00' in the store, '2021-02-01T00:00:00'"
    yield moved, {}, r"cube.crs: 'EPSG:32631' in the store, 'EPSG:32632' now"
    yield cube.isel(time=slice(2)), {}, r"cube.dates: 3 in the store, 2 now"
    yield cube.isel(y=slice(16)), {}, r"cube.rows: 24 in the store, 16 now"
    yield cube.isel(y=slice(None, None, -1)), {}, r"cube.south_up: False in the store, True now"
    yield cube.assign_coords(x=cube.x + 10), {}, r"cube.transform\[2\]: 500000.0 in the store"
    yield cube.astype("float32"), {}, r"cube.dtype: 'int16' in the store, 'float32' now"
    yield cube.assign_attrs(nodata=0), {}, r"cube.nodata: 0 in the store, 1 now"


def test_another_job_is_refused_by_name(cube, stats):
    lazily = cube.chunk(x=8, y=8)
    store = zarr.storage.MemoryStore()
    to_zarr(lazily, store, "patch", regions=[0])
    before = dict(store._store_dict)
    for other, options, message in differing(lazily, stats):
        with finds("store.other-job", StoreError) as caught:
            to_zarr(other, store, **{"mode": "patch", **options})
        assert re.search(message, caught.value.findings[0].data["differences"])
        assert "overwrite=True" in str(caught.value)
    assert store._store_dict == before
    assert isinstance(caught.value, OSError)
    assert isinstance(caught.value, ValueError)


def test_what_may_differ(cube, stats):
    """Chunks, device, batches: what the numbers do not follow from."""
    store = zarr.storage.MemoryStore()
    to_zarr(cube.chunk(x=8, y=8), store, normalize=stats, regions="1/2")
    model = xr_anysat.Model("tiny", weights="random:1", device="cpu", batch_size=64)
    to_zarr(cube.chunk(x=7, time=1), store, normalize=stats, model=model, regions=[4, 5])
    assert to_zarr(cube, store, normalize=stats).complete
    opened = xr_anysat.open_embedding(store)
    np.testing.assert_allclose(opened, expected(), rtol=0, atol=2e-5)


def test_values_in_memory_are_compared(cube):
    store = zarr.storage.MemoryStore()
    to_zarr(cube, store, "patch")
    assert to_zarr(cube.copy(deep=True), store, "patch").written == 0
    with finds("store.other-job", StoreError) as caught:
        to_zarr(cube + 1, store, "patch")
    assert "cube.values: 'blake2b" in str(caught.value)
    to_zarr((cube + 1).chunk(x=8), store, "patch")  # a lazy cube's are not: as documented


def test_another_version_of_the_package_is_refused(cube, monkeypatch):
    from xr_anysat.stores import manifest

    store = zarr.storage.MemoryStore()
    to_zarr(cube.chunk(x=8), store, "tile")
    monkeypatch.setattr(manifest, "__version__", "0.1.99")
    assert to_zarr(cube.chunk(x=8), store, "tile").complete
    monkeypatch.setattr(manifest, "__version__", "7.2.0")
    with finds("store.other-job", StoreError) as caught:
        to_zarr(cube.chunk(x=8), store, "tile")
    assert re.search("xr_anysat: '.*' in the store, '7.2' now", str(caught.value))


def test_nothing_is_deleted_unasked(cube, tmp_path):
    lazily, store = cube.chunk(x=8), tmp_path / "map.zarr"
    to_zarr(lazily, store, "tile")
    with finds("store.exists", StoreError):
        to_zarr(lazily, store, "tile", resume=False)
    other = tmp_path / "other.zarr"
    xr.Dataset({"a": 1}).to_zarr(other, consolidated=False, zarr_format=3)
    for overwrite in (False, True):
        with finds("store.foreign", StoreError):
            to_zarr(lazily, other, overwrite=overwrite)
    with xr.open_zarr(other, consolidated=False) as dataset:
        assert int(dataset["a"]) == 1
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    for overwrite in (False, True):
        with finds("store.foreign", StoreError) as caught:
            to_zarr(lazily, tmp_path / "home", overwrite=overwrite)
        assert "'letter.txt'" in str(caught.value)
    assert (tmp_path / "home" / "letter.txt").read_text() == "dear"
    with finds("store.overwrite-regions", OptionError):
        to_zarr(lazily, store, "tile", overwrite=True, regions=[0])


@pytest.mark.parametrize("resume", [True, False])
def test_overwriting(small, resume, tmp_path):
    store = tmp_path / "map.zarr"
    to_zarr(small, store, "patch")
    report = to_zarr(small, store, "tile", overwrite=True, resume=resume)
    assert report.written == report.regions
    assert_is(xr_anysat.open_embedding(store), embed(small, "tile"))
    with xr.open_zarr(store, consolidated=False) as dataset:
        assert list(dataset) == ["embedding"]
    new = to_zarr(small, tmp_path / "new.zarr", "tile", overwrite=True, resume=False)
    assert new.complete


def test_the_store_that_the_cube_is_read_from_is_not_deleted(cube, tmp_path):
    numbered = cube.assign_coords(band=range(cube.sizes["band"]))
    numbered.to_dataset(name="cube").to_zarr(tmp_path / "cube.zarr", consolidated=False)
    lazily = xr.open_zarr(tmp_path / "cube.zarr", consolidated=False)["cube"]
    with finds("store.foreign", StoreError):
        to_zarr(
            lazily.assign_coords(band=cube["band"]),
            tmp_path / "cube.zarr",
            "tile",
            overwrite=True,
        )
    np.testing.assert_array_equal(lazily.compute(), cube)


@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_while_deleting(small, step):
    """Wherever it is killed: what is half deleted cannot be opened, nor is it taken for done."""
    lazily = small.isel(x=slice(8))
    options = {"normalize": "treesatai", "overlap": 0, "tile_size": 8}
    objects = {}
    to_zarr(lazily, Fragile(objects), "patch", **options)
    whole = dict(objects)
    before, after = (embed(lazily, mode, **options).compute() for mode in ("patch", "tile"))

    class Dying(Fragile):
        left = 0

        async def delete(self, key):
            if self.left == 0:
                raise OSError("killed")
            Dying.left -= 1
            await super().delete(key)

    for kill in range(0, 1000, step):
        objects = dict(whole)
        Dying.left = kill
        with suppress(StoreError):
            to_zarr(lazily, Dying(objects), "tile", overwrite=True, **options)
            break
        if kill:
            with pytest.raises(StoreError):
                xr_anysat.open_embedding(Fragile(objects))
        again = dict(objects)
        to_zarr(lazily, Fragile(again), "patch", **options)  # as it was, after all
        assert_is(xr_anysat.open_embedding(Fragile(again)), before)
        to_zarr(lazily, Fragile(objects), "tile", overwrite=True, **options)
        assert_is(xr_anysat.open_embedding(Fragile(objects)), after)
    assert 0 <= kill - len(whole) < step
    assert_is(xr_anysat.open_embedding(Fragile(objects)), after)


# Leaving out -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scheduler", "mode"), [("sync", "grid"), ("threads", "patch")])
def test_skipping(reader, stats, mode, scheduler, tmp_path):
    options = {"normalize": stats, "overlap": 0}
    reader.faults[0, 0, 1, 1] = ALWAYS
    store = tmp_path / "map.zarr"
    with (
        dask.config.set(scheduler=scheduler),
        warns_of("regions.failed") as caught,
    ):
        report = to_zarr(reader.cube, store, mode, **options, on_error="skip", retries=1)
    assert "4 of 9 regions" in text_of(caught)
    assert (report.done, report.written, report.complete) == (5, 5, False)
    reach = [one.region for one in report.failed]
    assert reach == [0, 1, 3, 4]  # they share a tile
    assert reader.reads[0, 0, 1, 1] == 4  # tried again at once, and both once more at the end
    manifest, grid = manifest_of(store)
    assert manifest.failed(grid) == list(report.failed)
    entry = json.loads((store / "embedding/progress/failed/1.1.json").read_text())
    assert entry["error"] == "OSError: block (0, 0, 1, 1) cannot be read"
    assert "Traceback" in entry["traceback"]
    assert entry["bounds"] == [500080.0, 4999840.0, 500160.0, 4999920.0]
    with warns_of("store.incomplete") as caught:
        partial = xr_anysat.open_embedding(store).compute()
    assert re.search(r"5 of 9 regions \(55.6%\) .* 4 have failed, first", text_of(caught))
    whole = expected(mode, overlap=0)
    for region in range(9):
        window = (slice(None), *grid.window(region))
        if region in reach:
            assert np.isnan(partial[window]).all()
        else:
            xr.testing.assert_equal(partial[window], whole[window])
    reader.faults.clear()
    report = to_zarr(reader.cube, store, mode, **options, on_error="skip")
    assert (report.done, report.written) == (9, len(reach))
    assert not list((store / "embedding/progress/failed").iterdir())
    assert_is(xr_anysat.open_embedding(store), whole)


ODD = ["._0.0.json", "foo.json", "0.json", "0.0.0.json", "-1.0.json", "0.7.json", "9.0.json"]


def test_odd_files_beside_the_records(reader, stats, tmp_path):
    """Of file managers and the like: they name no region, and so say nothing of any."""
    store = tmp_path / "map.zarr"
    options = {"normalize": stats, "overlap": 0, "tile_size": 8, "on_error": "skip", "retries": 0}
    reader.faults[0, 0, 1, 1] = ALWAYS
    with warns_of("regions.failed"):
        to_zarr(reader.cube, store, **options)
    progress = store / "embedding" / "progress"
    for folder in ("done", "failed"):
        for name in ODD:
            (progress / folder / name).write_bytes(b"\x00\x05\x16")
    manifest, grid = manifest_of(store)
    assert len(grid) == 9
    assert manifest.done(grid) == {0, 1, 2, 3, 5, 6, 7, 8}
    assert [failed.region for failed in manifest.failed(grid)] == [4]
    for torn in ("", "[]", "null", '{"region": 4}', "7"):
        (progress / "failed" / "1.1.json").write_text(torn)
        assert manifest.failed(grid) == []
        with warns_of("store.incomplete") as caught:
            xr_anysat.open_embedding(store)
        assert "8 of 9 regions" in text_of(caught)
    reader.faults.clear()
    assert to_zarr(reader.cube, store, **options).complete
    assert xr_anysat.open_embedding(store).attrs["complete"] == 1


def test_what_another_job_has_completed_meanwhile_stays(reader, stats, tmp_path):
    store = tmp_path / "map.zarr"
    reader.faults[0, 0, 1, 1] = ALWAYS
    options = {"normalize": stats, "overlap": 0, "tile_size": 8}
    with warns_of("regions.failed"):
        report = to_zarr(reader.cube, store, on_error="skip", retries=0, **options)
    whole = to_zarr(reader.intact, store, **options)
    assert whole.written == 1
    manifest, grid = manifest_of(store)
    before = xr_anysat.open_embedding(store).compute()
    write_regions._list_failed(
        report.failed, manifest, grid, set()
    )  # of a job that listed them before
    xr.testing.assert_identical(xr_anysat.open_embedding(store).compute(), before)
    assert manifest.failed(grid) == []
    assert not before.isnull().any()


def test_bounds_of_failed_regions_when_turned(cube, stats):
    turned = cube.isel(y=slice(None, None, -1), x=slice(None, None, -1))
    reader = Reader(turned, CHUNKS)
    reader.faults[0, 0, 0, 0] = ALWAYS
    with pytest.warns(AnySatWarning):
        report = to_zarr(
            reader.cube, zarr.storage.MemoryStore(), normalize=stats, overlap=0, tile_size=4,
            on_error="skip", retries=0,
        )  # fmt: skip
    whole = embed(turned, normalize=stats)
    for one in report.failed:
        xs = whole.x[slice(*one.columns)].values
        ys = whole.y[slice(*one.rows)].values
        assert one.bounds == (xs.min() - 5, ys.min() - 5, xs.max() + 5, ys.max() + 5)


def test_statistics_without_what_cannot_be_read(reader, tmp_path):
    """Of the rest of the cube, said aloud, and kept."""
    reader.faults[0, 0, 0, 0] = ALWAYS
    with finds("statistics.failed", StoreError) as caught:
        to_zarr(reader.cube, tmp_path / "map.zarr", "patch", overlap=0)
    assert "1 of its 9 blocks" in str(caught.value)
    with warns_of("statistics.left-out") as caught:
        report = to_zarr(reader.cube, tmp_path / "map.zarr", "patch", overlap=0, on_error="skip")
    assert "1 of 9 blocks" in text_of(caught)
    assert 0 in [one.region for one in report.failed]
    kept = json.loads((tmp_path / "map.zarr/embedding/progress/statistics.json").read_text())
    assert (kept["left_out"], kept["blocks"]) == ([0], 9)
    rest = reader.values.astype("float64")
    rest[..., :8, :8] = np.nan
    np.testing.assert_allclose(kept["mean"], np.nanmean(rest, axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(kept["std"], np.nanstd(rest, axis=(0, 2, 3)), rtol=1e-12)
    reader.faults.clear(), reader.reads.clear()
    with warns_of("statistics.left-out"):
        again = to_zarr(reader.cube, tmp_path / "map.zarr", "patch", overlap=0)
    assert again.complete
    assert (
        xr_anysat.open_embedding(tmp_path / "map.zarr").attrs["normalization_mean"] == kept["mean"]
    )
    for i, j in np.ndindex(3, 2):
        reader.faults[0, 0, i, j] = ALWAYS
    with finds("statistics.failed", StoreError) as caught:
        to_zarr(reader.cube, tmp_path / "other.zarr", "patch", on_error="skip")
    assert "6 of its 9 blocks" in str(caught.value)


def test_statistics_are_computed_once(reader, tmp_path):
    store = tmp_path / "map.zarr"
    to_zarr(reader.cube, store, regions=[0], overlap=0, tile_size=8)
    assert sum(reader.reads.values()) == 9 + 1
    reader.reads.clear()
    to_zarr(reader.cube, store, regions=[8], overlap=0, tile_size=8)
    assert dict(reader.reads) == {(0, 0, 2, 2): 1}
    to_zarr(reader.cube, store, overlap=0, tile_size=8)
    whole = expected(normalize="zscore", overlap=0, tile_size=8)
    assert_is(xr_anysat.open_embedding(store), whole)


def test_lazy_statistics_given(reader, cube, tmp_path):
    lazily = reader.cube.anysat.band_stats()
    to_zarr(cube.chunk(x=8), tmp_path / "map.zarr", "tile", normalize=lazily)
    assert sum(reader.reads.values()) == 9
    to_zarr(cube.chunk(x=8), tmp_path / "map.zarr", "tile", normalize=lazily)
    assert sum(reader.reads.values()) == 9
    stored = xr_anysat.open_embedding(tmp_path / "map.zarr")
    xr.testing.assert_equal(stored, embed(cube.chunk(x=8), "tile", normalize=lazily).compute())
    reader.faults[0, 0, 0, 0] = ALWAYS
    for on_error in ("raise", "skip"):
        with finds("statistics.failed", StoreError):
            to_zarr(
                cube.chunk(x=8), tmp_path / "b.zarr", "tile", normalize=lazily, on_error=on_error
            )


# Faults ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scheduler", "on_error"), [("sync", "raise"), ("threads", "skip")])
def test_a_passing_fault_costs_a_retry(reader, on_error, scheduler, encoded, tmp_path):
    reader.faults = {(0, 0, 0, 1): 2, (0, 0, 2, 2): 1}
    with dask.config.set(scheduler=scheduler):
        report = to_zarr(reader.cube, tmp_path / "map.zarr", on_error=on_error)
    assert report.complete
    assert sum(reader.reads.values()) == 2 * 9 + 3
    assert len(encoded) == 9
    assert_is(xr_anysat.open_embedding(tmp_path / "map.zarr"), expected(normalize="zscore"))


def test_faults_that_pass_late(reader, stats, tmp_path):
    """Longer than a task's own retries last, but over when the rest is done."""
    reader.faults[0, 0, 0, 1] = 4
    report = to_zarr(
        reader.cube, tmp_path / "map.zarr", normalize=stats, on_error="skip", retries=2
    )
    assert report.complete
    assert report.written == 9
    assert_is(xr_anysat.open_embedding(tmp_path / "map.zarr"), expected())


WRONG = {
    "longer": lambda block: np.pad(block, ((0, 0), (0, 0), (0, 3), (0, 0))),
    "shorter": lambda block: block[..., :-1],
    "one pixel": lambda block: block[..., :1, :1],
    "fewer dates": lambda block: block[:1],
    "fewer bands": lambda block: block[:, :9],
    "no dims": lambda _: np.float32(1),
    "turned": lambda block: block.swapaxes(0, 1),
    "nothing": lambda _: None,
}


@pytest.mark.parametrize(
    ("wrong", "mode"), [(wrong, ("grid", "patch")[n % 2]) for n, wrong in enumerate(WRONG)]
)
def test_wrong_shapes_are_never_written(reader, stats, mode, wrong, tmp_path):
    reader.faults[0, 0, 1, 1] = WRONG[wrong]
    store = tmp_path / "map.zarr"
    for normalize in ("zscore", stats):
        code = "statistics.failed" if isinstance(normalize, str) else "region.failed"
        with finds(code, StoreError) as caught:
            to_zarr(reader.cube, store, mode, normalize=normalize)
        assert "a block of the cube was read with shape" in str(caught.value)
        shutil.rmtree(store)
    with warns_of("regions.failed"):
        report = to_zarr(reader.cube, store, mode, normalize=stats, on_error="skip", retries=0)
    assert 4 in [one.region for one in report.failed]
    with warns_of("store.incomplete"):
        partial = xr_anysat.open_embedding(store).compute()
    done = partial.notnull().all("feature")
    xr.testing.assert_equal(partial, expected(mode).where(done))


def test_wrong_shapes_of_masks(cube, stats, tmp_path):
    mask = xr.ones_like(cube.isel(band=0, drop=True), dtype=bool).chunk(x=8, y=8)
    short = mask.copy(
        data=mask.data.map_blocks(lambda b: b[:, 1:], dtype=bool, meta=mask.data._meta)
    )
    with finds("region.failed", StoreError) as caught:
        to_zarr(cube.chunk(x=8, y=8), tmp_path / "map.zarr", normalize=stats, mask=short)
    assert "read with shape" in str(caught.value)


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_wrong_scale_ends_everything(cube, on_error, tmp_path):
    dark = (cube / 10_000).chunk(x=8)
    with pytest.raises(ScaleError) as caught:
        to_zarr(dark, tmp_path / "map.zarr", normalize="treesatai", on_error=on_error)
    assert caught.value.__notes__[0].startswith("in region ")
    manifest, grid = manifest_of(tmp_path / "map.zarr")
    assert not manifest.failed(grid)


def test_errors_of_the_weights_keep_their_kind(cube, tmp_path):
    path = tmp_path / "stub.safetensors"
    path.write_bytes(b"no weights at all")
    for on_error in ("raise", "skip"):
        with pytest.raises(WeightsError):
            to_zarr(
                cube.chunk(x=8), tmp_path / f"{on_error}.zarr", on_error=on_error, retries=0,
                model=xr_anysat.Model("tiny", weights=path),
            )  # fmt: skip


@pytest.mark.parametrize(
    "share",
    [0.001, 0.1, 0.5, 0.999, *(pytest.param(s, marks=pytest.mark.slow) for s in (0.01, 0.9))],
)
def test_a_full_disk(small, share):
    """Wherever it fills up: no region is recorded that is not complete, and room mends it."""
    options = {"normalize": "treesatai"}
    large = Fragile({})
    to_zarr(small, large, **options)
    room = int(share * sum(map(len, large.objects.values())))
    whole = embed(small, **options).compute()
    objects = {}
    with pytest.raises(StoreError, match="No space left on device"):
        to_zarr(small, Fragile(objects, room=room), **options)
    check_records(objects, whole)
    if any("done" in key for key in objects):
        with warns_of("regions.failed"):
            report = to_zarr(
                small, Fragile(objects, room=room), on_error="skip", retries=0, **options
            )
        assert report.failed
        assert all("No space left" in one.error for one in report.failed)
        check_records(objects, whole)
    assert to_zarr(small, Fragile(objects), **options).complete
    assert_is(xr_anysat.open_embedding(Fragile(objects)), whole)


def check_records(objects, whole):
    """Regions that the store records as done have their values."""
    done = [key for key in objects if "progress/done/" in key]
    if not done:
        return
    manifest, grid = manifest_of(zarr.storage.MemoryStore(objects))
    if manifest.location.read_json("embedding/zarr.json") is None:
        return  # torn while the store was marked as complete: the next call writes it again
    array = zarr.open_array(zarr.storage.MemoryStore(objects), path="embedding", mode="r")
    for region in manifest.done(grid):
        window = (slice(None), *grid.window(region))
        np.testing.assert_array_equal(array[window], whole.values[window])


@pytest.mark.parametrize(
    ("torn", "step"),
    [
        (False, 7),
        (True, 7),
        pytest.param(False, 1, marks=pytest.mark.slow),
        pytest.param(True, 1, marks=pytest.mark.slow),
    ],
)
def test_killed_at_every_write(torn, step):
    """One after the other, each write is the last: of whole objects, or with half of that one."""
    cube = make_cube(12, 16, dates=2).chunk(x=8, y=8)
    options = {"mode": "grid", "tile_size": 8}
    whole = embed(cube, **options).compute()
    undisturbed = Fragile({})
    to_zarr(cube, undisturbed, **options)
    assert undisturbed.writes > 20
    for last in range(1 + torn, undisturbed.writes + 1, step):
        objects = {}
        with pytest.raises(StoreError):
            to_zarr(cube, Fragile(objects, last=last, torn=torn), retries=0, **options)
        check_records(objects, whole)
        to_zarr(cube, Fragile(objects), **options)
        assert_is(xr_anysat.open_embedding(Fragile(objects)), whole)
        written, intended = (
            {k: "done" in k or value.to_bytes() for k, value in one.items()}  # records may be torn
            for one in (objects, undisturbed.objects)
        )
        assert written == intended


def test_another_failing_write(cube, stats, monkeypatch, tmp_path):
    """A transient fault of the store is tried again too."""
    real, failed = ZarrLocation.write, []

    def write(self, name, value):
        if name.startswith("embedding/c/") and len(failed) < 2:
            failed.append(name)
            raise OSError(errno.EIO, "hiccup")
        real(self, name, value)

    monkeypatch.setattr(ZarrLocation, "write", write)
    assert to_zarr(cube.chunk(x=8, y=8), tmp_path / "map.zarr", normalize=stats).complete


# Several at once ---------------------------------------------------------------------------------


def test_shares_of_the_work(cube, stats, tmp_path):
    lazily = cube.chunk(x=8, y=8)
    for number in (3, 1, 4, 2):
        report = to_zarr(lazily, tmp_path / "map.zarr", normalize=stats, regions=f"{number}/4")
        assert report.regions == 9
    assert report.complete
    assert_is(xr_anysat.open_embedding(tmp_path / "map.zarr"), expected())


def test_two_processes_at_once(tmp_path):
    """Begun in the same moment, without a store or statistics."""
    size = {"height": 24, "width": 20, "dates": 3}
    jobs = [Job(tmp_path / "map.zarr", size, regions=share) for share in ("1/2", "2/2")]
    for job in jobs:
        job.start()
    assert sum(job.finish() for job in jobs) == 9
    with small_regions():
        whole = embed(make_cube(**size).chunk(x=8, y=8, time=2))
    assert_is(xr_anysat.open_embedding(tmp_path / "map.zarr"), whole)


def test_the_same_work_twice_at_once(small, tmp_path):
    """Wasteful, and harmless."""
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(to_zarr, small, tmp_path / "map.zarr") for _ in range(2)]
        assert all(job.result().complete for job in jobs)
    assert_is(xr_anysat.open_embedding(tmp_path / "map.zarr"), embed(small))


# Schedulers --------------------------------------------------------------------------------------


def test_schedulers_of_all_kinds(small, tmp_path):
    result = embed(small, normalize="treesatai").compute()
    with ThreadPoolExecutor(2) as pool:
        for n, scheduler in enumerate(["sync", "threads", pool, dask.core.get]):
            with dask.config.set(scheduler=scheduler):
                report = to_zarr(small, tmp_path / f"{n}.zarr", normalize="treesatai")
            assert report.written == 4
            assert_is(xr_anysat.open_embedding(tmp_path / f"{n}.zarr"), result)


def test_processes(cube, stats, tmp_path):
    context = {"multiprocessing.context": PROCESSES}
    lazily = cube.chunk(x=8, y=8)
    with dask.config.set(scheduler="processes", num_workers=2, **context):
        assert to_zarr(lazily, tmp_path / "map.zarr", normalize=stats).complete
        with finds("store.not-shared", StoreError):
            to_zarr(lazily, zarr.storage.MemoryStore(), normalize=stats)
    assert_is(xr_anysat.open_embedding(tmp_path / "map.zarr"), expected())


@pytest.fixture(scope="module")
def client():
    import distributed

    with (
        distributed.LocalCluster(
            processes=False, n_workers=1, threads_per_worker=2, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def test_distributed(client, reader, tmp_path):
    report = to_zarr(reader.cube, tmp_path / "map.zarr")
    assert report.written == 9
    assert sum(reader.reads.values()) == 18
    assert_is(xr_anysat.open_embedding(tmp_path / "map.zarr"), expected(normalize="zscore"))


def test_distributed_faults_that_pass(client, reader, stats, tmp_path):
    reader.faults = {(0, 0, 0, 1): 2, (0, 0, 2, 2): 1}
    assert to_zarr(reader.cube, tmp_path / "map.zarr", normalize=stats).complete
    assert sum(reader.reads.values()) == 9 + 3
    reader.faults = {(0, 0, 0, 1): 4}
    report = to_zarr(reader.cube, tmp_path / "b.zarr", normalize=stats, on_error="skip")
    assert report.complete
    for name in ("map", "b"):
        assert_is(xr_anysat.open_embedding(tmp_path / f"{name}.zarr"), expected())


@pytest.mark.slow
def test_distributed_faults_that_stay(client, reader, stats, tmp_path):
    store = tmp_path / "map.zarr"
    reader.faults[0, 0, 1, 1] = ALWAYS
    with finds("region.failed", StoreError) as caught:
        to_zarr(reader.cube, store, normalize=stats, retries=1)
    assert "block (0, 0, 1, 1) cannot be read" in str(caught.value)
    with warns_of("regions.failed"):
        report = to_zarr(reader.cube, store, normalize=stats, on_error="skip", retries=1)
    failed = {one.region for one in report.failed}
    assert 4 in failed
    with warns_of("store.incomplete"):
        partial = xr_anysat.open_embedding(store).compute()
    _, grid = manifest_of(store)
    for region in failed:
        assert np.isnan(partial[(slice(None), *grid.window(region))]).all()
    reader.faults.clear()
    assert to_zarr(reader.cube, store, normalize=stats).complete
    assert_is(xr_anysat.open_embedding(store), expected())


def test_cubes_in_memory_do_not_go_to_a_cluster(client, cube, tmp_path):
    assert to_zarr(cube, tmp_path / "map.zarr").complete
    assert_is(xr_anysat.open_embedding(tmp_path / "map.zarr"), embed(cube))


# Progress ----------------------------------------------------------------------------------------


def test_progress(small, tmp_path, capsys):
    to_zarr(small, tmp_path / "quiet.zarr", "patch")
    assert capsys.readouterr() == ("", "")
    to_zarr(small, tmp_path / "map.zarr", "patch", progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) <= 4  # a log: first and last of each pass, and one a minute
    assert any("statistics: 100%" in line and "4/4" in line for line in lines)
    assert any("embedding: 100%" in line and "region/s" in line for line in lines)
    with xr_anysat.set_options(progress=True):
        to_zarr(small, tmp_path / "part.zarr", "patch", regions=[0])
        to_zarr(small, tmp_path / "part.zarr", "patch")
    assert "1/4" in capsys.readouterr().err
