"""Regions of a map, which are written one by one: integers only."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from xr_anysat.errors import OptionError
from xr_anysat.findings import SetOption

__all__ = ["RegionGrid", "Regions", "waves"]

Regions = slice | Sequence[int] | str

FEATURES = 32
"""Features of a chunk: reading one feature then reads 1/24 of an embedding of base size, and chunks
compress and read as fast as larger ones."""

SIDE = 128
"""Maximum cells along a side of a chunk: 2 MB in float32, so that a few pixels with all their
features can be read without a whole region."""


@dataclass(frozen=True, kw_only=True)
class RegionGrid:
    """A (feature, y, x) map cut into regions, numbered row by row in the order it is stored.

    Parameters
    ----------
    shape
        Of the map.
    shards
        Of a file: (features, rows, columns) that are written at once.
    chunks
        Of the part of a file that can be read by itself.
    """

    shape: tuple[int, int, int]
    shards: tuple[int, int, int]
    chunks: tuple[int, int, int]

    @classmethod
    def of(cls, sizes: Sequence[Sequence[int]]) -> "RegionGrid":
        """Make regions of the chunks of a lazy map, the largest along each axis."""
        features, rows, columns = (max(axis) for axis in sizes)
        return cls(
            shape=(sum(sizes[0]), sum(sizes[1]), sum(sizes[2])),
            shards=(features, rows, columns),
            chunks=(_divisor(features, FEATURES), _divisor(rows, SIDE), _divisor(columns, SIDE)),
        )

    @classmethod
    def from_json(cls, value: dict[str, list[int]]) -> "RegionGrid":
        """Read what `to_json` returned."""
        shapes: dict[str, Any] = {each.name: tuple(value[each.name]) for each in fields(cls)}
        return cls(**shapes)

    def to_json(self) -> dict[str, list[int]]:
        """Shapes as lists, for JSON."""
        return {name: list(shape) for name, shape in asdict(self).items()}

    @property
    def blocks(self) -> tuple[int, int, int]:
        """Number of files along each axis."""
        f, y, x = (-(-n // size) for n, size in zip(self.shape, self.shards, strict=True))
        return f, y, x

    @property
    def sizes(self) -> tuple[tuple[int, ...], ...]:
        """Chunks of a lazy map with a block for each file."""
        return tuple(
            tuple(min(size, n - start) for start in range(0, n, size))
            for n, size in zip(self.shape, self.shards, strict=True)
        )

    def __len__(self) -> int:
        return self.blocks[1] * self.blocks[2]

    def position(self, region: int) -> tuple[int, int]:
        """Row and column of a region, counted in regions."""
        return divmod(region, self.blocks[2])

    def name(self, region: int) -> str:
        """Row and column as text, for the names of objects."""
        row, column = self.position(region)
        return f"{row}.{column}"

    def number(self, name: str) -> int | None:
        """Region of a name, None where it is the name of no region."""
        match = re.fullmatch(r"([0-9]+)\.([0-9]+)", name)
        row, column = map(int, match.groups()) if match else self.blocks[1:]
        inside = row < self.blocks[1] and column < self.blocks[2]
        return row * self.blocks[2] + column if inside else None

    def window(self, region: int) -> tuple[slice, slice]:
        """Rows and columns of the map that a region covers."""
        rows, columns = (
            slice(index * size, min((index + 1) * size, n))
            for index, size, n in zip(
                self.position(region), self.shards[1:], self.shape[1:], strict=True
            )
        )
        return rows, columns

    def around(self, regions: Sequence[int]) -> tuple[tuple[int, int], tuple[int, int]]:
        """Smallest rectangle around regions: rows and columns, each (first, after last)."""
        rows, columns = zip(*map(self.position, regions), strict=True)
        return (min(rows), max(rows) + 1), (min(columns), max(columns) + 1)

    def files(self, region: int) -> list[tuple[int, int, int]]:
        """Give the index of each file that holds a part of a region."""
        row, column = self.position(region)
        return [(part, row, column) for part in range(self.blocks[0])]

    def describe(self, region: int) -> str:
        """Where a region is, in words."""
        rows, columns = self.window(region)
        return (
            f"region {region} (rows {rows.start} to {rows.stop - 1}, columns {columns.start} to "
            f"{columns.stop - 1} of the map)"
        )

    def select(self, regions: Any) -> list[int]:
        """Regions that `regions=` names, in order.

        Raises
        ------
        OptionError
            For what names no regions, or none of this map.
        """
        everything, given = range(len(self)), SetOption("regions", regions)
        if regions is None:
            return list(everything)
        if isinstance(regions, slice):
            try:
                return sorted(everything[regions])
            except (TypeError, ValueError) as error:
                raise OptionError("regions.unreadable/slice", given=given, error=error) from None
        if isinstance(regions, str):
            share = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", regions)
            number, parts = map(int, share.groups()) if share else (0, 0)
            if not 1 <= number <= parts:
                raise OptionError("regions.unreadable/share", given=given)
            edges = [len(self) * n // parts for n in (number - 1, number)]
            return list(everything[slice(*edges)])
        numbers = [regions] if isinstance(regions, int | np.integer) else regions
        if not isinstance(numbers, Iterable) or not all(
            isinstance(n, int | np.integer) and not isinstance(n, bool) for n in numbers
        ):
            raise OptionError("regions.unreadable", given=given)
        chosen = {int(n) for n in numbers}
        if outside := sorted(chosen - set(everything)):
            given = SetOption("regions", outside)
            raise OptionError("regions.outside", given=given, count=len(self), last=len(self) - 1)
        return sorted(chosen)


def waves(grid: RegionGrid, regions: Sequence[int], limit: int) -> list[list[int]]:
    """Cut regions into waves, of whole rows where that is possible.

    The rectangle around a wave, which its graph is built for, has `limit` regions at most. Each
    wave computes the neighbours around its regions again, so a few large waves are cheaper.
    """
    rows: dict[int, list[int]] = {}
    for region in regions:
        row, column = grid.position(region)
        rows.setdefault(row, []).append(column)
    cut: list[list[int]] = []
    top, left, right = 0, 0, 0
    for row, columns in rows.items():
        for part in _cut_row(columns, limit):
            wide = min(left, part[0]), max(right, part[-1] + 1)
            if not cut or (row + 1 - top) * (wide[1] - wide[0]) > limit:
                cut.append([])
                top, wide = row, (part[0], part[-1] + 1)
            left, right = wide
            cut[-1] += [row * grid.blocks[2] + column for column in part]
    return cut


def _cut_row(columns: Sequence[int], limit: int) -> Iterator[list[int]]:
    """Cut a row into parts that span `limit` columns at most."""
    part: list[int] = []
    for column in columns:
        if part and column - part[0] >= limit:
            yield part
            part = []
        part.append(column)
    yield part


def _divisor(length: int, limit: int) -> int:
    """Largest divisor up to a limit; the length itself where that would be too small."""
    best = next(n for n in range(min(length, limit), 0, -1) if length % n == 0)
    return best if 4 * best >= min(length, limit) else length
