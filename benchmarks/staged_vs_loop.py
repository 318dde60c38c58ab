"""Time of `embed` against a plain loop over tiles of the same network.

    python benchmarks/staged_vs_loop.py [--pixels 192] [--dates 8] [--size base] [--rounds 3]

The loop is what users write today: cut a tile, run the whole network on it (one tile at a time,
dense output), add it to the map with the same weights. Both run in turn in one process, on the
same cube, with the same seeded random weights; the median of the rounds counts. The two maps are
compared, so that nobody times a wrong result.
"""

import argparse
import os
import platform
import statistics
import time
from itertools import product

import numpy as np
import torch

import xr_anysat
from xr_anysat.datasets import simulated_landscape
from xr_anysat.embed import understand_cube
from xr_anysat.inference import _network
from xr_anysat.modelspec import Model
from xr_anysat.normalize import Normalization, normalize, valid_dates
from xr_anysat.tiling import Axis, blend_weights

PATCH = 4
TILE = 64


def tile_loop(cube, model, overlap):
    """Embed tile by tile: (feature, y, x)."""
    array, spec = understand_cube(cube)
    values = array.values
    valid = valid_dates(values, None, spec.nodata)
    stats = np.stack([(values.swapaxes(0, 1)[b][valid]).astype(float) for b in range(10)])
    how = Normalization(
        kind="stats", name="zscore", mean=tuple(stats.mean(1)), std=tuple(stats.std(1))
    )
    ready = torch.from_numpy(normalize(values, valid, how))
    dates = torch.tensor(spec.day_of_year)
    stride = round(TILE // PATCH * (1 - overlap))
    axes = [Axis(pixels=n, patch=PATCH, tile=TILE // PATCH, stride=stride) for n in spec.shape]
    width = model.config.width
    total = np.zeros((*spec.shape, 2 * width), dtype=np.float32)
    weight = np.zeros(spec.shape, dtype=np.float32)
    ramp = blend_weights(TILE // PATCH) if overlap else np.ones(TILE // PATCH, dtype=np.float32)
    with _network(model) as network:
        for row, column in product(range(axes[0].tiles), range(axes[1].tiles)):
            (top, bottom), (left, right) = axes[0].tile_range(row), axes[1].tile_range(column)
            window = (slice(top * PATCH, bottom * PATCH), slice(left * PATCH, right * PATCH))
            out = network(
                ready[None, :, :, *window],
                dates,
                PATCH * spec.gsd,
                gsd=spec.gsd,
                valid=torch.from_numpy(valid[None, :, *window]),
            )
            share = np.outer(ramp[: bottom - top], ramp[: right - left])
            share = share.repeat(PATCH, axis=0).repeat(PATCH, axis=1)
            total[window] += share[..., None] * out["dense"][0].numpy()
            weight[window] += share
    return np.moveaxis(total / weight[..., None], -1, 0)


def timed(function):
    """Seconds and result."""
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def main():
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pixels", type=int, default=192)
    parser.add_argument("--dates", type=int, default=8)
    parser.add_argument("--size", default="base")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    cube = simulated_landscape((args.pixels, args.pixels), dates=args.dates, clouds=False)
    model = Model(args.size, weights="random:0").pinned()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__} with "
        f"{torch.get_num_threads()} threads, xr_anysat {xr_anysat.__version__}"
    )
    print(f"AnySat {args.size}, {args.pixels} x {args.pixels} px, {cube.sizes['time']} dates")
    print("overlap  embed s  (spread)        loop s  (spread)        loop/embed  us/px  deviation")
    warm = cube.isel(x=slice(0, 64), y=slice(0, 64))
    tile_loop(warm, model, 0.0)
    for overlap in (0.0, 0.5):
        ours, theirs = [], []
        for _ in range(args.rounds):
            seconds, embedding = timed(
                lambda: cube.anysat.embed("grid", model=model, overlap=overlap, progress=False)  # noqa: B023
            )
            ours.append(seconds)
            seconds, reference = timed(lambda: tile_loop(cube, model, overlap))  # noqa: B023
            theirs.append(seconds)
        deviation = float(np.nanmax(np.abs(embedding.values - reference)))
        fast, slow = statistics.median(ours), statistics.median(theirs)
        print(
            f"{overlap:7.2f}  {fast:7.2f}  ({min(ours):.2f}-{max(ours):.2f})  "
            f"{slow:11.2f}  ({min(theirs):.2f}-{max(theirs):.2f})  {slow / fast:10.2f}  "
            f"{1e6 * fast / args.pixels**2:7.0f}  {deviation:.1e}"
        )


if __name__ == "__main__":
    main()
