"""An embedding to be built, and parts of one."""

from dataclasses import dataclass
from itertools import product

from xr_anysat.compute.inference import ChunkSpec
from xr_anysat.tiling import ChunkedAxis, Part

__all__ = ["Job", "JobPart"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """An embedding to be built.

    Parameters
    ----------
    mode
        "grid", "patch" or "tile".
    rows, columns
        The cube's axes and their chunks.
    chunk
        How pixels are encoded.
    patch_size
        Metres.
    """

    mode: str
    rows: ChunkedAxis
    columns: ChunkedAxis
    chunk: ChunkSpec
    patch_size: float

    @property
    def channels(self) -> int:
        """Channels of a token (D)."""
        return self.chunk.model.config.width

    @property
    def out_chunks(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Chunks of the (feature, y, x) result."""
        if self.mode == "grid":  # context and local halves apart
            return (self.channels,) * 2, self.rows.chunks, self.columns.chunks
        if self.mode == "patch":
            return (self.channels,), self.rows.patch_chunks, self.columns.patch_chunks
        rows, columns = (
            tuple(len(axis.tiles_of(index)) for index in axis.with_tiles)
            for axis in (self.rows, self.columns)
        )
        return (self.channels,), rows, columns

    def part(self, rows: tuple[int, int], columns: tuple[int, int]) -> "JobPart":
        """Find what a part of the result needs: chunks of it as (first, one after the last)."""
        if self.mode == "tile":
            found = self.rows.tile_part(*rows), self.columns.tile_part(*columns)
        else:
            found = self.rows.part(*rows), self.columns.part(*columns)
        return JobPart(rows=found[0], columns=found[1])

    @property
    def whole(self) -> "JobPart":
        """All of the result."""
        _, rows, columns = self.out_chunks
        return self.part((0, len(rows)), (0, len(columns)))


@dataclass(frozen=True, kw_only=True)
class JobPart:
    """A part of an embedding, and what it needs of the cube."""

    rows: Part
    columns: Part

    @property
    def cells(self) -> list[tuple[int, int]]:
        """Chunks of the result."""
        return list(product(range(*self.rows.result), range(*self.columns.result)))

    @property
    def encoded(self) -> list[tuple[int, int]]:
        """Chunks whose pixels are needed."""
        return list(product(range(*self.rows.pixels), range(*self.columns.pixels)))

    def at(self, row: int, column: int) -> tuple[int, int]:
        """Where a chunk lies in the array of this part."""
        return row - self.rows.result[0], column - self.columns.result[0]
