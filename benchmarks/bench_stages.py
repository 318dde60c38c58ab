"""Time of each stage of an embedding, to compare one revision with another.

    pytest benchmarks/bench_stages.py --benchmark-autosave
    pytest benchmarks/bench_stages.py --benchmark-compare

Every stage runs in the lanes that `embed` uses, on random numbers. Beside the time, the report has
multiply-adds a second (`extra_info` in the saved file).
"""

import numpy as np
import pytest
import torch

from xr_anysat import Model
from xr_anysat.compute.engine import engine_of
from xr_anysat.compute.normalize import band_moments, normalize
from xr_anysat.cube.values import validity_mask
from xr_anysat.datasets import simulated_landscape
from xr_anysat.job.normalization import Normalization
from xr_anysat.report import multiply_adds as cost

DATES = 8

pytestmark = pytest.mark.parametrize("size", ["tiny", "base"])


def in_lanes(benchmark, size, job, products):
    """Time a job in all lanes at once."""
    engine = engine_of(Model(size, weights="random:0").pinned())
    network = engine.network

    def run():
        return list(engine.map(lambda _: job(network), range(engine.lanes)))

    run()
    benchmark.pedantic(run, rounds=5)
    work = engine.lanes * cost.total(products(network.config))
    benchmark.extra_info["multiply_adds"] = work
    if benchmark.stats is not None:
        benchmark.extra_info["G multiply-adds/s"] = work / benchmark.stats["median"] / 1e9


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_temporal(benchmark, size, missing):
    values = torch.randn(960, DATES, 10)
    valid = torch.rand(960, DATES) >= missing
    days = torch.arange(DATES) * 40
    seen = int(valid.sum()), int(valid.any(1).sum())
    in_lanes(
        benchmark,
        size,
        lambda network: network.encode_pixels(values, valid, days, batch=1024),
        lambda config: cost.temporal_products(config, 10, *seen),
    )


@pytest.mark.parametrize("side", [1, 4, 8])
def test_spatial(benchmark, size, side):
    patches = max(1, 1024 // (side**2 + 1))
    width = Model(size).config.width
    pixels = torch.randn(patches, side**2, width)
    in_lanes(
        benchmark,
        size,
        lambda network: network.encode_patches(pixels, (side, side), 10.0),
        lambda config: cost.spatial_products(config, patches, side**2, last_block=True),
    )


@pytest.mark.parametrize("side", [8, 16])
def test_tile(benchmark, size, side):
    tiles = max(1, 1024 // (side**2 + 1))
    tokens = torch.randn(tiles, side, side, Model(size).config.width)
    in_lanes(
        benchmark,
        size,
        lambda network: network.encode_tiles(tokens, 40.0),
        lambda config: cost.tile_products(config, tiles, side**2, all_patches=True),
    )


def test_before_the_network(benchmark, size):
    """Validity, statistics and normalisation of a block: the same for every size."""
    values = np.random.default_rng(0).integers(0, 10_000, (DATES, 10, 256, 256), dtype="uint16")
    how = Normalization(kind="stats", name="", mean=(5000.0,) * 10, std=(2000.0,) * 10)

    def run():
        valid = validity_mask(values, None, (0,))
        band_moments(values, valid)
        return normalize(values, valid, how)

    benchmark.pedantic(run, rounds=3)


@pytest.mark.parametrize("mode", ["grid", "patch", "tile"])
def test_embed(benchmark, size, mode):
    cube = simulated_landscape((64, 64), dates=2, clouds=False).compute()
    model = Model(size, weights="random:0")
    benchmark.pedantic(
        lambda: cube.anysat.embed(mode, model=model, progress=False), rounds=3, warmup_rounds=1
    )
