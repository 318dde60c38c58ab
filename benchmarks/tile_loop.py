"""What users write today: cut a tile, run the whole network on it, put it into the map.

Eager PyTorch, one tile at a time, on the same network with the same weights: the reference of the
other benchmarks, for time and for numbers.
"""

from itertools import product

import numpy as np
import torch

from xr_anysat.compute.engine import engine_of
from xr_anysat.compute.normalize import band_moments, moments_to_stats, normalize
from xr_anysat.compute.tiles import blend_weights
from xr_anysat.cube.canonical import understand
from xr_anysat.cube.values import validity_mask
from xr_anysat.job.normalization import Normalization
from xr_anysat.layout.patches import PatchAxis

OUTPUTS = {"grid": "dense", "patch": "patch", "tile": "tile"}


def tile_loop(cube, model, mode="grid", overlap=0.5, patch_size=40, tile_size=64):
    """Embed a cube in memory with GSD 10 m, z-scored: (feature, y, x)."""
    canonical = understand(cube)
    spec, values = canonical.spec, canonical.values.compute()
    patch = round(patch_size / 10)
    tile = tile_size // patch
    valid = validity_mask(values, None, spec.nodata)
    mean, std = moments_to_stats(band_moments(values, valid))
    how = Normalization(kind="stats", name="zscore", mean=tuple(mean), std=tuple(std))
    ready = torch.from_numpy(normalize(values, valid, how))
    stride = round(tile * (1 - overlap))
    axes = [PatchAxis(patches=-(-n // patch), tile=tile, stride=stride) for n in spec.shape]
    width = model.config.width
    cells = {
        "grid": spec.shape,
        "patch": (axes[0].patches, axes[1].patches),
        "tile": (axes[0].tiles, axes[1].tiles),
    }
    total = np.zeros((*cells[mode], 2 * width if mode == "grid" else width), dtype=np.float32)
    weight = np.zeros(cells[mode], dtype=np.float32)
    ramp = blend_weights(tile) if overlap else np.ones(tile, dtype=np.float32)
    engine = engine_of(model)
    device = engine.device
    with torch.inference_mode():
        dates = torch.tensor(spec.day_of_year, device=device)
        for row, column in product(range(axes[0].tiles), range(axes[1].tiles)):
            patches = axes[0].tile_range(row), axes[1].tile_range(column)
            window = tuple(slice(low * patch, high * patch) for low, high in patches)
            out = engine.network(
                ready[None, :, :, *window].to(device),
                dates,
                patch * spec.gsd,
                gsd=spec.gsd,
                valid=torch.from_numpy(valid[None, :, *window]).to(device),
            )[OUTPUTS[mode]][0]
            share = np.outer(*(ramp[: high - low] for low, high in patches))
            if mode == "tile":
                window, share = (slice(row, row + 1), slice(column, column + 1)), np.ones((1, 1))
            elif mode == "patch":
                window = tuple(slice(*each) for each in patches)
            else:
                share = share.repeat(patch, axis=0).repeat(patch, axis=1)
            total[window] += share[..., None] * out.float().cpu().numpy()
            weight[window] += share
    return np.moveaxis(total / weight[..., None], -1, 0)
