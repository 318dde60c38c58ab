"""What an embedding becomes before it is stored: fewer components, and a byte for each.

The numbers of both come from one sample of the map or from the caller. They are decided once for a
store, kept in it, and the same for every region, process and later call.
"""

import base64
from dataclasses import dataclass, replace
from typing import Any, Literal

import dask.array as da
import numpy as np
import xarray as xr

from xr_anysat.errors import OptionError, StoreError, warn
from xr_anysat.formatting import count_text
from xr_anysat.graph.run import RetryPolicy
from xr_anysat.job.fingerprint import digest
from xr_anysat.job.job import EmbedJob
from xr_anysat.job.options import check_whole
from xr_anysat.results.labels import FEATURE_DIM

from .manifest import Manifest
from .quantize import Quantization, as_quantization, fit_quantization
from .reduction import COMPONENT_DIM, Reduction, as_reduction, fit_reduction, reduced, require_pca
from .regions import RegionGrid
from .sample import Sample, draw_sample

__all__ = [
    "Packed",
    "Packing",
    "Quantize",
    "Reduce",
    "find_packing",
    "require_map",
    "with_numbers",
]

Quantize = Literal["int8"] | xr.Dataset
Reduce = int | xr.DataArray | xr.Dataset


@dataclass(frozen=True, kw_only=True)
class Packing:
    """What is to be done, as asked for.

    Parameters
    ----------
    parts
        Features of each block of the embedding.
    reduce
        A number of components to fit, a linear map, or None.
    quantize
        "sample" to fit it, numbers, or None.
    dtype
        Of what is not quantized.
    """

    parts: tuple[int, ...]
    reduce: int | Reduction | None
    quantize: Literal["sample"] | Quantization | None
    dtype: str

    @property
    def features(self) -> int:
        """Features of the embedding."""
        return sum(self.parts)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Features, or components, of each block that is stored."""
        if isinstance(self.reduce, Reduction):
            return (self.reduce.count,)
        return self.parts if self.reduce is None else (self.reduce,)

    @property
    def sampled(self) -> bool:
        """Whether numbers follow from a sample of the map."""
        return isinstance(self.reduce, int) or self.quantize == "sample"

    @property
    def dim(self) -> str:
        """Dimension of the features in the store."""
        return FEATURE_DIM if self.reduce is None else COMPONENT_DIM

    @property
    def stored_dtype(self) -> str:
        """Of what is stored."""
        return self.dtype if self.quantize is None else "int8"

    def describe(self) -> dict[str, Any]:
        """Describe it as options of a job, in JSON."""
        by, to = self.reduce, self.quantize
        options: dict[str, Any] = {"reduce": None, "quantize": None}
        if by is not None:
            numbers = digest([by.components, by.mean]) if isinstance(by, Reduction) else "sample"
            options["reduce"] = {"components": sum(self.sizes), "numbers": numbers}
        if to is not None:
            numbers = digest([to.scale, to.offset]) if isinstance(to, Quantization) else "sample"
            options["quantize"] = {"dtype": "int8", "numbers": numbers}
        return options

    def regions(self, job: EmbedJob) -> RegionGrid:
        """Cut what is stored into regions and files, in the order of the user's cube."""
        return RegionGrid.of((self.sizes, *job.out_chunks[1:]))

    def computing(self, job: EmbedJob) -> EmbedJob:
        """Have blocks computed in float32, which are rounded once they are reduced."""
        return job if self.reduce is None else job.computing("float32")


def require_map(mode: str) -> None:
    """Make sure that a mode gives a map, which is stored region by region.

    Raises
    ------
    OptionError
        For some vectors.
    """
    if mode == "pooled":
        raise OptionError(
            'mode="pooled" gives some vectors, which need no regions: compute them with '
            'cube.anysat.embed("pooled"), and write them with .to_zarr().'
        )


def find_packing(quantize: Any, reduce: Any, job: EmbedJob) -> Packing:
    """Check what was asked for.

    Raises
    ------
    OptionError
        For what does not fit the embedding, or one another.
    MissingExtraError
        Where scikit-learn is needed and not installed.
    """
    dtype = job.output.dtype
    found = Packing(parts=job.out_chunks[0], reduce=None, quantize=None, dtype=dtype)
    if isinstance(reduce, int | np.integer) and not isinstance(reduce, bool):
        check_whole("reduce", reduce, most=found.features)
        require_pca()
        found = replace(found, reduce=int(reduce))
    elif reduce is not None:
        found = replace(found, reduce=as_reduction(reduce, found.features))
        _compare("reduce", reduce, job)
    if quantize is None:
        return found
    if dtype != "float32":
        raise OptionError(
            f'quantize= stores a byte for each value, and dtype="{dtype}" two: give one of them.'
        )
    if isinstance(quantize, xr.Dataset):
        _compare("quantize", quantize, job)
        return replace(found, quantize=as_quantization(quantize, sum(found.sizes)))
    if quantize != "int8":
        shown = repr(quantize) if isinstance(quantize, str) else f"a {type(quantize).__name__}"
        raise OptionError(
            f'quantize={shown} is neither "int8" nor the Dataset that '
            "xr_anysat.open_quantization(store) gives"
        )
    return replace(found, quantize="sample")


def _compare(name: str, given: xr.DataArray | xr.Dataset, job: EmbedJob) -> None:
    """Warn of numbers that were made for another kind of embedding."""
    ours = {"mode": job.output.mode, "model": f"AnySat {job.model.size}"}
    differing = [key for key in ours if given.attrs.get(key, ours[key]) != ours[key]]
    if differing:
        there, here = (", ".join(str(of[key]) for key in differing) for of in (given.attrs, ours))
        warn(
            f"the numbers of {name}= were made for another embedding ({there}) than this one "
            f"({here}): they fit in number, but features do not mean the same."
        )


@dataclass(frozen=True, kw_only=True)
class Packed:
    """The same with its numbers.

    Parameters
    ----------
    reduction, quantization
        None where it is not done.
    dtype
        Of what is not quantized.
    attrs
        What the map says of it.
    """

    reduction: Reduction | None
    quantization: Quantization | None
    dtype: str
    attrs: dict[str, Any]

    @property
    def dim(self) -> str:
        """Dimension of the features in the store."""
        return FEATURE_DIM if self.reduction is None else COMPONENT_DIM

    def reduced(self, data: da.Array) -> da.Array:
        """Reduce a lazy (feature, y, x) map, or part of one, if that is wanted."""
        return data if self.reduction is None else reduced(data, self.reduction, self.dtype)

    def labelled(self, embedding: xr.DataArray) -> xr.DataArray:
        """Label what is stored of a map that is labelled by features; values are zeros."""
        if self.reduction is None:
            return embedding.assign_attrs(self.attrs)
        shape, chunks = embedding.shape[1:], embedding.chunks or ()
        coords = {name: c for name, c in embedding.coords.items() if FEATURE_DIM not in c.dims}
        numbers = np.arange(self.reduction.count)
        coords[COMPONENT_DIM] = xr.DataArray(
            numbers, dims=COMPONENT_DIM, attrs={"long_name": "component of the embedding"}
        )
        found = xr.DataArray(
            da.zeros((self.reduction.count, *shape), dtype=self.dtype, chunks=(-1, *chunks[1:])),
            dims=(COMPONENT_DIM, *embedding.dims[1:]),
            coords=coords,
            name=embedding.name,
            attrs={**embedding.attrs, **self.attrs},
        )
        listed = embedding.encoding["coordinates"].split()
        here = " ".join(name for name in listed if name in coords)
        found.encoding = {**embedding.encoding, "coordinates": here}
        return found

    def beside(self, embedding: xr.DataArray) -> xr.Dataset:
        """Variables that lie beside the map; the embedding is the one with all its features."""
        found = xr.Dataset()
        if self.reduction is not None:
            labels = {name: c for name, c in embedding.coords.items() if c.dims == (FEATURE_DIM,)}
            found = self.reduction.dataset().assign_coords(labels)
        if self.quantization is not None:
            found = found.merge(
                self.quantization.dataset(self.dim), compat="override", join="exact"
            )
        return found


def with_numbers(
    packing: Packing, job: EmbedJob, manifest: Manifest, effort: RetryPolicy
) -> Packed:
    """Find the numbers of a packing: those given, those in the store, or new ones, and keep these.

    Raises
    ------
    StoreError
        Where a sample is needed and cannot be computed, or is too small.
    """
    kept = manifest.packing() if packing.sampled else None
    if packing.sampled and kept is None:
        sample = draw_sample(job, effort)
        kept = manifest.keep_packing(_fitted(packing, sample))
    if kept is None:
        by, to, attrs = packing.reduce, packing.quantize, {}
    else:
        by, to = _reduction(kept["reduction"]), _quantization(kept["quantization"])
        attrs = kept["attrs"]
        if kept["left_out"]:
            warn(
                f"{len(kept['left_out'])} of {kept['windows']} windows could not be read for the "
                "sample of quantize= and reduce=, whose numbers are of the others. Where they can "
                "be read again, begin anew with overwrite=True; or give the numbers of another map."
            )
    reduction = by if isinstance(by, Reduction) else None
    quantization = to if isinstance(to, Quantization) else None
    said = {} if reduction is None else {"reduction": _says(packing, reduction)}
    said |= {} if quantization is None else quantization.attrs()
    return Packed(
        reduction=reduction,
        quantization=quantization,
        dtype=packing.dtype,
        attrs={**said, **attrs},
    )


def _says(packing: Packing, reduction: Reduction) -> str:
    of = f"{reduction.count} of {packing.features} features"
    if isinstance(packing.reduce, Reduction):
        return f"linear map to {of}, given"
    return f"principal components: {of}"


def _fitted(packing: Packing, sample: Sample) -> dict[str, Any]:
    """Fit what is to be fitted, the reduction first, as JSON."""
    vectors, by, to = sample.vectors, packing.reduce, packing.quantize
    attrs: dict[str, Any] = {"sample_vectors": len(vectors)}
    if isinstance(by, int):
        if len(vectors) < max(2, by):
            raise StoreError(
                f"reduce={by} needs a sample of as many vectors, and the map gave {len(vectors)} "
                f"in {count_text(sample.windows, 'window')}; ask for fewer components, or give the "
                "linear map of a larger map: reduce=xr_anysat.open_reduction(store)."
            )
        by = fit_reduction(vectors, by)
    if by is not None:
        vectors = by.apply(vectors)
    if to is not None:
        to = fit_quantization(vectors) if to == "sample" else to
        attrs["quantization_sample_error"] = round(to.error(vectors), 6)
    return {
        "reduction": by and {name: _text(getattr(by, name)) for name in _REDUCTION},
        "quantization": to and {name: _text(getattr(to, name)) for name in _QUANTIZATION},
        "attrs": attrs,
        "windows": sample.windows,
        "left_out": list(sample.left_out),
    }


_REDUCTION = ("components", "mean", "ratio")
_QUANTIZATION = ("scale", "offset")


def _reduction(kept: dict[str, Any] | None) -> Reduction | None:
    if kept is None:
        return None
    return Reduction(**{name: _array(kept[name]) for name in _REDUCTION})


def _quantization(kept: dict[str, Any] | None) -> Quantization | None:
    if kept is None:
        return None
    return Quantization(**{name: _array(kept[name]) for name in _QUANTIZATION})


def _text(array: Any) -> dict[str, Any] | None:
    """Float32 to JSON, to the bit."""
    if array is None:
        return None
    data = base64.b64encode(np.asarray(array, dtype="<f4").tobytes()).decode()
    return {"shape": list(array.shape), "float32": data}


def _array(kept: dict[str, Any] | None) -> Any:
    if kept is None:
        return None
    values = np.frombuffer(base64.b64decode(kept["float32"]), dtype="<f4")
    return values.reshape(kept["shape"]).astype(np.float32)
