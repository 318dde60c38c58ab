"""Multiply-adds that an embedding needs: whole numbers, from shapes alone.

The matrix products of the three stages are counted, attention included, each in its cheapest form:
the date attention's learned query is folded into its key projection, the last block of an encoder
computes only the tokens that are needed, and a missing pixel-date, patch or tile costs nothing.
Norms, activations and softmax are not counted: they take a few operations per value, the products
hundreds.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from xr_anysat.model.config import DATE_HEADS, HEAD_WIDTH, RPE_BUCKETS, ModelConfig

__all__ = ["Product", "spatial_products", "temporal_products", "tile_products", "total"]


@dataclass(frozen=True, kw_only=True)
class Product:
    """A matrix product that occurs `count` times.

    In each, `batch` times (rows, inner) by (inner, columns); a linear layer has one factor for all
    of its rows and a batch of 1.
    """

    count: int = 1
    batch: int = 1
    rows: int
    inner: int
    columns: int

    @property
    def multiply_adds(self) -> int:
        """Of all of them."""
        return self.count * self.batch * self.rows * self.inner * self.columns


def temporal_products(
    config: ModelConfig, bands: int, pixel_dates: int, pixels: int
) -> list[Product]:
    """Products of the temporal encoder.

    Parameters
    ----------
    config
        Size of the network.
    bands
        Of the sensor.
    pixel_dates
        Valid ones.
    pixels
        With any valid date.
    """
    inputs = (bands, *config.band_mlp_widths)
    products = [
        Product(rows=pixel_dates, inner=inner, columns=columns)
        for inner, columns in zip(inputs, config.band_mlp_widths, strict=False)
    ]
    return [
        *products,
        Product(rows=pixel_dates, inner=config.width, columns=DATE_HEADS),
        Product(rows=pixel_dates, inner=1, columns=config.width),  # the weighted sum over dates
        Product(rows=pixels, inner=config.width, columns=config.width),
    ]


def spatial_products(
    config: ModelConfig, patches: int, sub_patches: int, *, last_block: bool
) -> list[Product]:
    """Products of the spatial encoder.

    Parameters
    ----------
    config
        Size of the network.
    patches
        With any valid pixel.
    sub_patches
        Pixels of a patch.
    last_block
        Whether the last block is computed whole, for the sub-patch tokens, or for the patch token
        alone.
    """
    tokens = 1 + sub_patches
    full = config.depth if last_block else config.depth - 1
    products = [
        *_linear(config, patches * tokens, patches * tokens, full),
        *_attention(config, patches, tokens, tokens, full),
        Product(count=full, rows=patches * tokens, inner=HEAD_WIDTH, columns=RPE_BUCKETS),
    ]
    if not last_block:  # its bias is the same for all keys of the patch token, and does nothing
        products += _linear(config, patches, patches * tokens, 1)
        products += _attention(config, patches, 1, tokens, 1)
    return products


def tile_products(
    config: ModelConfig, tiles: int, patches: int, *, all_patches: bool
) -> list[Product]:
    """Products of the tile encoder.

    Parameters
    ----------
    config
        Size of the network.
    tiles
        Of one size, with any valid patch.
    patches
        Of each.
    all_patches
        Whether the last block computes all patches, or the tile's own embedding alone.
    """
    tokens = 1 + patches
    queries = tokens if all_patches else 1
    products = _linear(config, tiles * tokens, tiles * tokens, config.depth)
    if config.flash_layout:  # every token's heads attend to one another
        heads = config.heads
        products += [
            Product(
                count=config.depth, batch=tiles * tokens, rows=heads, inner=inner, columns=columns
            )
            for inner, columns in ((HEAD_WIDTH, heads), (heads, HEAD_WIDTH))
        ]
    else:
        products += _attention(config, tiles, tokens, tokens, config.depth)
    # The last block's queries are positions: no product with the input makes them.
    products += _linear(config, tiles * queries, tiles * tokens, 1, query=False)
    products += _attention(config, tiles, queries, tokens, 1)
    return products


def _linear(
    config: ModelConfig, queries: int, keys: int, count: int, *, query: bool = True
) -> list[Product]:
    """Linear layers of `count` blocks that give `queries` tokens out of `keys`."""
    width = config.width
    shapes = [
        (keys, width, 2 * width),  # key and value
        (queries, width, width),  # projection after attention
        (queries, width, 4 * width),
        (queries, 4 * width, width),
    ]
    if query:
        shapes.append((queries, width, width))
    return [
        Product(count=count, rows=rows, inner=inner, columns=columns)
        for rows, inner, columns in shapes
    ]


def _attention(
    config: ModelConfig, sequences: int, queries: int, keys: int, count: int
) -> list[Product]:
    batch = sequences * config.heads
    return [
        Product(count=count, batch=batch, rows=queries, inner=HEAD_WIDTH, columns=keys),
        Product(count=count, batch=batch, rows=queries, inner=keys, columns=HEAD_WIDTH),
    ]


def total(products: Iterable[Product]) -> int:
    """Multiply-adds of all products."""
    return sum(product.multiply_adds for product in products)
