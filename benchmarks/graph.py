"""What it takes to build graphs of large cubes, before anything is read or computed.

    python benchmarks/graph.py [--pixels 2500 5000 10000] [--dates 30] [--blocks 512 1024]
                               [--size base] [--mode grid] [--jobs 64]
                               [--apart]

For each size of a square cube of zeros, and each size of its blocks, in a process of its own each:

- `embed`: the graph of the whole embedding, as `cube.anysat.embed()` gives it;
- `to_zarr`: what the first wave of one of so many jobs hands to the scheduler, as
  `cube.anysat.to_zarr(store, regions="1/64")` does, the store's layout included.

Tasks of the source count, even where dask has not spelt them out yet. Memory is the peak of the
process, imports included. `--apart` has the source in one block for each date and band.
"""

import argparse
import json
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from unittest import mock

import dask.array as da
import numpy as np
import pandas as pd
import rioxarray  # noqa: F401  registers `.rio`
import xarray as xr

import xr_anysat
from xr_anysat.sensors.sentinel2 import SENTINEL2
from xr_anysat.stores import write_regions

NORMALIZE = "treesatai"
"""Fixed: to_zarr would compute other statistics first."""


def zeros(pixels, dates, block, apart):
    """Give a lazy cube of nothing."""
    chunks = (1, 1) if apart else (-1, -1)
    values = da.zeros((dates, 10, pixels, pixels), dtype="uint16", chunks=(*chunks, block, block))
    at = 10 * np.arange(pixels) + 5.0
    coords = {
        "time": pd.date_range("2021-01-01", periods=dates, freq="12D"),
        "band": list(SENTINEL2.band_names),
        "y": 5_000_000 - at,
        "x": 500_000 + at,
    }
    cube = xr.DataArray(values, dims=("time", "band", "y", "x"), coords=coords)
    return cube.rio.write_crs(32631)


def whole(cube, args, model):
    """Build the lazy embedding."""
    start = time.perf_counter()
    result = cube.anysat.embed(args.mode, model=model, normalize=NORMALIZE)
    seconds = time.perf_counter() - start
    chunks = result.data.numblocks[1] * result.data.numblocks[2]
    return chunks, result.data.dask, seconds


class Enough(Exception):
    """The first wave has been built."""


def one_job(cube, args, model):
    """Build the first wave of a job, up to where its tasks would run."""
    built = []

    def run(results, *_, **__):
        keys = list(results.__dask_keys__())
        built.append((len(results), results.__dask_optimize__(results.dask, keys)))
        raise Enough

    start = time.perf_counter()
    stopped = mock.patch.object(write_regions, "run", run), suppress(Enough)
    with tempfile.TemporaryDirectory() as folder, stopped[0], stopped[1]:
        cube.anysat.to_zarr(
            f"{folder}/map.zarr", args.mode, regions=f"1/{args.jobs}", model=model,
            normalize=NORMALIZE, progress=False,
        )  # fmt: skip
    return *built[0], time.perf_counter() - start


def one(args):
    """Build one graph, and tell what it took."""
    cube = zeros(args.pixels[0], args.dates, args.blocks[0], args.apart)
    model = xr_anysat.Model(args.size, weights="random:0")
    build = {"embed": whole, "to_zarr": one_job}[args.one]
    chunks, graph, seconds = build(cube, args, model)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    size = len(pickle.dumps(graph))
    found = {"chunks": chunks, "tasks": len(graph), "seconds": seconds, "bytes": size}
    print(json.dumps(found | {"peak": peak}))


def main():
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pixels", type=int, nargs="+", default=[2500, 5000, 10_000])
    parser.add_argument("--dates", type=int, default=30)
    parser.add_argument("--blocks", type=int, nargs="+", default=[512, 1024])
    parser.add_argument("--size", default="base")
    parser.add_argument("--mode", default="grid")
    parser.add_argument("--jobs", type=int, default=64)
    parser.add_argument("--apart", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        return one(args)
    rest = [f"--{n}={getattr(args, n)}" for n in ("dates", "size", "mode", "jobs")]
    rest += ["--apart"] if args.apart else []
    names = "what     pixels  block  chunks    tasks  a chunk  seconds  pickled MB  peak MB"
    print(names, flush=True)
    for what in ("embed", "to_zarr"):
        for pixels in args.pixels:
            for block in args.blocks:
                command = [sys.executable, __file__, f"--one={what}", f"--pixels={pixels}"]
                command += [f"--blocks={block}", *rest]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                got = json.loads(done.stdout.splitlines()[-1])
                print(
                    f"{what:8s}{pixels:7d}{block:7d}{got['chunks']:8d}{got['tasks']:9d}"
                    f"{got['tasks'] / got['chunks']:9.2f}{got['seconds']:9.1f}"
                    f"{got['bytes'] / 1e6:12.1f}{got['peak'] / 1e6:9.0f}",
                    flush=True,
                )
    return None


if __name__ == "__main__":
    main()
