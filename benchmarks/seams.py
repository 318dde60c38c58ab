"""Seams of a map of patch embeddings: differences across tile borders over those inside tiles.

    python benchmarks/seams.py CUBE [--size base] [--weights random:0] [--picture OUT.png]

The ratio of the mean absolute difference of neighbouring patches on the two sides of a tile border
to that of neighbouring patches without a border between them; 1 means no seam. CUBE is a file that
xarray opens, or "simulated".
"""

import argparse
from pathlib import Path

import numpy as np
import xarray as xr

from xr_anysat.datasets import simulated_landscape
from xr_anysat.job.model import Model
from xr_anysat.pictures.plot import pca_rgb

PATCHES_OF_A_TILE = 16


def seam_ratio(patches, overlap):
    """Ratio for a (feature, y, x) map of the default tiles."""
    stride = round(PATCHES_OF_A_TILE * (1 - overlap))
    across, inside = [], []
    for axis in (1, 2):
        steps = np.abs(np.diff(patches, axis=axis))
        border = np.arange(1, steps.shape[axis] + 1) % stride == 0
        across.append(np.compress(border, steps, axis=axis).ravel())
        inside.append(np.compress(~border, steps, axis=axis).ravel())
    return float(np.nanmean(np.concatenate(across)) / np.nanmean(np.concatenate(inside)))


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cube")
    parser.add_argument("--size", default="base")
    parser.add_argument("--weights", default="random:0")
    parser.add_argument("--pixels", type=int, default=256, help="of the simulated landscape")
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    if args.cube == "simulated":
        cube = simulated_landscape((args.pixels, args.pixels), dates=8)
    else:
        cube = xr.open_dataarray(args.cube)
    model = Model(args.size, weights=args.weights)
    panels = []
    for overlap in (0.0, 0.5):
        emb = cube.anysat.embed("patch", model=model, overlap=overlap, progress=False)
        print(f"{Path(args.cube).name}  overlap {overlap}: {seam_ratio(emb.values, overlap):.3f}")
        panels.append((f"overlap {overlap}", pca_rgb(emb)))
    if args.picture:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(12, 6), layout="compressed")
        for axis, (title, rgb) in zip(figure.subplots(1, 2), panels, strict=True):
            axis.imshow(np.nan_to_num(rgb.transpose("y", "x", "component").values))
            axis.set_title(title)
        figure.savefig(args.picture)


if __name__ == "__main__":
    main()
