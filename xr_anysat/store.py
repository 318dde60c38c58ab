"""Embeddings written region by region into a store that says how far it is."""

from collections.abc import Mapping
from typing import Any, Literal

import xarray as xr
from dask.base import tokenize

from ._warn import warn
from .arguments import check_choice, check_whole
from .embed import prepare_as_embed
from .errors import OptionError, StoreError, WeightsError
from .filling import fill
from .guard import check_blocks
from .layout import clear, is_laid_out, require_free
from .manifest import ARRAY, Manifest, check_same, describe
from .prepare import Cube, Mode
from .regions import RegionGrid, Regions
from .report import StoreReport
from .storage import Place, open_place

__all__ = ["StoreReport", "open_embedding", "to_zarr"]


def to_zarr(
    cube: Cube,
    store: Any,
    mode: Mode = "grid",
    *,
    resume: bool = True,
    overwrite: bool = False,
    retries: int = 2,
    on_error: Literal["raise", "skip"] = "raise",
    regions: Regions | None = None,
    progress: bool | None = None,
    storage_options: dict[str, Any] | None = None,
    **options: Any,
) -> StoreReport:
    """Embed a cube into a Zarr store, region by region; the same call again goes on.

    The store is laid out at first, then regions (chunks of the result with all their features)
    are computed and written, each recorded in the store once its data are there. A call that was
    interrupted in any way is repeated as it was: it makes sure that cube, model and options are
    the same, and does what is missing. The values of a lazy cube are not compared.

    Parameters
    ----------
    cube : xarray.DataArray or xarray.Dataset
        As in `embed`.
    store : str, path, fsspec mapping or zarr store
        A path, a URL such as ``s3://bucket/map.zarr``, or a ``zarr.storage`` object. Cluster
        workers have to see the same one.
    mode : {"grid", "patch", "tile"}
        As in `embed`.
    resume : bool
        Go on with what is there. If False, a store that holds anything is refused.
    overwrite : bool
        Delete the Zarr store that is there, and begin anew.
    retries : int
        How often a task that fails is tried again, after a pause. With ``on_error="skip"``,
        regions that failed nevertheless are tried once more at the end.
    on_error : {"raise", "skip"}
        What to do then: raise a `StoreError`, or leave the region NaN and go on. Regions left
        out are listed in the report and the store, and tried again by the next call.
    regions : str, slice or sequence of int, optional
        Part of the work, for several jobs at once: ``"2/8"`` is the second of eight shares;
        or numbers of regions, which are counted row by row from 0. Jobs share nothing but
        statistics, which the first one computes.
    progress : bool, optional
        Show a progress bar. Default: where someone may be looking.
    storage_options : dict, optional
        For fsspec, with a URL.
    **options
        As in `embed`.

    Returns
    -------
    StoreReport

    Raises
    ------
    StoreError
        Where the store holds something else, or a region cannot be computed or written. What
        is complete by then stays so.
    CubeError, OptionError, ScaleError, WeightsError
        As in `embed`.

    Warns
    -----
    AnySatWarning
        For regions that were left out.
    """
    check_choice("on_error", on_error, ("raise", "skip"))
    check_whole("retries", retries, 0)
    if mode == "pooled":
        raise OptionError(
            'mode="pooled" gives some vectors, which need no regions: compute them with '
            'cube.anysat.embed("pooled"), and write them with .to_zarr().'
        )
    if overwrite and regions is not None:
        raise OptionError(
            "overwrite=True with regions= would delete what other jobs have written; delete the "
            "store before they start."
        )
    checked = {**options, "mask": check_blocks(options.get("mask"))}
    prepared = prepare_as_embed(check_blocks(cube), mode, checked)
    place = open_place(store, storage_options)
    job = describe(prepared, RegionGrid.of(prepared.job.out_chunks), options.get("mask"))
    try:
        job = _begun(place, job, resume, overwrite, regions)
        return fill(prepared, place, job, retries, on_error == "skip", regions, progress)
    except StoreError:
        raise
    except OSError as error:
        if isinstance(error, WeightsError):
            raise
        raise StoreError(f"{place} cannot be read or written: {error}") from error


def open_embedding(store: Any, *, storage_options: dict[str, Any] | None = None) -> xr.DataArray:
    """Open an embedding that `to_zarr` wrote, finished or not.

    Parameters
    ----------
    store, storage_options
        As in `to_zarr`.

    Returns
    -------
    xarray.DataArray
        Lazy, in chunks of some features of a region, so that a map of few of them reads few.

    Raises
    ------
    StoreError
        Where there is none.

    Warns
    -----
    AnySatWarning
        With the share that is there, where some of it is missing.
    """
    place = open_place(store, storage_options, read_only=True)
    manifest = Manifest(place=place)
    try:
        job = manifest.job()
        there = is_laid_out(place)
    except FileNotFoundError:
        job, there = None, False
    except OSError as error:
        raise StoreError(f"{place} cannot be read: {error}") from error
    if not there:
        begun = "has been begun, but is not laid out yet" if job else "holds no embedding"
        raise StoreError(f'{place} {begun}; cube.anysat.to_zarr("map.zarr") makes one')
    dataset = xr.open_zarr(
        place.store, group=place.path or None, consolidated=False, decode_coords="all", chunks=None
    )
    if ARRAY not in dataset:
        raise StoreError(f"{place} holds no embedding, but {sorted(map(str, dataset))}")
    result = dataset[ARRAY]
    result = result.assign_coords({name: result[name].load() for name in result.coords})
    if job is None:  # written by other means
        return _chunked(result, result.encoding["preferred_chunks"], str(place))
    grid = RegionGrid.from_json(job["map"])
    chunks = {"feature": grid.chunks[0], "y": grid.shards[1], "x": grid.shards[2]}
    done = manifest.done(grid)
    # what is there belongs to the names of the blocks, which a cluster may remember
    result = _chunked(result, chunks, tokenize(str(place), job, sorted(done)))
    result.attrs["complete"] = int(len(done) == len(grid))
    if len(done) < len(grid):
        failed = manifest.failed(grid)
        some = f"; {len(failed)} have failed, first {failed[0]!r}" if failed else ""
        warn(
            f"{place} is not complete: {len(done)} of {len(grid)} regions "
            f"({len(done) / len(grid):.1%}) are there, and the others are NaN{some}. The call of "
            "to_zarr that began it goes on with it."
        )
    return result


def _chunked(result: xr.DataArray, chunks: Mapping[Any, int], token: str) -> xr.DataArray:
    """Make values lazy, coordinates aside, and forget how they were chunked in their store."""
    values = result.variable.chunk(chunks, name=f"{ARRAY}-{token}").data
    found = result.copy(data=values)
    stored = ("chunks", "shards", "preferred_chunks")
    found.encoding = {key: v for key, v in result.encoding.items() if key not in stored}
    return found


def _begun(
    place: Place, job: dict[str, Any], resume: bool, overwrite: bool, regions: Any
) -> dict[str, Any]:
    """Give the job of a store, after it has been made this one's or found to be the same."""
    manifest = Manifest(place=place)
    if overwrite:
        clear(place)
    there = manifest.job()
    if there is None:
        require_free(place)
        RegionGrid.from_json(job["map"]).select(regions)  # before anything is written
        there = manifest.claim(job)
    elif not resume:
        raise StoreError(
            f"{place} holds an embedding already; resume=True goes on with it, overwrite=True "
            "deletes it, and another store leaves it alone."
        )
    check_same(place, there, job)
    return there
