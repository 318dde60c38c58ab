"""How an embedding is packed before it is stored: reduced to components, quantized to a byte each.

The numbers of both come from one sample of the map or from the caller. They are fixed once for a
store, kept in it, and the same for every region, process and later call.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import dask.array as da
import numpy as np
import xarray as xr

from xr_anysat.errors import OptionError, StoreError, warn
from xr_anysat.findings import Advice, Call, SetOption
from xr_anysat.formatting import count_text
from xr_anysat.graph.run import RetryPolicy
from xr_anysat.job.fingerprint import digest
from xr_anysat.job.job import EmbedJob
from xr_anysat.job.options import check_whole
from xr_anysat.results.coords_and_attrs import FEATURE_DIM

from .manifest import PACKING, Manifest
from .numbers import Numbers
from .quantize import Quantization, as_quantization, fit_quantization
from .reduction import (
    COMPONENT_DIM,
    GIVEN_REDUCTION,
    Reduction,
    as_reduction,
    fit_reduction,
    reduced_map,
    require_pca,
)
from .regions import RegionGrid
from .sample import Sample, draw_sample

__all__ = [
    "Packing",
    "PackingNumbers",
    "Quantize",
    "Reduce",
    "find_numbers",
    "find_packing",
    "require_map",
]

Quantize = Literal["int8"] | xr.Dataset
Reduce = int | xr.DataArray | xr.Dataset


@dataclass(frozen=True, kw_only=True)
class Packing:
    """How a map is to be packed: the options of a call.

    Parameters
    ----------
    parts
        Features of each block of the embedding.
    reduce
        A number of components to fit, a linear map, or None.
    quantize
        "sample" to fit numbers, numbers, or None.
    dtype
        Of values that are not quantized.
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
        """Whether some numbers are fitted to a sample of the map."""
        return isinstance(self.reduce, int) or self.quantize == "sample"

    @property
    def dim(self) -> str:
        """Dimension of the features in the store."""
        return FEATURE_DIM if self.reduce is None else COMPONENT_DIM

    @property
    def stored_dtype(self) -> str:
        """Dtype of what is stored."""
        return self.dtype if self.quantize is None else "int8"

    def describe(self) -> dict[str, Any]:
        """Options of a job, in JSON."""
        options: dict[str, Any] = {"reduce": None, "quantize": None}
        if self.reduce is not None:
            numbers = _digest(self.reduce, "components", "mean")
            options["reduce"] = {"components": sum(self.sizes), "numbers": numbers}
        if self.quantize is not None:
            numbers = _digest(self.quantize, "scale", "offset")
            options["quantize"] = {"dtype": "int8", "numbers": numbers}
        return options

    def regions(self, job: EmbedJob) -> RegionGrid:
        """Cut the stored map into regions and files."""
        return RegionGrid.of((self.sizes, *job.out_chunks[1:]))

    def computing(self, job: EmbedJob) -> EmbedJob:
        """Compute blocks in float32 where they are reduced, so that they are rounded only then."""
        if self.reduce is None:
            return job
        return job.computing("float32")


def _digest(numbers: Any, *names: str) -> str:
    """Digest of arrays that are given; "sample" for those that are fitted."""
    given = isinstance(numbers, Numbers)
    return digest([getattr(numbers, name) for name in names]) if given else "sample"


def require_map(mode: str) -> None:
    """Make sure that a mode gives a map, which is stored region by region.

    Raises
    ------
    OptionError
        For pooled vectors.
    """
    if mode == "pooled":
        raise OptionError(
            "store.pooled",
            Call('cube.anysat.embed("pooled")'),
            Call(".to_zarr()"),
            mode=SetOption("mode", "pooled"),
        )


def find_packing(quantize: Any, reduce: Any, job: EmbedJob) -> Packing:
    """Check the options `quantize` and `reduce`.

    Raises
    ------
    OptionError
        For what does not fit the embedding, or one another.
    MissingExtraError
        Where scikit-learn is needed and not installed.
    """
    dtype = job.output.dtype
    packing = Packing(parts=job.out_chunks[0], reduce=None, quantize=None, dtype=dtype)
    if isinstance(reduce, int | np.integer) and not isinstance(reduce, bool):
        check_whole("reduce", reduce, most=packing.features)
        require_pca()
        packing = replace(packing, reduce=int(reduce))
    elif reduce is not None:
        packing = replace(packing, reduce=as_reduction(reduce, packing.features))
        _compare("reduce", reduce, job)
    if quantize is None:
        return packing
    if dtype != "float32":
        raise OptionError("quantize.dtype", dtype=SetOption("dtype", dtype))
    if isinstance(quantize, xr.Dataset):
        _compare("quantize", quantize, job)
        return replace(packing, quantize=as_quantization(quantize, sum(packing.sizes)))
    if quantize != "int8":
        shown = quantize if isinstance(quantize, str) else f"a {type(quantize).__name__}"
        raise OptionError("quantize.kind", given=SetOption("quantize", shown))
    return replace(packing, quantize="sample")


def _compare(name: str, given: xr.DataArray | xr.Dataset, job: EmbedJob) -> None:
    """Warn of numbers that were made for another kind of embedding."""
    ours = {"mode": job.output.mode, "model": f"AnySat {job.model.size}"}
    differing = [key for key in ours if given.attrs.get(key, ours[key]) != ours[key]]
    if differing:
        theirs, this = (", ".join(str(of[key]) for key in differing) for of in (given.attrs, ours))
        warn("packing.other-embedding", option=SetOption(name), theirs=theirs, this=this)


@dataclass(frozen=True, kw_only=True)
class PackingNumbers:
    """The numbers that a map is packed with.

    Parameters
    ----------
    packing
        The options that they belong to.
    reduction, quantization
        None for a map that is not reduced, or not quantized.
    attrs
        Attributes of the map that describe them.
    """

    packing: Packing
    reduction: Reduction | None
    quantization: Quantization | None
    attrs: dict[str, Any]

    def reduced(self, data: da.Array) -> da.Array:
        """Reduce a lazy (feature, y, x) map, or part of one, where there is a reduction."""
        if self.reduction is None:
            return data
        return reduced_map(data, self.reduction, self.packing.dtype)

    def labelled(self, embedding: xr.DataArray) -> xr.DataArray:
        """Label the stored map like one that is labelled by features; values are zeros."""
        if self.reduction is None:
            return embedding.assign_attrs(self.attrs)
        count, label = self.reduction.count, {"long_name": "component of the embedding"}
        features = [name for name, c in embedding.coords.items() if FEATURE_DIM in c.dims]
        result = embedding.drop_vars(features).isel({FEATURE_DIM: slice(count)})
        result = result.rename({FEATURE_DIM: COMPONENT_DIM}).astype(self.packing.dtype)
        result = result.assign_coords({COMPONENT_DIM: (COMPONENT_DIM, np.arange(count), label)})
        listed = embedding.encoding["coordinates"].split()
        kept = " ".join(name for name in listed if name in result.coords)
        result.encoding = {**embedding.encoding, "coordinates": kept}
        return result.assign_attrs(self.attrs)

    def beside(self, embedding: xr.DataArray) -> xr.Dataset:
        """Variables that lie beside the map; the embedding is the one with all its features."""
        variables = xr.Dataset()
        if self.reduction is not None:
            labels = {name: c for name, c in embedding.coords.items() if c.dims == (FEATURE_DIM,)}
            variables = self.reduction.dataset().assign_coords(labels)
        if self.quantization is not None:
            numbers = self.quantization.dataset(self.packing.dim)
            variables = variables.merge(numbers, compat="override", join="exact")
        return variables


def find_numbers(
    packing: Packing, job: EmbedJob, manifest: Manifest, policy: RetryPolicy
) -> PackingNumbers:
    """Find the numbers of a packing: those given, those of the store, or new ones, which it keeps.

    Raises
    ------
    StoreError
        Where a sample is needed and cannot be computed, or is too small.
    """
    if not packing.sampled:
        reduction: Any = packing.reduce
        quantization: Any = packing.quantize
        attrs = {}
    else:
        kept = manifest.read(PACKING)
        if kept is None:
            kept = manifest.keep(PACKING, _fitted(packing, draw_sample(job, policy)))
        reduction = kept["reduction"] and Reduction.from_json(kept["reduction"])
        quantization = kept["quantization"] and Quantization.from_json(kept["quantization"])
        attrs = kept["attrs"]
        if left_out := len(kept["left_out"]):
            repair = SetOption("overwrite", True), Advice("give the numbers of another map")
            warn("sample.left-out", *repair, left_out=left_out, windows=kept["windows"])
    described: dict[str, Any] = {}
    if reduction is not None:
        given = isinstance(packing.reduce, Reduction)
        how = "linear map to {}, given" if given else "principal components: {}"
        described["reduction"] = how.format(f"{reduction.count} of {packing.features} features")
    if quantization is not None:
        described |= quantization.attrs()
    return PackingNumbers(
        packing=packing,
        reduction=reduction,
        quantization=quantization,
        attrs={**described, **attrs},
    )


def _fitted(packing: Packing, sample: Sample) -> dict[str, Any]:
    """Fit the reduction, then the quantization, as far as they are not given; return a record."""
    vectors, reduction, quantization = sample.vectors, packing.reduce, packing.quantize
    attrs: dict[str, Any] = {"sample_vectors": len(vectors)}
    if isinstance(reduction, int):
        if len(vectors) < max(2, reduction):
            raise StoreError(
                "sample.too-small",
                GIVEN_REDUCTION,
                reduce=SetOption("reduce", reduction),
                vectors=len(vectors),
                windows=count_text(sample.windows, "window"),
            )
        reduction = fit_reduction(vectors, reduction)
    if reduction is not None:
        vectors = reduction.apply(vectors)
    if quantization is not None:
        if quantization == "sample":
            quantization = fit_quantization(vectors)
        attrs["quantization_sample_error"] = round(quantization.error(vectors), 6)
    return {
        "reduction": reduction and reduction.to_json(),
        "quantization": quantization and quantization.to_json(),
        "attrs": attrs,
        "windows": sample.windows,
        "left_out": list(sample.left_out),
    }
