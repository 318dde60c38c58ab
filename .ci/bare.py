"""Embed without any of the extras, in memory and lazily: what a plain install must do."""

import importlib.util

import xr_anysat
from xr_anysat.datasets import simulated_landscape

cube = simulated_landscape((24, 20), dates=3)
model = xr_anysat.Model("tiny", weights="random:0")
for extra in ("matplotlib", "sklearn", "odc.stac", "geopandas", "bokeh", "distributed"):
    parent = extra.split(".")[0]
    if importlib.util.find_spec(parent) and importlib.util.find_spec(extra):
        raise SystemExit(f"{extra} is installed: this is to run without extras")
for mode in ("grid", "patch", "tile", "pooled"):
    eager = cube.anysat.embed(mode, model=model)
    lazy = cube.chunk(x=10, y=12).anysat.embed(mode, model=model)
    if abs(eager - lazy.compute()).max() > 1e-4:
        raise SystemExit(f"mode {mode}: a chunked cube gives something else")
print(cube.anysat.plan(model=model))  # noqa: T201
