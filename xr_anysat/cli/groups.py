"""Options that several commands have, in groups, and what becomes of them."""

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from xr_anysat.errors import OptionError
from xr_anysat.findings import SetOption

__all__ = [
    "CubeOptions",
    "MethodOptions",
    "Mode",
    "NetworkOptions",
    "Normalize",
    "PackingOptions",
    "Progress",
    "Source",
    "StorageOptions",
    "WeightsOptions",
    "option",
]


class Mode(StrEnum):
    """Modes of `embed`, for the command line to complete."""

    grid = "grid"
    patch = "patch"
    tile = "tile"
    pooled = "pooled"


def option(panel: str, text: str, *names: str, **more: Any) -> Any:
    """Describe an option in a panel of the help."""
    return typer.Option(*names, help=text, rich_help_panel=panel, **more)


INPUT, METHOD, NETWORK, OUTPUT = "Cube", "Method", "Network", "Output"

Source = Annotated[
    str,
    typer.Argument(
        metavar="IN",
        help="Zarr, NetCDF (.nc, needs the extra io), GeoTIFF, or what else xarray opens.",
    ),
]
Normalize = Annotated[
    str,
    option(
        METHOD,
        "zscore, tile_zscore, treesatai, reflectance, none; or a NetCDF file of statistics.",
    ),
]
Progress = Annotated[bool, option(OUTPUT, "Show progress; in a log, a line a minute.")]


@dataclass(frozen=True, kw_only=True)
class CubeOptions:
    """What a file does not say about its cube."""

    variable: Annotated[
        str | None, option(INPUT, "Variable that is the cube, if there are several.")
    ] = None
    date: Annotated[
        list[str] | None,
        option(INPUT, "Date of an image, for files without dates; once for each image, in order."),
    ] = None
    band: Annotated[
        list[str] | None,
        option(
            INPUT,
            "AnySat's name and the file's name or number of a band, as in B2=my_blue; once for "
            "each band that is not found by itself.",
        ),
    ] = None
    mask: Annotated[
        str | None,
        option(INPUT, "Variable of the file that is true, or not 0, where the cube is valid."),
    ] = None
    nodata: Annotated[
        float | None,
        option(INPUT, "Value that stands for missing, for files that do not say."),
    ] = None
    chunk: Annotated[
        int, option(INPUT, "Side of the blocks that the cube is read in, in pixels.", min=1)
    ] = 512

    def open(self, files: ExitStack, source: str) -> tuple[Any, dict[str, Any]]:
        """Open a cube, and name the options of `embed` that go with it."""
        from .files import open_cube, open_mask

        opened = open_cube(
            source, variable=self.variable, chunks=self.chunk, without=self.mask, nodata=self.nodata
        )
        cube = files.enter_context(opened)
        options: dict[str, Any] = {}
        if self.date:
            options["dates"] = list(self.date)
        if self.band:
            options["bands"] = dict(_pairs(self.band))
        if self.mask is not None:
            options["mask"] = files.enter_context(open_mask(source, self.mask, self.chunk))
        return cube, options


def _pairs(texts: Iterable[str]) -> Iterable[tuple[str, str | int]]:
    for text in texts:
        name, equals, label = text.partition("=")
        if not (name and equals and label):
            raise OptionError("bands.pair", given=SetOption("band", text))
        yield name, int(label) if label.isdecimal() else label


@dataclass(frozen=True, kw_only=True)
class MethodOptions:
    """How to embed."""

    mode: Annotated[
        Mode,
        option(METHOD, "A vector for each pixel (grid), patch or tile; or one for all (pooled)."),
    ] = Mode.grid
    patch_size: Annotated[
        float | None, option(METHOD, "Side of a patch in metres; default: 4 pixels.")
    ] = None
    tile_size: Annotated[
        int, option(METHOD, "Side of a tile, which the network sees at once, in pixels.")
    ] = 64
    overlap: Annotated[
        float,
        option(METHOD, "Share of a tile that neighbouring tiles cover too, from 0 to below 1."),
    ] = 0.5
    frames: Annotated[
        int | None,
        option(METHOD, "Number of median composites to embed instead of all dates."),
    ] = None
    normalize: Normalize = "zscore"
    geometry: Annotated[
        Path | None,
        option(
            METHOD,
            "File of polygons: one vector for each, and --mode pooled (needs the extra vector).",
        ),
    ] = None

    @property
    def chosen(self) -> str:
        """The mode; geometries have one alone."""
        return str((self.mode if self.geometry is None else Mode.pooled).value)

    def options(self) -> dict[str, Any]:
        """Options of `embed`."""
        from .files import open_geometries, open_stats

        names = "patch_size", "tile_size", "overlap", "frames"
        options = {name: getattr(self, name) for name in names}
        options["normalize"] = open_stats(self.normalize)
        if self.geometry is not None:
            options["geometry"] = open_geometries(self.geometry)
        return options


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """Which network, and where it is computed."""

    size: Annotated[str, option(NETWORK, "base, small or tiny.")] = "base"
    device: Annotated[
        str | None, option(NETWORK, "cpu, cuda, cuda:1; default: a GPU if there is one.")
    ] = None
    precision: Annotated[str, option(NETWORK, "float32, bfloat16, float16 or auto.")] = "float32"

    def model(self, weights: str | None = "random:0", flash_layout: bool = False) -> Any:
        """Make the network's description, untrained unless weights are given."""
        from xr_anysat.job.model import Model

        how: Any = {"device": self.device, "precision": self.precision}
        return Model(self.size, weights=weights, flash_layout=flash_layout, **how)


@dataclass(frozen=True, kw_only=True)
class WeightsOptions(NetworkOptions):
    """Which network with which weights."""

    weights: Annotated[
        str | None,
        option(
            NETWORK,
            "A .pth or .safetensors file, or random:SEED for an untrained network; default: the "
            "published weights, downloaded (504 MB) unless they are there.",
        ),
    ] = None

    def trained(self, flash_layout: bool = False) -> Any:
        """Make the network's description, with the weights that were asked for."""
        return self.model(self.weights, flash_layout)


@dataclass(frozen=True, kw_only=True)
class PackingOptions:
    """How the values of a map are kept in a .zarr."""

    quantize: Annotated[
        str | None, option(OUTPUT, "int8: keep a byte for each value (.zarr only).")
    ] = None
    reduce: Annotated[
        int | None,
        option(
            OUTPUT,
            "Number of principal components to keep instead of all features (.zarr only; needs "
            "the extra ml).",
        ),
    ] = None

    def packed(self) -> dict[str, Any]:
        """Options of `to_zarr` and `plan` that were given."""
        options = {"quantize": self.quantize, "reduce": self.reduce}
        return {name: value for name, value in options.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class StorageOptions(PackingOptions):
    """How a map is written to a .zarr."""

    regions: Annotated[
        str | None,
        option(OUTPUT, "Share of the map for this job: 2/8 is the second of eight (.zarr only)."),
    ] = None

    def given(self, kind: str, target: str) -> dict[str, Any]:
        """Options of `to_zarr` that were given."""
        given = self.packed() | ({} if self.regions is None else {"regions": self.regions})
        if given and kind != "zarr":
            raise OptionError(
                "output.zarr-only", option=SetOption(next(iter(given))), target=target
            )
        return given
