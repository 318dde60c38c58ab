"""The accessor: written-out signatures, methods that fit the object, and misspelt keywords."""

import copy
import inspect

import numpy as np
import pytest
import xarray as xr
from support.cubes import make_cube
from support.findings import codes, finds

import xr_anysat
from xr_anysat.accessor import CubeMethods, EmbeddingMethods
from xr_anysat.errors import CubeError, KeywordError, OptionError

METHODS = [
    name
    for methods in (CubeMethods, EmbeddingMethods)
    for name, method in vars(methods).items()
    if callable(method) and not name.startswith("_")
]
CUBE = make_cube(8, 8)
EMBEDDING = xr.DataArray(
    np.arange(24.0).reshape(2, 3, 4), dims=("feature", "y", "x"), name="embedding"
)


def options(function):
    """Parameters of a free function after its first, ``**options`` replaced by those of `embed`."""
    _, *own = inspect.signature(function).parameters.values()
    if function not in (xr_anysat.to_zarr, xr_anysat.plan, xr_anysat.check):
        return own
    own = [parameter for parameter in own if parameter.kind != parameter.VAR_KEYWORD]
    names = {parameter.name for parameter in own}
    return own + [each for each in options(xr_anysat.embed) if each.name not in names]


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_the_signature_of_its_function(name):
    function = getattr(xr_anysat, name)
    first, *parameters = inspect.signature(getattr(xr.DataArray.anysat, name)).parameters.values()
    assert first.name == "self"
    assert parameters == options(function)  # names, kinds, defaults and annotations
    returned = inspect.signature(function).return_annotation
    ours = inspect.signature(getattr(xr.DataArray.anysat, name)).return_annotation
    assert ours == returned or "GeoDataFrame" in str(returned)


def test_signatures_are_written_out():
    """Editors read the source: nothing is replaced when the package is imported."""
    for name in METHODS:
        method = getattr(xr.DataArray.anysat, name)
        assert not hasattr(inspect.unwrap(method), "__signature__")
        collects = [
            p for p in inspect.signature(method).parameters.values() if p.kind == p.VAR_KEYWORD
        ]
        assert not collects or name == "to_raster"  # whose options are GDAL's


def test_every_function_of_a_cube_or_an_embedding_is_a_method():
    functions = {name for name in xr_anysat.__all__ if inspect.isfunction(getattr(xr_anysat, name))}
    firsts = {
        name: next(iter(inspect.signature(getattr(xr_anysat, name)).parameters))
        for name in functions
    }
    ours = {name for name, first in firsts.items() if first in ("cube", "embedding", "data")}
    assert ours - {"probe"} == {*METHODS}  # probe is an experiment on a cube, and has its command


# What does not fit --------------------------------------------------------------------------------

CUBES_OWN = [name for name in METHODS if name in vars(CubeMethods)]
NEEDED = {"to_zarr": ["map.zarr"], "similarity": [(0, 0)], "cluster": [2], "cluster_fit": [2]}


@pytest.mark.parametrize("name", [name for name in CUBES_OWN if name != "check"])
def test_an_embedding_says_what_it_is_and_has(name):
    with finds("cube.embedding", CubeError) as raised:
        getattr(EMBEDDING.anysat, name)(*NEEDED.get(name, ()))
    assert "['feature', 'y', 'x']" in str(raised.value)
    assert "pca_rgb" in str(raised.value)


def test_the_check_of_an_embedding_says_so_too():
    assert "cube.embedding" in codes(EMBEDDING.anysat.check())


@pytest.mark.parametrize(
    "name", ["pca_fit", "pca_rgb", "similarity", "cluster_fit", "cluster", "explore"]
)
def test_a_cube_says_what_it_is_and_has(name):
    with finds("embedding.needed", OptionError) as raised:
        getattr(CUBE.anysat, name)(*NEEDED.get(name, ()))
    assert "('time', 'band', 'y', 'x')" in str(raised.value)
    assert "quicklook" in str(raised.value)
    assert f'cube.anysat.embed("patch").anysat.{name}(' in str(raised.value)


@pytest.mark.parametrize("name", [name for name in METHODS if name not in vars(CubeMethods)])
def test_a_dataset_has_the_methods_of_cubes_only(name):
    for dataset in (CUBE.to_dataset("band"), EMBEDDING.to_dataset()):
        assert name not in dir(dataset.anysat)
        assert not hasattr(dataset.anysat, name)
        with finds("embedding.needed", OptionError) as raised:
            getattr(dataset.anysat, name)(*NEEDED.get(name, ()))
        assert "Dataset" in str(raised.value)
    assert f"ds['embedding'].anysat.{name}()" in str(raised.value)


def test_a_dataset_has_nothing_else():
    accessor = CUBE.to_dataset("band").anysat
    with pytest.raises(AttributeError, match="nothing"):
        accessor.nothing  # noqa: B018
    assert copy.copy(accessor).gsd == 10
    assert {*CUBES_OWN, "gsd", "crs", "s2_dates", "bands"} <= {*dir(accessor)}


def test_bands_along_a_dimension_of_any_name_are_those_of_a_cube():
    cube = CUBE.rename(band="feature")
    xr.testing.assert_equal(cube.anysat.valid_dates(), CUBE.anysat.valid_dates())


# Misspelt keywords --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "meant"),
    [
        (lambda: CUBE.anysat.embed(patchsize=40), "patch_size="),
        (lambda: xr_anysat.embed(CUBE, patchsize=40), "patch_size="),
        (lambda: CUBE.anysat.to_zarr("map.zarr", patchsize=40), "patch_size="),
        (lambda: xr_anysat.to_zarr(CUBE, "map.zarr", patchsize=40), "patch_size="),
        (lambda: xr_anysat.to_zarr(CUBE, "map.zarr", overwrit=True), "overwrite="),
        (lambda: CUBE.anysat.plan(tilesize=40), "tile_size="),
        (lambda: xr_anysat.plan(CUBE, tilesize=40), "tile_size="),
        (lambda: CUBE.anysat.check(samples=True), "sample="),
        (lambda: xr_anysat.check(CUBE, normalise="none"), "normalize="),
        (lambda: EMBEDDING.anysat.pca_rgb(component=3), "components="),
        (lambda: xr_anysat.quicklook(CUBE, sizes=3), "size="),
    ],
)
def test_a_misspelt_keyword_names_the_nearest(call, meant, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with finds("option.misspelt", KeywordError) as raised:
        call()
    assert isinstance(raised.value, TypeError)
    assert meant in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_a_keyword_like_no_other_names_all():
    with finds("option.unknown", KeywordError) as raised:
        CUBE.anysat.valid_dates(xyz=1)
    assert "valid_dates() has no argument 'xyz'" in str(raised.value)
    assert "['bands', 'mask']" in str(raised.value)
    with pytest.raises(TypeError, match="positional"):
        CUBE.anysat.embed("grid", 40)
