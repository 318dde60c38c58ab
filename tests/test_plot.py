"""Pictures, by what they compute."""

import dask.array as da
import numpy as np
import xarray as xr

from xr_anysat.datasets import simulated_landscape
from xr_anysat.plot import pca_rgb, save_comparison, true_colour
from xr_anysat.prepare import understand_cube


def embedding(height=12, width=9, features=20):
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(2, height, width)) * np.array([5, 2])[:, None, None]
    mixing = np.linalg.qr(rng.normal(size=(features, 2)))[0]
    values = np.einsum("fk,kyx->fyx", mixing, factors) + 1e-3 * rng.normal(
        size=(features, height, width)
    )
    values[:, 3, 4] = np.nan
    return factors, xr.DataArray(
        values.astype("float32"),
        dims=("feature", "y", "x"),
        coords={"y": np.arange(height)[::-1] * 10.0, "x": np.arange(width) * 10.0},
    )


def test_components_are_the_factors_behind_an_embedding():
    factors, cube = embedding()
    rgb = pca_rgb(cube, components=2)
    assert rgb.sizes == {"component": 2, "y": 12, "x": 9}
    inside = np.isfinite(rgb[0].values) & (rgb.values > 0).all(0) & (rgb.values < 1).all(0)
    for found, true in zip(rgb.values, factors, strict=True):
        assert abs(np.corrcoef(found[inside], true[inside])[0, 1]) > 0.98
    np.testing.assert_array_equal(np.isnan(rgb[0].values), np.isnan(cube[0].values))
    assert float(rgb.min()) == 0
    assert float(rgb.max()) == 1
    assert rgb["explained"].values[0] > rgb["explained"].values[1] > 0.01


def test_components_of_a_dask_embedding_are_lazy_and_the_same():
    _, cube = embedding()
    lazy = pca_rgb(cube.chunk(y=5, x=4))
    assert isinstance(lazy.data, da.Array)
    np.testing.assert_allclose(lazy.values, pca_rgb(cube).values, atol=1e-5)


def test_true_colour_is_red_green_blue_in_the_cubes_order():
    cube = simulated_landscape((16, 20), dates=3, clouds=False, orbit_edges=False)
    flipped = cube.isel(y=slice(None, None, -1))
    picture, turned = (true_colour(*understand_cube(c)) for c in (cube, flipped))
    np.testing.assert_array_equal(turned.values[:, ::-1], picture.values)
    red = cube.sel(band="B04").median("time").values
    inside = (picture.values[0] > 0) & (picture.values[0] < 1)
    assert np.corrcoef(picture.values[0][inside], red[inside])[0, 1] > 0.999


def test_a_comparison_is_a_picture(tmp_path):
    _, cube = embedding()
    image = true_colour(*understand_cube(simulated_landscape((12, 9), dates=2)))
    save_comparison(tmp_path / "a.png", image, pca_rgb(cube), "a title", "a caption")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
