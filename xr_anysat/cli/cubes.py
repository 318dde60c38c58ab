"""Commands that take a cube: ``embed``, ``check``, ``plan``, ``probe``."""

from contextlib import ExitStack
from typing import Annotated, Any

import typer

from xr_anysat.errors import OptionError
from xr_anysat.findings import SetOption

from .common import Reporter, say
from .groups import (
    NETWORK,
    OUTPUT,
    CubeOptions,
    MethodOptions,
    NetworkOptions,
    Normalize,
    PackingOptions,
    Progress,
    Source,
    StorageOptions,
    WeightsOptions,
    option,
)

__all__ = ["EXAMPLES", "check", "embed", "plan", "probe"]

EXAMPLES = {
    "embed": """Examples:

\b
  xr-anysat embed cube.zarr map.zarr --mode patch
  xr-anysat embed cube.nc map.tif --frames 12 --normalize treesatai
  xr-anysat embed cube.zarr map.zarr --quantize int8 --regions 2/8
  xr-anysat embed cube.zarr parcels.parquet --geometry parcels.gpkg
  xr-anysat embed scene.tif map.nc --date 2021-07-12
""",
    "check": """Examples:

\b
  xr-anysat check cube.zarr
  xr-anysat check cube.zarr --sample
  xr-anysat check scene.tif --date 2021-07-12 --band B2=1 --band B3=2
""",
    "plan": """Examples:

\b
  xr-anysat plan cube.zarr
  xr-anysat plan cube.zarr --mode patch --overlap 0 --calibrate
""",
    "probe": """Examples:

\b
  xr-anysat probe
  xr-anysat probe cube.zarr --labels crops.tif
  xr-anysat probe --size tiny --weights random:0
""",
}


def embed(
    source: Source,
    target: Annotated[
        str,
        typer.Argument(
            metavar="OUT",
            help="A name that ends in .zarr, .nc (needs the extra io), .tif, or .parquet (vectors "
            "of --geometry).",
        ),
    ],
    files: ExitStack,
    method: MethodOptions,
    cube: CubeOptions,
    network: WeightsOptions,
    storage: StorageOptions,
    flash_layout: Annotated[
        bool, option(NETWORK, "Attention as the published training had it.", "--flash-layout")
    ] = False,
    dtype: Annotated[str, option(OUTPUT, "float32 or float16.")] = "float32",
    overwrite: Annotated[bool, option(OUTPUT, "Replace OUT if it exists.", "--overwrite")] = False,
    progress: Progress = True,
) -> None:
    """Embed a cube.

    A .zarr is written region by region: the same command again goes on where it ended. Other
    files appear when they are complete.
    """
    from .files import output_format, require_apart, write_embedding

    packed = storage.given(output_format(target), target)
    require_apart(target, source, method.normalize, str(method.geometry or ""))
    data, options = cube.open(files, source)
    options |= method.options() | {"model": network.trained(flash_layout), "dtype": dtype}
    how = {"overwrite": overwrite, "progress": progress}
    say(write_embedding(data, target, method.chosen, packed=packed, options=options, **how))


def check(
    source: Source,
    files: ExitStack,
    reporter: Reporter,
    method: MethodOptions,
    cube: CubeOptions,
    sample: Annotated[bool, typer.Option("--sample", help="Read some of the pixels, too.")] = False,
) -> None:
    """Say what is understood of a cube, and what is wrong: exit status 2 if anything is."""
    from xr_anysat.report.check import check as check_cube

    data, options = cube.open(files, source)
    report = check_cube(data, method.chosen, sample=sample, **options, **method.options())
    say(reporter.report(report))
    if not report.ok:
        raise typer.Exit(2)


def plan(
    source: Source,
    files: ExitStack,
    reporter: Reporter,
    method: MethodOptions,
    cube: CubeOptions,
    network: NetworkOptions,
    packing: PackingOptions,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Measure for some seconds, and tell the time.")
    ] = False,
) -> None:
    """Say what embedding a cube will take: chunks, tiles, arithmetic, memory."""
    from xr_anysat.report.plan import plan as plan_cube

    data, options = cube.open(files, source)
    options |= method.options() | {"model": network.model()} | packing.packed()
    say(reporter.report(plan_cube(data, method.chosen, calibrate=calibrate, **options)))


def probe(
    files: ExitStack,
    cube: CubeOptions,
    network: WeightsOptions,
    source: Annotated[
        str | None,
        typer.Argument(metavar="IN", help="A cube; default: a simulated landscape."),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            help="Classes: a variable or coordinate of the cube, or a raster on its grid; default: "
            "land_cover."
        ),
    ] = None,
    pixels: Annotated[int, typer.Option(min=1, help="Labelled pixels at most.")] = 3000,
    side: Annotated[
        int, typer.Option(min=8, help="Pixels of a side of the simulated landscape.")
    ] = 160,
    seed: Annotated[
        int, typer.Option(help="Seed of the simulated landscape, and of the draw of pixels.")
    ] = 0,
    normalize: Normalize = "zscore",
    progress: Progress = True,
) -> None:
    """Compare embeddings with raw bands by what simple classifiers make of them.

    For both layouts of attention: with the published weights, the table says which one fits them.
    Needs scikit-learn (extra ml).
    """
    from xr_anysat.learn.probe import probe as probe_cube
    from xr_anysat.learn.probe import probe_text
    from xr_anysat.settings import require

    from .files import fetch_missing, open_labels, open_stats

    require("sklearn", "ml", "probe")  # before weights are fetched
    data: Any
    options: dict[str, Any] = {}
    if source is None:
        from xr_anysat.datasets import simulated_landscape

        if labels is not None:
            raise OptionError("labels.without-cube", option=SetOption("labels"))
        data = simulated_landscape((side, side), seed=seed, dates=12)
    else:
        data, options = cube.open(files, source)
    truth = None if labels is None else open_labels(str(source), labels)
    options |= {"model": network.trained(), "normalize": open_stats(normalize)}
    fetch_missing(data, "grid", options)
    table = probe_cube(data, truth, pixels=pixels, seed=seed, progress=progress, **options)
    say(probe_text(table))
