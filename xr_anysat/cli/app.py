"""Command line: ``python -m xr_anysat`` or ``xr-anysat``.

Exit status: 0; 1 where the work failed; 2 where the request was wrong.
"""

from pathlib import Path
from typing import Annotated

import typer

from xr_anysat._version import __version__

from . import cubes
from .common import as_command, say

__all__ = ["app", "main"]

app = typer.Typer(
    name="xr-anysat",
    help="AnySat embeddings of Sentinel-2 cubes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
weights_app = typer.Typer(help="Fetch, convert and check weights.", no_args_is_help=True)
app.add_typer(weights_app, name="weights")
for command in (cubes.embed, cubes.check, cubes.plan, cubes.probe):
    app.command(epilog=cubes.EXAMPLES[command.__name__])(as_command(command))


def main() -> None:
    """Run the command line."""
    app()


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


@app.command()
@as_command
def demo(
    cube: Annotated[
        str | None,
        typer.Option(help="A cube that xarray opens; default: a simulated landscape."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("demo-output"),
    size: Annotated[str, typer.Option(help="Size of the network: base, small or tiny.")] = "base",
    pixels: Annotated[
        int, typer.Option(min=1, help="Pixels on a side of the simulated landscape.")
    ] = 128,
    seed: Annotated[int, typer.Option(help="Seed of the simulated landscape.")] = 0,
) -> None:
    """Embed a cube, and write a Zarr store and a picture of it (needs the extra plot)."""
    from .demo import run_demo

    run_demo(out, cube=cube, size=size, pixels=pixels, seed=seed, say=say)


@weights_app.command()
@as_command
def fetch() -> None:
    """Download the published weights (504 MB) and make them ready."""
    from xr_anysat.weights import files

    say(f"ready: {files.fetch()}")


@weights_app.command()
@as_command
def convert(
    source: Annotated[
        Path, typer.Argument(metavar="FROM", help="A checkpoint, .pth or .safetensors.")
    ],
    target: Annotated[Path, typer.Argument(metavar="TO", help="The .safetensors file to write.")],
) -> None:
    """Check a checkpoint and write it as safetensors."""
    from xr_anysat.weights import files

    say(f"wrote {files.convert(source, target)}")


@weights_app.command()
@as_command
def verify(
    path: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="A checkpoint; default: the published weights."),
    ] = None,
) -> None:
    """Check every name, shape and value of a checkpoint."""
    from xr_anysat.weights import files

    report = files.verify(path)
    say(str(report))
    if not report.finite:
        raise typer.Exit(1)
