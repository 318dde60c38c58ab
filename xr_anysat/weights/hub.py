"""The published weights: name and digest, place on this machine, download."""

import re
from dataclasses import dataclass
from pathlib import Path

from xr_anysat.errors import WeightsError, warn
from xr_anysat.findings import Call, SetOption
from xr_anysat.model.config import model_config

from .conversion import converted_path, file_digest

__all__ = [
    "PUBLISHED",
    "PublishedWeights",
    "no_weights",
    "own_file",
    "published_digest",
    "published_file",
    "published_here",
    "warn_of_mismatch",
]

WEIGHTS_VARIABLE = "XR_ANYSAT_WEIGHTS"


@dataclass(frozen=True, kw_only=True)
class PublishedWeights:
    """A published set of weights: its place, its size and its digest."""

    repo_id: str
    filename: str
    size: str
    sha256: str

    @property
    def location(self) -> str:
        """Repository and file."""
        return f"{self.repo_id} {self.filename}"


PUBLISHED = PublishedWeights(
    repo_id="g-astruc/AnySat",
    filename="models/AnySat.pth",
    size="base",
    sha256="ce1246527a28bade624048c448a1fa473ca85791b998f562ce2bcc3dcac93d4f",
)
"""The only published weights, 504 MB, under the MIT licence (Astruc et al., "AnySat", CVPR 2025,
arXiv 2412.14123). The digest is as reported; a mismatch warns."""


_FETCH = Call("python -m xr_anysat weights fetch")


def own_file(size: str) -> SetOption:
    """Name the option for a file of one's own."""
    path = "/path/to/AnySat.pth"
    return SetOption("weights", path, python=f'Model("{size}", weights="{path}")')


def no_weights(state: str) -> WeightsError:
    """Error for weights that are missing, with the ways to get some."""
    ways = _FETCH, own_file(PUBLISHED.size), SetOption("weights", "random")
    return WeightsError("weights.none", *ways, state=state)


def _cached_download() -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(PUBLISHED.repo_id, PUBLISHED.filename)
    return Path(path) if isinstance(path, str) else None


def _blob_digest(path: Path) -> str | None:
    """Read the SHA-256 that the Hugging Face cache names its large files by."""
    name = path.resolve().name
    return name if re.fullmatch("[0-9a-f]{64}", name) else None


def published_here() -> Path:
    """Path of the published weights on this machine, downloaded or converted, if there are any."""
    return _cached_download() or converted_path(PUBLISHED.sha256, model_config(PUBLISHED.size))


def published_digest() -> str | None:
    """Digest of the published weights that this machine has, as far as known without reading."""
    if download := _cached_download():
        return _blob_digest(download)
    return PUBLISHED.sha256 if published_here().exists() else None


def published_file() -> tuple[Path, str]:
    """Find the published file and its digest; download it where it is not cached."""
    path = _cached_download() or _download()
    digest, expected = file_digest(path), _blob_digest(path)
    if expected not in (None, digest):
        file = path.resolve()
        raise WeightsError(
            "weights.download", _FETCH, path=path, digest=digest, expected=expected, file=file
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
    except Exception as error:  # network, server or disk: there are no weights
        reason = (str(error).strip() or "no reason given").split("\n")[0]
        raise no_weights(
            f"there are no weights: {PUBLISHED.location} is not in the Hugging Face cache and "
            f"could not be fetched ({type(error).__name__}: {reason})"
        ) from error


def warn_of_mismatch(digest: str | None) -> None:
    """Warn where the published weights are not those that this version was made with."""
    if digest != PUBLISHED.sha256:
        repository, expected = PUBLISHED.repo_id, PUBLISHED.sha256
        warn("weights.digest", repository=repository, digest=digest, expected=expected)
