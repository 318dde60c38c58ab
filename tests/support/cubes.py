"""Small cubes with known values, and embeddings of them computed tile by tile by hand."""

from functools import lru_cache

import numpy as np
import pandas as pd
import rioxarray  # noqa: F401  registers `.rio`
import torch
import xarray as xr

import xr_anysat
from xr_anysat.model.network import AnySat
from xr_anysat.weights.files import load_tensors

LABELS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
TINY = xr_anysat.Model("tiny", weights="random:1")
WIDTH = TINY.config.width
WEST, NORTH = 500_000, 5_000_000


def make_cube(
    height=24,
    width=20,
    *,
    dates=3,
    gsd=10,
    dtype="int16",
    crs="EPSG:32631",
    seed=0,
    start="2021-01-05",
    days=70,
):
    """(time, band, y, x), DN of smooth seasons with noise, every band with its own level."""
    rng = np.random.default_rng(seed)
    level = rng.uniform(600, 3000, (10, 1, 1))
    season = rng.uniform(0.5, 1.5, (dates, 10, 1, 1))
    texture = rng.uniform(0.6, 1.4, (1, 10, height, width))
    noise = rng.uniform(0.8, 1.2, (dates, 10, height, width))
    values = np.rint(level * season * texture * noise)
    step = gsd
    cube = xr.DataArray(
        values.astype(dtype),
        dims=("time", "band", "y", "x"),
        coords={
            "time": pd.date_range(start, periods=dates, freq=f"{days}D").astype("datetime64[ns]"),
            "band": list(LABELS),
            "y": NORTH - step * (np.arange(height) + 0.5),
            "x": WEST + step * (np.arange(width) + 0.5),
        },
        name="s2",
    )
    return cube.rio.write_crs(crs)


def punch(cube, share=0.3, seed=0):
    """Floats with random pixel-dates missing, a few pixels and one patch missing altogether."""
    rng = np.random.default_rng(seed)
    there = rng.random((cube.sizes["time"], cube.sizes["y"], cube.sizes["x"])) > share
    there[:, 1:2, 2:3] = False
    there[:, 4:8, 4:8] = False
    return cube.astype("float32").where(xr.DataArray(there, dims=("time", "y", "x")))


def stats_of(cube):
    """Mean and deviation by band with numpy alone, as `band_stats` would give them."""
    dims = [dim for dim in cube.dims if dim != "band"]
    values = cube.astype("float64")
    values = values.where(values.notnull().all("band"))
    return xr.Dataset(
        {"mean": values.mean(dims), "std": values.std(dims)},
    ).assign_coords(band=[label.replace("B0", "B") for label in LABELS])


@lru_cache(maxsize=4)
def network(model=TINY):
    config = model.config
    tensors = load_tensors(model.source, config)
    with torch.device("meta"):
        net = AnySat(config)
    net.load_state_dict(tensors, strict=True, assign=True)
    return net.eval()


def forward(values, valid, day_of_year, patch, gsd, model=TINY):
    """`AnySat.forward` of one window (T, 10, h, w), filled up to whole patches with nothing."""
    height, width = values.shape[2:]
    pad = (-height % patch, -width % patch)
    values = np.pad(values, ((0, 0), (0, 0), (0, pad[0]), (0, pad[1])))
    valid = np.pad(valid, ((0, 0), (0, pad[0]), (0, pad[1])))
    with torch.inference_mode():
        out = network(model)(
            torch.from_numpy(np.where(valid[:, None], values, 0).astype("float32"))[None],
            torch.tensor(day_of_year),
            float(patch * gsd),
            gsd=gsd,
            valid=torch.from_numpy(valid)[None],
        )
    dense = out["dense"][0].numpy()[:height, :width]
    return out["tile"][0].numpy(), out["patch"][0].numpy(), dense


def by_hand(cube, *, patch=4, tile=64, stride=None, gsd=10, model=TINY, mean=None, std=None):
    """Embed (time, band, y, x) tile by tile: the definition, without any of its machinery.

    `patch`, `tile` and `stride` are in pixels.

    Returns
    -------
    dict
        "grid", "patch" and "tile" as (feature, y, x).
    """
    stride = stride or tile
    raw = cube.values.astype("float64")
    valid = np.isfinite(raw).all(axis=1)
    if mean is None:
        stats = stats_of(cube)
        mean, std = stats["mean"].values, stats["std"].values
    values = (raw - np.reshape(mean, (10, 1, 1))) / np.reshape(std, (10, 1, 1))
    day_of_year = np.minimum(cube.time.dt.dayofyear.values - 1, 364)
    height, width = cube.sizes["y"], cube.sizes["x"]
    depth, rows, columns = model.config.width, -(-height // patch), -(-width // patch)
    tops, lefts = _starts(rows * patch, tile, stride), _starts(columns * patch, tile, stride)
    tiles = np.full((len(tops), len(lefts), depth), np.nan)
    total, weight = np.zeros((rows, columns, depth)), np.zeros((rows, columns, 1))
    local = np.full((height, width, depth), np.nan)
    n = tile // patch
    ramp = np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2 if stride < tile else np.ones(n)
    for (i, top), (j, left) in [(a, b) for a in enumerate(tops) for b in enumerate(lefts)]:
        window = (slice(top, top + tile), slice(left, left + tile))
        seen = valid[:, *window]
        if not seen.any():
            continue
        tile_vector, patches, dense = forward(
            values[:, :, *window], seen, day_of_year, patch, gsd, model
        )
        tiles[i, j] = tile_vector
        local[window] = np.where(seen.any(axis=0)[..., None], dense[..., depth:], np.nan)
        for r, c in np.ndindex(*patches.shape[:2]):
            inside = seen[:, r * patch : (r + 1) * patch, c * patch : (c + 1) * patch]
            if inside.any():
                share = ramp[r] * ramp[c]
                total[top // patch + r, left // patch + c] += share * patches[r, c]
                weight[top // patch + r, left // patch + c] += share
    with np.errstate(invalid="ignore"):
        patch_map = total / weight
    context = patch_map.repeat(patch, axis=0).repeat(patch, axis=1)[:height, :width]
    context = np.where(np.isnan(local), np.nan, context)
    maps = {"grid": np.concatenate([context, local], axis=-1), "patch": patch_map, "tile": tiles}
    return {mode: np.moveaxis(map_, -1, 0) for mode, map_ in maps.items()}


def _starts(length, tile, stride):
    """Where tiles begin: from 0 by strides, until the end is covered."""
    starts = [0]
    while starts[-1] + tile < length:
        starts.append(starts[-1] + stride)
    return starts


def largest_gap(a, b):
    """Largest absolute difference, where the same values are missing; infinite otherwise."""
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or not np.array_equal(np.isnan(a), np.isnan(b)):
        return np.inf
    return float(np.nanmax(np.abs(a - b), initial=0))


def assert_same(a, b, atol=2e-5):
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=0, atol=atol)
