"""Embeddings written region by region into a store that says how far it is."""

from typing import Any, Literal

from xr_anysat.cube.block_shapes import check_blocks
from xr_anysat.cube.canonical import Cube
from xr_anysat.embed import embed
from xr_anysat.errors import OptionError, StoreError, WeightsError, warn
from xr_anysat.findings import SetOption
from xr_anysat.job.make import make_job, options_of
from xr_anysat.job.options import Mode, check_choice, check_whole
from xr_anysat.keywords import suggests_keywords

from .location import ZarrLocation, open_location
from .manifest import JOB, Manifest, check_same, describe
from .packing import Quantize, Reduce, find_packing, require_map
from .regions import RegionGrid, Regions
from .report import StoreReport
from .skeleton import clear, require_free
from .write_regions import write_regions

__all__ = ["to_zarr"]


@suggests_keywords(embed)
def to_zarr(
    cube: Cube,
    store: Any,
    mode: Mode = "grid",
    *,
    quantize: Quantize | None = None,
    reduce: Reduce | None = None,
    resume: bool = True,
    overwrite: bool = False,
    retries: int = 2,
    on_error: Literal["raise", "skip"] = "raise",
    regions: Regions | None = None,
    progress: bool | None = None,
    storage_options: dict[str, Any] | None = None,
    **options: Any,
) -> StoreReport:
    """Embed a cube into a Zarr store, region by region; the same call again resumes.

    The store is laid out first. Then regions (chunks of the result with all their features) are
    computed and written, and each is recorded in the store once its data have been written. A call
    that was interrupted in any way is repeated as it was: it makes sure that cube, model and
    options are the same, and computes the missing regions. The values of a lazy cube are not
    compared.

    Parameters
    ----------
    cube : xarray.DataArray or xarray.Dataset
        As in `embed`.
    store : str, path, fsspec mapping or zarr store
        A path, a URL such as ``s3://bucket/map.zarr``, or a ``zarr.storage`` object. Cluster
        workers have to see the same one.
    mode : {"grid", "patch", "tile"}
        As in `embed`.
    quantize : "int8" or xarray.Dataset, optional
        Store a byte for each value, with a step of its own for each feature: codes from -127 to
        127 over the range of a sample of the map and a tenth at either end, -128 where missing.
        The error is half a step at most; values out of range are clipped and counted. Variables
        ``scale`` and ``offset`` lie beside the map; `open_embedding` decodes. Give the Dataset of
        `open_quantization` to use another map's numbers.
    reduce : int, xarray.DataArray or xarray.Dataset, optional
        Store components instead of features: that many principal components, fitted with
        scikit-learn (extra ``ml``) on a sample of the map; or a linear map (feature, component)
        with or without a coordinate ``mean`` along feature, which is subtracted first; or the
        Dataset of `open_reduction`, for maps in the same space. Blocks are reduced where they are
        computed, in float32, before `quantize` and `dtype`; the numbers lie beside the map.
    resume : bool
        Resume an embedding that has been begun. If False, a store that holds one is refused.
    overwrite : bool
        Delete what an earlier call has written there, and begin again. Anything that `to_zarr` did
        not begin is never deleted.
    retries : int
        How often a task that fails is tried again, after a pause. With ``on_error="skip"``,
        regions that still fail are tried once more at the end.
    on_error : {"raise", "skip"}
        Whether a region that still fails raises a `StoreError`, or is left NaN. Regions left out
        are listed in the report and the store, and tried again by the next call. Errors that
        concern the whole map (the cube's scale, the weights) are raised in any case.
    regions : str, slice or sequence of int, optional
        Part of the work, for several jobs at once: ``"2/8"`` is the second of eight shares;
        or numbers of regions, which are counted row by row from 0. Jobs share nothing but
        statistics, which the first one computes.
    progress : bool, optional
        Show a progress bar. Default: in a notebook or a terminal.
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
        Where the store holds something else, or a region cannot be computed or written. Regions
        that are complete by then are kept.
    CubeError, OptionError, ScaleError, WeightsError
        As in `embed`.
    MissingExtraError
        Where principal components are to be fitted without scikit-learn.

    Warns
    -----
    AnySatWarning
        For regions that were left out, and for a map of which more than a thousandth was out of
        the range of `quantize`.
    """
    check_choice("on_error", on_error, ("raise", "skip"))
    check_whole("retries", retries, 0)
    require_map(mode)
    if overwrite and regions is not None:
        raise OptionError("store.overwrite-regions", overwrite=SetOption("overwrite", True))
    checked = {**options, "mask": check_blocks(options.get("mask"))}
    job = make_job(check_blocks(cube), options_of(mode, checked))
    warn(job.findings)
    packing = find_packing(quantize, reduce, job)
    location = open_location(store, storage_options)
    grid = packing.regions(job)
    record = describe(job, grid, options.get("mask"), packing.describe())
    try:
        record = _claimed(location, record, resume, overwrite, regions)
        return write_regions(
            job, packing, location, record, retries, on_error == "skip", regions, progress
        )
    except StoreError:
        raise
    except OSError as error:
        if isinstance(error, WeightsError):
            raise
        raise StoreError("store.unreadable", store=location, error=error) from error


def _claimed(
    location: ZarrLocation, job: dict[str, Any], resume: bool, overwrite: bool, regions: Any
) -> dict[str, Any]:
    """Claim a store for a job, or make sure that it is that job's already; return its record."""
    manifest = Manifest(location=location)
    if overwrite:
        clear(location)
    stored = manifest.job()
    if stored is None:
        require_free(location)
        RegionGrid.from_json(job["map"]).select(regions)  # before anything is written
        stored = manifest.keep(JOB, job)
    elif not resume:
        raise StoreError(
            "store.exists", SetOption("resume", True), SetOption("overwrite", True), store=location
        )
    check_same(location, stored, job)
    return stored
