"""Footprints of the tiles of a cube, as `tile_size`, `overlap` and `patch_size` make them."""

from collections.abc import Hashable, Mapping
from typing import Any, Literal

import numpy as np
import shapely

from xr_anysat.cube.canonical import Cube, understand
from xr_anysat.cube.metadata_only import metadata_only
from xr_anysat.cube.resize import resized
from xr_anysat.errors import MissingExtraError, warn
from xr_anysat.job.options import Options, check_whole
from xr_anysat.job.tiling import lay_patches, many_patches
from xr_anysat.keywords import suggests_keywords
from xr_anysat.layout.patches import PatchAxis
from xr_anysat.settings import require

__all__ = ["tiles"]


@suggests_keywords()
def tiles(
    cube: Cube,
    *,
    patch_size: float | None = None,
    tile_size: int = 64,
    overlap: float = 0.5,
    input_prep: Literal["tile", "resize"] = "tile",
    image_size: int = 24,
    bands: Mapping[str, Hashable] | None = None,
    as_frame: bool | None = None,
) -> Any:
    """Footprints of the tiles that `embed` makes of a cube with the same arguments.

    Reads no pixels, and needs no dates. The polygons are in the cube's CRS, whole tiles clipped
    to the cube: a tile that reaches past its edge is *not complete* and ends there. Beware that
    the cells of ``embed(mode="tile")`` have the size of a stride, around the centre of the
    complete tile.

    Parameters
    ----------
    cube, patch_size, tile_size, overlap, input_prep, image_size, bands
        As in `embed`.
    as_frame : bool, optional
        Whether to give a GeoDataFrame (True) or a list of polygons (False). Default: what is
        installed decides, see below; code that others run says which.

    Returns
    -------
    geopandas.GeoDataFrame or list of shapely.Polygon
        By default a GeoDataFrame where geopandas is installed (extra ``vector``), and a list
        where it is not. Row by row, in the order of ``embed(mode="tile")``. The columns of the
        GeoDataFrame are ``row`` and ``column``, the tile's place in that embedding
        (``emb.isel(y=row, x=column)``), ``complete``, and ``geometry``; its ``crs`` is the cube's.
        The list has the polygons alone.

    Raises
    ------
    CubeError
        With every fault of the cube.
    OptionError
        For an argument that does not fit.
    MissingExtraError
        With ``as_frame=True`` where geopandas is not installed.

    Examples
    --------
    >>> import xr_anysat.datasets
    >>> cube = xr_anysat.datasets.simulated_landscape((96, 96), dates=2, chunks=96)
    >>> polygons = cube.anysat.tiles(tile_size=64, overlap=0.5, as_frame=False)
    >>> len(polygons), polygons[0].area
    (4, 409600.0)
    """
    options = Options(
        patch_size=patch_size, tile_size=tile_size, overlap=overlap, input_prep=input_prep
    )
    options.check()
    known = understand(metadata_only(cube), bands=bands, dated=False)
    if input_prep == "resize":
        known = resized(known, check_whole("image_size", image_size))
    spec = known.spec
    layout, pixels = lay_patches(options, spec.geobox, spec.gsd)
    warn(many_patches(layout, pixels, options))
    rows, columns = spec.orientation.axes(
        _extents(layout.rows.axis, pixels.patch, spec.shape[0]),
        _extents(layout.columns.axis, pixels.patch, spec.shape[1]),
    )
    transform = spec.geobox.transform
    x = transform.c + transform.a * np.array([pixels for *pixels, _ in columns])
    y = transform.f + transform.e * np.array([pixels for *pixels, _ in rows])
    boxes = [shapely.box(left, bottom, right, top) for top, bottom in y for left, right in x]
    if as_frame is False:
        return boxes
    try:
        geopandas = require("geopandas", "vector", "tiles(as_frame=True)")
    except MissingExtraError:
        if as_frame:
            raise
        return boxes
    row, column = np.indices((len(rows), len(columns)))
    complete = np.logical_and.outer([r[2] for r in rows], [c[2] for c in columns])
    table = {"row": row.ravel(), "column": column.ravel(), "complete": complete.ravel()}
    return geopandas.GeoDataFrame(table, geometry=boxes, crs=str(spec.geobox.crs))


def _extents(axis: PatchAxis, patch: int, size: int) -> list[tuple[int, int, bool]]:
    """First pixel of each tile, the one after its last, and whether the tile is whole."""
    extents = []
    for index in range(axis.tiles):
        first = axis.tile_range(index)[0] * patch
        last = first + axis.tile * patch
        extents.append((first, min(last, size), last <= size))
    return extents
