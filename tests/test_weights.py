"""Weights: found cheaply, read without running anything, converted once, mapped from then on."""

import collections
import contextlib
import dataclasses
import datetime
import hashlib
import http.server
import io
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import time
import types
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from dask.base import tokenize
from safetensors.torch import load_file, save_file

from xr_anysat import checkpoint, weights
from xr_anysat.errors import AnySatError, AnySatWarning, OptionError, WeightsError
from xr_anysat.model.config import ModelConfig, model_config, tensor_shapes
from xr_anysat.weights import (
    PUBLISHED,
    WeightsSource,
    convert,
    digest_of,
    fetch,
    find_weights,
    load_tensors,
    verify,
)

pytestmark = pytest.mark.filterwarnings("error")

TINY = model_config("tiny")
MINI = ModelConfig(width=64, depth=1)  # the same layout in small: 293 tensors, 2 MB
ROOT = Path(__file__).parents[1]


def make_state(config, seed=7):
    rng = np.random.default_rng(seed)
    return {
        name: torch.from_numpy(np.asarray(rng.standard_normal(shape, dtype=np.float32)))
        for name, shape in tensor_shapes(config).items()
    }


def save(path, content, **options):
    torch.save(content, path, **options)
    return path


def load(path, config=MINI):
    return load_tensors(find_weights(path, "tiny"), config)


def sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def assert_loaded(tensors, state, config=MINI):
    expected = {
        name
        for name in tensor_shapes(config)
        if not name.startswith("projector_") or name.startswith("projector_s2.")
    }
    assert set(tensors) == expected
    for name, tensor in tensors.items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, state[name]), name


def is_mapped(path):
    return str(path) in Path("/proc/self/maps").read_text()


def converted_files(cache):
    return sorted(cache.glob("*.safetensors"))


def run_python(code, **environment):
    """Run code in a fresh process; its output, after it succeeded."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        env=os.environ | {"NO_PROXY": "*", "HF_HUB_DISABLE_XET": "1"} | environment,
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(autouse=True)
def hub(tmp_path, monkeypatch):
    """Give an empty Hugging Face cache of the test's own, and no network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.delenv("XR_ANYSAT_WEIGHTS", raising=False)
    monkeypatch.delenv("XR_ANYSAT_CACHE", raising=False)
    return tmp_path / "hub"


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "xr_anysat"


@pytest.fixture(scope="module")
def state():
    return make_state(MINI)


@pytest.fixture(scope="module")
def tiny_state():
    return make_state(TINY)


@pytest.fixture
def mini_pth(tmp_path, state):
    return save(tmp_path / "mini.pth", state)


@pytest.fixture
def tiny_pth(tmp_path, tiny_state):
    return save(tmp_path / "AnySat.pth", tiny_state)


@pytest.fixture
def publish(tiny_pth, monkeypatch):
    """Make the tiny file the published one, with a digest that may be wrong."""

    def set_published(digest=None):
        record = dataclasses.replace(PUBLISHED, size="tiny", sha256=digest or sha256(tiny_pth))
        monkeypatch.setattr(weights, "PUBLISHED", record)
        return record

    return set_published


def put_into_hub_cache(hub, path, digest=None):
    folder = hub / "models--g-astruc--AnySat"
    blob = folder / "blobs" / (digest or sha256(path))
    pointer = folder / "snapshots" / ("c" * 40) / "models" / "AnySat.pth"
    for parent in (blob.parent, pointer.parent, folder / "refs"):
        parent.mkdir(parents=True, exist_ok=True)
    (folder / "refs" / "main").write_text("c" * 40)
    blob.write_bytes(path.read_bytes())
    pointer.symlink_to(blob)
    return blob


# ---------------------------------------------------------------------------------------------
# finding


def test_import_does_not_import_torch(mini_pth):
    code = f"""
        import sys, xr_anysat.weights
        for name in (None, "random", {str(mini_pth)!r}):
            xr_anysat.weights.find_weights(name, "base")
        print("torch" in sys.modules)
    """
    assert run_python(code).strip() == "False"


def test_the_published_weights_are_the_default():
    source = find_weights(None, "base")
    assert source == WeightsSource(kind="hub", location="g-astruc/AnySat models/AnySat.pth")
    assert source.description == "g-astruc/AnySat models/AnySat.pth"
    assert digest_of(source) is None


def test_only_base_is_published():
    with pytest.raises(WeightsError, match=r"size 'tiny' are published.*weights='/path/to"):
        find_weights(None, "tiny")


def test_environment_variable_sets_the_default(mini_pth, monkeypatch):
    monkeypatch.setenv("XR_ANYSAT_WEIGHTS", str(mini_pth))
    assert find_weights(None, "tiny") == find_weights(mini_pth, "tiny")
    assert find_weights("random", "tiny").kind == "random"
    monkeypatch.setenv("XR_ANYSAT_WEIGHTS", "random:x")
    with pytest.raises(OptionError, match=r"XR_ANYSAT_WEIGHTS='random:x': the seed is"):
        find_weights(None, "tiny")
    monkeypatch.setenv("XR_ANYSAT_WEIGHTS", "")
    assert find_weights(None, "base").kind == "hub"


@pytest.mark.parametrize("text", ["random:", "random:-1", "random:1.5", "random:abc", "random:²"])
def test_bad_seed(text):
    with pytest.raises(OptionError, match="seed is a whole number"):
        find_weights(text, "tiny")


@pytest.mark.parametrize("value", ["tiny", "weights.h5", 3, ""])
def test_what_weights_cannot_be(value):
    with pytest.raises(OptionError, match="random:SEED"):
        find_weights(value, "tiny")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"no such file: .*/gone\.pth.*weights fetch"):
        find_weights(tmp_path / "gone.pth", "tiny")
    (tmp_path / "folder.pth").mkdir()
    with pytest.raises(WeightsError, match="not a file"):
        find_weights(tmp_path / "folder.pth", "tiny")


def test_a_file_source(mini_pth, monkeypatch):
    source = find_weights(mini_pth, "tiny")
    assert (source.kind, source.location) == ("file", str(mini_pth))
    assert source.digest == sha256(mini_pth)
    assert source.description == "file mini.pth"
    assert digest_of(source) == f"sha256:{sha256(mini_pth)}"
    assert len({source, pickle.loads(pickle.dumps(source))}) == 1
    assert len(pickle.dumps(source)) < 1000
    monkeypatch.chdir(mini_pth.parent)
    assert find_weights("mini.pth", "tiny") == source  # absolute: workers run elsewhere


def test_a_file_is_hashed_once_until_it_changes(mini_pth, monkeypatch):
    first = find_weights(mini_pth, "tiny")
    with monkeypatch.context() as patch:
        patch.setattr(weights.hashlib, "sha256", None)
        assert find_weights(mini_pth, "tiny") == first
    mini_pth.write_bytes(b"other")
    assert find_weights(mini_pth, "tiny").digest == hashlib.sha256(b"other").hexdigest()


def test_dask_keys_follow_from_what_the_numbers_follow_from(mini_pth, tmp_path, hub):
    copy = tmp_path / "copy.pth"
    copy.write_bytes(mini_pth.read_bytes())
    assert tokenize(find_weights(mini_pth, "tiny")) == tokenize(find_weights(copy, "tiny"))
    before = find_weights(None, "base")
    put_into_hub_cache(hub, mini_pth)
    after = find_weights(None, "base")
    assert after.digest == sha256(mini_pth)
    assert tokenize(before) == tokenize(after)
    sources = [after, *(find_weights(w, "tiny") for w in (mini_pth, "random", "random:1"))]
    assert len({tokenize(source) for source in sources}) == 4


# ---------------------------------------------------------------------------------------------
# random weights


def test_random_weights_are_said_to_be_random():
    source = find_weights("random:007", "tiny")
    assert source.description == "random:7 (not pretrained)"
    assert find_weights("random", "tiny").description == "random:0 (not pretrained)"
    assert digest_of(source) is None


def test_random_weights_depend_on_seed_and_name_alone(monkeypatch):
    first = load_tensors(find_weights("random:3", "tiny"), MINI)
    shapes = tensor_shapes(MINI)
    monkeypatch.setattr(weights, "tensor_shapes", lambda _: dict(reversed(shapes.items())))
    assert_loaded(load_tensors(find_weights("random:3", "tiny"), MINI), first)
    other = load_tensors(find_weights("random:4", "tiny"), MINI)
    assert not torch.equal(other["cls_token"], first["cls_token"])
    assert not torch.equal(first["blocks.0.attn.proj.weight"], first["blocks.1.attn.proj.weight"])


def test_random_weights_never_change():
    tensors = load_tensors(find_weights("random", "tiny"), MINI)
    rng = np.random.RandomState(zlib.crc32(b"0/cls_token"))
    expected = 0.5 * rng.standard_normal((1, 1, 64))
    np.testing.assert_array_equal(tensors["cls_token"].numpy(), expected.astype(np.float32))


def test_random_weights_have_sensible_scales():
    tensors = load_tensors(find_weights("random", "tiny"), TINY)
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()}.items() <= (
        tensor_shapes(TINY).items()
    )
    assert tensors["blocks.0.mlp.fc2.weight"].std() == pytest.approx(1 / 32, rel=0.02)
    assert tensors["blocks.0.norm1.weight"].eq(1).all()
    assert tensors["blocks.0.norm1.bias"].eq(0).all()
    assert tensors["projector_s2.pad_parameter"] == 0
    assert tensors["blocks.2.attn.q_learned"].std() == pytest.approx(0.5, rel=0.2)


# ---------------------------------------------------------------------------------------------
# loading files


def test_tensors_are_bit_for_bit_those_saved(tiny_pth, tiny_state, cache):
    assert_loaded(load(tiny_pth, TINY), tiny_state, TINY)
    (file,) = converted_files(cache)
    assert file.name == f"anysat-tiny-{sha256(tiny_pth)}-v1.safetensors"
    whole = load_file(file)
    assert whole.keys() == tiny_state.keys()
    assert all(torch.equal(whole[name], tiny_state[name]) for name in whole)


def test_converted_files_tell_their_origin_and_are_as_readable_as_others(mini_pth, cache):
    mask = os.umask(0o022)
    try:
        load(mini_pth)
    finally:
        os.umask(mask)
    (file,) = converted_files(cache)
    metadata = checkpoint.read_checkpoint(file).metadata
    assert metadata["source_sha256"] == sha256(mini_pth)
    assert metadata["source"] == "file mini.pth"
    assert metadata["converter"] == "1"
    assert file.stat().st_mode & 0o777 == 0o644


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
def test_tensors_are_mapped_not_read(mini_pth, cache):
    tensors = load(mini_pth)
    (file,) = converted_files(cache)
    assert is_mapped(file)
    addresses = {tensor.untyped_storage().data_ptr() // 2**24 for tensor in tensors.values()}
    assert len(addresses) <= 2
    del tensors
    assert not is_mapped(file)


def test_the_second_load_does_not_open_the_pth(mini_pth, state, cache, monkeypatch):
    source = find_weights(mini_pth, "tiny")
    load_tensors(source, MINI)
    written = converted_files(cache)[0].stat().st_mtime_ns
    mini_pth.unlink()
    monkeypatch.setattr(weights, "_file_digest", None)
    assert_loaded(load_tensors(source, MINI), state)
    assert converted_files(cache)[0].stat().st_mtime_ns == written


def test_cache_folder_from_the_environment(mini_pth, tmp_path, monkeypatch):
    monkeypatch.setenv("XR_ANYSAT_CACHE", str(tmp_path / "elsewhere"))
    load(mini_pth)
    assert len(converted_files(tmp_path / "elsewhere")) == 1


def extras():
    """Make what a training run pickles along, of classes that are gone when the file is read."""
    made = []
    names = ("omegaconf.dictconfig.DictConfig", "pytorch_lightning.callbacks.ModelCheckpoint")
    for name in names:
        module, _, kind = name.rpartition(".")
        value = type(kind, (), {"__module__": module})()
        value.content = {"lr": 1e-3, "nested": [value, {1, 2}, frozenset({3})]}
        made.append((module, kind, value))
    return made


@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
def test_training_extras_are_passed_over(tmp_path, state, monkeypatch, protocol):
    made = extras()
    content = {
        "state_dict": collections.OrderedDict(state),
        "epoch": 3,
        "hyper_parameters": [value for _, _, value in made],
        "when": datetime.datetime(2024, 1, 1),
        "path": Path("/x"),
        "array": np.arange(3),
        "scalar": np.float64(2),
        "default": collections.defaultdict(list, a=[1]),
        "optimizer_states": [{"state": {0: {"step": torch.ones(2, dtype=torch.int64)}}}],
        "others": [2**80, -1.5, b"x", bytearray(b"y"), 1j, slice(1, 2), None, True, ("a",) * 5],
        "device": torch.device("cpu"),
        "dtype": torch.bfloat16,
        "size": torch.Size([1, 2]),
    }
    content["state_dict"]._metadata = {"": {"version": 1}}
    with monkeypatch.context() as patch:
        for module, kind, value in made:
            for name in (module.partition(".")[0], module):
                patch.setitem(sys.modules, name, types.ModuleType(name))
            setattr(sys.modules[module], kind, type(value))
        path = save(tmp_path / "train.ckpt", content, pickle_protocol=protocol)
    assert "omegaconf.dictconfig" not in sys.modules
    assert_loaded(load(path), state)


def test_parameters_views_and_prefixes(tmp_path, state):
    block = torch.stack([state["cls_token"], state["spatial_encoder.cls_token"]], dim=-1)
    content = {name: torch.nn.Parameter(tensor) for name, tensor in state.items()}
    content["cls_token"], content["spatial_encoder.cls_token"] = block.unbind(-1)
    content["blocks.0.attn.proj.weight"] = state["blocks.0.attn.proj.weight"].T.contiguous().T
    content["blocks.0.attn.proj.bias"] = torch.zeros(1).expand(64)
    path = save(tmp_path / "x.pt", {f"module.model.{name}": t for name, t in content.items()})
    expected = state | {"blocks.0.attn.proj.bias": torch.zeros(64)}
    assert_loaded(load(path), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_other_floats_become_float32(tmp_path, state, dtype, suffix):
    cast = {name: tensor.to(dtype) for name, tensor in state.items()}
    path = tmp_path / f"x{suffix}"
    save(path, cast) if suffix == ".pth" else save_file(cast, path)
    assert_loaded(load(path), {name: tensor.float() for name, tensor in cast.items()})


def test_the_format_of_old_torch(tmp_path, state):
    path = save(tmp_path / "x.pth", state, _use_new_zipfile_serialization=False)
    assert_loaded(load(path), state)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(WeightsError, match=r"before version 1\.6, and damaged"):
        load(path)


def test_big_endian_files(tmp_path, state):
    swapped = {
        name: torch.from_numpy(np.asarray(t.numpy().byteswap())) for name, t in state.items()
    }
    path = rewrite(save(tmp_path / "x.pth", swapped), {"byteorder": b"big"})
    assert_loaded(load(path), state)
    rewrite(path, {"byteorder": b"middle"})
    with pytest.raises(WeightsError, match="unknown byte order"):
        load(path)


def test_a_safetensors_file_is_used_in_place(tmp_path, state, cache):
    path = tmp_path / "x.safetensors"
    save_file(state, path)
    tensors = load(path)
    assert_loaded(tensors, state)
    assert is_mapped(path)
    assert not cache.exists()


def test_a_file_that_changed_since_the_graph_was_built(tmp_path, state, mini_pth):
    mapped = tmp_path / "x.safetensors"
    save_file(state, mapped)
    for path in (mini_pth, mapped):
        source = find_weights(path, "tiny")
        path.write_bytes(path.read_bytes() + b" ")
        with pytest.raises(WeightsError, match="have changed since they were chosen"):
            load_tensors(source, MINI)


# ---------------------------------------------------------------------------------------------
# files that do not fit


def spoil_missing(state):
    for name in list(state)[:7]:
        del state[name]


def spoil_unexpected(state):
    state["head.weight"] = torch.ones(3)


def spoil_shape(state):
    state["cls_token"] = torch.ones(1, 64)


def spoil_dtype(state):
    state["cls_token"] = torch.ones(1, 1, 64, dtype=torch.int64)


def spoil_nan(state):
    state["blocks.0.norm1.bias"] = torch.full((64,), torch.nan)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_missing, r"7 missing: cls_token, .* and 2 more\..*projectors of all sensors"),
        (spoil_unexpected, r"1 unexpected: head\.weight"),
        (spoil_shape, r"wrong shape: cls_token \(1, 64\) instead of \(1, 1, 64\)"),
        (spoil_dtype, r"not floating-point: cls_token \((int64|I64)\)"),
        (spoil_nan, r"not finite in blocks\.0\.norm1\.bias"),
    ],
)
def test_files_that_do_not_fit(tmp_path, state, cache, suffix, spoil, message):
    spoilt = dict(state)
    spoil(spoilt)
    path = tmp_path / f"x{suffix}"
    save(path, spoilt) if suffix == ".pth" else save_file(spoilt, path)
    with pytest.raises(WeightsError, match=message) as caught:
        load(path)
    assert isinstance(caught.value, AnySatError)
    assert str(path) in str(caught.value)
    assert not converted_files(cache)


def test_values_of_other_sensors_are_checked_at_conversion(tmp_path, state):
    spoilt = state | {"projector_s1.pad_parameter": torch.tensor(torch.inf)}
    with pytest.raises(WeightsError, match=r"not finite in projector_s1\.pad_parameter"):
        load(save(tmp_path / "x.pth", spoilt))


def test_another_size_is_suggested(tiny_pth):
    with pytest.raises(WeightsError, match=r"size 'base'.*It fits Model\('tiny', weights="):
        load(tiny_pth, model_config("base"))


@pytest.mark.parametrize("content", [{"a": 1}, [1, 2], {}, {"state_dict": {}}, 5, torch.ones(3)])
def test_files_without_tensors(tmp_path, content):
    with pytest.raises(WeightsError, match=r"state dict"):
        load(save(tmp_path / "x.pth", content))


# ---------------------------------------------------------------------------------------------
# damaged files


@pytest.mark.parametrize("share", [0, 1e-6, 1e-3, 0.1, 0.5, 0.9, 0.999, 0.999999])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_truncated_files(tmp_path, state, share, suffix):
    path = tmp_path / f"x{suffix}"
    save(path, state) if suffix == ".pth" else save_file(state, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(WeightsError, match=r"x\.(pth|safetensors).*(begins with|cut|damaged)"):
        load(path)


@pytest.mark.parametrize("content", [b"<!doctype html>", b"version https://git-lfs", b"PK\3\4" * 9])
def test_files_that_are_something_else(tmp_path, content):
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"is not a checkpoint|cut short or damaged"):
        load(path)


def test_a_damaged_list_of_contents_never_gives_another_error(tmp_path, state):
    path = save(tmp_path / "x.pth", dict(list(state.items())[:2]))
    content = zip_content(path)["x/data.pkl"]
    rng = np.random.default_rng(0)
    for _ in range(400):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), 3):
            damaged[place] = rng.integers(0, 256)
        rewrite(path, {"data.pkl": bytes(damaged)})
        with contextlib.suppress(WeightsError):
            checkpoint.read_checkpoint(path)


# ---------------------------------------------------------------------------------------------
# hostile files


def zip_content(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewrite(path, changes, *, compression=zipfile.ZIP_STORED, duplicate=None):
    """Write the archive again, with some parts replaced."""
    parts = zip_content(path)
    folder = next(iter(parts)).partition("/")[0]
    parts |= {f"{folder}/{name}": content for name, content in changes.items()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
        if duplicate:
            with pytest.warns(UserWarning, match="Duplicate name"):
                archive.writestr(f"{folder}/{duplicate}", b"")
    return path


class Calls:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.fixture
def canary(tmp_path):
    return tmp_path / "canary"


def unicode(text):
    return b"V" + text.encode() + b"\n"


def call(name, *arguments):
    """Give the opcodes of a call, of text arguments or opcodes."""
    opcodes = [a if isinstance(a, bytes) else unicode(a) for a in arguments]
    return b"c" + name.replace(" ", "\n").encode() + b"\n(" + b"".join(opcodes) + b"tR"


def touching(path):
    return f"__import__('pathlib').Path({str(path)!r}).touch()"


def hostile_opcodes(canary):
    touch = f"touch {canary}"
    python = touching(canary)
    imported = call("builtins __import__", "os")
    system = call("builtins getattr", imported, "system")
    return {
        "os.system": call("os system", touch),
        "posix.system": call("posix system", touch),
        "builtins.eval": call("builtins eval", python),
        "builtins.exec": call("builtins exec", python),
        "builtins.open": call("builtins open", str(canary), "w"),
        "builtins.getattr": system[:-2] + b"tR" + unicode(touch) + b"\x85R",
        "subprocess.getoutput": call("subprocess getoutput", touch),
        "runpy._run_code": call("runpy _run_code", python, b"}"),
        "importlib.import_module": call("importlib import_module", "os"),
        "shutil.rmtree": call("shutil rmtree", str(canary)),
        "socket.create_connection": call("socket create_connection", "localhost"),
        "sys.exit": call("sys exit", "x"),
        "unknown_package.f": call("unknown_package f", "x"),
        "torch.os.system": unicode("torch") + unicode("os.system") + b"\x93" + b"(tR",
        "OS": b"(ios\nsystem\n".replace(b"(i", b"(" + unicode(touch) + b"i"),
        "__main__.f": b"(" + b"c__main__\nf\n" + b"o",
    }


HOSTILE = [*hostile_opcodes(Path("x"))]


@pytest.mark.parametrize("place", ["first", "extra"])
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_globals_are_refused_and_not_run(tmp_path, mini_pth, canary, kind, place):
    opcodes = hostile_opcodes(canary)[kind]
    good = zip_content(mini_pth)["mini/data.pkl"]
    if place == "first":
        data = good[:2] + opcodes + b"0" + good[2:]
    else:  # one more value in the outermost dict
        assert good.endswith(b"u.")
        data = good[:-2] + unicode("extra") + opcodes + b"u."
    rewrite(mini_pth, {"data.pkl": data})
    with pytest.raises(WeightsError, match=r"refers to '.*Nothing in it was run") as caught:
        load(mini_pth)
    named = {"OS": "os.system", "builtins.getattr": "builtins."}.get(kind, kind)
    assert named in str(caught.value)
    assert not canary.exists()


@pytest.mark.parametrize(
    "kind", ["os.system", "posix.system", "builtins.eval", "builtins.getattr", "OS"]
)
def test_the_hostile_files_are_hostile(canary, kind):
    pickle.loads(hostile_opcodes(canary)[kind] + b".")
    assert canary.exists()


@pytest.mark.parametrize("function", [os.system, eval, exec])
def test_a_hostile_extra_of_torch_save(tmp_path, state, canary, function):
    argument = f"touch {canary}" if function is os.system else touching(canary)
    content = {"state_dict": state, "hyper_parameters": {"a": [Calls(function, argument)]}}
    with pytest.raises(WeightsError, match=r"system|eval|exec"):
        load(save(tmp_path / "x.pth", content))
    old = save(tmp_path / "old.pth", content, _use_new_zipfile_serialization=False)
    with pytest.raises(WeightsError, match=r"before version 1\.6"):
        load(old)
    assert not canary.exists()


def test_functions_of_known_packages_are_not_run_either(tmp_path, state, canary):
    content = {
        "state_dict": state,
        "a": Calls(np.testing.runstring, touching(canary), {}),
        "b": Calls(np.save, str(canary), 1),
        "c": Calls(torch.save, 1, str(canary)),
    }
    assert_loaded(load(save(tmp_path / "x.pth", content)), state)
    assert not any(tmp_path.glob("canary*"))


@pytest.mark.parametrize(
    ("opcodes", "message"),
    [
        (b"\x82\x01", "EXT1"),
        (b"\x83\x01\x00", "EXT2"),
        (b"\x84\x01\x00\x00\x00", "EXT4"),
        (b"Pabc\n", "PERSID"),
        (b"\x97", "NEXT_BUFFER"),
        (b"]Q", "refers to a storage that is none"),
        (b"(Vstorage\nctorch\nload\nV0\nVcpu\nK\x01tQ", "refers to a storage that is none"),
        (b"]]R", "calls something that is not"),
        (b"r\xff\xff\xff\xff", "damaged"),  # a memo of 4 billion places
        (b"j\xff\xff\xff\xff", "damaged"),
        (b"X\xff\xff\xff\x7fabc", "damaged"),
        (b"\x96" + b"\xff" * 7 + b"\x7f", "damaged"),
        (b"I" + b"9" * 5000 + b"\n", "damaged"),
        (b"0000", "damaged"),
        (b"t", "damaged"),
        (b"R", "damaged"),
        (b"\xff", "damaged"),
        (b"}(Va\nNVa\nNu", "key 'a' twice"),
        (b"}(Va\nu", "damaged"),
        (b"NN\x93", "other than text"),
    ],
)
def test_abuse_of_the_pickle(mini_pth, opcodes, message):
    good = zip_content(mini_pth)["mini/data.pkl"]
    rewrite(mini_pth, {"data.pkl": good[:2] + opcodes + b"0" + good[2:]})
    with pytest.raises(WeightsError, match=message):
        load(mini_pth)


def test_self_reference_depth_and_expansion_are_harmless(mini_pth, state):
    loop = b"]q\xf0h\xf0a0"  # a list in itself
    deep = b"]" * 100_000 + b"a" * 99_999 + b"0"
    laughs = b")" + b"2\x86" * 200 + b"q\xf1}h\xf1Ns00"  # 2^200 empty tuples, as a key
    good = zip_content(mini_pth)["mini/data.pkl"]
    rewrite(mini_pth, {"data.pkl": good[:2] + loop + deep + laughs + good[2:]})
    assert_loaded(load(mini_pth), state)


def tensor_opcodes(
    key="0", count=64, offset=0, shape=(1, 1, 64), strides=(64, 64, 1), kind="Float"
):
    stream = io.BytesIO()
    storage = type(f"{kind}Storage", (), {})
    names = {storage: f"torch {kind}Storage", rebuild: "torch._utils _rebuild_tensor_v2"}
    place = Calls("storage", storage, key, "cpu", count)

    class Writer(pickle._Pickler):  # the one in Python, which can be told what to write
        def persistent_id(self, value):
            return ("storage", *value.call[1]) if value is place else None

        def save(self, value, save_persistent_id=True):
            if isinstance(value, type | types.FunctionType):
                self.write(b"c" + names[value].replace(" ", "\n").encode() + b"\n")
            else:
                super().save(value, save_persistent_id)

    value = Calls(rebuild, place, offset, shape, strides, False, {})
    Writer(stream, 2).dump({"cls_token": value})
    return stream.getvalue()


def rebuild():
    """Stand for torch's function."""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, None),
        ({"offset": 1}, "outside"),
        ({"offset": -1}, "outside"),
        ({"offset": 2**62}, "outside"),
        ({"offset": "0"}, "no whole numbers"),
        ({"offset": True}, "no whole numbers"),
        ({"shape": (1, 1, 65)}, "outside"),
        ({"shape": (2, 1, 64)}, "outside"),
        ({"shape": (1, 1, -64)}, "outside"),
        ({"shape": (-1, -1, 64)}, "outside"),
        ({"shape": [1, 1, 64]}, "no whole numbers"),
        ({"strides": (64, 64, 2)}, "outside"),
        ({"strides": (64, 64, -1)}, "outside"),
        ({"strides": (2**70, 64, 1), "shape": (2, 1, 64)}, "outside"),
        ({"strides": (64, 1)}, "different number"),
        ({"count": 65}, "bytes"),
        ({"count": -1}, "bytes"),
        ({"count": 2**62}, "bytes"),
        ({"count": 63}, "outside"),
        ({"kind": "Double"}, "bytes"),
        ({"key": "1"}, "lacks its part 'data/1'"),
        ({"key": "../data.pkl"}, "lacks its part"),
        ({"kind": "Evil"}, "storage that is none"),
    ],
)
def test_bounds_of_storages(tmp_path, change, message):
    path = save(tmp_path / "x.pth", {"cls_token": torch.arange(64.0)})
    rewrite(path, {"data.pkl": tensor_opcodes(**change)})
    if message is None:
        values = checkpoint.read_checkpoint(path).tensors["cls_token"].read()
        np.testing.assert_array_equal(values.ravel(), np.arange(64))
        return
    with pytest.raises(WeightsError, match=message):
        checkpoint.read_checkpoint(path)


def test_an_overlarge_shape_costs_nothing(tmp_path):
    path = save(tmp_path / "x.pth", {"cls_token": torch.zeros(1).expand(2**20, 2**20)})
    with pytest.raises(WeightsError, match=r"cls_token \(1048576, 1048576\) instead of"):
        load(path)


def test_compressed_parts_are_refused(mini_pth):
    rewrite(mini_pth, {}, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(WeightsError, match=r"compressed or encrypted part 'data.pkl'"):
        load(mini_pth)


def test_duplicate_parts_are_refused(mini_pth):
    rewrite(mini_pth, {}, duplicate="data/0")
    with pytest.raises(WeightsError, match="two entries of one name"):
        load(mini_pth)


def test_a_part_larger_than_the_file_is_refused(mini_pth):
    content = bytearray(mini_pth.read_bytes())
    place = content.rfind(b"mini/data/0") - 46  # its entry in the central directory
    assert content[place : place + 4] == b"PK\x01\x02"
    content[place + 20 : place + 28] = b"\xf0\xff\xff\x7f" * 2  # both of its sizes
    mini_pth.write_bytes(content)
    with pytest.raises(WeightsError, match=r"larger than the file|damaged"):
        load(mini_pth)


def test_an_overlong_pickle_is_refused(mini_pth, monkeypatch):
    monkeypatch.setattr(checkpoint, "_PICKLE_LIMIT", 100)
    with pytest.raises(WeightsError, match="100 are accepted"):
        load(mini_pth)


# ---------------------------------------------------------------------------------------------
# conversion


def test_an_interrupted_conversion_leaves_nothing(mini_pth, state, cache, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            load(mini_pth)
    assert [path.suffix for path in cache.iterdir()] in ([".lock"], [])
    assert_loaded(load(mini_pth), state)


def test_a_killed_conversion_is_done_again_and_swept_up(mini_pth, state, cache):
    code = f"""
        import os
        from xr_anysat.model.config import ModelConfig
        from xr_anysat.weights import find_weights, load_tensors
        os.replace = lambda *_: (print("killed", flush=True), os._exit(0))
        load_tensors(find_weights({str(mini_pth)!r}, "tiny"), ModelConfig(width=64, depth=1))
    """
    assert run_python(code) == "killed\n"
    assert not converted_files(cache)
    (left,) = [path for path in cache.iterdir() if path.is_dir()]
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(left, (two_days_ago, two_days_ago))
    assert_loaded(load(mini_pth), state)
    assert not left.exists()


@pytest.mark.parametrize("damage", ["cut", "empty", "garbage", "other digest", "other tensors"])
def test_a_damaged_converted_file_is_made_again(mini_pth, state, cache, damage):
    load(mini_pth)
    (file,) = converted_files(cache)
    whole = file.read_bytes()
    with file.open("rb+") as stream:
        if damage == "garbage":
            stream.write(b"\xff" * 100)
        else:
            stream.truncate({"cut": len(whole) - 100}.get(damage, 0))
    if damage == "other digest":
        file.write_bytes(whole.replace(sha256(mini_pth).encode(), b"0" * 64))
    if damage == "other tensors":
        save_file({"a": torch.ones(1)}, file)
    assert_loaded(load(mini_pth), state)
    assert checkpoint.read_checkpoint(file).metadata["source_sha256"] == sha256(mini_pth)
    assert file.stat().st_size == len(whole)


def test_threads_convert_once(mini_pth, state, monkeypatch):
    written = []
    write = weights._write
    monkeypatch.setattr(weights, "_write", lambda *a: (written.append(a), write(*a))[1])
    with ThreadPoolExecutor(4) as pool:
        loaded = list(pool.map(lambda _: load(mini_pth), range(4)))
    assert len(written) == 1
    for tensors in loaded:
        assert_loaded(tensors, state)


def _load_sum(path):
    return float(load(path)["cls_token"].sum())


def test_processes_convert_at_once(mini_pth, state, cache):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        sums = pool.map(_load_sum, [mini_pth] * 2, chunksize=1)
    assert sums == [float(state["cls_token"].sum())] * 2
    assert len(converted_files(cache)) == 1
    assert not [path for path in cache.iterdir() if path.is_dir()]


def test_conversion_does_without_a_lock(mini_pth, state, cache, monkeypatch):
    monkeypatch.setattr(weights, "_LOCK_SECONDS", 0.1)
    source = find_weights(mini_pth, "tiny")
    target = weights._converted_path(source.digest, "64x1")
    with weights._conversion_lock(target):
        assert_loaded(load_tensors(source, MINI), state)
    assert converted_files(cache) == [target]


def test_an_unwritable_cache_warns_and_works(mini_pth, state, tmp_path, monkeypatch):
    monkeypatch.setenv("XR_ANYSAT_CACHE", str(mini_pth / "below-a-file"))
    for _ in range(2):
        with pytest.warns(AnySatWarning, match=r"cannot keep .*XR_ANYSAT_CACHE to a folder"):
            tensors = load(mini_pth)
        assert_loaded(tensors, state)
    next(iter(tensors.values())).add_(1)  # not a view of a read-only map


def test_a_full_disk_warns_and_works(mini_pth, state, cache, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.warns(AnySatWarning, match="No space left"):
        tensors = load(mini_pth)
    assert_loaded(tensors, state)
    assert not converted_files(cache)


# ---------------------------------------------------------------------------------------------
# the published weights


def test_cached_published_weights_need_no_network(hub, tiny_pth, tiny_state, publish, cache):
    publish()
    blob = put_into_hub_cache(hub, tiny_pth)
    source = find_weights(None, "tiny")
    assert source.digest == sha256(tiny_pth)
    assert digest_of(dataclasses.replace(source, digest=None)) == f"sha256:{source.digest}"
    assert_loaded(load_tensors(source, TINY), tiny_state, TINY)
    assert len(converted_files(cache)) == 1
    blob.unlink()  # from now on the converted file is enough
    for known in (source, find_weights(None, "tiny"), dataclasses.replace(source, digest=None)):
        assert_loaded(load_tensors(known, TINY), tiny_state, TINY)


def test_another_digest_than_the_published_one_warns(hub, tiny_pth, tiny_state, publish):
    publish("0" * 64)
    put_into_hub_cache(hub, tiny_pth)
    for _ in range(2):  # read, then converted
        with pytest.warns(AnySatWarning, match=f"sha256 {sha256(tiny_pth)}, not the 0000"):
            tensors = load_tensors(find_weights(None, "tiny"), TINY)
    assert_loaded(tensors, tiny_state, TINY)


def test_a_damaged_download_is_an_error(hub, tiny_pth, publish):
    publish()
    put_into_hub_cache(hub, tiny_pth, digest="1" * 64)
    with pytest.raises(WeightsError, match=r"is damaged: its sha256.*Delete .*weights fetch"):
        load_tensors(find_weights(None, "tiny"), TINY)


OFFLINE = """
    import json, time
    from xr_anysat.errors import WeightsError
    from xr_anysat.model.config import model_config
    from xr_anysat.weights import find_weights, load_tensors
    start = time.monotonic()
    try:
        load_tensors(find_weights(None, "base"), model_config("base"))
    except WeightsError as error:
        print(json.dumps([str(error), time.monotonic() - start]))
"""


@pytest.mark.parametrize("way", ["refused", "offline", "silent", "missing"])
def test_no_weights_to_be_had(way):
    with serve({}) as (silent, missing):
        environment = {
            "refused": {"HF_ENDPOINT": "http://127.0.0.1:9"},
            "offline": {"HF_HUB_OFFLINE": "1"},
            "silent": {"HF_ENDPOINT": silent, "HF_HUB_ETAG_TIMEOUT": "1"},
            "missing": {"HF_ENDPOINT": missing},
        }[way]
        message, seconds = json.loads(run_python(OFFLINE, **environment))
    for part in (
        "g-astruc/AnySat models/AnySat.pth is not in the Hugging Face cache",
        "python -m xr_anysat weights fetch",
        "Model('base', weights='/path/to/AnySat.pth')",
        "XR_ANYSAT_WEIGHTS",
        "weights='random'",
    ):
        assert part in message
    assert seconds < 15


class serve:
    """Serve files as the Hub does, and beside that an address that never answers."""

    def __init__(self, files):
        outer = self
        self.files, self.requests = files, []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_HEAD(self):
                outer.requests.append(f"{self.command} {self.path}")
                content = outer.files.get(self.path)
                self.send_response(404 if content is None else 200)
                self.send_header("X-Repo-Commit", "c" * 40)
                if content is not None:
                    self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                return content

            def do_GET(self):
                self.wfile.write(self.do_HEAD() or b"")

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.silent = http.server.HTTPServer(("127.0.0.1", 0), Handler)  # listens, never accepts

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return [f"http://127.0.0.1:{s.server_port}" for s in (self.silent, self.server)]

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.silent.server_close()


def test_download_then_offline(tiny_pth, tmp_path, cache):
    """The whole way, through huggingface_hub, from a server on this machine."""
    code = f"""
        import dataclasses, xr_anysat.weights as w
        from xr_anysat.model.config import model_config
        w.PUBLISHED = dataclasses.replace(w.PUBLISHED, size="tiny", sha256={sha256(tiny_pth)!r})
        source = w.find_weights(None, "tiny")
        tensors = w.load_tensors(source, model_config("tiny"))
        print(source.digest, w.digest_of(source), len(tensors), w.fetch().name)
    """
    server = serve({"/g-astruc/AnySat/resolve/main/models/AnySat.pth": tiny_pth.read_bytes()})
    digest = sha256(tiny_pth)
    with server as (_, address):
        printed = run_python(code, HF_ENDPOINT=address).split()
        assert printed[:3] == ["None", f"sha256:{digest}", "102"]
        asked = len(server.requests)
        again = run_python(code, HF_ENDPOINT=address).split()
        assert len(server.requests) == asked
    assert again[:3] == [digest, f"sha256:{digest}", "102"]
    assert [again[3]] == [path.name for path in converted_files(cache)]


# ---------------------------------------------------------------------------------------------
# fetch, convert, verify


def test_fetch_gives_the_converted_file(hub, tiny_pth, publish, cache):
    record = publish()
    blob = put_into_hub_cache(hub, tiny_pth)
    path = fetch()
    assert path == cache / f"anysat-tiny-{record.sha256}-v1.safetensors"
    blob.unlink()
    assert fetch() == path


def test_convert_and_verify(tiny_pth, tiny_state, tmp_path, publish):
    publish()
    target = convert(tiny_pth, tmp_path / "new" / "out.safetensors")
    assert_loaded(load(target, TINY), tiny_state, TINY)
    report = verify(tiny_pth)
    assert report == weights.WeightsReport(
        path=tiny_pth, size="tiny", digest=sha256(tiny_pth), published=True,
        tensors=318, values=8_135_015, finite=True,
    )  # fmt: skip
    assert "318 tensors, 8,135,015 values" in str(report)
    assert "the published weights" in str(report)
    assert not verify(target).published
    with pytest.raises(OptionError, match=r"\.safetensors file, not"):
        convert(tiny_pth, tmp_path / "out.pth")
    with pytest.raises(WeightsError, match="cannot write"):
        convert(tiny_pth, tiny_pth / "out.safetensors")
    with pytest.raises(WeightsError, match="cannot read the weights"):
        convert(tmp_path / "gone.pth", tmp_path / "out.safetensors")


def test_verify_tells_of_bad_values_and_of_bad_names(tiny_state, tmp_path):
    spoilt = tiny_state | {"cls_token": torch.full((1, 1, 256), torch.nan)}
    report = verify(save(tmp_path / "x.pth", spoilt))
    assert not report.finite
    assert "NO" in str(report)
    del spoilt["cls_token"]
    with pytest.raises(WeightsError, match=r"size 'tiny': 1 missing: cls_token\."):
        verify(save(tmp_path / "y.pth", spoilt))
    with pytest.raises(WeightsError, match="cannot read the weights"):
        verify(tmp_path / "gone.pth")


def test_verify_the_published_weights(hub, tiny_pth, publish):
    publish()
    with pytest.raises(WeightsError, match=r"not on this machine.*Three ways"):
        verify()
    put_into_hub_cache(hub, tiny_pth)
    assert verify().published


# ---------------------------------------------------------------------------------------------
# full size


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_base_size_round_trip_in_little_memory(tmp_path, cache):
    config = model_config("base")
    state = make_state(config)
    assert len(state) == 418
    assert sum(tensor.numel() for tensor in state.values()) == 125_905_447
    path = save(tmp_path / "AnySat.pth", state)
    code = f"""
        import json, threading, time, torch, safetensors.torch
        from xr_anysat.model.config import model_config
        from xr_anysat.weights import find_weights, load_tensors

        def own_memory():  # MiB that are this process's alone, mapped files left out
            for line in open("/proc/self/status"):
                if line.startswith("RssAnon"):
                    return int(line.split()[1]) / 1024

        peak, done = [own_memory()], threading.Event()
        def watch():
            while not done.wait(0.005):
                peak.append(own_memory())
        thread = threading.Thread(target=watch)
        thread.start()
        start = time.monotonic()
        tensors = load_tensors(find_weights({str(path)!r}, "base"), model_config("base"))
        first = time.monotonic() - start
        start = time.monotonic()
        load_tensors(find_weights({str(path)!r}, "base"), model_config("base"))
        second = time.monotonic() - start
        done.set()
        thread.join()
        print(json.dumps([max(peak) - peak[0], first, second, len(tensors)]))
    """
    grown, first, second, count = json.loads(run_python(code))
    print(f"conversion {first:.1f} s, {grown:.0f} MiB; later loads {second:.2f} s")  # noqa: T201
    assert count == 202
    assert grown < 100  # of 480: tensors are copied from map to map
    assert second < first
    (file,) = converted_files(cache)
    assert_loaded(load(path, config), state, config)
    assert verify(file).values == 125_905_447
