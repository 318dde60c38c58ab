"""One form for every cube: (T, C, y, x), north up, whatever it came as."""

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from support.cubes import LABELS, make_cube, punch
from support.findings import codes, finds

from xr_anysat import CubeError
from xr_anysat.cube.canonical import CanonicalCube, understand
from xr_anysat.cube.plain import not_plain

BACKWARDS = slice(None, None, -1)


@pytest.fixture(scope="module")
def cube():
    return make_cube(9, 7, dates=3)


def in_tiles(cube):
    return cube.chunk(time=1, band=4, y=4, x=3)


FORMS = {
    "numpy": lambda cube: cube,
    "dask": in_tiles,
    "south up": lambda cube: cube.isel(y=BACKWARDS),
    "east to west": lambda cube: cube.isel(x=BACKWARDS),
    "turned, in dask": lambda cube: in_tiles(cube.isel(y=BACKWARDS, x=BACKWARDS)),
    "transposed": lambda cube: cube.transpose("x", "time", "y", "band"),
    "transposed, in dask": lambda cube: in_tiles(cube.transpose("y", "x", "band", "time")),
    "bands in another order": lambda cube: cube.isel(band=BACKWARDS),
    "more bands": lambda cube: xr.concat(
        [cube[:, :2].assign_coords(band=["B01", "SCL"]), cube], "band"
    ).transpose(*cube.dims),
    "Dataset": lambda cube: cube.to_dataset("band"),
    "Dataset, in dask and turned": lambda cube: in_tiles(cube.isel(y=BACKWARDS)).to_dataset("band"),
    "masked blocks": lambda cube: cube.chunk(x=3).copy(
        data=da.ma.masked_array(cube.chunk(x=3).data, mask=False)
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_same_values_whatever_the_form(cube, form):
    given = FORMS[form](cube)
    known = understand(given)
    assert isinstance(known.values, da.Array)
    assert known.valid is None
    assert known.values.shape == (3, 10, *known.spec.shape) == cube.shape
    np.testing.assert_array_equal(known.values, cube.values)
    assert known.lazy == bool(given.chunks)


@pytest.mark.parametrize("lazily", [False, True])
def test_a_single_date_without_a_dimension(cube, lazily):
    flat = cube.isel(time=1)
    known = understand(flat.chunk() if lazily else flat)
    assert known.spec.time_dim is None
    assert known.lazy == lazily
    np.testing.assert_array_equal(known.values, cube.values[[1]])


def test_masked_blocks_are_missing_where_they_are_masked(cube):
    """dask's own masked arrays, such as stackstac's or rasters': floats then, for their NaN."""
    holed = punch(cube)
    hidden = da.ma.masked_array(cube.data, mask=np.isnan(holed.values))
    masked = cube.copy(data=hidden.rechunk((1, 10, 4, 4)))
    known = understand(masked)
    assert type(known.values._meta) is np.ndarray
    assert known.values.dtype == "float32"
    np.testing.assert_array_equal(known.values, holed.transpose(*cube.dims).values)


@pytest.mark.parametrize("turn", [{}, {"y": BACKWARDS}, {"y": BACKWARDS, "x": BACKWARDS}])
@pytest.mark.parametrize("dims", [("time", "y", "x"), ("x", "y"), ("time",)])
def test_masks_lie_as_values_do(cube, turn, dims):
    there = punch(cube).notnull().all("band")
    there = there.isel({dim: 0 for dim in there.dims if dim not in dims}, drop=True)
    full = there.broadcast_like(cube.isel(band=0, drop=True)).transpose("time", "y", "x").values
    turned = there.transpose(*dims).isel({dim: way for dim, way in turn.items() if dim in dims})
    known = understand(cube.isel(turn), mask=turned)
    np.testing.assert_array_equal(known.valid, full)
    assert not known.lazy
    lazily = understand(cube.isel(turn), mask=turned.chunk())
    assert lazily.lazy
    np.testing.assert_array_equal(lazily.valid, full)
    blocks = lazily.valid_like(lazily.values.rechunk((1, 10, 4, 3)))
    assert blocks.chunks == ((1, 1, 1), (4, 4, 1), (3, 3, 1))


def test_what_is_cut_out_keeps_the_grid_of_the_whole(cube):
    there = punch(cube).notnull().all("band")
    known = understand(cube, mask=there)
    part = known.window(slice(2, 6), slice(1, 7)).at_dates([2, 0])
    assert isinstance(part, CanonicalCube)
    assert part.spec == known.spec
    np.testing.assert_array_equal(part.values, cube.values[[2, 0], :, 2:6, 1:7])
    np.testing.assert_array_equal(part.valid, there.values[[2, 0], 2:6, 1:7])


@pytest.mark.parametrize("turn", [{}, {"y": BACKWARDS}, {"x": BACKWARDS}])
def test_results_go_back_to_the_order_of_the_cube(cube, turn):
    turned = cube.isel(turn)
    known = understand(turned)
    np.testing.assert_array_equal(known.own_order(known.values), turned.values)
    xr.testing.assert_identical(known.source, turned)


def test_a_cube_in_memory_is_computed_and_a_lazy_one_is_not(cube):
    in_memory, lazy = understand(cube), understand(in_tiles(cube))
    assert type(in_memory.finish(in_memory.values.sum())) is np.int64
    total, count = in_memory.finish(in_memory.values.sum(), in_memory.values.size)
    assert (total, count) == (cube.values.sum(), cube.size)
    assert isinstance(lazy.finish(lazy.values.sum()), da.Array)
    tall = understand(make_cube(200, 2, dates=1))
    assert max(tall.slabs.chunks[2]) == 64
    assert lazy.slabs is lazy.values


def test_nothing_is_computed(cube):
    def never(*_args, **_options):
        raise AssertionError("computed")

    with dask.config.set(scheduler=never):
        for form in FORMS.values():
            understand(in_tiles(cube).pipe(form))


# Other kinds of arrays ---------------------------------------------------------------------------


class Quantity:
    """An array as pint and others make them: one that says it is none of numpy's."""

    __module__ = "pint.facets"

    def __init__(self, values):
        self.values = values
        self.shape, self.dtype, self.ndim = values.shape, values.dtype, values.ndim

    def __array_function__(self, *_args, **_options):
        raise AssertionError("looked into")

    def __array_ufunc__(self, *_args, **_options):
        raise AssertionError("looked into")

    def __array__(self, *_args, **_options):
        raise AssertionError("looked into")

    def __getitem__(self, key):
        return Quantity(self.values[key])

    def transpose(self, *axes):
        return Quantity(self.values.transpose(*axes))


def of_quantities(cube):
    return cube.copy(data=Quantity(cube.values))


def blocks_of_quantities(cube):
    data = da.from_array(cube.values, chunks=-1)
    return cube.copy(data=da.Array(data.dask, data.name, data.chunks, meta=Quantity(cube.values)))


@pytest.mark.parametrize("make", [of_quantities, blocks_of_quantities])
def test_arrays_of_other_kinds_are_named_and_not_looked_into(cube, make):
    other = make(cube)
    with finds("cube.array-type", CubeError) as caught:
        understand(other)
    assert "pint.Quantity" in str(caught.value)
    assert codes(not_plain(other)) == ["cube.array-type"]


def test_chunks_of_unknown_size(cube):
    where = da.from_array(np.arange(7) < 5, chunks=4)
    unknown = xr.DataArray(
        cube.chunk(x=4).data[..., where],
        dims=cube.dims,
        coords={name: cube[name] for name in ("time", "band", "y")},
    ).rio.write_crs(32631)
    assert codes(not_plain(unknown)) == ["cube.unknown-chunks"]
    for call in ("embed", "plan", "band_stats", "valid_dates", "quicklook"):
        with finds("cube.unknown-chunks", CubeError):
            getattr(unknown.anysat, call)()
    assert codes(unknown.anysat.check()) == ["cube.unknown-chunks"]
    (finding,) = not_plain(unknown)
    repaired = eval(finding.remedies[0].code, {"cube": unknown.copy()})
    assert repaired.shape == (3, 10, 9, 5)
    assert not_plain(repaired) == []


def test_plain_arrays_are_plain(cube, tmp_path):
    cube.drop_encoding().to_netcdf(tmp_path / "cube.nc")
    with xr.open_dataarray(tmp_path / "cube.nc") as on_disk:
        for plain in (cube, cube.chunk(x=4), on_disk, on_disk.chunk()):
            assert not_plain(plain) == []


def test_a_variable_of_another_kind_in_a_dataset(cube):
    dataset = cube.to_dataset("band")
    dataset["B04"] = dataset["B04"].copy(data=Quantity(dataset["B04"].values))
    with finds("cube.array-type", CubeError):
        understand(dataset)
    beside = cube.to_dataset("band")
    beside["other"] = beside["B04"].copy(data=Quantity(beside["B04"].values))
    known = understand(beside)  # it is no band, and stays unread
    assert list(known.spec.band_labels) == list(LABELS)
