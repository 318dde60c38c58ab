"""Tasks that fail without ending the others, on every local scheduler, with any kind of graph."""

import gc
import pickle
import threading
import weakref
from collections import Counter

import dask
import dask.array as da
import numpy as np
import pytest

from xr_anysat import ScaleError
from xr_anysat.graph import retries as retries_module
from xr_anysat.graph.retries import Failed, with_retries
from xr_anysat.graph.run import RetryPolicy, Stop, run


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr(retries_module, "PAUSE", 0)


class Flaky:
    """A block function that fails at some blocks, for some time."""

    def __init__(self, faults, kind=OSError):
        self.faults, self.kind, self.calls = dict(faults), kind, Counter()

    def __call__(self, block, block_id=None):
        self.calls[block_id] += 1
        if self.faults.get(block_id, 0) >= self.calls[block_id]:
            raise self.kind(f"not {block_id}")
        return block


def computed(array, scheduler, retries=0, skip=True):
    values = {}
    scheduler = dask.base.get_scheduler(scheduler=scheduler)
    run(
        array,
        RetryPolicy(scheduler=scheduler, retries=retries, skip=skip, progress=False),
        lambda key, value: values.__setitem__(key[1:], value),
    )
    return values


@pytest.mark.parametrize("scheduler", ["sync", "threads", dask.core.get])
def test_what_fails_takes_only_what_needs_it(scheduler):
    flaky = Flaky({(0, 0): 9})
    array = da.ones((8, 8), chunks=2).map_blocks(flaky, meta=np.empty((0, 0)))
    blocks = computed((array + 1).rechunk(4), scheduler)
    assert isinstance(blocks.pop((0, 0)), Failed)
    assert len(blocks) == 3
    assert all((block == 2).all() for block in blocks.values())
    assert set(flaky.calls.values()) == {1}


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_retries(scheduler):
    flaky = Flaky({(0, 0): 2, (1, 1): 3})
    array = da.ones((4, 4), chunks=2).map_blocks(flaky, meta=np.empty((0, 0)))
    blocks = computed(array, scheduler, retries=2)
    assert [key for key, value in blocks.items() if isinstance(value, Failed)] == [(1, 1)]
    assert flaky.calls == {(0, 0): 3, (1, 1): 3, (0, 1): 1, (1, 0): 1}


def test_the_scale_of_a_cube_is_fatal_and_not_tried_again():
    flaky = Flaky({(0,): 9}, lambda text: ScaleError("store.deleted", store=text))
    array = da.ones(2, chunks=2).map_blocks(flaky, meta=np.empty(0))
    with pytest.raises(Stop):
        computed(array, "sync", retries=5)
    assert flaky.calls == {(0,): 1}


@pytest.mark.parametrize("scheduler", ["sync", "threads", dask.core.get])
def test_what_is_fatal_ends_it(scheduler):
    array = da.ones((8, 8), chunks=2).map_blocks(Flaky({(3, 3): 9}), meta=np.empty((0, 0)))
    joined = array.rechunk(4)
    with pytest.raises(Stop, match="not") as caught:
        computed(joined, scheduler, skip=False)
    assert caught.value.keys == ((joined.name, 1, 1),)


def test_graphs_of_the_old_kind():
    def fail():
        raise OSError("no")

    graph = {
        "a": 1, "b": (sum, ["a", "a", 3]), "bad": (fail,), "c": (max, "b", "bad"), "d": "b",
        "e": (np.add, (np.add, "a", "b"), 10),
    }  # fmt: skip
    values = dask.get(with_retries(graph, 1), ["b", "d", "e", "c", "bad"])
    assert values[:3] == (5, 5, 16)
    assert all(isinstance(value, Failed) for value in values[3:])


def test_failures_hold_no_blocks():
    """Tracebacks have frames, and frames have arrays."""
    seen = []

    def fail(block):
        held = np.ones(1000)
        seen.append(weakref.ref(held))
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise OSError("outer") from error

    array = da.ones(2, chunks=2).map_blocks(fail, meta=np.empty(0))
    failed = computed(array, "sync")[0,]
    gc.collect()
    assert seen[0]() is None
    assert "inner" in failed.text
    assert "outer" in failed.text
    again = pickle.loads(pickle.dumps(failed))
    assert (str(again.error), again.text) == ("outer", failed.text)


class Odd(Exception):
    def __init__(self, one):
        super().__init__(one)
        self.lock = threading.Lock()


def test_errors_that_do_not_pickle():
    again = pickle.loads(pickle.dumps(Failed(Odd("well"))))
    assert str(again.error) == "Odd: well"
