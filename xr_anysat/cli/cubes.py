"""Commands that take a cube: ``embed``, ``check``, ``plan``, ``probe``."""

from collections.abc import Iterable
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from xr_anysat.errors import OptionError

from .common import reported, say

__all__ = ["EXAMPLES", "check", "embed", "plan", "probe"]


class Mode(StrEnum):
    """Modes of `embed`, for the command line to complete."""

    grid = "grid"
    patch = "patch"
    tile = "tile"
    pooled = "pooled"


INPUT, OUTPUT, METHOD, NETWORK = "Cube", "Output", "Method", "Network"
Source = Annotated[
    str, typer.Argument(metavar="IN", help="Zarr, NetCDF, GeoTIFF, or what else xarray opens.")
]
Variable = Annotated[
    str | None,
    typer.Option(help="Variable that is the cube, if there are several.", rich_help_panel=INPUT),
]
Date = Annotated[
    list[str] | None,
    typer.Option(help="Date of an image, for files without; repeat it.", rich_help_panel=INPUT),
]
Band = Annotated[
    list[str] | None,
    typer.Option(help="B2=my_blue: the file's name of a band; repeat it.", rich_help_panel=INPUT),
]
Mask = Annotated[
    str | None,
    typer.Option(
        help="Variable of the file that is true, or not 0, where the cube is valid.",
        rich_help_panel=INPUT,
    ),
]
Chunk = Annotated[
    int,
    typer.Option(min=1, help="Pixels of a side of what is read at once.", rich_help_panel=INPUT),
]
ModeOption = Annotated[
    Mode,
    typer.Option(help="A vector for each pixel, patch, tile; or for all.", rich_help_panel=METHOD),
]
PatchSize = Annotated[
    float | None, typer.Option(help="Metres; default 4 pixels.", rich_help_panel=METHOD)
]
TileSize = Annotated[
    int, typer.Option(help="Pixels that the network sees at once.", rich_help_panel=METHOD)
]
Overlap = Annotated[
    float,
    typer.Option(help="Share that neighbouring tiles share.", rich_help_panel=METHOD),
]
Frames = Annotated[
    int | None,
    typer.Option(help="Median composites instead of all dates.", rich_help_panel=METHOD),
]
Normalize = Annotated[
    str,
    typer.Option(
        help="zscore, tile_zscore, treesatai, reflectance, none; or a NetCDF file of statistics.",
        rich_help_panel=METHOD,
    ),
]
Size = Annotated[str, typer.Option(help="base, small or tiny.", rich_help_panel=NETWORK)]
Weights = Annotated[
    str | None,
    typer.Option(help="A file or random:SEED; default: as published.", rich_help_panel=NETWORK),
]
Device = Annotated[
    str | None,
    typer.Option(help="cpu, cuda:1; default: a GPU if any.", rich_help_panel=NETWORK),
]
Precision = Annotated[
    str, typer.Option(help="float32, bfloat16, float16 or auto.", rich_help_panel=NETWORK)
]
FlashLayout = Annotated[
    bool,
    typer.Option(
        "--flash-layout",
        help="Attention as the published training had it.",
        rich_help_panel=NETWORK,
    ),
]

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
            metavar="OUT", help="A name that ends in .zarr, .nc, .tif, or .parquet (geometries)."
        ),
    ],
    mode: ModeOption = Mode.grid,
    patch_size: PatchSize = None,
    tile_size: TileSize = 64,
    overlap: Overlap = 0.5,
    frames: Frames = None,
    normalize: Normalize = "zscore",
    geometry: Annotated[
        Path | None,
        typer.Option(
            help="Polygons in a file: a vector for each.",
            rich_help_panel=METHOD,
        ),
    ] = None,
    variable: Variable = None,
    date: Date = None,
    band: Band = None,
    mask: Mask = None,
    chunk: Chunk = 512,
    size: Size = "base",
    weights: Weights = None,
    device: Device = None,
    precision: Precision = "float32",
    flash_layout: FlashLayout = False,
    dtype: Annotated[
        str, typer.Option(help="float32 or float16.", rich_help_panel=OUTPUT)
    ] = "float32",
    quantize: Annotated[
        str | None, typer.Option(help="int8: a byte a value (.zarr).", rich_help_panel=OUTPUT)
    ] = None,
    reduce: Annotated[
        int | None,
        typer.Option(help="So many principal components (.zarr).", rich_help_panel=OUTPUT),
    ] = None,
    regions: Annotated[
        str | None,
        typer.Option(help="2/8: the second of eight shares (.zarr).", rich_help_panel=OUTPUT),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Delete what is there.", rich_help_panel=OUTPUT)
    ] = False,
    progress: Annotated[
        bool,
        typer.Option(help="Show progress; in logs a line a minute.", rich_help_panel=OUTPUT),
    ] = True,
) -> None:
    """Embed a cube.

    A .zarr is written region by region: the same command again goes on where it ended. Other
    files appear when they are complete.
    """
    with reported() as files:
        from .files import output_format, write_embedding

        kind = output_format(target)
        packed = {"quantize": quantize, "reduce": reduce, "regions": regions}
        asked = {name: value for name, value in packed.items() if value is not None}
        if asked and kind != "zarr":
            raise OptionError(f"--{next(iter(asked))} goes with a .zarr, not with {target}")
        if geometry is not None:
            mode = Mode.pooled
        cube, options = _request(files, source, variable, date, band, mask, chunk, normalize)
        options |= _method(patch_size, tile_size, overlap, frames)
        options |= {"model": _model(size, weights, device, precision, flash_layout), "dtype": dtype}
        if geometry is not None:
            options["geometry"] = _geometries(geometry)
        say(
            write_embedding(
                cube,
                target,
                mode.value,
                overwrite=overwrite,
                progress=progress,
                packed=asked,
                options=options,
            )
        )


def check(
    source: Source,
    sample: Annotated[bool, typer.Option("--sample", help="Read some of the pixels, too.")] = False,
    mode: ModeOption = Mode.grid,
    variable: Variable = None,
    date: Date = None,
    band: Band = None,
    mask: Mask = None,
    chunk: Chunk = 512,
    normalize: Normalize = "zscore",
) -> None:
    """Say what is understood of a cube, and what is wrong: exit status 2 if anything is."""
    with reported() as files:
        from xr_anysat.checks.check import check as check_cube

        cube, options = _request(files, source, variable, date, band, mask, chunk, normalize)
        report = check_cube(cube, mode.value, sample=sample, **options)
        say(str(report))
        if not report.ok:
            raise typer.Exit(2)


def plan(
    source: Source,
    mode: ModeOption = Mode.grid,
    patch_size: PatchSize = None,
    tile_size: TileSize = 64,
    overlap: Overlap = 0.5,
    frames: Frames = None,
    normalize: Normalize = "zscore",
    variable: Variable = None,
    date: Date = None,
    band: Band = None,
    mask: Mask = None,
    chunk: Chunk = 512,
    size: Size = "base",
    device: Device = None,
    precision: Precision = "float32",
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Measure for some seconds, and tell the time.")
    ] = False,
) -> None:
    """Say what embedding a cube will take: chunks, tiles, arithmetic, memory."""
    with reported() as files:
        from xr_anysat.plans.plan import plan as plan_cube

        cube, options = _request(files, source, variable, date, band, mask, chunk, normalize)
        options |= _method(patch_size, tile_size, overlap, frames)
        model = _model(size, "random:0", device, precision, flash_layout=False)
        say(str(plan_cube(cube, mode.value, calibrate=calibrate, model=model, **options)))


def probe(
    source: Annotated[
        str | None,
        typer.Argument(metavar="[IN]", help="A cube; default: a simulated landscape."),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="Variable or coordinate of the cube, or a raster on its grid: classes."),
    ] = None,
    pixels: Annotated[int, typer.Option(min=1, help="Labelled pixels at most.")] = 3000,
    side: Annotated[
        int, typer.Option(min=8, help="Pixels of a side of the simulated landscape.")
    ] = 160,
    seed: Annotated[int, typer.Option(help="Of the landscape, and of what is drawn.")] = 0,
    variable: Variable = None,
    date: Date = None,
    band: Band = None,
    mask: Mask = None,
    chunk: Chunk = 512,
    normalize: Normalize = "zscore",
    size: Size = "base",
    weights: Weights = None,
    device: Device = None,
    precision: Precision = "float32",
) -> None:
    """Compare embeddings with raw bands by what simple classifiers make of them.

    For both layouts of attention: with the published weights, the table says which one fits them.
    """
    with reported() as files:
        from xr_anysat.probe import probe as probe_cube
        from xr_anysat.probe import probe_text

        from .files import open_labels

        options: dict[str, Any] = {}
        if source is None:
            from xr_anysat.datasets import simulated_landscape

            if labels is not None:
                raise OptionError("--labels goes with a cube; the simulated landscape has its own")
            cube: Any = simulated_landscape((side, side), seed=seed, dates=12)
            options["normalize"] = normalize
        else:
            cube, options = _request(files, source, variable, date, band, mask, chunk, normalize)
        truth = None if labels is None else open_labels(str(source), labels)
        model = _model(size, weights, device, precision, flash_layout=False)
        table = probe_cube(cube, truth, model=model, pixels=pixels, seed=seed, **options)
        say(probe_text(table))


def _request(
    files: ExitStack,
    source: str,
    variable: str | None,
    date: list[str] | None,
    band: list[str] | None,
    mask: str | None,
    chunk: int,
    normalize: str,
) -> tuple[Any, dict[str, Any]]:
    """Open a cube, and name the options of `embed` that go with it."""
    from .files import open_cube, open_mask, open_stats

    opened = open_cube(source, variable=variable, chunks=chunk, without=mask)
    cube = files.enter_context(opened)
    options: dict[str, Any] = {"normalize": open_stats(normalize)}
    if date:
        options["dates"] = list(date)
    if band:
        options["bands"] = dict(_pairs(band))
    if mask is not None:
        options["mask"] = files.enter_context(open_mask(source, mask, chunk))
    return cube, options


def _pairs(texts: Iterable[str]) -> Iterable[tuple[str, str | int]]:
    for text in texts:
        name, equals, label = text.partition("=")
        if not (name and equals and label):
            raise OptionError(f"--band {text!r} is not of the form B2=my_blue")
        yield name, int(label) if label.isdecimal() else label


def _method(
    patch_size: float | None, tile_size: int, overlap: float, frames: int | None
) -> dict[str, Any]:
    return {
        "patch_size": patch_size,
        "tile_size": tile_size,
        "overlap": overlap,
        "frames": frames,
    }


def _model(
    size: str, weights: str | None, device: str | None, precision: Any, flash_layout: bool
) -> Any:
    from xr_anysat.modelspec import Model

    return Model(
        size, weights=weights, device=device, precision=precision, flash_layout=flash_layout
    )


def _geometries(path: Path) -> Any:
    from xr_anysat.extras import require

    geopandas = require("geopandas", "vector", "--geometry")
    try:
        return geopandas.read_file(path)
    except (OSError, ValueError, RuntimeError) as error:
        raise OptionError(f"{path} cannot be read by geopandas: {error}") from error
