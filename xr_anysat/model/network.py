"""The AnySat network, for sensors with series of dates, in the three stages of inference.

1. `encode_pixels` and 2. `encode_patches` run once per pixel and patch of a map, whatever its
cut into tiles; 3. `encode_tiles` sees all patches of a tile together.
"""

import torch
from torch import Tensor, nn

from xr_anysat.sensors.record import SeriesProjector
from xr_anysat.sensors.registry import get_sensor

from .config import ModelConfig, projector_name
from .series import TemporalEncoder
from .spatial import SpatialEncoder
from .tile import CrossBlock, PlainBlock, encode_tiles

__all__ = ["AnySat"]


class AnySat(nn.Module):
    """Network with the parameter names of the published checkpoint.

    Parameters
    ----------
    config
        Size of the network, and the sensors that it has projectors for.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.cls_token = nn.Parameter(torch.empty(1, 1, config.width))
        for key in config.sensors:
            self.add_module(projector_name(key), _projector(config, key))
        self.spatial_encoder = SpatialEncoder(config)
        blocks: list[nn.Module] = [PlainBlock(config) for _ in range(config.depth)]
        self.blocks = nn.ModuleList([*blocks, CrossBlock(config)])

    def compile_stages(self) -> None:
        """Have torch fuse what the encoders are made of, for batches of any size."""
        for key in self.config.sensors:
            self.get_submodule(f"{projector_name(key)}.patch_embed").compile(dynamic=True)
        for block in (*self.spatial_encoder.predictor_blocks, *self.blocks):
            block.compile(dynamic=True)

    def encode_pixels(
        self,
        values: Tensor,
        valid: Tensor,
        day_of_year: Tensor,
        *,
        sensor: str | None = None,
        batch: int | None = None,
    ) -> Tensor:
        """Time series of pixels (N, T, C), valid where (N, T), to vectors (N, D).

        They are of the network's first sensor unless another is named.
        """
        projector = self.get_submodule(projector_name(sensor or self.config.sensors[0]))
        out: Tensor = projector(values, valid, day_of_year, batch=batch)
        return out

    def encode_patches(
        self,
        pixels: Tensor,
        shape: tuple[int, int],
        gsd: float,
        missing: Tensor | None = None,
        *,
        sub_patches: bool = True,
    ) -> tuple[Tensor, Tensor | None]:
        """Pixel vectors of patches (B, m, D) to patch tokens (B, D) and sub-patch tokens."""
        out: tuple[Tensor, Tensor | None] = self.spatial_encoder(
            pixels, shape, gsd, missing, sub_patches=sub_patches
        )
        return out

    def encode_tiles(
        self,
        tokens: Tensor,
        patch_size: float,
        missing: Tensor | None = None,
        *,
        patches: bool = True,
    ) -> Tensor:
        """Patch tokens (B, rows, columns, D) to (B, 1 + rows * columns, D), the tile's first.

        `patch_size` is in metres.
        """
        return encode_tiles(
            self.cls_token, self.blocks, tokens, patch_size / 10, missing, patches=patches
        )

    def forward(
        self,
        values: Tensor,
        day_of_year: Tensor,
        patch_size: float,
        *,
        gsd: float = 10,
        valid: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Embed whole tiles, stage after stage: the reference that tiling is checked against.

        Parameters
        ----------
        values
            (B, T, C, H, W) float32, normalised.
        day_of_year
            (T,), 0 on 1 January.
        patch_size
            Metres; `patch_size / gsd` pixels divide H and W.
        gsd
            Pixel size in metres.
        valid
            (B, T, H, W) bool; all valid where None.

        Returns
        -------
        dict of Tensor
            "tile" (B, D), "patch" (B, rows, columns, D) and "dense" (B, H, W, 2 D).
        """
        batch, dates, bands, height, width = values.shape
        side = round(patch_size / gsd)
        rows, columns = height // side, width // side
        series = values.permute(0, 3, 4, 1, 2).reshape(-1, dates, bands)
        if valid is None:
            valid = torch.ones(batch, dates, height, width, dtype=torch.bool)
        seen = valid.permute(0, 2, 3, 1).reshape(-1, dates)
        pixels = self.encode_pixels(series, seen.to(series.device), day_of_year)
        sub = _cut(pixels.view(batch, height, width, -1), side)  # (B * rows * columns, m, D)
        missing = ~_cut(seen.any(1).view(batch, height, width, 1), side)[..., 0]
        tokens, sub_tokens = self.encode_patches(sub, (side, side), gsd, missing)
        empty = missing.all(1).view(batch, rows, columns)
        out = self.encode_tiles(tokens.view(batch, rows, columns, -1), patch_size, empty)
        patch = out[:, 1:].unflatten(1, (rows, columns))
        assert sub_tokens is not None
        dense = torch.cat([patch.flatten(0, 2)[:, None].expand_as(sub_tokens), sub_tokens], -1)
        return {
            "tile": out[:, 0],
            "patch": patch,
            "dense": _join(dense, (batch, rows, columns), side),
        }


def _projector(config: ModelConfig, key: str) -> nn.Module:
    sensor = get_sensor(key)
    match sensor.projector:
        case SeriesProjector() as projector:
            return TemporalEncoder(config, len(sensor.bands), projector)
    raise NotImplementedError(f"images ({key}) have no projector yet")


def _cut(x: Tensor, side: int) -> Tensor:
    """(B, H, W, D) -> (B * rows * columns, side * side, D)."""
    x = x.unflatten(2, (-1, side)).unflatten(1, (-1, side))  # (B, rows, side, columns, side, D)
    return x.transpose(2, 3).flatten(3, 4).flatten(0, 2)


def _join(x: Tensor, shape: tuple[int, int, int], side: int) -> Tensor:
    """(B * rows * columns, side * side, D) -> (B, H, W, D)."""
    x = x.unflatten(0, shape).unflatten(3, (side, side)).transpose(2, 3)
    return x.flatten(1, 2).flatten(2, 3)
