"""Patches, tiles and chunks: nothing left out, nothing twice, whatever the chunks."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xr_anysat.compute.tiles import blend_weights
from xr_anysat.layout.chunked_axis import ChunkedAxis
from xr_anysat.layout.chunks import recut
from xr_anysat.layout.patches import PatchAxis


@st.composite
def axes(draw):
    tile = draw(st.integers(1, 8))
    return PatchAxis(patches=draw(st.integers(1, 60)), tile=tile, stride=draw(st.integers(1, tile)))


@st.composite
def chunked_axes(draw):
    axis = draw(axes())
    inner = range(1, axis.patches)
    cuts = sorted(draw(st.sets(st.sampled_from(inner)))) if inner else []
    edges = [0, *cuts, axis.patches]
    return ChunkedAxis(axis=axis, chunks=tuple(b - a for a, b in pairwise(edges)))


def times_seen(axis):
    """How many tiles each patch lies in."""
    seen = np.zeros(axis.patches, dtype=int)
    for tile in range(axis.tiles):
        start, stop = axis.tile_range(tile)
        seen[start:stop] += 1
    return seen


# -- an axis -----------------------------------------------------------------------------------


@given(axes())
def test_tiles_cover_the_axis_and_none_is_idle(axis):
    assert (times_seen(axis) >= 1).all()
    ranges = [axis.tile_range(tile) for tile in range(axis.tiles)]
    assert ranges[-1][1] == axis.patches
    # all but the last end before the axis does: without the last one, something is not covered
    assert all(stop < axis.patches for _, stop in ranges[:-1])


@given(axes())
def test_tiles_lie_at_their_stride_from_the_corner(axis):
    for tile in range(axis.tiles):
        start, stop = axis.tile_range(tile)
        assert start == tile * axis.stride
        assert stop - start == axis.tile or (tile == axis.tiles - 1 and stop == axis.patches)


@given(axes())
def test_only_overlapping_tiles_share_patches(axis):
    if not axis.overlapping:
        assert (times_seen(axis) == 1).all()
    elif axis.tiles > 1:
        assert times_seen(axis).max() > 1


@pytest.mark.parametrize(
    ("patches", "ranges"),
    [
        (16, [(0, 16)]),
        (17, [(0, 16), (8, 17)]),
        (24, [(0, 16), (8, 24)]),
        (25, [(0, 16), (8, 24), (16, 25)]),
        (1, [(0, 1)]),
    ],
)
def test_default_tiles_of_16_patches(patches, ranges):
    axis = PatchAxis(patches=patches, tile=16, stride=8)
    assert [axis.tile_range(tile) for tile in range(axis.tiles)] == ranges


# -- chunks of an axis -------------------------------------------------------------------------


@given(chunked_axes())
def test_every_tile_belongs_to_the_chunk_it_begins_in_and_to_no_other(chunked):
    owned = [list(chunked.tiles_of(index)) for index in range(len(chunked.chunks))]
    assert [tile for tiles in owned for tile in tiles] == list(range(chunked.axis.tiles))
    for index, tiles in enumerate(owned):
        start, stop = chunked.patch_range(index)
        assert all(start <= chunked.axis.tile_range(tile)[0] < stop for tile in tiles)


@given(chunked_axes())
def test_patches_of_chunks_add_up(chunked):
    assert chunked.edges[0] == 0
    assert chunked.edges[-1] == chunked.axis.patches
    for index, size in enumerate(chunked.chunks):
        start, stop = chunked.patch_range(index)
        assert stop - start == size
        assert start == sum(chunked.chunks[:index])
        assert chunked.patches_of((0, index + 1)) == (0, stop)


@given(chunked_axes())
def test_windows_are_just_what_the_tiles_see(chunked):
    for index in range(len(chunked.chunks)):
        ranges = [chunked.axis.tile_range(tile) for tile in chunked.tiles_of(index)]
        expected = (ranges[0][0], max(stop for _, stop in ranges)) if ranges else (0, 0)
        assert chunked.window_of(index) == expected


@given(chunked_axes())
def test_overlaps_put_a_window_together(chunked):
    patches = np.arange(chunked.axis.patches)
    for index in range(len(chunked.chunks)):
        window = chunked.window_of(index)
        out = np.full(window[1] - window[0], -1)
        for part in chunked.overlaps(window):
            block = patches[slice(*chunked.patch_range(part.index))]
            assert (out[slice(*part.target)] == -1).all()
            assert part.source[1] <= len(block)
            out[slice(*part.target)] = block[slice(*part.source)]
        np.testing.assert_array_equal(out, patches[slice(*window)])


@given(chunked_axes())
def test_contributions_bring_every_tile_to_every_patch_once(chunked):
    axis = chunked.axis
    whole = times_seen(axis)
    for index in range(len(chunked.chunks)):
        start, stop = chunked.patch_range(index)
        found = np.zeros(stop - start, dtype=int)
        parts = chunked.contributions(index)
        assert len({part.index for part in parts}) == len(parts)
        for part in parts:
            low, high = chunked.window_of(part.index)
            own = np.zeros(high - low, dtype=int)
            for tile in chunked.tiles_of(part.index):
                first, last = axis.tile_range(tile)
                own[first - low : last - low] += 1
            assert low + part.source[0] == start + part.target[0]
            found[slice(*part.target)] += own[slice(*part.source)]
        np.testing.assert_array_equal(found, whole[start:stop])


@given(chunked_axes(), st.data())
def test_a_window_cut_out_has_chunks_as_long(chunked, data):
    start = data.draw(st.integers(0, chunked.axis.patches - 1))
    stop = data.draw(st.integers(start + 1, chunked.axis.patches))
    alone = chunked.cut_out((start, stop))
    assert alone.axis.patches == sum(alone.chunks) == stop - start
    assert (alone.axis.tile, alone.axis.stride) == (chunked.axis.tile, chunked.axis.stride)
    assert max(alone.chunks) <= max(chunked.chunks)
    assert set(alone.chunks[:-1]) <= {max(chunked.chunks)}


@pytest.mark.parametrize("chunks", [(2, 1), (2, 3), (4, 0), (5, -1)])
def test_chunks_that_do_not_make_up_the_axis_are_refused(chunks):
    with pytest.raises(ValueError, match="do not cut"):
        ChunkedAxis(axis=PatchAxis(patches=4, tile=2, stride=1), chunks=chunks)


# -- blending ----------------------------------------------------------------------------------


@given(st.integers(1, 256))
def test_blend_weights_are_symmetric_positive_and_fall_towards_the_edge(tile):
    weights = blend_weights(tile)
    assert weights.shape == (tile,)
    assert weights.dtype == np.float32
    assert (weights > 0).all()
    assert weights.max() <= 1
    np.testing.assert_allclose(weights, weights[::-1], rtol=1e-5)
    assert (np.diff(weights[: (tile + 1) // 2]) > 0).all()


@given(st.integers(1, 128))
def test_blend_weights_of_neighbours_add_up_to_one_at_half_overlap(half):
    weights = blend_weights(2 * half)
    np.testing.assert_allclose(weights[:half] + weights[half:], 1, rtol=1e-6)


# -- cutting -----------------------------------------------------------------------------------


sources = st.lists(st.integers(1, 400), min_size=1, max_size=12)


@given(chunks=sources, unit=st.integers(1, 70), limit=st.integers(1, 600))
def test_recut(chunks, unit, limit):
    sizes = recut(chunks, unit, limit)
    assert sum(sizes) == sum(chunks)
    assert min(sizes) >= 1
    assert max(sizes) <= max(limit, unit)
    assert all(size % unit == 0 for size in sizes[:-1])
    assert len(set(sizes[:-1])) <= 1  # Zarr needs chunks of one size, the last one smaller
    assert sizes[-1] <= sizes[0]


@given(
    block=st.integers(1, 60),
    blocks=st.integers(2, 12),
    unit=st.integers(1, 20),
    limit=st.integers(1, 300),
    rest=st.integers(0, 19),
)
def test_recut_keeps_to_the_edges_of_a_source_that_is_aligned(block, blocks, unit, limit, rest):
    """A chunk is a part of one block of the source, or several whole ones, unless it is tiny."""
    chunks = [block * unit] * blocks + [min(rest, unit - 1)]
    source = {0, *np.cumsum(chunks).tolist()}
    sizes = recut(chunks, unit, limit)
    edges = [0, *np.cumsum(sizes).tolist()]
    largest = max(1, limit // unit) * unit
    parts = [block * unit // n for n in range(1, block + 1) if block % n == 0]
    fitting = max(part for part in parts if part <= largest)
    for start, stop in pairwise(edges):
        inside = any(start < edge < stop for edge in source)
        whole = start in source and stop in source
        assert whole or not inside or 2 * fitting < largest


@pytest.mark.parametrize(
    ("chunks", "unit", "limit", "expected"),
    [
        ((512, 512, 300), 4, 512, (512, 512, 300)),
        ((512, 512, 300), 4, 209, (128,) * 10 + (44,)),
        ((512, 512), 4, 256, (256, 256, 256, 256)),
        ((10, 10, 10, 10), 4, 100, (40,)),  # small blocks are joined
        ((10, 10, 10), 10, 25, (20, 10)),
        ((192,), 4, 64, (64, 64, 64)),
        ((100,), 4, 64, (52, 48)),  # nearly equal parts
        ((13, 13), 4, 12, (12, 12, 2)),  # no edge of the source is one of a unit
        ((412, 512), 4, 209, (208, 208, 208, 208, 92)),
        ((12, 1), 4, 13, (13,)),  # what fits the limit is not cut for its odd end
        ((5,), 10, 3, (5,)),  # less than a unit
    ],
)
def test_recut_by_example(chunks, unit, limit, expected):
    assert recut(chunks, unit, limit) == expected
