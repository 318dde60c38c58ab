"""Blocks through the network: numpy in, numpy out."""

import numpy as np
import pytest
import torch
from support.findings import finds
from support.helpers import chunk_spec as spec

from xr_anysat import Model, OptionError, ScaleError
from xr_anysat.compute import engine
from xr_anysat.compute.encode import encode_chunk
from xr_anysat.compute.tiles import TileSpec, encode_window
from xr_anysat.model.network import AnySat

MODEL = Model("tiny", weights="random:1").pinned()


def pixels(height=5, width=6, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(3, 10, height, width)).astype("float32")


def test_shapes_of_a_chunk_that_cuts_a_patch():
    encoded = encode_chunk(pixels(5, 7), None, None, spec())
    assert encoded.tokens.shape == (3, 4, 256)
    assert encoded.sub.shape == (256, 5, 7)
    assert encoded.seen.all()
    assert np.isfinite(encoded.sub).all()


def test_sub_patches_only_where_asked_for_and_tokens_alike():
    values = pixels()
    with_sub = encode_chunk(values, None, None, spec())
    without = encode_chunk(values, None, None, spec(sub_patches=False))
    assert without.sub is None
    np.testing.assert_allclose(without.tokens, with_sub.tokens, atol=1e-5)


def test_a_patch_is_its_own_wherever_it_lies():
    values = pixels(4, 8)
    whole = encode_chunk(values, None, None, spec())
    part = encode_chunk(values[:, :, 2:, 4:6], None, None, spec())
    np.testing.assert_allclose(part.tokens[0, 0], whole.tokens[1, 2], atol=1e-5)
    np.testing.assert_allclose(part.sub, whole.sub[:, 2:, 4:6], atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 7, 100, 10_000])
def test_batches_do_not_matter(batch_size):
    values = pixels()
    mask = np.random.default_rng(1).random((3, 5, 6)) > 0.4
    model = Model("tiny", weights="random:1", batch_size=batch_size).pinned()
    expected = encode_chunk(values, mask, None, spec())
    got = encode_chunk(values, mask, None, spec(model=model))
    np.testing.assert_allclose(got.tokens, expected.tokens, atol=1e-5)
    np.testing.assert_allclose(got.sub, expected.sub, atol=1e-5)


def test_nan_marks_just_what_was_never_seen():
    mask = np.ones((3, 4, 4), dtype=bool)
    mask[:, :2, :2] = False  # a whole patch
    mask[:, 3, 3] = False  # a pixel
    mask[1, 0, 3] = False  # one date of a pixel
    encoded = encode_chunk(pixels(4, 4), mask, None, spec())
    np.testing.assert_array_equal(np.isnan(encoded.tokens[..., 0]), [[True, False], [False, False]])
    np.testing.assert_array_equal(np.isnan(encoded.sub[0]), ~mask.any(axis=0))
    np.testing.assert_array_equal(encoded.seen, mask.any(axis=0))


def test_a_chunk_without_any_valid_pixel():
    encoded = encode_chunk(np.full((3, 10, 4, 4), np.nan), None, None, spec())
    assert np.isnan(encoded.tokens).all()
    assert np.isnan(encoded.sub).all()


def window(**changes):
    options = {
        "model": MODEL,
        "patch_size": 20,
        "rows": ((0, 4), (2, 6)),
        "columns": ((0, 4), (2, 5)),
        "tile_patches": 4,
        "blended": True,
    }
    return TileSpec(**(options | changes))


def tokens():
    return np.random.default_rng(2).normal(size=(6, 5, 256)).astype("float32")


def test_tiles_of_a_window_one_by_one():
    sums = encode_window(tokens(), window())
    total, weight = np.zeros_like(sums.total), np.zeros_like(sums.weight)
    for row in window().rows:
        for column in window().columns:
            area = (slice(*row), slice(*column))
            alone = encode_window(
                tokens()[area],
                window(rows=((0, row[1] - row[0]),), columns=((0, column[1] - column[0]),)),
            )
            total[area] += alone.total
            weight[area] += alone.weight
    np.testing.assert_allclose(sums.total, total, atol=1e-5)
    np.testing.assert_allclose(sums.weight, weight, atol=1e-6)


def test_missing_patches_leave_the_same_as_a_smaller_tile():
    there = tokens()[:3, :2]
    holed = np.full((4, 4, 256), np.nan, dtype="float32")
    holed[:3, :2] = there
    one = window(rows=((0, 4),), columns=((0, 4),), blended=False)
    small = window(rows=((0, 3),), columns=((0, 2),), blended=False)
    sums = encode_window(holed, one)
    np.testing.assert_allclose(sums.total[:3, :2], encode_window(there, small).total, atol=1e-5)
    assert sums.weight.sum() == 6
    whole = encode_window(holed, window(rows=((0, 4),), columns=((0, 4),), whole_tiles=True))
    cut = encode_window(there, window(rows=((0, 3),), columns=((0, 2),), whole_tiles=True))
    np.testing.assert_allclose(whole, cut, atol=1e-5)


def test_an_empty_tile_is_nan():
    empty = np.full((6, 5, 256), np.nan, dtype="float32")
    assert np.isnan(encode_window(empty, window(whole_tiles=True))).all()
    assert encode_window(empty, window()).weight.sum() == 0


def test_few_networks_are_kept():
    for seed in range(engine.ENGINES + 2):
        model = Model("tiny", weights=f"random:{seed}").pinned()
        encode_chunk(pixels(2, 2), None, None, spec(model=model))
    assert len(engine._engines) == engine.ENGINES


def test_models_that_differ_in_batches_alone_share_a_network():
    engine._engines.clear()
    for batch_size in (None, 10, 20):
        model = Model("tiny", weights="random:1", batch_size=batch_size).pinned()
        encode_chunk(pixels(2, 2), None, None, spec(model=model))
    assert len(engine._engines) == 1


@pytest.mark.parametrize("device", ["gpu", "cuda:77"])
def test_a_device_that_is_not_there(device):
    model = Model("tiny", weights="random:1", device=device).pinned()
    with finds("model.device", OptionError) as caught:
        encode_chunk(pixels(2, 2), None, None, spec(model=model))
    assert f'device="{device}"' in str(caught.value)


def test_a_network_can_be_trained_after_an_embedding():
    """Tables of positions are made while embedding, and used again."""
    encode_chunk(pixels(12, 12), None, None, spec(patch=4))
    encode_window(tokens(), window())
    network = AnySat(MODEL.config)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    values = torch.from_numpy(pixels(12, 12))[None]
    network(values, torch.tensor([10, 100, 300]), 40)["dense"].sum().backward()
    assert network.projector_s2.patch_embed.inconv["0"].weight.grad.abs().sum() > 0


def test_values_that_overflow_are_an_error_and_not_missing():
    with finds("values.not-finite", ScaleError) as caught:
        encode_chunk(np.full((3, 10, 2, 2), 3e38, dtype="float32"), None, None, spec())
    assert 'precision="float32"' in str(caught.value)


def test_bfloat16_is_close_and_not_the_same():
    values = pixels(8, 8)
    exact = encode_chunk(values, None, None, spec()).sub
    model = Model("tiny", weights="random:1", precision="bfloat16").pinned()
    rough = encode_chunk(values, None, None, spec(model=model)).sub
    cosine = (exact * rough).sum(0) / np.linalg.norm(exact, axis=0) / np.linalg.norm(rough, axis=0)
    assert cosine.min() > 0.999
    assert not np.array_equal(exact, rough)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_gpu_gives_what_the_cpu_gives():
    values = pixels(8, 8)
    cpu = Model("tiny", weights="random:1", device="cpu").pinned()
    gpu = Model("tiny", weights="random:1", device="cuda").pinned()
    expected = encode_chunk(values, None, None, spec(model=cpu))
    got = encode_chunk(values, None, None, spec(model=gpu))
    np.testing.assert_allclose(got.sub, expected.sub, atol=1e-3)
