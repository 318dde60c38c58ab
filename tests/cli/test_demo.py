"""Demo and command line, through real files and a real process."""

import os
import subprocess
import sys

import numpy as np
import pytest
import rioxarray  # noqa: F401
import xarray as xr
from typer.testing import CliRunner

from xr_anysat.cli.app import app
from xr_anysat.cli.demo import run_demo
from xr_anysat.datasets import simulated_landscape

NO_NETWORK = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


def test_demo_as_a_process(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "XR_ANYSAT_WEIGHTS"}
    done = subprocess.run(
        [sys.executable, "-m", "xr_anysat", "demo", "--pixels", "30", "--size", "tiny"],
        cwd=tmp_path,
        env=environment | NO_NETWORK,
        capture_output=True,
        text=True,
        check=True,
    )
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
    cube = simulated_landscape((20, 24), dates=3, seed=4)
    cube.to_netcdf(tmp_path / "cube.nc", engine="netcdf4")
    said = []
    for _ in range(2):
        report = run_demo(tmp_path / "out", cube=tmp_path / "cube.nc", size="tiny", say=said.append)
    assert said[0] == "cube: cube.nc"
    expected = cube.anysat.embed("grid", model=report_model(), progress=False)
    stored = xr.open_zarr(report.store, consolidated=False)["embedding"]
    np.testing.assert_allclose(stored.values, expected.values, atol=1e-5)


def report_model():
    from xr_anysat import Model

    return Model("tiny", weights="random:0")


@pytest.mark.usefixtures("offline")
def test_without_published_weights_the_base_size_says_so(tmp_path):
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
    assert "the cube has" in result.stderr
    assert "error:" in result.stderr
    (tmp_path / "text.nc").write_text("no NetCDF at all")
    result = CliRunner().invoke(app, ["demo", "--cube", str(tmp_path / "text.nc")])
    assert result.exit_code == 2
    assert "cannot be opened" in result.stderr
    result = CliRunner().invoke(app, ["demo", "--size", "huge", "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "unknown model size" in result.stderr


@pytest.mark.usefixtures("offline")
def test_work_that_fails_has_another_status():
    result = CliRunner().invoke(app, ["weights", "fetch"])
    assert result.exit_code == 1
    assert "XR_ANYSAT_WEIGHTS" in result.stderr


def test_version():
    import xr_anysat

    result = CliRunner().invoke(app, ["--version"])
    assert result.output.strip() == xr_anysat.__version__
