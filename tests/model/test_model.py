"""The network: golden numbers of the published code, a slow reference, and what must not matter."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.findings import finds
from support.helpers import GOLDEN, golden_network
from support.reference import Reference, bucket, sincos

from xr_anysat.errors import OptionError
from xr_anysat.model.config import SIZES, model_config, tensor_shapes, used_shapes
from xr_anysat.model.network import AnySat
from xr_anysat.model.positions import date_encoding, grid_encoding, relative_buckets
from xr_anysat.sensors.registry import SENSORS

TOLERANCE = 5e-5
CASES = sorted(path.stem for path in GOLDEN.glob("*.npz") if not path.stem.startswith("stages"))
STAGES = np.load(GOLDEN / "stages-tiny-6px-20m.npz")
REFERENCE, FLASH_REFERENCE = Reference("tiny"), Reference("tiny", flash_layout=True)


def close(ours, theirs, tolerance=TOLERANCE):
    ours = ours.numpy() if isinstance(ours, torch.Tensor) else ours
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)


def grid(rows, columns):
    return [(row, column) for row in range(rows) for column in range(columns)]


def normals(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape, dtype=np.float32))


# -- golden numbers ----------------------------------------------------------------------------


def test_every_golden_file_is_here():
    assert len(CASES) == 14


@pytest.mark.parametrize("name", CASES)
def test_golden(name):
    golden = np.load(GOLDEN / f"{name}.npz")
    case = json.loads(str(golden["case"]))
    (key,) = case["mods"]
    network = golden_network(case["size"], case.get("flash_attn", False), (key,))
    results = []
    for item in range(case["B"]):  # the network takes one series of dates per call
        valid = torch.from_numpy(golden["valid"][[item]]) if "valid" in golden else None
        results.append(
            network(
                torch.from_numpy(golden[f"in/{key}"][[item]]),
                torch.from_numpy(golden[f"in/{key}_dates"][item]),
                case["patch_size"],
                gsd=case.get("gsd", SENSORS[key].sub_patch or 10),
                valid=valid,
            )
        )
    ours = {key: torch.cat([result[key] for result in results]) for key in results[0]}
    ours["all"] = torch.cat([ours["tile"][:, None], ours["patch"].flatten(1, 2)], dim=1)
    for output in case["outputs"]:
        full = ours[output].numpy()
        theirs = golden[f"out/{output}"]
        assert full.shape == tuple(golden.get(f"shape/{output}", theirs.shape)), output
        if f"step/{output}" in golden:
            full = full.reshape(-1)[:: int(golden[f"step/{output}"])]
        np.testing.assert_allclose(full, theirs, rtol=0, atol=TOLERANCE, err_msg=output)


def stage(name):
    return STAGES[f"stage/{name}"]


@pytest.fixture(scope="module")
def series():
    """Pixels (72, 5, 10), tile by tile, row by row; with their dates (2, 5)."""
    values = torch.from_numpy(STAGES["in/s2"]).permute(0, 3, 4, 1, 2).reshape(72, 5, 10)
    return values, torch.from_numpy(STAGES["in/s2_dates"])


def test_stages_of_the_temporal_encoder(series):
    values, dates = series
    encoder = golden_network().projector_s2.patch_embed
    name = "projector_s2.patch_embed"
    x = encoder.band_mlp(values.reshape(-1, 10))
    close(x, stage(f"{name}.inconv"))
    x = encoder.sequence_norm(x.view(72, 5, 256))
    close(x.transpose(1, 2), stage(f"{name}.in_norm"))
    encoding = torch.stack([date_encoding(days, 256, 367) for days in dates]).repeat(1, 1, 16)
    encoding = encoding.repeat_interleave(36, dim=0)  # (72, 5, 256): every pixel of a tile alike
    close(encoding, stage(f"{name}.positional_encoding"))
    x = x + encoding
    pooled = encoder.attention_heads(x).view(72, 16, 16)
    close(pooled.transpose(0, 1), stage(f"{name}.attention_heads[0]"))
    # What a head pooled is a mean of its values; the weights of that mean are the attention.
    heads = x.view(72, 5, 16, 16).permute(2, 0, 3, 1).double()  # (head, pixel, channel, date)
    share = torch.linalg.lstsq(heads, pooled.permute(1, 0, 2)[..., None].double()).solution
    close(share[..., 0], stage(f"{name}.attention_heads[1]"), 2e-4)
    for tile in range(2):
        part = slice(36 * tile, 36 * tile + 36)
        vectors = golden_network().encode_pixels(
            values[part], torch.ones(36, 5, dtype=torch.bool), dates[tile]
        )
        close(vectors.T.reshape(256, 6, 6), stage(name)[tile])


def test_stages_of_the_spatial_encoder():
    encoder = golden_network().spatial_encoder
    sub = torch.from_numpy(stage("projector_s2"))  # (18, 4, 256)
    seen = {}
    hooks = [
        block.register_forward_hook(lambda _, __, out, n=n: seen.update({n: out}))
        for n, block in enumerate(encoder.predictor_blocks)
    ]
    token, sub_tokens = encoder(sub, (2, 2), 10)
    for hook in hooks:
        hook.remove()
    assert sorted(seen) == [0, 1]
    for n, out in seen.items():
        close(out, stage(f"spatial_encoder.predictor_blocks.{n}"))
    close(token, stage("spatial_encoder.predictor_norm")[:, 0])
    close(sub_tokens, stage("spatial_encoder.predictor_norm")[:, 1:])


def test_stages_of_the_tile_encoder():
    network = golden_network()
    tokens = torch.from_numpy(stage("spatial_encoder.predictor_norm")[:, 0]).view(2, 3, 3, 256)
    seen = {}
    hooks = [
        network.blocks[0].register_forward_pre_hook(lambda _, args: seen.update({-1: args[0]}))
    ]
    hooks += [
        network.blocks[n].register_forward_hook(lambda _, __, out, n=n: seen.update({n: out}))
        for n in range(2)
    ]
    out = network.encode_tiles(tokens, 20)
    for hook in hooks:
        hook.remove()
    close(seen[-1], stage("tokens_in"))
    close(seen[0], stage("blocks.0"))
    close(seen[1], stage("blocks.1"))
    close(out, stage("all"))


# -- names and shapes --------------------------------------------------------------------------


def manifest(size):
    listed = json.loads((GOLDEN / f"manifest-{size}.json").read_text())
    return {name: tuple(shape) for name, shape in listed.items()}


@pytest.mark.parametrize("size", SIZES)
def test_tensor_shapes_are_the_published_ones(size):
    assert tensor_shapes(model_config(size)) == manifest(size)


def test_the_published_checkpoint_in_numbers():
    shapes = tensor_shapes(model_config("base"))
    assert len(shapes) == 418
    assert sum(math.prod(shape) for shape in shapes.values()) == 125_905_447


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("sensors", [("s2",), ("s1-asc", "l8"), ("modis",)], ids="+".join)
def test_the_network_has_the_published_tensors_that_its_sensors_need(size, sensors):
    config = dataclasses.replace(model_config(size), sensors=sensors)
    with torch.device("meta"):
        network = AnySat(config)
    own = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    published = manifest(size)
    needed = {
        name: shape
        for name, shape in published.items()
        if not name.startswith("projector_")
        or name.startswith(tuple(f"projector_{sensor}." for sensor in sensors))
    }
    assert own == needed == used_shapes(config)


def test_a_network_reads_sentinel2_unless_told_otherwise():
    assert model_config("tiny").sensors == ("s2",)


def test_each_sensor_has_its_own_projector():
    network = golden_network(sensors=("s2", "l8"))
    valid, days = torch.ones(3, 4, dtype=torch.bool), torch.tensor([3, 90, 180, 360])
    for key in ("s2", "l8"):
        values = normals(3, 4, len(SENSORS[key].bands))
        alone = golden_network(sensors=(key,)).encode_pixels(values, valid, days)
        assert torch.equal(network.encode_pixels(values, valid, days, sensor=key), alone)
    assert torch.equal(
        network.encode_pixels(normals(3, 4, 10), valid, days),
        golden_network().encode_pixels(normals(3, 4, 10), valid, days),
    )  # the first


def test_the_period_of_the_date_encoding_is_the_sensors():
    days = torch.tensor([100, 360])
    one, other = date_encoding(days, 256, 366), date_encoding(days, 256, 367)
    assert (one - other).abs().max() > 1e-3
    periods = {key: golden_network(sensors=(key,)).get_submodule(f"projector_{key}").period
               for key in ("s2", "l8")}  # fmt: skip
    assert periods == {"s2": 367, "l8": 366}


def test_an_unknown_size():
    with finds("model.size", OptionError) as raised:
        model_config("huge")
    assert all(size in str(raised.value) for size in ("huge", *SIZES))


@pytest.mark.slow
def test_the_small_size_is_the_same_network():
    network, reference = golden_network("small"), Reference("small")
    values = normals(1, 2, 10, 2, 2, seed=1)
    result = network(values, torch.tensor([10, 200]), 20)
    assert {key: tuple(out.shape) for key, out in result.items()} == {
        "tile": (1, 512), "patch": (1, 1, 1, 512), "dense": (1, 2, 2, 1024),
    }  # fmt: skip
    pixels = [reference.pixel(values[0, :, :, r, c].numpy(), [10, 200]) for r, c in grid(2, 2)]
    tokens = reference.patch(pixels, grid(2, 2), 10)
    out = reference.tile(tokens[:1], [(0, 0)], 20)
    close(result["tile"][0], out[0])
    close(result["patch"][0, 0], out[1:])
    close(result["dense"][0, 1, 0, 512:], tokens[1 + 2])


# -- positions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 9), (7, 2), (5, 8), (24, 24)])
def test_relative_buckets(rows, columns):
    table = relative_buckets(rows, columns, "cpu").numpy()
    places = grid(rows, columns)
    assert table.shape == (1 + len(places),) * 2
    assert (table[0] == 7).all()
    assert (table[:, 0] == 7).all()
    some = np.random.default_rng(0).choice(len(places), min(len(places), 60), replace=False)
    for i in some:
        assert [table[1 + i, 1 + j] for j in some] == [bucket(places[i], places[j]) for j in some]


def test_relative_buckets_by_distance():
    # 0 and 1 by themselves, then round(1.9 + 1.9 ln(d / 1.9) / ln 8): 2, and 3 from four steps on.
    row = relative_buckets(1, 40, "cpu").numpy()[1, 1:].tolist()
    assert row == [3, 4, 5, 5] + [6] * 36
    assert relative_buckets(2, 2, "cpu")[1, 4] == 4  # the diagonal: 1.41 steps are 1


@settings(max_examples=30)
@given(
    rows=st.integers(1, 9),
    columns=st.integers(1, 9),
    step=st.sampled_from([1, 2, 3, 4, 10, 20, 30]),
    width=st.sampled_from([256, 512, 768]),
)
def test_grid_encoding(rows, columns, step, width):
    table = grid_encoding(rows, columns, step, width, "cpu").numpy()
    assert table.shape == (rows * columns, width)
    for index, (row, column) in enumerate(grid(rows, columns)):
        close(table[index], sincos(column * step, row * step, width), 1e-6)


# -- missing dates -----------------------------------------------------------------------------

DAYS = torch.tensor([3, 64, 90, 151, 233, 364])


def test_a_pixel_with_holes_is_a_pixel_of_fewer_dates():
    network = golden_network()
    values = normals(12, 6, 10)
    valid = torch.from_numpy(np.random.default_rng(1).random((12, 6)) < 0.6)
    valid[0], valid[1] = True, False
    valid[2], valid[2, 4] = False, True
    out = network.encode_pixels(values, valid, DAYS)
    assert (out[1] == 0).all()
    for n in range(12):
        days = valid[n].nonzero()[:, 0]
        if len(days) == 0:
            continue
        close(out[n], REFERENCE.pixel(values[n, days].numpy(), DAYS[days].tolist()))
        alone = network.encode_pixels(
            values[n : n + 1, days], torch.ones(1, len(days), dtype=torch.bool), DAYS[days]
        )
        close(out[n], alone[0].numpy(), 1e-5)


@pytest.mark.parametrize("garbage", [math.nan, math.inf, -9999.0, 3e38])
def test_values_of_invalid_dates_do_not_matter(garbage):
    network = golden_network()
    values = normals(9, 6, 10)
    valid = torch.from_numpy(np.random.default_rng(2).random((9, 6)) < 0.5)
    valid[:2] = False
    dirty = torch.where(valid[..., None], values, torch.tensor(garbage))
    clean = network.encode_pixels(values, valid, DAYS)
    close(network.encode_pixels(dirty, valid, DAYS), clean.numpy(), 0)
    assert (clean[:2] == 0).all()
    assert torch.isfinite(clean).all()


def test_the_order_of_dates_does_not_matter():
    network = golden_network()
    values, order = normals(8, 6, 10), torch.tensor([4, 2, 5, 0, 3, 1])
    valid = torch.from_numpy(np.random.default_rng(3).random((8, 6)) < 0.7)
    one = network.encode_pixels(values, valid, DAYS)
    other = network.encode_pixels(values[:, order], valid[:, order], DAYS[order])
    close(other, one.numpy(), 1e-5)


def test_dates_matter():
    network = golden_network()
    values, valid = normals(4, 6, 10), torch.ones(4, 6, dtype=torch.bool)
    one = network.encode_pixels(values, valid, DAYS)
    other = network.encode_pixels(values, valid, DAYS.flip(0))
    assert (one - other).abs().max() > 0.01


@pytest.mark.parametrize("batch", [1, 7, 100])
def test_the_batch_of_pixels_does_not_matter(batch):
    network = golden_network()
    values = normals(10, 6, 10)
    valid = torch.from_numpy(np.random.default_rng(4).random((10, 6)) < 0.7)
    small = network.encode_pixels(values, valid, DAYS, batch=batch)
    close(small, network.encode_pixels(values, valid, DAYS).numpy(), 1e-5)


# -- patches -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "gsd"), [((3, 3), 10), ((2, 5), 10), ((4, 1), 20), ((1, 1), 30)])
def test_patches_of_any_shape(shape, gsd):
    pixels = normals(1, math.prod(shape), 256)
    token, sub = golden_network().encode_patches(pixels, shape, gsd)
    expected = REFERENCE.patch(pixels[0].numpy(), grid(*shape), gsd)
    close(token[0], expected[0])
    close(sub[0], expected[1:])


def test_missing_sub_patches_are_as_if_they_were_not_there():
    network, shape = golden_network(), (4, 3)
    pixels = normals(3, 12, 256)
    missing = torch.zeros(3, 12, dtype=torch.bool)
    missing[0, [4, 5, 7]] = True  # in the middle
    missing[1, 1:] = True  # all but the corner
    missing[2, :11] = True  # all but the corner opposite
    token, sub = network.encode_patches(pixels, shape, 10, missing)
    for n in range(3):
        there = (~missing[n]).nonzero()[:, 0].tolist()
        expected = REFERENCE.patch(pixels[n, there].numpy(), [grid(*shape)[i] for i in there], 10)
        close(token[n], expected[0])
        close(sub[n, there], expected[1:])


@pytest.mark.parametrize("holes", [False, True])
def test_patch_tokens_are_the_same_without_sub_patches(holes):
    network = golden_network()
    pixels = normals(5, 16, 256)
    missing = torch.from_numpy(np.random.default_rng(5).random((5, 16)) < 0.4) if holes else None
    token, sub = network.encode_patches(pixels, (4, 4), 10, missing)
    alone, nothing = network.encode_patches(pixels, (4, 4), 10, missing, sub_patches=False)
    assert nothing is None
    assert sub.shape == (5, 16, 256)
    close(alone, token.numpy(), 1e-5)


@pytest.mark.parametrize("holes", [False, True])
def test_the_class_token_of_a_block_alone(holes):
    block = golden_network().spatial_encoder.predictor_blocks[0]
    x, missing = normals(3, 10, 256), None
    if holes:
        missing = torch.zeros(3, 10, dtype=torch.bool)
        missing[:, [2, 3, 9]] = True
    full = block(x, relative_buckets(3, 3, "cpu"), missing)
    close(block.class_token_only(x, missing), full[:, :1].numpy(), 1e-5)


# -- tiles -------------------------------------------------------------------------------------

LAYOUTS = pytest.mark.parametrize("flash", [False, True], ids=["standard", "flash"])


def tile_reference(flash, tokens, places, patch_size):
    reference = FLASH_REFERENCE if flash else REFERENCE
    return reference.tile(tokens.numpy(), places, patch_size)


@LAYOUTS
@pytest.mark.parametrize(
    ("shape", "patch_size"), [((4, 4), 40), ((2, 6), 10), ((7, 1), 160), ((1, 1), 60)]
)
def test_tiles_of_any_shape(shape, patch_size, flash):
    tokens = normals(1, *shape, 256)
    out = golden_network(flash_layout=flash).encode_tiles(tokens, patch_size)
    close(out[0], tile_reference(flash, tokens[0].flatten(0, 1), grid(*shape), patch_size))


@LAYOUTS
def test_missing_patches_are_as_if_they_were_not_there(flash):
    shape, holes = (4, 5), [(0, 2), (1, 1), (1, 2), (3, 4)]
    tokens = normals(1, *shape, 256)
    missing = torch.zeros(1, *shape, dtype=torch.bool)
    for place in holes:
        missing[(0, *place)] = True
    network = golden_network(flash_layout=flash)
    out = network.encode_tiles(tokens, 40, missing)[0]
    there = [place for place in grid(*shape) if place not in holes]
    expected = tile_reference(flash, torch.stack([tokens[0, r, c] for r, c in there]), there, 40)
    close(out[0], expected[0])
    close(out[1:].view(*shape, 256)[~missing[0]], expected[1:])
    # and the values of the missing ones do not matter
    other = torch.where(missing[..., None], torch.tensor(50.0), tokens)
    again = network.encode_tiles(other, 40, missing)[0]
    close(again[0], out[0].numpy(), 0)
    close(
        again[1:].view(*shape, 256)[~missing[0]], out[1:].view(*shape, 256)[~missing[0]].numpy(), 0
    )


@LAYOUTS
def test_a_rectangle_is_a_square_with_the_rest_missing(flash):
    network = golden_network(flash_layout=flash)
    square = normals(2, 5, 5, 256)
    missing = torch.ones(2, 5, 5, dtype=torch.bool)
    missing[:, :3, :4] = False
    whole = network.encode_tiles(square, 20, missing)
    cropped = network.encode_tiles(square[:, :3, :4].contiguous(), 20)
    close(cropped[:, 0], whole[:, 0].numpy(), 1e-5)
    inside = whole[:, 1:].view(2, 5, 5, 256)[:, :3, :4]
    close(cropped[:, 1:].view(2, 3, 4, 256), inside.numpy(), 1e-5)


def test_the_rest_of_a_tile_matters_unless_it_is_missing():
    network = golden_network()
    square = normals(1, 5, 5, 256)
    whole = network.encode_tiles(square, 20)
    cropped = network.encode_tiles(square[:, :3, :4].contiguous(), 20)
    assert (whole[:, 0] - cropped[:, 0]).abs().max() > 0.01


@LAYOUTS
@pytest.mark.parametrize("holes", [False, True])
def test_tile_embeddings_are_the_same_without_patches(holes, flash):
    network = golden_network(flash_layout=flash)
    tokens = normals(3, 3, 4, 256)
    missing = torch.from_numpy(np.random.default_rng(6).random((3, 3, 4)) < 0.4) if holes else None
    alone = network.encode_tiles(tokens, 40, missing, patches=False)
    assert alone.shape == (3, 1, 256)
    close(alone, network.encode_tiles(tokens, 40, missing)[:, :1].numpy(), 1e-5)


def test_tiles_of_a_batch_do_not_see_each_other():
    network = golden_network()
    tokens = normals(3, 3, 4, 256)
    missing = torch.zeros(3, 3, 4, dtype=torch.bool)
    missing[1, 0] = True
    together = network.encode_tiles(tokens, 40, missing)
    for n in range(3):
        part = slice(n, n + 1)
        close(network.encode_tiles(tokens[part], 40, missing[part]), together[part].numpy(), 1e-5)


def test_the_flash_layout_is_another_network():
    tokens = normals(1, 3, 3, 256)
    standard, flash = (
        golden_network(flash_layout=f).encode_tiles(tokens, 20) for f in (False, True)
    )
    assert (standard - flash).abs().max() > 0.01


# -- the whole ---------------------------------------------------------------------------------


def test_pixels_without_any_date_leave_no_trace():
    """Beyond a column nothing is valid: what remains is the cube cut there."""
    network = golden_network()
    values, days = normals(1, 3, 10, 8, 12), torch.tensor([5, 100, 250])
    valid = torch.ones(1, 3, 8, 12, dtype=torch.bool)
    valid[..., 8:] = False
    dirty = torch.where(valid[:, :, None], values, torch.tensor(math.nan))
    whole = network(dirty, days, 40, valid=valid)
    cut = network(values[..., :8], days, 40)
    close(whole["tile"], cut["tile"].numpy(), 1e-5)
    close(whole["patch"][:, :, :2], cut["patch"].numpy(), 1e-5)
    close(whole["dense"][:, :, :8], cut["dense"].numpy(), 1e-5)


def test_dense_is_context_then_local():
    network = golden_network()
    values, days = normals(1, 2, 10, 6, 9), torch.tensor([5, 250])
    out = network(values, days, 30)
    assert out["dense"].shape == (1, 6, 9, 512)
    for row, column in grid(6, 9):
        context = out["dense"][0, row, column, :256]
        assert torch.equal(context, out["patch"][0, row // 3, column // 3])
    pixels = network.encode_pixels(
        values[0, :, :, 3:, 6:].permute(2, 3, 0, 1).reshape(9, 2, 10),
        torch.ones(9, 2, dtype=torch.bool),
        days,
    )
    _, sub = network.encode_patches(pixels[None], (3, 3), 10)
    close(out["dense"][0, 3:, 6:, 256:].flatten(0, 1), sub[0].numpy(), 1e-5)
