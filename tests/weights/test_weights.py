"""Weights: found cheaply, read without running anything, converted once, mapped from then on."""

import dataclasses
import hashlib
import http.server
import json
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from dask.base import tokenize
from safetensors.torch import load_file, save_file
from support.findings import finds, warns_of

from xr_anysat.errors import OptionError, WeightsError
from xr_anysat.model.config import ModelConfig, model_config, tensor_shapes, used_shapes
from xr_anysat.weights import conversion, files, hub
from xr_anysat.weights.checkpoint import read_checkpoint
from xr_anysat.weights.files import (
    PUBLISHED,
    WeightsReport,
    WeightsSource,
    convert,
    digest_of,
    fetch,
    find_weights,
    load_tensors,
    verify,
)

try:
    from huggingface_hub import close_session
except ImportError:  # huggingface_hub < 1
    from huggingface_hub.utils._http import reset_sessions as close_session

pytestmark = pytest.mark.filterwarnings("error")

TINY = model_config("tiny")
MINI = ModelConfig(width=64, depth=1)  # the same layout in small: 293 tensors, 2 MB
ROOT = Path(__file__).parents[2]


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
def hub_cache(tmp_path, monkeypatch):
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
        for module in (hub, files):
            monkeypatch.setattr(module, "PUBLISHED", record)
        return record

    return set_published


def put_into_hub_cache(hub_cache, path, digest=None):
    folder = hub_cache / "models--g-astruc--AnySat"
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
        import sys, xr_anysat.weights.files
        for name in (None, "random", {str(mini_pth)!r}):
            xr_anysat.weights.files.find_weights(name, "base")
        print("torch" in sys.modules)
    """
    assert run_python(code).strip() == "False"


def test_the_published_weights_are_the_default():
    source = find_weights(None, "base")
    assert source == WeightsSource(kind="hub", location="g-astruc/AnySat models/AnySat.pth")
    assert source.description == "g-astruc/AnySat models/AnySat.pth"
    assert digest_of(source) is None


def test_only_base_is_published():
    with finds("weights.unpublished", WeightsError) as raised:
        find_weights(None, "tiny")
    for part in ('Model("base")', 'Model("tiny", weights="/path/to', 'weights="random"'):
        assert part in str(raised.value)


def test_environment_variable_sets_the_default(mini_pth, monkeypatch):
    monkeypatch.setenv("XR_ANYSAT_WEIGHTS", str(mini_pth))
    assert find_weights(None, "tiny") == find_weights(mini_pth, "tiny")
    assert find_weights("random", "tiny").kind == "random"
    monkeypatch.setenv("XR_ANYSAT_WEIGHTS", "random:x")
    with finds("weights.seed", OptionError) as raised:
        find_weights(None, "tiny")
    assert "XR_ANYSAT_WEIGHTS='random:x'" in str(raised.value)  # not a parameter: its origin
    monkeypatch.setenv("XR_ANYSAT_WEIGHTS", "")
    assert find_weights(None, "base").kind == "hub"


@pytest.mark.parametrize("text", ["random:", "random:-1", "random:1.5", "random:abc", "random:²"])
def test_bad_seed(text):
    with finds("weights.seed", OptionError) as raised:
        find_weights(text, "tiny")
    assert f'weights="{text}"' in str(raised.value)


@pytest.mark.parametrize("value", ["tiny", "weights.h5", 3, ""])
def test_what_weights_cannot_be(value):
    with finds("weights.kind", OptionError) as raised:
        find_weights(value, "tiny")
    assert str(value) in str(raised.value)
    assert ".safetensors" in str(raised.value)


def test_a_missing_file_is_named(tmp_path):
    (tmp_path / "folder.pth").mkdir()
    for name in ("gone.pth", "folder.pth"):
        with finds("weights.none", WeightsError) as raised:
            find_weights(tmp_path / name, "tiny")
        assert str(tmp_path / name) in str(raised.value)
        assert "weights fetch" in str(raised.value)


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
        patch.setattr(conversion.hashlib, "file_digest", None)
        assert find_weights(mini_pth, "tiny") == first
    mini_pth.write_bytes(b"other")
    assert find_weights(mini_pth, "tiny").digest == hashlib.sha256(b"other").hexdigest()


def test_dask_keys_follow_from_what_the_numbers_follow_from(mini_pth, tmp_path, hub_cache):
    copy = tmp_path / "copy.pth"
    copy.write_bytes(mini_pth.read_bytes())
    assert tokenize(find_weights(mini_pth, "tiny")) == tokenize(find_weights(copy, "tiny"))
    before = find_weights(None, "base")
    put_into_hub_cache(hub_cache, mini_pth)
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
    shapes = used_shapes(MINI)
    monkeypatch.setattr(files, "used_shapes", lambda _: dict(reversed(shapes.items())))
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
    metadata = read_checkpoint(file).metadata
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
    monkeypatch.setattr(files, "file_digest", None)
    assert_loaded(load_tensors(source, MINI), state)
    assert converted_files(cache)[0].stat().st_mtime_ns == written


def test_cache_folder_from_the_environment(mini_pth, tmp_path, monkeypatch):
    monkeypatch.setenv("XR_ANYSAT_CACHE", str(tmp_path / "elsewhere"))
    load(mini_pth)
    assert len(converted_files(tmp_path / "elsewhere")) == 1


def test_half_precision_becomes_float32(tmp_path, state):
    halves = {name: tensor.half() for name, tensor in state.items()}
    path = tmp_path / "x.safetensors"
    save_file(halves, path)
    for made in (path, save(tmp_path / "x.pth", halves)):
        assert_loaded(load(made), {name: tensor.float() for name, tensor in halves.items()})


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
        with finds("weights.changed", WeightsError) as raised:
            load_tensors(source, MINI)
        assert {source.digest, sha256(path)} <= set(raised.value.findings[0].data.values())


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
    ("spoil", "code", "parts"),
    [
        (spoil_missing, "weights.misfit", ["7 missing", "cls_token", "and 2 more"]),
        (spoil_unexpected, "weights.misfit", ["1 unexpected", "head.weight"]),
        (spoil_shape, "weights.misfit", ["cls_token (1, 64) instead of (1, 1, 64)"]),
        (spoil_dtype, "weights.misfit", ["not floating-point", "cls_token", "64)"]),
        (spoil_nan, "weights.not-finite", ["blocks.0.norm1.bias"]),
    ],
)
def test_files_that_do_not_fit(tmp_path, state, cache, suffix, spoil, code, parts):
    spoilt = dict(state)
    spoil(spoilt)
    path = tmp_path / f"x{suffix}"
    save(path, spoilt) if suffix == ".pth" else save_file(spoilt, path)
    with finds(code, WeightsError) as raised:
        load(path)
    assert all(part in str(raised.value) for part in (str(path), *parts))
    assert not converted_files(cache)


def test_values_of_other_sensors_are_checked_at_conversion(tmp_path, state):
    spoilt = state | {"projector_s1.pad_parameter": torch.tensor(torch.inf)}
    with finds("weights.not-finite", WeightsError) as raised:
        load(save(tmp_path / "x.pth", spoilt))
    assert "projector_s1.pad_parameter" in str(raised.value)


def test_another_size_is_suggested(tiny_pth):
    with finds("weights.misfit", WeightsError) as raised:
        load(tiny_pth, model_config("base"))
    (finding,) = raised.value.findings
    assert finding.data["size"] == "base"
    assert [remedy.value for remedy in finding.remedies] == ["tiny"]


def test_an_overlarge_shape_costs_nothing(tmp_path):
    path = save(tmp_path / "x.pth", {"cls_token": torch.zeros(1).expand(2**20, 2**20)})
    with finds("weights.misfit", WeightsError) as raised:
        load(path)
    assert "cls_token (1048576, 1048576) instead of" in str(raised.value)


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


def test_a_killed_conversion_is_done_again(mini_pth, state, cache):
    code = f"""
        import os
        from xr_anysat.model.config import ModelConfig
        from xr_anysat.weights.files import find_weights, load_tensors
        os.replace = lambda *_: (print("killed", flush=True), os._exit(0))
        load_tensors(find_weights({str(mini_pth)!r}, "tiny"), ModelConfig(width=64, depth=1))
    """
    assert run_python(code) == "killed\n"
    assert not converted_files(cache)
    assert_loaded(load(mini_pth), state)


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
    assert read_checkpoint(file).metadata["source_sha256"] == sha256(mini_pth)
    assert file.stat().st_size == len(whole)


def test_threads_convert_once(mini_pth, state, monkeypatch):
    written = []
    write = conversion._write
    monkeypatch.setattr(conversion, "_write", lambda *a: (written.append(a), write(*a))[1])
    with ThreadPoolExecutor(4) as pool:
        loaded = list(pool.map(lambda _: load(mini_pth), range(4)))
    assert len(written) == 1
    for tensors in loaded:
        assert_loaded(tensors, state)


def test_processes_convert_at_once(mini_pth, state, cache):
    code = f"""
        from xr_anysat.model.config import ModelConfig
        from xr_anysat.weights.files import find_weights, load_tensors
        source = find_weights({str(mini_pth)!r}, "tiny")
        print("ready", flush=True)
        input()
        print(load_tensors(source, ModelConfig(width=64, depth=1))["cls_token"].sum().item())
    """
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as other:  # fmt: skip
        assert other.stdout.readline() == "ready\n"
        other.stdin.write("go\n")
        other.stdin.flush()
        assert_loaded(load(mini_pth), state)
        assert float(other.stdout.readline()) == state["cls_token"].sum().item()
    assert len(converted_files(cache)) == 1
    assert not [path for path in cache.iterdir() if path.is_dir()]


def test_conversion_does_without_a_lock(mini_pth, state, cache, monkeypatch):
    monkeypatch.setattr(conversion, "_LOCK_SECONDS", 0.1)
    source = find_weights(mini_pth, "tiny")
    target = conversion.converted_path(source.digest, MINI)
    with conversion._conversion_lock(target):
        assert_loaded(load_tensors(source, MINI), state)
    assert converted_files(cache) == [target]


def test_an_unwritable_cache_warns_and_works(mini_pth, state, tmp_path, monkeypatch):
    monkeypatch.setenv("XR_ANYSAT_CACHE", str(mini_pth / "below-a-file"))
    for _ in range(2):
        with warns_of("weights.cache") as caught:
            tensors = load(mini_pth)
        assert [warning.filename for warning in caught] == [__file__]
        assert "XR_ANYSAT_CACHE" in str(caught[0].message)
        assert_loaded(tensors, state)
    next(iter(tensors.values())).add_(1)  # not a view of a read-only map


def test_a_full_disk_warns_and_works(mini_pth, state, cache, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with warns_of("weights.cache") as caught:
        tensors = load(mini_pth)
    assert "No space left" in str(caught[0].message)
    assert_loaded(tensors, state)
    assert not converted_files(cache)


# ---------------------------------------------------------------------------------------------
# the published weights


def test_cached_published_weights_need_no_network(hub_cache, tiny_pth, tiny_state, publish, cache):
    publish()
    blob = put_into_hub_cache(hub_cache, tiny_pth)
    source = find_weights(None, "tiny")
    assert source.digest == sha256(tiny_pth)
    assert digest_of(dataclasses.replace(source, digest=None)) == f"sha256:{source.digest}"
    assert_loaded(load_tensors(source, TINY), tiny_state, TINY)
    assert len(converted_files(cache)) == 1
    blob.unlink()  # from now on the converted file is enough
    for known in (source, find_weights(None, "tiny"), dataclasses.replace(source, digest=None)):
        assert_loaded(load_tensors(known, TINY), tiny_state, TINY)


def test_another_digest_than_the_published_one_warns(hub_cache, tiny_pth, tiny_state, publish):
    publish("0" * 64)
    put_into_hub_cache(hub_cache, tiny_pth)
    for _ in range(2):  # read, then converted
        with warns_of("weights.digest") as caught:
            tensors = load_tensors(find_weights(None, "tiny"), TINY)
        assert {sha256(tiny_pth), "0" * 64} <= set(caught[0].message.findings[0].data.values())
    assert_loaded(tensors, tiny_state, TINY)


def test_a_damaged_download_is_an_error(hub_cache, tiny_pth, publish):
    publish()
    blob = put_into_hub_cache(hub_cache, tiny_pth, digest="1" * 64)
    with finds("weights.download", WeightsError) as raised:
        load_tensors(find_weights(None, "tiny"), TINY)
    assert str(blob) in str(raised.value)  # what is to be deleted
    assert "weights fetch" in str(raised.value)


@pytest.fixture
def hub_at(monkeypatch):
    """Send huggingface_hub elsewhere, by what it reads from the environment when imported."""

    def send(**settings):
        if address := settings.get("ENDPOINT"):
            template = address + "/{repo_id}/resolve/{revision}/{filename}"
            settings["HUGGINGFACE_CO_URL_TEMPLATE"] = template
        for name, value in settings.items():
            monkeypatch.setattr(huggingface_hub.constants, name, value)
        close_session()

    monkeypatch.setenv("NO_PROXY", "*")
    yield send
    close_session()


@pytest.mark.parametrize("way", ["refused", "offline", "silent", "missing"])
def test_no_weights_to_be_had(way, hub_at):
    server = serve({})
    with server as (silent, missing):
        settings = {
            "refused": {"ENDPOINT": "http://127.0.0.1:9"},
            "offline": {"HF_HUB_OFFLINE": True},
            "silent": {"ENDPOINT": silent, "HF_HUB_ETAG_TIMEOUT": 1},
            "missing": {"ENDPOINT": missing},
        }[way]
        hub_at(**settings)
        start = time.monotonic()
        with finds("weights.none", WeightsError) as raised:
            load_tensors(find_weights(None, "base"), model_config("base"))
        assert time.monotonic() - start < 15
        assert bool(server.requests) == (way == "missing")
    for part in (
        "g-astruc/AnySat models/AnySat.pth",
        "python -m xr_anysat weights fetch",
        'Model("base", weights="/path/to/AnySat.pth")',
        "XR_ANYSAT_WEIGHTS",
        'weights="random"',
    ):
        assert part in str(raised.value)


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


def test_download_then_offline(tiny_pth, tiny_state, publish, hub_at, cache):
    """The whole way, through huggingface_hub, from a server on this machine."""
    publish()
    server = serve({"/g-astruc/AnySat/resolve/main/models/AnySat.pth": tiny_pth.read_bytes()})
    digest = sha256(tiny_pth)
    with server as (_, address):
        hub_at(ENDPOINT=address)
        source = find_weights(None, "tiny")
        assert source.digest is None
        assert_loaded(load_tensors(source, TINY), tiny_state, TINY)
        assert digest_of(source) == f"sha256:{digest}"
        asked = len(server.requests)
        assert asked > 0
        source = find_weights(None, "tiny")
        assert source.digest == digest
        assert_loaded(load_tensors(source, TINY), tiny_state, TINY)
        assert [fetch()] == converted_files(cache)
        assert len(server.requests) == asked


# ---------------------------------------------------------------------------------------------
# fetch, convert, verify


def test_fetch_gives_the_converted_file(hub_cache, tiny_pth, publish, cache):
    record = publish()
    blob = put_into_hub_cache(hub_cache, tiny_pth)
    path = fetch()
    assert path == cache / f"anysat-tiny-{record.sha256}-v1.safetensors"
    blob.unlink()
    assert fetch() == path


def test_convert_and_verify(tiny_pth, tiny_state, tmp_path, publish):
    publish()
    target = convert(tiny_pth, tmp_path / "new" / "out.safetensors")
    assert_loaded(load(target, TINY), tiny_state, TINY)
    report = verify(tiny_pth)
    assert report == WeightsReport(
        path=tiny_pth, size="tiny", digest=sha256(tiny_pth), published=True,
        tensors=318, values=8_135_015, finite=True,
    )  # fmt: skip
    assert "318 tensors, 8,135,015 values" in str(report)
    assert "the published weights" in str(report)
    assert not verify(target).published
    with finds("weights.suffix", OptionError):
        convert(tiny_pth, tmp_path / "out.pth")
    with finds("weights.unwritable", WeightsError):
        convert(tiny_pth, tiny_pth / "out.safetensors")
    with finds("weights.unreadable", WeightsError):
        convert(tmp_path / "gone.pth", tmp_path / "out.safetensors")


def test_verify_tells_of_bad_values_and_of_bad_names(tiny_state, tmp_path):
    spoilt = tiny_state | {"cls_token": torch.full((1, 1, 256), torch.nan)}
    report = verify(save(tmp_path / "x.pth", spoilt))
    assert not report.finite
    assert "NO" in str(report)
    del spoilt["cls_token"]
    with finds("weights.misfit", WeightsError) as raised:
        verify(save(tmp_path / "y.pth", spoilt))
    assert raised.value.findings[0].data["size"] == "tiny"
    assert "1 missing: cls_token" in str(raised.value)
    with finds("weights.unreadable", WeightsError):
        verify(tmp_path / "gone.pth")


def test_verify_the_published_weights(hub_cache, tiny_pth, publish):
    publish()
    with finds("weights.none", WeightsError):
        verify()
    put_into_hub_cache(hub_cache, tiny_pth)
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
        from xr_anysat.weights.files import find_weights, load_tensors

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
