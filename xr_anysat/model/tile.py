"""Tile encoder: all patches of a tile together.

Astruc et al. 2025, section 3.2. Self-attention blocks over the class token and the patch tokens,
then one cross-attention block whose queries are positions only.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import ModelConfig
from .layers import MLP, LookupTable, SelfAttention, merge_heads, split_heads
from .positions import grid_encoding, relative_buckets

__all__ = ["NORM_EPS", "CrossBlock", "PlainBlock", "encode_tiles"]

NORM_EPS = 1e-6
"""As published; the spatial encoder's is another."""


class PlainAttention(SelfAttention):
    """Multi-head self-attention without positions."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.across_heads = config.flash_layout

    def forward(self, x: Tensor, missing: Tensor | None) -> Tensor:
        """(B, L, D) -> (B, L, D); `missing` (B, L) tokens are not attended to."""
        q, k, v = self.query_key_value(x)
        if self.across_heads:  # each token's heads attend to one another, tokens do not
            q, k, v = (t.transpose(1, 2) for t in (q, k, v))
            attended = F.scaled_dot_product_attention(q, k, v).flatten(2)
        else:
            mask = None if missing is None else ~missing[:, None, None, :]
            attended = merge_heads(F.scaled_dot_product_attention(q, k, v, attn_mask=mask))
        out: Tensor = self.proj(attended)
        return out


class PlainBlock(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=NORM_EPS)
        self.attn = PlainAttention(config)
        self.norm2 = nn.LayerNorm(config.width, eps=NORM_EPS)
        self.mlp = MLP(config.width)

    def forward(self, x: Tensor, missing: Tensor | None) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        x = x + self.attn(self.norm1(x), missing)
        return x + self.mlp(self.norm2(x))


class CrossAttention(nn.Module):
    """Attention from positions to tokens."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.q_learned = nn.Parameter(torch.empty(1, 1, config.width))
        self.wk = nn.Linear(config.width, config.width)
        self.wv = nn.Linear(config.width, config.width)
        self.rpe_k = LookupTable()
        self.proj = nn.Linear(config.width, config.width)

    def forward(
        self, x: Tensor, positions: Tensor, buckets: Tensor, missing: Tensor | None
    ) -> Tensor:
        """Ask for every position, the class query first.

        Parameters
        ----------
        x
            (B, L, D): the class token, then the patch tokens.
        positions
            (Q, D): the encoding of the queries' positions; Q is L, or 1 for the class query alone.
        buckets
            (L, L) int64.
        missing
            (B, L) bool or None.

        Returns
        -------
        Tensor
            (B, Q, D).
        """
        query = split_heads(self.q_learned + positions)  # (1, heads, Q, 64): no input in it
        # The bias is read with the unscaled query, and is one for all tiles.
        mask = self.rpe_k(query[:, 0], buckets[: positions.shape[0]])  # (1, 1, Q, L)
        if missing is not None:
            mask = mask.expand(x.shape[0], -1, -1, -1)
            mask = mask.masked_fill(missing[:, None, None, :], float("-inf"))
        attended = F.scaled_dot_product_attention(
            query.expand(x.shape[0], -1, -1, -1),
            split_heads(self.wk(x)),
            split_heads(self.wv(x)),
            attn_mask=mask,
        )
        out: Tensor = self.proj(merge_heads(attended))
        return out


class CrossBlock(nn.Module):
    """Last block: no residual from the tokens, and no norm after it."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=NORM_EPS)
        self.attn = CrossAttention(config)
        self.norm2 = nn.LayerNorm(config.width, eps=NORM_EPS)
        self.mlp = MLP(config.width)

    def forward(
        self, x: Tensor, positions: Tensor, buckets: Tensor, missing: Tensor | None
    ) -> Tensor:
        """(B, L, D) -> (B, Q, D)."""
        y: Tensor = self.attn(self.norm1(x), positions, buckets, missing)
        return y + self.mlp(self.norm2(y))


def encode_tiles(
    cls_token: Tensor,
    blocks: nn.ModuleList,
    tokens: Tensor,
    patch_step: float,
    missing: Tensor | None,
    *,
    patches: bool,
) -> Tensor:
    """Run the tile encoder.

    Parameters
    ----------
    cls_token
        (1, 1, D).
    blocks
        Plain blocks, then one cross block.
    tokens
        (B, rows, columns, D) patch tokens.
    patch_step
        Patch size in units of 10 m.
    missing
        (B, rows, columns) bool: patches that are left out of the attention.
    patches
        Whether the patch embeddings are wanted besides the tile embedding.

    Returns
    -------
    Tensor
        (B, 1 + rows * columns, D): tile embedding, then patch embeddings row by row; (B, 1, D)
        without patches. The embedding of a missing patch means nothing.
    """
    batch, rows, columns, width = tokens.shape
    device = str(tokens.device)
    grid = grid_encoding(rows, columns, patch_step, width, device).to(tokens.dtype)
    x = torch.cat([cls_token.expand(batch, -1, -1), tokens.flatten(1, 2) + grid], dim=1)
    if missing is not None:
        missing = F.pad(missing.flatten(1), (1, 0), value=False)
    *plain, last = blocks
    for block in plain:
        x = block(x, missing)
    positions = F.pad(grid, (0, 0, 1, 0))  # no position for the class query
    out: Tensor = last(
        x,
        positions if patches else positions[:1],
        relative_buckets(rows, columns, device),
        missing,
    )
    return out
