"""`Model`: a description, hashable and free of torch."""

import pickle
from pathlib import Path

import pytest
from dask.base import tokenize
from support.findings import finds

from xr_anysat import Model, OptionError, WeightsError
from xr_anysat.job.model import as_model


def test_the_name_of_a_size_is_a_model():
    assert as_model("small") == Model("small")
    assert as_model(Model("tiny")) == Model("tiny")


@pytest.mark.parametrize(
    ("code", "name", "value"),
    [
        ("model.size", "size", "huge"),
        ("model.size", "size", ["tiny"]),
        ("model.option", "precision", "int8"),
        ("model.option", "device", 0),
        ("model.option", "batch_size", 0),
        ("model.option", "batch_size", True),
    ],
)
def test_arguments_are_checked_at_once(code, name, value):
    with finds(code, OptionError) as raised:
        Model(**{name: value})
    given = raised.value.findings[0].data["given"]
    assert (given.name, given.value) == (name, value)


def test_what_is_no_model_is_said():
    with finds("model.kind", OptionError):
        as_model(3)


def test_pinning_finds_the_weights_and_pickles_small():
    pinned = Model("tiny", weights="random:7").pinned()
    assert pinned.source.seed == 7
    assert pinned.pinned() == pinned
    assert pickle.loads(pickle.dumps(pinned)) == pinned
    assert len(pickle.dumps(pinned)) < 1000
    assert tokenize(pinned) == tokenize(Model("tiny", weights="random:7").pinned())
    assert tokenize(pinned) != tokenize(Model("tiny", weights="random:8").pinned())


def test_a_missing_file_is_found_before_anything_is_computed(tmp_path):
    with finds("weights.none", WeightsError) as raised:
        Model("base", weights=tmp_path / "nowhere.pth").pinned()
    assert "nowhere.pth" in str(raised.value)


def test_a_path_is_kept_as_text():
    assert Model("base", weights=Path("a/b.pth")).weights == "a/b.pth"


def test_only_base_weights_are_published(monkeypatch):
    monkeypatch.delenv("XR_ANYSAT_WEIGHTS", raising=False)
    with finds("weights.unpublished", WeightsError):
        Model("tiny").pinned()
    monkeypatch.setenv("XR_ANYSAT_WEIGHTS", "random:5")
    assert Model("tiny").pinned().source.seed == 5
