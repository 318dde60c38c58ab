"""The canonical form of a job, in JSON: attributes and fingerprints of stores follow from it."""

import hashlib
from typing import Any

import numpy as np
import xarray as xr

from xr_anysat.weights.files import PUBLISHED, WeightsSource

from .job import EmbedJob

__all__ = ["canonical_form", "digest", "fingerprint"]


def canonical_form(job: EmbedJob) -> dict[str, Any]:
    """Describe a job by all that its numbers depend on, except the pixels."""
    each, spec, output, model = job.reference, job.cube.spec, job.output, job.model
    how = each.normalization
    numbers = None if how.mean is None or how.std is None else [[*how.mean], [*how.std]]
    return {
        "cube": {
            "rows": spec.shape[0],
            "columns": spec.shape[1],
            "crs": _crs(spec.geobox.crs),
            "transform": [round(value, 6) for value in tuple(spec.geobox.transform)[:6]],
            "south_up": spec.orientation.south_up,
            "east_left": spec.orientation.east_left,
            "dtype": spec.dtype,
            "nodata": [str(value) for value in spec.nodata],
            "bands": [str(label) for label in spec.band_labels],
            "dates": list(spec.dates),
        },
        "options": {
            "mode": output.mode,
            "patch_size": job.layout.patch_size,
            "tile_size": job.layout.rows.axis.tile * each.pixels.patch,
            "overlap": job.layout.overlap,
            "input_prep": each.prep,
            "frames": each.frame_positions,
            "day_of_year": list(each.day_of_year),
            "normalize": {"name": how.name, "numbers": numbers},
            "dtype": output.dtype,
        },
        "model": {
            "size": model.size,
            "weights": model.source.kind,
            "weights_digest": _weights(model.source),
            "precision": model.precision,
            "flash_layout": model.flash_layout,
        },
    }


def fingerprint(job: EmbedJob, mask: Any) -> dict[str, Any]:
    """Describe a job so that two can be compared, pixels included.

    The values of a cube in memory are compared by a digest. Those of a lazy cube are not: they
    would have to be read, and the names that dask gives them may change with every run.

    Parameters
    ----------
    job
        The job.
    mask
        As the user gave it.
    """
    form = canonical_form(job)
    known = None if job.lazy else digest(job.cube.values.compute(scheduler="synchronous"))
    left, bottom, right, top = job.geobox.boundingbox.bbox
    return {
        **form,
        "cube": {**form["cube"], "values": known},
        "options": {**form["options"], "mask": _mask(mask)},
        "map": {"bounds": [left, bottom, right, top]},
    }


def digest(values: Any) -> str:
    """Digest of an array, plane by plane: no copy of its size is made."""
    state = hashlib.blake2b(digest_size=16)
    for plane in values:
        state.update(np.ascontiguousarray(plane).data)
    return f"blake2b:{state.hexdigest()}"


def _crs(crs: Any) -> str:
    """Code of a CRS, which is the same in all versions of PROJ; its text where it has none."""
    return f"EPSG:{crs.epsg}" if crs.epsg else str(crs)


def _mask(mask: Any) -> str | None:
    if not isinstance(mask, xr.DataArray):
        return None
    return "lazy" if mask.chunks is not None else digest(np.atleast_1d(mask.values))


def _weights(source: WeightsSource) -> str:
    if source.kind == "random":
        return source.location
    return f"sha256:{source.digest or PUBLISHED.sha256}"
