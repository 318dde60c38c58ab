"""The demo, through real files."""

import os

import numpy as np
import pytest
import rioxarray  # noqa: F401
import xarray as xr
from typer.testing import CliRunner

from xr_anysat import Model
from xr_anysat.cli.app import app
from xr_anysat.cli.demo import find_model, run_demo
from xr_anysat.datasets import simulated_landscape


def test_demo_into_its_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XR_ANYSAT_WEIGHTS", raising=False)
    done = CliRunner().invoke(app, ["demo", "--pixels", "30", "--size", "tiny"])
    assert done.exit_code == 0, done.output
    assert "simulated landscape" in done.stdout
    assert "RANDOM weights" in done.stdout
    assert "wrote demo-output/embedding.zarr" in done.stdout
    stored = xr.open_zarr(tmp_path / "demo-output" / "embedding.zarr", consolidated=False)
    assert stored["embedding"].sizes == {"feature": 512, "y": 30, "x": 30}
    assert stored["embedding"].attrs["weights"] == "random:0 (not pretrained)"
    assert stored.rio.crs.to_epsg() == 32631
    picture = (tmp_path / "demo-output" / "embedding.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert sorted(os.listdir(tmp_path / "demo-output")) == ["embedding.png", "embedding.zarr"]


def test_demo_of_a_file_replaces_an_earlier_one(tmp_path):
    cube = simulated_landscape((12, 16), dates=2, seed=4)
    cube.to_netcdf(tmp_path / "cube.nc", engine="netcdf4")
    said = []
    for _ in range(2):
        report = run_demo(tmp_path / "out", cube=tmp_path / "cube.nc", size="tiny", say=said.append)
    assert said[0] == "cube: cube.nc"
    expected = cube.anysat.embed("grid", model=Model("tiny", weights="random:0"), progress=False)
    stored = xr.open_zarr(report.store, consolidated=False)["embedding"]
    np.testing.assert_allclose(stored.values, expected.values, atol=1e-5)


@pytest.mark.usefixtures("offline")
def test_without_published_weights_the_base_size_is_random_and_says_so():
    lines = []
    assert find_model("base", lines.append) == Model("base", weights="random:0")
    assert "RANDOM weights" in lines[0]
    assert any("xr-anysat weights fetch" in line for line in lines)
    assert max(map(len, lines)) <= 100


@pytest.mark.slow
@pytest.mark.usefixtures("offline")
def test_the_base_size_without_published_weights(tmp_path):
    result = CliRunner().invoke(app, ["demo", "--pixels", "8", "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "AnySat base with RANDOM weights" in result.output
    assert "xr-anysat weights fetch" in result.output
    assert "no fixed meaning" in result.output
    assert max(map(len, result.stdout.splitlines())) <= 100
    assert "no pretrained embedding" in result.output
    stored = xr.open_zarr(tmp_path / "out" / "embedding.zarr", consolidated=False)["embedding"]
    assert stored.attrs["weights"] == "random:0 (not pretrained)"
    assert stored.attrs["model"] == "AnySat base"


def test_a_wrong_cube_is_a_wrong_request(tmp_path):
    xr.Dataset({"a": ("x", [1.0])}).to_netcdf(tmp_path / "no-cube.nc", engine="netcdf4")
    result = CliRunner().invoke(app, ["demo", "--cube", str(tmp_path / "no-cube.nc")])
    assert result.exit_code == 2
    assert "[grid.no-dimensions]" in result.stderr
    (tmp_path / "text.nc").write_text("no NetCDF at all")
    result = CliRunner().invoke(app, ["demo", "--cube", str(tmp_path / "text.nc")])
    assert result.exit_code == 2
    assert "[file.unreadable]" in result.stderr
    result = CliRunner().invoke(app, ["demo", "--size", "huge", "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "huge" in result.stderr


@pytest.mark.usefixtures("offline")
def test_work_that_fails_has_another_status():
    result = CliRunner().invoke(app, ["weights", "fetch"])
    assert result.exit_code == 1
    assert "XR_ANYSAT_WEIGHTS" in result.stderr


def test_version():
    import xr_anysat

    result = CliRunner().invoke(app, ["--version"])
    assert result.output.strip() == xr_anysat.__version__
