"""The demo: a cube in, a Zarr store and a picture out."""

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import xarray as xr

from xr_anysat.cube.spec import CubeSpec
from xr_anysat.datasets import simulated_landscape
from xr_anysat.embed import embed
from xr_anysat.errors import WeightsError
from xr_anysat.extras import require
from xr_anysat.modelspec import Model
from xr_anysat.pictures.plot import plot
from xr_anysat.prepare import understand_cube
from xr_anysat.weights.files import fetch

from .files import open_cube

__all__ = ["DemoReport", "run_demo"]

RANDOM = "random:0"

DATES = 12
"""Of the simulated landscape: one a month, so that the base size takes a minute on two cores."""

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class DemoReport:
    """What the demo made: paths, and the embedding as stored."""

    store: Path
    picture: Path
    embedding: xr.DataArray


def run_demo(
    out: Path,
    *,
    cube: Path | None = None,
    size: str = "base",
    pixels: int = 128,
    seed: int = 0,
    say: Say = print,
) -> DemoReport:
    """Embed a cube and show it.

    Parameters
    ----------
    out
        Folder for ``embedding.zarr`` and ``embedding.png``; what an earlier demo left is
        replaced.
    cube
        A file that xarray opens; default a simulated landscape.
    size
        Size of the network. With published weights where they are cached or can be fetched
        (base only), otherwise with random ones.
    pixels, seed
        Of the simulated landscape.
    say
        Where to report.

    Raises
    ------
    CubeError
        Where the file holds no cube that AnySat can embed.
    WeightsError
        Where ``XR_ANYSAT_WEIGHTS`` names weights that do not fit.
    """
    data: xr.DataArray | xr.Dataset
    if cube is None:
        data = simulated_landscape((pixels, pixels), seed=seed, dates=DATES)
        name = f"simulated landscape, seed {seed}"
    else:
        with open_cube(str(cube), chunks=None) as opened:
            data, name = opened, cube.name
    array, spec = understand_cube(data)
    say(f"cube: {name}")
    say(_describe(spec))
    model = _model(size, say)
    start = time.perf_counter()
    embedding = embed(array, "grid", model=model, progress=True)
    seconds = time.perf_counter() - start
    say(f"embedded in {seconds:.1f} s: {dict(embedding.sizes)} float32")
    untrained = model.source.kind == "random"
    out.mkdir(parents=True, exist_ok=True)
    store = _replace(embedding, out / "embedding.zarr")
    picture = out / "embedding.png"
    source = model.source
    weights = "RANDOM weights, not pretrained" if untrained else f"weights {source.description}"
    figure = require("matplotlib.figure", "plot", "demo").Figure((11, 6.2), layout="compressed")
    plot(
        embedding,
        array,
        title=f"{name}: AnySat {size}, {weights}",
        caption=f"{spec.dates[0][:10]} to {spec.dates[-1][:10]}, {len(spec.dates)} dates, "
        f"GSD {spec.gsd} m, patches of {embedding.attrs['patch_size_m']:g} m",
        figure=figure,
    )
    figure.savefig(picture, dpi=110)
    say(f"wrote {store}")
    say(f"wrote {picture}")
    return DemoReport(store=store, picture=picture, embedding=embedding)


def _describe(spec: CubeSpec) -> str:
    rows, columns = spec.shape
    crs = spec.geobox.crs
    place = f"EPSG:{crs.epsg}" if crs is not None and crs.epsg else "a CRS without an EPSG code"
    return (
        f"      {rows} x {columns} pixels of {spec.gsd} m, {len(spec.dates)} dates from "
        f"{min(spec.dates)[:10]} to {max(spec.dates)[:10]}, {place}"
    )


def _model(size: str, say: Say) -> Model:
    """Take the published weights if they can be had, else random ones, and say so."""
    if size != "base" and not os.environ.get("XR_ANYSAT_WEIGHTS"):
        say(f"model: AnySat {size} with RANDOM weights (only base weights are published)")
        return Model(size, weights=RANDOM)
    model = Model(size)
    if model.source.kind == "hub":
        try:
            fetch()
        except WeightsError as error:
            say("model: AnySat base. The published weights are not at hand:")
            say(f"       {str(error).splitlines()[0]}")
            say("       Going on with RANDOM weights: the result is no pretrained embedding.")
            return Model(size, weights=RANDOM)
    say(f"model: AnySat {size}, weights {model.source.description}")
    return model


def _replace(embedding: xr.DataArray, store: Path) -> Path:
    """Write a store beside its place, and move it there once it is whole."""
    partial = store.with_name(store.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    chunks = tuple(min(n, 64) if dim in ("y", "x") else n for dim, n in embedding.sizes.items())
    embedding.to_dataset().to_zarr(
        partial, mode="w", consolidated=False, encoding={"embedding": {"chunks": chunks}}
    )
    if store.exists():
        shutil.rmtree(store)
    partial.rename(store)
    return store
