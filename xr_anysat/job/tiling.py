"""Patches and tiles of a cube's pixels, or why they do not fit."""

import math
from collections.abc import Iterator
from typing import Any

from odc.geo.geobox import GeoBox

from xr_anysat.errors import OptionError
from xr_anysat.findings import Finding, SetOption, given
from xr_anysat.layout.chunked_axis import ChunkedAxis
from xr_anysat.layout.grid import PatchGrid, PixelGrid, coarse_grid
from xr_anysat.layout.patches import PatchAxis

from .options import Options, check_whole, is_number

__all__ = ["lay_patches", "many_patches"]

PATCH_PIXELS = 4
"""Default patch: 40 m at 10 m, the most usual size in pretraining."""

ADVISED_PATCHES = 1024
"""The network's authors advise to have fewer patches in a tile."""


def lay_patches(options: Options, geobox: GeoBox, gsd: float) -> tuple[PatchGrid, PixelGrid]:
    """Divide the pixels of a cube into patches and tiles, in one chunk.

    Parameters
    ----------
    options
        `patch_size`, `tile_size`, `overlap` and `input_prep` matter here.
    geobox, gsd
        Grid of the pixels, and metres of one.

    Raises
    ------
    OptionError
        Where patches are not whole pixels, tiles not whole patches, or the overlap is none.
    """
    size, patch = _find_patch(options.patch_size, gsd)
    if options.input_prep == "resize":  # one tile, filled up to whole patches
        pixels, overlap = -(-max(geobox.shape) // patch) * patch, 0.0
    else:
        pixels, overlap = check_whole("tile_size", options.tile_size), options.overlap
    if pixels % patch:
        raise OptionError(
            "tile.patches",
            SetOption("tile_size", max(1, round(pixels / patch)) * patch),
            option=SetOption("tile_size", pixels),
            patch=patch,
            size=size,
        )
    if not is_number(overlap) or not 0 <= overlap < 1:
        raise OptionError("tile.overlap", option=given("overlap", overlap))
    tile = pixels // patch
    stride = max(1, round(tile * (1 - float(overlap))))
    below = PixelGrid(shape=(geobox.shape.y, geobox.shape.x), patch=patch, size=gsd)
    rows, columns = (
        ChunkedAxis(axis=PatchAxis(patches=n, tile=tile, stride=stride), chunks=(n,))
        for n in below.patches
    )
    patches = coarse_grid(geobox, below.patches, (patch, patch))
    return PatchGrid(patch_size=size, geobox=patches, rows=rows, columns=columns), below


def _find_patch(patch_size: Any, gsd: float) -> tuple[float, int]:
    """Length of a patch in metres and in pixels."""
    size = PATCH_PIXELS * gsd if patch_size is None else patch_size
    if not is_number(size) or not 0 < size < math.inf:
        raise OptionError("patch.length", option=given("patch_size", patch_size))
    patch = round(float(size) / gsd)
    if patch < 1 or abs(patch * gsd - size) > 1e-6 * size:
        raise OptionError(
            "patch.pixels",
            SetOption("patch_size", max(1, patch) * gsd),
            option=SetOption("patch_size", size),
            gsd=gsd,
        )
    return float(size), patch


def many_patches(grid: PatchGrid, pixels: PixelGrid, options: Options) -> Iterator[Finding]:
    """Find tiles of more patches, and patches of more pixels, than attention is meant for."""
    seen, size = math.prod(grid.tile_shape), grid.patch_size
    argument = "image_size" if options.input_prep == "resize" else "tile_size"
    patch = SetOption("patch_size", python="patch_size")
    if seen >= ADVISED_PATCHES:
        yield Finding(
            "tile.many-patches",
            tile=grid.rows.axis.tile * pixels.patch,
            seen=seen,
            size=size,
            advised=ADVISED_PATCHES,
            argument=SetOption(argument, python=argument),
            patch=patch,
        )
    if pixels.patch**2 >= ADVISED_PATCHES:
        yield Finding("patch.many-pixels", size=size, count=pixels.patch**2, patch=patch)
