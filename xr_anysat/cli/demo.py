"""The demo: a cube in, a Zarr store and a picture out."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import xarray as xr

from xr_anysat.atomic import atomic_replace
from xr_anysat.cube.canonical import understand
from xr_anysat.cube.spec import CubeSpec
from xr_anysat.datasets import simulated_landscape
from xr_anysat.embed import embed
from xr_anysat.errors import WeightsError
from xr_anysat.job.model import Model
from xr_anysat.pictures.plot import plot
from xr_anysat.settings import require
from xr_anysat.weights.files import fetch

from .files import open_cube

__all__ = ["DemoReport", "run_demo"]

RANDOM = "random:0"

COLOURS = "colours: the first three principal components as red, green and blue"
MEANING = "they show what is alike on this map, and have no fixed meaning"

DATES = 12
"""Of the simulated landscape: one a month, so that the base size takes a minute on two cores."""

UNTRAINED = "; the weights are random, so that nothing in it was learned"

NO_WEIGHTS = (
    "model: AnySat base with RANDOM weights. The published weights (504 MB) are not on this",
    "       machine and could not be fetched. What follows is no pretrained embedding, and shows",
    "       that everything works. To get the weights, or to see why they could not be fetched:",
    "       xr-anysat weights fetch",
)

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
    cube: str | Path | None = None,
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
        Size of the network. With the published weights where they are cached or can be fetched
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
    MissingExtraError
        Without matplotlib or scikit-learn.
    """
    figures = require("matplotlib.figure", "plot", "the demo")
    require("sklearn", "plot", "the demo")
    data: xr.DataArray | xr.Dataset
    if cube is None:
        data = simulated_landscape((pixels, pixels), seed=seed, dates=DATES)
        name = f"simulated landscape, seed {seed}"
    else:
        with open_cube(str(cube), chunks=None) as opened:
            data, name = opened, Path(cube).name
    known = understand(data)
    array, spec = known.source, known.spec
    say(f"cube: {name}")
    say(_describe(spec))
    model = find_model(size, say)
    start = time.perf_counter()
    embedding = embed(array, "grid", model=model, progress=True)
    seconds = time.perf_counter() - start
    say(f"embedded in {seconds:.1f} s: {dict(embedding.sizes)} float32")
    untrained = model.source.kind == "random"
    out.mkdir(parents=True, exist_ok=True)
    store = out / "embedding.zarr"
    chunks = tuple(min(n, 64) if dim in ("y", "x") else n for dim, n in embedding.sizes.items())
    with atomic_replace(store, store=True) as fresh:
        embedding.to_dataset().to_zarr(
            fresh, consolidated=False, encoding={"embedding": {"chunks": chunks}}
        )
    picture = out / "embedding.png"
    source = model.source
    weights = "RANDOM weights, not pretrained" if untrained else f"weights {source.description}"
    figure = figures.Figure((11, 7), layout="compressed")
    plot(
        embedding,
        array,
        title=f"{name}: AnySat {size}, {weights}",
        caption=f"{_when(spec)}, GSD {spec.gsd} m, patches of "
        f"{embedding.attrs['patch_size_m']:g} m\n{COLOURS};\n{MEANING}{UNTRAINED * untrained}",
        figure=figure,
    )
    figure.savefig(picture, dpi=110)
    say(f"wrote {store}")
    say(f"wrote {picture}")
    say(f"      {COLOURS};")
    say(f"      {MEANING}")
    return DemoReport(store=store, picture=picture, embedding=embedding)


def _describe(spec: CubeSpec) -> str:
    rows, columns = spec.shape
    crs = spec.geobox.crs
    place = f"EPSG:{crs.epsg}" if crs is not None and crs.epsg else "a CRS without an EPSG code"
    return f"      {rows} x {columns} pixels of {spec.gsd} m, {_when(spec)}, {place}"


def _when(spec: CubeSpec) -> str:
    first, last = (edge(spec.dates)[:10] for edge in (min, max))
    return first if first == last else f"{len(spec.dates)} dates from {first} to {last}"


def find_model(size: str, say: Say) -> Model:
    """Use the published weights if they are there or can be fetched, otherwise random ones."""
    if size != "base" and not os.environ.get("XR_ANYSAT_WEIGHTS"):
        say(f"model: AnySat {size} with RANDOM weights (only base weights are published)")
        return Model(size, weights=RANDOM)
    model = Model(size)
    if model.source.kind == "hub":
        try:
            fetch()
        except WeightsError:
            for line in NO_WEIGHTS:
                say(line)
            return Model(size, weights=RANDOM)
    say(f"model: AnySat {size}, weights {model.source.description}")
    return model
