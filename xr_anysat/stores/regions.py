"""Regions of a map that is written one by one: whole numbers only."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from xr_anysat.errors import OptionError

__all__ = ["RegionGrid", "Regions", "waves"]

Regions = slice | Sequence[int] | str

FEATURES = 32
"""Features of a chunk: a map of one feature then reads 1/24 of an embedding of base size, and what
is stored compresses and reads as fast as in larger chunks."""

SIDE = 128
"""Cells along a side of a chunk at the most: 2 MB in float32, so that a few pixels with all their
features are had without reading a whole region."""


@dataclass(frozen=True, kw_only=True)
class RegionGrid:
    """A (feature, y, x) map cut into regions, numbered row by row in the order it is stored.

    Parameters
    ----------
    shape
        Of the map.
    shards
        Of the files: (features, rows, columns) that are written at once.
    chunks
        Of what can be read by itself within a file.
    """

    shape: tuple[int, int, int]
    shards: tuple[int, int, int]
    chunks: tuple[int, int, int]

    _names: ClassVar[tuple[str, ...]] = ("shape", "shards", "chunks")

    @classmethod
    def of(cls, sizes: Sequence[Sequence[int]]) -> "RegionGrid":
        """Lay regions where a lazy map has its chunks, the largest of each axis."""
        features, rows, columns = (max(axis) for axis in sizes)
        return cls(
            shape=(sum(sizes[0]), sum(sizes[1]), sum(sizes[2])),
            shards=(features, rows, columns),
            chunks=(_divisor(features, FEATURES), _divisor(rows, SIDE), _divisor(columns, SIDE)),
        )

    @classmethod
    def from_json(cls, value: dict[str, list[int]]) -> "RegionGrid":
        """Take it from what `to_json` gave."""
        shape, shards, chunks = ((a, b, c) for a, b, c in (value[name] for name in cls._names))
        return cls(shape=shape, shards=shards, chunks=chunks)

    def to_json(self) -> dict[str, list[int]]:
        """Shapes as JSON has them."""
        return {name: list(getattr(self, name)) for name in self._names}

    @property
    def blocks(self) -> tuple[int, int, int]:
        """Number of files along each axis."""
        f, y, x = (-(-n // size) for n, size in zip(self.shape, self.shards, strict=True))
        return f, y, x

    @property
    def sizes(self) -> tuple[tuple[int, ...], ...]:
        """Chunks of a lazy map that fit."""
        return tuple(
            tuple(min(size, n - start) for start in range(0, n, size))
            for n, size in zip(self.shape, self.shards, strict=True)
        )

    def __len__(self) -> int:
        return self.blocks[1] * self.blocks[2]

    def place(self, region: int) -> tuple[int, int]:
        """Row and column of a region among regions."""
        return divmod(region, self.blocks[2])

    def name(self, region: int) -> str:
        """Row and column, for the names of objects."""
        row, column = self.place(region)
        return f"{row}.{column}"

    def number(self, name: str) -> int | None:
        """Give the region of a name, None where it is that of no region."""
        found = re.fullmatch(r"([0-9]+)\.([0-9]+)", name)
        row, column = map(int, found.groups()) if found else self.blocks[1:]
        inside = row < self.blocks[1] and column < self.blocks[2]
        return row * self.blocks[2] + column if inside else None

    def window(self, region: int) -> tuple[slice, slice]:
        """Rows and columns of the map that a region has."""
        rows, columns = (
            slice(index * size, min((index + 1) * size, n))
            for index, size, n in zip(
                self.place(region), self.shards[1:], self.shape[1:], strict=True
            )
        )
        return rows, columns

    def around(self, regions: Sequence[int]) -> tuple[tuple[int, int], tuple[int, int]]:
        """Give the smallest rectangle of regions: rows and columns, each (first, after last)."""
        rows, columns = zip(*map(self.place, regions), strict=True)
        return (min(rows), max(rows) + 1), (min(columns), max(columns) + 1)

    def files(self, region: int) -> list[tuple[int, int, int]]:
        """Give the indices of the files that hold a region."""
        row, column = self.place(region)
        return [(part, row, column) for part in range(self.blocks[0])]

    def says(self, region: int) -> str:
        """Where a region is, in words."""
        rows, columns = self.window(region)
        return (
            f"region {region} (rows {rows.start} to {rows.stop - 1}, columns {columns.start} to "
            f"{columns.stop - 1} of the map)"
        )

    def select(self, regions: Any) -> list[int]:
        """Regions that were asked for, in order.

        Raises
        ------
        OptionError
            For what names no regions, or none of this map.
        """
        everything = range(len(self))
        if regions is None:
            return list(everything)
        if isinstance(regions, slice):
            try:
                return sorted(everything[regions])
            except (TypeError, ValueError) as error:
                raise OptionError(f"regions={regions!r} is no slice of numbers: {error}") from None
        if isinstance(regions, str):
            part = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", regions)
            number, parts = map(int, part.groups()) if part else (0, 0)
            if not 1 <= number <= parts:
                raise OptionError(
                    f'regions={regions!r} is no share; "2/8" is the second of eight jobs'
                )
            edges = [len(self) * n // parts for n in (number - 1, number)]
            return list(everything[slice(*edges)])
        numbers = [regions] if isinstance(regions, int | np.integer) else regions
        if not isinstance(numbers, Iterable) or not all(
            isinstance(n, int | np.integer) and not isinstance(n, bool) for n in numbers
        ):
            raise OptionError(
                f"regions={regions!r} is neither a share of the work such as "
                '"2/8", a slice, nor a list of whole numbers'
            )
        strange = sorted({int(n) for n in numbers} - set(everything))
        if strange:
            raise OptionError(
                f"regions={strange} are not of this map, which has {len(self)}, from 0 to "
                f"{len(self) - 1}"
            )
        return sorted({int(n) for n in numbers})


def waves(grid: RegionGrid, regions: Sequence[int], limit: int) -> list[list[int]]:
    """Cut regions into waves of whole rows where that is possible.

    The rectangle around a wave, which its graph is built for, has at most so many regions. A wave
    computes a ring of neighbours of its regions anew: few long waves have a short one.
    """
    rows: dict[int, list[int]] = {}
    for region in regions:
        row, column = grid.place(region)
        rows.setdefault(row, []).append(column)
    found: list[list[int]] = []
    top, left, right = 0, 0, 0
    for row, columns in rows.items():
        for part in _cut_row(columns, limit):
            wide = min(left, part[0]), max(right, part[-1] + 1)
            if not found or (row + 1 - top) * (wide[1] - wide[0]) > limit:
                found.append([])
                top, wide = row, (part[0], part[-1] + 1)
            left, right = wide
            found[-1] += [row * grid.blocks[2] + column for column in part]
    return found


def _cut_row(columns: Sequence[int], limit: int) -> Iterator[list[int]]:
    """Cut a row into parts that span no more than so many columns."""
    part: list[int] = []
    for column in columns:
        if part and column - part[0] >= limit:
            yield part
            part = []
        part.append(column)
    yield part


def _divisor(length: int, limit: int) -> int:
    """Find the largest divisor up to a limit, unless it would make crumbs."""
    best = next(n for n in range(min(length, limit), 0, -1) if length % n == 0)
    return best if 4 * best >= min(length, limit) else length
