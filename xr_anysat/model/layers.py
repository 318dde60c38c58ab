"""Pieces that both transformers share."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import HEAD_WIDTH, RPE_BUCKETS, ModelConfig

__all__ = ["MLP", "LookupTable", "SelfAttention", "merge_heads", "split_heads"]


def split_heads(x: Tensor) -> Tensor:
    """(B, L, D) -> (B, heads, L, 64)."""
    return x.unflatten(-1, (-1, HEAD_WIDTH)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """(B, heads, L, 64) -> (B, L, D)."""
    return x.transpose(1, 2).flatten(2)


class MLP(nn.Module):
    """Two linear layers with an exact GELU between."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class LookupTable(nn.Module):
    """Contextual relative-position bias on keys (iRPE, Wu et al. 2021).

    One table for all heads, read with the query of the first head only: the weights were trained
    with that one bias added to the logits of every head.
    """

    lookup_table_weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.lookup_table_weight = nn.Parameter(torch.empty(1, HEAD_WIDTH, RPE_BUCKETS))

    def forward(self, query: Tensor, buckets: Tensor) -> Tensor:
        """Bias of each pair of tokens.

        Parameters
        ----------
        query
            (B, L, 64), the first head's.
        buckets
            (L, L) int64.

        Returns
        -------
        Tensor
            (B, 1, L, L), to be added to the logits of every head.
        """
        by_bucket = query @ self.lookup_table_weight[0]  # (B, L, 8)
        index = buckets.expand(query.shape[0], -1, -1)
        return by_bucket.gather(-1, index).unsqueeze(1)


class SelfAttention(nn.Module):
    """Multi-head self-attention; subclasses say who attends to whom."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.proj = nn.Linear(config.width, config.width)

    def query_key_value(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, L, D) -> three of (B, heads, L, 64)."""
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        return split_heads(q), split_heads(k), split_heads(v)
