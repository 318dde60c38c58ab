"""Files of weights checked against the network, and converted once to safetensors.

A converted file is named by the digest of its source, so that it never goes stale. It appears when
it is complete.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

import numpy as np
from safetensors import SafetensorError

from xr_anysat.atomic import atomic_replace
from xr_anysat.errors import OptionError, WeightsError, warn
from xr_anysat.findings import Advice, SetOption
from xr_anysat.model.config import SIZES, ModelConfig, model_config, tensor_shapes

from .checkpoint import FLOATS, Checkpoint, FloatArray, read_checkpoint, unreadable

__all__ = [
    "convert",
    "converted_path",
    "file_digest",
    "finite_values",
    "fitting_size",
    "open_converted",
    "read_checked",
    "read_converted",
]

CACHE_VARIABLE = "XR_ANYSAT_CACHE"

_CONVERTER = "1"
"""Raised whenever what a converted file holds changes; older files are then left alone."""

_LOCK_SECONDS = 600


def file_digest(path: Path) -> str:
    """SHA-256 of a file, which is read once per process unless it changes."""
    try:
        status = path.stat()
        return _hash_file(str(path), status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise unreadable(path, error) from error


@lru_cache(maxsize=64)
def _hash_file(path: str, size: int, mtime_ns: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ---------------------------------------------------------------------------------------------
# checking


def check_names(checkpoint: Checkpoint, config: ModelConfig) -> None:
    """Raise a `WeightsError` unless the file has the tensors of this network and no others."""
    faults = _misfits(checkpoint, config)
    if not faults:
        return
    fitting = [size for size in SIZES if not _misfits(checkpoint, model_config(size))]
    raise WeightsError(
        "weights.misfit",
        SetOption("size", fitting[0], python=f'Model("{fitting[0]}", weights=...)')
        if fitting
        else Advice("a whole AnySat checkpoint, with the projectors of all sensors"),
        path=checkpoint.path,
        size=_size_name(config),
        faults="; ".join(faults),
    )


def _misfits(checkpoint: Checkpoint, config: ModelConfig) -> list[str]:
    needed, stored = tensor_shapes(config), checkpoint.tensors
    shared = [name for name in needed if name in stored]
    groups = {
        "missing": [name for name in needed if name not in stored],
        "unexpected": [name for name in stored if name not in needed],
        "of the wrong shape": [
            f"{name} {stored[name].shape} instead of {needed[name]}"
            for name in shared
            if stored[name].shape != needed[name]
        ],
        "not floating-point": [
            f"{name} ({stored[name].dtype})" for name in shared if stored[name].dtype not in FLOATS
        ],
    }
    return [f"{len(names)} {fault}: {_some(names)}" for fault, names in groups.items() if names]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(name[:100] for name in names[:5]) + more


def _size_name(config: ModelConfig) -> str:
    names = (name for name, numbers in SIZES.items() if numbers == (config.width, config.depth))
    return next(names, f"{config.width}x{config.depth}")


def fitting_size(checkpoint: Checkpoint) -> str:
    """Name the size that a file is of, or raise a `WeightsError` that names the closest."""
    stored = {name: tensor.shape for name, tensor in checkpoint.tensors.items()}.items()
    size = max(SIZES, key=lambda size: len(stored & tensor_shapes(model_config(size)).items()))
    check_names(checkpoint, model_config(size))
    return size


def finite_values(checkpoint: Checkpoint) -> dict[str, FloatArray]:
    """Read all tensors; infinite and missing values are a `WeightsError`."""
    values = {name: tensor.read() for name, tensor in checkpoint.tensors.items()}
    bad = [name for name, array in values.items() if not np.isfinite(array).all()]
    if bad:
        raise WeightsError("weights.not-finite", path=checkpoint.path, tensors=_some(bad))
    return values


def read_checked(path: Path, config: ModelConfig) -> tuple[Checkpoint, dict[str, FloatArray]]:
    """Read a file whose names, shapes and values all fit, or raise a `WeightsError`."""
    checkpoint = read_checkpoint(path)
    check_names(checkpoint, config)
    return checkpoint, finite_values(checkpoint)


# ---------------------------------------------------------------------------------------------
# the cache


def converted_path(digest: str, config: ModelConfig) -> Path:
    """Path of the converted file of the weights with this digest, whether it exists or not."""
    folder = os.environ.get(CACHE_VARIABLE)
    if not folder:
        from huggingface_hub import constants

        folder = os.path.join(constants.HF_HOME, "xr_anysat")
    name = f"anysat-{_size_name(config)}-{digest}-v{_CONVERTER}.safetensors"
    return Path(folder).expanduser() / name


def open_converted(digest: str, config: ModelConfig) -> Checkpoint | None:
    """Open the converted file; None where it is missing or damaged."""
    try:
        checkpoint = read_checkpoint(converted_path(digest, config))  # accounts for every byte
        check_names(checkpoint, config)
    except WeightsError:
        return None
    origin = checkpoint.metadata.get("converter"), checkpoint.metadata.get("source_sha256")
    return checkpoint if origin == (_CONVERTER, digest) else None


def read_converted(path: Path, digest: str, origin: str, config: ModelConfig) -> Checkpoint:
    """Convert a file unless that is done, and open the result.

    Where the cache cannot be written to, warns and gives the file itself, checked all the same.
    """
    target = converted_path(digest, config)
    with _conversion_lock(target):
        if converted := open_converted(digest, config):  # by another thread or process, meanwhile
            return converted
        checkpoint, values = read_checked(path, config)
        try:
            _write(target, values, digest, origin)
            return read_checkpoint(target)
        except (OSError, SafetensorError) as error:
            reason = str(error)
    folder = target.parent
    warn("weights.cache", folder=folder, reason=reason, name=path.name, variable=CACHE_VARIABLE)
    return checkpoint


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


def _write(target: Path, values: dict[str, FloatArray], digest: str, origin: str) -> None:
    """Write a safetensors file, which appears when it is complete."""
    from safetensors.numpy import save_file

    metadata = {
        "format": "pt", "converter": _CONVERTER, "source": origin, "source_sha256": digest,
    }  # fmt: skip
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_replace(target) as fresh:
        fresh.touch()
        mode = fresh.stat().st_mode  # what the umask makes it; safetensors makes it private
        save_file(values, fresh, metadata)
        fresh.chmod(mode)
        with fresh.open("rb+") as file:
            os.fsync(file.fileno())


def convert(src: str | os.PathLike[str], dst: str | os.PathLike[str]) -> Path:
    """Check a file of weights, of any size, and write it as float32 safetensors.

    Parameters
    ----------
    src
        A `.pth`, `.pt`, `.ckpt` or `.safetensors` file.
    dst
        A path that ends in `.safetensors`; an existing file is replaced at the end.

    Returns
    -------
    Path
        `dst`.
    """
    path, target = Path(src), Path(dst)
    if target.suffix != ".safetensors":
        raise OptionError("weights.suffix", target=str(target))
    digest = file_digest(path)
    checkpoint = read_checkpoint(path)
    fitting_size(checkpoint)
    values = finite_values(checkpoint)
    try:
        _write(target, values, digest, path.name)
    except (OSError, SafetensorError) as error:
        raise WeightsError("weights.unwritable", target=target, reason=error) from error
    return target
