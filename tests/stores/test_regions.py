"""Regions cover a map once each, in whatever shares and waves."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.findings import finds

from xr_anysat import OptionError
from xr_anysat.stores.regions import RegionGrid, waves

axis = st.integers(1, 9).flatmap(
    lambda size: st.integers(1, 60).map(
        lambda n: tuple(min(size, n - start) for start in range(0, n, size))
    )
)


@settings(max_examples=30)
@given(rows=axis, columns=axis, parts=st.integers(1, 2))
def test_regions_cover_the_map_once(rows, columns, parts):
    grid = RegionGrid.of(((64,) * parts, rows, columns))
    assert grid.shape == (64 * parts, sum(rows), sum(columns))
    assert grid.sizes == ((64,) * parts, rows, columns)
    assert len(grid) == len(rows) * len(columns)
    seen = np.zeros(grid.shape[1:], dtype=int)
    for region in range(len(grid)):
        seen[grid.window(region)] += 1
        assert grid.number(grid.name(region)) == region
        assert len(grid.files(region)) == parts
    assert (seen == 1).all()
    assert all(shard % chunk == 0 for shard, chunk in zip(grid.shards, grid.chunks, strict=True))
    assert RegionGrid.from_json(json.loads(json.dumps(grid.to_json()))) == grid


@pytest.mark.parametrize(
    ("sizes", "chunks"),
    [
        (((768, 768), (128, 128), (128, 5)), (32, 128, 128)),
        (((768, 768), (208, 7), (208,)), (32, 104, 104)),
        (((768,), (1024,), (1024,)), (32, 128, 128)),
        (((768,), (251,), (52,)), (32, 251, 52)),  # a prime: no crumbs
        (((250,), (8,), (8,)), (25, 8, 8)),
    ],
)
def test_chunks_within_a_file(sizes, chunks):
    assert RegionGrid.of(sizes).chunks == chunks


@settings(max_examples=30)
@given(count=st.integers(1, 100), parts=st.integers(1, 12))
def test_shares_are_all_of_it(count, parts):
    grid = RegionGrid.of(((8,), (2,) * count, (3,)))
    found = [region for n in range(parts) for region in grid.select(f"{n + 1}/{parts}")]
    assert found == list(range(count))


def test_what_regions_can_be():
    grid = RegionGrid.of(((8,), (2, 2, 2), (3, 3)))
    assert grid.select(None) == [0, 1, 2, 3, 4, 5]
    assert grid.select(slice(1, None, 2)) == [1, 3, 5]
    assert grid.select(slice(None, None, -1)) == [0, 1, 2, 3, 4, 5]
    assert grid.select([4, 1, 4]) == [1, 4]
    assert grid.select(range(2)) == [0, 1]
    assert grid.select(np.array([5])) == [5]
    assert grid.select(3) == [3]
    assert grid.select([]) == []
    for wrong in ("3", "0/3", "4/3", 2.5, [1.5], [True], slice("a", "b")):
        with finds("regions.unreadable", OptionError):
            grid.select(wrong)
    with finds("regions.outside", OptionError) as caught:
        grid.select([6, -1])
    data = caught.value.findings[0].data
    assert (data["given"].value, data["count"], data["last"]) == ([-1, 6], 6, 5)


@settings(max_examples=50)
@given(
    chosen=st.sets(st.integers(0, 47)).map(sorted),
    limit=st.integers(1, 60),
)
def test_waves_hold_all_and_not_too_many(chosen, limit):
    grid = RegionGrid.of(((8,), (2,) * 6, (2,) * 8))
    found = waves(grid, chosen, limit)
    assert [region for wave in found for region in wave] == chosen
    assert all(wave for wave in found)
    for (top, bottom), (left, right) in map(grid.around, found):
        assert (bottom - top) * (right - left) <= limit


def test_waves_are_of_whole_rows():
    grid = RegionGrid.of(((8,), (2,) * 6, (2,) * 8))
    assert [len(wave) for wave in waves(grid, range(48), 20)] == [16, 16, 16]
    assert [len(wave) for wave in waves(grid, range(48), 5)] == [5, 3] * 6
