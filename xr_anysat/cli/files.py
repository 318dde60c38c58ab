"""Files as the command line names them: cubes to read, and places to write to."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import xarray as xr

from xr_anysat.atomic import atomic_replace, check_folder
from xr_anysat.embed import embed
from xr_anysat.errors import CubeError, OptionError
from xr_anysat.findings import Finding, SetOption
from xr_anysat.graph.progress import task_bar
from xr_anysat.job.make import make_job, options_of
from xr_anysat.results.export import encode_geometry, to_geodataframe
from xr_anysat.results.raster import to_raster
from xr_anysat.settings import require
from xr_anysat.stores.skeleton import ROOTS
from xr_anysat.stores.store import to_zarr
from xr_anysat.weights.files import fetch

__all__ = [
    "fetch_missing",
    "open_cube",
    "open_geometries",
    "open_labels",
    "open_mask",
    "open_stats",
    "output_format",
    "require_apart",
    "write_embedding",
]

FORMATS = {
    ".zarr": "zarr",
    ".nc": "netcdf",
    ".tif": "geotiff",
    ".tiff": "geotiff",
    ".parquet": "parquet",
}
"""What a name's ending stands for."""

_STACKED = 3
"""A variable of more dimensions holds bands, rather than being one."""


def open_cube(
    path: str,
    *,
    variable: str | None = None,
    chunks: int | None = 512,
    without: str | None = None,
    nodata: float | None = None,
) -> xr.DataArray | xr.Dataset:
    """Open a cube that xarray opens: Zarr, NetCDF, GeoTIFF, or what its other engines read.

    Parameters
    ----------
    path
        A path, or a URL of a Zarr store.
    variable
        The variable that is the cube. Default: the only one with a band dimension, or else every
        variable is a band.
    chunks
        Pixels of a side of a Dask chunk, or the file's own where these are larger; None reads
        all of it into memory.
    without
        A variable that is no band.
    nodata
        A value that stands for missing, besides those that the file declares.

    Returns
    -------
    xarray.DataArray or xarray.Dataset
        Close it after use: ``with open_cube(path) as cube``.

    Raises
    ------
    CubeError
        Where it cannot be opened, or has no such variable.
    """
    dataset = _open(path, lazily=chunks is not None)
    with _closed_on_error(dataset):
        cube = _choose(dataset.drop_vars(without or [], errors="ignore"), path, variable)
        return _ready(_declared(cube, nodata), dataset, chunks)


def open_mask(path: str, name: str, chunks: int | None = 512) -> xr.DataArray:
    """Take a variable of a cube's file as a mask: valid where it is true, or neither 0 nor NaN.

    Raises
    ------
    OptionError
        Where there is none of that name.
    """
    dataset = _open(path, lazily=chunks is not None)
    with _closed_on_error(dataset):
        if name not in dataset.variables:
            raise OptionError(_no_variable(SetOption("mask", name), path, dataset))
        mask = dataset[name]
        return _ready(mask.notnull() & (mask != 0), dataset, chunks)


def open_stats(normalize: str) -> str | xr.Dataset:
    """Read a file of statistics; the name of a normalisation is returned unchanged.

    Raises
    ------
    CubeError
        Where the file cannot be read.
    """
    if not normalize.endswith((".nc", ".zarr")):
        return normalize
    with _open(normalize, lazily=False) as stats:
        return stats.load()


def open_geometries(path: Path) -> Any:
    """Read a file of geometries as a GeoDataFrame.

    Raises
    ------
    OptionError
        Where it cannot be read.
    MissingExtraError
        Without geopandas.
    """
    geopandas = require("geopandas", "vector", "--geometry")
    try:
        return geopandas.read_file(path)
    except (OSError, ValueError, RuntimeError) as error:
        raise OptionError(_unreadable(path, "geopandas", error)) from error


def open_labels(path: str, labels: str) -> xr.DataArray:
    """Take a variable of a cube's file, or a raster beside it, as classes.

    Raises
    ------
    OptionError
        Where there is neither.
    """
    with _open(path, lazily=True) as dataset:
        if labels in dataset.variables:
            return dataset[labels].load()
        if not Path(labels).exists():
            raise OptionError(_no_variable(SetOption("labels", labels), path, dataset))
    with _open(labels, lazily=False) as dataset:
        raster = _choose(dataset.load(), labels, None)
    if isinstance(raster, xr.Dataset):
        option, names = SetOption("labels"), _names(raster)
        raise OptionError("file.several/labels", path=labels, names=names, option=option)
    return raster.squeeze("band", drop=True) if "band" in raster.dims else raster


def _open(path: str, *, lazily: bool) -> xr.Dataset:
    if "://" not in path and not Path(path).exists():
        raise CubeError("file.missing", path=path)
    try:
        with warnings.catch_warnings():  # of xarray, that metadata might be consolidated
            warnings.filterwarnings("ignore", ".*consolidated metadata", RuntimeWarning)
            opened = xr.open_dataset(path, decode_coords="all", chunks={} if lazily else None)
    except (OSError, ValueError, ImportError) as error:
        if path.lower().endswith(".nc"):
            _require_netcdf(f"reading {path}")
        raise CubeError(_unreadable(path, "xarray", error)) from error
    # A CRS that no variable refers to is no band.
    scalars = opened.set_coords([name for name in opened.data_vars if not opened[name].ndim])
    scalars.set_close(opened.close)
    return scalars


def _require_netcdf(call: str) -> None:
    """Make sure that a package that reads and writes NetCDF 4 is installed."""
    if not (find_spec("h5netcdf") and find_spec("h5py")):
        require("netCDF4", "io", call)


def _unreadable(path: str | Path, reader: str, error: Exception) -> Finding:
    return Finding("file.unreadable", path=path, reader=reader, error=error)


def _no_variable(option: SetOption, path: str, dataset: xr.Dataset) -> Finding:
    nor_file = "; nor is there such a file" if option.name == "labels" else ""
    names = _names(dataset)
    return Finding("file.variable", option=option, path=path, names=names, nor_file=nor_file)


def _names(dataset: xr.Dataset) -> list[str]:
    return [str(name) for name in dataset.data_vars]


def _choose(dataset: xr.Dataset, path: str, variable: str | None) -> xr.DataArray | xr.Dataset:
    names = _names(dataset)
    if variable is not None:
        if variable not in names:
            raise CubeError(_no_variable(SetOption("variable", variable), path, dataset))
        return dataset[variable]
    stacked = [n for n in names if dataset[n].ndim > _STACKED or "band" in dataset[n].dims]
    if len(names) == 1 or len(stacked) == 1:
        return dataset[(stacked or names)[0]]
    if len(stacked) > 1:
        raise CubeError("file.several", SetOption("variable", stacked[0]), path=path, names=stacked)
    return dataset


def _declared(cube: Any, nodata: float | None) -> Any:
    """Declare a value as missing, for all bands."""
    if nodata is None:
        return cube
    if isinstance(cube, xr.DataArray):
        return cube.assign_attrs(nodata=nodata)
    return cube.assign({n: band.assign_attrs(nodata=nodata) for n, band in cube.items()})


def _ready(cube: Any, dataset: xr.Dataset, side: int | None) -> Any:
    """Load it, or merge the small blocks of its file: Dask's work grows with their number."""
    if side is None:
        cube = cube.load()
    else:
        cube = cube.unify_chunks()  # coordinates may be cut in another way
        names = "x", "y", "lon", "lat", "longitude", "latitude"
        blocks = {dim: sizes for dim, sizes in cube.chunksizes.items() if dim in names}
        cube = cube.chunk({dim: max(side, *sizes) for dim, sizes in blocks.items()})
    cube.set_close(dataset.close)
    return cube


@contextmanager
def _closed_on_error(dataset: xr.Dataset) -> Iterator[None]:
    try:
        yield
    except BaseException:
        dataset.close()
        raise


def output_format(path: str) -> str:
    """Tell the format of a file from its name.

    Raises
    ------
    OptionError
        For an unknown ending.
    """
    suffix = Path(path.rstrip("/")).suffix.lower()
    if suffix not in FORMATS:
        *most, last = FORMATS
        raise OptionError("output.format", path=path, most=", ".join(most), last=last)
    return FORMATS[suffix]


def require_apart(target: str, *sources: str) -> None:
    """Make sure that what is written replaces nothing that is read.

    Raises
    ------
    OptionError
        Where it is the same file or store, or one around it.
    """
    place = Path(target).resolve()
    for source in (Path(source).resolve() for source in sources if source):
        if place == source or place in source.parents:
            raise OptionError("output.is-input", target=target)


def fetch_missing(cube: xr.DataArray | xr.Dataset, mode: str, options: Mapping[str, Any]) -> None:
    """Fetch published weights that this machine lacks, once it is clear that they are needed.

    Everything is computed on this machine. Missing weights are better reported before the cube is
    read, and a wrong request before 504 MB are downloaded.
    """
    source = options["model"].source
    if source.kind == "hub" and source.digest is None:
        make_job(cube, options_of(mode, options))
        fetch()


def write_embedding(
    cube: xr.DataArray | xr.Dataset,
    target: str,
    mode: str,
    *,
    overwrite: bool,
    progress: bool,
    packed: Mapping[str, Any],
    options: Mapping[str, Any],
) -> str:
    """Embed a cube into a file, and say what was done.

    Parameters
    ----------
    cube, mode, options
        As in `embed`.
    target
        A name of one of the `FORMATS`. A map in Zarr is written region by region, and an earlier
        one gone on with; all else appears when it is complete.
    overwrite
        Whether to replace an earlier file.
    progress
        Whether to show a progress bar.
    packed
        Further options of `to_zarr`.
    """
    kind, pooled = output_format(target), mode == "pooled"
    vectors = "geometry" in options
    if kind == "zarr" and not pooled:
        fetch_missing(cube, mode, options)
        return str(
            to_zarr(cube, target, mode, overwrite=overwrite, progress=progress, **packed, **options)  # type: ignore[arg-type]
        )
    _check_target(kind, Path(target), pooled, vectors, overwrite, options.get("dtype"))
    fetch_missing(cube, mode, options)
    result = embed(cube, mode, progress=progress, **options)  # type: ignore[arg-type]
    beside = atomic_replace(Path(target), store=kind == "zarr")
    with task_bar(progress, "embedding"), beside as place:
        if kind == "geotiff":
            to_raster(result, place)
        elif kind == "parquet":
            to_geodataframe(result).to_parquet(place)
        else:
            plain = encode_geometry(result) if vectors else result
            if kind == "zarr":
                plain.to_dataset().to_zarr(place, consolidated=False)
            else:
                plain.to_netcdf(place)
    return f"wrote {target}: {dict(result.sizes)} {result.dtype}"


def _check_target(
    kind: str, target: Path, pooled: bool, vectors: bool, overwrite: bool, dtype: Any
) -> None:
    """Check that a file can be written, before anything is computed for it."""
    if kind == "geotiff" and pooled:
        raise OptionError("output.kind/geotiff")
    if kind == "parquet" and not vectors:
        raise OptionError("output.kind/parquet", SetOption("geometry"))
    if kind == "parquet":
        require("pyarrow", "vector", ".parquet")
    if kind == "netcdf" and dtype == "float16":
        raise OptionError("output.dtype", SetOption("dtype", "float32"))
    if kind == "netcdf":
        _require_netcdf("writing .nc")
    check_folder(target)
    if not target.exists():
        return
    if not overwrite:
        raise OptionError("output.exists", SetOption("overwrite", True), target=target)
    store = any((target / name).exists() for name in ROOTS)
    if target.is_dir() and not (kind == "zarr" and store):
        raise OptionError("output.foreign", option=SetOption("overwrite", True), target=target)
