"""The network's weights: where they are, that they are sound, and the tensors themselves.

A graph is built with a `WeightsSource`, a few words long; whoever runs the network turns it into
tensors with `load_tensors`.  Importing this module does not import torch.
"""

import hashlib
import math
import os
import re
import shutil
import tempfile
import time
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from safetensors import SafetensorError

from .checkpoint import FLOATS, Checkpoint, FloatArray, read_checkpoint
from .errors import AnySatWarning, OptionError, WeightsError
from .model.config import PREFIX, SENTINEL2_PREFIX, SIZES, ModelConfig, model_config, tensor_shapes

if TYPE_CHECKING:
    import torch

__all__ = [
    "PUBLISHED",
    "PublishedWeights",
    "WeightsReport",
    "WeightsSource",
    "convert",
    "digest_of",
    "fetch",
    "find_weights",
    "load_tensors",
    "verify",
]

WEIGHTS_VARIABLE = "XR_ANYSAT_WEIGHTS"
CACHE_VARIABLE = "XR_ANYSAT_CACHE"

_CONVERTER = "1"
"""Raised whenever what a converted file holds changes; older files are then left alone."""

_SUFFIXES = (".pth", ".pt", ".ckpt", ".safetensors")
_LOCK_SECONDS = 600
_STALE_SECONDS = 24 * 3600


@dataclass(frozen=True, kw_only=True)
class PublishedWeights:
    """What is known of a published set of weights."""

    repo_id: str
    filename: str
    size: str
    sha256: str
    licence: str
    paper: str
    bands: tuple[str, ...]


PUBLISHED = PublishedWeights(
    repo_id="g-astruc/AnySat",
    filename="models/AnySat.pth",
    size="base",
    sha256="ce1246527a28bade624048c448a1fa473ca85791b998f562ce2bcc3dcac93d4f",
    licence="MIT",
    paper="Astruc et al., AnySat, CVPR 2025, arXiv 2412.14123",
    bands=("B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B11", "B12"),
)
"""The only published weights, 504 MB. The digest is as reported; a mismatch warns."""


@dataclass(frozen=True, kw_only=True)
class WeightsSource:
    """Where weights come from: small, hashable, picklable, the same in every process.

    Dask derives keys from what the numbers follow from, so that neither the place of a file nor
    the state of the Hugging Face cache changes them: the digest of a file, the seed of random
    weights, and for the published ones their name alone.

    Parameters
    ----------
    kind
        "hub" the published weights, "file" a file of the user's, "random" an untrained network.
    location
        Repository and file name, absolute path, or "random:SEED".
    digest
        SHA-256 in hexadecimal; None for random weights, and for published ones not yet cached.
    seed
        Of random weights.
    """

    kind: Literal["hub", "file", "random"]
    location: str
    digest: str | None = None
    seed: int | None = None

    @property
    def description(self) -> str:
        """What to write into a result's attributes; a file by name, its folders stay private."""
        if self.kind == "file":
            return f"file {Path(self.location).name}"
        return f"{self.location} (not pretrained)" if self.kind == "random" else self.location

    def __dask_tokenize__(self) -> tuple[object, ...]:
        """Give what dask derives keys from."""
        identity = {"hub": self.location, "file": self.digest, "random": self.seed}
        return ("xr_anysat.WeightsSource", self.kind, identity[self.kind])


# ---------------------------------------------------------------------------------------------
# finding


def find_weights(weights: str | os.PathLike[str] | None, size: str) -> WeightsSource:
    """Say where weights come from. Downloads nothing, reads no tensor, does not import torch.

    Parameters
    ----------
    weights
        A path to a `.pth`, `.pt`, `.ckpt` or `.safetensors` file, which is read once per process
        for its digest; "random" or "random:SEED" for an untrained network; None for what the
        environment variable ``XR_ANYSAT_WEIGHTS`` says, or else the published weights.
    size
        The network's size. Only "base" weights are published.

    Raises
    ------
    WeightsError
        The file is missing, or there are no published weights of this size.
    OptionError
        `weights` is none of the above.
    """
    origin = "weights"
    if weights is None:
        weights, origin = os.environ.get(WEIGHTS_VARIABLE) or None, WEIGHTS_VARIABLE
    if weights is None:
        return _published_source(size)
    if isinstance(weights, str) and weights.partition(":")[0] == "random":
        seed = weights.removeprefix("random").removeprefix(":")
        if weights != "random" and not re.fullmatch("[0-9]{1,18}", seed):
            raise OptionError(
                f"{origin}={weights!r}: the seed is a whole number from 0, as in 'random:42'"
            )
        number = int(seed or 0)
        return WeightsSource(kind="random", location=f"random:{number}", seed=number)
    return _file_source(weights, origin)


def _published_source(size: str) -> WeightsSource:
    if size != PUBLISHED.size:
        raise WeightsError(
            f"no weights of size {size!r} are published, only {PUBLISHED.size!r}: take"
            f" Model({PUBLISHED.size!r}), or name your own with Model({size!r},"
            f" weights='/path/to/weights.pth'), or weights='random' for an untrained network"
        )
    location = f"{PUBLISHED.repo_id} {PUBLISHED.filename}"
    return WeightsSource(kind="hub", location=location, digest=_published_digest())


def _file_source(weights: str | os.PathLike[str], origin: str) -> WeightsSource:
    try:
        path = Path(os.path.abspath(os.path.expanduser(os.fsdecode(weights))))
    except TypeError as error:
        raise OptionError(
            f"{origin} is a path, 'random', 'random:SEED' or None for the published weights, not"
            f" {weights!r}"
        ) from error
    if path.suffix not in _SUFFIXES:
        raise OptionError(
            f"{origin}={str(weights)!r} is neither 'random', 'random:SEED' nor a path that ends in"
            f" {', '.join(_SUFFIXES)}; None means the published weights"
        )
    if not path.is_file():
        found = "not a file" if path.exists() else "no such file"
        raise WeightsError(f"{origin}: {found}: {path}. {_three_ways()}")
    return WeightsSource(kind="file", location=str(path), digest=_file_digest(path))


def digest_of(source: WeightsSource) -> str | None:
    """Give "sha256:..." of the weights, for a result's attributes.

    None for random weights, and for published ones that are neither cached nor loaded yet.
    """
    digest = source.digest
    if digest is None and source.kind == "hub":
        digest = _published_digest()
    return f"sha256:{digest}" if digest else None


def _file_digest(path: Path) -> str:
    try:
        status = path.stat()
        return _hash_file(str(path), status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise WeightsError(f"cannot read the weights {path}: {error.strerror or error}") from error


@lru_cache(maxsize=64)
def _hash_file(path: str, size: int, mtime_ns: int) -> str:
    """Read the file; a changed file has another size or time and is read again."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


# ---------------------------------------------------------------------------------------------
# the published file


def _three_ways() -> str:
    return (
        "Three ways to get weights: `python -m xr_anysat weights fetch`, once and with network"
        " access, puts the published ones (504 MB) into the Hugging Face cache;"
        f" Model('base', weights='/path/to/AnySat.pth') or the environment variable"
        f" {WEIGHTS_VARIABLE} names a file of your own; weights='random' makes an untrained"
        " network, for trials"
    )


def _cached_download() -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(PUBLISHED.repo_id, PUBLISHED.filename)
    return Path(found) if isinstance(found, str) else None


def _blob_digest(path: Path) -> str | None:
    """Read the SHA-256 that the Hugging Face cache names its large files by."""
    name = path.resolve().name
    return name if re.fullmatch("[0-9a-f]{64}", name) else None


def _published_digest() -> str | None:
    """Digest of the published weights that this machine has, as far as known without reading."""
    path = _cached_download()
    if path is not None:
        return _blob_digest(path)
    return PUBLISHED.sha256 if _converted_path(PUBLISHED.sha256, PUBLISHED.size).exists() else None


def _published_file() -> tuple[Path, str]:
    """Give the published file and its digest, downloading it where it is not cached."""
    path = _cached_download() or _download()
    digest = _file_digest(path)
    if digest != (_blob_digest(path) or digest):
        raise WeightsError(
            f"the cached download {path} is damaged: its sha256 is {digest}, and should be"
            f" {_blob_digest(path)}. Delete {path.resolve()}, then `python -m xr_anysat weights"
            " fetch`"
        )
    return path, digest


def _download() -> Path:
    import huggingface_hub
    from huggingface_hub import constants

    try:
        # One request first, because hf_hub_download retries for minutes when there is no network.
        url = huggingface_hub.hf_hub_url(PUBLISHED.repo_id, PUBLISHED.filename)
        huggingface_hub.get_hf_file_metadata(url, timeout=constants.HF_HUB_ETAG_TIMEOUT)
        return Path(huggingface_hub.hf_hub_download(PUBLISHED.repo_id, PUBLISHED.filename))
    except Exception as error:  # of the network, the server, the disk: all mean the same here
        reason = (str(error).strip() or "no reason given").split("\n")[0]
        raise WeightsError(
            f"no weights: {PUBLISHED.repo_id} {PUBLISHED.filename} is not in the Hugging Face"
            f" cache and could not be fetched ({type(error).__name__}: {reason}). {_three_ways()}"
        ) from error


def _warn_of_mismatch(digest: str) -> None:
    if digest != PUBLISHED.sha256:
        warnings.warn(
            f"the weights fetched from {PUBLISHED.repo_id} have the sha256 {digest}, not the"
            f" {PUBLISHED.sha256} that this version of xr_anysat knows: embeddings may differ from"
            " those of others",
            AnySatWarning,
            stacklevel=3,
        )


# ---------------------------------------------------------------------------------------------
# loading


def load_tensors(source: WeightsSource, config: ModelConfig) -> "dict[str, torch.Tensor]":
    """Load what the network needs: Sentinel-2's projector and all that sensors share.

    A `.pth` is read, checked and converted once; from then on, in any process, the converted
    file in the cache (``XR_ANYSAT_CACHE``, by default `xr_anysat` beside the Hugging Face cache)
    is memory-mapped and the `.pth` is not opened again.

    Parameters
    ----------
    source
        From `find_weights`.
    config
        The network; every name and shape of the file is checked against it.

    Returns
    -------
    dict of torch.Tensor
        float32 on the CPU, by name, memory-mapped where the file holds float32.

    Raises
    ------
    WeightsError
        The weights cannot be had, are damaged or hostile, do not fit `config`, are not finite,
        or have changed since `find_weights` saw them.
    """
    if source.seed is not None:
        return _random_tensors(source.seed, config)
    path = Path(source.location)
    if source.kind == "file" and path.suffix == ".safetensors":
        _require_same(source, _file_digest(path))
        checkpoint = read_checkpoint(path)
        _check_names(checkpoint, config)
        return _to_torch(_finite_values(checkpoint, _needed(config)))
    digest = source.digest or (_published_digest() if source.kind == "hub" else None)
    converted = digest and _open_converted(digest, config)
    if digest and converted:
        tensors = _to_torch(_values(converted, _needed(config)))
    else:
        path, digest = _published_file() if source.kind == "hub" else (path, _file_digest(path))
        _require_same(source, digest)
        tensors = _convert_and_load(path, digest, source.description, config)
    if source.kind == "hub":
        _warn_of_mismatch(digest)
    return tensors


def _require_same(source: WeightsSource, digest: str) -> None:
    if source.digest not in (None, digest):
        raise WeightsError(
            f"the weights {source.location} have changed since they were chosen: sha256 {digest},"
            f" and it was {source.digest}. Call embed again to use the new ones"
        )


def _needed(config: ModelConfig) -> list[str]:
    return [
        name
        for name in tensor_shapes(config)
        if not name.startswith(PREFIX) or name.startswith(SENTINEL2_PREFIX)
    ]


def _values(checkpoint: Checkpoint, names: list[str]) -> dict[str, FloatArray]:
    return {name: checkpoint.tensors[name].read() for name in names}


def _finite_values(checkpoint: Checkpoint, names: list[str]) -> dict[str, FloatArray]:
    values = _values(checkpoint, names)
    bad = [name for name in names if not np.isfinite(values[name]).all()]
    if bad:
        raise WeightsError(f"{checkpoint.path} has values that are not finite in {_some(bad)}")
    return values


def _to_torch(values: dict[str, FloatArray]) -> "dict[str, torch.Tensor]":
    import torch

    return {
        name: torch.from_numpy(array if array.flags.writeable else array.copy())
        for name, array in values.items()
    }


def _random_tensors(seed: int, config: ModelConfig) -> "dict[str, torch.Tensor]":
    shapes = tensor_shapes(config)
    return _to_torch({name: _random_values(seed, name, shapes[name]) for name in _needed(config)})


def _random_values(seed: int, name: str, shape: tuple[int, ...]) -> FloatArray:
    """Draw one tensor from its name: no tensor's numbers depend on another's.

    RandomState's numbers never change (NEP 19).
    """
    if len(shape) < 2:  # weights of norms; biases, and the projector's unused `pad_parameter`
        return np.full(shape, bool(shape) and name.endswith("weight"), dtype=np.float32)
    rng = np.random.RandomState(zlib.crc32(f"{seed}/{name}".encode()))
    # Class tokens, learned queries and relative-position tables have three dims.
    scale = 0.5 if len(shape) == 3 else 1 / math.sqrt(math.prod(shape[1:]))
    return (scale * rng.standard_normal(shape)).astype(np.float32)


# ---------------------------------------------------------------------------------------------
# converting


def _converted_path(digest: str, size: str) -> Path:
    folder = os.environ.get(CACHE_VARIABLE)
    if not folder:
        from huggingface_hub import constants

        folder = os.path.join(constants.HF_HOME, "xr_anysat")
    return Path(folder).expanduser() / f"anysat-{size}-{digest}-v{_CONVERTER}.safetensors"


def _open_converted(digest: str, config: ModelConfig) -> Checkpoint | None:
    """Open the converted file, or give None where there is none or it is not whole."""
    path = _converted_path(digest, _size_name(config))
    try:
        checkpoint = read_checkpoint(path)  # its header must account for every byte
        _check_names(checkpoint, config)
    except WeightsError:
        return None
    said = checkpoint.metadata.get("converter"), checkpoint.metadata.get("source_sha256")
    plain = all(tensor.dtype == "float32" for tensor in checkpoint.tensors.values())
    return checkpoint if plain and said == (_CONVERTER, digest) else None


def _convert_and_load(
    path: Path, digest: str, description: str, config: ModelConfig
) -> "dict[str, torch.Tensor]":
    target = _converted_path(digest, _size_name(config))
    failure: Exception | None = None
    with _conversion_lock(target):
        converted = _open_converted(digest, config)  # by another thread or process, meanwhile
        if converted is None:
            checkpoint = read_checkpoint(path)
            _check_names(checkpoint, config)
            values = _finite_values(checkpoint, list(tensor_shapes(config)))
            try:
                _write(target, values, digest, description, _size_name(config))
            except (OSError, SafetensorError) as error:
                failure = error
            else:
                converted = _open_converted(digest, config)
    if converted is not None:
        return _to_torch(_values(converted, _needed(config)))
    warnings.warn(
        f"cannot keep converted weights in {target.parent} ({failure or 'they were removed'}):"
        f" every process reads {path.name} anew and holds it in memory. Set {CACHE_VARIABLE} to a"
        " folder that can be written to",
        AnySatWarning,
        stacklevel=3,
    )
    return _to_torch({name: values[name] for name in _needed(config)})


@contextmanager
def _conversion_lock(target: Path) -> Iterator[None]:
    """Keep others from converting the same file; without a lock they would merely do it twice."""
    from filelock import FileLock

    lock = FileLock(target.with_name(f".{target.name}.lock"), timeout=_LOCK_SECONDS)
    with suppress(OSError, NotImplementedError):  # read-only, or no locks on this file system
        target.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _write(
    target: Path, values: dict[str, FloatArray], digest: str, description: str, size: str
) -> None:
    """Write a safetensors file that is there whole or not at all."""
    from safetensors.numpy import save_file

    metadata = {
        "format": "pt",
        "converter": _CONVERTER,
        "source": description,
        "source_sha256": digest,
        "size": size,
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(target)
    # A folder, because safetensors makes a temporary file of its own.
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
        temporary = Path(folder, target.name)
        temporary.touch()
        mode = temporary.stat().st_mode  # what the umask makes it; safetensors makes it private
        save_file(values, temporary, metadata)
        temporary.chmod(mode)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)


def _remove_stale(target: Path) -> None:
    """Remove what conversions that were killed have left."""
    for folder in target.parent.glob(f".{target.name}.*/"):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(folder)


# ---------------------------------------------------------------------------------------------
# checking


def _size_name(config: ModelConfig) -> str:
    names = (name for name, numbers in SIZES.items() if numbers == (config.width, config.depth))
    return next(names, f"{config.width}x{config.depth}")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(name[:100] for name in names[:5]) + more


def _misfits(checkpoint: Checkpoint, config: ModelConfig) -> list[str]:
    needed, found = tensor_shapes(config), checkpoint.tensors
    shared = [name for name in needed if name in found]
    groups = {
        "missing": [name for name in needed if name not in found],
        "unexpected": [name for name in found if name not in needed],
        "of the wrong shape": [
            f"{name} {found[name].shape} instead of {needed[name]}"
            for name in shared
            if found[name].shape != needed[name]
        ],
        "not floating-point": [
            f"{name} ({found[name].dtype})" for name in shared if found[name].dtype not in FLOATS
        ],
    }
    return [f"{len(names)} {fault}: {_some(names)}" for fault, names in groups.items() if names]


def _check_names(checkpoint: Checkpoint, config: ModelConfig) -> None:
    faults = _misfits(checkpoint, config)
    if not faults:
        return
    message = (
        f"{checkpoint.path} does not fit the network of size {_size_name(config)!r}:"
        f" {'; '.join(faults)}."
    )
    for size in SIZES:
        if not _misfits(checkpoint, model_config(size)):
            message += f" It fits Model({size!r}, weights=...)"
            break
    else:
        message += " A whole AnySat checkpoint is needed, with the projectors of all sensors"
    raise WeightsError(message)


def _fitting_size(checkpoint: Checkpoint) -> str:
    """Name the size that the file is of; the fault is told against the size closest to it."""

    def agreement(size: str) -> int:
        shapes = tensor_shapes(model_config(size))
        return sum(shapes.get(name) == tensor.shape for name, tensor in checkpoint.tensors.items())

    size = max(SIZES, key=agreement)
    _check_names(checkpoint, model_config(size))
    return size


# ---------------------------------------------------------------------------------------------
# the command line's


@dataclass(frozen=True, kw_only=True)
class WeightsReport:
    """What `verify` found; ``str()`` gives it in lines."""

    path: Path
    size: str
    digest: str
    published: bool
    tensors: int
    values: int
    finite: bool

    def __str__(self) -> str:
        """Lay the findings out, one a line."""
        same = "the published weights" if self.published else "not the published file"
        return "\n".join([
            f"file      {self.path}",
            f"size      {self.size}",
            f"sha256    {self.digest} ({same})",
            f"contents  {self.tensors} tensors, {self.values:,} values",
            f"finite    {'yes' if self.finite else 'NO: some values are infinite or NaN'}",
        ])  # fmt: skip


def fetch() -> Path:
    """Download and convert the published weights where that is not done yet.

    Returns
    -------
    Path
        The converted file, which is all that a machine without network needs.
    """
    config = model_config(PUBLISHED.size)
    digest = _published_digest()
    if not (digest and _open_converted(digest, config)):
        path, digest = _published_file()
        convert(path, _converted_path(digest, PUBLISHED.size))
    _warn_of_mismatch(digest)
    return _converted_path(digest, PUBLISHED.size)


def convert(src: str | os.PathLike[str], dst: str | os.PathLike[str]) -> Path:
    """Check a file of weights, of any size, and write it as float32 safetensors.

    Parameters
    ----------
    src
        A `.pth`, `.pt`, `.ckpt` or `.safetensors` file.
    dst
        A path that ends in `.safetensors`; a file that is there is replaced at the end.

    Returns
    -------
    Path
        `dst`.
    """
    path, target = Path(src), Path(dst)
    if target.suffix != ".safetensors":
        raise OptionError(f"weights are converted to a .safetensors file, not {str(target)!r}")
    digest = _file_digest(path)
    checkpoint = read_checkpoint(path)
    size = _fitting_size(checkpoint)
    values = _finite_values(checkpoint, list(checkpoint.tensors))
    try:
        _write(target, values, digest, path.name, size)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"cannot write {target}: {error}") from error
    return target


def verify(path: str | os.PathLike[str] | None = None) -> WeightsReport:
    """Read a whole file of weights and say what it is. Downloads nothing.

    Parameters
    ----------
    path
        The file; None for the published weights as they are cached on this machine.

    Raises
    ------
    WeightsError
        The file is missing, damaged or hostile, or not a checkpoint of any size.
    """
    if path is None:
        path = _cached_download() or _converted_path(PUBLISHED.sha256, PUBLISHED.size)
        if not path.exists():
            raise WeightsError(f"the published weights are not on this machine. {_three_ways()}")
    checkpoint = read_checkpoint(Path(path))
    digest = _file_digest(checkpoint.path)
    return WeightsReport(
        path=checkpoint.path,
        size=_fitting_size(checkpoint),
        digest=digest,
        published=digest == PUBLISHED.sha256,
        tensors=len(checkpoint.tensors),
        values=sum(math.prod(tensor.shape) for tensor in checkpoint.tensors.values()),
        finite=all(np.isfinite(tensor.read()).all() for tensor in checkpoint.tensors.values()),
    )
