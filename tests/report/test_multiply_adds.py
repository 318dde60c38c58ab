"""Multiply-adds against those that the network really does, counted by torch as it runs."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from xr_anysat.model.config import model_config
from xr_anysat.model.network import AnySat
from xr_anysat.report import multiply_adds as cost


def network(size, **options):
    with torch.device("cpu"):
        made = AnySat(model_config(size, **options))
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    return made.eval()


def counted(run):
    """Multiply-adds of the matrix products in a run, attention's included."""
    plain = sdpa_kernel(SDPBackend.MATH)  # the fused kernel of CPUs is not counted
    with FlopCounterMode(display=False) as counter, torch.inference_mode(), plain:
        run()
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("size", ["tiny", "small"])
def test_temporal(size):
    made = network(size)
    width = made.config.width
    values, valid = torch.randn(6, 5, 10), torch.ones(6, 5, dtype=torch.bool)
    valid[::2, 1] = valid[::3, 3] = valid[4] = False
    days = torch.arange(5) * 50
    pixel_dates, pixels = int(valid.sum()), int(valid.any(1).sum())
    got = counted(lambda: made.encode_pixels(values, valid, days))
    passes = len(valid[valid.any(1)].sum(1).unique())  # the learned query is folded once a pass
    folding = passes * 16 * 8 * width
    assert got - folding == cost.total(cost.temporal_products(made.config, 10, pixel_dates, pixels))


@pytest.mark.parametrize("sub_patches", [True, False])
@pytest.mark.parametrize("size", ["tiny", "small"])
def test_spatial(size, sub_patches):
    made = network(size)
    pixels = torch.randn(3, 12, made.config.width)
    got = counted(lambda: made.encode_patches(pixels, (3, 4), 10.0, sub_patches=sub_patches))
    assert got == cost.total(cost.spatial_products(made.config, 3, 12, last_block=sub_patches))


@pytest.mark.parametrize("flash_layout", [True, False])
@pytest.mark.parametrize("patches", [True, False])
def test_tile(patches, flash_layout):
    made = network("tiny", flash_layout=flash_layout)
    tokens = torch.randn(2, 3, 5, made.config.width)
    got = counted(lambda: made.encode_tiles(tokens, 40.0, patches=patches))
    bias = (16 if patches else 1) * 64 * 8  # of positions alone: once, whatever the tiles
    products = cost.tile_products(made.config, 2, 15, all_patches=patches)
    assert got - bias == cost.total(products)


def test_figures_of_the_base_network_by_hand():
    """From the widths of the published layers, written out."""
    base = model_config("base")
    band_mlp = 10 * 96 + 96 * 384 + 384 * 768 + 768 * 1536 + 1536 * 768
    assert cost.total(cost.temporal_products(base, 10, 1, 0)) == band_mlp + 768 * 16 + 768
    assert cost.total(cost.temporal_products(base, 10, 0, 1)) == 768**2
    linear, attention, bias = 17 * 12 * 768**2, 2 * 17 * 17 * 768, 17 * 64 * 8
    spatial = cost.spatial_products(base, 1, 16, last_block=True)
    assert cost.total(spatial) == 6 * (linear + attention + bias)
    linear, attention = 257 * 12 * 768**2, 2 * 257 * 257 * 768
    tile = cost.tile_products(base, 1, 256, all_patches=True)
    assert cost.total(tile) == 6 * (linear + attention) + 257 * 11 * 768**2 + attention
