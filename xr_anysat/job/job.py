"""An embedding to be built, and parts of one."""

from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from xr_anysat.compute.encode import EncodeSpec
from xr_anysat.compute.normalize import Normalization
from xr_anysat.cube.dates import day_of_year
from xr_anysat.cube.spec import CubeSpec
from xr_anysat.layout.chunks import working_chunks
from xr_anysat.layout.tiles import ChunkedAxis, Part

from .model import Model
from .options import Settings

__all__ = ["Job", "JobPart", "find_chunk", "find_job"]


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
    chunk: EncodeSpec
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


def find_chunk(
    spec: CubeSpec,
    settings: Settings,
    model: Model,
    how: Normalization,
    groups: tuple[tuple[int, ...], ...] | None,
    moments: npt.NDArray[np.datetime64],
) -> EncodeSpec:
    """Say how pixels are encoded.

    Parameters
    ----------
    spec, settings
        The cube, and its patches and tiles.
    model
        The network, its weights found.
    how
        Normalisation.
    groups, moments
        Positions of the dates of each composite, if any, and the date of each image.
    """
    return EncodeSpec(
        model=model,
        patch=settings.rows.patch,
        gsd=spec.gsd,
        day_of_year=tuple(day_of_year(moments).tolist()),
        nodata=spec.nodata,
        normalization=how,
        groups=groups,
        tile=settings.tile_size if how.kind == "tile_zscore" else None,
        sub_patches=settings.map_mode == "grid",
        dtype="float32" if settings.mode == "pooled" else settings.dtype,
    )


def find_job(
    settings: Settings,
    chunk: EncodeSpec,
    sizes: tuple[tuple[int, ...], ...],
    dates: int,
    longest: int | None,
) -> Job:
    """Cut an embedding into chunks at work.

    Parameters
    ----------
    settings, chunk
        Patches and tiles, and how pixels are encoded.
    sizes
        The cube's own chunks, along y and x.
    dates
        Images of the cube that are read.
    longest
        Pixels that a chunk at work may be long, if that is limited.
    """
    work = working_chunks(
        sizes, _chunk_unit(settings, chunk), dates, _bytes_per_pixel(settings, chunk), longest
    )
    rows, columns = (
        ChunkedAxis(axis=axis, chunks=lengths)
        for axis, lengths in zip((settings.rows, settings.columns), work, strict=True)
    )
    return Job(
        mode=settings.map_mode,
        rows=rows,
        columns=columns,
        patch_size=settings.patch_size,
        chunk=chunk,
    )


def _chunk_unit(settings: Settings, chunk: EncodeSpec) -> int:
    """Give what chunks are multiples of, in pixels: whole tiles, strides or patches."""
    if chunk.tile is not None:
        return chunk.tile
    stride = settings.rows.stride if settings.map_mode == "tile" else 1
    return stride * chunk.patch


def _bytes_per_pixel(settings: Settings, chunk: EncodeSpec) -> float:
    width = 4 * chunk.model.config.width
    return width if chunk.sub_patches else width / chunk.patch**2
