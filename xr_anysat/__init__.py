"""AnySat embeddings of Sentinel-2 cubes for xarray.

Importing the package registers the accessor ``.anysat`` on DataArray and Dataset. Neither torch
nor matplotlib is imported before it is needed.
"""

from . import accessor as _accessor  # noqa: F401  registers `.anysat`
from ._version import __version__
from .catalogs.sentinel2 import load_s2
from .embed import embed
from .errors import (
    AnySatError,
    AnySatWarning,
    CubeError,
    KeywordError,
    MissingExtraError,
    OptionError,
    ScaleError,
    StoreError,
    WeightsError,
)
from .job.model import Model
from .learn.probe import probe
from .pictures.components import pca_fit, pca_rgb
from .pictures.explore import explore
from .pictures.kmeans import cluster, cluster_fit
from .pictures.plot import plot
from .pictures.quicklook import quicklook
from .pictures.similarity import similarity
from .report.check import check
from .report.check_report import Check
from .report.plan import Plan, plan
from .results.export import decode_geometry, encode_geometry, to_geodataframe
from .results.footprints import tiles
from .results.raster import to_raster
from .results.statistics import band_stats, valid_dates
from .settings import set_options
from .stores.opening import open_embedding, open_quantization, open_reduction
from .stores.report import StoreReport
from .stores.stac_item import stac_item
from .stores.store import to_zarr

__all__ = [
    "AnySatError",
    "AnySatWarning",
    "Check",
    "CubeError",
    "KeywordError",
    "MissingExtraError",
    "Model",
    "OptionError",
    "Plan",
    "ScaleError",
    "StoreError",
    "StoreReport",
    "WeightsError",
    "__version__",
    "band_stats",
    "check",
    "cluster",
    "cluster_fit",
    "decode_geometry",
    "embed",
    "encode_geometry",
    "explore",
    "load_s2",
    "open_embedding",
    "open_quantization",
    "open_reduction",
    "pca_fit",
    "pca_rgb",
    "plan",
    "plot",
    "probe",
    "quicklook",
    "set_options",
    "similarity",
    "stac_item",
    "tiles",
    "to_geodataframe",
    "to_raster",
    "to_zarr",
    "valid_dates",
]
