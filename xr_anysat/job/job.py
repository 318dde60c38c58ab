"""An embedding to be made: one frozen description that everything else reads."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

import dask.array as da
import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from xr_anysat.cube.canonical import CanonicalCube
from xr_anysat.cube.dates import day_of_year
from xr_anysat.findings import Finding
from xr_anysat.layout.geometries import Geometries
from xr_anysat.layout.grid import Cells, MapPart, PatchGrid, PixelGrid
from xr_anysat.layout.selection import ALL, Selection, select
from xr_anysat.layout.shares import Shares

from .frames import Groups
from .model import Model
from .normalization import Normalization, with_numbers

__all__ = ["EmbedJob", "Output", "SensorInput"]

Chunks = tuple[int, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class SensorInput:
    """Input of a job from one sensor.

    Parameters
    ----------
    cube
        The cube, squeezed into one tile with ``prep="resize"``.
    prep
        "tile" or "resize".
    pixels
        Its pixels under the patches of the map.
    normalization
        How values are normalised.
    stats
        (2, C) lazy mean and deviation, where such were given.
    moments
        (F,) datetime64: the date of each image that is embedded.
    used
        Positions of the dates that are read, where a period leaves others out.
    groups
        Positions among these of the dates of each composite, or None.
    frames, frame_date
        The options for composites.
    """

    cube: CanonicalCube
    prep: str
    pixels: PixelGrid
    normalization: Normalization
    stats: da.Array | None
    moments: npt.NDArray[np.datetime64]
    used: tuple[int, ...] | None
    groups: Groups | None
    frames: int | None
    frame_date: str

    @property
    def day_of_year(self) -> tuple[int, ...]:
        """Of each image that is embedded, from 0."""
        return tuple(day_of_year(self.moments).tolist())

    @property
    def dates_read(self) -> int:
        """Dates of the cube that are read."""
        return len(self.cube.spec.dates if self.used is None else self.used)

    @property
    def frame_positions(self) -> list[list[int]] | None:
        """Positions in the cube of the dates of each composite."""
        if self.groups is None:
            return None
        used = range(len(self.cube.spec.dates)) if self.used is None else self.used
        return [[used[date] for date in group] for group in self.groups]

    @property
    def pending(self) -> bool:
        """Whether statistics are still to be computed."""
        return self.normalization.kind == "stats" and self.normalization.mean is None

    @property
    def reads(self) -> int:
        """How often the cube is read: twice where its own statistics come first."""
        return 2 if self.cube.lazy and self.pending and not self.normalization.fixed else 1

    def with_stats(self, mean: Sequence[float], std: Sequence[float]) -> "SensorInput":
        """Take statistics that have been computed."""
        how = with_numbers(self.normalization, mean, std)
        return replace(self, normalization=how, stats=None)


@dataclass(frozen=True, kw_only=True, eq=False)
class Output:
    """Output of a job.

    Parameters
    ----------
    mode, pooling, pool_from, dtype
        The options.
    geometries, shares
        To pool over, and the cells that they touch.
    """

    mode: str
    pooling: str
    pool_from: str
    dtype: str
    geometries: Geometries | None = None
    shares: Shares | None = None

    @property
    def map_mode(self) -> str:
        """Mode of the map that is computed: "grid", "patch" or "tile"."""
        return self.pool_from if self.mode == "pooled" else self.mode

    @property
    def cells(self) -> Cells:
        """Cells that tiles say something about."""
        return "tile" if self.map_mode == "tile" else "patch"

    @property
    def map_dtype(self) -> str:
        """Of the map that is computed."""
        return "float32" if self.mode == "pooled" else self.dtype


@dataclass(frozen=True, kw_only=True, eq=False)
class EmbedJob:
    """An embedding to be made: everything decided, and nothing computed.

    Parameters
    ----------
    model
        The network, its weights found.
    layout
        Patches, tiles and chunks of the map.
    inputs
        One for each sensor; the first is the reference, whose extent is the map's.
    output
        What is made of the embedding.
    findings
        What `embed` warns of.
    """

    model: Model
    layout: PatchGrid
    inputs: tuple[SensorInput, ...]
    output: Output
    findings: tuple[Finding, ...] = ()

    @property
    def reference(self) -> SensorInput:
        """The sensor whose extent is the map's."""
        return self.inputs[0]

    @property
    def cube(self) -> CanonicalCube:
        """The reference's cube."""
        return self.reference.cube

    @property
    def lazy(self) -> bool:
        """Whether the result is."""
        return any(each.cube.lazy for each in self.inputs)

    @property
    def width(self) -> int:
        """Channels of a token (D)."""
        return self.model.config.width

    @property
    def pixel_chunks(self) -> tuple[Chunks, Chunks]:
        """Pixels of the reference in each chunk, along rows and columns."""
        pixels = self.reference.pixels
        return pixels.sizes(0, self.layout.rows), pixels.sizes(1, self.layout.columns)

    @property
    def geobox(self) -> GeoBox:
        """Grid of the map, north up."""
        if self.output.map_mode == "grid":
            return self.cube.spec.geobox
        return self.layout.cells(self.output.cells)

    @property
    def out_chunks(self) -> tuple[Chunks, Chunks, Chunks]:
        """Chunks of the (feature, y, x) map."""
        axes = (self.layout.rows, self.layout.columns)
        match self.output.map_mode:
            case "grid":  # context and local halves apart
                return (self.width,) * 2, *self.pixel_chunks
            case "patch":
                return (self.width,), axes[0].chunks, axes[1].chunks
        rows, columns = (tuple(len(a.tiles_of(n)) for n in a.with_tiles) for a in axes)
        return (self.width,), rows, columns

    @cached_property
    def selection(self) -> Selection:
        """What of the map geometries need."""
        if self.output.shares is None:
            return ALL
        layout, whole_tiles = self.layout, self.output.cells == "tile"
        cells = self.output.shares.cells
        return select(cells, layout.rows, layout.columns, whole_tiles=whole_tiles)

    def part(self, rows: tuple[int, int], columns: tuple[int, int]) -> MapPart:
        """Find what a part of the map needs: chunks of it as (first, one after the last)."""
        return self.layout.part(self.output.cells, rows, columns)

    @property
    def whole(self) -> MapPart:
        """All of the map."""
        _, rows, columns = self.out_chunks
        return self.part((0, len(rows)), (0, len(columns)))

    def with_input(self, changed: SensorInput) -> "EmbedJob":
        """Take another description of the reference."""
        return replace(self, inputs=(changed, *self.inputs[1:]))

    def computing(self, dtype: str) -> "EmbedJob":
        """Compute blocks in another dtype."""
        return replace(self, output=replace(self.output, dtype=dtype))

    def window(self, rows: tuple[int, int], columns: tuple[int, int]) -> "EmbedJob":
        """Embed a window of patches alone, in chunks as long as the map's.

        The window is to begin with a tile and end with one, or at the end of the map.
        """
        axes = self.layout.rows.cut_out(rows), self.layout.columns.cut_out(columns)
        inputs = []
        for each in self.inputs:
            spans = each.pixels.span(0, rows), each.pixels.span(1, columns)
            shape = cast(Any, tuple(span.stop - span.start for span in spans))
            pixels = replace(each.pixels, shape=shape)
            inputs.append(replace(each, cube=each.cube.window(*spans), pixels=pixels))
        layout = replace(self.layout, rows=axes[0], columns=axes[1])
        return replace(self, layout=layout, inputs=tuple(inputs))
