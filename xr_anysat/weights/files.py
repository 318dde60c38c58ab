"""The network's weights: finding, checking and loading them.

A graph is built with a `WeightsSource`, a few words long; the process that runs the network turns
it into tensors with `load_tensors`. Importing this module does not import torch.
"""

import math
import os
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from xr_anysat.errors import OptionError, WeightsError
from xr_anysat.findings import SetOption
from xr_anysat.model.config import ModelConfig, model_config, used_shapes

from .checkpoint import Checkpoint, FloatArray, read_checkpoint
from .conversion import (
    convert,
    file_digest,
    fitting_size,
    open_converted,
    read_checked,
    read_converted,
)
from .hub import (
    PUBLISHED,
    WEIGHTS_VARIABLE,
    PublishedWeights,
    no_weights,
    own_file,
    published_digest,
    published_file,
    published_here,
    warn_of_mismatch,
)

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

_SUFFIXES = (".pth", ".pt", ".ckpt", ".safetensors")


@dataclass(frozen=True, kw_only=True)
class WeightsSource:
    """Where weights come from: small, hashable, picklable, the same in every process.

    Dask derives keys from what the numbers follow from, so that neither the place of a file nor
    the state of the Hugging Face cache changes them: the digest of a file, the seed of random
    weights, and for the published ones their name alone.

    Parameters
    ----------
    kind
        The published weights, a file of the user's, or an untrained network.
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
        """What a result's attributes say; of a file only its name, without its folders."""
        if self.kind == "file":
            return f"file {Path(self.location).name}"
        return f"{self.location} (not pretrained)" if self.kind == "random" else self.location

    def __dask_tokenize__(self) -> tuple[object, ...]:
        """Identity that dask derives keys from."""
        identity = {"hub": self.location, "file": self.digest, "random": self.seed}
        return ("xr_anysat.WeightsSource", self.kind, identity[self.kind])


# ---------------------------------------------------------------------------------------------
# finding


def find_weights(weights: str | os.PathLike[str] | None, size: str) -> WeightsSource:
    """Find out where weights come from; downloads nothing, reads no tensor, imports no torch.

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
        `weights` is anything else.
    """
    weights = os.fspath(weights) if isinstance(weights, os.PathLike) else weights
    given: SetOption | str = SetOption("weights", weights)
    if weights is None:
        weights = os.environ.get(WEIGHTS_VARIABLE) or None
        given = f"{WEIGHTS_VARIABLE}={weights!r}"
    if weights is None:
        return _published_source(size)
    if isinstance(weights, str) and weights.partition(":")[0] == "random":
        seed = weights.removeprefix("random").removeprefix(":")
        if weights != "random" and not re.fullmatch("[0-9]{1,18}", seed):
            raise OptionError("weights.seed", given=given)
        number = int(seed or 0)
        return WeightsSource(kind="random", location=f"random:{number}", seed=number)
    return _file_source(weights, given)


def _published_source(size: str) -> WeightsSource:
    if size != PUBLISHED.size:
        raise WeightsError(
            "weights.unpublished",
            SetOption("size", PUBLISHED.size, python=f'Model("{PUBLISHED.size}")'),
            own_file(size),
            SetOption("weights", "random"),
            size=size,
            published=PUBLISHED.size,
        )
    return WeightsSource(kind="hub", location=PUBLISHED.location, digest=published_digest())


def _file_source(weights: str, given: SetOption | str) -> WeightsSource:
    text = os.fsdecode(weights) if isinstance(weights, str | bytes) else ""
    path = Path(os.path.abspath(os.path.expanduser(text)))
    if path.suffix not in _SUFFIXES:
        raise OptionError("weights.kind", given=given, suffixes=", ".join(_SUFFIXES))
    if not path.is_file():
        raise no_weights(f"{path} is not a file")
    return WeightsSource(kind="file", location=str(path), digest=file_digest(path))


def digest_of(source: WeightsSource) -> str | None:
    """Digest of the weights, "sha256:...", for a result's attributes.

    None for random weights, and for published ones that are neither cached nor loaded yet.
    """
    digest = source.digest
    if digest is None and source.kind == "hub":
        digest = published_digest()
    return f"sha256:{digest}" if digest else None


# ---------------------------------------------------------------------------------------------
# loading


def load_tensors(source: WeightsSource, config: ModelConfig) -> "dict[str, torch.Tensor]":
    """Load what the network needs: the projectors of its sensors and all that they share.

    A `.pth` is read, checked against `config` and converted once; from then on, in any process,
    the converted file in the cache (``XR_ANYSAT_CACHE``, by default `xr_anysat` beside the Hugging
    Face cache) is memory-mapped and the `.pth` is not opened again.

    Returns
    -------
    dict of torch.Tensor
        float32 on the CPU, by name, memory-mapped where the file holds float32.

    Raises
    ------
    WeightsError
        The weights cannot be found, are damaged or hostile, do not fit `config`, are not finite,
        or have changed since `find_weights` saw them.
    """
    needed = used_shapes(config)
    if source.seed is not None:
        seed = source.seed
        return _to_torch({name: _random_values(seed, name, needed[name]) for name in needed})
    tensors = _open(source, config).tensors
    return _to_torch({name: tensors[name].read() for name in needed})


def _open(source: WeightsSource, config: ModelConfig) -> Checkpoint:
    """Open a file of weights whose names, shapes and values have all been checked."""
    path = Path(source.location)
    if source.kind == "file" and path.suffix == ".safetensors":
        _require_same(source, file_digest(path))
        return read_checked(path, config)[0]
    digest = source.digest or published_digest()
    converted = open_converted(digest, config) if digest else None
    if converted is None:
        path, digest = published_file() if source.kind == "hub" else (path, file_digest(path))
        _require_same(source, digest)
        converted = read_converted(path, digest, source.description, config)
    if source.kind == "hub":
        warn_of_mismatch(digest)
    return converted


def _require_same(source: WeightsSource, digest: str) -> None:
    if source.digest not in (None, digest):
        raise WeightsError(
            "weights.changed", location=source.location, digest=digest, earlier=source.digest
        )


def _to_torch(values: dict[str, FloatArray]) -> "dict[str, torch.Tensor]":
    import torch

    return {
        name: torch.from_numpy(array if array.flags.writeable else array.copy())
        for name, array in values.items()
    }


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
# the command line's


@dataclass(frozen=True, kw_only=True)
class WeightsReport:
    """What `verify` says of a file; ``str()`` gives it in lines."""

    path: Path
    size: str
    digest: str
    published: bool
    tensors: int
    values: int
    finite: bool

    def __str__(self) -> str:
        """Lay it out, one fact a line."""
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
    return _open(_published_source(PUBLISHED.size), model_config(PUBLISHED.size)).path


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
        path = published_here()
        if not path.exists():
            raise no_weights("the published weights are not on this machine")
    checkpoint = read_checkpoint(Path(path))
    digest = file_digest(checkpoint.path)
    return WeightsReport(
        path=checkpoint.path,
        size=fitting_size(checkpoint),
        digest=digest,
        published=digest == PUBLISHED.sha256,
        tensors=len(checkpoint.tensors),
        values=sum(math.prod(tensor.shape) for tensor in checkpoint.tensors.values()),
        finite=all(np.isfinite(tensor.read()).all() for tensor in checkpoint.tensors.values()),
    )
