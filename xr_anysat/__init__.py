"""AnySat embeddings of Sentinel-2 cubes for xarray.

Importing the package registers the accessor ``.anysat`` on DataArray and Dataset. Neither torch
nor matplotlib is imported before it is needed.
"""

from . import accessor as _accessor  # noqa: F401  registers `.anysat`
from ._version import __version__
from .embed import band_stats, embed
from .errors import (
    AnySatError,
    AnySatWarning,
    CubeError,
    MissingExtraError,
    OptionError,
    ScaleError,
    StoreError,
    WeightsError,
)
from .modelspec import Model
from .options import set_options
from .plan import plan
from .stac import load_s2
from .store import open_embedding, to_zarr

__all__ = [
    "AnySatError",
    "AnySatWarning",
    "CubeError",
    "MissingExtraError",
    "Model",
    "OptionError",
    "ScaleError",
    "StoreError",
    "WeightsError",
    "__version__",
    "band_stats",
    "embed",
    "load_s2",
    "open_embedding",
    "plan",
    "set_options",
    "to_zarr",
]
