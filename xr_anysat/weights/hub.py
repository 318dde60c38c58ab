"""The published weights: what is known of them, their place on this machine, their download."""

import re
from dataclasses import dataclass
from pathlib import Path

from xr_anysat.errors import WeightsError, warn
from xr_anysat.model.config import model_config

from .conversion import converted_path, file_digest

__all__ = [
    "PUBLISHED",
    "PublishedWeights",
    "published_digest",
    "published_file",
    "published_here",
    "three_ways",
    "warn_of_mismatch",
]

WEIGHTS_VARIABLE = "XR_ANYSAT_WEIGHTS"


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


def three_ways() -> str:
    """Name the ways to get weights, for those who have none."""
    return (
        "Three ways to get weights: `python -m xr_anysat weights fetch`, once and with network"
        " access, puts the published ones (504 MB) into the Hugging Face cache;"
        f" Model('base', weights='/path/to/AnySat.pth') or the environment variable"
        f" {WEIGHTS_VARIABLE} names a file of your own, such as {PUBLISHED.filename} from"
        f" huggingface.co/{PUBLISHED.repo_id}, downloaded elsewhere; weights='random' makes"
        " an untrained network, for trials"
    )


def _cached_download() -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(PUBLISHED.repo_id, PUBLISHED.filename)
    return Path(found) if isinstance(found, str) else None


def _blob_digest(path: Path) -> str | None:
    """Read the SHA-256 that the Hugging Face cache names its large files by."""
    name = path.resolve().name
    return name if re.fullmatch("[0-9a-f]{64}", name) else None


def published_here() -> Path:
    """Say where the published weights are on this machine, if they are: as fetched or converted."""
    return _cached_download() or converted_path(PUBLISHED.sha256, model_config(PUBLISHED.size))


def published_digest() -> str | None:
    """Digest of the published weights that this machine has, as far as known without reading."""
    if download := _cached_download():
        return _blob_digest(download)
    return PUBLISHED.sha256 if published_here().exists() else None


def published_file() -> tuple[Path, str]:
    """Give the published file and its digest, downloading it where it is not cached."""
    path = _cached_download() or _download()
    digest, expected = file_digest(path), _blob_digest(path)
    if expected not in (None, digest):
        raise WeightsError(
            f"the cached download {path} is damaged: its sha256 is {digest}, and should be"
            f" {expected}. Delete {path.resolve()}, then `python -m xr_anysat weights"
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
            f" cache and could not be fetched ({type(error).__name__}: {reason}). {three_ways()}"
        ) from error


def warn_of_mismatch(digest: str | None) -> None:
    """Warn where the published weights are not those that this version was made with."""
    if digest != PUBLISHED.sha256:
        warn(
            f"the weights fetched from {PUBLISHED.repo_id} have the sha256 {digest}, not the"
            f" {PUBLISHED.sha256} that this version of xr_anysat knows: embeddings may differ from"
            " those of others"
        )
