"""`Model`: which network, with which weights, computed how. Small, hashable, free of torch."""

import os
from dataclasses import KW_ONLY, dataclass, replace
from typing import Literal, cast, get_args

from xr_anysat.errors import OptionError
from xr_anysat.findings import Call, SetOption
from xr_anysat.model.config import ModelConfig, model_config
from xr_anysat.weights.files import WeightsSource, find_weights

__all__ = ["Model", "as_model"]

Precision = Literal["float32", "bfloat16", "float16", "auto"]


@dataclass(frozen=True)
class Model:
    """A network to embed with.

    It holds a description only: weights are found when a cube is embedded, and loaded once per
    process when the first block is computed.

    Parameters
    ----------
    size : {"base", "small", "tiny"}
        Size of the network. Only base weights are published.
    weights : str or path, optional
        None: the published weights from the Hugging Face hub or its cache (or what the
        environment variable ``XR_ANYSAT_WEIGHTS`` says); a path to a ``.pth`` or
        ``.safetensors`` file; ``"random"`` or ``"random:SEED"`` for an untrained network.
    device : str, optional
        A torch device such as ``"cpu"`` or ``"cuda:1"``. None: the first CUDA device of the
        process that computes, else the CPU.
    precision : {"float32", "bfloat16", "float16", "auto"}
        Of matrix products; norms and softmax stay in float32. ``"auto"``: bfloat16 on a CUDA
        device or a CPU with instructions for it, float32 elsewhere.
    batch_size : int, optional
        Vectors (pixel-dates, pixels of patches, patches of tiles) computed at once. It bounds
        memory and does not change results beyond rounding.
    flash_layout : bool
        Compute the tile encoder's attention the way the published training configurations do
        (across the heads of each token). See the documentation; off is what published usage does.
    compile : bool
        Fuse the network's small operations with ``torch.compile``, anew in each process: a minute
        or so that large maps on a GPU get back many times over. On a CPU it needs a C++ compiler.

    Raises
    ------
    OptionError
        For an unknown size, precision or batch size.
    """

    size: str = "base"
    _: KW_ONLY
    weights: str | os.PathLike[str] | WeightsSource | None = None
    device: str | None = None
    precision: Precision = "float32"
    batch_size: int | None = None
    flash_layout: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        model_config(self.size)
        batch, precisions = self.batch_size, get_args(Precision)
        whole = isinstance(batch, int) and not isinstance(batch, bool) and batch > 0
        for name, sound, needed in (
            ("device", isinstance(self.device, str | None), 'a name such as "cpu" or "cuda:0"'),
            ("precision", self.precision in precisions, f"one of {list(precisions)}"),
            ("batch_size", batch is None or whole, "a positive whole number"),
        ):
            if not sound:
                given = SetOption(name, getattr(self, name))
                raise OptionError("model.option", given=given, needed=needed)
        if isinstance(self.weights, os.PathLike):
            object.__setattr__(self, "weights", os.fspath(self.weights))

    @property
    def config(self) -> ModelConfig:
        """The network's numbers."""
        return model_config(self.size, flash_layout=self.flash_layout)

    @property
    def source(self) -> WeightsSource:
        """Where the weights come from, found now if not before."""
        if isinstance(self.weights, WeightsSource):
            return self.weights
        return find_weights(cast(str | None, self.weights), self.size)

    def pinned(self) -> "Model":
        """Find the weights, which makes it the model that a graph carries.

        Raises
        ------
        WeightsError
            Where a file is not there.
        OptionError
            For weights that cannot be.
        """
        return replace(self, weights=self.source)


def as_model(model: "str | Model") -> Model:
    """Make a `Model`, also from the name of a size."""
    if isinstance(model, Model):
        return model
    if isinstance(model, str):
        return Model(model)
    raise OptionError(
        "model.kind", Call('xr_anysat.Model("base", ...)'), given=SetOption("model", model)
    )
