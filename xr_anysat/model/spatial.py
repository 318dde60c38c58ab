"""Spatial encoder: the pixels (sub-patches) of one patch to one token. Patches are on their own.

Astruc et al. 2025, section 3.2; relative positions after Wu et al. 2021.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import HEAD_WIDTH, ModelConfig
from .layers import MLP, LookupTable, SelfAttention, merge_heads, split_heads
from .positions import grid_encoding, relative_buckets

__all__ = ["SpatialEncoder"]

NORM_EPS = 1e-5
"""As published; the tile encoder uses another."""


class RelativeAttention(SelfAttention):
    """Self-attention with a contextual relative-position bias."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.rpe_k = LookupTable()

    def forward(self, x: Tensor, buckets: Tensor, missing: Tensor | None) -> Tensor:
        """(B, L, D) -> (B, L, D); `missing` (B, L) tokens are not attended to."""
        q, k, v = self.query_key_value(x)
        bias = self.rpe_k(q[:, 0] / HEAD_WIDTH**0.5, buckets)  # (B, 1, L, L)
        if missing is not None:
            bias = bias.masked_fill(missing[:, None, None, :], float("-inf"))
        out: Tensor = self.proj(
            merge_heads(F.scaled_dot_product_attention(q, k, v, attn_mask=bias))
        )
        return out

    def class_token_only(self, x: Tensor, missing: Tensor | None) -> Tensor:
        """(B, L, D) -> (B, 1, D), what `forward` gives for the first token.

        Every pair with the class token is in one bucket, so its bias is the same for all keys and
        does nothing.
        """
        width = x.shape[-1]
        weight, bias = self.qkv.weight, self.qkv.bias
        q = split_heads(F.linear(x[:, :1], weight[:width], bias[:width]))
        k, v = map(split_heads, F.linear(x, weight[width:], bias[width:]).chunk(2, dim=-1))
        mask = None if missing is None else ~missing[:, None, None, :]
        out: Tensor = self.proj(
            merge_heads(F.scaled_dot_product_attention(q, k, v, attn_mask=mask))
        )
        return out


class RelativeBlock(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=NORM_EPS)
        self.attn = RelativeAttention(config)
        self.norm2 = nn.LayerNorm(config.width, eps=NORM_EPS)
        self.mlp = MLP(config.width)

    def forward(self, x: Tensor, buckets: Tensor, missing: Tensor | None) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        x = x + self.attn(self.norm1(x), buckets, missing)
        return x + self.mlp(self.norm2(x))

    def class_token_only(self, x: Tensor, missing: Tensor | None) -> Tensor:
        """(B, L, D) -> (B, 1, D)."""
        token = x[:, :1] + self.attn.class_token_only(self.norm1(x), missing)
        return token + self.mlp(self.norm2(token))


class SpatialEncoder(nn.Module):
    """Groups the sub-patches of each patch and summarises them in one token."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.empty(1, 1, config.width))
        self.predictor_blocks = nn.ModuleList(RelativeBlock(config) for _ in range(config.depth))
        self.predictor_norm = nn.LayerNorm(config.width, eps=NORM_EPS)

    def forward(
        self,
        sub: Tensor,
        shape: tuple[int, int],
        step: float,
        missing: Tensor | None = None,
        *,
        sub_patches: bool = True,
    ) -> tuple[Tensor, Tensor | None]:
        """Encode patches.

        Parameters
        ----------
        sub
            (B, m, D): the vectors of a patch's sub-patches, row by row.
        shape
            Rows and columns of sub-patches, `m` in all.
        step
            Size of a sub-patch in metres.
        missing
            (B, m) bool: sub-patches that are left out of the attention.
        sub_patches
            Whether the sub-patch tokens are wanted; without, the last block computes the class
            token alone.

        Returns
        -------
        tuple of Tensor
            Patch tokens (B, D), and sub-patch tokens (B, m, D) or None. The sub-patch token of
            a missing sub-patch has no meaning.
        """
        batch, _, width = sub.shape
        device = str(sub.device)
        sub = sub + grid_encoding(*shape, step, width, device).to(sub.dtype)
        x = torch.cat([self.cls_token.expand(batch, -1, -1), sub], dim=1)  # (B, 1 + m, D)
        buckets = relative_buckets(*shape, device)
        if missing is not None:
            missing = F.pad(missing, (1, 0), value=False)
        last = len(self.predictor_blocks) - 1
        for index, block in enumerate(self.predictor_blocks):
            assert isinstance(block, RelativeBlock)
            if index == last and not sub_patches:
                x = block.class_token_only(x, missing)
            else:
                x = block(x, buckets, missing)
        x = self.predictor_norm(x)
        return x[:, 0], x[:, 1:] if sub_patches else None
