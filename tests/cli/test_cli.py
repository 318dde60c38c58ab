"""The command line through real files, real processes and a real terminal."""

import fcntl
import functools
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from importlib.metadata import entry_points

import dask
import geopandas
import numpy as np
import pytest
import rasterio
import shapely
import xarray as xr
from typer.testing import CliRunner

import xr_anysat
from xr_anysat import CubeError, Model
from xr_anysat.cli.app import app, main
from xr_anysat.cli.files import open_labels
from xr_anysat.datasets import simulated_landscape

MODEL = Model("tiny", weights="random:0")
TINY = ["--size", "tiny", "--weights", "random:0"]


@pytest.fixture(scope="module")
def cube():
    return simulated_landscape((24, 28), dates=3)


@pytest.fixture(scope="module")
def folder(cube, tmp_path_factory):
    """A cube in the formats that people keep cubes in."""
    folder = tmp_path_factory.mktemp("cubes")
    cube.to_netcdf(folder / "cube.nc")
    cube.to_zarr(folder / "cube.zarr", zarr_format=2)
    cube.to_dataset("band").assign(clear=cube.isel(band=0) % 3 > 0).to_netcdf(folder / "bands.nc")
    image = cube.isel(time=0).astype("float32")
    image.attrs["long_name"] = cube.band.values.tolist()
    image.rio.to_raster(folder / "image.tif")
    return folder


@pytest.fixture
def run(folder, monkeypatch):
    monkeypatch.chdir(folder)

    def command(*arguments, status=0, code=None):
        done = CliRunner().invoke(app, list(map(str, arguments)))
        assert done.exit_code == status, done.output
        assert code is None or f"[{code}]" in done.stderr, done.stderr
        return done

    return command


def test_a_map_in_zarr_goes_on_where_it_ended(run, cube, tmp_path):
    target = tmp_path / "map.zarr"
    command = ("embed", "cube.zarr", target, *TINY, "--no-progress")
    assert "1 of 1 region is there, 1 new" in run(*command).stdout
    assert "1 of 1 region is there, 0 new" in run(*command).stdout
    expected = cube.anysat.embed(model=MODEL, progress=False)
    xr.testing.assert_allclose(
        xr_anysat.open_embedding(target).drop_vars("spatial_ref"),
        expected.drop_vars("spatial_ref"),
        atol=2e-5,
    )
    other = run(*command, "--overlap", 0, status=1)
    assert "overlap" in other.stderr
    assert "there, 1 new" in run(*command, "--overlap", 0, "--overwrite").stdout


def test_storage_and_shares(run, tmp_path):
    target = tmp_path / "map.zarr"
    options = ("--quantize", "int8", "--reduce", 4, "--mode", "patch", "--regions", "1/1")
    run("embed", "cube.nc", target, *TINY, *options, "--no-progress")
    stored = xr_anysat.open_embedding(target, decode=False)
    assert stored.dtype == "int8"
    assert stored.sizes["component"] == 4
    refused = run(
        "embed", "cube.nc", tmp_path / "map.nc", *options, status=2, code="output.zarr-only"
    )
    assert "--quantize" in refused.stderr


@pytest.mark.parametrize("source", ["cube.nc", "cube.zarr", "bands.nc"])
def test_sources_alike(run, cube, source, tmp_path):
    method = ["--mode", "patch", "--overlap", "0", "--normalize", "treesatai", "--frames", "2"]
    extra = ["--mask", "clear"] if source == "bands.nc" else []
    done = run("embed", source, tmp_path / "map.nc", *TINY, *method, *extra, "--no-progress")
    assert "{'feature': 256, 'y': 6, 'x': 7} float32" in done.stdout
    mask = cube.isel(band=0, drop=True) % 3 > 0 if extra else None
    expected = cube.anysat.embed(
        "patch", overlap=0, normalize="treesatai", frames=2, mask=mask, model=MODEL, progress=False
    )
    found = xr.load_dataset(tmp_path / "map.nc", decode_coords="all")["embedding"]
    np.testing.assert_allclose(found.values, expected.values, atol=2e-5)
    assert found.rio.crs == expected.rio.crs


def test_a_geotiff_in_and_a_geotiff_out(run, cube, tmp_path):
    target = tmp_path / "map.tif"
    command = ("embed", "image.tif", target, "--mode", "patch", *TINY, "--date", "2021-02-24")
    run(*command)
    one = cube.isel(time=0).assign_coords(time=np.datetime64("2021-02-24"))
    expected = (
        one.astype("float32").where(one != 0).anysat.embed("patch", model=MODEL, progress=False)
    )
    with rasterio.open(target) as file:
        np.testing.assert_allclose(file.read(), expected.values, atol=2e-5)
        assert file.crs.to_epsg() == 32631
        assert file.descriptions[0] == "patch 0000"
    assert "--overwrite" in run(*command, status=2, code="output.exists").stderr
    run(*command, "--overwrite")
    assert sorted(os.listdir(tmp_path)) == ["map.tif"]


def test_bands_by_another_name(run, tmp_path):
    swapped = ("--band", "B2=B03", "--band", "B3=B02")
    found = run("check", "image.tif", "--date", "2021-02-24", *swapped).stdout
    assert "B2 = B03, B3 = B02" in found
    run("check", "image.tif", "--band", "B2", status=2, code="bands.pair")


def test_vectors_of_parcels(run, cube, tmp_path):
    left, top = float(cube.x[0]), float(cube.y[0])
    parcels = geopandas.GeoDataFrame(
        {"crop": ["maize", "wheat"]},
        geometry=[
            shapely.box(left, top - 90, left + 60, top),
            shapely.box(left + 90, top - 150, left + 200, top),
        ],
        crs=cube.rio.crs,
    )
    parcels.to_file(tmp_path / "parcels.gpkg")
    target = tmp_path / "vectors.parquet"
    options = ("--geometry", tmp_path / "parcels.gpkg", "--no-progress", *TINY)
    run("embed", "cube.zarr", target, *options)
    found = geopandas.read_parquet(target)
    expected = cube.anysat.embed("pooled", geometry=parcels, model=MODEL, progress=False)
    np.testing.assert_allclose(np.stack(found["embedding"]), expected.values, atol=2e-5)
    assert found["crop"].tolist() == ["maize", "wheat"]
    run("embed", "cube.zarr", tmp_path / "vectors.nc", *options)
    run("embed", "cube.zarr", tmp_path / "vectors.zarr", *options)
    for name in ("vectors.nc", "vectors.zarr"):
        stored = xr.load_dataset(
            tmp_path / name,
            decode_coords="all",
            **({"consolidated": False, "engine": "zarr"} if name.endswith("zarr") else {}),
        )["embedding"]
        np.testing.assert_allclose(stored.values, expected.values, atol=2e-5)
    run("embed", "cube.zarr", tmp_path / "v.tif", *options, status=2, code="output.kind")
    table = ("embed", "cube.zarr", tmp_path / "v.parquet", *TINY)
    assert "--geometry" in run(*table, status=2, code="output.kind").stderr
    run(*table, "--geometry", tmp_path / "nothing.gpkg", status=2, code="file.unreadable")


def test_statistics_from_a_file(run, cube, tmp_path):
    cube.anysat.band_stats().to_netcdf(tmp_path / "stats.nc")
    target = tmp_path / "map.nc"
    run("embed", "cube.nc", target, "--mode", "tile", *TINY, "--normalize", tmp_path / "stats.nc")
    found = xr.load_dataset(target)["embedding"]
    expected = cube.anysat.embed("tile", model=MODEL, progress=False)
    np.testing.assert_allclose(found.values, expected.values, atol=2e-5)
    missing = run("embed", "cube.nc", target, "--normalize", "no.nc", status=2, code="file.missing")
    assert "no.nc" in missing.stderr


def test_coordinates_cut_in_another_way_than_the_cube(run, folder, tmp_path):
    cube = simulated_landscape((24, 28), dates=3, chunks={"time": 1, "y": 12, "x": 14})
    cube.to_zarr(tmp_path / "all.zarr", consolidated=False)
    bands = cube.assign_coords(
        item_id=("time", np.array(["a", "b", "c"], dtype=object))
    ).to_dataset("band")
    bands.to_zarr(tmp_path / "bands.zarr", consolidated=False)
    for name in ("all.zarr", "bands.zarr"):
        assert "ready to embed" in run("check", tmp_path / name).stdout
        assert "3" in run("plan", tmp_path / name).stdout
        run("embed", tmp_path / name, tmp_path / f"of-{name}", "--mode", "patch", *TINY)
    first, second = (
        xr_anysat.open_embedding(tmp_path / f"of-{n}") for n in ("all.zarr", "bands.zarr")
    )
    np.testing.assert_allclose(first.values, second.values, atol=2e-5)


def test_check_says_what_embed_would(run, folder, cube):
    assert "ready to embed" in run("check", "cube.zarr").stdout
    sampled = run("check", "cube.zarr", "--sample").stdout
    assert len(sampled) > len(run("check", "cube.zarr").stdout)
    cube.isel(band=slice(1, None)).to_netcdf(folder / "nine.nc")
    refused = " ".join(run("check", "nine.nc", status=2).stdout.split())
    with pytest.raises(CubeError) as caught:
        cube.isel(band=slice(1, None)).anysat.embed()
    assert f"[{caught.value.findings[0].code}]" in refused
    assert "--band" in refused


def test_plan_is_the_plan(run, cube):
    found = run("plan", "cube.zarr", "--mode", "patch", "--overlap", "0").stdout
    expected = str(cube.chunk(x=28, y=24).anysat.plan("patch", overlap=0))
    assert found.splitlines()[:2] == expected.splitlines()[:2]


def test_probe(run):
    options = ("--side", 32, "--pixels", 100, *TINY)
    found = run("probe", *options).stdout
    assert "bands: every date" in found
    assert "AnySat tiny, flash layout: context" in found
    assert "weights: random:0 (not pretrained)" in found


@pytest.mark.slow
def test_probe_of_a_cube(run, folder):
    wide = simulated_landscape((64, 64), dates=1)
    wide.to_netcdf(folder / "wide.nc")
    halves = xr.ones_like(wide["land_cover"]) * xr.where(wide.x > float(wide.x.mean()), 2, 1)
    halves = halves.transpose("y", "x").astype("uint8").rio.write_crs(wide.rio.crs)
    halves.rio.to_raster(folder / "halves.tif")
    common = ("probe", "wide.nc", "--pixels", 100, *TINY)
    done = run(*common, "--labels", "halves.tif")
    assert "100 pixels of 2 classes" in done.stdout
    for stage in ("reading bands: 100%", "embedding: 100%", "scoring: 100%"):
        assert stage in done.stderr
    assert "\r" not in done.stderr
    quiet = run(*common, "--labels", "land_cover", "--no-progress")
    assert "AnySat tiny: local" in quiet.stdout
    assert quiet.stderr == ""
    refused = ("probe", "cube.nc", "--labels", "nothing", *TINY)
    assert "--labels nothing" in run(*refused, status=2, code="file.variable").stderr
    run("probe", "--labels", "nothing", *TINY, status=2, code="labels.without-cube")


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (("check", "no.zarr"), "file.missing", "no.zarr"),
        (("check", "text.nc"), "file.unreadable", "text.nc"),
        (("embed", "cube.nc", "map.png"), "output.format", "map.png"),
        (("check", "cube.nc", "--variable", "s3"), "file.variable", "--variable s3: cube.nc"),
        (("check", "cube.nc", "--mask", "clear"), "file.variable", "--mask clear: cube.nc"),
        (("check", "two.nc"), "file.several", "--variable a"),
        (("embed", "cube.nc", "map.nc", "--mode", "grit"), None, "grit"),
    ],
)
def test_wrong_requests(run, cube, folder, arguments, code, part):
    (folder / "text.nc").write_text("no file of this kind")
    xr.Dataset({"a": cube, "b": cube}).to_netcdf(folder / "two.nc")
    assert part in run(*arguments, status=2, code=code).stderr


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (("cube.nc", "--overlap", 1), "--overlap 1.0 "),
        (("cube.nc", "--patch-size", 30), "--tile-size 63"),
        (("cube.nc", "--patch-size", 33), "--patch-size 30"),
        (("cube.nc", "--normalize", "tile_zscore"), "--overlap 0"),
        (("cube.nc", "--band", "B2=blue"), "--band"),
        (("cube.nc", "--date", "2021-02-24"), "--date 2021-04-03 and so on"),
        (("image.tif",), "--date 2021-04-03 and so on"),
        (("cube.nc", "--size", "small", "--weights", "x.bin"), "--weights x.bin "),
    ],
)
def test_errors_name_options(run, arguments, remedy, tmp_path):
    refused = run("embed", *arguments[:1], tmp_path / "map.nc", *TINY, *arguments[1:], status=2)
    assert remedy in refused.stderr
    assert "embed(" not in refused.stderr


def test_checks_and_plans_name_options(run, folder, cube):
    assert not any("--" in text for text in cube.anysat.check(normalize="zscore").advice)
    said = " ".join(run("check", "cube.nc").stdout.split())
    assert "--normalize stats.nc, a file that cube.anysat" in said
    bare = cube.drop_attrs(deep=False).astype("int16")
    bare.to_netcdf(folder / "undeclared.nc")
    said = " ".join(run("check", "undeclared.nc").stdout.split())
    assert "--nodata 0. [missing.undeclared]" in said
    assert "missing, as declared 0" in " ".join(
        run("check", "undeclared.nc", "--nodata", 0).stdout.split()
    )
    bare.to_dataset("band").to_netcdf(folder / "undeclared-bands.nc")
    assert "doubt" not in run("check", "undeclared-bands.nc", "--nodata", 0).stdout


@pytest.mark.parametrize("name", ["date=2021-07-12", "overlap=0", "mask=", "{0} {path} %s"])
def test_names_of_users_are_left_alone(run, cube, tmp_path, name):
    """A path or a band that looks like an argument comes out as it went in."""
    missing = tmp_path / name / "cube.zarr"
    assert f"{missing} " in run("check", missing, status=2, code="file.missing").stderr
    renamed = cube.assign_coords(band=[name, *cube.band.values[1:]])
    with pytest.raises(CubeError) as caught:
        renamed.anysat.embed(model=MODEL)
    assert name in str(caught.value)
    renamed.to_netcdf(tmp_path / "cube.nc")
    assert name in run("embed", tmp_path / "cube.nc", tmp_path / "m.nc", *TINY, status=2).stderr
    assert name in " ".join(run("check", tmp_path / "cube.nc", status=2).stdout.split())
    given = ("--band", f"B2={name}", "--normalize", "reflectance", "--mode", "tile", *TINY)
    run("embed", tmp_path / "cube.nc", tmp_path / f"{name}.nc", *given)
    assert (tmp_path / f"{name}.nc").exists()


def test_what_a_command_lacks_is_told_of_another(run):
    refused = run("demo", "--cube", "image.tif", status=2)
    assert refused.stderr.endswith("`xr-anysat embed` has options for this: --date\n")


def test_a_value_that_is_missing_is_left_out(run, cube, tmp_path):
    options = ("--mode", "patch", *TINY, "--normalize", "none", "--nodata", 0)
    cube.drop_attrs(deep=False).to_netcdf(tmp_path / "undeclared.nc")
    run("embed", tmp_path / "undeclared.nc", tmp_path / "map.nc", *options)
    found = xr.load_dataset(tmp_path / "map.nc")["embedding"]
    expected = cube.anysat.embed("patch", model=MODEL, normalize="none", progress=False)
    np.testing.assert_allclose(found.values, expected.values, atol=2e-5)


@pytest.mark.parametrize("name", ["cube.zarr", "./cube.zarr/", "stats.nc"])
def test_what_is_read_is_not_replaced(run, cube, folder, name):
    cube.anysat.band_stats().to_netcdf(folder / "stats.nc")
    options = ("--mode", "tile", *TINY, "--normalize", "stats.nc", "--overwrite")
    run("embed", "cube.zarr", name, *options, status=2, code="output.is-input")
    assert "ready to embed" in run("check", "cube.zarr").stdout


def test_a_share_that_is_empty_says_so(run, tmp_path):
    target = tmp_path / "map.zarr"
    command = ("embed", "cube.zarr", target, *TINY, "--mode", "patch")
    empty = run(*command, "--regions", "1/8")
    assert "0 of 1 region is there, 0 new" in empty.stdout
    assert "the share that was asked for is empty, since the map has only 1 region" in empty.stdout
    assert empty.stderr == ""  # and no bar of nothing
    assert "is empty" not in run(*command, "--regions", "8/8").stdout
    assert "1 of 1 region is there, 0 new" in run(*command, "--regions", "1/8").stdout


def test_one_is_no_plural(run, cube, folder):
    cube.isel(time=[0]).to_netcdf(folder / "one.nc")
    said = run("check", "one.nc", "--sample").stdout
    assert "in 1 block\n" in said
    assert "up to 1 chunk at work, made of up to 1 block\n" in said
    assert "1 of 1 date, 1 block (" in said
    with dask.config.set(num_workers=1):
        assert "in a worker of 1 thread\n" in run("plan", "one.nc").stdout


def test_advice_is_wrapped(run):
    assert max(map(len, run("plan", "cube.nc").stdout.splitlines())) <= 100


@pytest.mark.usefixtures("offline")
def test_missing_weights_are_told_before_anything_is_written(run, tmp_path):
    refused = run("embed", "cube.nc", tmp_path / "map.zarr", "--no-progress", status=1)
    assert "--weights random" in refused.stderr
    assert not os.listdir(tmp_path)
    wrong = run("embed", "cube.nc", tmp_path / "map.zarr", "--overlap", 2, status=2)
    assert "weights" not in wrong.stderr
    small = run("embed", "cube.nc", tmp_path / "map.zarr", "--size", "small", status=1)
    assert "--size base" in small.stderr


@pytest.mark.parametrize(
    ("arguments", "module", "install"),
    [
        (("embed", "cube.zarr", "map.nc", *TINY), "netCDF4", ("netcdf4", "io")),
        (("probe",), "sklearn", ("scikit-learn", "ml")),
        (
            ("embed", "cube.zarr", "map.nc", "--geometry", "fields.gpkg", *TINY),
            "geopandas",
            ("geopandas", "vector"),
        ),
        (("demo",), "matplotlib.figure", ("matplotlib", "plot")),
    ],
)
def test_packages_that_are_missing(run, monkeypatch, arguments, module, install):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, "h5py", None)
    said = run(*arguments, status=1, code="extra.missing").stderr
    package, extra = install
    assert f"pip install {package}" in said
    assert f'pip install "xr-anysat[{extra}]"' in said
    assert f'pip install -e ".[{extra}]"' in said


def test_netcdf_that_nothing_reads(run, folder, monkeypatch):
    (folder / "other.nc").write_text("no file of this kind")
    monkeypatch.setitem(sys.modules, "netCDF4", None)
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert "other.nc" in run("check", "other.nc", status=1, code="extra.missing").stderr


def test_help_says_what_needs_an_extra(run):
    said = " ".join(run("embed", "--help").stdout.replace("│", " ").split())
    for words in ("needs the extra io", "needs the extra vector", "needs the extra ml"):
        assert words in said
    assert "(extra ml)" in run("probe", "--help").stdout
    assert "needs the extra plot" in " ".join(run("demo", "--help").stdout.split())


def test_groups_are_the_same_for_all_commands(run):
    """What `embed` takes, `check` and `plan` take: they are asked about it."""
    for name in ("check", "plan"):
        said = run(name, "cube.nc", "--patch-size", 20, "--tile-size", 16, "--mode", "patch").stdout
        assert "y: 12, x: 14" in said
    said = run("plan", "cube.nc", "--quantize", "int8", "--reduce", 4).stdout
    assert "(component: 4, y: 24, x: 28) int8" in said


def test_a_crs_that_no_variable_refers_to_is_no_class(cube, folder):
    labels = cube["land_cover"].drop_vars("spatial_ref").drop_attrs()
    labels.encoding = {}
    stray = xr.Dataset({"lulc": labels, "spatial_ref": cube["spatial_ref"].variable})
    stray.to_netcdf(folder / "stray.nc")
    found = open_labels(str(folder / "cube.nc"), str(folder / "stray.nc"))
    np.testing.assert_array_equal(found.values, labels.values)
    assert found.rio.crs == cube.rio.crs


def test_work_that_fails(run, tmp_path):
    missing = run("embed", "cube.nc", tmp_path / "map.nc", "--weights", "gone.pth", status=1)
    assert "gone.pth" in missing.stderr
    assert not os.listdir(tmp_path)
    nowhere = run("embed", "cube.nc", "no-such/map.tif", *TINY, status=1)
    assert "no-such" in nowhere.stderr


@pytest.mark.parametrize("name", ["mine.nc", "mine.zarr"])
def test_what_is_not_deleted(run, tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "thesis.txt").write_text("years of work")
    command = ("embed", "cube.nc", tmp_path / name, "--mode", "pooled", *TINY, "--overwrite")
    run(*command, status=2, code="output.foreign")
    assert os.listdir(tmp_path) == [name]
    assert os.listdir(tmp_path / name) == ["thesis.txt"]


def test_vectors_replace_a_store(run, tmp_path):
    command = ("embed", "cube.nc", tmp_path / "v.zarr", "--mode", "pooled", *TINY, "--no-progress")
    run(*command)
    (tmp_path / "v.zarr" / "left.over").write_text("of the earlier one")
    run(*command, "--overwrite")
    assert os.listdir(tmp_path) == ["v.zarr"]
    assert not (tmp_path / "v.zarr" / "left.over").exists()


def test_half_precision_in_files(run, tmp_path):
    command = ("embed", "cube.nc", tmp_path / "m.nc", "--dtype", "float16", *TINY)
    assert "--dtype float32" in run(*command, status=2, code="output.dtype").stderr
    assert not os.listdir(tmp_path)


def test_warnings_are_said_plainly(run, tmp_path):
    done = run("embed", "cube.nc", tmp_path / "m.nc", "--mode", "tile", *TINY, "--frames", "30")
    assert done.stderr.startswith("warning: ")
    assert "UserWarning" not in done.stderr
    assert ".py" not in done.stderr


def process(*arguments, **options):
    """Start a command that hears Ctrl-C, even where these tests run without: in the background."""
    command = [sys.executable, "-m", "xr_anysat", *map(str, arguments)]
    listen = functools.partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    return subprocess.Popen(command, preexec_fn=listen, **options)


def read_terminal(handle, until=None):
    """Everything that a process says to its terminal, until a word comes or it ends."""
    said = b""
    while until is None or until not in said:
        try:
            part = os.read(handle, 4096)
        except OSError:  # the other end is closed
            return said.decode()
        if not part:
            break
        said += part
    return said.decode()


def test_a_bar_in_a_terminal_ctrl_c_and_lines_in_a_log(run, tmp_path):
    """A process is interrupted in a terminal, and gone on with where output goes to a log."""
    simulated_landscape((128, 128), dates=2).to_netcdf(tmp_path / "big.nc")
    target = tmp_path / "map.zarr"
    command = ("embed", tmp_path / "big.nc", target, *TINY)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    with process(*command, stdin=theirs, stdout=theirs, stderr=theirs) as running:
        os.close(theirs)
        said = read_terminal(ours, b"embedding: ")
        assert target.exists()
        running.send_signal(signal.SIGINT)
        said += read_terminal(ours)
    os.close(ours)
    assert running.returncode in (130, -signal.SIGINT), said  # shells report both as 130
    assert "Traceback" not in said
    assert "\r" in said.replace("\r\n", "\n")  # a bar goes back to the start of its line
    log = run(*command)
    assert xr_anysat.open_embedding(target).attrs["complete"] == 1
    assert "\r" not in log.stderr
    assert "embedding: 100%" in log.stderr
    assert len(log.stderr.splitlines()) < 8


def test_shells_complete_modes():
    (script,) = entry_points(group="console_scripts", name="xr-anysat")
    asked = {
        "_XR_ANYSAT_COMPLETE": "complete_bash",
        "COMP_WORDS": "xr-anysat embed a b --mode ",
        "COMP_CWORD": "5",
    }
    assert script.load() is main
    done = CliRunner().invoke(app, env=asked, prog_name="xr-anysat")
    assert set(done.stdout.split()) == {"grid", "patch", "tile", "pooled"}


def test_every_command_teaches_by_example(run):
    for name in ("embed", "check", "plan", "probe"):
        said = run(name, "--help").stdout
        assert f"xr-anysat {name}" in said
