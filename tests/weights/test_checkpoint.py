"""Files of weights, sound, damaged and hostile: read without running anything they hold."""

import collections
import contextlib
import datetime
import io
import os
import pickle
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from support.findings import codes, finds

from xr_anysat.errors import WeightsError
from xr_anysat.weights import checkpoint
from xr_anysat.weights.checkpoint import read_checkpoint

pytestmark = pytest.mark.filterwarnings("error")


def save(path, content, **options):
    torch.save(content, path, **options)
    return path


def read(path):
    """Names and float32 values of a file."""
    return {name: tensor.read() for name, tensor in read_checkpoint(path).tensors.items()}


def assert_read(path, state):
    values = read(path)
    assert values.keys() == state.keys()
    for name, tensor in state.items():
        np.testing.assert_array_equal(values[name], tensor.float().numpy(), strict=True)


@pytest.fixture
def state():
    rng = torch.Generator().manual_seed(0)
    shapes = {"cls_token": (1, 1, 64), "norm.bias": (64,), "norm.weight": (64, 64), "pad": ()}
    return {name: torch.randn(shape, generator=rng) for name, shape in shapes.items()}


@pytest.fixture
def pth(tmp_path, state):
    return save(tmp_path / "mini.pth", state)


# ---------------------------------------------------------------------------------------------
# sound files


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


def test_training_extras_are_passed_over(tmp_path, state, monkeypatch):
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
        path = save(tmp_path / "train.ckpt", content)
    assert "omegaconf.dictconfig" not in sys.modules
    assert_read(path, state)


def test_parameters_views_and_prefixes(tmp_path, state):
    block = torch.stack([state["cls_token"], state["norm.bias"].view(1, 1, 64)], dim=-1)
    content = {
        "cls_token": block[..., 0],
        "norm.bias": torch.zeros(1).expand(64),
        "norm.weight": state["norm.weight"].T.contiguous().T,
        "pad": torch.nn.Parameter(state["pad"]),
    }
    path = save(tmp_path / "x.pt", {f"module.model.{name}": t for name, t in content.items()})
    assert_read(path, state | {"norm.bias": torch.zeros(64)})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_other_floats_become_float32(tmp_path, state, dtype, suffix):
    cast = {name: tensor.to(dtype) for name, tensor in state.items()}
    path = tmp_path / f"x{suffix}"
    save(path, cast) if suffix == ".pth" else save_file(cast, path)
    assert_read(path, cast)


def test_other_types_are_named(tmp_path):
    path = save(tmp_path / "x.pth", {"a": torch.ones(3, dtype=torch.int64)})
    assert read_checkpoint(path).tensors["a"].dtype == "int64"


# ---------------------------------------------------------------------------------------------
# files of another kind, and damaged ones


def test_the_format_of_old_torch_is_not_read(tmp_path, state):
    path = save(tmp_path / "x.pth", state, _use_new_zipfile_serialization=False)
    with finds("weights.not-checkpoint", WeightsError):
        read(path)


def test_big_endian_files_are_not_read(pth):
    rewrite(pth, {"byteorder": b"big"})
    with finds("weights.refused", WeightsError):
        read(pth)


@pytest.mark.parametrize("content", [{"a": 1}, [1, 2], {}, {"state_dict": {}}, 5, torch.ones(3)])
def test_files_without_tensors(tmp_path, content):
    with finds("weights.refused", WeightsError):
        read(save(tmp_path / "x.pth", content))


@pytest.mark.parametrize("share", [0, 1e-6, 1e-3, 0.1, 0.5, 0.9, 0.999, 0.999999])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_truncated_files(tmp_path, state, share, suffix):
    path = tmp_path / f"x{suffix}"
    save(path, state) if suffix == ".pth" else save_file(state, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(WeightsError) as raised:
        read(path)
    assert set(codes(raised.value)) <= {"weights.damaged", "weights.not-checkpoint"}
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("content", [b"<!doctype html>", b"version https://git-lfs", b"PK\3\4" * 9])
def test_files_that_are_something_else(tmp_path, content):
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    code = "weights.damaged" if content.startswith(b"PK") else "weights.not-checkpoint"
    with finds(code, WeightsError):
        read(path)


def test_a_damaged_list_of_contents_never_gives_another_error(tmp_path, state):
    path = save(tmp_path / "x.pth", state)
    content = zip_content(path)["x/data.pkl"]
    rng = np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), 3):
            damaged[place] = rng.integers(0, 256)
        rewrite(path, {"data.pkl": bytes(damaged)})
        with contextlib.suppress(WeightsError):
            read(path)


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
    return b"X" + len(text.encode()).to_bytes(4, "little") + text.encode()


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
        "torch.os.system": call("torch os.system", touch),
    }


HOSTILE = [*hostile_opcodes(Path("x"))]


@pytest.mark.parametrize("place", ["first", "extra"])
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_globals_are_refused_and_not_run(tmp_path, pth, canary, kind, place):
    opcodes = hostile_opcodes(canary)[kind]
    good = zip_content(pth)["mini/data.pkl"]
    if place == "first":
        data = good[:2] + opcodes + b"0" + good[2:]
    else:  # one more value in the outermost dict
        assert good.endswith(b"u.")
        data = good[:-2] + unicode("extra") + opcodes + b"u."
    rewrite(pth, {"data.pkl": data})
    with finds("weights.refused", WeightsError) as raised:
        read(pth)
    assert kind.replace("getattr", "") in str(raised.value)
    assert not canary.exists()


@pytest.mark.parametrize("name", [b"no_such_package.deep Config", b"__main__ Callback"])
def test_a_training_runs_own_classes_are_names(tmp_path, state, name):
    pth = save(tmp_path / "train.ckpt", {"state_dict": collections.OrderedDict(state)})
    with zipfile.ZipFile(pth) as archive:
        good = archive.read(next(n for n in archive.namelist() if n.endswith("data.pkl")))
    assert good.endswith(b"s.")
    call = b"c" + name.replace(b" ", b"\n") + b"\n" + unicode("x") + b"\x85R"
    rewrite(pth, {"data.pkl": good[:-1] + unicode("hyper_parameters") + call + b"s."})
    assert_read(pth, state)


@pytest.mark.parametrize("kind", ["os.system", "posix.system", "builtins.eval", "builtins.getattr"])
def test_the_hostile_files_are_hostile(canary, kind):
    pickle.loads(hostile_opcodes(canary)[kind] + b".")
    assert canary.exists()


@pytest.mark.parametrize("function", [os.system, eval, exec])
def test_a_hostile_extra_of_torch_save(tmp_path, state, canary, function):
    argument = f"touch {canary}" if function is os.system else touching(canary)
    content = {"state_dict": state, "hyper_parameters": {"a": [Calls(function, argument)]}}
    with finds("weights.refused", WeightsError) as raised:
        read(save(tmp_path / "x.pth", content))
    assert function.__name__ in str(raised.value)
    assert not canary.exists()


def test_functions_of_known_packages_are_not_run_either(tmp_path, state, canary):
    content = {
        "state_dict": state,
        "a": Calls(np.testing.runstring, touching(canary), {}),
        "b": Calls(np.save, str(canary), 1),
        "c": Calls(torch.save, 1, str(canary)),
    }
    assert_read(save(tmp_path / "x.pth", content), state)
    assert not any(tmp_path.glob("canary*"))


@pytest.mark.parametrize(
    ("opcodes", "named"),
    [
        (b"\x82\x01", "EXT1"),
        (b"\x84\x01\x00\x00\x00", "EXT4"),
        (b"Pabc\n", "PERSID"),
        (b"\x97", "NEXT_BUFFER"),
        (b"(" + unicode("true") + b"ios\nsystem\n", "INST"),
        (b"(cos\nsystem\no", "os.system"),
        (b"(ctorch\nload\no", "OBJ"),
        (unicode("os") + unicode("system") + b"\x93", "STACK_GLOBAL"),
        (b"]Q", "storage"),
        (b"(" + unicode("storage") + b"ctorch\nload\n" + unicode("0") * 2 + b"K\x01tQ", "storage"),
        (b"]]R", "function"),
        (b"}(" + (unicode("a") + b"N") * 2 + b"u", "'a'"),
    ],
)
def test_abuse_of_the_pickle(pth, opcodes, named):
    good = zip_content(pth)["mini/data.pkl"]
    rewrite(pth, {"data.pkl": good[:2] + opcodes + b"0" + good[2:]})
    with finds("weights.refused", WeightsError) as raised:
        read(pth)
    assert named in raised.value.findings[0].data["reason"]


@pytest.mark.parametrize(
    "opcodes",
    [
        b"r\xff\xff\xff\xff",  # a memo of 4 billion places
        b"j\xff\xff\xff\xff",
        b"X\xff\xff\xff\x7fabc",
        b"\x96" + b"\xff" * 7 + b"\x7f",
        b"0000",
        b"t",
        b"R",
        b"\xff",
        b"}(" + unicode("a") + b"u",
    ],
)
def test_a_pickle_that_is_not_whole(pth, opcodes):
    good = zip_content(pth)["mini/data.pkl"]
    rewrite(pth, {"data.pkl": good[:2] + opcodes + b"0" + good[2:]})
    with finds("weights.damaged", WeightsError):
        read(pth)


@pytest.mark.parametrize("name", [rb"mini\esat", rb"mini\501sat", rb"mini\x6fsat"])
def test_escapes_in_a_name_are_no_matter(pth, state, name):
    good = zip_content(pth)["mini/data.pkl"]
    rewrite(pth, {"data.pkl": good[:2] + b"c" + name + b"\nThing\n0" + good[2:]})
    assert_read(pth, state)


def test_marks_self_reference_depth_and_expansion_are_harmless(pth, state):
    loop = b"]q\xf0h\xf0a0"  # a list in itself
    deep = b"]" * 100_000 + b"a" * 99_999 + b"0"
    laughs = b")" + b"q\xf1h\xf1\x86" * 200 + b"q\xf1}h\xf1Ns00"  # 2^200 empty tuples, as a key
    marks = b"(0(NN1"
    good = zip_content(pth)["mini/data.pkl"]
    rewrite(pth, {"data.pkl": good[:2] + marks + loop + deep + laughs + good[2:]})
    assert_read(pth, state)


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
    ("change", "part"),
    [
        ({}, None),
        ({"offset": 1}, "outside"),
        ({"offset": -1}, "outside"),
        ({"offset": 2**62}, "outside"),
        ({"offset": "0"}, "whole numbers"),
        ({"offset": True}, "whole numbers"),
        ({"shape": (1, 1, 65)}, "outside"),
        ({"shape": (2, 1, 64)}, "outside"),
        ({"shape": (1, 1, -64)}, "outside"),
        ({"shape": (-1, -1, 64)}, "outside"),
        ({"shape": [1, 1, 64]}, "whole numbers"),
        ({"strides": (64, 64, 2)}, "outside"),
        ({"strides": (64, 64, -1)}, "outside"),
        ({"strides": (2**70, 64, 1), "shape": (2, 1, 64)}, "outside"),
        ({"strides": (64, 1)}, "different number"),
        ({"count": 65}, "bytes"),
        ({"count": -1}, "bytes"),
        ({"count": 2**62}, "bytes"),
        ({"count": 63}, "outside"),
        ({"kind": "Double"}, "bytes"),
        ({"key": "1"}, "'data/1'"),
        ({"key": "../data.pkl"}, "'data/../data.pkl'"),
        ({"kind": "Evil"}, "storage"),
    ],
)
def test_bounds_of_storages(tmp_path, change, part):
    path = save(tmp_path / "x.pth", {"cls_token": torch.arange(64.0)})
    rewrite(path, {"data.pkl": tensor_opcodes(**change)})
    if part is None:
        assert_read(path, {"cls_token": torch.arange(64.0).view(1, 1, 64)})
        return
    with pytest.raises(WeightsError) as raised:
        read_checkpoint(path)
    (finding,) = raised.value.findings
    assert finding.code == ("weights.damaged" if "key" in change else "weights.refused")
    assert part in finding.data["reason"]


def test_an_overlarge_shape_costs_nothing(tmp_path):
    path = save(tmp_path / "x.pth", {"cls_token": torch.zeros(1).expand(2**20, 2**20)})
    assert read_checkpoint(path).tensors["cls_token"].shape == (2**20, 2**20)


def test_compressed_parts_are_refused(pth):
    rewrite(pth, {}, compression=zipfile.ZIP_DEFLATED)
    with finds("weights.refused", WeightsError):
        read(pth)


def test_duplicate_parts_are_refused(pth):
    rewrite(pth, {}, duplicate="data/0")
    with finds("weights.refused", WeightsError):
        read(pth)


def test_a_part_larger_than_the_file_is_refused(pth):
    content = bytearray(pth.read_bytes())
    place = content.rfind(b"mini/data/0") - 46  # its entry in the central directory
    assert content[place : place + 4] == b"PK\x01\x02"
    content[place + 20 : place + 28] = b"\xf0\xff\xff\x7f" * 2  # both of its sizes
    pth.write_bytes(content)
    with finds("weights.damaged", WeightsError):
        read(pth)


def test_an_overlong_pickle_is_refused(pth, monkeypatch):
    monkeypatch.setattr(checkpoint, "_PICKLE_LIMIT", 100)
    with finds("weights.refused", WeightsError):
        read(pth)
