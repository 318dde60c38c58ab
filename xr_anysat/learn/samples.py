"""Labelled pixels of a cube, and the squares in space that they are in.

Neighbouring pixels resemble one another whatever the features, so that whole squares are left out
where something is judged.
"""

from dataclasses import dataclass
from typing import Any

import dask.array as da
import dask.base
import numpy as np
import numpy.typing as npt
import xarray as xr

from xr_anysat.cube.canonical import CanonicalCube
from xr_anysat.errors import OptionError
from xr_anysat.findings import Call, SetOption
from xr_anysat.formatting import count_text
from xr_anysat.job.options import check_whole
from xr_anysat.results.statistics import count_valid_dates

__all__ = ["Samples", "draw_samples", "square_numbers"]

Array = npt.NDArray[Any]

LEAST = 20
"""Fewest pixels of a class that can be scored."""

MINIMUM_FOLDS = 2


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Labelled pixels.

    Parameters
    ----------
    rows, columns
        (n,) of each pixel, in the order of the user's cube.
    labels
        (n,) classes.
    blocks
        (n,) number of the square in space that a pixel is in.
    folds
        How many folds the blocks are divided into.
    """

    rows: Array
    columns: Array
    labels: Array
    blocks: Array
    folds: int

    def of_embedding(self, embedding: xr.DataArray) -> Array:
        """Features of the pixels, (n, feature); of a lazy embedding, chunk by chunk."""
        places = {"y": self.rows, "x": self.columns}
        at = {name: xr.DataArray(along, dims="n") for name, along in places.items()}
        return np.asarray(embedding.isel(at).transpose("n", "feature").values)

    def of_cube(self, data: da.Array, cube: CanonicalCube) -> Array:
        """Values of the pixels in a (..., y, x) array that is north up, (..., n)."""
        spec, every = cube.spec, (slice(None),) * (data.ndim - 2)
        at = spec.orientation.indices(self.rows, self.columns, spec.shape)
        points = data.vindex[(*every, *at)]  # its points come first
        return np.moveaxis(np.asarray(points), 0, -1)


def draw_samples(
    cube: CanonicalCube,
    labels: xr.DataArray | None,
    *,
    pixels: int = 3000,
    block: int = 16,
    folds: int = 5,
    seed: int = 0,
) -> Samples:
    """Draw labelled pixels that have a valid date, as evenly from the classes as possible.

    Classes of fewer than 20 pixels, or in a single square, are left out: they cannot be
    cross-validated.

    Raises
    ------
    OptionError
        For labels that do not fit, or too few of them.
    """
    check_whole("pixels", pixels)
    check_whole("block", block)
    check_whole("folds", folds, MINIMUM_FOLDS)
    classes = _classes(cube, labels)
    (counts,) = dask.base.compute(count_valid_dates(cube))
    rows, columns = np.nonzero((classes != 0) & (cube.own_order(counts) > 0))
    classes = classes[rows, columns]
    blocks = square_numbers(rows, columns, block, cube.spec.shape[1])
    of_class = {label: np.flatnonzero(classes == label) for label in np.unique(classes)}
    kept = [
        places
        for places in of_class.values()
        if len(places) >= LEAST and len(np.unique(blocks[places])) > 1
    ]
    if len(kept) < 2:
        count = count_text(len(kept), "class", "classes")
        size = SetOption("block")
        raise OptionError("labels.too-few", size, count=count, least=LEAST, block=block)
    rng = np.random.default_rng(seed)
    most = max(LEAST, pixels // len(kept))
    drawn = [rng.choice(places, min(len(places), most), replace=False) for places in kept]
    taken = np.sort(np.concatenate(drawn))
    return Samples(
        rows=rows[taken],
        columns=columns[taken],
        labels=classes[taken],
        blocks=blocks[taken],
        folds=min(folds, len(np.unique(blocks[taken]))),
    )


def square_numbers(rows: Array, columns: Array, block: int, width: int) -> Array:
    """Give the number of the square in space that each pixel is in.

    Parameters
    ----------
    rows, columns
        (n,) of the pixels.
    block
        Pixels of a side of a square.
    width
        Columns of the whole grid.
    """
    return (rows // block) * -(-width // block) + columns // block


def _classes(cube: CanonicalCube, labels: xr.DataArray | None) -> Array:
    """(y, x) integers in the order of the user's cube, 0 where there is no label."""
    array, spec = cube.source, cube.spec
    option = SetOption("labels")
    if labels is None:
        if "land_cover" not in array.coords:
            raise OptionError("labels.absent", option)
        labels = array["land_cover"]
    dims = (spec.y_dim, spec.x_dim)
    if not isinstance(labels, xr.DataArray) or set(labels.dims) != set(dims):
        kind = getattr(labels, "dims", type(labels).__name__)
        raise OptionError("labels.dimensions", option=option, kind=kind, dims=dims)
    others = {dim: 0 for dim in array.dims if dim not in dims}
    grid = array.isel(others, drop=True).reset_coords(drop=True)
    try:
        _, labels = xr.align(grid, labels.reset_coords(drop=True), join="exact", copy=False)
    except ValueError as error:
        repair = Call('labels.odc.reproject(cube.odc.geobox, resampling="nearest")')
        raise OptionError("labels.other-grid", repair, option=option, error=error) from error
    nodata = labels.rio.nodata if labels.rio.nodata is not None else labels.rio.encoded_nodata
    values = np.asarray(labels.transpose(*dims).values)
    missing = np.zeros(values.shape, dtype=bool)
    if values.dtype.kind == "f":
        missing = np.isnan(values)
        values = np.where(missing, 0, values)
        if (values != np.round(values)).any():
            raise OptionError("labels.fractions", option=option)
    if nodata is not None and not np.isnan(nodata):
        missing |= values == nodata
    return np.where(missing, 0, values).astype(np.int64)
