"""Peak memory while a cube of growing size streams to Zarr, beside what `plan()` says.

    python benchmarks/memory.py [--pixels 1024 2048 4096] [--dates 2] [--size tiny] [--threads 2]
                                [--mode grid] [--store DIRECTORY]
                                [--quantize int8] [--reduce N]

Each size runs in a process of its own: a lazy cube of uint16 noise in blocks of 512 x 512 pixels,
with z-scores, written with dask's threaded scheduler into a Zarr store that is deleted afterwards:
by `to_zarr`'s regions with `--quantize` or `--reduce`, else by xarray.
The result of 4096 x 4096 pixels in mode "grid" takes up to 35 GB on the disk.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time

import dask
import dask.array as da
import numpy as np
import pandas as pd
import rioxarray  # noqa: F401  registers `.rio`
import xarray as xr

import xr_anysat
from xr_anysat.sensors.sentinel2 import SENTINEL2


def noise(pixels, dates):
    """Give a lazy cube that costs next to nothing to make."""
    values = da.random.default_rng(0).integers(
        0, 10_000, (dates, 10, pixels, pixels), dtype="uint16", chunks=(-1, -1, 512, 512)
    )
    at = 10 * np.arange(pixels) + 5.0
    coords = {
        "time": pd.date_range("2021-05-01", periods=dates, freq="60D"),
        "band": list(SENTINEL2.band_names),
        "y": 5_000_000 - at,
        "x": 500_000 + at,
    }
    cube = xr.DataArray(values, dims=("time", "band", "y", "x"), coords=coords)
    return cube.rio.write_crs(32631)


def one(args):
    """Stream one cube, and tell the peak of this process."""
    cube = noise(args.pixels[0], args.dates)
    model = xr_anysat.Model(args.size, weights="random:0")
    packing = {"quantize": args.quantize, "reduce": args.reduce}
    plan = cube.anysat.plan(args.mode, model=model, threads=args.threads, **packing)
    with (
        tempfile.TemporaryDirectory(dir=args.store) as store,
        dask.config.set(scheduler="threads", num_workers=args.threads),
    ):
        start = time.perf_counter()
        path = f"{store}/embedding.zarr"
        if any(packing.values()):
            cube.anysat.to_zarr(path, args.mode, model=model, progress=False, **packing)
        else:
            cube.anysat.embed(args.mode, model=model).to_dataset().to_zarr(path)
        seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "peak": peak, "plan": plan.memory, "out": plan.nbytes}))


def main():
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pixels", type=int, nargs="+", default=[1024, 2048, 4096])
    parser.add_argument("--dates", type=int, default=2)
    parser.add_argument("--size", default="tiny")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--mode", default="grid")
    parser.add_argument("--store")
    parser.add_argument("--quantize")
    parser.add_argument("--reduce", type=int)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        return one(args)
    rest = [f"--{n}={getattr(args, n)}" for n in ("dates", "size", "threads", "mode")]
    asked = {n: getattr(args, n) for n in ("store", "quantize", "reduce")}
    rest += [f"--{name}={value}" for name, value in asked.items() if value]
    print("  pixels  result GB  seconds  peak MB  plan MB  peak/plan", flush=True)
    for pixels in args.pixels:
        command = [sys.executable, __file__, "--one", "--pixels", str(pixels), *rest]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        got = json.loads(done.stdout.splitlines()[-1])
        print(
            f"{pixels:8d}  {got['out'] / 1e9:9.2f}  {got['seconds']:7.0f}  {got['peak'] / 1e6:7.0f}"
            f"  {got['plan'] / 1e6:7.0f}  {got['peak'] / got['plan']:9.2f}",
            flush=True,
        )
    return None


if __name__ == "__main__":
    main()
