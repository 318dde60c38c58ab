"""Sizes of the network, and the names and shapes of every tensor of a published checkpoint.

Astruc et al., "AnySat: One Earth Observation Model for Many Resolutions, Scales, and Modalities",
CVPR 2025 (arXiv 2412.14123). Importable without torch.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from xr_anysat.errors import OptionError
from xr_anysat.findings import SetOption
from xr_anysat.sensors.record import ImageProjector, Sensor, SeriesProjector
from xr_anysat.sensors.registry import PUBLISHED, SENSORS
from xr_anysat.sensors.sentinel2 import SENTINEL2

__all__ = [
    "HEAD_WIDTH",
    "SIZES",
    "ModelConfig",
    "model_config",
    "projector_name",
    "tensor_shapes",
    "used_shapes",
]

HEAD_WIDTH = 64
"""Channels of one attention head, in every size."""

DATE_HEADS = 16
"""Heads of the attention over dates, and groups of the norms before and after it."""

DATE_KEY_WIDTH = 8
"""Key channels of one such head."""

RPE_BUCKETS = 8
"""Buckets of the relative-position bias (iRPE, Wu et al. 2021), the class token's included."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The numbers that define one network.

    Parameters
    ----------
    width
        Channels of a token (D), a multiple of 64.
    depth
        Blocks of the spatial encoder, and self-attention blocks of the tile encoder.
    flash_layout
        Let the self-attention of the tile encoder run across the heads of each token instead of
        across tokens, as the published training configurations do by accident of memory layout.
    sensors
        Keys of the sensors whose projectors the network has. The first is the default.
    """

    width: int
    depth: int
    flash_layout: bool = False
    sensors: tuple[str, ...] = (SENTINEL2.key,)

    @property
    def heads(self) -> int:
        """Attention heads of a transformer block."""
        return self.width // HEAD_WIDTH

    @property
    def band_mlp_widths(self) -> tuple[int, ...]:
        """Output channels of the five layers of a temporal encoder's band MLP."""
        return (self.width // 8, self.width // 2, self.width, 2 * self.width, self.width)


SIZES: dict[str, tuple[int, int]] = {"base": (768, 6), "small": (512, 4), "tiny": (256, 2)}
"""(width, depth) of each size. Only base weights are published; tiny is for tests."""


def model_config(size: str, *, flash_layout: bool = False) -> ModelConfig:
    """Look a size up by its name."""
    if not isinstance(size, str) or size not in SIZES:
        raise OptionError("model.size", given=SetOption("size", size), known=list(SIZES))
    width, depth = SIZES[size]
    return ModelConfig(width=width, depth=depth, flash_layout=flash_layout)


Shapes = Iterator[tuple[str, tuple[int, ...]]]


def projector_name(sensor: str) -> str:
    """Name, in the network and in checkpoints, of the module that reads a sensor."""
    return f"projector_{sensor}"


def tensor_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a published checkpoint, all sensors included.

    418 tensors and 125,905,447 values in the base size.
    """
    return _shapes(config, PUBLISHED)


def used_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of the tensors that the network has, among those of a checkpoint."""
    return _shapes(config, config.sensors)


def _shapes(config: ModelConfig, sensors: Iterable[str]) -> dict[str, tuple[int, ...]]:
    width, depth = config.width, config.depth
    shapes: dict[str, tuple[int, ...]] = {"cls_token": (1, 1, width)}
    for key in sensors:
        shapes.update(_projector(projector_name(key), config, SENSORS[key]))
    shapes["spatial_encoder.cls_token"] = (1, 1, width)
    for index in range(depth):
        shapes.update(_self_attention_block(f"spatial_encoder.predictor_blocks.{index}", width))
        shapes.update(_lookup_table(f"spatial_encoder.predictor_blocks.{index}"))
    shapes.update(_norm("spatial_encoder.predictor_norm", width))
    for index in range(depth):
        shapes.update(_self_attention_block(f"blocks.{index}", width))
    shapes.update(_cross_attention_block(f"blocks.{depth}", width))
    return shapes


def _linear(name: str, inputs: int, outputs: int) -> Shapes:
    yield f"{name}.weight", (outputs, inputs)
    yield f"{name}.bias", (outputs,)


def _norm(name: str, width: int) -> Shapes:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def _projector(name: str, config: ModelConfig, sensor: Sensor) -> Shapes:
    bands = len(sensor.bands)
    match sensor.projector:
        case ImageProjector(kernel=kernel):
            return _image_projector(name, config.width, bands, kernel)
        case SeriesProjector(sequence_norm=sequence_norm):
            return _temporal_encoder(name, config, bands, sequence_norm=sequence_norm)


def _image_projector(name: str, width: int, bands: int, kernel: int) -> Shapes:
    yield f"{name}.patch_embed.weight", (width, bands, kernel, kernel)
    yield from _linear(f"{name}.mlp.0", width, 2 * width)
    yield from _norm(f"{name}.mlp.1", 2 * width)
    yield from _linear(f"{name}.mlp.3", 2 * width, width)
    yield from _norm(f"{name}.mlp.4", width)


def _temporal_encoder(name: str, config: ModelConfig, bands: int, *, sequence_norm: bool) -> Shapes:
    width = config.width
    yield f"{name}.pad_parameter", ()
    inputs = bands
    for index, outputs in enumerate(config.band_mlp_widths):
        yield from _linear(f"{name}.patch_embed.inconv.{4 * index}", inputs, outputs)
        yield from _norm(f"{name}.patch_embed.inconv.{4 * index + 1}", outputs)
        inputs = outputs
    yield f"{name}.patch_embed.attention_heads.Q", (DATE_HEADS, DATE_KEY_WIDTH)
    keys = DATE_HEADS * DATE_KEY_WIDTH
    yield from _linear(f"{name}.patch_embed.attention_heads.fc1_k", width, keys)
    if sequence_norm:
        yield from _norm(f"{name}.patch_embed.in_norm", width)
    yield from _norm(f"{name}.patch_embed.out_norm", width)
    yield from _linear(f"{name}.patch_embed.mlp.0", width, width)
    yield from _norm(f"{name}.patch_embed.mlp.1", width)


def _mlp(name: str, width: int) -> Shapes:
    yield from _linear(f"{name}.mlp.fc1", width, 4 * width)
    yield from _linear(f"{name}.mlp.fc2", 4 * width, width)


def _lookup_table(name: str) -> Shapes:
    yield f"{name}.attn.rpe_k.lookup_table_weight", (1, HEAD_WIDTH, RPE_BUCKETS)


def _self_attention_block(name: str, width: int) -> Shapes:
    yield from _norm(f"{name}.norm1", width)
    yield from _linear(f"{name}.attn.qkv", width, 3 * width)
    yield from _linear(f"{name}.attn.proj", width, width)
    yield from _norm(f"{name}.norm2", width)
    yield from _mlp(name, width)


def _cross_attention_block(name: str, width: int) -> Shapes:
    yield from _norm(f"{name}.norm1", width)
    yield f"{name}.attn.q_learned", (1, 1, width)
    yield from _linear(f"{name}.attn.wk", width, width)
    yield from _linear(f"{name}.attn.wv", width, width)
    yield from _lookup_table(name)
    yield from _linear(f"{name}.attn.proj", width, width)
    yield from _norm(f"{name}.norm2", width)
    yield from _mlp(name, width)
