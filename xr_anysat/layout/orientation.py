"""Which way the rows and columns of a user's grid run: here alone grids and arrays are turned."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

__all__ = ["Orientation"]

S = TypeVar("S", bound=Sequence[Any])
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Orientation:
    """The way a user's grid runs. Within the package, grids run from north to south, west to east.

    Parameters
    ----------
    south_up
        Whether rows run from south to north.
    east_left
        Whether columns run from east to west.
    """

    south_up: bool = False
    east_left: bool = False

    def array(self, data: Any) -> Any:
        """Turn (..., y, x) values from north up to the user's way, or back."""
        if not (self.south_up or self.east_left):
            return data
        return data[..., :: -1 if self.south_up else 1, :: -1 if self.east_left else 1]

    def geobox(self, geobox: GeoBox) -> GeoBox:
        """Turn a grid that is north up."""
        geobox = geobox.flipy() if self.south_up else geobox
        return geobox.flipx() if self.east_left else geobox

    def axes(self, rows: S, columns: S) -> tuple[S, S]:
        """Turn what is listed along rows and along columns: chunks, cells."""
        rows = rows[::-1] if self.south_up else rows  # type: ignore[assignment]
        columns = columns[::-1] if self.east_left else columns  # type: ignore[assignment]
        return rows, columns

    def span(self, axis: int, span: tuple[int, int], length: int) -> tuple[int, int]:
        """Turn a range along an axis of some length: 0 for rows, 1 for columns."""
        turned = (self.south_up, self.east_left)[axis]
        return (length - span[1], length - span[0]) if turned else span

    def indices(
        self, rows: Indices, columns: Indices, shape: tuple[int, int]
    ) -> tuple[Indices, Indices]:
        """Turn indices of cells of a grid of some shape."""
        return (
            shape[0] - 1 - rows if self.south_up else rows,
            shape[1] - 1 - columns if self.east_left else columns,
        )
