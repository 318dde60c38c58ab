"""Networks and cubes that several test modules need."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import rioxarray  # noqa: F401  registers `.rio`
import xarray as xr

from .weights_recipe import fill

GOLDEN = Path(__file__).parents[1] / "golden"

BANDS = ("B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B11", "B12")
PADDED = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
EARTH_SEARCH = (
    "blue", "green", "red", "rededge1", "rededge2", "rededge3", "nir", "nir08", "swir16", "swir22",
)  # fmt: skip


def golden_network(
    size: str = "tiny", flash_layout: bool = False, sensors: tuple[str, ...] = ("s2",)
) -> Any:
    """The network with the golden files' weights."""
    return _golden_network(size, flash_layout, sensors)


@lru_cache(maxsize=3)
def _golden_network(size: str, flash_layout: bool, sensors: tuple[str, ...]) -> Any:
    import torch

    from xr_anysat.model.config import model_config
    from xr_anysat.model.network import AnySat

    config = replace(model_config(size, flash_layout=flash_layout), sensors=sensors)
    with torch.device("meta"):
        network = AnySat(config)
    state = {
        name: torch.from_numpy(fill(name, tuple(tensor.shape)))
        for name, tensor in network.state_dict().items()
    }
    network.load_state_dict(state, assign=True)
    return network.requires_grad_(False).eval()


def make_cube(
    *,
    bands: Sequence[Any] = BANDS,
    dates: Any = ("2021-04-03", "2021-07-12", "2021-12-31"),
    shape: tuple[int, int] = (4, 6),
    step: tuple[float, float] = (-10.0, 10.0),
    corner: tuple[float, float] = (5_400_000.0, 440_000.0),
    crs: Any = "EPSG:32631",
    dtype: str = "uint16",
    dims: Sequence[str] = ("time", "band", "y", "x"),
) -> xr.DataArray:
    """Build a sound cube of Paris in UTM 31N, DN around 3000; say what is to be different.

    `corner` and `step` are (y, x); `crs=None` writes none.
    """
    when = np.array(dates, dtype="M8[ns]") if isinstance(dates, tuple) else dates
    values = np.random.default_rng(3).normal(3000, 400, (len(when), len(bands), *shape))
    place = [c + s * (0.5 + np.arange(n)) for c, s, n in zip(corner, step, shape, strict=True)]
    cube = xr.DataArray(
        values.astype(dtype),
        dims=("time", "band", "y", "x"),
        coords={"time": when, "band": list(bands), "y": place[0], "x": place[1]},
    )
    return (cube if crs is None else cube.rio.write_crs(crs)).transpose(*dims)


def chunk_spec(**changes: Any) -> Any:
    """Describe chunks of three dates as `encode_chunk` wants it: tiny, patches of 2 px."""
    from xr_anysat import Model
    from xr_anysat.compute.encode import EncodeSpec
    from xr_anysat.job.normalization import Normalization

    options = {
        "model": Model("tiny", weights="random:1").pinned(),
        "patch": 2,
        "gsd": 10,
        "day_of_year": (10, 100, 300),
        "nodata": (),
        "normalization": Normalization(kind="none", name="none"),
        "sub_patches": True,
    }
    return EncodeSpec(**(options | changes))


def make_dataset(bands: Sequence[str] = PADDED, nodata: float = 0, **options: Any) -> xr.Dataset:
    """Build a Dataset as odc-stac loads it: a variable per band, with `nodata` in attrs."""
    cube = make_cube(bands=bands, **options)
    variables: Mapping[str, xr.DataArray] = {
        name: cube.sel(band=name, drop=True).assign_attrs(nodata=nodata) for name in bands
    }
    return xr.Dataset(variables)
