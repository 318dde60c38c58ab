"""Damaged files of weights: read to the bit, or a WeightsError and nothing left in the cache."""

import io
import pickle
import pickletools
import zipfile
from functools import cache

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from safetensors.torch import save as save_safetensors
from support.findings import codes

from xr_anysat.errors import WeightsError
from xr_anysat.model.config import ModelConfig, tensor_shapes
from xr_anysat.weights.checkpoint import read_checkpoint
from xr_anysat.weights.conversion import finite_values
from xr_anysat.weights.files import find_weights, load_tensors

pytestmark = pytest.mark.filterwarnings("error")

MINI = ModelConfig(width=64, depth=1)
SUFFIXES = st.sampled_from([".pth", ".safetensors"])

same_folder = [HealthCheck.function_scoped_fixture]
unshrunk = settings(phases=set(Phase) - {Phase.shrink, Phase.explain})
few = settings(unshrunk, max_examples=50, derandomize=True, suppress_health_check=same_folder)
many = settings(unshrunk, max_examples=20_000, suppress_health_check=same_folder)


def state_of(shapes):
    rng = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=rng) for name, shape in shapes.items()}


SMALL = state_of({"cls_token": (1, 1, 64), "norm.bias": (64,), "norm.weight": (8, 64), "pad": ()})


def to_bytes(state, suffix):
    if suffix == ".safetensors":
        return save_safetensors(state)
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


@cache
def whole(suffix):
    return to_bytes(SMALL, suffix)


@cache
def whole_mini(suffix):
    return to_bytes(state_of(tensor_shapes(MINI)), suffix)


def values_of(path):
    """Names and float32 values, None where the file is refused; nothing else may be raised."""
    try:
        return finite_values(read_checkpoint(path))
    except WeightsError:
        return None


def bits(values):
    return {name: (value.shape, value.tobytes()) for name, value in values.items()}


SOUND = bits({name: tensor.numpy() for name, tensor in SMALL.items()})


@st.composite
def damaged(draw, content):
    """Cut a file, or write over, put in or take out some bytes of it."""
    found = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["flip", "over", "cut", "out", "in", "swap"]))
        # the ends of both formats say what lies where, and deserve most of the blows
        length = len(found)
        near = st.integers(0, min(length, 400))
        place = draw(near | near.map(lambda n, length=length: length - n) | st.integers(0, length))
        some = draw(st.binary(min_size=1, max_size=8))
        if kind == "cut":
            del found[place:]
        elif kind == "flip" and place < length:
            found[place] ^= 1 << draw(st.integers(0, 7))
        elif kind == "over":
            found[place : place + len(some)] = some
        elif kind == "out":
            del found[place : place + draw(st.integers(1, 64))]
        elif kind == "in":
            found[place:place] = some
        else:
            other = draw(st.integers(0, length))
            found[place : place + 8], found[other : other + 8] = (
                found[other : other + 8], found[place : place + 8],
            )  # fmt: skip
    return bytes(found)


def test_sound_files_are_read_to_the_bit(tmp_path):
    for suffix in (".pth", ".safetensors"):
        path = tmp_path / f"x{suffix}"
        path.write_bytes(whole(suffix))
        assert bits(values_of(path)) == SOUND


def check_damage(folder, data):
    suffix = data.draw(SUFFIXES)
    path = folder / f"x{suffix}"
    content = data.draw(damaged(whole(suffix)))
    path.write_bytes(content)
    values = values_of(path)
    if content == whole(suffix):
        assert bits(values) == SOUND


@few
@given(data=st.data())
def test_damage_is_refused_or_harmless(data, tmp_path):
    check_damage(tmp_path, data)


@pytest.mark.slow
@many
@given(data=st.data())
def test_much_damage_is_refused_or_harmless(data, tmp_path):
    check_damage(tmp_path, data)


# Pickles ------------------------------------------------------------------------------------------

CODES = [opcode.code.encode("latin-1") for opcode in pickletools.opcodes]
ARGUMENTS = (b"", b"\x00", b"\x01", b"\x05hello", b"\xff\xff\xff\xff", b"1\n", b"a\nb\n",
             b"ctorch._utils\n_rebuild_tensor_v2\n", b"cos\nsystem\n", b"cbuiltins\neval\n",
             b"\x08\x00\x00\x00\x00\x00\x00\x00", b"'x'\n", b"2.5\n")  # fmt: skip


@st.composite
def pickles(draw):
    """Opcodes in any order, alone or amid those of a sound file."""
    pieces = st.tuples(st.sampled_from(CODES), st.sampled_from(ARGUMENTS)).map(b"".join)
    made = b"".join(draw(st.lists(pieces, min_size=1, max_size=12)))
    if draw(st.booleans()):
        return pickle.PROTO + b"\x02" + made + pickle.STOP
    with zipfile.ZipFile(io.BytesIO(whole(".pth"))) as archive:
        good = archive.read("archive/data.pkl")
    place = draw(st.integers(2, len(good)))
    return good[:place] + made + good[place + draw(st.integers(0, 8)) :]


def check_pickle(folder, content):
    path = folder / "x.pth"
    with (
        zipfile.ZipFile(io.BytesIO(whole(".pth"))) as old,
        zipfile.ZipFile(path, "w") as new,
    ):
        for name in old.namelist():
            new.writestr(name, content if name.endswith("data.pkl") else old.read(name))
    values = values_of(path)
    for value in (values or {}).values():
        assert value.dtype == np.float32


@few
@given(content=pickles())
def test_any_pickle_is_refused_or_gives_tensors(content, tmp_path):
    check_pickle(tmp_path, content)


@pytest.mark.slow
@many
@given(content=pickles())
def test_a_great_many_pickles_are_refused_or_give_tensors(content, tmp_path):
    check_pickle(tmp_path, content)


# As a whole ---------------------------------------------------------------------------------------


@pytest.fixture
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HOME", str(tmp_path))
    monkeypatch.setenv("XR_ANYSAT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def load(path):
    return load_tensors(find_weights(path, "tiny"), MINI)


@settings(few, max_examples=10)
@given(data=st.data())
def test_a_damaged_source_leaves_nothing_in_the_cache(data, tmp_path, cache_folder):
    """What loads is then loaded from the cache, to the same bits."""
    suffix = data.draw(SUFFIXES)
    path = tmp_path / f"x{suffix}"
    path.write_bytes(data.draw(damaged(whole_mini(suffix))))
    before = set(cache_folder.glob("*.safetensors"))
    try:
        loaded = load(path)
    except WeightsError:
        assert set(cache_folder.glob("*.safetensors")) == before
        return
    again = load(path)
    assert all(torch.equal(again[name], tensor) for name, tensor in loaded.items())
    assert all(torch.isfinite(tensor).all() for tensor in loaded.values())


@settings(few, max_examples=10)
@given(data=st.data())
def test_a_damaged_cache_is_never_taken_for_a_whole_one(data, tmp_path, cache_folder):
    """Names, shapes, length and origin are looked at: damage to numbers alone is not seen."""
    path = tmp_path / "x.pth"
    path.write_bytes(whole_mini(".pth"))
    load(path)
    (file,) = cache_folder.glob("*.safetensors")
    content = file.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    cut = data.draw(st.integers(0, len(content) - 1))
    blow = data.draw(damaged(content[:header])) + content[header:]
    file.write_bytes(content[:cut] if data.draw(st.booleans()) else blow)
    loaded = load(path)
    state = state_of(tensor_shapes(MINI))
    assert {name: tensor.shape for name, tensor in loaded.items()} == {
        name: state[name].shape for name in loaded
    }
    if len(file.read_bytes()) != len(content) or file.read_bytes()[:header] == content[:header]:
        assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.items())


@settings(few, max_examples=10)
@given(data=st.data())
def test_tensors_that_do_not_fit_are_refused(data, tmp_path, cache_folder):
    """A wrong shape, type or value, a name too many or too few: in any tensor."""
    state = state_of(tensor_shapes(MINI))
    name = data.draw(st.sampled_from(sorted(state)))
    tensor = state.pop(name)
    spoilt = {
        "gone": None,
        "longer": torch.cat([tensor.reshape(-1), torch.ones(1)]),
        "another dim": tensor[None],
        "whole numbers": tensor.to(torch.int32),
        "NaN": torch.full_like(tensor, torch.nan),
        "infinite": tensor.double() * 1e300 * 1e300,
        "too large": torch.full_like(tensor, 1e300, dtype=torch.float64),
    }[data.draw(st.sampled_from(
        ["gone", "longer", "another dim", "whole numbers", "NaN", "infinite", "too large"]
    ))]  # fmt: skip
    if spoilt is not None:
        state[name] = spoilt
    path = tmp_path / f"x{data.draw(SUFFIXES)}"
    path.write_bytes(to_bytes(state, path.suffix))
    with pytest.raises(WeightsError) as raised:
        load(path)
    assert set(codes(raised.value)) <= {"weights.misfit", "weights.not-finite"}
    assert name in str(raised.value)
    assert not list(cache_folder.glob("*.safetensors"))
