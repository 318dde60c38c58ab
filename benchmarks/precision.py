"""How far lower precisions are from float32 on a cube: cosine similarity, pixel by pixel.

    python benchmarks/precision.py [CUBE] [--pixels 64] [--size base] [--weights random:0]
                                   [--precisions bfloat16 float16] [--device cpu]

CUBE is a file that xarray opens, of which the north-west corner is embedded, or "simulated".
"""

import argparse
import time
from pathlib import Path

import numpy as np
import xarray as xr

from xr_anysat import Model
from xr_anysat.datasets import simulated_landscape


def cosine(one, other):
    """Cosine similarity along the features, of (feature, ...) arrays."""
    norms = np.linalg.norm(one, axis=0) * np.linalg.norm(other, axis=0)
    return (one * other).sum(axis=0) / norms


def main():
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cube", nargs="?", default="simulated")
    parser.add_argument("--pixels", type=int, default=64)
    parser.add_argument("--size", default="base")
    parser.add_argument("--weights", default="random:0")
    parser.add_argument("--precisions", nargs="+", default=["bfloat16", "float16"])
    parser.add_argument("--device")
    args = parser.parse_args()
    if args.cube == "simulated":
        cube = simulated_landscape((args.pixels, args.pixels), dates=8)
    else:
        cube = xr.open_dataarray(args.cube)
    cube = cube.isel(x=slice(0, args.pixels), y=slice(0, args.pixels)).compute()
    print(f"{Path(args.cube).name} {dict(cube.sizes)}, AnySat {args.size}, {args.weights}")
    print("precision  half      worst     median    seconds")
    exact = None
    for precision in ("float32", *args.precisions):
        model = Model(args.size, weights=args.weights, precision=precision, device=args.device)
        start = time.perf_counter()
        embedding = cube.anysat.embed(model=model, progress=False)
        seconds = time.perf_counter() - start
        if exact is None:
            exact = embedding
            print(f"{precision:9}  {seconds:38.1f}")
            continue
        for half in ("patch", "subpatch"):
            chosen = [each.values[embedding.part.values == half] for each in (exact, embedding)]
            found = cosine(*(values.astype("float64") for values in chosen))
            print(
                f"{precision:9}  {half:8}  {np.nanmin(found):.6f}  {np.nanmedian(found):.6f}"
                f"  {seconds:.1f}"
            )


if __name__ == "__main__":
    main()
