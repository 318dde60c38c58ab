"""Temporal encoder: the time series of one pixel to one vector.

A lightweight temporal attention encoder (Garnot & Landrieu 2020, "Lightweight Temporal
Self-Attention for Classifying Satellite Image Time Series", section 3) behind a band-wise MLP.
Pixels never see each other here.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xr_anysat.sensors.record import SeriesProjector

from .config import DATE_HEADS, DATE_KEY_WIDTH, ModelConfig
from .positions import date_encoding

__all__ = ["TemporalEncoder"]

MLP_GROUPS = 4
"""Groups of the norms inside the band MLP and the output MLP."""

NORM_EPS = 1e-5


def _normalise_vector(x: Tensor, norm: nn.GroupNorm, groups: int) -> Tensor:
    """Group norm of single vectors: (M, D') -> (M, D').

    The statistics of a group run over its channels and nothing else, which makes it a layer norm
    of the groups: far quicker on a CPU than `group_norm` with one position per channel.
    """
    grouped = F.layer_norm(
        x.unflatten(-1, (groups, -1)), (x.shape[-1] // groups,), eps=NORM_EPS
    ).flatten(-2)
    return torch.addcmul(norm.bias, grouped, norm.weight)


class DateAttention(nn.Module):
    """Attention pooling over dates: 16 heads, one learned query each, no value projection."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.Q = nn.Parameter(torch.empty(DATE_HEADS, DATE_KEY_WIDTH))
        self.fc1_k = nn.Linear(config.width, DATE_HEADS * DATE_KEY_WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Pool over the dates.

        Parameters
        ----------
        x
            (N, T, D).

        Returns
        -------
        Tensor
            (N, D).
        """
        # The query does not depend on the input, so it is folded into the key projection:
        # D -> 16 logits instead of D -> 128 keys.
        query = self.Q / math.sqrt(DATE_KEY_WIDTH)
        keys = self.fc1_k.weight.unflatten(0, (DATE_HEADS, DATE_KEY_WIDTH))
        weight = torch.einsum("hk,hkd->hd", query, keys)
        bias = (query * self.fc1_k.bias.unflatten(0, (DATE_HEADS, DATE_KEY_WIDTH))).sum(1)
        share = F.linear(x, weight, bias).softmax(dim=1)  # (N, T, 16)
        values = x.unflatten(-1, (DATE_HEADS, -1))  # (N, T, 16, D / 16)
        return torch.einsum("nth,nthd->nhd", share, values).flatten(1)


class _SeriesEncoder(nn.Module):
    """The published `patch_embed` of a time-series projector."""

    def __init__(self, config: ModelConfig, bands: int, *, sequence_norm: bool) -> None:
        super().__init__()
        self.config = config
        layers: dict[str, nn.Module] = {}
        inputs = bands
        for index, outputs in enumerate(config.band_mlp_widths):
            layers[str(4 * index)] = nn.Linear(inputs, outputs)
            layers[str(4 * index + 1)] = nn.GroupNorm(MLP_GROUPS, outputs, eps=NORM_EPS)
            inputs = outputs
        self.inconv = nn.ModuleDict(layers)
        self.in_norm = (
            nn.GroupNorm(DATE_HEADS, config.width, eps=NORM_EPS) if sequence_norm else None
        )
        self.attention_heads = DateAttention(config)
        self.mlp = nn.ModuleDict(
            {
                "0": nn.Linear(config.width, config.width),
                "1": nn.GroupNorm(MLP_GROUPS, config.width, eps=NORM_EPS),
            }
        )
        self.out_norm = nn.GroupNorm(DATE_HEADS, config.width, eps=NORM_EPS)

    def band_mlp(self, x: Tensor) -> Tensor:
        """(M, C) -> (M, D), date by date."""
        for index in range(0, 4 * len(self.config.band_mlp_widths), 4):
            norm = self.inconv[str(index + 1)]
            assert isinstance(norm, nn.GroupNorm)
            x = _normalise_vector(self.inconv[str(index)](x), norm, MLP_GROUPS).relu_()
        return x

    def sequence_norm(self, x: Tensor) -> Tensor:
        """(N, T, D) -> (N, T, D); a group's statistics run over its channels and all dates.

        Unchanged for a sensor without this norm.
        """
        if self.in_norm is None:
            return x
        n, dates, width = x.shape
        groups = x.view(n, dates, DATE_HEADS, -1).transpose(1, 2)  # (N, 16, T, D / 16)
        grouped = F.layer_norm(groups, (dates, width // DATE_HEADS), eps=NORM_EPS)
        flat = grouped.transpose(1, 2).reshape(n, dates, width)
        return torch.addcmul(self.in_norm.bias, flat, self.in_norm.weight)

    def forward(self, series: Tensor, dates: Tensor) -> Tensor:
        """Encode pixels that all have T valid dates.

        Parameters
        ----------
        series
            (N, T, C), normalised.
        dates
            (T, D / 16) or (N, T, D / 16): the date encoding.

        Returns
        -------
        Tensor
            (N, D).
        """
        n, t, _ = series.shape
        x = self.sequence_norm(self.band_mlp(series.flatten(0, 1)).view(n, t, -1))
        x.view(n, t, DATE_HEADS, -1).add_(dates.unsqueeze(-2))
        norm = self.mlp["1"]
        assert isinstance(norm, nn.GroupNorm)
        pooled = _normalise_vector(self.mlp["0"](self.attention_heads(x)), norm, MLP_GROUPS).relu_()
        return _normalise_vector(pooled, self.out_norm, DATE_HEADS)


class TemporalEncoder(nn.Module):
    """Projector of a sensor with a time series, pixel by pixel.

    Pixels are sorted by their number of valid dates and each such group is computed with just
    these dates, so a missing date costs nothing and changes nothing.

    Parameters
    ----------
    config
        Size of the network.
    bands
        Bands of the sensor.
    projector
        What its record says of the projector.
    """

    def __init__(self, config: ModelConfig, bands: int, projector: SeriesProjector) -> None:
        super().__init__()
        self.config = config
        self.period = projector.period
        self.pad_parameter = nn.Parameter(torch.empty(()))  # in the checkpoint, unused here
        self.patch_embed = _SeriesEncoder(config, bands, sequence_norm=projector.sequence_norm)

    def forward(
        self, values: Tensor, valid: Tensor, day_of_year: Tensor, *, batch: int | None = None
    ) -> Tensor:
        """Encode pixels.

        Parameters
        ----------
        values
            (N, T, C) float32, normalised; anything where not valid.
        valid
            (N, T) bool.
        day_of_year
            (T,), 0 on 1 January.
        batch
            Pixel-dates computed at once; None: all.

        Returns
        -------
        Tensor
            (N, D); zeros for a pixel without any valid date.
        """
        encoding = date_encoding(day_of_year, self.config.width, self.period)
        out = values.new_zeros(values.shape[0], self.config.width)
        counts = valid.sum(dim=1)
        for count in counts.unique().tolist():
            if count == 0:
                continue
            pixels = (counts == count).nonzero().squeeze(1)
            for part in pixels.split(max(1, (batch or pixels.numel() * count) // count)):
                if count == values.shape[1]:
                    out[part] = self.patch_embed(values[part], encoding)
                    continue
                dates = valid[part].nonzero()[:, 1].view(-1, count)  # (n, count), ascending
                series = values[part[:, None], dates]
                out[part] = self.patch_embed(series, encoding[dates])
        return out
