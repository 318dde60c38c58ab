"""Blocks of numbers through the network: numpy in, numpy out, one network per process.

Two stages, each a function of arrays and a small frozen description:

- `encode_chunk`: pixels of a chunk to patch tokens (and sub-patch tokens), once per pixel;
- `encode_window`: patch tokens of a window to the embeddings of the tiles in it.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .errors import OptionError, ScaleError
from .model.config import ModelConfig
from .modelspec import Model
from .normalize import Normalization, composite, normalize, valid_dates
from .tiling import blend_weights
from .weights import WeightsSource, load_tensors

if TYPE_CHECKING:
    import torch

    from .model.network import AnySat

__all__ = ["ChunkSpec", "Encoded", "TileSums", "WindowSpec", "encode_chunk", "encode_window"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

PIXEL_DATES = 1024
"""Pixel-dates of a batch: the widest intermediate, 2 D floats each, stays in the cache."""

TOKENS = 2048
"""Tokens of a batch of patches or tiles."""

NETWORKS = 2
"""Networks kept in a process; the one unused longest goes first."""

_lock = threading.RLock()
_networks: "OrderedDict[tuple[WeightsSource, ModelConfig, str], AnySat]" = OrderedDict()


@dataclass(frozen=True, kw_only=True)
class ChunkSpec:
    """How the pixels of a chunk are encoded.

    Parameters
    ----------
    model
        With its weights found.
    patch
        Pixels of a patch.
    gsd
        Metres of a pixel.
    day_of_year
        Of each date, or of each composite.
    nodata
        Values that stand for missing.
    normalization
        See there.
    groups
        Dates of each median composite, or None.
    tile
        Pixels of a tile, for normalisation by tile.
    sub_patches
        Whether the pixels' own tokens are wanted.
    dtype
        Of these.
    """

    model: Model
    patch: int
    gsd: float
    day_of_year: tuple[int, ...]
    nodata: tuple[float, ...]
    normalization: Normalization
    groups: tuple[tuple[int, ...], ...] | None = None
    tile: int | None = None
    sub_patches: bool = False
    dtype: str = "float32"


@dataclass(frozen=True, kw_only=True)
class WindowSpec:
    """Tiles of a window of patches.

    Parameters
    ----------
    model
        With its weights found.
    patch_size
        Metres.
    rows, columns
        (start, stop) of each tile along each axis, in patches of the window; every pair of a row
        and a column is a tile.
    tile
        Patches of a complete tile.
    blended
        Whether tiles overlap.
    whole_tiles
        Whether the tiles' own embeddings are wanted instead of those of their patches.
    """

    model: Model
    patch_size: float
    rows: tuple[tuple[int, int], ...]
    columns: tuple[tuple[int, int], ...]
    tile: int
    blended: bool
    whole_tiles: bool = False


class Encoded(NamedTuple):
    """What `encode_chunk` gives.

    `tokens` (rows, columns, D) float32, NaN for a patch without any valid pixel; `seen` (h, w)
    bool, pixels with any valid date; `sub` (D, h, w), NaN where not seen, or None.
    """

    tokens: Floats
    seen: Bools
    sub: Array | None


class TileSums(NamedTuple):
    """Weighted sums over tiles: `total` (rows, columns, D) and `weight` (rows, columns)."""

    total: Floats
    weight: Floats


def encode_chunk(
    values: Array, mask: Bools | None, stats: npt.NDArray[np.float64] | None, spec: ChunkSpec
) -> Encoded:
    """Encode the pixels and patches of a chunk.

    Parameters
    ----------
    values
        (T, 10, h, w), any real dtype; the first row and column begin a patch.
    mask
        (T, h, w) bool, True = valid, or None.
    stats
        (2, 10), where the normalisation has no numbers of its own.
    spec
        The rest.
    """
    height, width = values.shape[2:]
    valid = valid_dates(values, mask, spec.nodata)
    if spec.groups is not None:
        values, valid = composite(values, valid, spec.groups)
    ready = normalize(values, valid, spec.normalization, stats, spec.tile)
    rows, columns = -(-height // spec.patch), -(-width // spec.patch)
    series: Floats = _by_patch(ready, spec.patch)
    dates: Bools = _by_patch(valid[:, None], spec.patch)[..., 0]
    seen = np.any(dates, axis=2)  # (P, m)
    with _network(spec.model) as network:
        tokens, sub = _encode_patches(network, series, dates, spec)
    pixels = None
    if sub is not None:
        sub[~seen] = np.nan
        sub = sub.reshape(rows, columns, spec.patch, spec.patch, -1).transpose(4, 0, 2, 1, 3)
        pixels = np.ascontiguousarray(
            sub.reshape(-1, rows * spec.patch, columns * spec.patch)[:, :height, :width],
            dtype=spec.dtype,
        )
    return Encoded(tokens=tokens.reshape(rows, columns, -1), seen=np.any(valid, axis=0), sub=pixels)


def encode_window(tokens: Floats, spec: WindowSpec) -> TileSums | Floats:
    """Encode the tiles of a window.

    Parameters
    ----------
    tokens
        (rows, columns, D), NaN where missing.
    spec
        The tiles.

    Returns
    -------
    TileSums or ndarray
        Over the patches of the window; or, for whole tiles, (tile rows, tile columns, D) float32,
        NaN for a tile without any valid patch.
    """
    height, width, channels = tokens.shape
    there = ~np.isnan(tokens[..., 0])
    sums = TileSums(np.zeros_like(tokens), np.zeros((height, width), dtype=np.float32))
    tiles = np.full((len(spec.rows), len(spec.columns), channels), np.nan, dtype=np.float32)
    weights = blend_weights(spec.tile) if spec.blended else np.ones(spec.tile, dtype=np.float32)
    with _network(spec.model) as network:
        for places, embedded in _encode_tiles(network, tokens, there, spec):
            for (row, column), values in zip(places, embedded, strict=True):
                if spec.whole_tiles:
                    tiles[row, column] = values[0]
                    continue
                window = (slice(*spec.rows[row]), slice(*spec.columns[column]))
                seen = there[window]
                share = np.outer(weights[: seen.shape[0]], weights[: seen.shape[1]]) * seen
                patches = values[1:].reshape(*seen.shape, channels)
                sums.total[window] += share[..., None] * np.where(seen[..., None], patches, 0)
                sums.weight[window] += share
    return tiles if spec.whole_tiles else sums


def _by_patch(values: Array, patch: int) -> Array:
    """(T, C, h, w) -> (P, m, T, C), row by row, padded with zeros to whole patches."""
    dates, bands, height, width = values.shape
    pad = (-height % patch, -width % patch)
    if any(pad):
        values = np.pad(values, ((0, 0), (0, 0), (0, pad[0]), (0, pad[1])))
    rows, columns = values.shape[2] // patch, values.shape[3] // patch
    cut = values.reshape(dates, bands, rows, patch, columns, patch).transpose(2, 4, 3, 5, 0, 1)
    return cut.reshape(rows * columns, patch * patch, dates, bands)


def _encode_patches(
    network: "AnySat", series: Floats, dates: Bools, spec: ChunkSpec
) -> tuple[Floats, Floats | None]:
    """(P, m, T, 10) to patch tokens (P, D), NaN where nothing is valid, and sub-patches (P, m, D).

    Patches with holes go apart from complete ones, which need no mask.
    """
    import torch

    device = network.cls_token.device
    day_of_year = torch.tensor(spec.day_of_year, device=device)
    patches, pixels = series.shape[:2]
    width = network.config.width
    seen = np.any(dates, axis=2)  # (P, m)
    tokens = np.full((patches, width), np.nan, dtype=np.float32)
    sub = np.full((patches, pixels, width), np.nan, np.float32) if spec.sub_patches else None
    complete = np.all(seen, axis=1)
    for group in (np.flatnonzero(complete), np.flatnonzero(~complete & np.any(seen, axis=1))):
        step = max(1, (spec.model.batch_size or TOKENS) // (pixels + 1))
        for part in _split(group, step):
            vectors = network.encode_pixels(
                torch.from_numpy(series[part]).to(device).flatten(0, 1),
                torch.from_numpy(dates[part]).to(device).flatten(0, 1),
                day_of_year,
                batch=spec.model.batch_size or PIXEL_DATES,
            )
            missing = None if complete[part[0]] else torch.from_numpy(~seen[part]).to(device)
            patch_tokens, sub_tokens = network.encode_patches(
                vectors.view(len(part), pixels, width),
                (spec.patch, spec.patch),
                spec.gsd,
                missing,
                sub_patches=spec.sub_patches,
            )
            tokens[part] = _to_numpy(patch_tokens, spec.model)
            if sub is not None and sub_tokens is not None:
                sub[part] = _to_numpy(sub_tokens, spec.model)
    return tokens, sub


def _encode_tiles(
    network: "AnySat", tokens: Floats, there: Bools, spec: WindowSpec
) -> Iterator[tuple[Sequence[tuple[int, int]], Floats]]:
    """Tiles of one shape together, complete ones apart from those with holes."""
    import torch

    device = network.cls_token.device
    groups: dict[tuple[int, int, bool], list[tuple[int, int]]] = {}
    for row, column in product(range(len(spec.rows)), range(len(spec.columns))):
        seen = there[slice(*spec.rows[row]), slice(*spec.columns[column])]
        if seen.any():
            groups.setdefault((*seen.shape, bool(seen.all())), []).append((row, column))
    for (rows, columns, complete), places in groups.items():
        step = max(1, (spec.model.batch_size or TOKENS) // (rows * columns + 1))
        for start in range(0, len(places), step):
            part = places[start : start + step]
            windows = [(slice(*spec.rows[r]), slice(*spec.columns[c])) for r, c in part]
            batch = np.stack([tokens[window] for window in windows])
            missing = None
            if not complete:
                holes = np.stack([~there[window] for window in windows])
                batch = np.where(holes[..., None], np.float32(0), batch)
                missing = torch.from_numpy(holes).to(device)
            embedded = network.encode_tiles(
                torch.from_numpy(batch).to(device),
                spec.patch_size,
                missing,
                patches=not spec.whole_tiles,
            )
            yield part, _to_numpy(embedded, spec.model)


def _split(indices: npt.NDArray[np.intp], step: int) -> Iterator[npt.NDArray[np.intp]]:
    for start in range(0, len(indices), step):
        yield indices[start : start + step]


def _to_numpy(values: "torch.Tensor", model: Model) -> Floats:
    out: Floats = values.float().cpu().numpy()
    if not np.isfinite(out).all():
        lower = model.precision != "float32"
        repair = 'embed with Model(..., precision="float32")' if lower else "scale the cube to DN"
        raise ScaleError(
            f"the network gave values that are not finite, with precision={model.precision!r}: "
            f"the cube's values are far from reflectance, or its bands' statistics are; {repair}, "
            "and mask what is no measurement."
        )
    return out


@contextmanager
def _network(model: Model) -> Iterator["AnySat"]:
    """Take the process's network of this model, for the only forward pass of the process."""
    import torch

    with _lock:
        device = _device(model)
        key = (model.source, model.config, str(device))
        if key not in _networks:
            _networks[key] = _load(model, device)
            while len(_networks) > NETWORKS:
                _networks.popitem(last=False)
        _networks.move_to_end(key)
        with torch.inference_mode(), _precision(model, device):
            yield _networks[key]


def _load(model: Model, device: "torch.device") -> "AnySat":
    import torch

    from .model.network import AnySat

    tensors = load_tensors(model.source, model.config)
    with torch.device("meta"):
        network = AnySat(model.config)
    network.load_state_dict(tensors, strict=True, assign=True)
    return network.requires_grad_(False).eval().to(device)


def _device(model: Model) -> "torch.device":
    import torch

    if model.device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(model.device)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built with CUDA
        raise OptionError(
            f"device={model.device!r} is not to be had in this process "
            f"({str(error).splitlines()[0]}); leave it out to take what there is."
        ) from None
    return device


def _precision(model: Model, device: "torch.device") -> Any:
    import torch

    name: str = model.precision
    if name == "auto":
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        name = "bfloat16" if fast else "float32"
    if name == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=getattr(torch, name))
