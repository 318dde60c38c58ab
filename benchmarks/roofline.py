"""How near `embed` comes to the machine's matrix products.

    python benchmarks/roofline.py [--cases abcdef] [--pixels 192] [--dates 8]
        [--size base] [--rounds 3] [--loop-rounds 3] [--device cpu] [--precision float32]

The limit is the time of the multiply-adds that the embedding needs at the least
(`report.multiply_adds`, counted from the cube's valid pixel-dates, patches and tiles), at the rate
that this machine, in this run, gives on a matrix product of each shape that occurs. Beside
`embed(...)`, end to end from a cube in memory, a plain loop over tiles of the same network: eager,
one tile at a time. Limit, embedding and loop take turns; the medians count.

Cases: (a) default tiles, overlap 0.5; (b) overlap 0; (c) patches of 10 m, tiles of 24 pixels,
overlap 0; (d) as (a) with 40 % of the pixel-dates missing at random; (e) mode "patch"; (f) mode
"tile".
"""

import argparse
import os
import platform
import statistics
import sys
import time
from collections import Counter
from functools import partial
from itertools import product

import numpy as np
import torch

import xr_anysat
from xr_anysat.compute.engine import resolved_device, resolved_precision
from xr_anysat.datasets import simulated_landscape
from xr_anysat.job.model import Model
from xr_anysat.layout.patches import PatchAxis
from xr_anysat.report import multiply_adds as cost

if __package__:
    from .tile_loop import tile_loop
else:
    from tile_loop import tile_loop

CASES = {
    "a": {"mode": "grid"},
    "b": {"mode": "grid", "overlap": 0.0},
    "c": {"mode": "grid", "overlap": 0.0, "patch_size": 10, "tile_size": 24},
    "d": {"mode": "grid", "missing": 0.4},
    "e": {"mode": "patch"},
    "f": {"mode": "tile"},
}

ROWS = 2048
"""Rows of a measured product; those that occur have at least as many."""


def find_products(config, valid, mode="grid", overlap=0.5, patch_size=40, tile_size=64):
    """Products of an embedding by stage, counted from the pixel-dates that are valid (T, y, x)."""
    patch = round(patch_size / 10)
    stride = round(tile_size // patch * (1 - overlap))
    axes = [
        PatchAxis(patches=-(-n // patch), tile=tile_size // patch, stride=stride)
        for n in valid.shape[1:]
    ]
    seen = valid.any(axis=0)
    pad = [(0, -n % patch) for n in seen.shape]
    cells = np.pad(seen, pad).reshape(axes[0].patches, patch, axes[1].patches, patch)
    patches = cells.any(axis=(1, 3))
    sizes = Counter(
        int(patches[slice(*axes[0].tile_range(i)), slice(*axes[1].tile_range(j))].sum())
        for i, j in product(range(axes[0].tiles), range(axes[1].tiles))
    )
    return {
        "temporal": cost.temporal_products(config, 10, int(valid.sum()), int(seen.sum())),
        "spatial": cost.spatial_products(
            config, int(patches.sum()), patch**2, last_block=mode == "grid"
        ),
        "tile": [
            p
            for size, tiles in sizes.items()
            if size
            for p in cost.tile_products(config, tiles, size, all_patches=mode != "tile")
        ],
    }


class Machine:
    """Rates of matrix products, measured again and again, each shape's median kept."""

    def __init__(self, device, precision, budget=0.15):
        self.device = device
        self.dtype = getattr(torch, precision)
        self.seconds = {}
        self.budget = budget

    def shape(self, p):
        """Give the shape that stands for a product's: the same but for its many rows."""
        if p.batch == 1:
            return (1, min(p.rows, ROWS), p.inner, p.columns)
        return (
            min(p.batch, max(1, ROWS * 12 // max(p.rows, p.columns))),
            p.rows,
            p.inner,
            p.columns,
        )

    def measure(self, products):
        """Time each shape for a moment."""
        for shape in sorted({self.shape(p) for p in products}):
            batch, rows, inner, columns = shape
            left = torch.randn(batch, rows, inner, device=self.device, dtype=self.dtype)
            right = torch.randn(batch, columns, inner, device=self.device, dtype=self.dtype)
            run = partial(torch.bmm, left, right.transpose(1, 2))
            if batch == 1:
                run = partial(torch.mm, left[0], right[0].T)
            run()
            once, _ = self.timed(run)
            repeats = max(1, min(1000, int(0.01 / once)))
            start = time.perf_counter()
            while time.perf_counter() - start < self.budget:
                self.seconds.setdefault(shape, []).append(self.timed(run, repeats)[0] / repeats)

    def timed(self, run, repeats=1):
        """Seconds of some runs and the last result, the device's queue empty before and after."""
        self.wait()
        start = time.perf_counter()
        for _ in range(repeats):
            result = run()
        self.wait()
        return time.perf_counter() - start, result

    def wait(self):
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def rate(self, p):
        """Multiply-adds a second of a product's shape."""
        shape = self.shape(p)
        return np.prod(shape, dtype=float) / statistics.median(self.seconds[shape])

    def limit(self, products):
        """Seconds that products take at these rates."""
        return sum(p.multiply_adds / self.rate(p) for p in products)


def spread(values):
    """Median, with the smallest and the largest."""
    return f"{statistics.median(values):8.2f} ({min(values):.2f}-{max(values):.2f})"


def main():
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", default="abcdef")
    parser.add_argument("--pixels", type=int, default=192)
    parser.add_argument("--dates", type=int, default=8)
    parser.add_argument("--size", default="base")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--budget", type=float, default=0.15, help="seconds to time a product")
    parser.add_argument("--device")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--loop-rounds", type=int, help="fewer of them for the loop over tiles")
    args = parser.parse_args()
    model = Model(
        args.size, weights="random:0", device=args.device, precision=args.precision
    ).pinned()
    device = resolved_device(model)
    machine = Machine(device, resolved_precision(model, device), args.budget)
    plain = Model(args.size, weights="random:0", device=args.device).pinned()
    loops = args.rounds if args.loop_rounds is None else args.loop_rounds
    whole = simulated_landscape((args.pixels, args.pixels), dates=args.dates, clouds=False)
    whole = whole.compute()
    gone = np.random.default_rng(0).random((whole.sizes["time"], *whole.shape[2:])) < 0.4
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, {machine.device}, torch "
        f"{torch.__version__} with {torch.get_num_threads()} threads, {args.precision} as "
        f"{machine.dtype}, xr_anysat {xr_anysat.__version__}"
    )
    print(f"AnySat {args.size}, {args.pixels} x {args.pixels} px, {whole.sizes['time']} dates")
    warm = whole.isel(x=slice(0, 64), y=slice(0, 64))
    warm.anysat.embed(model=model, progress=False)
    for letter in args.cases:
        options = dict(CASES[letter])
        cube = whole
        if options.pop("missing", None):
            cube = whole.where(~whole[:, 0].copy(data=gone))
        valid = np.isfinite(cube.values).all(axis=1)
        stages = find_products(model.config, valid, **options)
        everything = [p for products in stages.values() for p in products]
        ours, theirs = [], []
        for number in range(args.rounds):
            machine.measure(everything)
            seconds, embedding = machine.timed(
                lambda: cube.anysat.embed(model=model, progress=False, **options)  # noqa: B023
            )
            ours.append(seconds)
            machine.measure(everything)
            if number < loops:
                seconds, reference = machine.timed(lambda: tile_loop(cube, plain, **options))  # noqa: B023
                theirs.append(seconds)
        limit = machine.limit(everything)
        work = cost.total(everything)
        shares = " ".join(f"{k} {cost.total(v) / work:.0%}" for k, v in stages.items())
        print(
            f"{letter:9} {work / 1e12:6.3f} T multiply-adds ({shares})\n"
            f"          limit {limit:7.2f} s at {work / limit / 1e9:.0f} G/s; "
            f"embed {spread(ours)} s = {statistics.median(ours) / limit:.2f} x limit"
        )
        if theirs:
            deviation = float(np.nanmax(np.abs(embedding.values - reference)))
            print(
                f"          loop {spread(theirs)} s = {statistics.median(theirs) / limit:.2f} x "
                f"limit; largest difference {deviation:.1e}"
            )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
