"""Grids of patches and tiles, and of a sensor's pixels below, against geoboxes laid by hand."""

import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from xr_anysat.layout.chunked_axis import ChunkedAxis
from xr_anysat.layout.grid import MapPart, PatchGrid, PixelGrid
from xr_anysat.layout.patches import PatchAxis

WEST, NORTH = 500_000, 5_000_000


def axis(*chunks, tile=4, stride=2):
    return ChunkedAxis(
        axis=PatchAxis(patches=sum(chunks), tile=tile, stride=stride), chunks=tuple(chunks)
    )


def patch_grid(rows, columns, size=40):
    shape = rows.axis.patches, columns.axis.patches
    geobox = GeoBox(shape, Affine(size, 0, WEST, 0, -size, NORTH), "EPSG:32631")
    return PatchGrid(patch_size=size, geobox=geobox, rows=rows, columns=columns)


# Pixels ------------------------------------------------------------------------------------------


def test_spans_and_sizes_end_where_the_pixels_do():
    pixels = PixelGrid(shape=(30, 26), patch=4, size=10)
    assert pixels.patches == (8, 7)
    assert pixels.span(0, (0, 3)) == slice(0, 12)
    assert pixels.span(0, (6, 8)) == slice(24, 30)
    assert pixels.span(1, (6, 7)) == slice(24, 26)
    assert pixels.sizes(0, axis(3, 3, 2)) == (12, 12, 6)
    assert pixels.sizes(1, axis(5, 2)) == (20, 6)


@pytest.mark.parametrize(
    ("shape", "patch", "size", "patches"),
    [((30, 26), 1, 40, (30, 26)), ((200, 9), 200, 0.2, (1, 1)), ((201, 9), 200, 0.2, (2, 1))],
)
def test_pixels_of_any_sensor(shape, patch, size, patches):
    """A patch may be a pixel of 40 m, or 200 by 200 pixels of 0.2 m."""
    assert PixelGrid(shape=shape, patch=patch, size=size).patches == patches


@given(
    chunks=st.lists(st.integers(1, 9), min_size=1, max_size=8),
    patch=st.integers(1, 7),
    data=st.data(),
)
def test_chunks_hold_every_pixel_once(chunks, patch, data):
    patches = sum(chunks)
    length = data.draw(st.integers((patches - 1) * patch + 1, patches * patch))
    pixels = PixelGrid(shape=(length, 1), patch=patch, size=10)
    sizes = pixels.sizes(0, axis(*chunks))
    assert pixels.patches == (patches, 1)
    assert sum(sizes) == length
    assert min(sizes) > 0
    assert all(size == n * patch for size, n in zip(sizes[:-1], chunks[:-1], strict=True))
    assert pixels.span(0, (0, patches)) == slice(0, length)


# Cells -------------------------------------------------------------------------------------------


def test_cells_of_patches_are_the_patches():
    grid = patch_grid(axis(8), axis(7))
    assert grid.cells("patch") == grid.geobox


@pytest.mark.parametrize(
    ("stride", "shape", "step", "margin"),
    [(4, (3, 2), 160, 0), (2, (4, 3), 80, 40), (1, (7, 4), 40, 60), (3, (3, 2), 120, 20)],
)
def test_cells_of_tiles_are_strides_around_their_centres(stride, shape, step, margin):
    """Ten by seven patches of 40 m, and tiles of four."""
    grid = patch_grid(axis(10, stride=stride), axis(7, stride=stride))
    cells = grid.cells("tile")
    assert cells.shape == shape
    assert cells.crs == "EPSG:32631"
    assert cells.transform == Affine(step, 0, WEST + margin, 0, -step, NORTH - margin)
    first = cells.boundingbox
    assert (first.left + step / 2, first.top - step / 2) == (WEST + 80, NORTH - 80)


def test_what_is_said_of_tiles():
    grid = patch_grid(axis(10, tile=8, stride=6), axis(5, tile=8, stride=6))
    assert grid.tile_shape == (8, 5)
    assert grid.overlap == 0.25


# Parts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cells", ["patch", "tile"])
def test_a_part_is_one_along_rows_and_one_along_columns(cells):
    rows, columns = axis(4, 4, 4), axis(3, 3, 2, 2)
    grid = patch_grid(rows, columns)
    along = ChunkedAxis.tile_part if cells == "tile" else ChunkedAxis.part
    part = grid.part(cells, (1, 2), (0, 2))
    assert part == MapPart(rows=along(rows, 1, 2), columns=along(columns, 0, 2))
    assert part.chunks == [(1, 0), (1, 1)]
    assert set(part.chunks) <= set(part.encoded)
    assert [part.at(*chunk) for chunk in part.chunks] == [(0, 0), (0, 1)]
