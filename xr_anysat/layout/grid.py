"""Grids of a map, for any sensor: patches, tiles and chunks, and the pixels under them."""

from dataclasses import dataclass
from itertools import product
from typing import Literal

from affine import Affine
from odc.geo.geobox import GeoBox

from .chunked_axis import ChunkedAxis, Part

__all__ = ["Cells", "MapPart", "PatchGrid", "PixelGrid", "coarse_grid"]

Cells = Literal["patch", "tile"]
"""What the cells of a map are."""


def coarse_grid(
    geobox: GeoBox, shape: tuple[int, int], step: tuple[float, float], margin: float = 0
) -> GeoBox:
    """Coarsen a grid that is north up.

    Parameters
    ----------
    geobox
        The grid.
    shape
        Rows and columns of cells.
    step
        Height and width of a cell, in cells of the grid.
    margin
        Cells of the grid to the north and west of the first.
    """
    # Products of affine transforms have another operator since affine 3, and warn of the former.
    a, _, west, _, e, north = tuple(geobox.transform)[:6]
    height, width = step
    transform = Affine(a * width, 0, west + a * margin, 0, e * height, north + e * margin)
    return GeoBox(shape, transform, geobox.crs)


@dataclass(frozen=True, kw_only=True)
class PixelGrid:
    """Pixels of one sensor under the patches of a map.

    Parameters
    ----------
    shape
        Rows and columns of pixels.
    patch
        Pixels along a patch's side.
    size
        Metres of a pixel.
    """

    shape: tuple[int, int]
    patch: int
    size: float

    @property
    def patches(self) -> tuple[int, int]:
        """Rows and columns of patches that cover the pixels."""
        rows, columns = (-(-length // self.patch) for length in self.shape)
        return rows, columns

    def span(self, axis: int, patches: tuple[int, int]) -> slice:
        """Pixels of some patches along an axis: 0 for rows, 1 for columns."""
        start, stop = (min(patch * self.patch, self.shape[axis]) for patch in patches)
        return slice(start, stop)

    def sizes(self, axis: int, chunks: ChunkedAxis) -> tuple[int, ...]:
        """Pixels of each chunk of patches along an axis."""
        spans = (self.span(axis, chunks.patch_range(index)) for index in range(len(chunks.chunks)))
        return tuple(span.stop - span.start for span in spans)


@dataclass(frozen=True, kw_only=True)
class MapPart:
    """A part of a map, and what it needs: chunks along rows and columns."""

    rows: Part
    columns: Part

    @property
    def chunks(self) -> list[tuple[int, int]]:
        """Chunks of the part itself."""
        return list(product(range(*self.rows.result), range(*self.columns.result)))

    @property
    def encoded(self) -> list[tuple[int, int]]:
        """Chunks whose patches are needed."""
        return list(product(range(*self.rows.encoded), range(*self.columns.encoded)))

    def at(self, row: int, column: int) -> tuple[int, int]:
        """Where a chunk of the map lies in the array of this part."""
        return row - self.rows.result[0], column - self.columns.result[0]


@dataclass(frozen=True, kw_only=True)
class PatchGrid:
    """Patches, tiles and chunks of a map.

    Parameters
    ----------
    patch_size
        Metres.
    geobox
        Grid of the patches, north up; the last ones may reach past the map's edge.
    rows, columns
        Its axes, cut into chunks.
    """

    patch_size: float
    geobox: GeoBox
    rows: ChunkedAxis
    columns: ChunkedAxis

    @property
    def tile_shape(self) -> tuple[int, int]:
        """Rows and columns of patches in the largest tile that there is."""
        rows, columns = (min(a.axis.tile, a.axis.patches) for a in (self.rows, self.columns))
        return rows, columns

    @property
    def overlap(self) -> float:
        """Share of a tile that neighbouring tiles have in common, as rounded to whole patches."""
        return 1 - self.rows.axis.stride / self.rows.axis.tile

    def cells(self, cells: Cells) -> GeoBox:
        """Grid of a map with a cell for each patch or tile.

        A tile is a cell of the size of a stride around the tile's centre, so that cells touch
        at every overlap.
        """
        if cells == "patch":
            return self.geobox
        rows, columns = self.rows.axis, self.columns.axis
        margin = (rows.tile - rows.stride) / 2
        return coarse_grid(self.geobox, (rows.tiles, columns.tiles), (rows.stride,) * 2, margin)

    def part(self, cells: Cells, rows: tuple[int, int], columns: tuple[int, int]) -> MapPart:
        """Find what a part of a map needs: chunks of the map as (first, one after the last)."""
        if cells == "tile":
            return MapPart(
                rows=self.rows.tile_part(*rows), columns=self.columns.tile_part(*columns)
            )
        return MapPart(rows=self.rows.part(*rows), columns=self.columns.part(*columns))
