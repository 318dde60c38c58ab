"""Whatever is embedded: the right result, or an AnySatError; never another error or warning."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import Phase, currently_in_test_context, given, settings
from hypothesis import note as note_down
from hypothesis import strategies as st
from support.cubes import TINY, make_cube
from support.strategies import FAULTS, JUNK, dress, requests, scenes

from xr_anysat.errors import AnySatError

pytestmark = [
    pytest.mark.filterwarnings("ignore::xr_anysat.errors.AnySatWarning"),
    pytest.mark.filterwarnings("ignore:.*is not currently supported:UserWarning"),
]

# Shrinking an example takes minutes; its cube and arguments are printed as they are.
unshrunk = settings(phases=set(Phase) - {Phase.shrink, Phase.explain})
few = settings(unshrunk, max_examples=25, derandomize=True)
many = settings(unshrunk, max_examples=3000)


def note(text):
    """Have Hypothesis print it with an example that fails."""
    if currently_in_test_context():
        note_down(text)


def outcome(cube, **options):
    """Give the result, north up, or the error of this package; others are let through."""
    try:
        found = cube.anysat.embed(**options).compute(scheduler="sync")
    except AnySatError as error:
        note(f"{type(error).__name__}: {error}")
        return error
    dims = {"northing": "y", "easting": "x"}
    found = found.rename({old: new for old, new in dims.items() if old in found.dims})
    turned = [dim for dim in ("y", "x") if dim in found.dims]
    return found.sortby(turned).isel({dim: slice(None, None, -1) for dim in turned if dim == "y"})


def check_the_same(scene, dressed, asked):
    """The numbers, places and CRS are those of the same cube said plainly."""
    note(repr(dressed))
    expected = outcome(scene.plain(), **asked)
    found = outcome(dressed.cube, **dressed.options, **asked)
    if isinstance(expected, AnySatError):
        assert type(found) is type(expected)
        return
    assert isinstance(found, xr.DataArray), found
    assert found.dims == expected.dims
    assert found.dtype == expected.dtype
    assert found.rio.crs == expected.rio.crs
    for dim in ("y", "x"):
        if dim in expected.dims:
            assert np.abs(found[dim].values - expected[dim].values).max() < 0.011 * scene.gsd
    steps = {"float32": (0, 2e-5), "float16": (2e-3, 2e-3)}
    rtol, atol = steps[str(expected.dtype)]
    np.testing.assert_allclose(found.values, expected.values, rtol=rtol, atol=atol)


@few
@given(st.data())
def test_any_cube_is_embedded_as_its_plain_self(data):
    scene = data.draw(scenes())
    check_the_same(scene, data.draw(dress(scene)), data.draw(requests(scene)))


@pytest.mark.slow
@many
@given(st.data())
def test_thousands_of_cubes_are_embedded_as_their_plain_selves(data):
    scene = data.draw(scenes())
    check_the_same(scene, data.draw(dress(scene)), data.draw(requests(scene)))


def refused(cube, names):
    """Apply faults as far as they go together; every call refuses the cube."""
    applied = []
    for name in names:
        try:
            cube = FAULTS[name](cube)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            continue  # of a cube that is no longer there
        applied.append(name)
    note(f"{applied}: {cube!r}")
    for lazily in (False, True):
        one = cube.chunk() if lazily and cube.dtype.kind not in "OU" else cube
        with pytest.raises(AnySatError):
            one.anysat.embed(model=TINY, tile_size=8)
        with pytest.raises(AnySatError):
            one.anysat.plan(model=TINY, tile_size=8)


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_refused(name):
    refused(make_cube(4, 5), [name])


@settings(few, max_examples=20)
@given(st.lists(st.sampled_from(sorted(FAULTS)), min_size=2, max_size=5, unique=True))
def test_faults_that_come_together_are_refused(names):
    refused(make_cube(4, 5), names)


@pytest.mark.slow
@many
@given(st.lists(st.sampled_from(sorted(FAULTS)), min_size=2, max_size=6, unique=True))
def test_thousands_of_faulty_cubes_are_refused(names):
    refused(make_cube(4, 5), names)


@pytest.mark.parametrize(("name", "value"), [(n, v) for n in JUNK for v in JUNK[n]], ids=repr)
def test_any_argument_is_used_or_refused(name, value):
    """One at a time, each with what makes it matter."""
    asked = {"model": TINY, "tile_size": 8, "patch_size": 20}
    asked |= {"geometry": {"mode": "pooled"}, "period": {"frames": 2}}.get(name, {})
    asked |= {"image_size": {"input_prep": "resize"}, "pooling": {"mode": "pooled"}}.get(name, {})
    found = outcome(make_cube(5, 6), **asked | {name: value})
    assert isinstance(found, AnySatError | xr.DataArray)


@few
@given(st.data())
def test_any_arguments_together_are_used_or_refused(data):
    names = data.draw(st.lists(st.sampled_from(sorted(JUNK)), min_size=2, max_size=4, unique=True))
    asked = {"model": TINY, "tile_size": 8, "patch_size": 20}
    asked |= {name: data.draw(st.sampled_from(JUNK[name])) for name in names}
    found = outcome(make_cube(5, 6), **asked)
    assert isinstance(found, AnySatError | xr.DataArray)
